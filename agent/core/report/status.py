"""The status document: what is wrong with it, and how it is shown. The command and the daemon share every word.

A document is plain data, as `agent.operations.snapshot` and the daemon make it and ``status.json`` holds it, with times
in RFC 3339. This module imports next to nothing, so that `iot-cert status` is quick where a daemon has the document.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from agent.core.change.reserve import LACKING, REMEDY, Standing
from agent.core.text import clock_time, common_name, duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Document = Mapping[str, Any]
    Finding = tuple[int, str, str]

# Exit codes of `agent.core.exit_codes`, without its imports.
DONE, DEGRADED, CRITICAL = 0, 1, 3

LOCKED_OUT = "locked-out"  # the code of `agent.core.failure.failure`, without its imports
SHOWN_ID = 12  # hexadecimal digits of a certificate's id
UNANSWERED = (
    "Each replaced certificate stays active in the account until it is deactivated there, by hand or by a rule that "
    "answers; set `rotation: {retire: false}` where this fleet retires by other means."
)

LONG_DOWN = timedelta(minutes=15)  # without a connection before it counts as a problem


def instant(text: str) -> datetime:
    """Return a time of the document."""
    return datetime.fromisoformat(text)


def judge(document: Document, now: datetime) -> tuple[list[str], int]:
    """Return what needs attention, a sentence each, and the exit code of it all.

    Args:
        document: The document; its ``clock`` says whether `now` may be believed.
        now: The wall clock.
    """
    found = list(_findings(document, now))
    code = DONE
    for severity, _, _ in found:
        if severity == CRITICAL or code == DONE:
            code = severity
    return [text for _, _, text in found], code


def events(document: Document, now: datetime) -> dict[str, str]:
    """Return what the journal is to have of it once: the sentence, and the name of its `Event`."""
    found = {text: event for _, event, text in _findings(document, now) if event}
    return {**found, **dict(_notes(document, now))}


def _notes(document: Document, now: datetime) -> Iterator[tuple[str, str]]:
    """Return what is worth a line of the journal and is no fault: the sentence, and its event."""
    for item in document.get("retirements") or []:
        certificate, names = item["certificate_id"][:SHOWN_ID], ", ".join(item.get("waits_for") or [])
        if names and instant(item["due"]) <= now:
            yield f"The certificate {certificate} is not retired while it may be in use still: {names}.", "retire-waits"
        if item.get("unanswered"):
            text = f"The request to retire {certificate} has no answer: {item['unanswered']} {UNANSWERED}"
            yield text, "retire-unanswered"


def _findings(document: Document, now: datetime) -> Iterator[Finding]:
    """Return what needs attention: how much, the event that stands for it in the journal, and a sentence."""
    believable = document["clock"]["state"] != "implausible"
    damage, current = document.get("damage") or [], document.get("current")
    yield from ((int(code), "trouble-store", str(text)) for code, text in damage)
    if not believable:
        yield (
            DEGRADED,
            "clock-implausible",
            f"The clock shows {clock_time(now)}, which cannot be; nothing is judged by it.",
        )
    if current is None and not damage:
        yield CRITICAL, "", "This gateway has no certificate yet: run `iot-cert enroll`."
    if current is not None and believable:
        yield from _dates(current, now)
        yield from _anchors(document, now)
    if believable:
        yield from _watched(document, now)
    yield from _changes(document)
    yield from _reserve(document)
    yield from _dependants(document)
    yield from _live(document, now)
    for text in document.get("warnings") or []:  # a risk, and no harm yet
        yield DONE, "client-id-shared", f"{text} `iot-cert check configuration` says what to do."


def _dates(current: Document, now: datetime) -> Iterator[Finding]:
    not_after = instant(current["certificate"]["not_after"])
    if not_after <= now:
        yield (
            CRITICAL,
            "certificate-expired",
            f"The certificate expired at {clock_time(not_after)}: run `iot-cert rotate`.",
        )
    elif instant(current["renewal"]["emergency_at"]) <= now:
        text = f"The certificate expires at {clock_time(not_after)} and is not replaced yet: see `iot-cert explain`."
        yield DEGRADED, "certificate-expiring", text


def _anchors(document: Document, now: datetime) -> Iterator[Finding]:
    """Return each anchor's alarm; it is worded anew at each distance, so that the journal has one for each."""
    current = document["current"]
    for anchor in current["anchors"]:
        name, used = common_name(anchor["subject"]), anchor["sha256"] == current.get("anchor_in_use")
        which = "The trust anchor that the endpoint chains to" if used else "The trust anchor"
        alarm = _alarm(f"{which}, {name},", instant(anchor["not_after"]), now, document.get("warn_anchors") or [])
        if alarm:
            yield CRITICAL if used and instant(anchor["not_after"]) <= now else DEGRADED, "anchor-expiring", alarm


