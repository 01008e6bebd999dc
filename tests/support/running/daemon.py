"""The daemon of a gateway as systemd would run it: started, watched from outside, told to end or killed.

Nothing here looks into the process. What is known of it comes from where any user may look: ``status.json``, the
control socket, its log, the state directory, `/proc` and the cloud. It ends the processes that it started, no others.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from subprocess import TimeoutExpired
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Self

from agent.cli.carrying.client import call
from agent.store.notes.change_log import HISTORY
from support.suite import warm
from support.suite.ran import Ran

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.values import Kind, Origin
    from support.running.gateway import Gateway
    from support.suite.warm import Process

PATIENCE = 150.0  # seconds; a deadline for a machine with much else to do, and no measure of anything
LOOK, LONGEST_LOOK = 0.03, 0.12  # seconds between two looks: at first, and once it has taken a while
THING = "gw-0042"
CLIENT_ID = "gw-0042-cert-agent"

_TAIL = 4_000  # characters of the log in a failed test's message


class DaemonProcess:
    """One daemon, which may be stopped, killed and started again, and what any user may see of it.

    It is forked from a process that has read its modules (see `support.suite.warm`), but as systemd starts it where a
    test asks for that (`started`), as it does where the environment is read before or by what reads modules.

    Attributes:
        gateway: Where it runs.
        log: The file that takes everything it says.
        process: The latest process.
    """

    process: Process

    def __init__(self, gateway: Gateway, *, started: bool = False, **environment: str) -> None:
        self.gateway = gateway
        self.log = gateway.directory / "daemon.log"
        self.environment = environment
        self._started = started
        self._workers: dict[int, int] = {}
        self._history: tuple[bytes, tuple[ChangeRecord, ...]] = b"", ()

    # -- its life --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it, and return at once."""
        if self._started:
            self.process = self.gateway.start("run", log=self.log, **self.environment)
        else:
            self.process = self.gateway.fork("run", log=self.log, **self.environment)

    def stop(self, patience: float = PATIENCE) -> int:
        """Tell it to end, as systemd does, and return its exit code."""
        self.signal(signal.SIGTERM)
        return self.process.wait(patience)

    def kill(self) -> None:
        """End it without a word."""
        self.workers()
        self.process.kill()
        self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def workers(self) -> list[int]:
        """Return its children, which are its workers; each is seen off at the end."""
        try:
            pids = [int(item) for item in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        except OSError:
            assert self.process.poll() is not None, "this kernel does not tell a process's children"
            return []
        pids = [pid for pid in pids if not warm.forks_workers(pid)]
        for pid in pids:
            if pid not in self._workers:
                with suppress(ProcessLookupError):
                    self._workers[pid] = os.pidfd_open(pid)
        return pids

    def kill_worker(self) -> bool:
        """End its worker without a word; return whether there was one."""
        for pid in self.workers():
            with suppress(ProcessLookupError, KeyError):
                signal.pidfd_send_signal(self._workers[pid], signal.SIGKILL)
                return True
        return False

    def _end(self) -> None:
        self.workers()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except TimeoutExpired:
                self.kill()
                raise

    def _see_workers_off(self) -> None:
        """A worker whose daemon was killed ends between two steps; it must not meet the next test."""
        for fd in self._workers.values():
            if not _ends(fd, PATIENCE):
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
                _ends(fd, PATIENCE)
            os.close(fd)
        self._workers.clear()

    # -- what any user may see of it --------------------------------------------------------------------------------

    @property
    def runtime(self) -> Path:
        """The runtime directory."""
        return self.gateway.directory / "run"

    def said(self) -> str:
        """Return its log so far."""
        return self.log.read_text() if self.log.exists() else ""

    def published(self) -> dict[str, Any]:
        """Return ``status.json``; empty when this process has not written it."""
        try:
            document: dict[str, Any] = json.loads((self.runtime / "status.json").read_bytes())
        except FileNotFoundError:
            return {}
        return document if document["daemon"] == self.pid else {}

    def ask(self, verb: str, **arguments: str | bool) -> dict[str, Any]:
        """Send a request over the control socket and return the last word; empty when no daemon listens yet."""
        request = json.dumps({"verb": verb, **arguments}).encode() + b"\n"
        messages = call(str(self.runtime / "control.sock"), request, timeout=PATIENCE)
        if messages is None:
            return {}
        last: dict[str, Any]
        *_, last = messages
        return last

    def status(self) -> dict[str, Any]:
        """Return the status document as of now."""
        document: dict[str, Any] = self.ask("status").get("document", {})
        return document

    @property
    def connection(self) -> str:
        """The state of its connection, as published."""
        return str(self.published().get("connection", {}).get("state", ""))

    def history(self) -> tuple[ChangeRecord, ...]:
        """Return the finished changes; none where nothing was enrolled yet.

        They are decoded once for each state of their file, which a story that waits reads ten times a second.
        """
        with suppress(FileNotFoundError):
            lines = (self.gateway.state / HISTORY).read_bytes()
            if lines != self._history[0]:
                self._history = lines, self.gateway.history()
        return self._history[1]

    def live(self) -> list[str]:
        """Return the certificates with which this gateway is connected now, as the cloud sees it."""
        return [item.certificate_id for item in self.gateway.service.front.live if item.client_id == CLIENT_ID]

    def at_rest(self) -> bool:
        """Whether it has looked at the gateway, has nothing in flight and no worker."""
        document = self.published()
        return bool(document) and not document["change"] and not self.workers()


class RunningDaemon(DaemonProcess):
    """One daemon that is waited for; a context manager, which ends it."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self._end()
        finally:
            self._see_workers_off()
        self.gateway.remember(Ran(arguments=("run",), code=self.process.returncode, out=self.said(), err=""))
        if kind is None:
            assert "Traceback" not in self.said(), self.said()
            assert self.gateway.service.front.log.defects == []

    def reload(self) -> None:
        """Have it read its configuration again, and wait until it says what came of it."""
        lines = self.said().count("reload")
        self.signal(signal.SIGHUP)
        self.until(lambda: self.said().count("reload") > lines, "a reload")

    def until(self, condition: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
        """Return once something holds; fail when it does not in time, or when the daemon ends."""
        begun = monotonic()
        while not condition():
            waited = monotonic() - begun
            assert self.process.poll() is None, f"the daemon ended with {self.process.returncode}:\n{self._tail()}"
            assert waited < patience, f"no {what} within {patience:g} s:\n{self._tail()}"
            sleep(min(LONGEST_LOOK, LOOK + waited / 50))

    def through(self, seconds: float, condition: Callable[[], object], what: str) -> None:
        """Return after some time through which something held at every look."""
        end = monotonic() + seconds
        while monotonic() < end:
            assert condition(), f"{what} ended:\n{self._tail()}"
            sleep(LOOK)

    def until_up(self, generation: int | None = None) -> None:
        """Return once it is at rest, and connected with the current certificate as it says and as the cloud sees it."""

        def up() -> bool:
            document = self.published()
            current = document.get("current")
            return (
                self.connection == "up"
                and current is not None
                and generation in {None, current["generation"]}
                and self.live() == [current["certificate"]["sha256"]]
                and not self.workers()
            )

        self.until(up, f"connection with generation {generation or 'any'}")

    def until_said(self, text: str, after: int = 0) -> None:
        """Return once its log holds a text, looked for from some character on."""
        self.until(lambda: text in self.said()[after:], repr(text))

    def until_finished(self, number: int) -> None:
        """Return once so many changes are in the history."""
        self.until(lambda: len(self.history()) >= number, f"{number}. finished change")

    def until_phase(self, *phases: str) -> dict[str, Any]:
        """Return the change in flight, as published, once it is in one of some phases."""
        self.until(lambda: (self.published().get("change") or {}).get("phase") in phases, f"phase {phases}")
        change: dict[str, Any] = self.published()["change"]
        return change

    def _tail(self) -> str:
        return f"{self.said()[-_TAIL:]}\nstatus: {self.published()}"


class ServiceManager:
    """What systemd is to a daemon: the socket that takes its notifications; a context manager."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("")  # the kernel gives it a name of its own
        self.heard: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def address(self) -> str:
        """What NOTIFY_SOCKET is to hold."""
        name: bytes = self._socket.getsockname()
        return "@" + name[1:].decode()

    def pass_over(self) -> None:
        """Drop what it was told so far: the kernel keeps ten messages, and those after them are lost."""
        self._socket.settimeout(0)
        with suppress(BlockingIOError):
            while self._socket.recv(8_192):
                pass

    def hear(self, assignment: str, patience: float = PATIENCE) -> list[str]:
        """Return the next message with an assignment, which may end in ``*``; those before it are passed over."""
        deadline = monotonic() + patience
        while True:
            self._socket.settimeout(max(0.01, deadline - monotonic()))
            message = self._socket.recv(8_192).decode().split("\n")
            self.heard += message
            if any(fnmatch(line, assignment) for line in message):
                return message


def _ends(pidfd: int, seconds: float) -> bool:
    """Whether a process ends within some time."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def finished(gateway: Gateway, process: Process, *arguments: str) -> Ran:
    """Return what a command that was started has said, once it has ended."""
    out, _ = process.communicate(timeout=PATIENCE)
    ran = Ran(arguments=arguments, code=process.returncode, out=out, err="")
    gateway.remember(ran)
    return ran


def traces(directory: Path) -> dict[str, tuple[int, ...]]:
    """Return what changes when anything below a directory is written, renamed, linked or removed."""
    found: dict[str, tuple[int, ...]] = {}
    for path in (directory, *directory.rglob("*")):
        status = path.lstat()
        found[str(path)] = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)
    return found


def shown(pid: int) -> str:
    """Return the arguments and the environment of a process."""
    parts: list[Any] = [Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
    return b"\n".join(parts).replace(b"\0", b"\n").decode()


def origins(gateway: Gateway) -> list[tuple[Kind, Origin]]:
    """Return what was changed and by whose wish, oldest first."""
    return [(record.kind, record.origin) for record in gateway.history()]
