"""Reads back what the journal has of the agent's unit; run with `python -I -m agent.system.service.journal_reader`.

It prints the latest records, oldest first, as `journalctl --output=short-iso` does. It is a process of its own for the
support bundle, which gives it an end: a journal may be large or damaged, and the library reads it through memory maps,
so that a bad disk ends the process with a signal. It is not for the daemon: `systemd.journal` brings `logging`, `uuid`
and more.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

UNIT = "iot-cert-agent.service"
RECORDS = 2000

_COREDUMP = "fc2e22bc6ee647b6b90729ab34a250b1"  # systemd-coredump's MESSAGE_ID
_ELSEWHERE = "`journalctl -u iot-cert-agent` shows it to root and to the group systemd-journal."


def main() -> int:
    """Print the records; without any, say on standard error why, and return 1."""
    try:
        lines = read()
    except ImportError as error:
        why = f"The journal cannot be read here, as systemd's library cannot be loaded ({error})."
    except OSError as error:
        why = f"The journal cannot be read: {error.strerror}."
    else:
        if lines:
            sys.stdout.buffer.write("".join(f"{line}\n" for line in lines).encode(errors="replace"))
            return 0
        why = f"The journal has no record of {UNIT} that this user may read."
    print(why, _ELSEWHERE, file=sys.stderr)  # noqa: T201 - a program of its own
    return 1


def read(unit: str = UNIT, records: int = RECORDS) -> list[str]:
    """Return a line for each of the latest records of a unit, oldest first.

    Raises:
        ImportError: systemd's library cannot be loaded.
        OSError: It cannot read the journal.
    """
    from systemd.journal import Reader  # noqa: PLC0415 - see the module's docstring

    found: list[str] = []
    with Reader() as reader:
        _select(reader, unit)
        reader.seek_tail()
        while len(found) < records and (record := reader.get_previous()):
            found.append(line_of(record))
    return found[::-1]


def _select(reader: Any, unit: str) -> None:
    """Choose what journalctl's `--unit` does: what the unit says, and what is said of it by systemd and by root."""
    reader.add_match(_SYSTEMD_UNIT=unit)
    reader.add_disjunction()
    reader.add_match(_PID="1", UNIT=unit)
    reader.add_disjunction()
    reader.add_match(_UID="0", OBJECT_SYSTEMD_UNIT=unit)
    reader.add_disjunction()
    reader.add_match(MESSAGE_ID=_COREDUMP, _UID="0", COREDUMP_UNIT=unit)


def line_of(record: Mapping[str, Any]) -> str:
    """Return a record as people read it: time, host, program, process and message.

    Args:
        record: The fields that the library gives; any may be missing, and be bytes or a list.
    """
    when = record.get("__REALTIME_TIMESTAMP")
    host, program = _text(record, "_HOSTNAME"), _text(record, "SYSLOG_IDENTIFIER") or _text(record, "_COMM")
    process = _text(record, "_PID") or _text(record, "SYSLOG_PID")
    head = f"{when:%Y-%m-%dT%H:%M:%S%z} {host} {program or 'unknown'}{f'[{process}]' if process else ''}: "
    return head + _text(record, "MESSAGE").replace("\n", "\n" + " " * len(head))


def _text(record: Mapping[str, Any], name: str) -> str:
    value = record.get(name, "")
    first = value[0] if isinstance(value, list) else value
    return first.decode(errors="replace") if isinstance(first, bytes) else str(first)


if __name__ == "__main__":
    sys.exit(main())
