"""The status for people: one screen, the reasons why nothing happens, and a finished change as one line."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.change.decide import Wait
from agent.core.change.lifecycle import WaitCode
from agent.core.report.findings import UNANSWERED, judge
from agent.core.text import clock_time, common_name, duration, in_shell, sentence_of
from agent.core.when.retirement import HELD, SHOWN_ID

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.dependants import Served
    from agent.core.report.known import Connection
    from agent.core.report.seen import OnDisk, SetInUse, WatchedFile
    from agent.core.report.status import Retiring, Status
    from agent.core.when.schedule import Plan


def screen(status: Status) -> Iterator[tuple[str, str]]:
    """Return what `iot-cert status` shows: name and text, line breaks included."""
    current, asked = status.current, status.asked
    thing = current.thing_name if current else asked.thing_name or "not enrolled"
    yield "gateway", f"{thing} at {asked.endpoint}:{asked.port}"
    yield "clock", f"{clock_time(status.now)}, {status.clock.state}"
    if current is not None:
        yield from _current(status, current)
    yield "change", _change(status)
    yield from _live_lines(status)
    if status.last:
        yield "last", history_line(status.last)
    yield "health", "\n".join(judge(status).health) or "ok"


def _current(status: Status, current: SetInUse) -> Iterator[tuple[str, str]]:
    back = f"previous is {status.previous}" if status.previous else "no previous"
    yield "generation", f"{current.generation} since {clock_time(current.created_at)} ({current.kind}), {back}"
    leaf = current.certificate
    yield "certificate", f"{leaf.subject}, {leaf.key}, {_until(leaf.not_after, status.now)}\nid {leaf.sha256}"
    if status.renewal:
        opens = status.renewal.window.opens_at
        yield "renewal", f"due {clock_time(status.renewal.at)}, in the window from {opens:%Y-%m-%d %H:%M} UTC"
    yield "anchors", "\n".join(_anchor_lines(status, current))
    if status.generations:
        yield "on disk", "\n".join(_on_disk_line(item, status) for item in status.generations)
    for item in status.watched:
        yield "watched", _watched_line(item, status.now)
    if status.served:
        yield "dependants", "\n".join(_dependant_lines(status.served))


def _anchor_lines(status: Status, current: SetInUse) -> Iterator[str]:
    at = f" at {clock_time(status.anchor_seen_at)}" if status.anchor_seen_at else ""
    for anchor in current.anchors:
        used = f"; the endpoint chained to it{at}" if anchor.sha256 == status.anchor_in_use else ""
        used = "; the endpoint has moved away from it" if anchor in status.anchors_left else used
        yield f"{common_name(anchor.subject)}, {_until(anchor.not_after, status.now)}{used}"
    trust = current.trust
    if trust:
        yield f"from {trust}"


def _on_disk_line(item: OnDisk, status: Status) -> str:
    current = status.current.generation if status.current else None
    role = {current: ", in use", status.previous: ", previous"}.get(item.generation, "")
    if item.not_after is None:
        return f"{item.generation} is damaged{role}"
    return f"{item.generation} with {item.certificate_id[:SHOWN_ID]}, {_until(item.not_after, status.now)}{role}"


def _dependant_lines(served: Served) -> Iterator[str]:
    problems = [step.problem for step in served.steps if step.problem]
    if not served.steps:
        yield "not served yet"
    else:
        done = len(served.steps) - len(problems)
        yield f"{done} of {len(served.steps)} use generation {served.generation}"
    yield from problems


def _watched_line(item: WatchedFile, now: datetime) -> str:
    if item.problem:
        return item.problem
    return f"{item.path}: {item.certificates}, first {_until(item.ends[0].not_after, now)}"


def _until(at: datetime, now: datetime) -> str:
    days = (at - now) / timedelta(days=1)
    left = f"{days:.0f} days left" if days >= 2 else f"{days * 24:.1f} h left"  # noqa: PLR2004 - below, hours tell more
    return f"until {at:%Y-%m-%d %H:%M} UTC ({left if days > 0 else 'EXPIRED'})"


def _change(status: Status) -> str:
    change, following = status.change, status.following
    if change is None:
        return "none in flight"
    why = following.why if following else "unknown"
    since = clock_time(change.entered_at)
    return (
        f"{change.kind} {change.id} ({change.reason}), in phase {change.phase} since {since}\n"
        f"next: {why}{_until_when(following) if isinstance(following, Wait) else ''}"
    )


def _until_when(wait: Wait) -> str:
    at = clock_time(wait.until)
    if wait.code == WaitCode.PROBATION:
        return f"; it is proven again at {at}"
    return "" if wait.dated else f" until {at}"


def _live_lines(status: Status) -> Iterator[tuple[str, str]]:
    if status.live:
        yield "connection", _connection_line(status.live.connection)
    if status.change is None and (status.live or status.plan.code != "scheduled"):
        yield "plan", status.plan.why
    if status.pause:
        lifted = "root, or a member of iot-cert-admin, ends it: `iot-cert resume`"
        yield "paused", f"until {clock_time(status.pause.until)}: {status.pause.reason}\n{lifted}"
    if status.asked.wishes.holds.inhibited_by:
        yield "inhibited", _inhibited(status.asked.wishes.holds.inhibited_by)
    if status.retiring:
        yield "retiring", "\n".join(_retiring_lines(status.retiring))
    elif status.not_asked_for:
        yield "retiring", f"not asked for (rotation.retire is false): {status.not_asked_for} left behind"


def _inhibited(by: str) -> str:
    ends_it = f"`sudo rm {in_shell(by)}`"
    return f"{by} is there: scheduled changes do not begin, except near the certificate's end, until {ends_it}"


def _connection_line(link: Connection) -> str:
    return f"{link.state}: {link.told}" if link.why else str(link.state)


def _retiring_lines(waiting: Iterable[Retiring]) -> Iterator[str]:
    unanswered = held = False
    for item in waiting:
        names = ", ".join(item.waits_for)
        how = f", waits for {names}" if names else ""
        how = f", refused{how}" if item.refused else f", no answer yet{how}" if item.unanswered else how
        unanswered, held = unanswered or bool(item.unanswered), held or bool(names)
        yield f"{item.certificate_id[:SHOWN_ID]} from {clock_time(item.due)}{how}"
    if held:
        yield HELD
    if unanswered:
        yield UNANSWERED


def history_line(record: ChangeRecord) -> str:
    """Return a finished change as one line."""
    failure = f": {record.failure.message}" if record.failure else ""
    if record.degraded and not failure:
        failure = f" (without this: {record.degraded.message})"
    if record.unproven:
        failure = f" (activated unproven){failure}"
    return (
        f"{clock_time(record.entered_at)}  {record.kind:<8} {record.phase:<11} "
        f"generation {record.generation:<4} {wanted(record)}{failure}"
    )


def wanted(record: ChangeRecord) -> str:
    """Return who wanted a change and why, once: the reason of most jobs and of the ladder begins with whose it is."""
    if record.reason.startswith(f"{record.origin} ") and not record.asked_by:
        return record.reason
    by = f" {record.asked_by}" if record.asked_by else ""
    return f"{record.origin}{by}: {record.reason.removeprefix(f'{record.origin}: ')}"


def explain(status: Status) -> list[str]:
    """Return why nothing is being rotated now, or what is being done, a sentence a line."""
    lines = [*_why(status)]
    if status.live and status.live.connection.why:
        link = status.live.connection
        lines.append(f"The connection is {link.state}: {_sentence(link.told)}")
    return [*lines, *judge(status).health]


def _why(status: Status) -> Iterator[str]:
    change, plan = status.change, status.plan
    if change is not None:
        yield f"The {change.kind} {change.id} is in flight, in phase {change.phase}."
        if status.following and status.following.why:
            why = status.following.why
            yield _sentence(sentence_of(why))
        return
    yield ("A change is due: " if plan.due else "Nothing is begun now: ") + _sentence(plan.why)
    if plan.at and not plan.due:
        left = duration(max(plan.at - status.now, timedelta()))
        near_its_end = f"Near the certificate's end nothing waits: it begins at {clock_time(plan.at)}, in {left}."
        yield near_its_end if _ended_by_the_emergency(plan) else f"That is in {left}."
    yield from _held_then(status)


def _held_then(status: Status) -> Iterator[str]:
    """Return what will hold a change that is not due yet, where it lasts until then."""
    at, by = status.plan.at, status.asked.wishes.holds.inhibited_by
    if status.plan.code != "scheduled":
        return
    if status.pause and at and at < status.pause.until:
        yield f"It is paused then, until {clock_time(status.pause.until)}: `iot-cert resume` ends that."
    if by:
        yield _sentence(_inhibited(by))


def _ended_by_the_emergency(plan: Plan) -> bool:
    """Whether the plan's instant is not the hold's own end, but that of the emergency window, which comes first."""
    return (
        plan.window is not None
        and plan.at == plan.window.emergency_at
        and plan.code not in {"scheduled", "budget", "back-off"}
    )


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", ".)")) else f"{text}."
