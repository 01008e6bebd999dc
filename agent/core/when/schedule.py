"""When an unattended change is begun: the plan of one gateway, computed anew from persisted facts at every look.

Nothing is remembered here. The plan follows from the current certificate, the configuration, the history and the clock,
so a restart, a suspend or a clock step changes nothing but the moment of looking. Rules:

* An unbelievable clock plans nothing. A clock that is not synchronised may be wrong by years, so a change waits for
  it to be synchronised, but for a day at most.
* Pause, inhibit file and maintenance windows hold a change that is due. In the emergency window they do not.
* The daily budget and the back-off after failures hold always. In the emergency window the back-off shrinks with the
  time that is left.
* A suggestion from the fleet moves the instant, never past the emergency window, and only for a certificate that is
  older than the suggestion.
"""

from __future__ import annotations

from dataclasses import field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, NamedTuple

from agent.core.change.decide import Limits, budget_wait, requests_of
from agent.core.failure.retry import Backoff, drawn_from
from agent.core.frozen import frozen
from agent.core.text import clock_time
from agent.core.timekeeping import ClockState, is_ahead
from agent.core.values import Kind, OnChange, Origin
from agent.core.when.maintenance import MaintenanceWindow, opening_for
from agent.core.when.renewal import RenewalPolicy, RenewalWindow, renewal_window

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.timekeeping import Reading

# The wall clock is looked at this often at least, whatever else happens: one missed event must not cost a window.
LOOK_EVERY = timedelta(minutes=10)

# Between two unattended rotations at least this long, or this part of the lifetime if that is shorter: a policy that is
# always due, by mistake or under a wild clock, must not make a certificate a minute.
SETTLED = timedelta(hours=1)
SETTLED_PART = 40

# How long a due change waits for the clock to be synchronised.
UNSYNCHRONISED_PATIENCE = timedelta(days=1)

AFTER_FAILURE = Backoff(base=3600, cap=86400, floor=60)
AFTER_FAILED_ENROLMENT = Backoff(base=120, cap=3600, floor=10)

# In the emergency window a failed change is tried again after at most this part of the time that is left.
EMERGENCY_PART = 8
EMERGENCY_FLOOR = timedelta(minutes=1)


@frozen
class Subject:
    """The certificate that is to be kept fresh.

    Attributes:
        not_before: Start of its validity.
        not_after: End of its validity.
        splay: This device's place in the window, in [0, 1).
        differs: Whether it was made with another configuration than the one in force.
        other_thing: That it is for another thing than the configured one, as a sentence, or empty.
    """

    not_before: datetime
    not_after: datetime
    splay: float
    differs: bool = False
    other_thing: str = ""


@frozen
class Suggestion:
    """A renewal window that the fleet's operator suggests.

    Attributes:
        opens_at: When it opens.
        closes_at: When it closes.
        source: Who suggests it, for people.
        order: What the change answers to, when it is a job; see `ChangeRecord.order`.
    """

    opens_at: datetime
    closes_at: datetime
    source: str
    order: str = ""


MAX_REASON = 500  # characters of why a person pauses
LONGEST_PAUSE = timedelta(days=90)  # a pause that is forgotten must end by itself


@frozen
class Pause:
    """Scheduled changes are held.

    Attributes:
        until: The end, at the latest.
        reason: Why, in the words of the person who paused.
        begun: When it was begun; None for one of version 0.1.0.
    """

    until: datetime
    reason: Annotated[str, MAX_REASON]
    begun: datetime | None = None


@frozen
class Holds:
    """What may hold a change that is due.

    Attributes:
        pause: A person paused.
        inhibited_by: The inhibit file that exists, or empty.
        windows: The maintenance windows; none means always.
    """

    pause: Pause | None = None
    inhibited_by: str = ""
    windows: tuple[MaintenanceWindow, ...] = ()


@frozen
class Wishes:
    """What the gateway's owner wants.

    Attributes:
        policy: When to rotate.
        limits: The budget.
        holds: What may hold a change that is due.
        suggestion: What the fleet suggests for now.
        on_change: When a set that was made with another configuration is replaced.
    """

    policy: RenewalPolicy = field(default_factory=RenewalPolicy)
    limits: Limits = field(default_factory=Limits)
    holds: Holds = field(default_factory=Holds)
    suggestion: Suggestion | None = None
    on_change: OnChange = OnChange.WAIT


