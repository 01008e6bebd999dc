"""What the operator asks for by hand: orders to rotate, and what the account holds that belongs to no thing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.backend.decide.deletion import Classified, classify
from agent.backend.decide.orders import JobPlan, JobTarget, Pace, job_targets

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from agent.backend.ports import Registry, StackStore
    from agent.backend.values import Certificate


def plan(things: Iterable[str], task: str, reason: str, registry: Registry, pace: Pace | None = None) -> JobPlan:
    """Return which of some things would be ordered to rotate, by which jobs; nothing is ordered by that.

    Args:
        things: The things.
        task: What tells this order from another one of the same things: a ticket, a finding, a day.
        reason: Why, as the gateways are told.
        registry: AWS IoT Core.
        pace: How the jobs are rolled out.

    Raises:
        BackendError: AWS did not answer.
    """
    return job_targets((_candidate(thing, registry) for thing in things), task, reason, pace)


def orphans(registry: Registry, store: StackStore, now: datetime) -> Iterator[tuple[Certificate, Classified]]:
    """Yield each certificate of the account, and what it is to this stack.

    Raises:
        BackendError: AWS did not answer.
    """
    for certificate in registry.everything():
        name = certificate.certificate_id
        yield certificate, classify(certificate, registry.things_of(name), store.record(name), now)


def _candidate(thing: str, registry: Registry) -> JobTarget:
    attached = registry.certificates_of(thing)
    found = (registry.certificate(item) for item in attached or ())
    return JobTarget(
        thing=thing,
        certificates=None if attached is None else tuple(item for item in found if item is not None),
        jobs=registry.orders_of(thing) if attached else (),
    )
