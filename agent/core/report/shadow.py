"""The named shadow `certificate`: what it reports, and what it may wish for.

``reported`` is a small, stable digest of the status, fit for fleet indexing. ``desired`` may hold one wish, a renewal
window; it is echoed in ``reported`` once it is understood, which ends the delta, and `wishState` says whether it waits
or is done. A wish that cannot be understood, or whose window closes too soon for it, is left standing as the delta, and
`wishRefused` says why. Other keys are left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.frozen import frozen
from agent.core.jsonio import PlainError, decode, encode, to_plain
from agent.core.report.findings import judge
from agent.core.report.jobs import MAX_PAYLOAD, SOONEST, read_window
from agent.core.text import clock_time

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from agent.core.report.status import Status
    from agent.core.when.schedule import Suggestion

    Digest = Mapping[str, object]  # what is reported, by the names that fleet indexing knows

MAX_REPORT = 4_096  # bytes
MAX_TEXT = 400  # bytes of one value, as JSON spells it
MAX_WISH = 512  # bytes of a wish, since it is echoed

WISH = "renew"


@frozen
class Wish:
    """What the shadow wishes for.

    Attributes:
        raw: As it came, to be echoed.
        window: The renewal window, when it is understood.
        refused: Why it is not, else empty.
        done: Whether the certificate in use is one that was wished for.
    """

    raw: object = None
    window: Suggestion | None = None
    refused: str = ""
    done: bool = False


def read_shadow(payload: bytes) -> tuple[Wish, Digest]:
    """Return the wish and what was reported last, from the reply to GetShadow.

    Raises:
        PlainError: The reply is not what the service's API says.
    """
    state = decode(payload, "the shadow", limit=MAX_PAYLOAD).node("state")
    desired, reported = state.optional_node("desired"), state.optional_node("reported")
    return (_wish(desired.plain()) if desired else Wish()), (reported.plain() if reported else {})


def read_documents(payload: bytes) -> Wish:
    """Return the wish after an update, from what ``update/documents`` tells of each.

    A delta would not do: it holds only what differs of a wish, and nothing at all when the wish is withdrawn.

    Raises:
        PlainError: The message is not what the service's API says.
    """
    current = decode(payload, "the shadow's documents", limit=MAX_PAYLOAD).node("current").node("state")
    desired = current.optional_node("desired")
    return _wish(desired.plain()) if desired else Wish()


def _wish(desired: Mapping[str, object]) -> Wish:
    raw = desired.get(WISH)
    if raw is None:
        return Wish()
    try:
        node = decode(encode({WISH: raw}), "desired", limit=MAX_WISH)
        return Wish(raw=raw, window=read_window(node.node(WISH), "the shadow"))
    except (PlainError, ValueError, RecursionError) as error:
        return Wish(refused=str(error)[:MAX_TEXT])


def in_time(wish: Wish, now: datetime, reported: Digest) -> Wish:
    """Return the wish, refused when its window closes too soon to be kept.

    One that was accepted before is kept to its end, and beyond its window where a budget or a hold delays the rotation.

    Args:
        wish: As it came.
        now: The wall clock.
        reported: What was reported last.
    """
    if wish.window is None or reported.get(WISH) == wish.raw or wish.window.closes_at >= now + SOONEST:
        return wish
    closes = clock_time(wish.window.closes_at)
    # The same words whenever it is read again: each report comes back as a message, and a new one would be answered.
    why = f"it closes too soon, at {closes}; a window is to last for a minute from when the gateway hears of it"
    return Wish(refused=f"desired: {WISH}: closes_at: {why}")


def report(status: Status, wish: Wish) -> Digest:
    """Return the reported state; null deletes what is not so any more.

    The order counts: the answer to a job has room for the first ten that have a value.

    Args:
        status: How the gateway stands.
        wish: What the shadow wishes for.
    """
    judged, (waits_for, renew_at) = judge(status), status.renewal_awaits
    told = {
        "agent": status.version,
        "health": int(judged.exit),
        "problem": "; ".join(judged.health),
        **_of_set(status),
        "renewAt": to_plain(renew_at),
        "waitsFor": waits_for,
        **_of_changes(status),
        **_of_anchors(status),
        "retiring": len(status.retiring),
        "retiringWaitsFor": ", ".join(dict.fromkeys(name for item in status.retiring for name in item.waits_for)),
        "retiringUnanswered": sum(bool(item.unanswered) for item in status.retiring) or None,
        "clientIdContested": bool(status.live and status.live.connection.rival) or None,
        WISH: wish.raw,
        "wishRefused": wish.refused,
        "wishState": ("done" if wish.done else "waiting") if wish.window else None,
        "endpointAnchor": status.anchor_in_use or None,
        "endpointMovedFrom": ", ".join(anchor.sha256 for anchor in status.anchors_left),
    }
    return {name: _cut(value) for name, value in told.items()}


def _of_set(status: Status) -> Digest:
    current = status.current
    return {
        "generation": current.generation if current else None,
        "certificateId": current.certificate.sha256 if current else None,
        "notAfter": to_plain(current.certificate.not_after) if current else None,
    }


def _of_anchors(status: Status) -> Digest:
    current = status.current
    return {
        "anchors": len(current.anchors) if current else None,
        "trustBundle": current.trust.version if current and current.trust else None,
        "anchorsNotAfter": to_plain(min(item.not_after for item in current.anchors)) if current else None,
    }


def _of_changes(status: Status) -> Digest:
    change, last = status.change, status.last
    failure = (change.failure if change else None) or (last.failure if last else None)
    return {
        "changeId": change.id if change else None,
        "phase": change.phase if change else None,
        "lastChange": last.id if last else None,
        "lastOutcome": last.phase if last else None,
        "failureClass": failure.kind if failure else None,
        "failure": failure.message if failure else None,
    }


def _cut(value: object) -> object:
    if not isinstance(value, str):
        return value
    while len(encode(value)) > MAX_TEXT + 2:  # and two quotes
        value = value[: min(MAX_TEXT, len(value) * 3 // 4)]
    return value or None


def differs(reported: Digest, told: Digest) -> bool:
    """Whether the cloud's copy lacks any of it; what others keep there does not count."""
    return any(reported.get(name) != value for name, value in told.items())
