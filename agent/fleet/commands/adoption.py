"""`adopt`: make gateways of an existing fleet ready for the agent, one after the other, and take that back.

What is about to be attached is written to a journal first, a line of JSON each. Taking back goes by it: what a gateway
had before is not in it, and stays.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

from agent.backend.decide.verdict import is_name
from agent.backend.errors import ChangedError
from agent.core.exit_codes import Exit
from agent.core.frozen import frozen
from agent.core.jsonio import PlainError, decode, encode_plain
from agent.core.text import counted as number_of
from agent.fleet.decide.adoption import EXCLUSIVE, AdoptableCertificate, Adoption, adopt
from agent.fleet.errors import UsageError

if TYPE_CHECKING:
    from agent.fleet.decide.adoption import AdoptionStep
    from agent.fleet.decide.overview import IndexedThing
    from agent.fleet.task import OperatorTask


_MAX_ENTRY = 65_536  # bytes of one line


@frozen
class JournalEntry:
    """What a certificate is about to be given: a line of the journal."""

    thing: str = ""
    certificate: str
    policies: tuple[str, ...]


def adoption(task: OperatorTask) -> Exit:
    """Say what would be done; with `--apply` do it, with `--undo` take back what was attached."""
    if task.arguments.undo:
        return _undo(task)
    if task.arguments.query is None:
        raise UsageError("Name the things with --query; `thingName:gw-0042` is one to begin with.")
    if task.arguments.apply:
        task.confirm("Policies are added to certificates in use, and their attachments become exclusive.", "adopt")
    counted = {"ready": 0, "adopted": 0, "left": 0}
    total = task.fleet.count(task.arguments.query)
    for found in task.watched(task.fleet.search(task.arguments.query), "Things looked at", total):
        judged = _judged(task, found)
        result, why = _carried_out(task, judged)
        counted[result] += 1
        _tell(task, judged, result, why)
        task.pause(1 / task.arguments.per_second)
    if not any(counted.values()):
        task.output.nothing("The query finds nothing.")
        return Exit.DONE
    done = "Adopted" if task.arguments.apply else "Would be adopted"
    task.show([f"{done}: {counted['adopted']}. Ready before: {counted['ready']}. Left as before: {counted['left']}."])
    if counted["adopted"] and not task.arguments.apply:
        task.show(["Nothing was changed. Begin with one gateway: --query thingName:NAME --apply"])
    return Exit.DEGRADED if counted["left"] else Exit.DONE


def _judged(task: OperatorTask, found: IndexedThing) -> Adoption:
    fleet, thing = task.fleet, found.name
    attribute = task.arguments.serial_attribute
    serial = found.attributes.get(attribute, "") if attribute else thing
    if not is_name(serial):
        return Adoption(thing=thing, why=f"Its attribute {attribute} is no serial number.")
    names = fleet.registry.certificates_of(thing)
    held = None if names is None else [item for item in (_held(task, name) for name in names) if item is not None]
    return adopt(thing, held, fleet.stack.gateway_policies, (serial, fleet.store.device(serial)), task.now)


def _held(task: OperatorTask, name: str) -> AdoptableCertificate | None:
    fleet = task.fleet
    certificate = fleet.registry.certificate(name)
    if certificate is None or not certificate.active:
        return None
    return AdoptableCertificate(
        certificate=certificate,
        attachments=fleet.attachments(name),
        policies=fleet.registry.policies_of(name),
        noted=fleet.store.record(name) is not None,
    )


def _carried_out(task: OperatorTask, judged: Adoption) -> tuple[str, str]:
    if judged.why:
        return "left", judged.why
    if judged.ready:
        return "ready", ""
    if not task.arguments.apply:
        return "adopted", ""
    try:
        plain = [step for step in judged.steps if not _take(task, judged.thing, step)]
        if judged.device is not None:
            task.fleet.store.save_device(judged.device)
    except ChangedError as error:
        return "left", f"AWS does not let it be done, or it has changed: {error}"
    return ("left", _PLAIN) if plain else ("adopted", "")


_PLAIN = (
    "AWS does not say yet that its attachment is exclusive. Run the same again in a minute; if it says so still, the "
    "attachment of before has to be taken off and made anew, at a time when the gateway may be off line."
)


def _take(task: OperatorTask, thing: str, step: AdoptionStep) -> bool:
    """Give a certificate what it lacks; return whether its attachment is exclusive then, by AWS's word."""
    _note(task, JournalEntry(thing=thing, certificate=step.certificate_id, policies=step.policies))
    for policy in step.policies:
        task.fleet.registry.attach_policy(policy, step.certificate_id)
    if step.exclusive:
        task.fleet.registry.attach_thing(thing, step.certificate_id)
    if step.record is not None:
        with suppress(ChangedError):  # a function has written it meanwhile
            task.fleet.store.save_record(step.record)
    return not step.exclusive or task.fleet.attachments(step.certificate_id).get(thing) == EXCLUSIVE


def _note(task: OperatorTask, entry: JournalEntry) -> None:
    path = task.arguments.journal
    try:
        with path.open("ab") as journal:
            journal.write(encode_plain(asdict(entry)) + b"\n")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}. Nothing more was done.") from error


def _undo(task: OperatorTask) -> Exit:
    entries = _entries(task)
    if not entries:
        task.output.nothing(f"{task.arguments.journal} names no certificate.")
        return Exit.DONE
    task.confirm("What the journal says was attached is detached: the agents of these gateways can connect no more, "
                 "and their applications go on.", "undo")  # fmt: skip
    for entry in task.watched(entries, "Certificates", len(entries)):
        for policy in entry.policies:
            task.fleet.detach_policy(policy, entry.certificate)
        step = {"certificate": entry.certificate, "policies": entry.policies, "exclusive": False}
        task.output.tell({"thing": entry.thing, "result": "undone", "why": None, "steps": [step], "dry_run": False})
        task.pause(1 / task.arguments.per_second)
    has = "has" if len(entries) == 1 else "have"
    number = number_of(len(entries), "certificate")
    task.show([f"{number} {has} the policies of before. Attachments stay exclusive, and rows stay."])
    return Exit.DONE


def _entries(task: OperatorTask) -> list[JournalEntry]:
    path = task.arguments.journal
    try:
        lines = path.read_bytes().splitlines()
        return [decode(line, "the journal", limit=_MAX_ENTRY).record(JournalEntry) for line in lines]
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    except PlainError:
        raise UsageError(f"{path} is no journal of `iot-cert cloud adopt`.") from None


def _tell(task: OperatorTask, judged: Adoption, result: str, why: str) -> None:
    steps = [
        {"certificate": step.certificate_id, "policies": list(step.policies), "exclusive": step.exclusive}
        for step in judged.steps
    ]
    lines = {
        "left": [f"{judged.thing} is left as it is. {why}"],
        "adopted": [judged.thing, *(f"  {_of_step(step)}" for step in judged.steps)],
    }
    told = {"thing": judged.thing, "result": result, "why": why or None, "steps": steps}
    task.output.tell({**told, "dry_run": not task.arguments.apply}, *lines.get(result, ()))


def _of_step(step: AdoptionStep) -> str:
    parts = [f"policy {name}" for name in step.policies] + (["exclusive attachment"] if step.exclusive else [])
    return f"{step.certificate_id[:12]}: {', '.join([*parts, *(['row'] if step.record else [])])}"
