from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3
import grimp
import pytest

from agent.backend import lambdas
from agent.backend.aws.auditor import AwsAuditor
from agent.backend.aws.clients import OF_RETIREMENTS, OF_THE_SWEEP, CallPatience, Clients, connect
from agent.backend.aws.keys import AwsKeys
from agent.backend.aws.signer import AwsSigner
from agent.backend.decide.census import COUNTED
from agent.backend.errors import MisconfiguredError, UnavailableError
from agent.backend.handlers import audits, signing
from agent.backend.handlers import sweep as sweeps
from agent.backend.handlers.census import census
from agent.backend.names import BY_THE_CLOCK, COUNT, Metric, Variable
from agent.backend.values import Check, DeviceState, Status
from support.aws.account import CLAIM, DAY, SETTINGS, TOKEN, certificate_id
from support.aws.audits import Defender, found
from support.aws.moto_account import ARN, AwsWorld, emulated, signing_request
from support.aws.own_signer import OwnSigner, make_ca, sign_digests, switched_on
from support.aws.rights import ACTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(name="world")
def _world() -> Iterator[AwsWorld]:
    """An account, which the functions find by their environment."""
    made = (lambdas.account, lambdas.auditor)
    for function in made:
        function.cache_clear()
    with emulated():
        yield AwsWorld()
    for function in made:
        function.cache_clear()


class Context:
    """What Lambda gives a function besides the event."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the time that is left."""
        return 900_000


def registration(template: str, caller: str, certificate: str, **parameters: str) -> dict[str, Any]:
    """The hook's event, as AWS sends it."""
    return {
        "claimCertificateId": caller,
        "certificateId": certificate,
        "certificatePem": "-----BEGIN CERTIFICATE-----",
        "templateArn": f"arn:aws:iot:eu-west-1:123456789012:provisioningtemplate/{template}",
        "clientId": "any",
        "parameters": parameters,
    }


def test_a_gateways_life_by_the_functions_themselves(world: AwsWorld, capsys: pytest.CaptureFixture[str]) -> None:
    """Enrolment, rotation and retirement, as Lambda calls them; what they answer is JSON."""
    world.arm()
    old, new = world.issue(), world.issue()
    event = registration("gateway", CLAIM, old, SerialNumber="0042", RegistrationToken=TOKEN)
    answer = lambdas.hook(event, Context())
    assert json.loads(json.dumps(answer)) == {
        "allowProvisioning": True,
        "parameterOverrides": {"ThingName": "gw-0042"},
    }
    world.registry.register("gw-0042", old, ())
    assert lambdas.hook(registration("gateway-rotation", old, new, ThingName="gw-0042"), Context())["allowProvisioning"]
    world.registry.register("gw-0042", new, ())
    lambdas.retire({"thing": "gw-0042", "principal": new, "message": {"certificateId": old}}, Context())
    assert world.status(old) is Status.INACTIVE
    lambdas.sweep({}, Context())
    assert world.status(old) is Status.INACTIVE, "it is kept for a month"
    lambdas.sweep(dict(COUNT), Context())
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [next(name for name in Metric if name in line) for line in told] == [
        Metric.ENROLMENTS,
        Metric.ROTATIONS,
        Metric.RETIREMENTS,
        *COUNTED,
    ]
    assert TOKEN not in repr(told)


def test_the_clocks_event_retires_what_was_replaced(world: AwsWorld) -> None:
    """A gateway's event has its own words in `message`, whatever they are."""
    world.now = lambdas.now()
    old = world.enrolled()
    world.replace()
    new = world.issue()
    assert world.enrol(new, "0077")
    world.rotated(new)
    lambdas.retire({"thing": "gw-0042", "principal": new, "message": dict(BY_THE_CLOCK)}, Context())
    assert world.status(old) is Status.ACTIVE
    lambdas.retire(dict(BY_THE_CLOCK), Context())
    assert world.status(old) is Status.INACTIVE


