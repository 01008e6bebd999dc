"""The named shadow `certificate`: what it reports, and what it may wish for.

``reported`` is a small, stable digest of the status, fit for fleet indexing. ``desired`` may hold one wish, a renewal
window; it is echoed in ``reported`` once it is understood, which ends the delta. A wish that cannot be understood is
left standing as the delta, and `wishRefused` says why. Other keys are nobody's business here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.core.jsonio import PlainError, decode, encode
from agent.core.report.jobs import MAX_PAYLOAD, read_window

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.core.when.schedule import Suggestion

MAX_REPORT = 4_096  # bytes
MAX_TEXT = 400  # bytes of one value, as JSON spells it
MAX_WISH = 512  # bytes of a wish, since it is echoed

WISH = "renew"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the shadow wishes for.

    Attributes:
        raw: As it came, to be echoed.
        window: The renewal window, when it is understood.
        refused: Why it is not, else empty.
    """

    raw: Any = None
    window: Suggestion | None = None
    refused: str = ""


def read_shadow(payload: bytes) -> tuple[Wish, dict[str, Any]]:
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


def _wish(desired: dict[str, Any]) -> Wish:
    raw = desired.get(WISH)
    if raw is None:
        return Wish()
    try:
        node = decode(encode({WISH: raw}), "desired", limit=MAX_WISH)
        return Wish(raw=raw, window=read_window(node.node(WISH), "the shadow"))
    except (PlainError, ValueError, RecursionError) as error:
        return Wish(refused=str(error)[:MAX_TEXT])


def report(status: Mapping[str, Any], wish: Wish) -> dict[str, Any]:
    """Return the reported state; null deletes what is not so any more.

    Args:
        status: The status document, see `agent.core.report.status`.
        wish: What the shadow wishes for.
    """
    current, change = status.get("current") or {}, status.get("change") or {}
    last, plan = status.get("last") or {}, status.get("plan") or {}
    anchors = current.get("anchors") or []
    failure = change.get("failure") or last.get("failure") or {}
    contested = bool((status.get("connection") or {}).get("rival"))
    retiring = status.get("retirements") or []
    waits_for = dict.fromkeys(name for item in retiring for name in item.get("waits_for") or [])
    told = {
        "agent": status.get("version"),
        "health": status.get("exit"),
        "problem": "; ".join(status.get("health") or []),
        "generation": current.get("generation"),
        "certificateId": (current.get("certificate") or {}).get("sha256"),
        "notAfter": (current.get("certificate") or {}).get("not_after"),
        "renewAt": plan.get("at"),
        "waitsFor": plan.get("code"),
        "changeId": change.get("id"),
        "phase": change.get("phase"),
        "lastChange": last.get("id"),
        "lastOutcome": last.get("phase"),
        "failureClass": failure.get("kind"),
        "failure": failure.get("message"),
        "anchors": len(anchors) or None,
        "trustBundle": (current.get("trust") or {}).get("version"),
        "anchorsNotAfter": min((item.get("not_after") for item in anchors), default=None),
        "retiring": len(retiring),
        "retiringWaitsFor": ", ".join(waits_for),
        "retiringUnanswered": sum(bool(item.get("unanswered")) for item in retiring) or None,
        "clientIdContested": contested or None,
        WISH: wish.raw,
        "wishRefused": wish.refused,
    }
    return {name: _cut(value) for name, value in told.items()}


def _cut(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    while len(encode(value)) > MAX_TEXT + 2:  # and two quotes
        value = value[: min(MAX_TEXT, len(value) * 3 // 4)]
    return value or None


def differs(reported: Mapping[str, Any], told: Mapping[str, Any]) -> bool:
    """Whether the cloud's copy lacks any of it; what others keep there does not count."""
    return any(reported.get(name) != value for name, value in told.items())
