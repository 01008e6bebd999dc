from __future__ import annotations

import os
import socket
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core.report.journal_events import Event
from agent.system.service.journal import MAX_TEXT, EventLog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Noon:
    """A clock that stands."""

    def now(self) -> datetime:
        """Return noon and a bit."""
        return datetime(2026, 5, 4, 12, 0, 7, tzinfo=UTC)

    def synchronised(self) -> bool:
        """Vouch for it."""
        return True


class Journal:
    """The journal and libsystemd: a real datagram socket, and what sends to it once there is room."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(self.path)

    def send(self, *assignments: str) -> None:
        """Send a record as the library does, with a socket that does not wait."""
        data = "\0".join(assignments).encode()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sending:
            sending.sendto(data, self.path)

    def record(self) -> dict[str, str]:
        """Return the fields of the oldest record; no field may stand twice."""
        pairs = [item.partition("=")[::2] for item in self.socket.recv(1 << 20).decode().split("\0")]
        assert len({name for name, _ in pairs}) == len(pairs)
        return dict(pairs)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """Give a journal that listens."""
    listening = Journal(tmp_path / "socket")
    with listening.socket:
        yield listening


@pytest.fixture
def events(journal: Journal) -> Iterator[EventLog]:
    """Give an event log that writes to the journal."""
    writing = EventLog(Noon(), native=True, send=journal.send, path=journal.path)
    yield writing
    writing.close()


def test_a_record_holds_the_sentence_the_number_and_the_fields(journal: Journal, events: EventLog) -> None:
    """People read MESSAGE, machines match the rest; what is not known is left out."""
    events.log(
        Event.CHANGE_COMMITTED, "Generation 7 is final.", change="c-1", generation=7, attempts=0, failure_class=None
    )
    assert journal.record() == {
        "MESSAGE": "Generation 7 is final.",
        "MESSAGE_ID": "c3cdd5a49df14bf3ada5ef0bed94e1b5",
        "PRIORITY": "5",
        "SYSLOG_IDENTIFIER": "iot-cert-agent",
        "IOT_CERT_EVENT": "change-committed",
        "IOT_CERT_CHANGE": "c-1",
        "IOT_CERT_GENERATION": "7",
        "IOT_CERT_ATTEMPTS": "0",
    }


def test_a_text_from_outside_cannot_forge_a_field(journal: Journal, events: EventLog) -> None:
    """A reason string with line breaks is one line of the message, and bounded."""
    events.log(Event.DISCONNECTED, "bye\nPRIORITY=0\n\ud800\x1b[2J" + "世" * 5000)
    record = journal.record()
    assert record["PRIORITY"] == "6"
    assert record["MESSAGE"].startswith("bye PRIORITY=0 ? [2J世世")
    assert len(record["MESSAGE"]) == MAX_TEXT


def test_a_field_keeps_its_lines_and_forges_nothing(journal: Journal, events: EventLog) -> None:
    """A traceback stays readable; nothing in it becomes a field of its own."""
    events.log(Event.DEFECT, "Defect.", traceback="line 1\n  line 2\x1b[2J\nPRIORITY=0\nMESSAGE")
    record = journal.record()
    assert record["IOT_CERT_TRACEBACK"] == "line 1\n  line 2 [2J\nPRIORITY=0\nMESSAGE"
    assert (record["PRIORITY"], record["MESSAGE"]) == ("3", "Defect.")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters()), st.dictionaries(st.text(st.characters()), st.text(st.characters()) | st.integers()))
def test_whatever_is_logged_arrives_as_one_sound_record(
    journal: Journal, events: EventLog, text: str, fields: dict[str, str | int]
) -> None:
    """Any text and any names leave the agent's own fields as they are and make no field outside its prefix."""
    events.log(Event.STARTED, text, **fields)
    record = journal.record()
    own = {"MESSAGE", "MESSAGE_ID", "PRIORITY", "SYSLOG_IDENTIFIER"}
    assert record["MESSAGE_ID"] == Event.STARTED.message.id
    assert record["IOT_CERT_EVENT"] == "started"
    assert all(name in own or name.startswith("IOT_CERT_") for name in record)


def test_a_field_of_the_callers_cannot_replace_the_agents_own(journal: Journal, events: EventLog) -> None:
    """The event's name is the event's."""
    events.log(Event.STARTED, "Up.", event="locked-out", **{"é": "dropped", "x" * 60: "too long", "a b": "no name"})
    record = journal.record()
    assert record["IOT_CERT_EVENT"] == "started"
    assert len(record) == 5


