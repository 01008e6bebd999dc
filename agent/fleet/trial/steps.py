"""How each fact is tried. A step leaves the account as it found it, but for the test device's own things.

What AWS refuses where a step expects an answer is a surprise. What an endpoint does not offer at all, and what has not
appeared after ten minutes, is not shown.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from agent.backend.decide.orders import JobOrder, job_id
from agent.backend.names import NAMESPACE, SHADOW, STACK_DIMENSION, Metric
from agent.backend.values import Status
from agent.core.exit_codes import Exit
from agent.core.frozen import frozen
from agent.core.text import counted
from agent.fleet.decide import rotation
from agent.fleet.decide.adoption import EXCLUSIVE
from agent.fleet.decide.overview import reported_of
from agent.fleet.decide.trial import FactOutcome, TrialSeen
from agent.fleet.own_cas import OwnCas

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.fleet.aws import DeployedStack
    from agent.fleet.task import OperatorTask
    from agent.fleet.trial.account import TrialAccount
    from agent.fleet.trial.device import TrialDevice

ATTEMPTS, BETWEEN = 40, 15.0  # seconds: ten minutes for what takes AWS a while
ROUNDS = 10
_CREATE_QUOTA, _REGISTER_QUOTA = "L-83161BB8", "L-B2BBBD8C"


@frozen
class Trial:
    """What a step works with.

    Attributes:
        task: The verb.
        account: What is asked for it alone.
        device: The test device.
        token: Makes its serial number's token anew, and returns it.
    """

    task: OperatorTask
    account: TrialAccount
    device: TrialDevice
    token: Callable[[], str]

    @property
    def thing(self) -> str:
        """The test device's thing."""
        return self.device.known["thing"]

    @property
    def stack(self) -> DeployedStack:
        """The stack."""
        return self.task.fleet.stack

    @property
    def hook(self) -> str:
        """The hook's function."""
        return self.stack.named("hook")

    @property
    def policy(self) -> str:
        """The policy of the test device's application."""
        return self.stack.named("first-deployment")

    def client(self, service: str) -> Any:
        """Return a client of a service."""
        return self.task.fleet.client(service)

    def status(self, certificate_id: str) -> str:
        """Return a certificate's state, or that it is gone."""
        found = self.task.fleet.registry.certificate(certificate_id)
        return found.status.value if found else "gone"

    def until(self, holds: Callable[[], bool], attempts: int = ATTEMPTS) -> bool:
        """Wait until something holds; return whether it does."""
        for _ in range(attempts):
            if holds():
                return True
            self.task.pause(BETWEEN)
        return False


def _as(holds: bool, text: str) -> TrialSeen:  # noqa: FBT001 - of this module alone
    return TrialSeen(outcome=FactOutcome.EXPECTED, text=text) if holds else _surprise(text)


def _surprise(text: str) -> TrialSeen:
    return TrialSeen(outcome=FactOutcome.SURPRISE, text=text)


def _not_shown(text: str) -> TrialSeen:
    return TrialSeen(outcome=FactOutcome.NOT_SHOWN, text=text)


def quotas(trial: Trial) -> TrialSeen:
    """Read what an account may ask for over MQTT."""
    asked = trial.client("service-quotas")
    found = [
        asked.get_service_quota(ServiceCode="iotcore", QuotaCode=code)["Quota"]
        for code in (_CREATE_QUOTA, _REGISTER_QUOTA)
    ]
    text = "; ".join(f"{item.get('QuotaName')}: {item.get('Value'):g} a second" for item in found)
    return _as(all(item.get("Value", 0) >= 1 for item in found), f"{text}.")


def drift(trial: Trial) -> TrialSeen:
    """Have the stack compared."""
    found = trial.task.fleet.drifted(trial.task.pause)
    named = [f"{item.get('LogicalResourceId')} {item.get('StackResourceDriftStatus')}" for item in found]
    return _as(not named, ", ".join(named) or "Nothing differs from the template.")


def refusal(trial: Trial) -> TrialSeen:
    """Enrol with a wrong token."""
    right = trial.token()
    trial.device.show_token("not-the-token")
    try:
        ran = trial.device.run("enroll")
    finally:
        trial.device.show_token(right)
    return _as(ran.code == Exit.CRITICAL and "Denied" in ran.said, f"Exit code {ran.code}: {ran.said}")


def enrolment(trial: Trial) -> TrialSeen:
    """Enrol with the right one."""
    if not trial.device.certificate_id():
        trial.device.show_token(trial.token())
    ran = trial.device.run("enroll")
    certificate = trial.device.certificate_id()
    holds = ran.code == Exit.DONE and trial.status(certificate) == Status.ACTIVE
    return _as(holds, f"Exit code {ran.code}, certificate {certificate or 'none'}: {ran.said}")


