"""Which certificates this gateway has left behind, and when the cloud is asked to deactivate them.

Rules:

* A replaced certificate is retired only after the change that replaced it is final and the grace has passed: until then
  it is what a rollback returns to.
* A certificate that was registered for a change that failed is of no use any more; it is retired after the same grace,
  so that a person can still look into it. Whether it was is not always known. An account that has none such of the
  thing then settles it: it was not, and AWS deletes it.
* A certificate in use is never retired, whatever the history says: a rollback may have brought it back.
* One that another program of the gateway may use still waits for that program, as long as that takes. Only a person's
  word goes over that.
* An unbelievable clock retires nothing.
* What came due in an outage is not asked for by a whole fleet as it comes back: each gateway waits for a part of half
  the outage's length. So at no time is more than twice as much asked for as in a fleet that was never cut off.

The state is in the history: a change whose certificate is retired says so (`ChangeRecord.retired_at`), and so does one
whose certificate is not asked for any more (`ChangeRecord.dropped_at`).
"""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING

from agent.core.aws import topics
from agent.core.change.damaged_records import ended_damaged
from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.dependants import HOOKS
from agent.core.failure.codes import Code
from agent.core.failure.failure import Failure, FailureClass
from agent.core.frozen import frozen
from agent.core.text import clock_time
from agent.core.values import Kind
from agent.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from datetime import datetime, timedelta

    from agent.core.dependants import Report

SHORTEST_ID = 8  # hexadecimal digits that a person gives of a certificate's id, at least
SHOWN_ID = 12  # and that are shown


# What ends the waiting for other programs, as long as that lasts.
HELD = (
    "`sudo iot-cert deploy` has them take the current set up and says why they do not; `iot-cert retire --now` retires "
    "it all the same, and they lose their connection."
)

LONGEST_WAIT = 43_200.0  # seconds after an outage


@frozen
class Retirement:
    """One certificate to be retired.

    Attributes:
        change: The id of the change that left it behind.
        certificate_id: The certificate.
        due: From when the cloud may be asked.
        waits_for: The other programs of the gateway that may use it still; it is not asked for before they do not.
        doubtful: Whether it is not known that it was ever registered.
    """

    change: str
    certificate_id: str
    due: datetime
    waits_for: tuple[str, ...] = ()
    doubtful: bool = False


def left_behind(record: ChangeRecord) -> str | None:
    """Return the id of the certificate that a finished change left behind, or None."""
    if record.phase.succeeded:
        return None if record.kind is Kind.TRUST else record.replaces  # new anchors, the same certificate
    if ended_damaged(record) and record.issued is None:
        return record.replaces  # which is there only when it is certain that the set of the change took its place
    if record.phase in {Phase.REJECTED, Phase.ROLLED_BACK} and record.issued is not None and _may_be_registered(record):
        return record.issued.certificate_id
    return None


def _may_be_registered(record: ChangeRecord) -> bool:
    """What was never registered the cloud deletes by itself within the hour."""
    return record.unanswered > 0 or Phase.REGISTERED in _since_issued(record)


def _is_doubtful(record: ChangeRecord) -> bool:
    """Whether what a change left behind may never have been registered: no registration was answered, and no proof."""
    if record.phase.succeeded or record.issued is None:
        return False  # it was in use before the change
    return record.unanswered > 0 and Phase.PROVEN not in _since_issued(record)


def _since_issued(record: ChangeRecord) -> list[Phase]:
    """Return what a change has passed with its last certificate; it may have had another one before."""
    phases = [phase for phase, _ in record.passed]
    return phases[len(phases) - phases[::-1].index(Phase.ISSUED) :] if Phase.ISSUED in phases else phases


def resting_on(current: str | None, change: ChangeRecord | None) -> tuple[str, ...]:
    """Return the certificates that must not be retired: of the current set, and of a change in flight."""
    known = [current]
    if change is not None:
        known += [change.replaces, change.issued.certificate_id if change.issued else None]
    return tuple(item for item in known if item)


def ended_at(record: ChangeRecord) -> datetime:
    """Return when a finished change ended, by the clock of then."""
    return record.committed_at or record.entered_at


def outstanding(
    history: Iterable[ChangeRecord],
    in_use: Iterable[str],
    grace: timedelta,
    ended: Callable[[ChangeRecord], datetime] = ended_at,
) -> tuple[Retirement, ...]:
    """Return what is still to be retired, the first due first.

    Args:
        history: The finished changes.
        in_use: The certificates that something rests on; see `resting_on`.
        grace: How long a certificate is kept after it was left behind.
        ended: Returns when a change left it behind.
    """
    records = tuple(history)
    settled = {left_behind(record) for record in records if record.retired_at or record.dropped_at} | set(in_use)
    known = {left_behind(record) for record in records if not _is_doubtful(record)}
    found: dict[str, Retirement] = {}
    for record in records:
        certificate_id = left_behind(record)
        if certificate_id is not None and certificate_id not in settled:
            due, doubtful = ended(record) + grace, certificate_id not in known
            found[certificate_id] = Retirement(
                change=record.id, certificate_id=certificate_id, due=due, doubtful=doubtful
            )
    return tuple(sorted(found.values(), key=lambda item: item.due))


def wait_after(outage: float, place: float) -> float:
    """Return how long what came due in an outage waits once it is over, in seconds.

    Args:
        outage: How long it was, in seconds.
        place: This gateway's place among those of its fleet, in [0, 1).
    """
    return place * min(outage / 2, LONGEST_WAIT)


