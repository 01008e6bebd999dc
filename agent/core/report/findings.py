"""What is wrong with a gateway: a sentence each, how much it matters, and the event that stands for it in the journal.

Rules:

* A critical finding decides the exit code wherever it stands; what is no fault (severity 0) is told all the same.
* Nothing is judged by a clock that cannot be believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.change.lifecycle import Phase
from agent.core.change.reserve import LACKING, REMEDY, Standing
from agent.core.exit_codes import Exit
from agent.core.failure.codes import Code
from agent.core.report.journal_events import Event
from agent.core.report.known import ConnectionState
from agent.core.text import clock_time, common_name, duration
from agent.core.when.retirement import SHOWN_ID

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from agent.core.report.status import Status

UNANSWERED = (
    "Each replaced certificate stays active in the account until it is deactivated there, by hand or by a rule that "
    "answers; set `rotation: {retire: false}` where this fleet retires by other means."
)

LONG_DOWN = timedelta(minutes=1)  # without a connection before it counts as a problem, tried again or not

_NOT_UP = frozenset({ConnectionState.DOWN, ConnectionState.CONNECTING})


@dataclass(frozen=True)
class Finding:
    """Something that needs attention.

    Attributes:
        severity: What it does to the exit code.
        text: A sentence.
        event: What the journal is to have of it once; None where that is told when it happens.
    """

    severity: Exit
    text: str
    event: Event | None = None


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What needs attention, and the exit code of it all."""

    health: tuple[str, ...]
    exit: Exit


def judge(status: Status) -> Judgement:
    """Return what needs attention, a sentence each, and the exit code of it all."""
    found = list(_findings(status))
    code = Exit.DONE
    for finding in found:
        if finding.severity is Exit.CRITICAL or code is Exit.DONE:
            code = finding.severity
    return Judgement(health=tuple(finding.text for finding in found), exit=code)


def events(status: Status) -> dict[str, Event]:
    """Return what the journal is to have of it once: the sentence, and its event."""
    found = {finding.text: finding.event for finding in _findings(status) if finding.event}
    return {**found, **dict(_notes(status))}


def _notes(status: Status) -> Iterator[tuple[str, Event]]:
    """Return what is worth a line of the journal and is no fault."""
    for item in status.retiring:
        certificate, names = item.certificate_id[:SHOWN_ID], ", ".join(item.waits_for)
        if names and item.due <= status.now:
            text = f"The certificate {certificate} is not retired while it may be in use still: {names}."
            yield text, Event.RETIRE_WAITS
        if item.unanswered:
            text = f"The request to retire {certificate} has no answer: {item.unanswered} {UNANSWERED}"
            yield text, Event.RETIRE_UNANSWERED


def _findings(status: Status) -> Iterator[Finding]:
    yield from (
        Finding(Exit.CRITICAL if item.critical else Exit.DEGRADED, item.text, Event.TROUBLE_STORE)
        for item in status.damage
    )
    if not status.looked:
        text = "The state directory was not read yet."
        yield Finding(Exit.DEGRADED, text, Event.TROUBLE_STORE)
    if not status.clock.believable:
        text = f"The clock shows {clock_time(status.now)}, which cannot be; nothing is judged by it."
        yield Finding(Exit.DEGRADED, text, Event.CLOCK_IMPLAUSIBLE)
    if status.current is None and status.looked and not status.damage:
        yield Finding(Exit.CRITICAL, "This gateway has no certificate yet: run `iot-cert enroll`.")
    if status.clock.believable:
        yield from _dates(status)
        yield from _anchors(status)
        yield from _watched(status)
    yield from _changes(status)
    yield from _reserve(status)
    yield from _dependants(status)
    yield from _live(status)
    for concern in status.asked.concerns:  # a risk, and no harm yet
        text = f"{concern} `iot-cert check configuration` says what to do."
        yield Finding(Exit.DONE, text, Event.CLIENT_ID_SHARED)


def _dates(status: Status) -> Iterator[Finding]:
    if status.current is None or status.renewal is None:
        return
    not_after = status.current.certificate.not_after
    if not_after <= status.now:
        text = f"The certificate expired at {clock_time(not_after)}: run `iot-cert rotate`."
        yield Finding(Exit.CRITICAL, text, Event.CERTIFICATE_EXPIRED)
    elif status.renewal.window.emergency_at <= status.now:
        text = f"The certificate expires at {clock_time(not_after)} and is not replaced yet: see `iot-cert explain`."
        yield Finding(Exit.DEGRADED, text, Event.CERTIFICATE_EXPIRING)


