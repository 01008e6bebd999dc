"""A machine with Debian on it: a root file system booted with systemd as PID 1, in a container of its own.

Its disk is a stack of folders: images below, which are never written to, and one folder on top that takes every change.
It has the network of the machine that tests run on, loopback too, so that a local IoT Core can be reached. Rules:

* Its mounts live in its own mount namespace: nothing is left mounted, whatever becomes of the test.
* `cut` is the plug: no process of it gets another instruction, and nothing is tidied up.
* Commands run inside as root, with a clean environment. What is waited for has a deadline.
"""

from __future__ import annotations

import json
import os
import re
import select
import shlex
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

PATIENCE = 180.0  # seconds; a deadline for a machine with much else to do, and no measure of anything
LOOK, LONGEST = 0.02, 2.0  # seconds between two looks

STATE = "/var/lib/iot-cert-agent"
STATUS = "/run/iot-cert-agent/status.json"
SERVICE = "iot-cert-agent.service"

_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}

# Into its control groups; then the disk; then the machine. It may ask the kernel whether the clock is synchronised, as
# a gateway may.
_LAUNCH = """\
set -eu
for group in $GROUPS_OF_ITS_OWN; do
    mkdir -p "$group"
    echo $$ >"$group/cgroup.procs"
done
mount -t overlay -o "lowerdir=$LOWER,upperdir=$DISK/upper,workdir=$DISK/work" overlay "$DISK/root"
exec systemd-nspawn --quiet --register=no --keep-unit --resolv-conf=off --timezone=off --machine="$NAME" \\
    -D "$DISK/root" --system-call-filter="clock_adjtime @memlock" "$@"
"""


