"""Which serial numbers get a token, are blocked, and are let in once more; and the rows that say so.

* A token is shown once and kept as a fingerprint. Making another one makes the one before worthless.
* A thing that is given to another device is noted beside: the old device's certificates are retired by the stack after
  the first use of the new one's (`agent.backend.decide.replacement`).
* Arming is for a device that has no certificate yet. What would take something from a gateway in the field (a bought
  certificate that it may be about to use, a thing that is another device's) is not done in passing: it has a verb or an
  option of its own.
"""

from __future__ import annotations

import base64
import csv
from dataclasses import field, replace
from typing import TYPE_CHECKING

from agent.backend.decide.admission import fingerprint
from agent.backend.decide.replacement import begun
from agent.backend.decide.verdict import is_name
from agent.backend.values import Device, DeviceState
from agent.core.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime

    from agent.backend.values import Record, Replacement

ENTROPY = 20  # bytes of chance in a token: 160 bits, in 32 letters and digits that can be typed
_COLUMNS = ("serial", "thing")


@frozen
class Wanted:
    """A serial number that is to get a token.

    Attributes:
        serial: The serial number.
        thing: The thing that it is to be.
        replaces: Whether the operator has said that another device was this thing before.
    """

    serial: str
    thing: str
    replaces: bool = False


@frozen
class KnownBefore:
    """What there is already.

    Attributes:
        device: The row of the serial number.
        in_use: The ACTIVE certificates of the thing.
        replacement: The row of the thing, where its device was replaced before.
    """

    device: Device | None = None
    in_use: tuple[str, ...] = ()
    replacement: Replacement | None = None


@frozen
class Armed:
    """What becomes of a serial number.

    Attributes:
        serial: The serial number.
        thing: The thing.
        device: The row to be written; None when it gets no token.
        replacement: The row to be written before that, where the thing is another device's; None where it is not.
        why: Why it gets none, or what is to be known about it.
        token: The token, which is shown to the operator and to no log.
    """

    serial: str
    thing: str
    device: Device | None
    replacement: Replacement | None = None
    why: str = ""
    token: str = field(default="", repr=False)


def token_of(chance: bytes) -> str:
    """Return a token, from `ENTROPY` bytes of chance: no character of it needs quotes, nor begins an option."""
    return base64.b32encode(chance).decode().lower().rstrip("=")


def named(serials: Iterable[str], thing: str = "", prefix: str = "") -> list[Wanted]:
    """Return what is wanted for serial numbers of a command line.

    Args:
        serials: The serial numbers.
        thing: The thing that the only one of them is to be; empty for the one that its serial number names.
        prefix: What stands before the serial number in a thing's name.

    Raises:
        ValueError: It cannot be meant so; the text is a sentence.
    """
    given = list(serials)
    if thing and len(given) != 1:
        raise ValueError("A thing is given to one serial number; for several, use a CSV file with a column `thing`.")
    return _checked([Wanted(serial=item, thing=thing or prefix + item, replaces=bool(thing)) for item in given])


def read_csv(lines: Iterable[str], prefix: str = "") -> list[Wanted]:
    """Return what is wanted by a CSV file: a line with the columns' names, `serial` and perhaps `thing` among them.

    The line of the names tells what is between the columns: a spreadsheet writes semicolons or tabs where a comma is
    for decimals. It writes rows in which nothing is, too.

    Args:
        lines: The file's.
        prefix: Before a serial number, it makes the name of a thing that the file does not name.

    Raises:
        ValueError: It cannot be meant so; the text is a sentence with the line's number.
    """
    every = list(lines)
    above = next((number for number, line in enumerate(every) if not _is_above(line)), 0)
    reader = csv.reader(every[above:], delimiter=_delimiter(every[above:]), strict=True, skipinitialspace=True)
    try:
        columns = [name.strip().lower() for name in next(reader, [])]
        if _COLUMNS[0] not in columns:
            raise ValueError(
                f"Line {above + 1} does not name a column `serial`. It names the columns: `serial`, or `serial,thing`."
            )
        cells = ((above + reader.line_num, [cell.strip() for cell in row]) for row in reader)
        rows = [(number, dict(zip(columns, row, strict=False))) for number, row in cells if any(row)]
    except csv.Error as error:
        raise ValueError(f"Line {above + reader.line_num} cannot be read as CSV: {error}.") from None
    found = [(number, row.get("serial", ""), row.get("thing", "")) for number, row in rows]
    for number, serial, thing in found:
        if not is_name(serial) or not is_name(thing or serial):
            raise ValueError(f"Line {number}: {_NAMES}")
    return _checked([Wanted(serial=serial, thing=thing or prefix + serial) for _, serial, thing in found])


