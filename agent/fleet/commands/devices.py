"""Serial numbers: `arm`, `devices`, `block` and `readmit`.

A token is printed when its row is written, and never again; a table holds its fingerprint alone.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from agent.backend.errors import ChangedError
from agent.backend.values import DeviceState
from agent.core.exit_codes import Exit
from agent.core.frozen import frozen
from agent.core.text_files import NoTextError, text_of
from agent.fleet.decide import arming
from agent.fleet.errors import AccountError, DeniedError, UsageError
from agent.fleet.tables import table

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.backend.values import Certificate, Device, Replacement
    from agent.fleet.task import OperatorTask

_ATTEMPTS = 4  # at a row that a function writes at the same time
_TOKEN_HEAD = ("Serial", "Thing", "Token")
_AHEAD, _REPLACEMENTS = timedelta(days=1), 10_000  # each that waits is due within minutes; so many are listed
_BOTH = {
    "waits": "{thing} is given to {serial}. The device that it had goes on working until {serial} is in use.",
    "retiring": "{thing} is {serial} now. The certificates of the device before it are being made INACTIVE.",
}


@frozen
class DeviceRow:
    """A serial number, and what has become of it.

    Attributes:
        serial: The serial number.
        thing: The thing.
        state: How far the serial number has come.
        since: The day of its enrolment, or of its first purchase, in UTC, such as 2026-11-29.
        token_until: The last day of its token, such as 2026-11-29.
        bought: How many certificates its token has bought.
        replacement: `waits` or `retiring`, where another device takes the thing over.
    """

    serial: str
    thing: str
    state: DeviceState
    since: str | None
    token_until: str | None
    bought: int
    replacement: str | None


@frozen
class RefusalRow:
    """An enrolment that was refused although its token was right.

    Attributes:
        at: When, in UTC, such as 2026-11-29 09:00.
        serial: The serial number.
        why: Why it was refused.
    """

    at: str
    serial: str
    why: str | None


def arm(task: OperatorTask) -> Exit:
    """Give serial numbers tokens, and print each as soon as it is good."""
    wanted = _wanted(task)
    until = task.now + timedelta(seconds=task.arguments.span) if task.arguments.span else None
    widest = (max(len(item.serial) for item in wanted), max(len(item.thing) for item in wanted))
    task.show([_aligned(_TOKEN_HEAD, widest)])
    refused, notes = [], []
    for item in wanted:
        armed = _arm(task, item, until)
        _emit(task, armed)
        if armed.device is None:
            refused.append(f"{armed.serial} got no token. {armed.why}")
            continue
        task.show([_aligned((armed.serial, armed.thing, armed.token), widest)])
        notes += [f"{armed.serial}: {armed.why}"] if armed.why else []
    task.show([*([""] if notes or refused else []), *notes, *refused])
    if len(refused) < len(wanted):
        task.show(["", "A token is shown this once. It enrols one device, which has it with its serial number in"])
        task.show(["`enrollment.parameters`, as RegistrationToken and SerialNumber."])
    return Exit.REFUSED if refused else Exit.DONE


def devices(task: OperatorTask) -> Exit:
    """List serial numbers, or enrolments that were refused although the token was right."""
    if task.arguments.refused:
        return _refused(task)
    wanted, state = set(task.arguments.serials), task.arguments.state
    pending = {row.serial: row for row in task.fleet.store.replacements(task.now + _AHEAD, _REPLACEMENTS)}
    found = [_row(device, pending.get(device.serial)) for device in task.watched(task.fleet.devices(), "Rows read")]
    rows = [row for row in found if (not wanted or row.serial in wanted) and state in {None, row.state.lower()}]
    rows.sort(key=lambda row: row.serial)
    task.tell(("Serial", "Thing", "State", "Since", "Token until"), rows)
    task.show([_BOTH[row.replacement].format(thing=row.thing, serial=row.serial) for row in rows if row.replacement])
    missing = sorted(wanted - {row.serial for row in found})
    for serial in missing:
        task.output.nothing(f"{serial} is not known: `iot-cert cloud arm {serial}`", Exit.DEGRADED)
    if not rows and not missing:
        task.output.nothing("There is no such serial number.")
    return Exit.DEGRADED if missing else Exit.DONE


def block(task: OperatorTask) -> Exit:
    """Have a serial number refused, and on request cut off what is its thing."""
    serial = task.arguments.serial
    device = _known(task, serial)
    if task.arguments.cut_off:
        question = f"{device.thing} loses its connection, and no gateway makes that good by itself."
        task.confirm(question, device.thing)
    device = _save(task, device, lambda row: replace(row, state=DeviceState.BLOCKED))
    cut = _cut_off(task, device) if task.arguments.cut_off else ()
    if task.output.as_json:
        task.output.emit({"serial": serial, "thing": device.thing, "state": "BLOCKED", "deactivated": list(cut)})
        return Exit.DONE
    task.show([f"{serial} is blocked: it can neither enrol nor rotate. `readmit {serial}` lifts that."])
    if not task.arguments.cut_off:
        task.show([f"The certificates of {device.thing} go on working. --cut-off deactivates them."])
        return Exit.DONE
    task.show([f"{name} is INACTIVE now." for name in cut] or [f"{device.thing} had no active certificate of its own."])
    if cut:
        task.show(["Clients that are connected lose their connection within minutes. To take it back:"])
        task.show([f"  aws iot update-certificate --new-status ACTIVE --certificate-id {name}" for name in cut])
    return Exit.DONE


def readmit(task: OperatorTask) -> Exit:
    """Open one more enrolment for a serial number, for a while."""
    serial = task.arguments.serial
    device = _known(task, serial)
    if task.fleet.stack.parameters.get("ReEnrol") == "never" and device.enrolled_at is not None:
        raise DeniedError(
            f"{serial} has been enrolled, and this stack enrols nothing twice (its parameter ReEnrol is `never`).",
            hint="Deploy it with ReEnrol=armed first. Serial numbers that are not readmitted stay refused then too.",
        )
    token = "" if task.arguments.same_token else arming.token_of(task.chance(arming.ENTROPY))
    until = task.now + timedelta(seconds=task.arguments.span)
    opened = arming.readmit(device, token, until)
    if opened.device is None:
        raise UsageError(f"{serial}: {opened.why}")
    _save(task, device, lambda row: arming.readmit(row, token, until).device or row)
    _emit(task, opened)
    task.show(table(_TOKEN_HEAD, [(serial, device.thing, token or "(as before)")], whole=("Token",)))
    task.show(["", f"It can enrol once more until {until:%Y-%m-%d %H:%M} UTC. {opened.why}".rstrip()])
    task.show(["Certificates that it has go on working. On the gateway: iot-cert enroll"])
    return Exit.DONE


def _wanted(task: OperatorTask) -> list[arming.Wanted]:
    given = task.arguments
    if bool(given.serials) == (given.csv is not None):
        raise UsageError("Name serial numbers, or a file of them with --csv; one of both.")
    if given.csv is not None and given.thing:
        raise UsageError("--thing is for one serial number; the file may have a column `thing`.")
    try:
        if given.csv is None:
            return arming.named(given.serials, given.thing or "", given.thing_prefix)
        return arming.read_csv(text_of(given.csv.read_bytes()).splitlines(), given.thing_prefix)
    except OSError as error:
        raise UsageError(f"{given.csv} cannot be read: {error.strerror}.") from error
    except NoTextError as error:
        raise UsageError(f"{given.csv}: {error}. Nothing was armed.") from None
    except ValueError as error:
        place = f"{given.csv}: " if given.csv is not None else ""
        raise UsageError(f"{place}{error} Nothing was armed.") from None


def _arm(task: OperatorTask, wanted: arming.Wanted, until: datetime | None) -> arming.Armed:
    store, thing = task.fleet.store, wanted.thing
    for _ in range(_ATTEMPTS):
        in_use = tuple(item.certificate_id for item in _active(task, thing))
        held = arming.KnownBefore(
            device=store.device(wanted.serial), in_use=in_use, replacement=store.replacement(thing)
        )
        armed = arming.arm(wanted, held, arming.token_of(task.chance(arming.ENTROPY)), until, task.now)
        if armed.device is None:
            return armed
        with suppress(ChangedError):
            if armed.replacement is not None:
                store.save_replacement(armed.replacement)
            store.save_device(armed.device)
            return armed
    raise AccountError(f"The row of {wanted.serial} goes on changing. It got no token.")


def _active(task: OperatorTask, thing: str) -> list[Certificate]:
    found = (task.fleet.registry.certificate(name) for name in task.fleet.registry.certificates_of(thing) or ())
    return [certificate for certificate in found if certificate is not None and certificate.active]


def _known(task: OperatorTask, serial: str) -> Device:
    device = task.fleet.store.device(serial)
    if device is None:
        raise UsageError(
            f"The serial number {serial} is not known, so it is refused already.",
            hint="`iot-cert cloud devices` lists those that are; `iot-cert cloud arm` makes one known.",
        )
    return device


def _save(task: OperatorTask, device: Device, change: Callable[[Device], Device]) -> Device:
    """Write a row anew until no function writes it at the same time."""
    row: Device | None = device
    for _ in range(_ATTEMPTS):
        if row is None:
            break
        with suppress(ChangedError):
            changed = change(row)
            task.fleet.store.save_device(changed)
            return changed
        row = task.fleet.store.device(device.serial)
    raise AccountError(f"The row of {device.serial} goes on changing. Nothing was done.")


def _cut_off(task: OperatorTask, device: Device) -> tuple[str, ...]:
    active = [certificate.certificate_id for certificate in _active(task, device.thing)]
    records = (task.fleet.store.record(name) for name in active)
    cut = arming.to_cut_off(device.serial, active, [record for record in records if record is not None])
    for name in cut:
        task.fleet.registry.deactivate(name)
    return cut


def _refused(task: OperatorTask) -> Exit:
    since = task.now - timedelta(seconds=task.arguments.span)
    told = task.watched(task.fleet.refused_again(since), "Entries read")
    rows = [RefusalRow(at=_at(item["at"]), serial=str(item.get("serial", "")), why=item.get("reason")) for item in told]
    rows.sort(key=lambda row: row.at)
    task.tell(("At", "Serial", "Why"), rows, whole=("At", "Serial"))
    if not rows:
        task.output.nothing(f"No enrolment with the right token was refused since {since:%Y-%m-%d %H:%M} UTC.")
        return Exit.DONE
    task.show(["", "The token was right. Either a gateway has lost everything (`readmit SERIAL`), or another"])
    task.show(["device was first with its token (`block SERIAL`, and look at the thing's certificates)."])
    return Exit.DEGRADED


def _at(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M}"


def _row(device: Device, replacement: Replacement | None) -> DeviceRow:
    begun = replacement is not None and replacement.settles_at is not None
    since = device.bought_at if device.state is DeviceState.BOUGHT else device.enrolled_at
    return DeviceRow(
        serial=device.serial,
        thing=device.thing,
        state=device.state,
        since=f"{since:%Y-%m-%d}" if since else None,
        token_until=f"{device.token_until:%Y-%m-%d}" if device.token_until else None,
        bought=len(device.bought),
        replacement=None if replacement is None else "retiring" if begun else "waits",
    )


def _emit(task: OperatorTask, armed: arming.Armed) -> None:
    """Print a serial number's JSON: the token is in it, since this is the only place where it is ever told."""
    if task.output.as_json:
        told = {"serial": armed.serial, "thing": armed.thing, "armed": armed.device is not None}
        more = {"token": armed.token, "note": armed.why}
        task.output.emit({**told, **{name: value for name, value in more.items() if value}})


def _aligned(cells: tuple[str, str, str], widest: tuple[int, int]) -> str:
    """Return a row in which the longest names that come have room, and nothing is cut off."""
    serial, thing, token = cells
    return f"{serial:<{max(widest[0], 6)}}  {thing:<{max(widest[1], 5)}}  {token}"