@frozen
class Past:
    """What the finished changes mean for the next one.

    Attributes:
        failures: How many failed one after the other, up to now.
        failed_at: When the last of them ended.
        jitter: A number in [0, 1), the same at every look, different for every failure and device.
        committed_at: When the last new certificate was final.
        unfinished: The last change that succeeded put an older set back to find footing; a rotation must follow.
        unfinished_since: When it did.
        requests: When certificates were asked for.
    """

    failures: int = 0
    failed_at: datetime | None = None
    jitter: float = 0.0
    committed_at: datetime | None = None
    unfinished: bool = False
    unfinished_since: datetime | None = None
    requests: tuple[datetime, ...] = ()


@frozen
class Plan:
    """What is planned.

    Attributes:
        due: Whether to begin now.
        why: A sentence for people.
        code: ``due``, ``scheduled``, ``clock``, ``paused``, ``inhibited``, ``window``, ``settling``, ``back-off``,
            ``budget``, ``other-thing`` or ``not-configured``.
        at: The instant planned for, as far as it is known.
        kind: What would be begun.
        window: The renewal window, when there is a certificate.
        emergency: Whether the emergency window has begun.
        order: What it would answer to.
    """

    due: bool
    why: str
    code: str
    at: datetime | None
    kind: Kind = Kind.ROTATE
    window: RenewalWindow | None = None
    emergency: bool = False
    order: str = ""


# What holds also in the emergency window.
_LASTING = frozenset({"budget", "back-off"})


def past_of(history: Iterable[ChangeRecord]) -> Past:
    """Return what the history means; oldest first. Changes of trust anchors say nothing about the certificate."""
    records = tuple(record for record in history if record.kind is not Kind.TRUST)
    failed: list[ChangeRecord] = []
    for record in reversed(records):
        if record.phase.succeeded:
            break
        failed.append(record)
    last = next((record for record in reversed(records) if record.phase.succeeded), None)
    unfinished = last is not None and last.kind is Kind.ROLLBACK and last.origin is Origin.LADDER
    return Past(
        failures=len(failed),
        failed_at=failed[0].entered_at if failed else None,
        jitter=drawn_from(failed[0].id) if failed else 0.0,
        committed_at=next((item.committed_at for item in reversed(records) if _brought_a_certificate(item)), None),
        unfinished=unfinished,
        unfinished_since=last.committed_at if last and unfinished else None,
        requests=requests_of(records),
    )


def _brought_a_certificate(record: ChangeRecord) -> bool:
    return record.phase.succeeded and record.kind in {Kind.ENROLL, Kind.ROTATE, Kind.IMPORT}


def plan_rotation(subject: Subject, wishes: Wishes, past: Past, clock: Reading) -> Plan:
    """Return the plan for a gateway that has a certificate."""
    window = renewal_window(subject.not_before, subject.not_after, wishes.policy)
    suggestion = wishes.suggestion if applies(wishes.suggestion, subject, past, clock.now) else None
    at, source = _instant(subject, window, suggestion)
    changed = subject.differs and wishes.on_change is OnChange.ROTATE and clock.now < at
    if changed:
        at, source = clock.now, "the configuration was changed, and `rotation.on_change` is rotate"
    if not clock.believable:
        why = f"the clock shows {clock_time(clock.now)}, which cannot be; nothing is planned before it is set"
        return Plan(due=False, why=why, code="clock", at=None, window=window)
    if clock.now < at and not past.unfinished:
        return _scheduled(subject, wishes.holds, window, at, source)
    emergency = clock.now >= window.emergency_at
    held = (
        _budget_hold(past, clock, wishes.limits)
        or _back_off_before(window, past, clock.now)
        or (None if emergency or not subject.other_thing else _Hold(why=subject.other_thing, code="other-thing"))
        or (None if emergency else _clock_hold(clock, at, past))
        or (None if emergency or past.unfinished else _settling(past, subject, clock.now))
        or (None if emergency or past.unfinished else _operators_hold(wishes.holds, clock.now, at, subject))
    )
    if held is not None:
        ends = held.at
        if held.code not in _LASTING:  # the emergency window ends it, also what has no end of its own
            ends = min(ends or window.emergency_at, window.emergency_at)
        return Plan(due=False, why=held.why, code=held.code, at=ends, window=window, emergency=emergency)
    why = f"rotation was scheduled for {clock_time(at)} ({source})"
    if past.unfinished:
        why = "an older set was put back to find footing, and is replaced at once"
    if emergency:
        why += f"; it expires at {clock_time(subject.not_after)}, so nothing waits any more"
    order = suggestion.order if suggestion and clock.now >= at and not changed else ""
    turn = min(at, clock.now)  # the same at each look, however long it takes until it is begun
    return Plan(due=True, why=why, code="due", at=turn, window=window, emergency=emergency, order=order)


