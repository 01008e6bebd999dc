"""Getting back to the cloud: climb the ladder, then make the one ordinary change that its top rung calls for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.core.failure import FailureClass
from agent.core.ladder import Climb, Rung
from agent.core.lifecycle import Phase
from agent.core.values import Kind, Origin
from agent.engine import MAX_REASON
from agent.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.lifecycle import ChangeRecord
    from agent.engine import Engine, Outcome

    Carry = Callable[[Kind, Origin, str], Outcome]


@dataclass(frozen=True, kw_only=True)
class Healed:
    """What became of it.

    Attributes:
        climb: What the ladder found.
        outcome: The change that followed, or None when none was called for.
    """

    climb: Climb
    outcome: Outcome | None = None


def locked_out(record: ChangeRecord) -> bool:
    """Whether the change ended because the set it was to start from is refused, or the only one there is."""
    only_one = any(phase is Phase.ACTIVE for phase, _ in record.passed)
    another = record.issued is not None or record.kind in {Kind.IMPORT, Kind.ROLLBACK}  # than the one it started from
    return (
        record.phase is Phase.REJECTED
        and (not another or only_one)
        and record.failure is not None
        and record.failure.kind is FailureClass.CREDENTIAL
    )


def heal(engine: Engine, carry: Carry, go_on: Callable[[], Outcome], why: str, *, rotate_from_current: bool) -> Healed:
    """Find a set that works and do what follows from it.

    Args:
        engine: With no change in flight.
        carry: Begins a change and carries it on.
        go_on: Carries the change in flight on.
        why: What went before, for people.
        rotate_from_current: Whether to rotate when the current set turns out to work.

    Raises:
        RefusedError: This gateway never had a certificate.
    """
    if not engine.has_ever_enrolled():
        raise RefusedError("This gateway has no certificate to rotate yet.", hint="Run `iot-cert enroll`.")
    climb = engine.find_footing()
    reason = f"ladder: {why}"[:MAX_REASON]
    match climb.use:
        case Rung.PREVIOUS:
            outcome = carry(Kind.ROLLBACK, Origin.LADDER, reason)
            if outcome.record.phase is Phase.COMMITTED:
                outcome = carry(Kind.ROTATE, Origin.LADDER, reason)
            return Healed(climb=climb, outcome=outcome)
        case Rung.PREVIOUS_ANCHORS | Rung.BAKED_ANCHORS:
            engine.install(engine.other_anchors(climb.use), Origin.LADDER, reason)
            return Healed(climb=climb, outcome=go_on())
        case Rung.CLAIM:
            return Healed(climb=climb, outcome=carry(Kind.ENROLL, Origin.LADDER, reason))
        case Rung.CURRENT if rotate_from_current:
            return Healed(climb=climb, outcome=carry(Kind.ROTATE, Origin.LADDER, reason))
        case _:
            return Healed(climb=climb)
