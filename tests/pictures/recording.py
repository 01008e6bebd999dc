"""Types commands at a terminal against the sandbox; keeps the screens, and when a rotation's steps were taken.

`python -m pictures.recording` writes `recorded.json` anew. So that it says nothing of the machine it was made on:

* the clock is put forward or back by less than a day, so that the first command is typed at nine o'clock;
* the directory of the sandbox is shown as the places that the package has, which are as long, and its port as 8883;
* ids of changes and certificates, and the free space of the disk, are shown as fixed values.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pty
import re
import struct
import termios
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from support.running.daemon import RunningDaemon
from support.running.gateway import COMMAND, Gateway

if TYPE_CHECKING:
    from agent.core.change.lifecycle import ChangeRecord

RECORDED = Path(__file__).with_name("recorded.json")
COLUMNS = 100
STATE, CONFIG = "/var/lib/iot-cert-agent", "/etc/iot-cert-agent/config.yaml"
NINE = timedelta(hours=9)
FREE = "57344 MiB"
LAST_YEAR = "2049"  # in which AWS's own certificates end, whatever the clock says


def recorded() -> dict[str, Any]:
    """Return the recording: `screens`, lines for each, and `rotation`, the seconds at which phases were entered."""
    found: dict[str, Any] = json.loads(RECORDED.read_text())
    return found


def record() -> dict[str, Any]:
    """Type the commands, and return what a recording holds."""
    with TemporaryDirectory(prefix="iot-", dir="/tmp") as folder, Gateway(Path(folder)) as gateway:
        gateway.rotation(probation="10s")
        gateway.enroll()
        with RunningDaemon(gateway) as daemon:
            daemon.until_up()
            terminal = RecordedTerminal(gateway)
            terminal.type("rotate", "rotate", "--reason", "visit")
            daemon.until_up(2)
            terminal.type("status", "status")
            (gateway.state / "generations" / "000002" / "key.pem").chmod(0o644)
            terminal.type("check", "check")
        return {"screens": terminal.plain(), "rotation": _steps(gateway.history()[-1])}


def _steps(change: ChangeRecord) -> list[tuple[str, float]]:
    return [(phase, round((at - change.planned_at).total_seconds(), 3)) for phase, at in change.passed]


@dataclass
class RecordedTerminal:
    """A terminal at the gateway, of which everything is kept that it shows."""

    gateway: Gateway
    screens: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        now = datetime.now(UTC)
        self._shift = NINE - timedelta(hours=now.hour, minutes=now.minute, seconds=now.second)

    def type(self, screen: str, *arguments: str) -> None:
        """Type a command and wait for its end."""
        pid, terminal = pty.fork()
        if pid == 0:
            environment = {**os.environ, "TERM": "xterm"}
            environment.pop("NO_COLOR", None)
            os.execve(COMMAND, [COMMAND, "--config", str(self.gateway.config), *arguments], environment)  # noqa: S606
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
        shown = _all(terminal)
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        end = "" if code == 0 else f"\x1b[2m(exit code {code})\x1b[0m\n"
        self.screens[screen] = f"\x1b[1m$ iot-cert {' '.join(arguments)}\x1b[0m\n{shown}{end}"

    def plain(self) -> dict[str, list[str]]:
        """Return the screens as lines, without what is this machine's own."""
        text = json.dumps(self.screens, ensure_ascii=False)
        for own, shown in (
            (rf"{re.escape(COMMAND)} --config {self.gateway.config}", "iot-cert"),
            (re.escape(str(self.gateway.config)), CONFIG),
            (re.escape(str(self.gateway.state)), STATE),
            (r"localhost:\d+", "localhost:8883"),
            (r"port \d+", "port 8883"),
            (r"\d+ MiB free", f"{FREE} free"),
        ):
            text = re.sub(own, shown, text)
        text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?|(?<!\d)\d\d:\d\d:\d\d", self._moved, text)
        found = sorted(set(re.findall(r"\b[0-9a-f]{8,64}\b", text)), key=text.index)
        starts = dict.fromkeys(own[:8] for own in found)
        for own in sorted(found, key=len, reverse=True):
            text = text.replace(own, _identity(list(starts).index(own[:8]))[: len(own)])
        return {screen: shown.splitlines() for screen, shown in json.loads(text).items()}

    def _moved(self, match: re.Match[str]) -> str:
        shape = ("%Y-%m-%d " if "-" in match[0] else "") + ("%H:%M:%S" if match[0].count(":") > 1 else "%H:%M")
        if match[0].startswith(LAST_YEAR):
            return match[0]
        return (datetime.strptime(match[0], shape).replace(tzinfo=UTC) + self._shift).strftime(shape)


def _identity(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def _all(terminal: int) -> str:
    shown = b""
    try:
        while piece := os.read(terminal, 65536):
            shown += piece
    except OSError:  # the end of a terminal, on Linux
        pass
    os.close(terminal)
    return shown.decode().replace("\r\n", "\n")


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(record(), ensure_ascii=True, indent=1) + "\n")