def retired(history: Iterable[ChangeRecord]) -> frozenset[str]:
    """Return the certificates that the cloud does not accept any more, unless a person had one activated again.

    One that was in use again after that, and was left behind once more, is none of them.
    """
    last = {name: record.retired_at for record in history if (name := left_behind(record))}
    return frozenset(name for name, at in last.items() if at)


# -- what other programs use still -------------------------------------------------------------------------------------


def behind(names: Iterable[str], report: Report | None, generation: int | None) -> tuple[str, ...]:
    """Return the dependants that are not known to use the set of a generation.

    Args:
        names: All that are configured.
        report: How they stood when they were served last; None when that is not known.
        generation: The current generation.
    """
    configured = tuple(names)
    if not configured or report is None or report.generation != generation:
        return configured
    known = report.done | {HOOKS}  # which stands for names not known
    missing = (name for name in configured if name not in known)
    return tuple(dict.fromkeys([*missing, *(step.name for step in report.problems)]))


def waiting(
    found: Iterable[Retirement], history: Iterable[ChangeRecord], behind: tuple[str, ...]
) -> tuple[Retirement, ...]:
    """Return what is to be retired, with the dependants that each certificate waits for.

    Which of its sets a dependant uses that did not take up the last one is not known: it may be any before.

    Args:
        found: What is to be retired.
        history: The finished changes.
        behind: The dependants that are not known to use the current set.
    """
    given = {left_behind(record) for record in history if _was_given_away(record)}
    return tuple(replace(item, waits_for=behind if item.certificate_id in given else ()) for item in found)


def _was_given_away(record: ChangeRecord) -> bool:
    """Whether dependants may have been served what a change left behind: they are as soon as a set is in use."""
    activated = record.phase is Phase.ROLLED_BACK or any(phase is Phase.ACTIVE for phase, _ in record.passed)
    return record.phase.succeeded or activated or ended_damaged(record)


def spared(found: Iterable[Retirement]) -> RefusedError | None:
    """Return what is to be said of the certificates that wait for dependants; None when none does."""
    held = [item for item in found if item.waits_for]
    if not held:
        return None
    names = ", ".join(dict.fromkeys(name for item in held for name in item.waits_for))
    ids = ", ".join(item.certificate_id[:SHOWN_ID] for item in held)
    return RefusedError(
        f"Not retired: {ids}, which other programs of this gateway may use still: {names}.",
        hint=HELD,
    )


def not_asked_for() -> RefusedError:
    """Return what is to be said where nothing is asked for."""
    return RefusedError(
        "Nothing is asked for: `rotation.retire` is false, so this fleet retires certificates by other means.",
        hint="Deactivate what was left behind in the AWS IoT console, or set `rotation: {retire: true}`.",
    )


def last_taken_up(history: Iterable[ChangeRecord]) -> int | None:
    """Return the generation that some dependant took up last, when it has taken up none since; None otherwise."""
    base = None
    for record in reversed([record for record in history if record.phase.succeeded]):
        if record.degraded is None or record.degraded.code == Code.UNASKED:
            break
        base = record.base
    return base


# -- what the cloud says -----------------------------------------------------------------------------------------------


def is_refusal(failure: Failure) -> bool:
    """Whether a request that failed was refused, by a policy or by an answer; anything else is no answer yet."""
    return failure.kind is FailureClass.POLICY or (
        failure.kind is FailureClass.PROTOCOL and failure.code != Code.GARBLED
    )


def never_registered(item: Retirement, failure: Failure) -> bool:
    """Whether a refusal shows that a certificate was never registered: the account has none such of the thing.

    No other refusal does, and where it is known that it was registered, none at all.
    """
    return item.doubtful and failure.code == Code.DENIED and failure.message.endswith(topics.NONE_SUCH)


@frozen
class Answers:
    """What came of the requests so far, by certificate.

    Attributes:
        refused: Why it was refused.
        unanswered: Why there is no answer yet.
    """

    refused: Mapping[str, str] = field(default_factory=dict)
    unanswered: Mapping[str, str] = field(default_factory=dict)


# -- what a person does not want to be asked for any more --------------------------------------------------------------


def find_dropped(history: Iterable[ChangeRecord], in_use: Collection[str], prefix: str) -> ChangeRecord:
    """Return the change that left the certificate behind whose id begins so; the last one, if there are several.

    Args:
        history: The finished changes.
        in_use: The certificates that something rests on; see `resting_on`.
        prefix: The beginning of its id.

    Raises:
        RefusedError: There is none, or more than one, or it is in use.
    """
    records: dict[str, ChangeRecord] = {}
    for record in history:
        name = left_behind(record)
        if name is not None and name.startswith(prefix) and not (name in records and dropped_already(records[name])):
            records[name] = record
    status = "`iot-cert status` shows what is to be retired."
    if any(name.startswith(prefix) for name in in_use):
        raise RefusedError(f"The certificate {prefix[:SHOWN_ID]} is in use and is not asked for anyway.", hint=status)
    if not records:
        raise RefusedError(f"No change of this gateway left a certificate {prefix[:SHOWN_ID]} behind.", hint=status)
    if len(records) > 1:
        raise RefusedError(
            f"{len(records)} certificates begin with {prefix}: {', '.join(sorted(records))}.",
            hint="Give more of its digits.",
        )
    return next(iter(records.values()))


def dropped_already(record: ChangeRecord) -> str:
    """Return why there is nothing to be dropped any more, or an empty text."""
    if record.retired_at is not None:
        return f"was retired at {clock_time(record.retired_at)}"
    return f"was dropped at {clock_time(record.dropped_at)} already" if record.dropped_at is not None else ""
