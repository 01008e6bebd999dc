"""Each step meets a surprise, tells it, and gives back what it took.

What is expected is shown on an emulator, by tests/integration/fleet/test_stack.py.
"""

from __future__ import annotations

import argparse
import io
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from agent.backend.names import SHADOW
from agent.backend.values import Signer, SigningCa, Status
from agent.cli.writing.output import Output
from agent.fleet import aws
from agent.fleet.decide.trial import FactOutcome
from agent.fleet.task import OperatorTask
from agent.fleet.trial.account import TrialAccount
from agent.fleet.trial.device import Ran
from agent.fleet.trial.steps import ATTEMPTS, ROUNDS, STEPS, Trial
from support.aws.account import SETTINGS
from support.aws.moto_account import REGION
from support.aws.own_signer import make_ca

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from support.aws.fleet_account import Operator

THING = "gw-0042"
SIGNED = "ab" * 32


@dataclass
class TrialBench:
    """A test device that does what a test says, in an account.

    Attributes:
        operator: Who tries it.
        certificate: What is in use on the device.
        runs: What becomes of each command in turn; the last one is repeated.
        shown: The tokens that were shown to the device.
        noted: The certificates that the clean-up is to remove, wherever they are.
    """

    operator: Operator
    certificate: str = ""
    runs: list[Callable[[], Ran]] = field(default_factory=lambda: [lambda: Ran(code=0, said="Done.")])
    shown: list[str] = field(default_factory=list)
    known: dict[str, str] = field(default_factory=lambda: {"serial": "0042", "thing": THING})
    noted: set[str] = field(default_factory=set)

    def certificate_id(self) -> str:
        """See `Device`."""
        return self.certificate

    def run(self, *_: str) -> Ran:
        """See `Device`."""
        return (self.runs.pop(0) if len(self.runs) > 1 else self.runs[0])()

    def show_token(self, token: str) -> None:
        """See `Device`."""
        self.shown.append(token)

    def note(self, certificates: Iterable[str]) -> None:
        """See `Device`."""
        self.noted |= set(certificates)

    @property
    def world(self) -> Any:
        """The account."""
        return self.operator.world

    def ends(self, code: int, said: str = "") -> None:
        """Have every command end so."""
        self.runs = [lambda: Ran(code=code, said=said)]

    def tries(self, key: str) -> tuple[FactOutcome, str]:
        """Carry a step out, on a trial of its own."""
        fleet = aws.connect("iot-cert", REGION, None)
        task = OperatorTask(
            arguments=argparse.Namespace(),
            output=Output(as_json=False),
            fleet=fleet,
            now=self.operator.now,
            chance=bytes,
            answer=None,
            pause=self.operator.pauses.append,
            progress=lambda _: None,
        )
        device: Any = self
        seen = STEPS[key](Trial(task=task, account=TrialAccount(fleet), device=device, token=lambda: "right"))
        return seen.outcome, seen.text


@pytest.fixture(name="bench")
def _bench(operator: Operator) -> TrialBench:
    return TrialBench(operator, operator.world.enrolled())


def _quotas(bench: TrialBench) -> None:
    bench.operator.answers("GetServiceQuota", {"Quota": {"QuotaName": "RegisterThing", "Value": 0.0}})


def _drift(bench: TrialBench) -> None:
    bench.operator.answers("DetectStackDrift", {"StackDriftDetectionId": "1"})
    bench.operator.answers("DescribeStackDriftDetectionStatus", {"DetectionStatus": "DETECTION_COMPLETE"})
    drifted = {"LogicalResourceId": "Hook", "StackResourceDriftStatus": "MODIFIED"}
    bench.operator.answers("DescribeStackResourceDrifts", {"StackResourceDrifts": [drifted]})


def _let_in(bench: TrialBench) -> None:
    bench.ends(0, "Done: enroll")


def _not_active(bench: TrialBench) -> None:
    bench.world.registry.set_status(bench.certificate, Status.INACTIVE)


def _plainly(bench: TrialBench) -> None:
    attached = {"thingName": THING, "thingPrincipalType": "NON_EXCLUSIVE_THING"}
    bench.operator.answers("ListPrincipalThingsV2", {"principalThingObjects": [attached]})


def _weaker(bench: TrialBench) -> None:
    """The hook copies the policy; here AWS has not let it."""
    old, new = bench.certificate, bench.world.issue()

    def rotate() -> Ran:
        assert bench.world.rotate(old, new)
        bench.operator.world.owner.detach_policy(policyName="iot-cert-first-deployment", target=_arn(new))
        bench.certificate = new
        return Ran(code=0, said="Done: rotate")

    bench.runs = [rotate]


