"""Climbs of the ladder, by what each rung met."""

from __future__ import annotations

from agent.core.change.ladder import Climb, Rung, missing
from agent.core.failure.failure import Failure, FailureClass
from support import make

F = FailureClass
HUNG_UP = make.failure(code="hung-up", message="The broker hung up.")
REFUSED = make.failure(F.CREDENTIAL, "refused", decisive=True)
UNAUTHORISED = make.failure(F.POLICY, "not-authorised")
UNTRUSTED = make.failure(F.SERVER_TRUST, "unknown-root", message="No anchor signs it.")
EXPIRED = make.failure(F.SERVER_TRUST, "server-certificate-expired", message="It has expired.")
STRANGER = make.failure(F.SERVER_TRUST, "wrong-host", message="It is another's.")
NO_ROUTE = make.failure(code="timeout", message="Nothing answers.")
NO_CLOCK = make.failure(F.CLOCK, "server-certificate-expired", message="It shows 1970.")
BUSY = make.failure(F.THROTTLED, "throttled", message="Too many.")
GONE = missing(Rung.CURRENT, "It is gone.").failure

Met = Failure | None
OTHER_SERVER: tuple[Met, ...] = (UNTRUSTED, EXPIRED)
PATH: tuple[Met, ...] = (NO_ROUTE, NO_CLOCK, BUSY, STRANGER)


def decided(move: Climb) -> tuple[Rung | None, Rung | None]:
    """Return what is tried next and what is used."""
    return move.try_next, move.use
