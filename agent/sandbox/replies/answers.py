"""What the cloud says: replies, refusals, and the words of each service.

AWS's services refuse in words of their own: provisioning with `statusCode`, `errorCode` and `errorMessage`, shadows
with a number as `code`, jobs with a name as `code`. The retirement of certificates, which is no service of AWS, refuses
as shadows do. All but provisioning repeat the `clientToken` of the request; shadows and jobs add a `timestamp`.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.core.frozen import frozen
from agent.sandbox.replies.topics import Service

if TYPE_CHECKING:
    from collections.abc import Mapping

OK, BAD_REQUEST, FORBIDDEN, NOT_FOUND, CONFLICT, GONE = 200, 400, 403, 404, 409, 410
TOO_LARGE, TOO_MANY, INTERNAL = 413, 429, 500


@frozen
class Reply:
    """One message from the cloud to a connection.

    Attributes:
        topic: Where it is published.
        payload: What.
        retain: Whether it is marked as one that was kept for later subscribers.
    """

    topic: str
    payload: bytes
    retain: bool = False


@frozen
class Answer:
    """What becomes of one request.

    Attributes:
        replies: To be delivered now, in order.
        held: To be delivered with the next request on the same connection.
        hang_up: Cut the connection instead.
        authorised: Whether the policy allowed the publish; otherwise it is refused by PUBACK.
    """

    replies: tuple[Reply, ...] = ()
    held: tuple[Reply, ...] = ()
    hang_up: bool = False
    authorised: bool = True


class ServiceRefusalError(Exception):
    """A service refuses a request.

    Attributes:
        status: The HTTP status that fits.
        code: The name of the error.
        message: A sentence.
        more: What the refusal holds besides.
    """

    def __init__(self, status: int, code: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.more = status, code, message, more


@dataclass(frozen=True)
class Verbatim:
    """A piece of JSON that goes into a message to the byte, whether it is sound or not."""

    data: bytes


def encode(body: Mapping[str, Any]) -> bytes:
    """Return a message as JSON."""
    pieces: dict[bytes, bytes] = {}

    def stand_in(piece: Verbatim) -> str:
        name = secrets.token_hex(16)
        pieces[f'"{name}"'.encode()] = piece.data
        return name

    data = json.dumps(body, default=stand_in).encode()
    for name, piece in pieces.items():
        data = data.replace(name, piece)
    return data


def read_request(payload: bytes) -> dict[str, Any]:
    """Return a request.

    Raises:
        ServiceRefusalError: It is no JSON object.
    """
    try:
        body = json.loads(payload)
    except (ValueError, RecursionError):
        raise ServiceRefusalError(BAD_REQUEST, "InvalidJson", "The request is not JSON") from None
    if not isinstance(body, dict):
        raise ServiceRefusalError(BAD_REQUEST, "InvalidJson", "The request is not a JSON object")
    return body


def token_of(payload: bytes) -> str | None:
    """Return the `clientToken` of a request, if it has one, whatever else is wrong with it."""
    try:
        token = read_request(payload).get("clientToken")
    except ServiceRefusalError:
        return None
    return token if isinstance(token, str) else None


def word(service: Service, body: Mapping[str, Any], token: str | None, timestamp: int) -> dict[str, Any]:
    """Return a message with what its service puts into each: the request's token, and the time in seconds."""
    worded = dict(body)
    if service is not Service.PROVISIONING and token is not None:
        worded["clientToken"] = token
    if service in {Service.SHADOWS, Service.JOBS}:
        worded["timestamp"] = timestamp
    return worded


def word_refusal(service: Service, refusal: ServiceRefusalError) -> dict[str, Any]:
    """Return a refusal in the words of its service."""
    match service:
        case Service.PROVISIONING:
            body = {"statusCode": refusal.status, "errorCode": refusal.code, "errorMessage": refusal.message}
        case Service.JOBS:
            body = {"code": _NAMES_OF_JOBS.get(refusal.code, refusal.code), "message": refusal.message}
        case Service.SHADOWS | Service.RETIREMENT:
            body = {"code": refusal.status, "message": refusal.message}
    return body | refusal.more


# What jobs call the errors that have another name elsewhere. They know none for a request that is denied.
_NAMES_OF_JOBS = {"TooManyRequestsException": "RequestThrottled"}
