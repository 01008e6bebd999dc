"""The status of a gateway, computed once for all who tell of it: what is known, and what follows from that.

The command, the daemon, its metrics, its shadow and its journal read its attributes. What is wrong is judged by
`agent.core.report.findings`; how it is told, by `document` for machines and by `screen` for people.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.aws.endpoints import chains_to_amazon
from agent.core.change.decide import Wait
from agent.core.change.lifecycle import Phase
from agent.core.change.reserve import Standing
from agent.core.failure.failure import FailureClass
from agent.core.frozen import frozen
from agent.core.values import Kind, Origin
from agent.core.when import schedule
from agent.core.when.renewal import RenewalWindow, renewal_window

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from agent.core.change.decide import Action, Limits
    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.dependants import Served
    from agent.core.report.known import Asked, Known, Live, Unattended
    from agent.core.report.seen import Damage, OnDisk, SetInUse, WatchedFile
    from agent.core.timekeeping import Reading
    from agent.core.values import CertificateFacts
    from agent.core.when.retirement import Answers, Retirement
    from agent.core.when.schedule import Pause, Plan, Wishes


@frozen
class Renewal:
    """When the certificate in use is replaced.

    Attributes:
        splay: This gateway's place in the window, in [0, 1).
        window: The window.
    """

    splay: float
    window: RenewalWindow

    @property
    def at(self) -> datetime:
        """The instant within the window."""
        return self.window.renew_at(self.splay)


@frozen
class Retiring:
    """A certificate that is still to be retired.

    Attributes:
        change: The id of the change that left it behind.
        certificate_id: The certificate.
        due: From when the cloud may be asked.
        waits_for: The programs of the gateway that may use it still.
        refused: Why the cloud refuses, or empty.
        unanswered: Why there is no answer yet, or empty.
    """

    change: str
    certificate_id: str
    due: datetime
    waits_for: tuple[str, ...] = ()
    refused: str = ""
    unanswered: str = ""


@frozen
class Status:
    """How a gateway stands.

    Attributes:
        version: The agent's.
        asked: What the operator asks for.
        clock: One look at the clock.
        looked: Whether the state directory was read.
        current: The set in use, if it is whole.
        renewal: When its certificate is replaced.
        anchor_in_use: The SHA-256 of the anchor that the endpoint chained to at the last proof of it, or empty.
        anchor_seen_at: When that proof was, if it is known.
        anchors_left: The anchors in use that the endpoint chained to at earlier proofs only. None where it may chain to
            any of Amazon's: there one proof says nothing of the next.
        previous: The generation to go back to.
        generations: Those on disk, newest first.
        change: The change in flight.
        following: What it does next.
        last: The last finished change.
        refused: The change that put the set in use and ended as rejected: there was no set to go back to.
        unresolved: The changes that failed and that no later one made good, oldest first.
        damage: What is not as it should be on disk.
        reserve: How the room for falling back stands.
        watched: The watched files.
        exposed: Files whose mode or owner is wrong, a sentence each.
        distrusted: Why an anchor in use should not be there, a sentence each.
        lacking: Which anchors are missing that the endpoint may chain to, a sentence, or empty.
        served: How the dependants stand; None where none are configured.
        unasked: Why gates would not be asked, a sentence each.
        plan: What is planned.
        pause: The pause in force.
        retiring: The certificates that are still to be retired.
        not_asked_for: How many were left behind where none is asked for.
        unattended: Why no daemon tells of itself, where one is missed, or None.
        live: What the daemon knows besides; None where none runs.
    """

    version: str
    asked: Asked
    clock: Reading
    plan: Plan
    looked: bool = True
    current: SetInUse | None = None
    renewal: Renewal | None = None
    anchor_in_use: str = ""
    anchor_seen_at: datetime | None = None
    anchors_left: tuple[CertificateFacts, ...] = ()
    previous: int | None = None
    generations: tuple[OnDisk, ...] = ()
    change: ChangeRecord | None = None
    following: Action | None = None
    last: ChangeRecord | None = None
    refused: ChangeRecord | None = None
    unresolved: tuple[ChangeRecord, ...] = ()
    damage: tuple[Damage, ...] = ()
    reserve: Standing = Standing.MISSING
    watched: tuple[WatchedFile, ...] = ()
    exposed: tuple[str, ...] = ()
    distrusted: tuple[str, ...] = ()
    lacking: str = ""
    served: Served | None = None
    unasked: tuple[str, ...] = ()
    pause: Pause | None = None
    retiring: tuple[Retiring, ...] = ()
    not_asked_for: int = 0
    unattended: Unattended | None = None
    live: Live | None = None

    @property
    def now(self) -> datetime:
        """The wall clock."""
        return self.clock.now

    @property
    def awaited(self) -> tuple[str, datetime | None]:
        """What the agent's next step of its own waits for, by its code, and until when: of a change in flight, if any.

        While a step is being carried out that is ``step``, and there is no time.
        """
        if self.change is None:
            return self.plan.code, self.plan.at
        return (self.following.code, self.following.until) if isinstance(self.following, Wait) else ("step", None)

    @property
    def renewal_awaits(self) -> tuple[str, datetime | None]:
        """The same of the certificate's renewal: of the change that renews it, until its set is in use."""
        change = self.change
        renews = change is not None and change.kind in {Kind.ENROLL, Kind.ROTATE} and not change.phase.activated
        return self.awaited if renews else (self.plan.code, self.plan.at)