class MachineError(AssertionError):
    """A machine or a command in it did something else than was expected."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> dict[str, Any]:
        """The last of the JSON objects that it printed."""
        document: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return document


def until(condition: Callable[[], T | None], what: str, patience: float = PATIENCE) -> T:
    """Return what a condition gives as soon as it holds.

    A look that takes long, as one that starts a program does, leaves the processor to what is waited for meanwhile.
    """
    end = time.monotonic() + patience
    while True:
        began = time.monotonic()
        if found := condition():
            return found
        took = time.monotonic() - began
        if began + took > end:
            raise MachineError(f"not within {patience:.0f} s: {what}")
        time.sleep(min(max(LOOK, 3 * took), LONGEST))


class Machine:
    """One machine, to be booted, unplugged and booted again; a context manager that pulls the plug at the end."""

    def __init__(self, disk: Path, images: list[Path]) -> None:
        """Put a machine together; it does not run yet.

        Args:
            disk: A folder for the disk; what is in it already is found again.
            images: What is below, the uppermost first.
        """
        self.disk = disk
        self.name = f"gateway-{os.getpid()}-{disk.name[-20:]}".replace("_", "-")
        self._images = images
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0
        for name in ("upper", "work", "root"):
            (disk / name).mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.running:
            print(self.journal())  # which is shown when the test has failed
        print(self.console()[-2_000:])
        self.cut()

    # -- its life ----------------------------------------------------------------------------------------------------

    def boot(self, *, network: bool = True) -> Self:
        """Boot, and return once systemd says that it is up.

        Args:
            network: Whether it has that of the machine that tests run on, or its own loopback alone.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
            notified.bind("")  # the kernel gives it a name of its own
            notified.settimeout(PATIENCE)
            self._process = self._start(
                "--boot",
                "--notify-ready=yes",
                *(() if network else ("--private-network",)),
                NOTIFY_SOCKET="@" + notified.getsockname()[1:].decode(),
            )
            try:
                while "READY=1" not in (told := notified.recv(8192).decode()):
                    found = re.search(r"X_NSPAWN_LEADER_PID=(\d+)", told)
                    self._leader = int(found[1]) if found else self._leader
            except TimeoutError:
                raise MachineError(f"it does not boot:\n{self.console()}") from None
        return self

    def once(self, *command: str, patience: float = PATIENCE) -> Done:
        """Run one command in it while it is down, as those who build images do; there is no systemd then.

        Options of systemd-nspawn may stand before the command.
        """
        assert self._process is None
        process = self._start("--pipe", *command)
        code = process.wait(patience)
        self._tidy()
        return Done(code=code, out=self.console(), err="")

    def _start(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        settings = {
            "NAME": self.name,
            "DISK": str(self.disk),
            "LOWER": ":".join(map(str, self._images)),
            "GROUPS_OF_ITS_OWN": " ".join(map(str, _groups(self.name))),
            "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",  # as gateways have it, also where this machine does not
        }
        with (self.disk / "console.log").open("wb") as console:
            return subprocess.Popen(
                ["unshare", "--mount", "--propagation", "private", "sh", "-c", _LAUNCH, "sh", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                env=_ENVIRONMENT | settings | environment,
            )

    def cut(self) -> None:
        """Pull the plug; harmless when it is down."""
        if self._process is None:
            return
        process, self._process = self._process, None
        if self._leader:
            with suppress(ProcessLookupError):
                os.kill(self._leader, signal.SIGKILL)
            self._leader = 0
        else:
            process.kill()
        process.wait(PATIENCE)
        self._tidy()

    def _tidy(self) -> None:
        for group in _groups(self.name):
            folders = [path for path in group.rglob("*") if path.is_dir()]
            for folder in [*sorted(folders, reverse=True), group]:
                with suppress(OSError):  # something in it has not quite ended
                    folder.rmdir()

    def shut_down(self) -> None:
        """Shut it down in order."""
        assert self._process is not None
        leader = os.pidfd_open(self._leader)
        os.kill(self._leader, signal.SIGRTMIN + 4)
        poll = select.poll()
        poll.register(leader, select.POLLIN)
        ended = poll.poll(PATIENCE * 1000)
        os.close(leader)
        if not ended:
            raise MachineError(f"it does not shut down:\n{self.console()}")
        self.cut()

    @property
    def running(self) -> bool:
        """Whether it is up."""
        return self._leader != 0

    def console(self) -> str:
        """Return what it said on its console, or the one command did."""
        return (self.disk / "console.log").read_text(errors="replace")

    # -- its files ---------------------------------------------------------------------------------------------------

    def path(self, name: str) -> Path:
        """Return where tests find a file of it; while it is down, one that was changed since its image was made."""
        root = Path(f"/proc/{self._leader}/root") if self._leader else self.disk / "upper"
        return root / name.removeprefix("/")

    def write(self, name: str, data: bytes | str, mode: int = 0o644) -> None:
        """Write a file into it as root, up or down."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        path.chmod(mode)

    def read(self, name: str) -> str:
        """Return the text of a file in it; empty when there is none."""
        try:
            return self.path(name).read_text()
        except FileNotFoundError:
            return ""

    @contextmanager
    def plugged_in(self, stick: Path, name: str) -> Iterator[None]:
        """Give it an image of a file system as a disk.

        Args:
            stick: The image.
            name: The disk's name in it: `/dev/sda1`.
        """
        attached = subprocess.run(["losetup", "--find", "--show", stick], capture_output=True, text=True, check=True)
        loop = attached.stdout.strip()
        try:
            self.run("mknod", name, "b", *(str(part(Path(loop).stat().st_rdev)) for part in (os.major, os.minor)))
            yield
        finally:
            subprocess.run(["losetup", "--detach", loop], check=True)  # where it is mounted still, once it is no more

    # -- commands ----------------------------------------------------------------------------------------------------

    def run(self, *command: str, expect: int | None = 0, patience: float = PATIENCE) -> Done:
        """Run a command in it as root and hold it to an exit code."""
        assert self._leader, "it is down"
        done = subprocess.run(
            ["nsenter", "--target", str(self._leader), "--all", "env", "-i", *_assignments(), *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=patience,
            check=False,
        )
        said = Done(code=done.returncode, out=done.stdout, err=done.stderr)
        if expect not in {None, said.code}:
            raise MachineError(f"{shlex.join(command)} ended with {said.code}:\n{said.out}{said.err}")
        return said

    def login(self, user: str, *command: str, expect: int | None = 0) -> Done:
        """Run a command in a login shell of a user, as over SSH."""
        return self.run("su", "--login", user, "--command", shlex.join(command), expect=expect)

    def show(self, name: str, unit: str = SERVICE) -> str:
        """Return a property of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).out.strip()

    def journal(self) -> str:
        """Return the last lines of the agent's journal."""
        return self.run("journalctl", "--no-pager", "--lines=60", "--unit=iot-cert-agent", expect=None).out

    # -- the agent in it ---------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """The daemon's process id as the machine counts, or 0."""
        return int(self.show("MainPID"))

    def status(self) -> dict[str, Any]:
        """Return what the daemon publishes; empty when it has not."""
        try:
            document: dict[str, Any] = json.loads(self.path(STATUS).read_bytes())
        except FileNotFoundError:
            return {}
        return document

    def change(self) -> dict[str, Any]:
        """Return the record of the change in flight; empty when there is none."""
        text = self.read(f"{STATE}/change.json")
        document: dict[str, Any] = json.loads(text) if text else {}
        return document

    def history(self) -> list[dict[str, Any]]:
        """Return the finished changes, each with what the last line about it says."""
        lines = [json.loads(line) for line in self.read(f"{STATE}/history.jsonl").splitlines()]
        return list({line["id"]: line for line in lines}.values())

    def generation(self) -> int:
        """Return the number of the current generation, or 0; it is read from the disk."""
        try:
            return int(os.readlink(self.path(f"{STATE}/current")).rpartition("/")[2])  # noqa: PTH115 - the link's text
        except FileNotFoundError:
            return 0


def _groups(name: str) -> list[Path]:
    """Return a control group for a machine in each hierarchy that systemd uses, so that two do not share one."""
    found = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        unified = Path("/sys/fs/cgroup/unified") if Path("/sys/fs/cgroup/unified").exists() else Path("/sys/fs/cgroup")
        hierarchy = {"": unified, "name=systemd": Path("/sys/fs/cgroup/systemd")}.get(controllers)
        if hierarchy is not None:
            found.append(hierarchy / path.removeprefix("/") / name)
    return found


def _assignments() -> list[str]:
    return [f"{name}={value}" for name, value in _ENVIRONMENT.items()]


def listens_to_inbox(machine: Machine) -> bool:
    """Whether the daemon has made the inbox and listens to it, as it does to other folders."""
    inbox, folder = machine.path(f"{STATE}/inbox"), f"/proc/{machine.pid}/fdinfo"
    if not inbox.is_dir():
        return False
    watch = f"ino:{inbox.stat().st_ino:x} "
    found = [path.name for path in machine.path(folder).iterdir()]
    return any(watch in machine.read(f"{folder}/{name}") for name in found)  # some are closed meanwhile
