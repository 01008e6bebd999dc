"""Where it is measured: one gateway and its cloud on loopback, its state on a disk and its runtime files in memory.

The cloud lives in this process, so it is the same for the agent and for the floor.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

from agent.sandbox.network.sessions import gaps
from bench import procfs
from bench.installed import install
from support.running.daemon import CLIENT_ID, RunningDaemon
from support.running.gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from agent.sandbox.network.sessions import ClientSession

FLOORS = Path(__file__).with_name("floors")
THING = CLIENT_ID.removesuffix("-cert-agent")
PROBATION = 2  # seconds; longer than what is measured, and than a worker would wait by itself

_IN_MEMORY = ("/dev/shm", "/run")  # noqa: S108 - where a gateway has its runtime files as well
_WATCHDOG = 180_000_000  # microseconds, as the unit says
_LOOK = 0.001  # seconds
_PATIENCE = 60.0


class BenchError(Exception):
    """Something could not be measured."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How long and how often.

    Attributes:
        quick: Less of everything.
        settle: Seconds after the last activity before memory is looked at.
        calm: Seconds after which the SDK's name resolver has gone to sleep, too.
        minute: Seconds of what is called a minute.
        short: Repetitions of what is short.
        long: Repetitions of what is long.
    """

    quick: bool = False
    settle: float = 15.0
    calm: float = 32.0
    minute: float = 60.0
    short: int = 20
    long: int = 5

    def per_minute(self, value: float) -> float:
        """Return what a whole minute would make of it."""
        return value * 60 / self.minute


QUICK = Effort(quick=True, settle=7.0, calm=1.0, minute=10.0, short=10, long=2)


@dataclass
class Place:
    """One gateway that is enrolled.

    Attributes:
        gateway: The gateway, and the cloud in this process.
        memory: A directory that is on no disk.
        effort: How long and how often.
        python: The interpreter of an installation.
    """

    gateway: Gateway
    memory: Path
    effort: Effort
    python: str

    @property
    def sessions(self) -> list[ClientSession]:
        """Every session so far."""
        return list(self.gateway.service.front.log.sessions)

    def gaps(self, since: float) -> list[float]:
        """Return the times, in seconds, in which the agent had no session, from an instant on."""
        late = [item for item in self.sessions if item.ended is None or item.ended > since]
        return gaps(late, CLIENT_ID)

    def set_of(self) -> tuple[str, str, str]:
        """Return where roots, certificate and key of the current set are, which the next changes leave alone."""
        folder = (self.gateway.state / "current").resolve()
        return (
            str(self.gateway.directory / "roots.pem"),
            str(folder / "certificate.pem"),
            str(folder / "key.pem"),
        )

    def set_size(self) -> tuple[int, int]:
        """Return how large the files of the current generation are: to the byte, and in whole pages."""
        page = os.sysconf("SC_PAGESIZE")
        sizes = [path.stat().st_size for path in (self.gateway.state / "current").resolve().iterdir()]
        return sum(sizes), sum(-(-size // page) * page for size in sizes)


class BenchDaemon(RunningDaemon):
    """The daemon as the unit runs it: told where systemd listens, and watched."""

    def __init__(self, place: Place, manager: Manager) -> None:
        super().__init__(place.gateway, started=True, NOTIFY_SOCKET=manager.address, WATCHDOG_USEC=str(_WATCHDOG))
        self.log = place.memory / "daemon.log"
        self._runtime = place.memory / "run"

    @property
    def runtime(self) -> Path:
        """The runtime directory."""
        return self._runtime


class Manager:
    """Listens as systemd does, and does nothing about it; a context manager."""

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0iot-cert-bench-{os.getpid()}")
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as goodbye:
            goodbye.sendto(b"", self._socket.getsockname())
            self._thread.join()
        self._socket.close()

    @property
    def address(self) -> str:
        """What NOTIFY_SOCKET says."""
        return f"@iot-cert-bench-{os.getpid()}"

    def _listen(self) -> None:
        while self._socket.recv(4096):
            pass


@contextmanager
def open_place(disk: Path, effort: Effort) -> Iterator[Place]:
    """Start a cloud, enrol a gateway, and leave nothing behind.

    Raises:
        BenchError: There is no directory in memory.
    """
    kind = procfs.file_system(disk)
    in_memory = next((path for path in map(Path, _IN_MEMORY) if _is_writable_memory(path)), None)
    if in_memory is None:
        raise BenchError(f"none of {', '.join(_IN_MEMORY)} is a tmpfs that this user can write to")
    with tempfile.TemporaryDirectory(prefix="iot-cert-bench-", dir=disk) as state:
        memory = Path(tempfile.mkdtemp(prefix="iot-cert-bench-", dir=in_memory))
        try:
            settings = {
                f"runtime_dir: {state}/run": f"runtime_dir: {memory}/run\ndeploy_dir: {state}/deploy",
                "probation: 1s": f"probation: {PROBATION}s",
            }
            python = install(memory / "environment")
            with Gateway(Path(state), settings=settings) as gateway:
                gateway.run("enroll", expect=0)
                print(f"state on {disk} ({kind}), runtime files in {in_memory}", flush=True)
                yield Place(gateway=gateway, memory=memory, effort=effort, python=python)
        finally:
            shutil.rmtree(memory, ignore_errors=True)


def _is_writable_memory(path: Path) -> bool:
    return path.is_dir() and os.access(path, os.W_OK) and procfs.file_system(path) == "tmpfs"


@contextmanager
def daemon(place: Place) -> Iterator[RunningDaemon]:
    """Run the daemon until the end of the block; it is connected from the beginning."""
    with Manager() as manager:
        running = BenchDaemon(place, manager)
        try:
            with running:
                running.until_up()
                yield running
        finally:
            process: subprocess.Popen[str] | None = getattr(running, "process", None)
            if process is not None and process.poll() is None:  # an impatient person interrupted the goodbye
                process.kill()
                process.wait()


@contextmanager
def floor_session(place: Place, *modules: str) -> Iterator[int]:
    """Run the bare interpreter with its connection, and give its process id; it may read one of our modules before.

    Raises:
        BenchError: It does not connect.
    """
    roots, certificate, key = place.set_of()
    port = str(place.gateway.service.port)
    command = [place.python, "-I", str(FLOORS / "session.py"), port, THING, roots, certificate, key, *modules]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != b"up\n":
                raise BenchError("the floor's session does not connect")
            yield process.pid
        finally:
            process.kill()


class LinkWatch:
    """Notes when a link is moved; a context manager around what moves it.

    Attributes:
        moved: When, by the monotonic clock; None while it was not.
    """

    def __init__(self, link: Path) -> None:
        self._link = link
        self._before = link.readlink()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.moved: float | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _look(self) -> None:
        deadline = monotonic() + _PATIENCE
        while self._link.readlink() == self._before:
            if self._ending.is_set() or monotonic() > deadline:
                return
            sleep(_LOOK)
        self.moved = monotonic()

    def seconds_since(self, start: float) -> float:
        """Return how long it took.

        Raises:
            BenchError: It was not moved.
        """
        self._thread.join()
        if self.moved is None:
            raise BenchError(f"{self._link.name} was not moved")
        return self.moved - start
