from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.system.service.journal_reader import line_of
from support.suite.surroundings import lacks

WHEN = datetime(2027, 3, 1, 12, tzinfo=UTC)
JOURNALD = Path("/lib/systemd/systemd-journald")


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (
            {"_HOSTNAME": "gw", "SYSLOG_IDENTIFIER": "iot-cert-agent", "_PID": 7, "MESSAGE": "Up."},
            "gw iot-cert-agent[7]: Up.",
        ),
        ({"_HOSTNAME": "gw", "_COMM": "iot-cert", "SYSLOG_PID": 8, "MESSAGE": ""}, "gw iot-cert[8]: "),
        ({"MESSAGE": "no more is known"}, " unknown: no more is known"),
        ({"_HOSTNAME": "gw", "_COMM": "sh", "MESSAGE": b"\xff is no text"}, "gw sh: \ufffd is no text"),
        ({"_HOSTNAME": "gw", "_COMM": ["sh", "x"], "MESSAGE": ["first", "second"]}, "gw sh: first"),
        ({"_HOSTNAME": "gw", "_COMM": "sh", "MESSAGE": "two\nlines"}, f"gw sh: two\n{' ' * 32}lines"),
    ],
)
def test_a_record_is_a_line_as_people_know_it(fields: dict[str, Any], line: str) -> None:
    """Whatever it lacks."""
    assert line_of({"__REALTIME_TIMESTAMP": WHEN, **fields}) == f"2027-03-01T12:00:00+0000 {line}"


def test_without_the_library_the_reader_says_who_can() -> None:
    """In a sentence, and no traceback."""
    script = (
        "import runpy, sys\n"
        "sys.modules['systemd'] = None\n"
        "runpy.run_module('agent.system.service.journal_reader', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("The journal cannot be read here, as systemd's library cannot be loaded (")
    assert done.stderr.endswith("shows it to root and to the group systemd-journal.\n")


# Run in a mount namespace of its own, with the real systemd-journald and no systemd. So no record has a unit, but for
# what root says of a unit's core dump. When journald is told to end, it first takes what it was sent.
REAL = """\
set -e
mount -t tmpfs none /run
mount -t tmpfs none /var/log
mkdir -p /run/systemd/journal /run/log/journal
"$1" 2>/run/journald.log &
journald=$!
until [ -S /run/systemd/journal/socket ]; do kill -0 $journald; sleep 0.05; done
"$2" -I -c "$3"
kill $journald
wait $journald
"$2" -I -m agent.system.service.journal_reader
"""
SAID = """\
from systemd._journal import sendv
from agent.core.report.journal_events import Event
from agent.system.service.datagram import has_room
from agent.system.service.journal import JOURNAL_SOCKET, EventLog

UNIT = ("MESSAGE_ID=fc2e22bc6ee647b6b90729ab34a250b1", "COREDUMP_UNIT=iot-cert-agent.service")
for number in range(2003):
    sendv(f"MESSAGE=number {number}", "SYSLOG_IDENTIFIER=test", *UNIT)
sendv("MESSAGE=of another unit", UNIT[0], "COREDUMP_UNIT=other.service")
assert has_room(JOURNAL_SOCKET, 60.0)
EventLog(None, native=True, send=lambda *record: sendv(*record, *UNIT)).log(Event.STARTED, "The last word.")
"""


@pytest.mark.root
def test_the_journal_gives_back_what_was_sent() -> None:
    """Through the real library, the real journal and the real library again: the latest records, in their order."""
    if not JOURNALD.exists():
        lacks("systemd-journald")
    command = [
        "unshare",
        "--mount",
        "--propagation=private",
        "sh",
        "-c",
        REAL,
        "sh",
        str(JOURNALD),
        sys.executable,
        SAID,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    *numbers, last = done.stdout.splitlines()
    assert [line.partition(": ")[2] for line in numbers] == [f"number {number}" for number in range(4, 2003)]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+0000 \S+ iot-cert-agent\[\d+\]: The last word\.", last)