def test_a_missing_journal_stops_nothing_and_the_loss_is_told(tmp_path: Path) -> None:
    """Records are dropped while no journal listens, and the next one says how many."""
    journal = Journal(tmp_path / "socket")
    writing = EventLog(Noon(), native=True, send=journal.send, path=journal.path)
    journal.socket.close()
    writing.log(Event.STARTED, "Up.")
    (tmp_path / "socket").unlink()
    writing.log(Event.CONNECTED, "Connected.")
    journal = Journal(tmp_path / "socket")
    with journal.socket:
        writing.log(Event.DISCONNECTED, "Gone.")
        writing.log(Event.CONNECTED, "Back.")
        assert journal.record()["IOT_CERT_LOST"] == "2"
        assert "IOT_CERT_LOST" not in journal.record()
    writing.close()


def test_a_full_journal_holds_nothing_up(journal: Journal, events: EventLog) -> None:
    """With the queue full a record is dropped at once; once there is room the loss is told."""
    for number in range(5000):
        events.log(Event.PROGRESS, str(number))
    taken = 0
    while True:
        try:
            journal.record()
        except BlockingIOError:
            break
        taken += 1
    events.log(Event.PROGRESS, "after")
    assert journal.record()["IOT_CERT_LOST"] == str(5000 - taken)


def test_without_a_journal_an_event_is_a_line_on_standard_error(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person in a terminal reads time, event and sentence."""
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    EventLog(Noon()).log(Event.TROUBLE_SERVER_TRUST, "No anchor\nsigns it.", generation=7)
    EventLog(Noon()).log(Event.LADDER, "Trying the previous set.")
    assert capfd.readouterr().err == (
        "12:00:07  trouble-server-trust  No anchor signs it.\n"
        "12:00:07  ladder                Trying the previous set.\n"
    )


def test_the_journal_is_used_where_standard_error_leads_to_it(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JOURNAL_STREAM names the stream that systemd connected; any other standard error is a person's."""
    with (tmp_path / "stream").open("w") as stream, (tmp_path / "elsewhere").open("w") as elsewhere:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        for file, event in ((stream, Event.STARTED), (elsewhere, Event.STOPPING)):
            writing = EventLog(Noon(), send=journal.send, path=journal.path, fd=file.fileno())
            writing.log(event, "Seen.")
            writing.close()
    assert journal.record()["IOT_CERT_EVENT"] == "started"
    assert (tmp_path / "stream").read_text() == ""
    assert (tmp_path / "elsewhere").read_text() == "12:00:07  stopping              Seen.\n"


def test_a_pipe_that_no_reader_empties_holds_nothing_up() -> None:
    """Lines are whole or missing, and a full pipe is not waited for."""
    read, write = os.pipe()
    writing = EventLog(Noon(), native=False, fd=write)
    for _ in range(500):
        writing.log(Event.PROGRESS, "世" * MAX_TEXT)
    os.close(write)
    with open(read, "rb") as pipe:  # noqa: PTH123 - a descriptor
        lines = pipe.read().decode().splitlines()
    assert 0 < len(lines) < 500
    assert len({*lines}) == 1
    assert lines[0].endswith("世世")


def test_a_closed_standard_error_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon whose terminal is gone goes on."""
    read, write = os.pipe()
    os.close(read)
    writing = EventLog(Noon(), native=False, fd=write)
    writing.log(Event.PROGRESS, "No reader reads this.")
    os.close(write)
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    EventLog(Noon(), fd=write).log(Event.PROGRESS, "Nor this.")
    assert writing._lost == 1


def test_after_the_end_events_are_plain_lines(
    journal: Journal, events: EventLog, capfd: pytest.CaptureFixture[str]
) -> None:
    """What is said while the daemon goes down is not lost."""
    events.close()
    events.log(Event.STOPPING, "Down.")
    with pytest.raises(BlockingIOError):
        journal.record()
    assert capfd.readouterr().err == "12:00:07  stopping              Down.\n"


def test_without_the_library_an_event_is_a_line_also_for_the_journal(tmp_path: Path) -> None:
    """Systemd puts what a service writes into the journal."""
    with (tmp_path / "stream").open("w") as stream:
        EventLog(Noon(), native=True, send=None, path=str(tmp_path / "none"), fd=stream.fileno()).log(
            Event.STARTED, "Up."
        )
    assert (tmp_path / "stream").read_text() == "12:00:07  started               Up.\n"


# Everything that follows is the real library, which knows one address. So it is given a root directory of its own.
REAL = """\
import os, socket, sys
from agent.core.report.journal_events import Event
from agent.system.service.journal import JOURNAL_SOCKET, EventLog
from datetime import UTC, datetime

class Clock:
    def now(self):
        return datetime(2026, 5, 4, tzinfo=UTC)

def listen():
    journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    journal.bind(JOURNAL_SOCKET)
    os.chmod(JOURNAL_SOCKET, 0o666)
    return journal

def taken(journal):
    number = 0
    try:
        while journal.recv(1 << 20):
            number += 1
    except BlockingIOError:
        return number

def shrink():
    "Give the library's socket, the one without a name, as small a buffer as there is."
    for fd in range(3, 16):
        try:
            sending = socket.socket(fileno=os.dup(fd))
        except OSError:
            continue
        if not sending.getsockname():
            sending.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)

