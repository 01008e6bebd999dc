from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from agent.system.service import service_manager
from agent.system.service.service_manager import Notifier

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class ManagerSocket:
    """The service manager's end: a real datagram socket."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(address)

    def heard(self) -> list[str]:
        """Return the assignments of the oldest datagram."""
        return self.socket.recv(65536).decode().split("\n")


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ManagerSocket]:
    """Give a manager that listens at a path."""
    listening = ManagerSocket(str(tmp_path / "notify"))
    with listening.socket:
        yield listening


@pytest.fixture
def notifier(manager: ManagerSocket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notifier]:
    """Give a notifier that the manager started."""
    monkeypatch.setenv("NOTIFY_SOCKET", manager.socket.getsockname())
    speaking = Notifier()
    yield speaking
    speaking.close()


def test_readiness_comes_with_the_status(manager: ManagerSocket, notifier: Notifier) -> None:
    """One datagram says both, so that no reader sees one without the other."""
    notifier.ready("Generation 7 is connected.")
    assert manager.heard() == ["READY=1", "STATUS=Generation 7 is connected."]


def test_a_reload_is_announced_with_its_time(manager: ManagerSocket, notifier: Notifier) -> None:
    """Systemd wants CLOCK_MONOTONIC in microseconds, to tell this reload from an earlier one."""
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.reloading()
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    first, second = manager.heard()
    assert first == "RELOADING=1"
    name, _, value = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before - 1 <= int(value) <= after + 1


def test_the_other_words_are_systemds(manager: ManagerSocket, notifier: Notifier) -> None:
    """Each call sends the assignments of sd_notify(3) and nothing else."""
    notifier.stopping("Going down.")
    notifier.watchdog()
    notifier.status("Waits for the clock.")
    assert manager.heard() == ["STOPPING=1", "STATUS=Going down."]
    assert manager.heard() == ["WATCHDOG=1"]
    assert manager.heard() == ["STATUS=Waits for the clock."]


def test_a_status_cannot_forge_an_assignment(manager: ManagerSocket, notifier: Notifier) -> None:
    """A broker's reason string is one line to systemd, whatever it holds, and small enough to be taken."""
    notifier.status("refused\nMAINPID=1\0\ud800\x1b[2J" + "世" * 5000)
    assert len(said := manager.heard()) == 1
    assert said[0].startswith("STATUS=refused MAINPID=1 ? [2J世世")
    assert said[0].isprintable()
    assert len(said[0].encode()) < 4096


def test_an_abstract_socket_is_spoken_to_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers may name a socket that is no file."""
    name = f"iot-cert-test-{os.getpid()}"
    listening = ManagerSocket("\0" + name)
    with listening.socket:
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        speaking = Notifier()
        speaking.watchdog()
        speaking.close()
        assert listening.heard() == ["WATCHDOG=1"]


@pytest.mark.parametrize("address", [None, "", "vsock:2:1234"])
def test_without_a_manager_nothing_happens(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon in a terminal is not watched."""
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    speaking = Notifier()
    speaking.ready("Up.")
    speaking.watchdog()
    assert speaking.watchdog_interval() is None
    assert speaking.listen_fds() == []
    speaking.close()


def test_a_manager_that_is_gone_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No process listens there: the words are lost and the daemon goes on."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nothing"))
    speaking = Notifier()
    speaking.ready("Up.")
    speaking.stopping("Down.")
    speaking.close()
    speaking.status("Said after the end.")


def test_after_the_end_nothing_is_said(manager: ManagerSocket, notifier: Notifier) -> None:
    """A daemon that has let go is silent."""
    notifier.close()
    notifier.ready("Up.")
    with pytest.raises(BlockingIOError):
        manager.heard()


