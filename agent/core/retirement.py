"""Which certificates this gateway has left behind, and when the cloud is asked to deactivate them.

Rules:

* A replaced certificate is retired only after the change that replaced it is final and the grace has passed: until then
  it is what a rollback returns to.
* A certificate that was registered for a change that failed is of no use to anyone; it is retired after the same grace,
  so that a person can still look into it.
* A certificate in use is never retired, whatever the history says: a rollback may have brought it back.
* An unbelievable clock retires nothing.

The state is in the history: a change whose certificate is retired says so (`ChangeRecord.retired_at`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.core.lifecycle import ChangeRecord, Phase
from agent.core.values import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, timedelta


@dataclass(frozen=True, kw_only=True)
class Retirement:
    """One certificate to be retired.

    Attributes:
        change: The id of the change that left it behind.
        certificate_id: The certificate.
        due: From when the cloud may be asked.
    """

    change: str
    certificate_id: str
    due: datetime


def left_behind(record: ChangeRecord) -> str | None:
    """Return the id of the certificate that a finished change left behind, or None."""
    if record.phase.succeeded:
        return None if record.kind is Kind.TRUST else record.replaces  # new anchors, the same certificate
    if record.phase in {Phase.REJECTED, Phase.ROLLED_BACK} and record.issued is not None and _may_be_registered(record):
        return record.issued.certificate_id
    return None


def _may_be_registered(record: ChangeRecord) -> bool:
    """What was never registered the cloud deletes by itself within the hour."""
    return record.unanswered > 0 or any(phase is Phase.REGISTERED for phase, _ in record.passed)


def resting_on(current: str | None, change: ChangeRecord | None) -> tuple[str, ...]:
    """Return the certificates that something rests on: of the current set, and of a change in flight."""
    known = [current]
    if change is not None:
        known += [change.replaces, change.issued.certificate_id if change.issued else None]
    return tuple(item for item in known if item)


def outstanding(history: Iterable[ChangeRecord], in_use: Iterable[str], grace: timedelta) -> tuple[Retirement, ...]:
    """Return what is still to be retired, the first due first.

    Args:
        history: The finished changes.
        in_use: The certificates that something rests on; see `resting_on`.
        grace: How long a certificate is kept after it was left behind.
    """
    records = tuple(history)
    settled = {left_behind(record) for record in records if record.retired_at is not None} | set(in_use)
    found: dict[str, Retirement] = {}
    for record in records:
        certificate_id = left_behind(record)
        if certificate_id is not None and certificate_id not in settled:
            due = (record.committed_at or record.entered_at) + grace
            found[certificate_id] = Retirement(change=record.id, certificate_id=certificate_id, due=due)
    return tuple(sorted(found.values(), key=lambda item: item.due))