def _scheduled(subject: Subject, holds: Holds, window: RenewalWindow, turn: datetime, source: str) -> Plan:
    """Return the plan before the turn: hours are known beforehand, and what else may hold a change then is not."""
    begins = min(opening_for(subject.splay, holds.windows, turn, turn) or window.emergency_at, window.emergency_at)
    if begins > turn:
        source += f", in the first maintenance window after {clock_time(turn)}"
    why = f"rotation is scheduled for {clock_time(begins)} ({source})"
    return Plan(due=False, why=why, code="scheduled", at=begins, window=window)


def plan(
    subject: Subject | None, wishes: Wishes, past: Past, clock: Reading, *, enrolled: bool, configured: bool
) -> Plan:
    """Return the plan for a gateway in whatever state it is.

    Args:
        subject: Its certificate, or None without a usable set.
        wishes: What its owner wants.
        past: What the finished changes mean.
        clock: The clock.
        enrolled: Whether it has, or had, a set of its own.
        configured: Whether it may enrol itself.
    """
    if subject is not None:
        return plan_rotation(subject, wishes, past, clock)
    return without_a_set() if enrolled else plan_enrolment(past, clock, wishes.limits, configured=configured)


def plan_enrolment(past: Past, clock: Reading, limits: Limits, *, configured: bool) -> Plan:
    """Return the plan for a gateway that has no certificate yet."""
    if not configured:
        why = "this gateway has no certificate, and enrolment is not configured"
        return Plan(due=False, why=why, code="not-configured", at=None, kind=Kind.ENROLL)
    held = _enrolment_hold(past, clock, limits)
    if held is not None:
        return Plan(due=False, why=held.why, code=held.code, at=held.at, kind=Kind.ENROLL)
    return Plan(due=True, why="this gateway has no certificate yet", code="due", at=clock.now, kind=Kind.ENROLL)


def without_a_set() -> Plan:
    """Return the plan for a gateway that had a certificate and has no usable set: the ladder must find one."""
    return Plan(due=True, why="there is no usable set, so the ladder is climbed", code="due", at=None)


def _enrolment_hold(past: Past, clock: Reading, limits: Limits) -> _Hold | None:
    if not clock.believable:
        why = f"the clock shows {clock_time(clock.now)}, which cannot be; nothing is begun before it is set"
        return _Hold(why=why, code="clock", at=None)
    return _budget_hold(past, clock, limits) or _back_off(past, clock.now, AFTER_FAILED_ENROLMENT)


class _Hold(NamedTuple):
    why: str
    code: str
    at: datetime | None = None


def applies(suggestion: Suggestion | None, subject: Subject, past: Past, now: datetime) -> bool:
    """Whether a suggestion is still to be followed: it is not, once a certificate was got after its window opened.

    The certificate's own start does not tell: AWS IoT Core dates it two minutes back. It does where the clock was ahead
    by more than a day when that change became final: each window would seem to be over until that day comes.
    """
    if suggestion is None or subject.not_before >= suggestion.opens_at:
        return False
    return past.committed_at is None or past.committed_at < suggestion.opens_at or is_ahead(past.committed_at, now)


