"""Retirements that wait, as a test asks for them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.when.retirement import Retirement, outstanding

if TYPE_CHECKING:
    from support.simulated.rig import Rig

DAY = timedelta(days=1)
GRACE = 7 * DAY


def waiting(rig: Rig) -> tuple[Retirement, ...]:
    """Return what is still to be retired."""
    current = rig.store.current()
    assert current is not None
    return outstanding(rig.store.history(), [rig.certificate(current)], GRACE)


def only(rig: Rig) -> Retirement:
    """Return the one certificate that is still to be retired."""
    (found,) = waiting(rig)
    return found
