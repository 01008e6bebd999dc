"""The account as a handler meets it, and how a verdict is carried out there.

A verdict rests on what was read before. Where that is not so any more, what was read is read again and decided again; a
handler that cannot catch up ends with an error, and its event comes again.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, TypeVar

from agent.backend.decide.verdict import (
    ActivateCertificate,
    AttachPolicy,
    AttachThing,
    DeactivateCertificate,
    Decision,
    Deed,
    DeleteCertificate,
    DetachThing,
    MakeThing,
    SaveDevice,
    SaveRecord,
)
from agent.backend.errors import ChangedError, UnavailableError
from agent.backend.names import REASON
from agent.backend.settings import StackSettings
from agent.core.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from agent.backend.ports import CertificateSigner, Outbox, Registry, StackStore
    from agent.backend.values import Device, Record

T = TypeVar("T")

ATTEMPTS = 4
MOST_FAULTS = 5  # before a round is given up


@frozen
class Account:
    """What a handler works with.

    Attributes:
        registry: AWS IoT Core.
        store: The stack's tables.
        outbox: Where it tells what it did.
        now: The clock.
        settings: The operator's choices.
        signer: The account's own signer, which the stack may lack.
    """

    registry: Registry
    store: StackStore
    outbox: Outbox
    now: Callable[[], datetime]
    settings: StackSettings = field(default_factory=StackSettings)
    signer: CertificateSigner | None = None


def carry_out(account: Account, decide: Callable[[], Decision]) -> Decision:
    """Decide, and do it; decide anew where what was decided upon has changed meanwhile.

    Raises:
        ChangedError: It goes on changing, or AWS does not let it be done.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return _carried_out(account, decide)
        except ChangedError:
            continue
    return _carried_out(account, decide)


def _carried_out(account: Account, decide: Callable[[], Decision]) -> Decision:
    verdict = decide()
    perform(account, verdict)
    return verdict


def perform(account: Account, verdict: Decision) -> None:
    """Do what a verdict says, in its order.

    Raises:
        ChangedError: See the verbs of the ports.
    """
    for deed in verdict.do:
        _perform(account, deed)


def device_of(record: Record | None, account: Account) -> Device | None:
    """Return the row of the serial number that a certificate descends from, if its row names one.

    Raises:
        BackendError: It could not be read.
    """
    return account.store.device(record.serial) if record is not None and record.serial else None


def tell(account: Account, verdict: Decision, **about: object) -> None:
    """Tell the operator of a verdict, if it is one that is counted.

    Args:
        account: The account.
        verdict: The verdict.
        about: What it is about, for the operator's log.
    """
    if verdict.count is not None:
        account.outbox.count(verdict.count, about={REASON: verdict.why, **about})


def go_through(
    rows: Sequence[T], look_at: Callable[[T], None], may_go_on: Callable[[], bool]
) -> tuple[int, list[UnavailableError]]:
    """Look at one row after the other; one about which AWS does not answer keeps no other from being looked at.

    Args:
        rows: The rows.
        look_at: Deals with one.
        may_go_on: Whether there is time for another one.

    Returns:
        How many were looked at, and what was not answered.
    """
    faults: list[UnavailableError] = []
    for number, row in enumerate(rows):
        if not may_go_on() or len(faults) >= MOST_FAULTS:
            return number, faults
        try:
            look_at(row)
        except UnavailableError as error:
            faults.append(error)
    return len(rows), faults


def _perform(account: Account, deed: Deed) -> None:
    match deed:
        case SaveDevice(device):
            account.store.save_device(device)
        case SaveRecord(record):
            account.store.save_record(record)
        case AttachPolicy(policy, certificate_id):
            account.registry.attach_policy(policy, certificate_id)
        case ActivateCertificate(certificate_id):
            account.registry.activate(certificate_id)
        case DeactivateCertificate(certificate_id):
            account.registry.deactivate(certificate_id)
        case MakeThing(thing):
            account.registry.make_thing(thing)
        case AttachThing(thing, certificate_id):
            account.registry.attach_thing(thing, certificate_id)
        case DetachThing(thing, certificate_id):
            account.registry.detach_thing(thing, certificate_id)
        case DeleteCertificate(certificate_id):
            account.registry.delete(certificate_id)