def exclusive(trial: Trial) -> TrialSeen:
    """Read how the certificate is attached."""
    found = trial.task.fleet.attachments(trial.device.certificate_id())
    return _as(found == {trial.thing: EXCLUSIVE}, f"Attachments: {', '.join(found.values()) or 'none'}.")


def rotate(trial: Trial) -> TrialSeen:
    """Rotate with a policy of an application."""
    old = trial.device.certificate_id()
    trial.account.application_policy(trial.policy, f"{trial.thing}-application")
    trial.task.fleet.registry.attach_policy(trial.policy, old)
    ran = trial.device.run("rotate")
    new = trial.device.certificate_id()
    has = trial.task.fleet.registry.policies_of(new)
    holds = ran.code == Exit.DONE and new != old and trial.policy in has
    return _as(holds, f"Exit code {ran.code}. {old} is followed by {new}, with {', '.join(sorted(has))}. {ran.said}")


def caller(trial: Trial) -> TrialSeen:
    """Read the hook's log for who asked."""
    new = trial.device.certificate_id()
    old = [name for name in trial.task.fleet.registry.certificates_of(trial.thing) or () if name != new]

    def told() -> list[str]:
        return trial.account.told(trial.hook, new, "caller")

    trial.until(lambda: bool(told()))
    return _as(bool(told()) and set(told()) <= set(old), f"The hook was told of {', '.join(told()) or 'nothing'}.")


def retirement(trial: Trial) -> TrialSeen:
    """Retire what was replaced."""
    new = trial.device.certificate_id()
    ran = trial.device.run("retire", "--now")
    names = trial.task.fleet.registry.certificates_of(trial.thing) or ()
    states = {name: trial.status(name) for name in names}
    holds = states.pop(new, "") == Status.ACTIVE and set(states.values()) == {Status.INACTIVE}
    return _as(holds, f"Exit code {ran.code}; the others are {', '.join(sorted(states.values()))}. {ran.said}")


def deletion(trial: Trial) -> TrialSeen:
    """Have the sweep delete it."""
    fleet, new = trial.task.fleet, trial.device.certificate_id()
    names = [name for name in fleet.registry.certificates_of(trial.thing) or () if name != new]
    trial.device.note(names)
    for name in names:
        trial.account.make_due(name, trial.task.now - timedelta(days=1))
    for number in range(1, ROUNDS + 1):
        trial.client("lambda").invoke(FunctionName=trial.stack.named("sweep"), Payload=b"{}")
        if not [name for name in names if trial.status(name) != "gone"]:
            return _as(bool(names), f"Gone after {counted(number, 'round')}, {BETWEEN:g} seconds apart.")
        trial.task.pause(BETWEEN)
    return _surprise(f"Still there after {ROUNDS} rounds: {', '.join(names)}.")


def plain(trial: Trial) -> TrialSeen:
    """Attach plainly, and then exclusively, and connect each time."""
    fleet, name = trial.task.fleet, trial.device.certificate_id()
    trial.device.note([name])
    fleet.registry.detach_thing(trial.thing, name)
    off = trial.until(lambda: not fleet.registry.things_of(name))
    trial.account.attach_plainly(trial.thing, name)
    refused = off and trial.until(lambda: not _connects(trial))
    fleet.registry.attach_thing(trial.thing, name)
    converted = trial.until(lambda: _connects(trial))
    if not converted:
        fleet.registry.detach_thing(trial.thing, name)
        trial.until(lambda: not fleet.registry.things_of(name))
        fleet.registry.attach_thing(trial.thing, name)
    again = converted or trial.until(lambda: _connects(trial))
    words = (
        "refused" if refused else "not refused",
        "converts in place" if converted else "does not convert; it was taken off and made anew",
        "connects again" if again else "DOES NOT CONNECT AGAIN",
    )
    return _as(refused and converted, f"Plainly attached it is {words[0]}. Exclusively: {words[1]}. It {words[2]}.")


def _connects(trial: Trial) -> bool:
    return trial.device.run("check", "connect").code == Exit.DONE


def signer(trial: Trial) -> TrialSeen:
    """Have a request signed, and register what comes: INACTIVE, and attached to nothing."""
    fleet = trial.task.fleet
    function, own = fleet.stack.outputs.get("SignerFunction", ""), fleet.store.signer().at(trial.task.now)
    if not function or own is None:
        return _not_shown("This stack has no signer, or no CA. When it has, try it with another --directory.")
    pem, why = OwnCas(fleet).tried(function)
    if why:
        return _surprise(f"CA {own.number} signs nothing: {why}")
    name = fleet.registry.take_in(pem, trial.task.now).certificate_id
    trial.device.note([name])
    try:
        known = fleet.iot.describe_certificate(certificateId=name)["certificateDescription"].get("caCertificateId")
    finally:
        gone = trial.until(lambda: trial.account.remove(name), attempts=ROUNDS)
    left = "it is deleted" if gone else f"IT COULD NOT BE DELETED: {name}"
    return _as(known == own.ca_id and gone, f"Registered as a certificate of the CA {known or 'unknown'}; {left}.")


