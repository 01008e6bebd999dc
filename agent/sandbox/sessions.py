"""A log of sessions: who was connected, when, and how it ended; and how long a client was not connected at all."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


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