def _watched(document: Document, now: datetime) -> Iterator[Finding]:
    for item in document.get("watched") or []:
        if item.get("problem"):
            yield DEGRADED, "watched-expiring", f"A watched file cannot be used. {item['problem']}."
        for one in item.get("ends") or []:
            name = f"{common_name(one['subject'])} in {item['path']}"
            alarm = _alarm(name, instant(one["not_after"]), now, [item["warn"]])
            if alarm:
                yield DEGRADED, "watched-expiring", alarm


def _alarm(name: str, end: datetime, now: datetime, distances: list[float]) -> str:
    if end <= now:
        return f"{name} expired at {clock_time(end)}."
    within = [timedelta(seconds=seconds) for seconds in distances if end - now < timedelta(seconds=seconds)]
    return f"{name} expires at {clock_time(end)}, in less than {duration(min(within))}." if within else ""


def _changes(document: Document) -> Iterator[Finding]:
    last, change = document.get("last") or {}, document.get("change") or {}
    if last.get("phase") == "rolled-back" and last.get("failure"):
        yield DEGRADED, "", f"The last change was rolled back: {last['failure']['message']}"
    if (change.get("failure") or {}).get("code") == LOCKED_OUT:
        yield CRITICAL, "locked-out", f"{change['failure']['message']} {change['failure']['remedy']}"
    elif change.get("failure"):
        yield DEGRADED, "", f"The change in flight has trouble: {change['failure']['message']}"
    for item in document.get("retirements") or []:
        if item.get("refused"):
            certificate = item["certificate_id"][:SHOWN_ID]
            stop = f"To have it not asked for any more: `iot-cert retire --drop {certificate}`."
            yield DEGRADED, "", f"The cloud refuses to retire {certificate}: {item['refused']} {stop}"


def _reserve(document: Document) -> Iterator[Finding]:
    """Return that falling back may find no room: where there is none, or where a worker of the daemon's failed."""
    standing = document.get("reserve")
    if document.get("current") is None:
        return
    if standing == Standing.NO_ROOM:
        yield DEGRADED, "trouble-store", f"{LACKING}. {REMEDY}"
    elif standing == Standing.MISSING and document.get("daemon") and not document.get("change"):
        text = f"{LACKING}, though there is room: `journalctl -u iot-cert-agent` says what it failed with."
        yield DEGRADED, "trouble-store", text


def _dependants(document: Document) -> Iterator[Finding]:
    standing = document.get("dependants") or {}
    problems = [step["problem"] for step in standing.get("steps") or []]
    yield from ((DEGRADED, "trouble-dependant", str(text)) for text in [*problems, standing.get("problem")] if text)


def _live(document: Document, now: datetime) -> Iterator[Finding]:
    link = document.get("connection") or {}
    if link.get("state") == "taken-over":
        yield DEGRADED, "", link["why"]
    elif link.get("rival"):
        yield DEGRADED, "", link["rival"]
    elif link.get("state") == "down" and link.get("since") and abs(now - instant(link["since"])) > LONG_DOWN:
        yield DEGRADED, "", f"There has been no connection since {clock_time(instant(link['since']))}: {link['why']}"
    if document.get("unseen"):
        yield DEGRADED, "", f"The state directory was not put in order as it should be: {document['unseen']}"
    if document.get("stuck"):
        yield CRITICAL, "", str(document["stuck"])
    if document.get("configuration_refused"):
        yield DEGRADED, "", f"The changed configuration is not in force: {document['configuration_refused']}"


def screen(document: Document, now: datetime) -> Iterator[tuple[str, str]]:
    """Return what `iot-cert status` shows: name and text, line breaks included."""
    current = document.get("current")
    thing = current["thing_name"] if current else document.get("thing_name") or "not enrolled"
    yield "gateway", f"{thing} at {document['endpoint']}:{document['port']}"
    yield "clock", f"{clock_time(now)}, {document['clock']['state']}"
    if current is not None:
        yield from _current(document, current, now)
    yield "change", _change(document)
    yield from _live_lines(document)
    if document.get("last"):
        yield "last", history_line(document["last"])
    yield "health", "\n".join(document.get("health") or []) or "ok"


def _current(document: Document, current: Document, now: datetime) -> Iterator[tuple[str, str]]:
    previous = document.get("previous")
    back = f"previous is {previous}" if previous else "no previous"
    since = clock_time(instant(current["created_at"]))
    yield "generation", f"{current['generation']} since {since} ({current['kind']}), {back}"
    leaf = current["certificate"]
    yield (
        "certificate",
        f"{leaf['subject']}, {leaf['key']}, {_until(instant(leaf['not_after']), now)}\nid {leaf['sha256']}",
    )
    renewal = current["renewal"]
    opens = instant(renewal["opens_at"])
    yield "renewal", f"due {clock_time(instant(renewal['at']))}, in the window from {opens:%Y-%m-%d %H:%M} UTC"
    yield "anchors", "\n".join(_anchor_lines(current, now))
    for item in document.get("watched") or []:
        yield "watched", _watched_line(item, now)
    if document.get("dependants"):
        yield "dependants", "\n".join(_dependant_lines(document["dependants"]))


