"""What the agent tells systemd about itself, and what systemd hands it: readiness, status, watchdog, sockets.

It is systemd-python's thin part, `systemd.daemon`. Around it:

* `notify` waits for as long as systemd does not listen. So the agent looks first: a word that is said only once waits
  for room for `PATIENCE`, one that will be said again does not wait, and what finds no room is dropped.
* The library has nothing for WATCHDOG_USEC, which is read here as sd_watchdog_enabled(3) says.
* Sockets are taken once. The variables go then, and a worker is given none of them: a child that used them would be
  taken for the agent. NOTIFY_SOCKET stays, since the library looks there each time.

Without systemd every call does nothing. Without the library, such as under a Python for which the distribution has
none, the same is so, and `unheard` says why. It never raises, since a daemon works without being watched.
"""

from __future__ import annotations

import os
from contextlib import suppress

from agent.core.report.journal_events import one_line
from agent.system.clock import monotonic
from agent.system.service.datagram import has_room

_WHY = ""
try:
    from systemd import daemon as systemd
except ImportError as missing:
    systemd, _WHY = None, str(missing)

PATIENCE = 1.0  # seconds that systemd may take to make room for a word that is said only once
MAX_STATUS = 500  # characters; systemd drops datagrams of more than 4096 bytes

_MICROSECONDS = 1_000_000


class Notifier:
    """Speaks to the service manager that started this process, if one did."""

    def __init__(self) -> None:
        self._address = _address(os.environ.get("NOTIFY_SOCKET", ""))
        self._started = self._address is not None or "LISTEN_PID" in os.environ
        self._interval = _watchdog_interval()

    def close(self) -> None:
        """Send nothing to systemd from now on."""
        self._address = None

    def unheard(self) -> str:
        """Return why systemd hears nothing, though it started this process; empty where it hears, or did not."""
        if systemd is not None or not self._started:
            return ""
        return (
            f"Systemd is told nothing and its sockets are not used: its library cannot be loaded ({_WHY}). "
            "Install python3-systemd, for the Python that runs the agent."
        )

    def ready(self, status: str) -> None:
        """Say that the agent is up, or that a reload has ended."""
        self._send("READY=1", _status(status), patience=PATIENCE)

    def status(self, text: str) -> None:
        """Say in one sentence what the agent does; `systemctl status` shows it."""
        self._send(_status(text))

    def reloading(self) -> None:
        """Say that a reload begins; `ready` must follow."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={int(monotonic() * _MICROSECONDS)}", patience=PATIENCE)

    def stopping(self, status: str) -> None:
        """Say that the agent is going down."""
        self._send("STOPPING=1", _status(status), patience=PATIENCE)

    def watchdog(self) -> None:
        """Say that the agent gets on with its work."""
        self._send("WATCHDOG=1")

    def watchdog_interval(self) -> float | None:
        """Return how many seconds may lie between two calls of `watchdog`; None when systemd does not watch."""
        return self._interval

    def listen_fds(self) -> list[int]:
        """Return the descriptors that systemd opened for this process, which children do not inherit; once.

        An announcement that is not true, such as of a descriptor that is not open, is one of none.
        """
        found: list[int] = []
        if systemd is not None:
            with suppress(OSError):
                found = systemd.listen_fds(unset_environment=False)
        for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
            os.environ.pop(name, None)  # the library's own way leaves them in Python's copy
        return found

    def _send(self, *assignments: str, patience: float = 0.0) -> None:
        if systemd is None or self._address is None or not has_room(self._address, patience):
            return
        with suppress(OSError):
            systemd.notify("\n".join(assignments))


def _address(name: str) -> str | None:
    if name.startswith("@"):
        return "\0" + name[1:]
    return name if name.startswith("/") else None


def _status(text: str) -> str:
    return f"STATUS={one_line(text, MAX_STATUS)}"  # a line break would forge a further assignment


def _watchdog_interval() -> float | None:
    pid = os.environ.pop("WATCHDOG_PID", None)
    microseconds = _number(os.environ.pop("WATCHDOG_USEC", ""))
    if pid not in {None, str(os.getpid())} or not microseconds:
        return None
    return microseconds / _MICROSECONDS / 2


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None  # noqa: PLR2004 - 64 bits