def status_of(known: Known, limits: Limits | None = None) -> Status:
    """Return how a gateway stands.

    Args:
        known: What is known of it.
        limits: See `Known.following`.
    """
    bare = Status(
        version=known.version,
        asked=known.asked,
        clock=known.clock,
        plan=known.plan(),
        looked=known.seen is not None,
        change=known.change,
        following=known.following(limits),
        last=known.history[-1] if known.history else None,
        unresolved=unresolved(known.history, known.clock.now if known.clock.believable else None),
        served=known.served,
        unasked=known.unasked,
        pause=_pause(known),
        retiring=tuple(_retiring(item, known.answers) for item in known.retirements()),
        not_asked_for=0 if known.asked.retires else len(known.left_behind()),
        unattended=known.unattended,
        live=known.live,
    )
    return _with_sight(bare, known)


def _with_sight(status: Status, known: Known) -> Status:
    """Add what was found on disk."""
    seen = known.seen
    if seen is None:
        return status
    seen_status = replace(
        status,
        previous=seen.previous,
        generations=seen.generations,
        damage=seen.damage,
        reserve=seen.reserve,
        watched=seen.watched,
        exposed=seen.exposed,
        distrusted=seen.distrusted,
        lacking=seen.lacking,
    )
    if seen.current is None:
        return seen_status
    newest_first = [*([known.change] if known.change else []), *reversed(known.history)]
    proven = _last_proven(seen.current.generation, newest_first)
    return replace(
        seen_status,
        current=seen.current,
        refused=_refused(seen.current.generation, known),
        renewal=_renewal(seen.current, known.asked.wishes),
        anchor_in_use=proven.anchor if proven else "",
        anchor_seen_at=(proven.checked_at or proven.entered_at) if proven else None,
        anchors_left=_left(known, seen.current, proven, newest_first) if proven else (),
    )


def _left(
    known: Known, current: SetInUse, proven: ChangeRecord, newest_first: Sequence[ChangeRecord]
) -> tuple[CertificateFacts, ...]:
    if chains_to_amazon(known.asked.endpoint):
        return ()
    before = {record.anchor for record in newest_first[newest_first.index(proven) :]} - {proven.anchor}
    return tuple(anchor for anchor in current.anchors if anchor.sha256 in before)


def _renewal(current: SetInUse, wishes: Wishes) -> Renewal:
    leaf = current.certificate
    window = renewal_window(leaf.not_before, leaf.not_after, wishes.policy)
    return Renewal(splay=current.splay, window=window)


def _refused(generation: int, known: Known) -> ChangeRecord | None:
    """Return the change that put a set in use and ended as rejected; None while another change tries it again."""
    ends = [record for record in known.history if record.generation == generation]
    last, again = ends[-1] if ends else None, known.change is not None and known.change.generation == generation
    if last is None or again or last.phase is not Phase.REJECTED:
        return None
    return last if last.failure is not None and last.failure.kind is not FailureClass.OPERATOR else None


# How long a change that failed is told of where nothing begins it again: the wrong file that a person brought says
# nothing of the set in use, whose next change may be a year away.
ONCE_ORDERED = frozenset({Origin.TECHNICIAN, Origin.JOB, Origin.INBOX})
TOLD_FOR = timedelta(days=30)


def unresolved(history: Iterable[ChangeRecord], now: datetime | None = None) -> tuple[ChangeRecord, ...]:
    """Return the changes that failed and that no later one made good, oldest first: one of each sort at most.

    Any change that succeeds makes good one of the anchors, since it has proven them. One of the certificate is made
    good by another of the certificate. What a person ended is no failure. What was ordered once, and is begun by
    nothing again, is told for a month.

    Args:
        history: The finished changes, oldest first.
        now: The wall clock; None where it cannot be believed.
    """
    failed: dict[bool, ChangeRecord] = {}
    for record in history:
        of_anchors = record.kind is Kind.TRUST
        if record.phase.succeeded:
            failed.pop(True, None)
            failed.pop(of_anchors, None)
        elif record.failure is not None and record.failure.kind is not FailureClass.OPERATOR:
            failed.pop(of_anchors, None)
            failed[of_anchors] = record
    return tuple(record for record in failed.values() if not _is_over(record, now))


def _is_over(record: ChangeRecord, now: datetime | None) -> bool:
    """Whether a failure is told no more; also one that was dated by a clock which was as far ahead."""
    return now is not None and record.origin in ONCE_ORDERED and abs(now - record.entered_at) > TOLD_FOR


def _last_proven(generation: int, records: Iterable[ChangeRecord]) -> ChangeRecord | None:
    """Return the change that proved this generation last and knows which anchor the endpoint chained to then."""
    return next((record for record in records if record.generation == generation and record.anchor), None)


def _pause(known: Known) -> Pause | None:
    return schedule.in_force(known.asked.wishes.holds.pause, known.clock.now)


def _retiring(item: Retirement, answers: Answers) -> Retiring:
    return Retiring(
        change=item.change,
        certificate_id=item.certificate_id,
        due=item.due,
        waits_for=item.waits_for,
        refused=answers.refused.get(item.certificate_id, ""),
        unanswered=answers.unanswered.get(item.certificate_id, ""),
    )
