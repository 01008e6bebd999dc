"""What is wrong with a gateway: a sentence each, how much it matters, and the event that stands for it in the journal.

Rules:

* A critical finding decides the exit code wherever it stands; what is no fault (severity 0) is told all the same.
* Each has the check of `iot-cert check` that it belongs to, so that the doctor knows all that the status knows.
* Nothing is judged by a clock that cannot be believed.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.aws.endpoints import FIND_ENDPOINT
from agent.core.change.lifecycle import Phase
from agent.core.change.made_with import BECOME, other_thing
from agent.core.change.reserve import FREE, LACKING, REMEDY, RESERVED, Standing
from agent.core.exit_codes import Exit
from agent.core.failure.codes import Code
from agent.core.failure.readmission import way_back
from agent.core.frozen import frozen
from agent.core.report.journal_events import Event
from agent.core.report.known import ConnectionState
from agent.core.text import clock_time, common_name, duration
from agent.core.values import Kind, OnChange
from agent.core.when.retirement import SHOWN_ID

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.report.known import Live
    from agent.core.report.status import Status

UNANSWERED = (
    "Each replaced certificate stays active in the account until it is deactivated there, by hand or by a rule that "
    "answers; set `rotation: {retire: false}` where this fleet retires by other means."
)

# Without a connection before it counts as a problem, unless its path is known to be gone.
LONG_DOWN = timedelta(minutes=1)

_NOT_UP = frozenset({ConnectionState.DOWN, ConnectionState.CONNECTING})


@frozen
class Finding:
    """Something that needs attention.

    Attributes:
        severity: What it does to the exit code.
        text: A sentence.
        event: What the journal is to have of it once; None where that is told when it happens.
        code: A short stable name for machines.
        check: The check of `iot-cert check` that it belongs to, one of `agent.core.report.checks.CHECKS`.
    """

    severity: Exit
    text: str
    event: Event | None = None
    code: str
    check: str


@frozen
class Judgement:
    """What needs attention, and the exit code of it all."""

    health: tuple[str, ...]
    exit: Exit
    findings: tuple[Finding, ...] = ()


def judge(status: Status) -> Judgement:
    """Return what needs attention, a sentence each, and the exit code of it all."""
    found = list(_findings(status))
    code = Exit.DONE
    for finding in found:
        if finding.severity is Exit.CRITICAL or code is Exit.DONE:
            code = finding.severity
    return Judgement(health=tuple(finding.text for finding in found), exit=code, findings=tuple(found))


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
    yield from _disk(status)
    if not status.clock.believable:
        text = f"The clock shows {clock_time(status.now)}, which cannot be; nothing is judged by it."
        yield _degraded("clock", "clock-wrong", text, Event.CLOCK_IMPLAUSIBLE)
    if status.clock.far_ahead:
        years = int((status.now - status.clock.floor).days / 365.25)
        text = (
            f"The clock shows {clock_time(status.now)}, {years} years after all that is known to be past, and is not "
            "synchronised: `iot-cert check clock` says what to do."
        )
        yield _degraded("clock", "clock-ahead", text, Event.TROUBLE_CLOCK)
    yield from _set(status)
    if status.clock.believable:
        yield from _dates(status)
        yield from _anchors(status)
        yield from _watched(status)
    yield from (_degraded("anchors", "anchor-distrusted", text, Event.ANCHORS_DOUBTFUL) for text in status.distrusted)
    yield from _changes(status)
    yield from _retirements(status)
    yield from _reserve(status)
    yield from _dependants(status)
    yield from (
        _degraded("configuration", "gate-unasked", f"A gate cannot be asked: {text}", Event.TROUBLE_DEPENDANT)
        for text in status.unasked
    )
    yield from _live(status)
    yield from _risks(status)


def _risks(status: Status) -> Iterator[Finding]:
    """Return what has done no harm yet: it is told, and is no fault."""
    for text in status.current.differs if status.current else ():
        rotates = status.asked.wishes.on_change is OnChange.ROTATE
        how = "A rotation makes it true at once." if rotates else "The next rotation makes it true: `iot-cert rotate`."
        yield _no_fault("configuration", "differs", f"{text} {how}", Event.PROGRESS)
    for concern in status.asked.concerns:
        text = f"{concern} `iot-cert check configuration` says what to do."
        yield _no_fault("configuration", "client-id-shared", text, Event.CLIENT_ID_SHARED)
    for text in status.asked.missing_zones:
        told = f"{text} `iot-cert check configuration` says what to do."
        yield _no_fault("configuration", "time-zone", told)
    if status.lacking:
        text = f"{status.lacking} `iot-cert check anchors` says what to do."
        yield _no_fault("anchors", "anchors-lacking", text, Event.ANCHORS_DOUBTFUL)
    yield from _moved(status)


def _moved(status: Status) -> Iterator[Finding]:
    """Return that the endpoint chains to another anchor than before: the overlap of old and new is over."""
    anchors = status.current.anchors if status.current else ()
    here = next((anchor for anchor in anchors if anchor.sha256 == status.anchor_in_use), None)
    if here is not None and status.anchors_left:
        left = ", ".join(common_name(anchor.subject) for anchor in status.anchors_left)
        text = (
            f"The endpoint has moved: at the last proof it chained to {common_name(here.subject)}. {left}, which it "
            "chained to before, may go with a next bundle."
        )
        yield _no_fault("anchors", "endpoint-moved", text, Event.PROGRESS)


def _no_fault(check: str, code: str, text: str, event: Event | None = None) -> Finding:
    return Finding(check=check, code=code, severity=Exit.DONE, text=text, event=event)


def _degraded(check: str, code: str, text: str, event: Event | None = None) -> Finding:
    return Finding(check=check, code=code, severity=Exit.DEGRADED, text=text, event=event)


def _critical(check: str, code: str, text: str, event: Event | None = None) -> Finding:
    return Finding(check=check, code=code, severity=Exit.CRITICAL, text=text, event=event)


def _disk(status: Status) -> Iterator[Finding]:
    """Return what is wrong in the state directory, and that it was not looked at."""
    for item in status.damage:
        severity = Exit.CRITICAL if item.critical else Exit.DEGRADED
        yield Finding(check="set", code="damaged", severity=severity, text=item.text, event=Event.TROUBLE_STORE)
    yield from (_degraded("files", "exposed", text, Event.TROUBLE_STORE) for text in status.exposed)
    if not status.looked:
        yield _degraded("disk", "not-read", "The state directory was not read yet.", Event.TROUBLE_STORE)


def _set(status: Status) -> Iterator[Finding]:
    """Return what is wrong with the set in use: there is none, it is refused, or it is another thing's."""
    thing = status.current.thing_name if status.current else ""
    other = other_thing(status.asked.thing_name, thing)
    if other:
        yield _degraded("configuration", "other-thing", f"{other} {BECOME}", Event.TROUBLE_PROTOCOL)
    empty = status.asked.placeholder
    if empty:
        yield _critical("endpoint", "no-endpoint", f"{empty} {FIND_ENDPOINT}", Event.TROUBLE_NETWORK)
    if status.current is None and status.looked and not status.damage:
        remedy = "that comes first" if empty else "run `iot-cert enroll`"
        yield _critical("set", "not-enrolled", f"This gateway has no certificate yet: {remedy}.")
    if status.refused is not None and status.refused.failure is not None:
        text = f"The set in use was refused in its probation, and there is none to go back to: {_why(status.refused)}"
        remedy = "The daemon looks for a set that connects; without it, run `iot-cert rotate`."
        yield _critical("set", "refused", f"{text} {remedy}", Event.CHANGE_REJECTED)


