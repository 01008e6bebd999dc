"""What is looked up of certificates, for an order to rotate and for the list of orphans. Nothing is done with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.backend.decide.deletion import Classified, classify
from agent.backend.decide.orders import JobTarget

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from agent.backend.ports import Registry, StackStore
    from agent.backend.values import Certificate


def job_target(thing: str, registry: Registry) -> JobTarget:
    """Return a thing with its certificates and jobs.

    Raises:
        BackendError: AWS did not answer.
    """
    attached = registry.certificates_of(thing)
    found = (registry.certificate(item) for item in attached or ())
    return JobTarget(
        thing=thing,
        certificates=None if attached is None else tuple(item for item in found if item is not None),
        jobs=registry.orders_of(thing) if attached else (),
    )


def classified(registry: Registry, store: StackStore, now: datetime) -> Iterator[tuple[Certificate, Classified]]:
    """Yield each certificate of the account, and what it is to this stack.

    Raises:
        BackendError: AWS did not answer.
    """
    for certificate in registry.everything():
        name = certificate.certificate_id
        yield certificate, classify(certificate, registry.things_of(name), store.record(name), now)
