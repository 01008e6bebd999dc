"""By the clock: devices that were replaced lose their certificates, once the new ones are known to be in use.

It retires as a gateway does that asks for it, under the same lease; what cannot be finished is left to the next round.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from agent.backend.decide import replacement as replacements
from agent.backend.decide.replacement import Attached
from agent.backend.decide.retirement import RetirementRequest
from agent.backend.errors import ChangedError
from agent.backend.handlers.account import go_through
from agent.backend.handlers.retirement import carried_out, count
from agent.backend.names import REASON, Metric

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.backend.handlers.account import Account
    from agent.backend.values import Replacement

BATCH = 200  # things in one round
RESERVE = timedelta(seconds=15)  # what one of them may take at worst


def retire_replaced(account: Account, time_left: Callable[[], timedelta]) -> None:
    """Look at each thing whose device is replaced.

    Args:
        account: The account.
        time_left: How long the function may still run.

    Raises:
        BackendError: AWS did not answer about one of them at least; the next round takes it up again.
    """
    due = account.store.replacements(account.now(), BATCH)
    _, faults = go_through(due, lambda row: _look_at(row.thing, account), lambda: time_left() >= RESERVE)
    if faults:
        raise faults[-1]


def _look_at(thing: str, account: Account) -> None:
    row, now = account.store.replacement(thing), account.now()
    if row is None or row.look_at is None or row.look_at > now:
        return
    next_row = _carried_out(row, account) or replacements.waiting(row, now)
    try:
        account.store.save_replacement(next_row)
    except ChangedError:
        return  # the operator has named yet another device


def _carried_out(row: Replacement, account: Account) -> Replacement | None:
    """Return the row that follows, or None where no use of the new device is known yet."""
    if not replacements.may_be_used(row, account.store.device(row.serial)):
        return None
    found = replacements.sides(row, _attached(row.thing, account))
    caller = replacements.in_use(found, account.registry.report(row.thing).certificate_id) if found.new else ""
    if not caller:
        return None
    retired = [
        target
        for target in found.old
        if _is_retired(RetirementRequest(thing=row.thing, caller=caller, target=target), account)
    ]
    follows = replacements.looked_at(row, {*retired, *found.over}, account.now())
    if follows.look_at is None:
        _tell(row, {*found.unclear, *found.old} - set(retired), account)
    return follows


def _attached(thing: str, account: Account) -> list[Attached]:
    registry, store = account.registry, account.store
    found = [(registry.certificate(name), name) for name in registry.certificates_of(thing) or ()]
    return [Attached(certificate=it, record=store.record(name)) for it, name in found if it is not None]


def _is_retired(asked: RetirementRequest, account: Account) -> bool:
    """Retire one certificate; return whether it is: not while another one has the lease, or AWS does not allow it."""
    try:
        verdict = carried_out(asked, account)
    except ChangedError:
        return False
    if verdict.allowed:
        count(asked, verdict, account)
    return verdict.allowed


def _tell(row: Replacement, left: set[str], account: Account) -> None:
    """Count the certificates that stay ACTIVE although they are, or may be, the old device's."""
    why = f"{row.thing} was given to {row.serial}. Whose this certificate is cannot be told, and it stays ACTIVE."
    for name in sorted(left):
        account.outbox.count(Metric.RETIREMENTS_REFUSED, about={REASON: why, "thing": row.thing, "certificateId": name})