def _dates(status: Status) -> Iterator[Finding]:
    if status.current is None or status.renewal is None:
        return
    not_after = status.current.certificate.not_after
    if not_after <= status.now:
        back = way_back(status.asked.serial, enrols=status.asked.enrols, token_at=status.asked.token_at)
        text = f"The certificate expired at {clock_time(not_after)}. {back}"
        yield _critical("set", "certificate-expired", text, Event.CERTIFICATE_EXPIRED)
    elif status.renewal.window.emergency_at <= status.now:
        text = f"The certificate expires at {clock_time(not_after)} and is not replaced yet: see `iot-cert explain`."
        yield _degraded("set", "certificate-expiring", text, Event.CERTIFICATE_EXPIRING)


def turns(status: Status) -> Iterator[datetime]:
    """Return the instants at which the judgement changes by the clock alone, past ones among them."""
    if status.current is not None and status.renewal is not None:
        yield from (status.current.certificate.not_after, status.renewal.window.emergency_at)
        for anchor in status.current.anchors:
            yield from (anchor.not_after, *(anchor.not_after - distance for distance in status.asked.warn_anchors))
    for item in status.watched:
        for end in item.ends:
            yield from (end.not_after, end.not_after - item.warn)


def _anchors(status: Status) -> Iterator[Finding]:
    """Return each anchor's alarm; it is worded anew at each distance, so that the journal has one for each."""
    for anchor in status.current.anchors if status.current else ():
        used = anchor.sha256 == status.anchor_in_use
        which = "The trust anchor that the endpoint chained to at the last proof" if used else "The trust anchor"
        alarm = _alarm(anchor.not_after, status.now, status.asked.warn_anchors)
        if alarm:
            judged = _critical if used and anchor.not_after <= status.now else _degraded
            text = f"{which}, {common_name(anchor.subject)}, {alarm}"
            yield judged("anchors", "anchor-expiring", text, Event.ANCHOR_EXPIRING)