os.chroot(sys.argv[1])
os.chdir("/")
events = EventLog(Clock(), native=True)
"""


def real(place: Path, script: str) -> str:
    """Return what a script prints that has the real library and, where its journal would be, a socket of its own."""
    (place / "run/systemd/journal").mkdir(parents=True)
    command = [sys.executable, "-I", "-c", REAL + script, str(place)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.root
def test_the_library_sends_what_the_journal_reads(tmp_path: Path) -> None:
    """By its native protocol: a value of several lines goes with its length, so that none of them is a field."""
    script = (
        "journal = listen()\n"
        "events.log(Event.DEFECT, 'A\\nB', traceback='1\\nPRIORITY=0', generation=7)\n"
        "print(journal.recv(1 << 20))\n"
    )
    framed = rb"IOT_CERT_TRACEBACK\n\x0c\x00\x00\x00\x00\x00\x00\x001\nPRIORITY=0\nIOT_CERT_GENERATION=7\nMESSAGE=A B\n"
    assert framed.decode() in real(tmp_path, script)


@pytest.mark.root
def test_a_journal_that_is_missing_or_gone_is_counted_with_the_library_too(tmp_path: Path) -> None:
    """It takes a socket that is not there for success."""
    script = (
        "events.log(Event.STARTED, 'There is no socket.')\n"
        "listen().close()\n"
        "events.log(Event.STARTED, 'No process listens.')\n"
        "os.unlink(JOURNAL_SOCKET)\n"
        "journal = listen()\n"
        "events.log(Event.STARTED, 'Up.')\n"
        "print(b'IOT_CERT_LOST=2\\n' in journal.recv(1 << 20))\n"
    )
    assert real(tmp_path, script) == "True\n"


@pytest.mark.root
@pytest.mark.parametrize("first", ["", "events.log(Event.PROGRESS, 'first')\n"])
def test_the_library_does_not_wait_for_a_full_journal(first: str, tmp_path: Path) -> None:
    """Neither for its first record nor for a later one; what is lost is told once there is room."""
    script = (
        f"journal = listen()\n{first}"
        "other = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)\n"
        "try:\n"
        "    while True:\n"
        "        other.sendto(b'x', JOURNAL_SOCKET)\n"
        "except BlockingIOError:\n"
        "    events.log(Event.PROGRESS, 'lost')\n"
        "taken(journal)\n"
        "events.log(Event.PROGRESS, 'after')\n"
        "print(b'IOT_CERT_LOST=1\\n' in journal.recv(1 << 20))\n"
    )
    assert real(tmp_path, script) == "True\n"


@pytest.mark.root
def test_the_library_does_not_wait_for_room_in_its_own_buffer(tmp_path: Path) -> None:
    """Which is full of what a stuck journal has not read, long before the journal's queue is."""
    script = (
        "journal = listen()\n"
        "events.log(Event.PROGRESS, 'first')\n"
        "shrink()\n"
        "for number in range(1000):\n"
        "    events.log(Event.PROGRESS, 'x' * 2000)\n"
        "lost = 1001 - taken(journal)\n"
        "events.log(Event.PROGRESS, 'after')\n"
        "print(b'IOT_CERT_LOST=%d\\n' % lost in journal.recv(1 << 20))\n"
    )
    assert real(tmp_path, script) == "True\n"


@pytest.mark.root
def test_a_record_that_no_datagram_holds_is_sent_all_the_same(tmp_path: Path) -> None:
    """As a file in memory, whose descriptor the journal gets."""
    script = (
        "journal = listen()\n"
        "events.log(Event.PROGRESS, 'first')\n"
        "journal.recv(1 << 20)\n"
        "shrink()\n"
        "events.log(Event.PROGRESS, 'large', **{f'f{number}': 'x' * 2000 for number in range(10)})\n"
        "data, (fd,), *_ = socket.recv_fds(journal, 1, 1)\n"
        "print(data, b'IOT_CERT_F9=xxx' in os.pread(fd, 1 << 20, 0))\n"
    )
    assert real(tmp_path, script) == "b'' True\n"


def test_nothing_heavy_is_loaded_to_speak_to_systemd() -> None:
    """An idle daemon pays for what it imports as long as it runs."""
    script = (
        "import sys\n"
        "from agent.system.watches import clock_timer, netlink\n"
        "from agent.system.service import journal, service_manager\n"
        "heavy = {'asyncio', 'cryptography', 'hashlib', 'logging', 'ssl', 'subprocess', 'uuid', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)), sorted(name for name in sys.modules if name.startswith('systemd')))\n"
    )
    shown = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown == "[] ['systemd', 'systemd._daemon', 'systemd._journal', 'systemd.daemon']\n"
