"""What the agent tells systemd about itself, and what systemd hands it: readiness, status, watchdog, sockets.

The protocol is a datagram of assignments, so it is written here: libsystemd by way of systemd-python adds 0.76 MiB to
the proportional set size of an idle daemon, and it waits for as long as systemd does not listen. Here nothing waits
longer than `PATIENCE`, and nothing is waited for that will be said again anyhow.

Without systemd every call does nothing. It refuses to pass systemd's words on to children, who would be taken for the
agent: they are removed from the environment. It never raises, since a daemon works without being watched.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from typing import TYPE_CHECKING

from agent.core.report.journal_events import one_line
from agent.system.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import MutableMapping

PATIENCE = 1.0  # seconds that systemd may take to make room for a word that is said only once
MAX_STATUS = 500  # characters; systemd drops datagrams of more than 4096 bytes

_FIRST_FD = 3  # sd_listen_fds(3)
_MAX_FDS = 64
_MICROSECONDS = 1_000_000


class Notifier:
    """Speaks to the service manager that started this process, if one did."""

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        self._environment = environment
        self._address = _address(environment.pop("NOTIFY_SOCKET", ""))
        self._interval = _watchdog_interval(environment)
        self._socket: socket.socket | None = None
        if self._address is not None:
            with contextlib.suppress(OSError):
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def close(self) -> None:
        """Let go of the socket; nothing is sent from then on."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ready(self, status: str) -> None:
        """Say that the agent is up, or that a reload has ended."""
        self._send("READY=1", _status(status), wait=True)

    def status(self, text: str) -> None:
        """Say in one sentence what the agent does; `systemctl status` shows it."""
        self._send(_status(text))

    def reloading(self) -> None:
        """Say that a reload begins; `ready` must follow."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={int(monotonic() * _MICROSECONDS)}", wait=True)

    def stopping(self, status: str) -> None:
        """Say that the agent is going down."""
        self._send("STOPPING=1", _status(status), wait=True)

    def watchdog(self) -> None:
        """Say that the agent gets on with its work."""
        self._send("WATCHDOG=1")

    def extend_timeout(self, seconds: float) -> None:
        """Ask for that many seconds from now for the start, reload or stop that is under way."""
        self._send(f"EXTEND_TIMEOUT_USEC={max(0, int(seconds * _MICROSECONDS))}", wait=True)

    def watchdog_interval(self) -> float | None:
        """Return how many seconds may lie between two calls of `watchdog`; None when nobody watches."""
        return self._interval

    def listen_fds(self) -> list[int]:
        """Return the descriptors that systemd opened for this process, which children do not inherit; once."""
        for_us = self._environment.pop("LISTEN_PID", "") == str(os.getpid())
        number = _number(self._environment.pop("LISTEN_FDS", ""))
        self._environment.pop("LISTEN_FDNAMES", None)
        if not for_us or number is None:
            return []
        return [fd for fd in range(_FIRST_FD, _FIRST_FD + min(number, _MAX_FDS)) if _keep(fd)]

    def _send(self, *assignments: str, wait: bool = False) -> None:
        if self._socket is None or self._address is None:
            return
        with contextlib.suppress(OSError):
            self._socket.settimeout(PATIENCE if wait else 0.0)
            self._socket.sendto("\n".join(assignments).encode(), self._address)


def _address(name: str) -> str | None:
    if name.startswith("@"):
        return "\0" + name[1:]
    return name if name.startswith("/") else None


def _status(text: str) -> str:
    return f"STATUS={one_line(text, MAX_STATUS)}"  # a line break would forge a further assignment


def _watchdog_interval(environment: MutableMapping[str, str]) -> float | None:
    pid = environment.pop("WATCHDOG_PID", None)
    microseconds = _number(environment.pop("WATCHDOG_USEC", ""))
    if pid not in {None, str(os.getpid())} or not microseconds:
        return None
    return microseconds / _MICROSECONDS / 2


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None  # noqa: PLR2004 - 64 bits


def _keep(fd: int) -> bool:
    try:
        fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.fcntl(fd, fcntl.F_GETFD) | fcntl.FD_CLOEXEC)
    except OSError:
        return False  # announced, and not there
    return True
