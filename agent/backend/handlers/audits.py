"""What Device Defender has found is answered by orders to rotate; its message says no more than which audit it was.

The topic delivers at least once and in any order, to a queue that delivers again what was not dealt with. So what an
audit has found is read anew each time, and ordering again is ordering once (`agent.backend.decide.audits`).

Source of the message: "Audit notifications", AWS IoT Device Defender developer guide; in an envelope of Amazon SNS
unless the subscription delivers it raw.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from agent.backend.decide import audits
from agent.backend.decide.audits import AuditedCertificate, Left
from agent.backend.decide.verdict import is_certificate_id
from agent.backend.handlers.account import device_of
from agent.backend.names import REASON, Metric
from agent.backend.values import AuditFinding, Check, DeviceState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from agent.backend.decide.orders import JobOrder
    from agent.backend.handlers.account import Account
    from agent.backend.ports import Auditor
    from agent.backend.values import Record

RESERVE = timedelta(seconds=120)  # for what one finding takes at worst, and for the orders
_LINE = 100  # things in a line of the log
_TASK = re.compile(r"[a-zA-Z0-9-]{1,40}")
_NEVER = datetime.max.replace(tzinfo=UTC)


def hear(event: Mapping[str, object], account: Account, auditor: Auditor, time_left: Callable[[], timedelta]) -> None:
    """Answer the audits that a batch of the queue is about.

    Args:
        event: What SQS delivers: `Records`, each with a `body`.
        account: The account.
        auditor: Device Defender.
        time_left: How long the function may still run.

    Raises:
        BackendError: It could not be found out, or not be ordered. The same message comes again.
    """
    records = event.get("Records")
    for record in records if isinstance(records, list) else ():
        task = _task(record.get("body") if isinstance(record, dict) else None)
        if task:
            _answer(task, account, auditor, time_left)
        else:
            account.outbox.count(Metric.FINDINGS_LEFT, about={REASON: "The message names no audit."})


def _task(body: object) -> str:
    """Return the audit that a message names, or nothing for a message that is about none."""
    message = _object(body)
    if isinstance(message.get("Message"), str):
        message = _object(message["Message"])
    task = message.get("taskId")
    return task if isinstance(task, str) and _TASK.fullmatch(task) else ""


def _object(text: object) -> Mapping[str, object]:
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}


def _answer(task: str, account: Account, auditor: Auditor, time_left: Callable[[], timedelta]) -> None:
    found = [*auditor.findings(task, Check.EXPIRING), *auditor.findings(task, Check.AGE)]
    for finding in auditor.findings(task, Check.CA_EXPIRING):
        found += _resting_on(finding, account, auditor, time_left)
    found.sort(key=lambda finding: finding.ends or _NEVER)
    due: dict[str, None] = {}
    left: Counter[Left] = Counter()
    for finding in found:
        full = time_left() < RESERVE or len(due) >= audits.MOST_DUE
        thing, why = ("", Left.LATER) if full else _look_at(finding, account)
        if why is None:
            due[thing] = None
        else:
            left[why] += 1
    left[Left.ORDERED] += len(due) - _ordered(task, due, account)
    for why, times in (+left).items():
        account.outbox.count(Metric.FINDINGS_LEFT, value=times, about={REASON: str(why), "task": task})


def _ordered(task: str, due: Collection[str], account: Account) -> int:
    """Make the jobs that do not exist yet, count their things even if AWS fails in between, and return the number."""
    made: list[JobOrder] = []
    try:
        made.extend(order for order in audits.orders(task, due) if account.registry.order(order))
    finally:
        things = [thing for order in made for thing in order.things]
        if things:
            about = {"task": task, "jobs": [order.job_id for order in made], "things": things[:_LINE]}
            account.outbox.count(Metric.ROTATIONS_ORDERED, value=len(things), about=about)
    return len(things)


def _look_at(finding: AuditFinding, account: Account) -> tuple[str, Left | None]:
    """Return the thing of a finding, and why nothing is ordered; None where it is."""
    record = account.store.record(finding.certificate_id)
    why = audits.at_once(finding, record, account.now())
    if why is not None:
        return "", why
    seen = _seen(finding.certificate_id, record, account)
    return "".join(seen.things[:1]), audits.judge(finding, seen, account.now())


def _seen(certificate_id: str, record: Record | None, account: Account) -> AuditedCertificate:
    """Look up what is known: no more of a certificate than speaks against it already."""
    registry = account.registry
    certificate = registry.certificate(certificate_id)
    things = registry.things_of(certificate_id) if certificate is not None and certificate.active else ()
    if len(things) != 1:
        return AuditedCertificate(certificate=certificate, things=things)
    device = device_of(record, account)
    attached = (registry.certificate(item) for item in registry.certificates_of(things[0]) or ())
    return AuditedCertificate(
        certificate=certificate,
        things=things,
        known=record is not None,
        blocked=device is not None and device.state is DeviceState.BLOCKED,
        attached=tuple(item for item in attached if item is not None),
        report=registry.report(things[0]),
        jobs=registry.orders_of(things[0]),
    )


def _resting_on(
    finding: AuditFinding, account: Account, auditor: Auditor, time_left: Callable[[], timedelta]
) -> list[AuditFinding]:
    """Tell the operator what rests on a CA that expires; return that as findings, where a rotation leaves the CA."""
    ca = finding.certificate_id
    if finding.suppressed:
        return []
    signed = [item for item in auditor.signed_by(ca) if is_certificate_id(item)]
    about = {"ca": ca, "ends": str(finding.ends or ""), "certificates": len(signed)}
    things = list(_things_of(signed, account, time_left))
    for start in range(0, len(things) or 1, _LINE):
        listed = {REASON: "A CA certificate expires.", "things": things[start : start + _LINE]}
        account.outbox.count(Metric.CA_EXPIRING, value=int(start == 0), about={**about, **listed})
    if not audits.may_rotate(ca, _signer(account)):
        return []
    return [AuditFinding(check=Check.CA_EXPIRING, certificate_id=item, ends=finding.ends) for item in signed]


def _signer(account: Account) -> str:
    """Return the CA by which new certificates are signed, the stack's own or another one of the account's."""
    signer = account.store.signer()
    own = signer.at(account.now()) if signer.on else None
    return own.ca_id if own is not None else account.settings.provider_ca


def _things_of(signed: list[str], account: Account, time_left: Callable[[], timedelta]) -> Iterator[str]:
    for certificate_id in signed:
        if time_left() < RESERVE:
            return
        yield from account.registry.things_of(certificate_id)
