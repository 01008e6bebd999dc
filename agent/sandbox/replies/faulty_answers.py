"""What a fault makes of an answer: in the place of it, or of the reply that the cloud has made."""

from __future__ import annotations

from agent.sandbox.replies.answers import (
    BAD_REQUEST,
    FORBIDDEN,
    INTERNAL,
    TOO_MANY,
    Answer,
    Reply,
    ServiceRefusalError,
    encode,
    token_of,
    word,
    word_refusal,
)
from agent.sandbox.replies.faults import TOKEN_MARK, Effect, Fault
from agent.sandbox.replies.topics import route

# Faults that strike before the request is carried out.
BEFORE = frozenset(
    {
        Effect.IGNORE,
        Effect.REJECT,
        Effect.DENY,
        Effect.THROTTLE,
        Effect.UNAVAILABLE,
        Effect.GARBLE,
        Effect.OVERSIZE,
        Effect.HOSTILE,
        Effect.HANG_UP,
        Effect.UNAUTHORISED,
        Effect.SILENCE,
    }
)

_REFUSALS = {
    Effect.REJECT: (BAD_REQUEST, "InvalidRequest", "The request is not acceptable"),
    Effect.DENY: (FORBIDDEN, "ACCESS_DENIED", "Pre-provisioning hook denied the request"),
    Effect.THROTTLE: (TOO_MANY, "TooManyRequestsException", "Rate exceeded"),
    Effect.UNAVAILABLE: (INTERNAL, "InternalError", "Something went wrong"),
}


def instead(topic: str, payload: bytes, fault: Fault, timestamp: int) -> Answer:
    """Return what comes of a request that a fault of `BEFORE` strikes; the time is in seconds."""
    match fault.effect:
        case Effect.HANG_UP:
            return Answer(hang_up=True)
        case Effect.UNAUTHORISED:
            return Answer(authorised=False)
        case Effect.GARBLE:
            return after(Reply(topic=f"{topic}/accepted", payload=b"{\xff\xfe not json"))
        case Effect.OVERSIZE:
            oversize = b'{"certificatePem":"' + b"A" * 600_000 + b'"}'
            return after(Reply(topic=f"{topic}/accepted", payload=oversize))
        case Effect.HOSTILE:
            hostile = fault.payload.replace(TOKEN_MARK, (token_of(payload) or "").encode(errors="replace"))
            return after(Reply(topic=f"{topic}/accepted", payload=hostile))
        case Effect.IGNORE | Effect.SILENCE:
            return Answer()
        case _:
            return after(refuse(topic, payload, ServiceRefusalError(*_REFUSALS[fault.effect]), timestamp))


def after(reply: Reply, fault: Fault | None = None) -> Answer:
    """Return what comes of a request that was carried out and has this reply."""
    match fault.effect if fault else None:
        case Effect.LOSE:
            return Answer()
        case Effect.LATE:
            return Answer(held=(reply,))
        case Effect.DUPLICATE:
            return Answer(replies=(reply, reply))
        case _:
            return Answer(replies=(reply,))


def refuse(topic: str, payload: bytes, refusal: ServiceRefusalError, timestamp: int) -> Reply:
    """Return a refusal of a request, in the words of the topic's service; the time is in seconds."""
    service = route(topic).service
    worded = word(service, word_refusal(service, refusal), token_of(payload), timestamp)
    return Reply(topic=f"{topic}/rejected", payload=encode(worded))