def _watched(status: Status) -> Iterator[Finding]:
    for item in status.watched:
        if item.problem:
            text = f"A watched file cannot be used. {item.problem}."
            yield _degraded("watched", "watched-unusable", text, Event.WATCHED_EXPIRING)
        for end in item.ends:
            alarm = _alarm(end.not_after, status.now, [item.warn])
            if alarm:
                text = f"{common_name(end.subject)} in {item.path} {alarm}"
                yield _degraded("watched", "watched-expiring", text, Event.WATCHED_EXPIRING)


def _alarm(end: datetime, now: datetime, distances: Iterable[timedelta]) -> str:
    """Return what is to be said of what ends then, after its name, or nothing: most of very many are far from it."""
    if end <= now:
        return f"expired at {clock_time(end)}."
    within = [distance for distance in distances if end - now < distance]
    return f"expires at {clock_time(end)}, in less than {duration(min(within))}." if within else ""


def _changes(status: Status) -> Iterator[Finding]:
    for record in status.unresolved:
        if record != status.refused:
            check, what = ("anchors", "change of anchors") if record.kind is Kind.TRUST else ("set", "change")
            how = "rolled back" if record.phase is Phase.ROLLED_BACK else "given up"
            yield _degraded(check, "change-failed", f"The last {what} was {how}: {_why(record)}")
    change = status.change
    if change is not None and change.failure is not None:
        failure = change.failure
        if failure.code == Code.LOCKED_OUT:
            yield _critical("connect", "locked-out", f"{failure.message} {failure.remedy}", Event.LOCKED_OUT)
        else:
            yield _degraded("set", "change-troubled", f"The change in flight has trouble: {failure.message}")


def _why(record: ChangeRecord) -> str:
    return record.failure.message if record.failure else "it says not why."


def _retirements(status: Status) -> Iterator[Finding]:
    for item in status.retiring:
        if item.refused:
            certificate = item.certificate_id[:SHOWN_ID]
            stop = f"To have it not asked for any more: `iot-cert retire --drop {certificate}`."
            text = f"The cloud refuses to retire {certificate}: {item.refused} {stop}"
            yield _degraded("set", "retirement-refused", text)


def _reserve(status: Status) -> Iterator[Finding]:
    """Return that a change finds no room, or falling back may find none: the disk is full, or a worker failed."""
    if status.current is None:
        return
    if status.reserve is Standing.LAST:
        text = f"The disk is full: no certificate can be rotated. {RESERVED} {FREE}"
        yield _degraded("disk", "no-space", text, Event.TROUBLE_STORE)
    elif status.reserve is Standing.NO_ROOM:
        yield _degraded("disk", "no-reserve", f"{LACKING}. {REMEDY}", Event.TROUBLE_STORE)
    elif status.reserve is Standing.MISSING and status.live and status.change is None:
        text = f"{LACKING}, though there is room: `journalctl -u iot-cert-agent` says what it failed with."
        yield _degraded("disk", "no-reserve", text, Event.TROUBLE_STORE)


def _dependants(status: Status) -> Iterator[Finding]:
    served, current = status.served, status.current
    if served is None:
        return
    problems = [text for text in (*(step.problem for step in served.steps), served.problem) if text]
    yield from (_degraded("dependants", "dependant", text, Event.TROUBLE_DEPENDANT) for text in problems)
    behind = not served.steps or (current is not None and served.generation != current.generation)
    if not problems and behind and current is not None and status.change is None:
        text = f"The dependants were not served generation {current.generation} yet: `sudo iot-cert deploy`."
        yield _degraded("dependants", "dependants-unserved", text, Event.TROUBLE_DEPENDANT)


def _live(status: Status) -> Iterator[Finding]:
    live = status.live
    if live is None:
        if status.unattended:
            yield _degraded("daemon", status.unattended.code, status.unattended.text)
        return
    link = live.connection
    if link.state is ConnectionState.TAKEN_OVER:
        yield _degraded("connect", "taken-over", link.told)
    elif link.rival:
        yield _degraded("connect", "taken-over", link.rival)
    elif link.state in _NOT_UP and link.since and (link.cut_off or abs(status.now - link.since) > LONG_DOWN):
        text = f"There has been no connection since {clock_time(link.since)}: {link.told}"
        yield _degraded("connect", "no-connection", text)
    if live.unseen:
        text = f"The state directory was not put in order as it should be: {live.unseen}"
        yield _degraded("disk", "unusable", text)
    if live.stuck:
        yield _critical("connect", "locked-out", live.stuck)
    if live.configuration_refused:
        text = f"The changed configuration is not in force: {live.configuration_refused}"
        yield _degraded("configuration", "configuration-refused", text)
    yield from _of_the_daemon(live)


def _of_the_daemon(live: Live) -> Iterator[Finding]:
    if live.untold:
        yield _degraded("daemon", "notices-failing", live.untold, Event.NOTICE_FAILED)
    if live.runtime:
        yield _degraded("daemon", "runtime-directory", live.runtime, Event.TROUBLE_STORE)
