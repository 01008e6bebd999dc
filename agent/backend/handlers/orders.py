"""What the operator asks for by hand: orders to rotate, and what the account holds that belongs to no thing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.backend.decide.deletion import Class, classify
from agent.backend.decide.orders import JobPlan, JobTarget, Pace, job_targets

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agent.backend.handlers.account import Account
    from agent.backend.values import Certificate


def plan(things: Iterable[str], task: str, reason: str, account: Account, pace: Pace | None = None) -> JobPlan:
    """Return which of some things would be ordered to rotate, by which jobs; nothing is ordered by that.

    Args:
        things: The things.
        task: What tells this order from another one of the same things: a ticket, a finding, a day.
        reason: Why, as the gateways are told.
        account: The account.
        pace: How the jobs are rolled out.

    Raises:
        BackendError: AWS did not answer.
    """
    return job_targets((_candidate(thing, account) for thing in things), task, reason, pace)


def order(planned: JobPlan, account: Account) -> None:
    """Order what was planned; what is ordered already stays as it is.

    Raises:
        BackendError: AWS did not answer. Some of the jobs may be there; ordering again makes the others.
    """
    for item in planned.orders:
        account.registry.order(item)


def strays(account: Account) -> Iterator[tuple[Certificate, Class]]:
    """Yield each certificate of the account, and what it is to this stack.

    Raises:
        BackendError: AWS did not answer.
    """
    for certificate in account.registry.everything():
        things = account.registry.things_of(certificate.certificate_id)
        record = account.store.record(certificate.certificate_id)
        yield certificate, classify(certificate, things, record, account.now())


def _candidate(thing: str, account: Account) -> JobTarget:
    attached = account.registry.certificates_of(thing)
    found = (account.registry.certificate(item) for item in attached or ())
    return JobTarget(
        thing=thing,
        certificates=None if attached is None else tuple(item for item in found if item is not None),
        jobs=account.registry.orders_of(thing) if attached else (),
    )
