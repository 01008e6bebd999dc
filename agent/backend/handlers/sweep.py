"""The round of each half hour: retired certificates that were kept for long enough are deleted.

It never deactivates anything. One certificate that cannot be dealt with does not keep the others from being looked at.
It has a pace, since AWS answers ten questions of a kind a second to the whole account, and gateways that rotate and
retire ask the same ones.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.backend.decide.deletion import DueCertificate, may_delete
from agent.backend.errors import ChangedError
from agent.backend.handlers.account import go_through, perform, tell
from agent.backend.names import Metric

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.backend.handlers.account import Account
    from agent.backend.values import Certificate, Record

BATCH = 2000  # certificates in one round
RESERVE = timedelta(seconds=60)  # what one certificate may take at worst, with all its repetitions
EACH = timedelta(seconds=0.5)  # for one certificate, which takes up to three questions of a kind


def sweep(account: Account, time_left: Callable[[], timedelta], pause: Callable[[float], None]) -> None:
    """Look at each certificate that is due, one after the other and no faster than one in `EACH`.

    Args:
        account: The account.
        time_left: How long the function may still run.
        pause: Waits for some seconds.

    Raises:
        BackendError: AWS did not answer about one of them at least; the next round takes it up again.
    """
    due = account.store.due(account.now(), BATCH)

    def look_at(record: Record) -> None:
        before = time_left()
        try:
            _look_at(record, account)
        finally:
            pause(max(EACH - (before - time_left()), timedelta(0)).total_seconds())

    done, faults = go_through(due, look_at, lambda: time_left() >= RESERVE)
    if done < len(due):
        account.outbox.count(Metric.OVERDUE, value=len(due) - done)
    if faults:
        raise faults[-1]


def _look_at(record: Record, account: Account) -> None:
    verdict = may_delete(record, _found(record, account), account.now())
    try:
        perform(account, verdict)
    except ChangedError as error:
        verdict = replace(verdict, count=Metric.KEPT, why=str(error))
    tell(account, verdict, thing=record.thing, certificateId=record.certificate_id)


def _found(record: Record, account: Account) -> DueCertificate:
    registry = account.registry
    things = registry.things_of(record.certificate_id)
    others = _others(record, account)
    return DueCertificate(certificate=registry.certificate(record.certificate_id), things=things, others=others)


def _others(record: Record, account: Account) -> tuple[Certificate, ...] | None:
    """Return the other certificates of the thing, up to the first that is active: one is enough."""
    attached = account.registry.certificates_of(record.thing)
    if attached is None:
        return None
    found: list[Certificate] = []
    for certificate_id in attached:
        other = account.registry.certificate(certificate_id) if certificate_id != record.certificate_id else None
        if other is not None:
            found.append(other)
            if other.active:
                break
    return tuple(found)
