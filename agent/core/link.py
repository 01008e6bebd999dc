"""How the daemon's own connection is kept: when to connect again, and when to doubt the certificate.

Rules:

* Delays are exponential and capped, half fixed and half chance: a fleet that lost the broker together comes back
  spread out, and nobody hammers.
* One hang-up proves nothing (AWS IoT Core hangs up without a word on a revoked certificate, and so does a bad path).
  Two in a row that a refused certificate could explain raise the suspicion, and the ladder's control connections
  decide. While it stays like that, the ladder is asked after ever more failures: 2, 4, 8, ...
* A set on probation is another matter: the one before is kept ready for just this. There the first suspicion has the
  set proven, against a control, and nothing is concluded from it alone.
* A connection taken over by another client with the same id is not won back at once: two that fight would cut each
  other off for ever. The delay starts at half a minute, grows to an hour, and is only forgotten after hours of peace.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agent.core.failure import FailureClass, needs_control
from agent.core.retry import Backoff

if TYPE_CHECKING:
    from agent.core.failure import Failure

STEADY = 30.0  # seconds after which a connection counts as one that works
PEACE = 7200.0  # seconds after which a takeover is forgotten

_ORDINARY = Backoff(base=2, cap=3600, floor=1.1)  # a million gateways stay under 500 connects a second
_BACKOFFS = {
    FailureClass.THROTTLED: Backoff(base=30, cap=3600, floor=10),
    FailureClass.SERVER_TRUST: Backoff(base=30, cap=3600, floor=5),
    FailureClass.CLOCK: Backoff(base=10, cap=600, floor=5),
}
_TAKEN_OVER = Backoff(base=60, cap=3600, floor=30)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What is remembered between attempts.

    Attributes:
        failures: Failed attempts and short-lived connections in a row.
        suspicions: How many of them in a row a refused certificate could explain.
        takeovers: How often another client took the connection over.
    """

    failures: int = 0
    suspicions: int = 0
    takeovers: int = 0


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What to do after a connection could not be made or was lost.

    Attributes:
        standing: What to remember.
        delay: Seconds before the next attempt.
        doubt: Whether to let the ladder find out if the certificate is refused.
        suspicion: Whether a refused certificate could explain it: enough to prove a set on probation anew.
    """

    standing: Standing
    delay: float
    doubt: bool = False
    suspicion: bool = False


def after_failure(standing: Standing, failure: Failure, chance: float) -> Verdict:
    """Judge an attempt that failed, or a connection that did not last.

    Args:
        standing: What was remembered.
        failure: Why.
        chance: A number in [0, 1).
    """
    suspicions = standing.suspicions + 1 if needs_control(failure) else 0
    following = replace(standing, failures=standing.failures + 1, suspicions=suspicions)
    delay = _spread(_BACKOFFS.get(failure.kind, _ORDINARY), following.failures, chance)
    doubt = suspicions >= 2 and suspicions & (suspicions - 1) == 0  # noqa: PLR2004 - powers of two
    return Verdict(standing=following, delay=delay, doubt=doubt, suspicion=suspicions > 0)


def after_loss(standing: Standing, failure: Failure, lasted: float, chance: float) -> Verdict:
    """Judge a connection that was lost after `lasted` seconds; one that was steady is a fresh start."""
    steady = lasted >= STEADY
    return after_failure(Standing(takeovers=standing.takeovers) if steady else standing, failure, chance)


def after_takeover(standing: Standing, lasted: float, chance: float) -> Verdict:
    """Judge a connection that another client with the same id took over after `lasted` seconds."""
    takeovers = 1 if lasted >= PEACE else standing.takeovers + 1
    following = Standing(takeovers=takeovers)
    return Verdict(standing=following, delay=_spread(_TAKEN_OVER, takeovers, chance))


def _spread(backoff: Backoff, attempt: int, chance: float) -> float:
    """Return a delay of which half is chance."""
    return max(backoff.floor, backoff.delay(attempt, 0.5 + 0.5 * min(max(chance, 0.0), 1.0)))


# What keeps a connection from being made, as opposed to what may have cost a certificate: trying again is free.
_PATH = frozenset({"dns", "unreachable", "tls-interrupted", "connack-timeout", "hung-up", "disconnected"})


def heals_with_network(failure: Failure | None) -> bool:
    """Whether a step that failed so may be tried again as soon as a connection is possible."""
    return failure is not None and failure.kind is FailureClass.NETWORK and failure.code in _PATH
