"""What a front notes: who was connected, when, and how it ended; how long a client was not; and what went wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


_ONE_SECOND = 1.0


class SessionEnd(StrEnum):
    """How a session ended."""

    CLOSED = "closed"  # the client said DISCONNECT
    VANISHED = "vanished"  # the client's connection ended without a word
    TAKEN_OVER = "taken-over"  # another one with the same client id came
    HUNG_UP = "hung-up"  # the front or the broker ended it: for what the client sent or did not send, or by a fault
    CUT = "cut"  # its certificate was revoked, deactivated or retired
    DOWN = "down"  # the endpoint was taken down


@dataclass(kw_only=True)
class ClientSession:
    """One client between its CONNECT and its end.

    Attributes:
        client_id: The client id.
        certificate_id: What it proved to have.
        began: When, by the monotonic clock.
        ended: When, or None while it lasts.
        end: How it ended; empty while it lasts.
    """

    client_id: str
    certificate_id: str
    began: float
    ended: float | None = None
    end: str = ""


@dataclass(kw_only=True)
class FrontLog:
    """What has come to pass at a front.

    Attributes:
        sessions: Every session so far, in the order of their beginnings.
        rushed: The client id of each CONNECT that came less than a second after the one before. AWS refuses those; here
            they are let through and counted.
        handshake_failures: How many TLS handshakes failed.
        defects: Errors that no client may cause; also logged.
    """

    sessions: list[ClientSession] = field(default_factory=list)
    rushed: list[str] = field(default_factory=list)
    handshake_failures: int = 0
    defects: list[BaseException] = field(default_factory=list)
    _last_connect: dict[str, float] = field(default_factory=dict)

    def note_connect(self, client_id: str, now: float) -> None:
        """Count a CONNECT against AWS's rule of one a second for each client id."""
        self._last_connect = {key: at for key, at in self._last_connect.items() if now - at < _ONE_SECOND}
        if client_id in self._last_connect:
            self.rushed.append(client_id)
        self._last_connect[client_id] = now

    def gaps(self, client_id: str) -> list[float]:
        """Return the times, in seconds, in which a client had no session, between its first and its last one."""
        return gaps(list(self.sessions), client_id)


def gaps(sessions: Iterable[ClientSession], client_id: str) -> list[float]:
    """Return the times, in seconds, in which a client had no session, between its first and its last one."""
    spans = sorted(
        (session.began, inf if session.ended is None else session.ended)
        for session in sessions
        if session.client_id == client_id
    )
    found: list[float] = []
    covered = spans[0][1] if spans else inf
    for began, ended in spans[1:]:
        if began > covered:
            found.append(began - covered)
        covered = max(covered, ended)
    return found