def _instant(subject: Subject, window: RenewalWindow, suggestion: Suggestion | None) -> tuple[datetime, str]:
    """Return when this device rotates, and by whose word."""
    if suggestion is None:
        days = f"in the window from {clock_time(window.opens_at)} to {clock_time(window.closes_at)}"
        return window.renew_at(subject.splay), days
    span = max(suggestion.closes_at - suggestion.opens_at, timedelta())
    return min(suggestion.opens_at + span * subject.splay, window.emergency_at), f"as {suggestion.source} suggests"


def _budget_hold(past: Past, clock: Reading, limits: Limits) -> _Hold | None:
    wait = budget_wait(past.requests, clock.now, limits)
    return None if wait is None else _Hold(why=wait.why, code="budget", at=wait.until)


def _back_off_before(window: RenewalWindow, past: Past, now: datetime) -> _Hold | None:
    """Return the back-off of a rotation, which must leave time for more tries before the end."""
    if now < window.emergency_at:
        return _back_off(past, now, AFTER_FAILURE, latest=window.emergency_at)
    span = max(EMERGENCY_FLOOR, (window.not_after - now) / EMERGENCY_PART)
    return _back_off(past, now, AFTER_FAILURE, latest=past.failed_at + span if past.failed_at else None)


def _back_off(past: Past, now: datetime, backoff: Backoff, latest: datetime | None = None) -> _Hold | None:
    if past.failed_at is None or past.failed_at > now + timedelta(seconds=backoff.cap):
        return None  # a clock that was set back must not turn hours into years
    until = past.failed_at + timedelta(seconds=backoff.delay(past.failures, past.jitter))
    until = until if latest is None else min(until, latest)
    if now >= until:
        return None
    times = "the last change failed" if past.failures == 1 else f"the last {past.failures} changes failed"
    return _Hold(why=f"{times}; the next is begun at {clock_time(until)}", code="back-off", at=until)


def _clock_hold(clock: Reading, due_at: datetime, past: Past) -> _Hold | None:
    since = past.unfinished_since if past.unfinished else due_at
    if since is None or clock.state is ClockState.SYNCHRONISED or abs(clock.now - since) >= UNSYNCHRONISED_PATIENCE:
        return None  # also where it is still to come: a clock that was set back must not turn hours into years
    until = since + UNSYNCHRONISED_PATIENCE
    why = "the clock is not synchronised yet (`timedatectl`; `vouched_clock: true` where the time comes from elsewhere)"
    return _Hold(why=f"{why}; that is waited for until {clock_time(until)}", code="clock", at=until)


def _settling(past: Past, subject: Subject, now: datetime) -> _Hold | None:
    if past.committed_at is None:
        return None
    until = past.committed_at + min(SETTLED, (subject.not_after - subject.not_before) / SETTLED_PART)
    if not past.committed_at <= now < until:
        return None
    why = f"the last change became final at {clock_time(past.committed_at)}; the next may begin at {clock_time(until)}"
    return _Hold(why=why, code="settling", at=until)


def is_free(holds: Holds, now: datetime) -> bool:
    """Whether neither a pause nor the inhibit file holds changes now."""
    return not holds.inhibited_by and in_force(holds.pause, now) is None


def in_force(pause: Pause | None, now: datetime) -> Pause | None:
    """Return a pause if it holds; one that ends later than any may was begun under a clock that was ahead, too."""
    holds = pause is not None and now < pause.until <= now + LONGEST_PAUSE and not is_ahead(pause.begun, now)
    return pause if holds else None


def _operators_hold(holds: Holds, now: datetime, turn: datetime, subject: Subject) -> _Hold | None:
    if (pause := in_force(holds.pause, now)) is not None:
        return _Hold(why=f"paused until {clock_time(pause.until)}: {pause.reason}", code="paused", at=pause.until)
    if holds.inhibited_by:
        return _Hold(why=f"{holds.inhibited_by} exists; remove it to let changes begin", code="inhibited")
    opening = opening_for(subject.splay, holds.windows, now, turn)
    if opening is None:
        return _Hold(why="none of the maintenance windows ever opens", code="window")
    if opening > now:
        why = f"rotation is scheduled for the next maintenance window, at {clock_time(opening)}"
        return _Hold(why=why, code="window", at=opening)
    return None
