"""`first-deployment`: try on AWS, with one test device, what no emulator shows; write down what was seen.

It stops at the first surprise. What was settled is in the transcript, so the same command goes on after it; what was
made for the test device is removed at the end, or with `--clean-up`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from agent import __version__
from agent.backend.values import Device, DeviceState
from agent.config.files import MAX_MATERIAL, read_bounded
from agent.core.exit_codes import Exit
from agent.fleet.aws import telling
from agent.fleet.decide import arming, trial
from agent.fleet.decide.trial import FACTS, FactOutcome, TrialSeen
from agent.fleet.errors import AccountError, DeniedError, NotNowError, NotOfferedError, UsageError
from agent.fleet.trial.account import TrialAccount
from agent.fleet.trial.device import TrialDevice, TrialPlace
from agent.fleet.trial.steps import ROUNDS, STEPS, Trial, give_back

if TYPE_CHECKING:
    from agent.fleet.decide.trial import Fact
    from agent.fleet.task import OperatorTask

_TOKEN_GOOD_FOR = timedelta(days=1)
_QUESTION = (
    "A test device is made and removed again: a serial number, a thing, certificates, a policy. An alarm goes off by "
    "hand, and for a moment no gateway can enrol or rotate. Connections are not touched."
)


def first_deployment(task: OperatorTask) -> Exit:
    """Try each fact that is not settled, in a safe order."""
    found = _trial(task)
    if task.arguments.clean_up:
        return _clean_up(found)
    left = _left(found.device)
    if found.device.known:
        give_back(found)  # of a run that was ended in between
    elif left:
        _begin(found)
    else:
        task.output.nothing(f"All of it was tried: {found.device.transcript}. Another --directory tries it anew.")
        return Exit.DONE
    for fact in left:
        task.progress(f"Trying {fact.key}")
        seen = _tried(found, fact)
        task.progress("")
        _note(found, fact, seen)
        if seen.outcome is FactOutcome.SURPRISE:
            return _stopped(found)
    _append(found.device, trial.not_tried())
    return _clean_up(found)


def _left(device: TrialDevice) -> list[Fact]:
    settled = trial.settled(device.transcript.read_text()) if device.transcript.exists() else set()
    return [fact for fact in FACTS if fact.tried and fact.key not in settled]


def _trial(task: OperatorTask) -> Trial:
    device = TrialDevice(task.arguments.directory)

    def token() -> str:
        made, store, known = arming.token_of(task.chance(arming.ENTROPY)), task.fleet.store, device.known
        row = store.device(known["serial"]) or Device(
            serial=known["serial"], thing=known["thing"], state=DeviceState.ARMED
        )
        opened = arming.readmit(row, made, task.now + _TOKEN_GOOD_FOR).device
        assert opened is not None  # noqa: S101 - it has the token that was just made
        store.save_device(opened)
        return made

    return Trial(task=task, account=TrialAccount(task.fleet), device=device, token=token)


def _begin(found: Trial) -> None:
    """Make the test device, after asking.

    Raises:
        AccountError: Its names are taken, its directory cannot be written, or the operator does not want it.
        ConfigError: The anchors that were named cannot be read.
    """
    task, device = found.task, found.device
    serial, thing = task.arguments.serial, task.arguments.serial
    if task.fleet.store.device(serial) is not None or task.fleet.registry.is_thing(thing):
        raise UsageError(f"The serial number or the thing {serial} is there already.", hint="--serial names another.")
    if task.arguments.anchors is not None:
        read_bounded(task.arguments.anchors, MAX_MATERIAL, "trust anchors file")
    task.confirm(_QUESTION, "try")
    try:
        device.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        device.transcript.touch()
    except OSError as error:
        raise UsageError(f"{device.directory} cannot be written: {error.strerror}. Nothing was made.") from error
    outputs, stack = task.fleet.stack.outputs, task.fleet.stack
    claim, texts = task.fleet.make_claim()
    known = {"serial": serial, "thing": thing, "claim": claim}
    device.make(known, texts, _place(task), (outputs["EnrolmentTemplate"], outputs["RotationTemplate"]))
    task.fleet.registry.attach_policy(stack.claim_policy, claim)
    if not device.transcript.read_text():
        region = stack.arn.split(":")[3]
        _append(device, trial.beginning(region, outputs.get("CodeKey", "(not told)"), __version__, task.now))


def _place(task: OperatorTask) -> TrialPlace:
    given = task.arguments
    endpoint = given.endpoint or task.fleet.endpoint()
    return TrialPlace(endpoint=endpoint, port=given.port, anchors=given.anchors.absolute() if given.anchors else None)


def _tried(found: Trial, fact: Fact) -> TrialSeen:
    try:
        with telling():
            return STEPS[fact.key](found)
    except NotOfferedError as error:
        return TrialSeen(outcome=FactOutcome.NOT_SHOWN, text=str(error))
    except (DeniedError, NotNowError, UsageError):
        raise  # nothing about the fact: the same command tries it again
    except AccountError as error:
        return TrialSeen(outcome=FactOutcome.SURPRISE, text=str(error))


def _note(found: Trial, fact: Fact, seen: TrialSeen) -> None:
    task, secrets = found.task, found.device.secrets
    _append(found.device, trial.entry(fact, seen, task.now, secrets))
    text = trial.masked(seen.text, secrets)
    if task.output.as_json:
        task.output.emit({"fact": fact.key, "outcome": seen.outcome.value, "saw": text})
    else:
        task.output.field(fact.key, f"{seen.outcome}. {text}")


def _append(device: TrialDevice, text: str) -> None:
    with device.transcript.open("a", encoding="utf-8") as transcript:
        transcript.write(text)


def _stopped(found: Trial) -> Exit:
    task = found.task
    task.show(
        ["", "That is not what was expected, so nothing more is tried. No gateway was touched. Tell the project,"]
    )
    task.show([f"with {found.device.transcript}. The same command tries it again and goes on; --clean-up removes the"])
    task.show(["test device."])
    return Exit.DEGRADED


def _clean_up(found: Trial) -> Exit:
    """Remove what was made for the test device; what AWS does not let go yet is tried again the next time.

    Raises:
        NotNowError: AWS does not let a certificate go yet.
    """
    task, device, known = found.task, found.device, found.device.known
    if not known:
        return _removed(task, "There is nothing to be removed.")
    give_back(found)
    registry, thing = task.fleet.registry, known["thing"]
    device.note(registry.certificates_of(thing) or ())  # once they are off, nothing else names them
    names = sorted(device.noted)
    for name in (*names, known["claim"]):
        found.account.deactivate(name)
    for name in names:
        registry.detach_thing(thing, name)
    for name in (*names, known["claim"]):
        if not found.until(lambda name=name: found.account.remove(name), attempts=ROUNDS):  # type: ignore[misc]
            raise NotNowError(f"AWS does not let {name[:12]} be deleted yet.", hint="Run it again with --clean-up.")
    found.account.forget(known["serial"], thing, names, found.policy)
    device.remove()
    return _removed(task, f"The test device is gone from the account. What was seen: {device.transcript}")


def _removed(task: OperatorTask, text: str) -> Exit:
    if task.output.as_json:
        task.output.emit({"fact": "clean-up", "outcome": FactOutcome.EXPECTED, "saw": text})
    task.show(["", text])
    return Exit.DONE