def _arn(certificate: str) -> str:
    return f"arn:aws:iot:{REGION}:123456789012:cert/{certificate}"


def _told_of_itself(bench: TrialBench) -> None:
    line = f'{{"certificateId": "{bench.certificate}", "caller": "{bench.certificate}"}}'
    bench.operator.answers("FilterLogEvents", {"events": [{"message": line}]})


def _kept_active(bench: TrialBench) -> None:
    bench.certificate = bench.world.rotated(bench.certificate)


def _never_gone(bench: TrialBench) -> None:
    old, bench.certificate = bench.certificate, bench.world.rotated(bench.certificate)
    bench.world.retire(bench.certificate, old)
    bench.operator.answers("Invoke", {"StatusCode": 200})


def _connects_all_the_same(bench: TrialBench) -> None:
    bench.ends(0)


def _signs(bench: TrialBench, answer: dict[str, Any], ca_id: str | None = None) -> SigningCa:
    """Have a stack with a signer and a CA, the function's answer, and what AWS knows of its certificate."""
    own = make_ca(bench.operator.now)
    bench.world.store.save_signer(Signer(cas=(own,)))
    bench.operator.deploy(outputs={"SignerFunction": "iot-cert-sign"})
    bench.operator.has_answered("Invoke", lambda: {"Payload": io.BytesIO(json.dumps(answer).encode())})
    described = {"certificateId": SIGNED, "caCertificateId": ca_id or own.ca_id, "status": "INACTIVE"}
    bench.operator.answers("RegisterCertificate", {"certificateId": SIGNED})
    bench.operator.answers("DescribeCertificate", {"certificateDescription": described})
    for operation in ("UpdateCertificate", "DeleteCertificate"):
        bench.operator.answers(operation, {})
    return own


def _signs_nothing(bench: TrialBench) -> None:
    _signs(bench, {"errorMessage": "The key is disabled."})


def _begins_at_once(bench: TrialBench) -> None:
    bench.operator.answers("DescribeJob", {"job": {"status": "COMPLETED"}})


def _empty_shadow(bench: TrialBench) -> None:
    indexed = {"thingIndexingConfiguration": {"namedShadowIndexingMode": "ON"}}
    bench.operator.answers("GetIndexingConfiguration", indexed)
    shadow = f'{{"name": {{"{SHADOW}": {{"reported": {{"health": 0}}}}}}}}'
    bench.operator.answers("SearchIndex", {"things": [{"thingName": THING, "shadow": shadow}]})


def _not_delivered(bench: TrialBench) -> None:
    bench.operator.answers("SetAlarmState", {})
    failed = {"HistorySummary": "Failed to execute action arn:aws:sns:eu-west-1:123456789012:alarms"}
    bench.operator.answers("DescribeAlarmHistory", {"AlarmHistoryItems": [failed]})


def _rotates_all_the_same(bench: TrialBench) -> None:
    bench.operator.answers("PutFunctionConcurrency", {})
    bench.operator.answers("DeleteFunctionConcurrency", {})
    bench.ends(0)


# What AWS does otherwise than expected, and what is told of it.
SURPRISES: dict[str, tuple[Callable[[TrialBench], None], str]] = {
    "quotas": (_quotas, "RegisterThing: 0 a second"),
    "drift": (_drift, "Hook MODIFIED"),
    "refusal": (_let_in, "Exit code 0"),
    "enrolment": (_not_active, "Exit code 0"),
    "exclusive": (_plainly, "NON_EXCLUSIVE_THING"),
    "rotation": (_weaker, "is followed by"),
    "caller": (_told_of_itself, "The hook was told of"),
    "retirement": (_kept_active, "the others are ACTIVE"),
    "deletion": (_never_gone, f"Still there after {ROUNDS} rounds"),
    "plain": (_connects_all_the_same, "Plainly attached it is not refused. Exclusively: converts in place."),
    "signer": (_signs_nothing, "CA 1 signs nothing: The key is disabled."),
    "schedule": (_begins_at_once, "The job was COMPLETED"),
    "index": (_empty_shadow, '"health": 0'),
    "alarm": (_not_delivered, "Failed to execute action"),
    "throttled": (_rotates_all_the_same, "Exit code 0"),
}


def test_each_step_that_can_meet_a_surprise_has_one_here() -> None:
    """A metric that CloudWatch does not have yet may still come."""
    assert set(SURPRISES) == set(STEPS) - {"metrics"}