def _is_above(line: str) -> bool:
    """Whether a line stands above the columns' names: an empty one, or the one in which Excel says what is between."""
    return not line.strip() or line.lower().startswith("sep=")


def _delimiter(lines: Sequence[str]) -> str:
    return next((mark for mark in ",;\t|" if lines and mark in lines[0]), ",")


_NAMES = "a serial number and a thing have 1 to 128 letters, digits and `:_-`."


def _checked(wanted: list[Wanted]) -> list[Wanted]:
    for item in wanted:
        if not is_name(item.serial) or not is_name(item.thing):
            raise ValueError(f"{item.serial!r}: {_NAMES}")
    for what, names in (("serial number", [w.serial for w in wanted]), ("thing", [w.thing for w in wanted])):
        twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        if twice:
            raise ValueError(f"The {what} {twice[0]} is there twice. Each device has one of its own.")
    if not wanted:
        raise ValueError("There is no serial number.")
    return wanted


def arm(wanted: Wanted, held: KnownBefore, token: str, until: datetime | None, now: datetime) -> Armed:
    """Decide about a token for a serial number.

    Args:
        wanted: What is wanted.
        held: What there is already.
        token: The token that it gets.
        until: When the token ends; None for never.
        now: The present time.
    """
    known = held.device
    refused = _against(known) or ("" if wanted.replaces or not held.in_use else _taken(wanted))
    if refused:
        return Armed(serial=wanted.serial, thing=wanted.thing, device=None, why=refused)
    row = known or Device(serial=wanted.serial, thing=wanted.thing, state=DeviceState.ARMED)
    replaced = begun(wanted.thing, wanted.serial, held.in_use, held.replacement, now) if held.in_use else None
    return Armed(
        serial=wanted.serial,
        thing=wanted.thing,
        device=_with_token(replace(row, thing=wanted.thing), token, until),
        replacement=replaced,
        why=_note(wanted, known, replaced),
        token=token,
    )


def readmit(known: Device, token: str, until: datetime | None) -> Armed:
    """Decide about one more enrolment of a serial number.

    Args:
        known: Its row.
        token: Its new token; empty to let in the one that it has.
        until: When that ends; None for never.
    """
    device = _with_token(known, token, until)
    why = "It was blocked, and is not any more." if known.state is DeviceState.BLOCKED else ""
    if not device.token_sha256:
        why = "It has no token that could be let in again: leave out --same-token."
        return Armed(serial=known.serial, thing=known.thing, device=None, why=why)
    return Armed(serial=known.serial, thing=known.thing, device=device, why=why, token=token)


def to_cut_off(serial: str, active: Collection[str], records: Iterable[Record]) -> tuple[str, ...]:
    """Return which active certificates of a thing are deactivated with a serial number.

    All are but those that another serial number has bought: that is the device that replaced this one.

    Args:
        serial: The serial number.
        active: The ACTIVE certificates of its thing.
        records: Those of their rows that there are.
    """
    others = {record.certificate_id for record in records if record.serial not in {"", serial}}
    return tuple(sorted(set(active) - others))


def _with_token(device: Device, token: str, until: datetime | None) -> Device:
    return replace(
        device,
        state=DeviceState.ARMED,
        token_sha256=fingerprint(device.serial, token) if token else device.token_sha256,
        token_until=until,
        bought=frozenset(),
        bought_at=None,
    )


def _against(known: Device | None) -> str:
    match known:
        case None | Device(state=DeviceState.ARMED):
            return ""
        case Device(state=DeviceState.BOUGHT):
            return (
                f"Its token has bought a certificate for {known.thing}, and the gateway may be about to use it. "
                "`readmit` gives it another token."
            )
        case Device(state=DeviceState.BLOCKED):
            return "It is blocked. `readmit` lifts that, for a while."
        case _:
            return f"It is enrolled as {known.thing}. `readmit` opens one more enrolment."


def _taken(wanted: Wanted) -> str:
    return (
        f"A device is {wanted.thing} already, with an active certificate. "
        f"If this one replaces it: arm {wanted.serial} --thing {wanted.thing}"
    )


def _note(wanted: Wanted, known: Device | None, replaced: Replacement | None) -> str:
    if replaced is not None:
        return (
            f"The device that was {wanted.thing} before keeps working until the new one is in use. Its certificates "
            f"are made INACTIVE then, within minutes. To keep it: block {wanted.serial}"
        )
    return "The token that it had before is worthless now." if known is not None else ""
