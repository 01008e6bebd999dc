"""The status as a document: ``status.json``, and what ``iot-cert status --json`` prints. It alone knows the keys.

Times are RFC 3339, spans seconds. Keys are added, never renamed or given another meaning; a reader ignores what it does
not know. What only a daemon knows is there only while one runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.change.decide import Wait
from agent.core.change.records import public
from agent.core.change.reserve import Standing
from agent.core.exit_codes import Exit
from agent.core.jsonio import Node, PlainError, to_plain
from agent.core.report import notices
from agent.core.report.findings import judge
from agent.core.report.known import Connection
from agent.core.report.notices import Told
from agent.core.values import MAX_TEXT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.core.change.decide import Action
    from agent.core.dependants import Served
    from agent.core.report.known import Live
    from agent.core.report.seen import OnDisk, SetInUse, WatchedFile
    from agent.core.report.status import Retiring, Status


def document(status: Status) -> dict[str, object]:
    """Return the whole document."""
    asked, judged = status.asked, judge(status)
    return {
        "version": status.version,
        "config": asked.config,
        "endpoint": asked.endpoint,
        "port": asked.port,
        "thing_name": asked.thing_name,
        "clock": to_plain(status.clock),
        "current": _current(status, status.current) if status.current else None,
        "previous": status.previous,
        "generations": [_on_disk(item) for item in status.generations],
        "change": to_plain(public(status.change)) if status.change else None,
        "next": _next(status.following) if status.following else None,
        "last": to_plain(public(status.last)) if status.last else None,
        "damage": [[int(Exit.CRITICAL if item.critical else Exit.DEGRADED), item.text] for item in status.damage],
        "warnings": [*asked.concerns, *asked.missing_zones],
        "reserve": Standing.KEPT if status.reserve.kept else status.reserve,
        "warn_anchors": [span.total_seconds() for span in asked.warn_anchors],
        "watched": [_watched(item) for item in status.watched],
        "dependants": _served(status.served) if status.served else None,
        "plan": to_plain(status.plan),
        "pause": to_plain(status.pause) if status.pause else None,
        "inhibited_by": asked.wishes.holds.inhibited_by or None,
        "retirements": [_retiring(item) for item in status.retiring],
        "not_asked_for": status.not_asked_for,
        **(_live(status.live) if status.live else {}),
        "health": list(judged.health),
        "findings": to_plain(notices.of_findings(judged.findings, MAX_TEXT)),
        "exit": int(judged.exit),
    }


def _next(action: Action) -> dict[str, object]:
    """Return what a change in flight does or waits for."""
    if isinstance(action, Wait):
        return {"why": action.why, "code": action.code, "until": to_plain(action.until)}
    return {"why": action.why, "code": "step"}


def findings_in(document: Mapping[str, object]) -> tuple[Told, ...]:
    """Return what needs attention by a document; nothing where that cannot be understood."""
    try:
        return tuple(item.record(Told) for item in Node(document, "the status").nodes("findings"))
    except PlainError:
        return ()


def connection_in(document: Mapping[str, object]) -> Connection | None:
    """Return how the daemon's connection stands by a document; None where none runs, or it cannot be understood."""
    try:
        return Node(document.get("connection"), "connection").record(Connection)
    except PlainError:
        return None


ANCHORS = ("generation", "anchors", "anchor_in_use", "anchor_seen_at", "anchors_left", "trust")


def trust(status: Status) -> dict[str, object]:
    """Return the anchors in use, as ``iot-cert trust list --json`` tells them."""
    current = _current(status, status.current) if status.current else {}
    return {key: current.get(key) for key in ANCHORS}


def _current(status: Status, current: SetInUse) -> dict[str, object]:
    renewal = status.renewal
    assert renewal is not None  # noqa: S101 - a set in use has one
    return {
        "generation": current.generation,
        "kind": current.kind,
        "thing_name": current.thing_name,
        "created_at": to_plain(current.created_at),
        "certificate": to_plain(current.certificate),
        "anchors": to_plain(current.anchors),
        "anchor_in_use": status.anchor_in_use,
        "anchor_seen_at": to_plain(status.anchor_seen_at),
        "anchors_left": [anchor.sha256 for anchor in status.anchors_left],
        "trust": to_plain(current.trust) if current.trust else None,
        "splay": renewal.splay,
        "renewal": {"at": to_plain(renewal.at), **to_plain(renewal.window)},
    }


def _on_disk(item: OnDisk) -> dict[str, object]:
    """Return a generation; of one that is damaged the certificate is null."""
    return {
        "generation": item.generation,
        "certificate_id": item.certificate_id or None,
        "not_after": to_plain(item.not_after),
    }


def _watched(item: WatchedFile) -> dict[str, object]:
    found: dict[str, object] = {"path": item.path, "warn": item.warn.total_seconds()}
    if item.problem:
        return {**found, "problem": item.problem}
    return {**found, "certificates": item.certificates, "unreadable": item.unreadable, "ends": to_plain(item.ends)}


def _served(served: Served) -> dict[str, object]:
    steps = [{"name": step.name, "problem": step.problem} for step in served.steps]
    return {"generation": served.generation, "steps": steps, "problem": served.problem}


def _retiring(item: Retiring) -> dict[str, object]:
    told = {"waits_for": list(item.waits_for), "refused": item.refused, "unanswered": item.unanswered}
    return {**to_plain(item), **told}


def _live(live: Live) -> dict[str, object]:
    link = live.connection
    return {
        "connection": {
            "state": link.state,
            "why": link.why,
            "since": link.since.isoformat() if link.since else None,
            "rival": link.rival,
            "next_try": to_plain(link.next_try),
        },
        "stuck": live.stuck,
        "unseen": live.unseen,
        "configuration_refused": live.configuration_refused,
        "untold": live.untold,
        "runtime": live.runtime,
        "daemon": live.pid,
    }