def _anchor_lines(current: Document, now: datetime) -> Iterator[str]:
    for anchor in current["anchors"]:
        used = "; the endpoint chains to it" if anchor["sha256"] == current.get("anchor_in_use") else ""
        yield f"{common_name(anchor['subject'])}, {_until(instant(anchor['not_after']), now)}{used}"
    trust = current.get("trust")
    if trust:
        name = "the baked copy" if trust["source"] == "baked" else f"signed bundle {trust['version']}"
        yield f"from {name}{' of ' + trust['issued_at'][:10] if trust.get('issued_at') else ''}"


def _dependant_lines(standing: Document) -> Iterator[str]:
    steps = standing["steps"]
    if not steps:
        yield "not served yet"
    else:
        served = sum(not step["problem"] for step in steps)
        yield f"{served} of {len(steps)} use generation {standing['generation']}"
    yield from (step["problem"] for step in steps if step["problem"])


def _watched_line(item: Document, now: datetime) -> str:
    if item.get("problem"):
        return str(item["problem"])
    first = item["ends"][0]
    return f"{item['path']}: {item['certificates']}, first {_until(instant(first['not_after']), now)}"


def _until(at: datetime, now: datetime) -> str:
    days = (at - now) / timedelta(days=1)
    left = f"{days:.0f} days left" if days >= 2 else f"{days * 24:.1f} h left"  # noqa: PLR2004 - below, hours tell more
    return f"until {at:%Y-%m-%d %H:%M} UTC ({left if days > 0 else 'EXPIRED'})"


def _change(document: Document) -> str:
    change = document.get("change")
    if not change:
        return "none in flight"
    following = document.get("next") or {}
    at = clock_time(instant(following["until"])) if following.get("until") else ""
    until = at and (f"; it is proven again at {at}" if following.get("code") == "probation" else f" until {at}")
    since = clock_time(instant(change["entered_at"]))
    return (
        f"{change['kind']} {change['id']} ({change['reason']}), in phase {change['phase']} since {since}\n"
        f"next: {following.get('why', 'unknown')}{until}"
    )


def _live_lines(document: Document) -> Iterator[tuple[str, str]]:
    link = document.get("connection")
    if link:
        yield "connection", f"{link['state']}: {link['why']}" if link.get("why") else link["state"]
    plan = document.get("plan")
    if plan and not document.get("change") and (link or plan["code"] != "scheduled"):
        yield "plan", plan["why"]
    pause = document.get("pause")
    if pause:
        yield "paused", f"until {clock_time(instant(pause['until']))}: {pause['reason']}"
    waiting = document.get("retirements") or []
    if waiting:
        yield "retiring", "\n".join(_retiring_lines(waiting))
    elif document.get("not_asked_for"):
        yield "retiring", f"not asked for (rotation.retire is false): {document['not_asked_for']} left behind"


def _retiring_lines(waiting: list[Document]) -> Iterator[str]:
    for item in waiting:
        names = ", ".join(item.get("waits_for") or [])
        how = f", waits for {names}" if names else ""
        how = f", refused{how}" if item.get("refused") else f", no answer yet{how}" if item.get("unanswered") else how
        yield f"{item['certificate_id'][:SHOWN_ID]} from {clock_time(instant(item['due']))}{how}"
    if any(item.get("unanswered") for item in waiting):
        yield UNANSWERED


def history_line(record: Document) -> str:
    """Return a finished change as one line."""
    failure = f": {record['failure']['message']}" if record.get("failure") else ""
    if record.get("degraded"):
        failure = f" (without this: {record['degraded']['message']})"
    if record.get("unproven"):
        failure = f" (activated unproven){failure}"
    return (
        f"{clock_time(instant(record['entered_at']))}  {record['kind']:<8} {record['phase']:<11} "
        f"generation {record['generation']:<4} {record['origin']}: {record['reason']}{failure}"
    )


def explain(document: Document, now: datetime) -> list[str]:
    """Return why nothing is being rotated now, or what is being done, a sentence a line."""
    lines = []
    change, following, plan = document.get("change"), document.get("next") or {}, document.get("plan") or {}
    if change:
        lines.append(f"The {change['kind']} {change['id']} is in flight, in phase {change['phase']}.")
        if following.get("why"):
            lines.append(_sentence(following["why"]))
    elif plan:
        lines.append(("A change is due: " if plan["due"] else "Nothing is begun now: ") + _sentence(plan["why"]))
    if plan.get("at") and not plan.get("due") and not change:
        lines.append(f"That is in {duration(max(instant(plan['at']) - now, timedelta()))}.")
    link = document.get("connection")
    if link and link.get("why"):
        lines.append(f"The connection is {link['state']}: {_sentence(link['why'])}")
    if not document.get("daemon"):
        lines.append(
            "No daemon runs, so nothing happens by itself: `systemctl start iot-cert-agent`, or `iot-cert rotate`."
        )
    return [*lines, *(document.get("health") or [])]


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", ")")) else f"{text}."