def _anchors(status: Status) -> Iterator[Finding]:
    """Return each anchor's alarm; it is worded anew at each distance, so that the journal has one for each."""
    for anchor in status.current.anchors if status.current else ():
        used = anchor.sha256 == status.anchor_in_use
        which = "The trust anchor that the endpoint chains to" if used else "The trust anchor"
        name = f"{which}, {common_name(anchor.subject)},"
        alarm = _alarm(name, anchor.not_after, status.now, status.asked.warn_anchors)
        if alarm:
            severity = Exit.CRITICAL if used and anchor.not_after <= status.now else Exit.DEGRADED
            yield Finding(severity, alarm, Event.ANCHOR_EXPIRING)


def _watched(status: Status) -> Iterator[Finding]:
    for item in status.watched:
        if item.problem:
            text = f"A watched file cannot be used. {item.problem}."
            yield Finding(Exit.DEGRADED, text, Event.WATCHED_EXPIRING)
        for end in item.ends:
            name = f"{common_name(end.subject)} in {item.path}"
            alarm = _alarm(name, end.not_after, status.now, [item.warn])
            if alarm:
                yield Finding(Exit.DEGRADED, alarm, Event.WATCHED_EXPIRING)


def _alarm(name: str, end: datetime, now: datetime, distances: Iterable[timedelta]) -> str:
    if end <= now:
        return f"{name} expired at {clock_time(end)}."
    within = [distance for distance in distances if end - now < distance]
    return f"{name} expires at {clock_time(end)}, in less than {duration(min(within))}." if within else ""


def _changes(status: Status) -> Iterator[Finding]:
    last, change = status.last, status.change
    if last is not None and last.phase is Phase.ROLLED_BACK and last.failure:
        yield Finding(Exit.DEGRADED, f"The last change was rolled back: {last.failure.message}")
    if change is not None and change.failure is not None:
        failure = change.failure
        if failure.code == Code.LOCKED_OUT:
            yield Finding(Exit.CRITICAL, f"{failure.message} {failure.remedy}", Event.LOCKED_OUT)
        else:
            yield Finding(Exit.DEGRADED, f"The change in flight has trouble: {failure.message}")
    for item in status.retiring:
        if item.refused:
            certificate = item.certificate_id[:SHOWN_ID]
            stop = f"To have it not asked for any more: `iot-cert retire --drop {certificate}`."
            yield Finding(Exit.DEGRADED, f"The cloud refuses to retire {certificate}: {item.refused} {stop}")


def _reserve(status: Status) -> Iterator[Finding]:
    """Return that falling back may find no room: where there is none, or where a worker of the daemon's failed."""
    if status.current is None:
        return
    if status.reserve is Standing.NO_ROOM:
        yield Finding(Exit.DEGRADED, f"{LACKING}. {REMEDY}", Event.TROUBLE_STORE)
    elif status.reserve is Standing.MISSING and status.live and status.change is None:
        text = f"{LACKING}, though there is room: `journalctl -u iot-cert-agent` says what it failed with."
        yield Finding(Exit.DEGRADED, text, Event.TROUBLE_STORE)


def _dependants(status: Status) -> Iterator[Finding]:
    served = status.served
    problems = [*(step.problem for step in served.steps), served.problem] if served else []
    yield from (Finding(Exit.DEGRADED, text, Event.TROUBLE_DEPENDANT) for text in problems if text)


def _live(status: Status) -> Iterator[Finding]:
    live = status.live
    if live is None:
        return
    link = live.connection
    if link.state is ConnectionState.TAKEN_OVER:
        yield Finding(Exit.DEGRADED, link.why)
    elif link.rival:
        yield Finding(Exit.DEGRADED, link.rival)
    elif link.state in _NOT_UP and link.since and abs(status.now - link.since) > LONG_DOWN:
        text = f"There has been no connection since {clock_time(link.since)}: {link.why}"
        yield Finding(Exit.DEGRADED, text)
    if live.unseen:
        text = f"The state directory was not put in order as it should be: {live.unseen}"
        yield Finding(Exit.DEGRADED, text)
    if live.stuck:
        yield Finding(Exit.CRITICAL, live.stuck)
    if live.configuration_refused:
        text = f"The changed configuration is not in force: {live.configuration_refused}"
        yield Finding(Exit.DEGRADED, text)