def test_a_function_that_cannot_do_it_counts_that_and_ends_with_an_error(
    world: AwsWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    """AWS registers nothing then, and delivers an event again."""
    world.clients.tables.delete_table(TableName=os.environ[Variable.DEVICES])
    with pytest.raises(MisconfiguredError):
        lambdas.hook(registration("gateway", CLAIM, certificate_id(1), SerialNumber="1", RegistrationToken="t"), None)
    (line,) = (json.loads(text) for text in capsys.readouterr().out.splitlines())
    assert line["Faults"] == 1
    assert line["error"] == "MisconfiguredError"


def test_audits_are_read_with_the_same_clients_and_a_fault_with_them_is_counted(
    world: AwsWorld, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Making clients takes longer than asking with them; that they cannot be made is a fault like any other."""
    defender, made = Defender(world), list[Clients]()

    def fail(_: CallPatience) -> Clients:
        raise UnavailableError("There are no credentials.")

    def succeed(patience: CallPatience) -> Clients:
        made.append(connect(patience))
        defender.attend(made[-1].iot)
        return made[-1]

    event = {"Records": [{"body": json.dumps({"taskId": "a-1"})}]}
    lambdas.account(OF_THE_SWEEP)
    monkeypatch.setattr(lambdas, "connect", fail)
    with pytest.raises(UnavailableError):
        lambdas.audit(event, Context())
    assert json.loads(capsys.readouterr().out)["Faults"] == 1
    monkeypatch.setattr(lambdas, "connect", succeed)
    for _ in range(2):
        lambdas.audit(event, Context())
    assert len(made) == 1


def test_a_stack_whose_signer_is_gone_sells_certificates_of_aws(world: AwsWorld) -> None:
    """Although the row says that it is asked: a gateway must get one, and the role may call no function."""
    world.now = lambdas.now()
    world.arm()
    world.store.save_signer(switched_on(make_ca(world.now)))
    os.environ[Variable.SIGNER_FUNCTION] = ""
    assert lambdas.account(OF_RETIREMENTS).signer is None
    world.account = replace(world.account, signer=None)
    assert "certificateId" in world.vend(signing_request("first"))


@pytest.mark.parametrize("missing", list(Variable))
def test_an_environment_that_lacks_something(world: AwsWorld, missing: Variable) -> None:
    """Nothing is asked for then."""
    del os.environ[missing]
    with pytest.raises(MisconfiguredError, match=missing.value):
        lambdas.hook({}, None)
    assert world.calls == 0


# -- what each function asks for ---------------------------------------------------------------------------------------


def _hook(world: AwsWorld) -> Iterator[Callable[[], object]]:
    old = world.enrolled()
    yield lambda: world.enrol(world.issue())
    world.owner.attach_policy(policyName="application", target=ARN + old)
    yield lambda: world.rotate(old, world.issue())
    new = world.rotated(old)
    world.retire(new, old)
    yield lambda: world.rotate(old, world.issue())


def _retire(world: AwsWorld) -> Iterator[Callable[[], object]]:
    old = world.enrolled()
    new = world.rotated(old)
    yield lambda: world.retire(new, old)
    yield lambda: world.retire(new, old)
    yield lambda: world.retire(old, new)
    world.replace()
    used = world.issue()
    assert world.enrol(used, "0077")
    world.rotated(used)
    yield world.replacing
    world.replace("0078", "gw-gone")
    world.store.save_device(replace(world.store.device("0078"), state=DeviceState.BOUGHT))
    yield world.replacing


def _vend(world: AwsWorld) -> Iterator[Callable[[], object]]:
    world.arm()
    yield lambda: world.vend(signing_request("first"))
    yield lambda: world.vend(signing_request("first"))
    yield lambda: world.vend(signing_request("second"))
    yield lambda: world.vend(signing_request("first"), token="wrong")  # noqa: S106 - a wrong one
    world.store.save_signer(switched_on(make_ca(world.now)))
    functions = boto3.client("lambda")
    world.watch(functions)
    world.account = replace(world.account, signer=AwsSigner(lambda: functions, "fleet-sign"))
    OwnSigner(world.account, AwsKeys(_kms())).attend(functions)
    yield lambda: world.vend(signing_request("third"))


def _kms() -> Any:
    kms = boto3.client("kms")
    sign_digests(kms)
    return kms


def _sign(world: AwsWorld) -> Iterator[Callable[[], object]]:
    world.store.save_signer(switched_on(make_ca(world.now)))
    kms = _kms()
    world.watch(kms)
    event = {"certificateSigningRequest": signing_request("first"), "principalId": CLAIM, "clientId": "any"}
    yield lambda: signing.sign(event, world.account, AwsKeys(kms))


def _sweep(world: AwsWorld) -> Iterator[Callable[[], object]]:
    old = world.enrolled()
    new = world.rotated(old)
    spare = world.rotated(old)
    world.retire(new, old)
    world.retire(new, spare)
    world.now += SETTINGS.keep
    yield world.sweep
    world.rescue(spare)
    yield world.sweep
    gone = world.enrolled("0043")
    world.retire(world.rotated(gone), gone, "gw-0043")
    for name in world.registry.certificates_of("gw-0043"):
        world.registry.detach_thing("gw-0043", name)
    world.now += SETTINGS.keep
    yield world.sweep
    yield lambda: census(world.account, lambda: True)


def _audit(world: AwsWorld) -> Iterator[Callable[[], object]]:
    defender = Defender(world)
    made = world.enrolled()
    defender.lives[made] = (world.now - 85 * DAY, world.now + 5 * DAY)
    defender.audits["a-1"] = [found("a-1", Check.EXPIRING, made), found("a-1", Check.CA_EXPIRING, "ca" * 32)]
    defender.signed["ca" * 32] = [(made, "ACTIVE")]

    def hear() -> None:
        body = json.dumps({"taskId": "a-1"})
        event = {"Records": [{"body": body}]}
        audits.hear(event, world.account, AwsAuditor(world.clients), lambda: timedelta(minutes=15))

    def taken_off(**_: object) -> None:
        world.owner.detach_thing_principal(thingName="gw-0042", principal=ARN + made)

    yield hear
    assert len(world.owner.list_jobs()["jobs"]) == 1
    world.clients.iot.meta.events.register("before-call.iot.ListThingPrincipals", taken_off)
    yield hear


@pytest.mark.parametrize("tell", [_audit, _hook, _retire, _sign, _sweep, _vend])
def test_what_a_function_asks_of_aws_is_what_its_role_is_to_allow(
    world: AwsWorld, tell: Callable[[AwsWorld], Iterator[Callable[[], object]]]
) -> None:
    """No more and no less, over all that it may meet."""
    asked: set[str] = set()
    for act in tell(world):
        world.strict.asked.clear()
        act()
        asked |= set(world.strict.asked)
    assert asked == ACTIONS[tell.__name__.removeprefix("_")]


def test_the_sweep_never_deactivates() -> None:
    """It could not, by its role; nor could what answers an audit."""
    assert "iot:UpdateCertificate" not in ACTIONS["sweep"] | ACTIONS["hook"] | ACTIONS["audit"]


def test_the_vending_machine_activates_and_never_deactivates(world: AwsWorld) -> None:
    """AWS has one right for both, so it is held to what it asks for."""
    world.arm()
    asked: list[tuple[str, str]] = []

    def note(params: dict[str, Any], model: Any, **_: object) -> None:
        if model.name == "UpdateCertificate":
            asked.append((params["certificateId"], params["newStatus"]))

    world.clients.iot.meta.events.register("provide-client-params.iot.*", note)
    sold = world.vend(signing_request("first"))["certificateId"]
    assert asked == [(sold, "ACTIVE")]


def test_the_vending_machine_by_the_function_itself(world: AwsWorld, capsys: pytest.CaptureFixture[str]) -> None:
    """As API Gateway calls it: JSON in, JSON out, and the token in no line of the log."""
    world.arm()
    body = {
        "serialNumber": "0042",
        "registrationToken": TOKEN,
        "certificateSigningRequest": signing_request("first"),
    }
    event = {"requestContext": {"http": {"sourceIp": "192.0.2.7"}}, "body": json.dumps(body)}
    answer = json.loads(json.dumps(lambdas.vend(event, Context())))
    assert answer["statusCode"] == 200
    sold = json.loads(answer["body"])
    assert set(sold) == {"certificateId", "certificatePem", "thingName"}
    assert world.active() == {sold["certificateId"]}
    told = capsys.readouterr().out
    assert Metric.ENROLMENTS in told
    assert TOKEN not in told


# -- what is in the package --------------------------------------------------------------------------------------------


def test_a_function_consists_of_the_accounts_rooms_and_two_modules_of_the_core() -> None:
    """Of the agent; of others, boto3, which the runtime has. What a package holds follows from that."""
    graph = grimp.build_graph(
        "agent", include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None
    )
    needed = graph.find_upstream_modules("agent.backend.lambdas")
    others = {name for name in needed if name.startswith("agent.") and not name.startswith("agent.backend")}
    assert others == {"agent.core.aws.topics", "agent.core.frozen"}
    assert "agent.backend.memory" not in needed
    assert "cryptography" not in needed
    assert {"boto3", "botocore"} <= needed


def test_a_sweep_stops_before_lambda_does() -> None:
    """Its reserve is longer than all repetitions of one call; an audit's, of two."""
    once = OF_THE_SWEEP.read * (OF_THE_SWEEP.attempts - 1)
    assert sweeps.RESERVE.total_seconds() >= once
    assert audits.RESERVE.total_seconds() >= 2 * once


def test_an_audit_by_the_function_itself(world: AwsWorld, capsys: pytest.CaptureFixture[str]) -> None:
    """As Lambda calls it with what the queue has: a message that names no audit is counted and dropped."""
    lambdas.audit({"Records": [{"messageId": "1", "body": "{}"}]}, Context())
    (line,) = (json.loads(text) for text in capsys.readouterr().out.splitlines())
    assert line["FindingsLeft"] == 1
    assert world.calls == 0
