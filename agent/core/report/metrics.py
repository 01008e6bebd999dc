"""The status as Prometheus text, for the textfile collector of the node exporter.

Instants are Unix seconds, as Prometheus has them: ``iot_cert_certificate_not_after_seconds - time()`` is what is left
at any moment, while a number of days would be stale as soon as it is written. The days are there too, for people who
look.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.report.findings import judge
from agent.core.report.known import ConnectionState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.report.status import Retiring, Status
    from agent.core.values import CertificateFacts

PREFIX = "iot_cert"


def render(status: Status, history: Iterable[ChangeRecord]) -> str:
    """Return the whole text.

    Args:
        status: How the gateway stands.
        history: The finished changes.
    """
    lines: list[str] = []
    seen: set[str] = set()
    for name, kind, text, labels, value in _samples(status, tuple(history)):
        if name not in seen:
            seen.add(name)
            lines += [f"# HELP {PREFIX}_{name} {text}", f"# TYPE {PREFIX}_{name} {kind}"]
        shown = ",".join(f'{key}="{_escaped(item)}"' for key, item in labels.items())
        lines.append(f"{PREFIX}_{name}{{{shown}}} {value:.10g}" if shown else f"{PREFIX}_{name} {value:.10g}")
    return "\n".join(lines) + "\n"


Sample = tuple[str, str, str, dict[str, str], float]


def _samples(status: Status, history: tuple[ChangeRecord, ...]) -> Iterator[Sample]:
    text = "Exit code of `iot-cert status`: 0 healthy, 1 degraded, 3 critical."
    judged = judge(status)
    yield "health", "gauge", text, {}, judged.exit
    codes = Counter((item.code, str(int(item.severity))) for item in judged.findings)
    for (code, severity), number in sorted(codes.items()):
        text = "What is to be said of this gateway, by its code in status.json and what it does to the health."
        yield "findings", "gauge", text, {"code": code, "severity": severity}, number
    yield from _certificates(status)
    yield from _watched(status)
    steps = {step.name: step for step in status.served.steps} if status.served else {}
    for name, step in steps.items():
        text = "Whether a dependant uses the set that it was served last."
        yield "dependant_served", "gauge", text, {"name": name}, not step.problem
    yield from _plan(status)
    link = status.live.connection if status.live else None
    for state in ConnectionState:
        at = link is not None and link.state is state
        yield "connection", "gauge", "State of the daemon's connection.", {"state": state.value}, at
    text = "Whether another client is believed to use the agent's client id."
    yield "client_id_contested", "gauge", text, {}, link is not None and bool(link.rival)
    yield from _retirements(status.retiring)
    yield from _changes(history)


def _retirements(found: tuple[Retiring, ...]) -> Iterator[Sample]:
    yield "retirements", "gauge", "Certificates that are still to be retired.", {}, len(found)
    for name, text, number in (
        ("refused", "the ones that the cloud refuses to retire", sum(bool(item.refused) for item in found)),
        ("unanswered", "the ones for which the cloud gave no answer yet", sum(bool(item.unanswered) for item in found)),
        ("waiting", "the ones that another program may use still", sum(bool(item.waits_for) for item in found)),
    ):
        yield f"retirements_{name}", "gauge", f"Of those, {text}.", {}, number
    for name, number in sorted(Counter(name for item in found for name in item.waits_for).items()):
        text = "Certificates whose retirement waits for a dependant."
        yield "retirement_waits_for", "gauge", text, {"name": name}, number


def _certificates(status: Status) -> Iterator[Sample]:
    current = status.current
    if current is None:
        return
    yield "generation", "gauge", "The current generation.", {}, current.generation
    anchors = {anchor.sha256: anchor for anchor in current.anchors}  # one may stand in the bundle twice
    named = [("certificate", current.certificate), *(("anchor", anchor) for anchor in anchors.values())]
    for kind, facts in named:
        at = facts.not_after.timestamp()
        yield f"{kind}_not_after_seconds", "gauge", f"End of the {kind}, Unix seconds.", _labels(facts), at
    for kind, facts in named:
        left = (facts.not_after - status.now) / timedelta(days=1)
        yield f"{kind}_days_left", "gauge", f"Days left of the {kind} when this was written.", _labels(facts), left


def _watched(status: Status) -> Iterator[Sample]:
    files = {item.path: item for item in status.watched}  # one may be listed twice
    for path, item in files.items():
        text = "Whether a watched file can be read."
        yield "watched_usable", "gauge", text, {"path": path}, not item.problem
    for path, item in files.items():
        for end in item.ends[:1]:
            text = "End of the first certificate to expire in a watched file, Unix seconds."
            yield "watched_not_after_seconds", "gauge", text, {"path": path}, end.not_after.timestamp()


def _labels(facts: CertificateFacts) -> dict[str, str]:
    return {"subject": facts.subject, "sha256": facts.sha256[:12]}  # two anchors may share a subject


def _plan(status: Status) -> Iterator[Sample]:
    _, at = status.awaited
    if at:
        yield "next_attempt_seconds", "gauge", "When something is planned to happen, Unix seconds.", {}, at.timestamp()
    in_flight = status.change is not None
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
