"""What may be taken from a reply: the SDK checks that it is JSON and nothing more.

Shared by all that meet replies, on the wire or in the simulator, so that both refuse the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.failure import failures, registration_failures
from agent.core.jsonio import Node, PlainError, decode
from agent.errors import CloudError

if TYPE_CHECKING:
    from agent.core.failure.failure import Failure

CREATE = "CreateCertificateFromCsr"
REGISTER = "RegisterThing"
ASK = "GetNamedShadow"
RETIRE = "retire"

MAX_REPLY = 131_072  # bytes; AWS IoT Core's largest message


def text(operation: str, name: str, value: object, limit: int) -> str:
    """Return a field of a reply that must be text of at most `limit` characters.

    Raises:
        CloudError: It is missing, of another type, too long, or no Unicode.
    """
    if not isinstance(value, str) or not value:
        raise CloudError(failures.garbled(operation, f"{name} is missing or no text"))
    if len(value) > limit:
        raise CloudError(failures.garbled(operation, f"{name} has {len(value)} characters and {limit} are allowed"))
    try:
        value.encode()
    except UnicodeEncodeError:
        raise CloudError(failures.garbled(operation, f"{name} is no Unicode text")) from None
    if not value.replace("\n", "").replace("\r", "").isprintable():
        raise CloudError(failures.garbled(operation, f"{name} holds control characters"))
    return value


def refusal(operation: str, status: object, code: object, message: object) -> Failure | None:
    """Return what a refusal means; None where it is an answer to the proving question, as that there is no shadow."""
    if not isinstance(status, int) or isinstance(status, bool):
        return failures.garbled(operation, "its status is no number")
    if operation == ASK and status not in {*failures.UNAUTHORISED, failures.TOO_MANY_REQUESTS}:
        return None
    what, why = _text_or_empty(code), _text_or_empty(message)
    of_the_account = registration_failures.of_registration(status, what, why) if operation == REGISTER else None
    return of_the_account or failures.refused(operation, status, what, why)


def check_accepted(operation: str, topic: str, payload: bytes) -> Node:
    """Return the body of a reply on an accepted topic.

    Raises:
        CloudError: The request was refused, or the reply is not sound JSON.
    """
    try:
        node = decode(payload, f"the reply to {operation}", limit=MAX_REPLY)
    except PlainError as error:
        raise CloudError(failures.garbled(operation, str(error))) from None
    if topic.endswith("/rejected"):
        body = node.plain()
        raise CloudError(failures.declined(operation, body.get("code"), _text_or_empty(body.get("message"))))
    return node


def _text_or_empty(value: object) -> str:
    return value if isinstance(value, str) else ""
