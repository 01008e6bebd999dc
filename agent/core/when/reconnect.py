"""How the daemon's own connection is kept: when to connect again, and when to doubt the certificate.

Rules:

* Delays are exponential and capped, half fixed and half chance: a fleet that lost the broker together comes back
  spread out and never hammers. The cap is four minutes, so that a gateway is back within five of the moment at which
  anything it has would be accepted. A broker that has no room for so many says so, and is left alone for up to an
  hour, all of it chance.
* One hang-up proves nothing (AWS IoT Core hangs up without a word on a revoked certificate, and so does a bad path).
  Two in a row that a refused certificate could explain raise the suspicion, and the ladder's control connections
  decide. While it stays like that, the ladder is asked after 2, 4 and 8 failures, and after each one from there on:
  these are minutes apart, and what is activated again may be any rung, not only the set in use.
* A set on probation is another matter: the one before is kept ready for just this. There the first suspicion has the
  set proven, against a control, and nothing is concluded from it alone.
* A connection taken over by another client with the same id is not won back at once: two that fight would cut each
  other off for ever. The delay starts at half a minute, grows to an hour, and is only forgotten after hours of peace.
* A broker need not say that a connection was taken over. Three in a row that came up and were hung up on within seconds
  are taken for that. They are suspicions all the same: by the third the ladder has been asked once, and it is asked
  again at powers of two, since a policy may explain them too. One attempt in between that does not come up ends the
  run: a certificate that is deactivated may be let in once more, and is refused at the next. A bad path or a broker in
  trouble looks the same, so the delay does not grow beyond the cap of all others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.core.failure.codes import Code, traits
from agent.core.failure.failure import FailureClass, needs_control
from agent.core.failure.retry import CAP, Backoff
from agent.core.frozen import frozen

if TYPE_CHECKING:
    from agent.core.failure.failure import Failure

STEADY = 30.0  # seconds after which a connection counts as one that works
PEACE = 7200.0  # seconds after which a takeover is forgotten
BRIEF = 10.0  # seconds within which a client that was cut off is back: the SDKs' first delays are one to a few
BRIEF_ONES = 3  # connections in a row that were no longer than that

OFTEN = 8  # suspicions in a row, after which each further one is looked into

# After a long outage 90,000 gateways connect 500 times a second, which is an account's quota. Of a larger fleet the
# rest is told that there is no room (THROTTLED) and comes again spread over an hour: half a million, as many as an
# account holds, stay under the quota then, and a million are back within two hours. The tests simulate it.
_ORDINARY = Backoff(base=2, cap=CAP, floor=1.1)
_BACKOFFS = {
    FailureClass.SERVER_TRUST: Backoff(base=30, cap=CAP, floor=5),
    FailureClass.CLOCK: Backoff(base=10, cap=CAP, floor=5),
}
_NO_ROOM = Backoff(base=30, cap=3600, floor=10)
_TAKEN_OVER = Backoff(base=60, cap=3600, floor=30)
_PERHAPS_TAKEN_OVER = replace(_TAKEN_OVER, cap=CAP)


@frozen
class ReconnectState:
    """What is remembered between attempts.

    Attributes:
        failures: Failed attempts and short-lived connections in a row.
        suspicions: How many of them in a row a refused certificate could explain.
        takeovers: How often another client took the connection over.
        brief: How many connections in a row came up and were hung up on within seconds.
    """

    failures: int = 0
    suspicions: int = 0
    takeovers: int = 0
    brief: int = 0


@frozen
class NextConnect:
    """What to do after a connection could not be made or was lost.

    Attributes:
        standing: What to remember.
        delay: Seconds before the next attempt.
        doubt: Whether to let the ladder find out if the certificate is refused.
        taken_over: Whether another client is believed to use the same id.
        suspicion: Whether a refused certificate could explain it: enough to prove a set on probation anew.
    """

    standing: ReconnectState
    delay: float
    doubt: bool = False
    taken_over: bool = False
    suspicion: bool = False


def after_failure(standing: ReconnectState, failure: Failure, chance: float) -> NextConnect:
    """Judge an attempt that did not come up.

    Args:
        standing: What was remembered.
        failure: Why.
        chance: A number in [0, 1).
    """
    suspicions = standing.suspicions + 1 if needs_control(failure) else 0
    following = ReconnectState(failures=standing.failures + 1, suspicions=suspicions, takeovers=standing.takeovers)
    delay = _delay(failure.kind, following.failures, chance)
    doubt = _doubtful(suspicions) or suspicions > OFTEN
    return NextConnect(standing=following, delay=delay, doubt=doubt, suspicion=suspicions > 0)


def _delay(kind: FailureClass, attempt: int, chance: float) -> float:
    if kind is FailureClass.THROTTLED:  # so many are told so at once that all of an hour is needed
        return _NO_ROOM.delay(attempt, chance)
    return _spread(_BACKOFFS.get(kind, _ORDINARY), attempt, chance)


def _doubtful(suspicions: int) -> bool:
    """Whether so many in a row are a power of two above one."""
    return suspicions > 1 and suspicions & (suspicions - 1) == 0


def after_loss(standing: ReconnectState, failure: Failure, lasted: float, chance: float) -> NextConnect:
    """Judge a connection that came up and was lost after `lasted` seconds; one that was steady is a fresh start."""
    if lasted >= STEADY:
        return after_failure(ReconnectState(takeovers=standing.takeovers), failure, chance)
    verdict = after_failure(standing, failure, chance)
    if lasted >= BRIEF or failure.code != Code.HUNG_UP:
        return verdict
    following = replace(verdict.standing, brief=standing.brief + 1)
    if following.brief < BRIEF_ONES:
        return replace(verdict, standing=following)
    following = replace(following, takeovers=standing.takeovers + 1)
    delay = _spread(_PERHAPS_TAKEN_OVER, following.takeovers, chance)
    return NextConnect(standing=following, delay=delay, doubt=_doubtful(following.suspicions), taken_over=True)


def after_takeover(standing: ReconnectState, lasted: float, chance: float) -> NextConnect:
    """Judge a connection of which the broker says that another client took it over, after `lasted` seconds."""
    takeovers = 1 if lasted >= PEACE else standing.takeovers + 1
    following = ReconnectState(takeovers=takeovers)
    return NextConnect(standing=following, delay=_spread(_TAKEN_OVER, takeovers, chance), taken_over=True)


def _spread(backoff: Backoff, attempt: int, chance: float) -> float:
    """Return a delay of which half is chance."""
    return max(backoff.floor, backoff.delay(attempt, 0.5 + 0.5 * min(max(chance, 0.0), 1.0)))


def heals_with_network(failure: Failure | None) -> bool:
    """Whether a step that failed so may be tried again as soon as a connection is possible."""
    return failure is not None and failure.kind is FailureClass.NETWORK and traits(failure.code).of_the_path
