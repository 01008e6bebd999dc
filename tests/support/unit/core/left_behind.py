"""Changes as history has them, and the certificates that they left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.core.change.advance import advance
from agent.core.change.events import Retired
from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.when.retirement import outstanding
from support import make
from support.make import DAY, MINUTE, NOW

if TYPE_CHECKING:
    from datetime import datetime, timedelta

GRACE = 7 * DAY
OLD, NEW, NEXT = "01" * 32, "02" * 32, "03" * 32
REGISTERED = ((Phase.REGISTERED, NOW - MINUTE), (Phase.REJECTED, NOW))


def rotated(old: str = OLD, at: datetime = NOW, **changes: Any) -> ChangeRecord:
    """Return a rotation that replaced a certificate."""
    return make.finished(Phase.COMMITTED, at, replaces=old, **changes)


def gave_up(phase: Phase = Phase.REJECTED, at: datetime = NOW, **changes: Any) -> ChangeRecord:
    """Return a rotation whose certificate was registered and then given up."""
    usual = {"replaces": OLD, "issued": make.issued(at), "passed": REGISTERED}
    return make.finished(phase, at, **{**usual, **changes})


def retired(record: ChangeRecord, at: datetime = NOW + 8 * DAY) -> ChangeRecord:
    """Return the record once the cloud accepted the retirement."""
    return advance(record, Retired(at=at))


def ids(*history: ChangeRecord, in_use: tuple[str, ...] = (NEW,), grace: timedelta = GRACE) -> list[str]:
    """Return the certificates that are still to be retired, in order."""
    return [item.certificate_id for item in outstanding(history, in_use, grace)]
