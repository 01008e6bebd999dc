"""How the account's certificates are counted: by their state, and those that can connect by their age."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from agent.backend.names import Metric
from agent.backend.values import Certificate, Status

if TYPE_CHECKING:
    from datetime import datetime

STATES = {Status.ACTIVE: Metric.ACTIVE, Status.INACTIVE: Metric.INACTIVE}
AGES = (
    (timedelta(days=30), Metric.UP_TO_30_DAYS),
    (timedelta(days=90), Metric.UP_TO_90_DAYS),
    (timedelta(days=365), Metric.UP_TO_365_DAYS),
)
COUNTED = (*STATES.values(), Metric.OTHERWISE, *(metric for _, metric in AGES), Metric.OLDER)


def counts_as(certificate: Certificate, now: datetime) -> tuple[Metric, ...]:
    """Return what a certificate is counted as."""
    state = STATES.get(certificate.status, Metric.OTHERWISE)
    if not certificate.active:
        return (state,)
    age = now - certificate.created_at
    return state, next((metric for most, metric in AGES if age <= most), Metric.OLDER)