@pytest.mark.parametrize("key", SURPRISES)
def test_a_surprise_is_told(bench: TrialBench, key: str) -> None:
    """With what was seen."""
    arrange, told = SURPRISES[key]
    arrange(bench)
    outcome, text = bench.tries(key)
    assert outcome is FactOutcome.SURPRISE, text
    assert told in text


def test_metrics_that_do_not_appear_are_not_shown(bench: TrialBench) -> None:
    """After ten minutes."""
    bench.operator.answers("ListMetrics", {"Metrics": []})
    outcome, text = bench.tries("metrics")
    assert outcome is FactOutcome.NOT_SHOWN, text
    assert len(bench.operator.pauses) == ATTEMPTS


# -- what a step leaves ------------------------------------------------------------------------------------------------


def test_after_a_wrong_token_the_right_one_is_in_place(bench: TrialBench) -> None:
    """Whatever came of it."""
    _let_in(bench)
    bench.tries("refusal")
    assert bench.shown == ["not-the-token", "right"]


@pytest.mark.parametrize("connects", [True, False])
def test_the_certificate_is_attached_to_its_thing_again(bench: TrialBench, *, connects: bool) -> None:
    """Whether AWS converts it in place or not, and whether it connects then or not."""
    bench.ends(0 if connects else 1)
    outcome, text = bench.tries("plain")
    assert outcome is FactOutcome.SURPRISE
    assert ("DOES NOT CONNECT AGAIN" in text) is not connects
    assert bench.world.registry.things_of(bench.certificate) == (THING,)
    assert bench.noted == {bench.certificate}


def test_the_alarm_and_the_hook_are_given_back(bench: TrialBench) -> None:
    """Both are the stack's."""
    for arrange, key in ((_not_delivered, "alarm"), (_rotates_all_the_same, "throttled")):
        arrange(bench)
        bench.tries(key)
    asked = [name.partition(":")[2] for name in bench.operator.strict.asked]
    assert asked.count("SetAlarmState") == 2
    assert "DeleteFunctionConcurrency" in asked[asked.index("PutFunctionConcurrency") :]


def test_the_job_is_deleted(bench: TrialBench) -> None:
    """Also where its state is none that was expected."""
    _begins_at_once(bench)
    bench.tries("schedule")
    assert bench.world.owner.list_jobs()["jobs"] == []


def test_what_the_signer_signs_is_registered_and_deleted(bench: TrialBench) -> None:
    """It is of the CA that signs, and never ACTIVE; nothing but it is asked for."""
    own = _signs(bench, {"certificatePem": "-----BEGIN CERTIFICATE-----"})
    outcome, text = bench.tries("signer")
    assert (outcome, text) == (
        FactOutcome.EXPECTED,
        f"Registered as a certificate of the CA {own.ca_id}; it is deleted.",
    )
    given = bench.operator.given
    assert given["RegisterCertificate"]["status"] == "INACTIVE"
    assert given["DeleteCertificate"]["certificateId"] == SIGNED
    assert bench.noted == {SIGNED}, "one that is not deleted yet is the clean-up's"


def test_a_certificate_of_an_unknown_ca_is_a_surprise_and_deleted(bench: TrialBench) -> None:
    """`ca --retire` asks which certificates rest on a CA."""
    _signs(bench, {"certificatePem": "-----BEGIN CERTIFICATE-----"}, "of another")
    assert bench.tries("signer")[0] is FactOutcome.SURPRISE
    assert bench.operator.calls[-1] == "DeleteCertificate"


def test_a_stack_without_a_signer_shows_nothing_of_it(bench: TrialBench) -> None:
    """And no function is called."""
    assert bench.tries("signer")[0] is FactOutcome.NOT_SHOWN
    assert "Invoke" not in bench.operator.calls


def test_a_certificate_that_goes_after_some_rounds_is_as_expected(bench: TrialBench) -> None:
    """The sweep itself does it here."""
    _never_gone(bench)
    (old,) = set(bench.world.registry.certificates_of(THING)) - {bench.certificate}

    def swept() -> dict[str, Any]:
        bench.world.now += SETTINGS.keep
        bench.world.sweep()
        return {"StatusCode": 200}

    bench.operator.has_answered("Invoke", swept)
    outcome, text = bench.tries("deletion")
    assert (outcome, text) == (FactOutcome.EXPECTED, "Gone after 2 rounds, 15 seconds apart.")
    assert bench.world.status(old) is None
    assert bench.noted == {old}, "one that stays is taken off its thing, which the clean-up would not find then"