def test_a_manager_that_does_not_listen_holds_nothing_up(
    manager: ManagerSocket, notifier: Notifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its queue full, a status is dropped at once and readiness is given up after a bounded time."""
    monkeypatch.setattr(service_manager, "PATIENCE", 0.01)
    for number in range(5000):
        notifier.status(str(number))
    notifier.ready("Up.")
    number = 0
    while True:
        try:
            assert manager.heard() == [f"STATUS={number}"]
        except BlockingIOError:
            break
        number += 1
    assert 0 < number < 5000


READER = """\
import socket
manager = socket.socket(fileno=0)
while b"READY=1" not in manager.recv(4096):
    pass
"""


def test_a_word_that_is_said_once_waits_for_room(
    manager: ManagerSocket, notifier: Notifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readiness that was lost would have the unit killed, so it is not dropped while systemd is merely busy."""
    monkeypatch.setattr(service_manager, "PATIENCE", 60.0)
    for number in range(5000):
        notifier.status(str(number))
    manager.socket.setblocking(True)  # noqa: FBT003 - its only argument
    reader = subprocess.Popen([sys.executable, "-I", "-c", READER], stdin=manager.socket.fileno())
    notifier.ready("Up.")
    assert reader.wait(60) == 0


def test_what_is_said_once_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that took the sockets or fed the watchdog would be taken for the agent; workers get none of it either."""
    said = {
        "WATCHDOG_USEC": "1000000",
        "WATCHDOG_PID": str(os.getpid()),
        "LISTEN_PID": str(os.getpid()),
        "LISTEN_FDS": "0",
        "LISTEN_FDNAMES": "control",
    }
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    speaking = Notifier()
    speaking.listen_fds()
    speaking.close()
    assert said.keys() & os.environ.keys() == set()


@pytest.mark.parametrize(
    ("microseconds", "pid", "seconds"),
    [
        ("180000000", None, 90.0),
        ("180000000", "ours", 90.0),
        ("180000000", "1", None),
        ("180000000", "", None),
        ("0", None, None),
        ("", None, None),
        ("-5", None, None),
        ("soon", None, None),
        ("٣", None, None),
        ("9" * 5000, None, None),
    ],
)
def test_the_watchdog_is_fed_twice_in_its_interval(
    microseconds: str, pid: str | None, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of what systemd allows, as sd_watchdog_enabled(3) advises, and only by the process that is watched."""
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    if pid is not None:
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "ours" else pid)
    assert Notifier().watchdog_interval() == seconds


# Run with descriptors 3 and 4 open and inheritable; prints what is found, and whether a child has descriptor 3.
ACTIVATED = """\
import os, subprocess
from agent.system.service.service_manager import Notifier
notifier = Notifier()
print(notifier.listen_fds(), notifier.listen_fds(), "LISTEN_PID" in os.environ)
print([os.get_inheritable(fd) for fd in (3, 4)])
"""


def activated(variables: str) -> list[str]:
    """Return what a process prints that was started the way systemd does, with its own id in LISTEN_PID."""
    script = f'{variables} exec "$0" -I -c "$1" 3</dev/null 4</dev/null'
    run = ["sh", "-c", script, sys.executable, ACTIVATED]
    return subprocess.run(run, capture_output=True, text=True, check=True).stdout.splitlines()


def test_sockets_are_taken_over_once_and_kept_from_children() -> None:
    """The announced descriptors are returned, marked to be closed in children, and not announced again."""
    assert activated("LISTEN_PID=$$ LISTEN_FDS=2") == ["[3, 4] [] False", "[False, False]"]


def test_an_announcement_of_a_socket_that_is_not_there_is_one_of_none() -> None:
    """The library takes all or none; systemd itself announces only what is open."""
    assert activated("LISTEN_PID=$$ LISTEN_FDS=60")[0] == "[] [] False"


@pytest.mark.parametrize("variables", ["LISTEN_PID=1 LISTEN_FDS=2", "LISTEN_FDS=2", "LISTEN_PID=$$ LISTEN_FDS=x"])
def test_sockets_for_another_process_are_left_alone(variables: str) -> None:
    """Descriptors of another process's number are none of ours."""
    assert activated(variables) == ["[] [] False", "[True, True]"]


# Run as a process that systemd started, with a Python that has no such library.
WITHOUT = """\
import os, sys
sys.modules["systemd"] = None
from agent.system.service.service_manager import Notifier
notifier = Notifier()
notifier.ready("Up.")
notifier.watchdog()
print(notifier.listen_fds(), notifier.watchdog_interval(), "LISTEN_PID" in os.environ)
print(notifier.unheard())
"""


def without_library(**environment: str) -> list[str]:
    """Return what a process prints that cannot load the library."""
    command = [sys.executable, "-I", "-c", WITHOUT]
    environment = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.splitlines()


def test_without_the_library_nothing_is_said_and_that_is(manager: ManagerSocket) -> None:
    """Such as under another Python than the distribution's: the daemon runs, and says what systemd does not hear."""
    told = without_library(NOTIFY_SOCKET=manager.socket.getsockname(), WATCHDOG_USEC="1000000", LISTEN_PID="1")
    assert told[0] == "[] 0.5 False"
    assert told[1].startswith("Systemd is told nothing and its sockets are not used: its library cannot be loaded (")
    assert told[1].endswith("Install python3-systemd, for the Python that runs the agent.")
    with pytest.raises(BlockingIOError):
        manager.heard()


def test_without_library_and_systemd_there_is_nothing_to_say() -> None:
    """A daemon in a terminal needs neither."""
    assert without_library() == ["[] None False", ""]


def test_with_the_library_systemd_hears(notifier: Notifier) -> None:
    """So there is nothing to say of it."""
    assert notifier.unheard() == ""
