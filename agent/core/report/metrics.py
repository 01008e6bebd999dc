"""The status document as Prometheus text, for the textfile collector of the node exporter.

Instants are Unix seconds, as Prometheus has them: ``iot_cert_certificate_not_after_seconds - time()`` is what is left
at any moment, while a number of days would be stale as soon as it is written. The days are there too, for people who
look.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from agent.core.change.lifecycle import ChangeRecord

PREFIX = "iot_cert"
STATES = ("up", "connecting", "down", "lent", "taken-over")


def render(document: Mapping[str, Any], history: Iterable[ChangeRecord], now: datetime) -> str:
    """Return the whole text."""
    lines: list[str] = []
    seen: set[str] = set()
    for name, kind, text, labels, value in _samples(document, tuple(history), now):
        if name not in seen:
            seen.add(name)
            lines += [f"# HELP {PREFIX}_{name} {text}", f"# TYPE {PREFIX}_{name} {kind}"]
        shown = ",".join(f'{key}="{_escaped(item)}"' for key, item in labels.items())
        lines.append(f"{PREFIX}_{name}{{{shown}}} {value:.10g}" if shown else f"{PREFIX}_{name} {value:.10g}")
    return "\n".join(lines) + "\n"


Sample = tuple[str, str, str, dict[str, str], float]


def _samples(document: Mapping[str, Any], history: tuple[ChangeRecord, ...], now: datetime) -> Iterator[Sample]:
    yield "health", "gauge", "Exit code of `iot-cert status`: 0 healthy, 1 degraded, 3 critical.", {}, document["exit"]
    yield from _certificates(document, now)
    yield from _watched(document)
    steps = {step["name"]: step for step in (document.get("dependants") or {}).get("steps") or []}
    for name, step in steps.items():
        text = "Whether a dependant uses the set that it was served last."
        yield "dependant_served", "gauge", text, {"name": name}, not step["problem"]
    yield from _plan(document)
    link = document.get("connection") or {}
    for state in STATES:
        yield "connection", "gauge", "State of the daemon's connection.", {"state": state}, link.get("state") == state
    text = "Whether another client is believed to use the agent's client id."
    yield "client_id_contested", "gauge", text, {}, bool(link.get("rival"))
    yield from _retirements(document)
    yield from _changes(history)


def _retirements(document: Mapping[str, Any]) -> Iterator[Sample]:
    found = document.get("retirements") or []
    yield "retirements", "gauge", "Certificates that are still to be retired.", {}, len(found)
    for key, text in (
        ("refused", "Of those, the ones that the cloud refuses to retire."),
        ("unanswered", "Of those, the ones for which the cloud gave no answer yet."),
        ("waits_for", "Of those, the ones that another program may use still."),
    ):
        name = "retirements_waiting" if key == "waits_for" else f"retirements_{key}"
        yield name, "gauge", text, {}, sum(bool(item.get(key)) for item in found)
    for name, number in sorted(Counter(name for item in found for name in item.get("waits_for") or []).items()):
        text = "Certificates whose retirement waits for a dependant."
        yield "retirement_waits_for", "gauge", text, {"name": name}, number


def _certificates(document: Mapping[str, Any], now: datetime) -> Iterator[Sample]:
    current = document.get("current")
    if current is None:
        return
    yield "generation", "gauge", "The current generation.", {}, current["generation"]
    leaf = current["certificate"]
    anchors = {anchor["sha256"]: anchor for anchor in current["anchors"]}  # one may stand in the bundle twice
    named = [("certificate", leaf), *(("anchor", anchor) for anchor in anchors.values())]
    for kind, facts in named:
        at = datetime.fromisoformat(facts["not_after"]).timestamp()
        yield f"{kind}_not_after_seconds", "gauge", f"End of the {kind}, Unix seconds.", _labels(facts), at
    for kind, facts in named:
        left = (datetime.fromisoformat(facts["not_after"]) - now) / timedelta(days=1)
        yield f"{kind}_days_left", "gauge", f"Days left of the {kind} when this was written.", _labels(facts), left


def _watched(document: Mapping[str, Any]) -> Iterator[Sample]:
    files = {item["path"]: item for item in document.get("watched") or []}  # one may be listed twice
    for path, item in files.items():
        text = "Whether a watched file can be read."
        yield "watched_usable", "gauge", text, {"path": path}, not item.get("problem")
    for path, item in files.items():
        for one in (item.get("ends") or [])[:1]:
            at = datetime.fromisoformat(one["not_after"]).timestamp()
            text = "End of the first certificate to expire in a watched file, Unix seconds."
            yield "watched_not_after_seconds", "gauge", text, {"path": path}, at


def _labels(facts: Mapping[str, Any]) -> dict[str, str]:
    return {"subject": facts["subject"], "sha256": facts["sha256"][:12]}  # two anchors may share a subject


def _plan(document: Mapping[str, Any]) -> Iterator[Sample]:
    plan, following = document.get("plan") or {}, document.get("next") or {}
    at = following.get("until") or plan.get("at")
    if at:
        instant = datetime.fromisoformat(at).timestamp()
        yield "next_attempt_seconds", "gauge", "When something is planned to happen, Unix seconds.", {}, instant
    in_flight = bool(document.get("change"))
    yield "change_in_flight", "gauge", "Whether a change is in flight.", {}, in_flight


def _changes(history: tuple[ChangeRecord, ...]) -> Iterator[Sample]:
    done = [record.committed_at or record.entered_at for record in history if record.phase.succeeded]
    if done:
        last = done[-1].timestamp()
        yield "last_success_seconds", "gauge", "When a change was committed last, Unix seconds.", {}, last
    counted = Counter((record.kind.value, _outcome(record), _class(record)) for record in history)
    for (kind, outcome, failure), number in sorted(counted.items()):
        labels = {"kind": kind, "outcome": outcome, "class": failure}
        yield "changes_total", "counter", "Finished changes on record, by kind, outcome and class.", labels, number
    rolled_back = sum(record.phase == "rolled-back" for record in history)
    yield "rollbacks_total", "counter", "Changes on record that were rolled back.", {}, rolled_back


def _outcome(record: ChangeRecord) -> str:
    return "committed" if record.phase.succeeded else record.phase.value


def _class(record: ChangeRecord) -> str:
    return record.failure.kind.value if record.failure else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