def schedule(trial: Trial) -> TrialSeen:
    """Make a job with a window, and delete it."""
    fleet, opens_at = trial.task.fleet, trial.task.now + timedelta(hours=1)
    window = rotation.Window(opens_at=opens_at, closes_at=opens_at + timedelta(hours=1))
    name = job_id(f"first-deployment {trial.task.now}", [trial.thing])
    order = JobOrder(job_id=name, things=(trial.thing,), reason="first deployment")
    request = rotation.job(order, fleet.stack.iot_arn, window)
    try:
        made = fleet.order(request)
        status = fleet.iot.describe_job(jobId=name)["job"]["status"]
    finally:
        trial.account.forget_job(name)
    if status == "IN_PROGRESS":
        return _not_shown("The window was taken. The job was IN_PROGRESS at once, though, and is deleted.")
    return _as(made and status == "SCHEDULED", f"The job was {status}, and is deleted.")


def index(trial: Trial) -> TrialSeen:
    """Write the shadow, and search for it."""
    fleet = trial.task.fleet
    found = fleet.indexing().get("thingIndexingConfiguration", {})
    if found.get("namedShadowIndexingMode") != "ON":
        return _not_shown("Fleet indexing of named shadows is off: `iot-cert cloud setup` turns it on.")
    trial.account.report(trial.thing, {"certificateId": trial.device.certificate_id(), "health": 0})

    def documents() -> list[Any]:
        return [thing.shadow for thing in fleet.search(f"thingName:{trial.thing}")]

    trial.until(lambda: any(reported_of(item) for item in documents()))
    got = [item for item in map(reported_of, documents()) if item]
    if not got:
        return _not_shown("The index has no such shadow after ten minutes. A new index of a large fleet takes hours.")
    return _as("certificateId" in got[0], f"The index has {SHADOW}: {json.dumps(got[0])}.")


def metrics(trial: Trial) -> TrialSeen:
    """Read what CloudWatch has counted."""

    def listed() -> bool:
        dimensions = [{"Name": STACK_DIMENSION, "Value": trial.stack.outputs["Prefix"]}]
        asked = {"Namespace": NAMESPACE, "MetricName": Metric.ENROLMENTS.value, "Dimensions": dimensions}
        return bool(trial.client("cloudwatch").list_metrics(**asked)["Metrics"])

    if not trial.until(listed):
        return _not_shown(f"CloudWatch has no metric {Metric.ENROLMENTS} of this stack after ten minutes.")
    return TrialSeen(outcome=FactOutcome.EXPECTED, text=f"CloudWatch has the metric {Metric.ENROLMENTS} of this stack.")


def alarm(trial: Trial) -> TrialSeen:
    """Set an alarm off by hand."""
    watch, name = trial.client("cloudwatch"), trial.stack.named("dead-letters")
    watch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="first-deployment tries it")

    def acted() -> list[str]:
        items = watch.describe_alarm_history(AlarmName=name, HistoryItemType="Action")["AlarmHistoryItems"]
        return [str(item.get("HistorySummary")) for item in items]

    try:
        trial.until(lambda: bool(acted()), attempts=ROUNDS)
        found = acted()
    finally:
        watch.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="first-deployment has tried it")
    return _as("Failed" not in found[0], found[0]) if found else _not_shown("Its history has no action.")


def throttled(trial: Trial) -> TrialSeen:
    """Take the hook away for a moment."""
    before = trial.device.certificate_id()
    trial.client("lambda").put_function_concurrency(FunctionName=trial.hook, ReservedConcurrentExecutions=0)
    try:
        ran = trial.device.run("rotate")
    finally:
        give_back(trial)
    after, connects = trial.device.certificate_id(), _connects(trial)
    holds = ran.code != Exit.DONE and after == before and connects
    words = f"The set in use {'connects' if connects else 'DOES NOT CONNECT'}."
    return _as(holds, f"Exit code {ran.code}. {words} {ran.said}")


def give_back(trial: Trial) -> None:
    """Let the hook run again, as the stack has it."""
    trial.client("lambda").delete_function_concurrency(FunctionName=trial.hook)


STEPS: dict[str, Callable[[Trial], TrialSeen]] = {
    "quotas": quotas,
    "drift": drift,
    "refusal": refusal,
    "enrolment": enrolment,
    "exclusive": exclusive,
    "rotation": rotate,
    "caller": caller,
    "retirement": retirement,
    "deletion": deletion,
    "plain": plain,
    "signer": signer,
    "schedule": schedule,
    "index": index,
    "metrics": metrics,
    "alarm": alarm,
    "throttled": throttled,
}
