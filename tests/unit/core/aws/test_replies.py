from __future__ import annotations

from typing import Any

import pytest

from agent.core.aws.replies import ASK, CREATE, MAX_REPLY, REGISTER, RETIRE, check_accepted, refusal, text
from agent.core.failure.failure import Failure, FailureClass
from agent.errors import CloudError

F = FailureClass
OPERATIONS = [CREATE, REGISTER, ASK]


def refused(operation: str, status: object, code: object = "Code", message: object = "Because.") -> Failure:
    """Return what a refusal means; it must mean something."""
    found = refusal(operation, status, code, message)
    assert found is not None
    return found


@pytest.mark.parametrize("value", ["x", "x" * 10, "ä😀", "a\nb\r\nc", " "])
def test_a_sound_text_is_taken_as_it_is(value: str) -> None:
    """Text up to the limit, line breaks of PEM included, comes back unchanged."""
    assert text(CREATE, "certificatePem", value, 10) == value


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "certificatePem is missing or no text"),
        ("", "certificatePem is missing or no text"),
        (b"x", "certificatePem is missing or no text"),
        (7, "certificatePem is missing or no text"),
        (["x"], "certificatePem is missing or no text"),
        ("x" * 11, "certificatePem has 11 characters and 10 are allowed"),
        ("\ud800", "certificatePem is no Unicode text"),
        ("a\x00", "certificatePem holds control characters"),
        ("a\x1b[2J", "certificatePem holds control characters"),
        ("a\u202eb", "certificatePem holds control characters"),
        ("a\tb", "certificatePem holds control characters"),
    ],
)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_any_other_value_is_a_garbled_reply(operation: str, value: Any, why: str) -> None:
    """What is no text, too long or not printable names operation and field, and is not quoted."""
    with pytest.raises(CloudError) as caught:
        text(operation, "certificatePem", value, 10)

    failure = caught.value.failure
    assert (failure.kind, failure.code, failure.decisive) == (F.PROTOCOL, "garbled", False)
    assert failure.message == f"The reply to {operation} cannot be read: {why}."


@pytest.mark.parametrize("operation", [CREATE, REGISTER])
@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, F.PROTOCOL, "request-refused"),
        (401, F.POLICY, "denied"),
        (403, F.POLICY, "denied"),
        (404, F.PROTOCOL, "request-refused"),
        (429, F.THROTTLED, "throttled"),
        (500, F.NETWORK, "cloud-unavailable"),
    ],
)
def test_a_refusal_means_what_its_status_says(operation: str, status: int, kind: FailureClass, code: str) -> None:
    """Where a certificate is asked for every refusal is a failure."""
    failure = refused(operation, status)

    assert (failure.kind, failure.code) == (kind, code)
    assert failure.message.startswith(operation)
    assert "Because." in failure.message


@pytest.mark.parametrize("status", [404, 400, 409, 413, 500, 503])
def test_any_answer_to_the_question_proves_the_set(status: int) -> None:
    """That there is no shadow yet was said to a gateway that was allowed to ask."""
    assert refusal(ASK, status, "Code", "Because.") is None


@pytest.mark.parametrize(
    ("status", "kind"), [(401, F.POLICY), (403, F.POLICY), (429, F.THROTTLED)], ids=["401", "403", "429"]
)
def test_what_was_not_allowed_to_ask_is_not_proven(status: int, kind: FailureClass) -> None:
    """Denied and throttled questions have no answer."""
    assert refused(ASK, status).kind is kind


@pytest.mark.parametrize("status", [None, "400", "403", "429", 400.0, 403.5, True, [], {}], ids=repr)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_status_that_is_no_number_is_a_garbled_reply(operation: str, status: object) -> None:
    """A refusal of an unknown kind proves nothing and refuses nothing."""
    failure = refused(operation, status)

    assert (failure.kind, failure.code) == (F.PROTOCOL, "garbled")
    assert "its status is no number" in failure.message


TOPIC = "iot-cert-agent/gw-1/retire"


def not_accepted(payload: bytes, verdict: str = "rejected") -> Failure:
    """Return what an answer that accepts nothing means."""
    with pytest.raises(CloudError) as caught:
        check_accepted(RETIRE, f"{TOPIC}/{verdict}", payload)
    return caught.value.failure


def test_an_accepted_answer_is_taken_with_its_body() -> None:
    """Whatever it holds; who asks knows what to look for."""
    assert check_accepted(RETIRE, f"{TOPIC}/accepted", b'{"certificateId": "ab"}').plain() == {"certificateId": "ab"}
    assert check_accepted(RETIRE, f"{TOPIC}/accepted", b"{}").names() == []


@pytest.mark.parametrize("verdict", ["accepted", "rejected"])
@pytest.mark.parametrize(
    "payload",
    [b"", b"null", b"[]", b"{", b"\xff", b'{"a": 1, "a": 2}', b"[" * 100_000, b" " * (MAX_REPLY + 1)],
    ids=lambda payload: repr(payload[:12]),
)
def test_an_answer_that_is_no_object_is_garbled(payload: bytes, verdict: str) -> None:
    """On either topic: nothing was accepted, and nothing was refused."""
    failure = not_accepted(payload, verdict)

    assert (failure.kind, failure.code, failure.decisive) == (F.PROTOCOL, "garbled", False)
    assert failure.message.startswith("The reply to retire cannot be read: the reply to retire: ")


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        (b'{"code": 403, "message": "Not yours."}', F.POLICY, "denied"),
        (b'{"code": 404, "message": "No shadow."}', F.PROTOCOL, "missing"),
        (b'{"code": 409, "message": "It changed."}', F.PROTOCOL, "request-refused"),
        (b'{"code": 429, "message": "Slow down."}', F.THROTTLED, "throttled"),
        (b'{"code": 500, "message": "Sorry."}', F.NETWORK, "cloud-unavailable"),
        (b'{"code": "RequestThrottled", "message": "Slow down."}', F.THROTTLED, "throttled"),
        (b'{"code": "InternalError", "message": "Sorry."}', F.NETWORK, "cloud-unavailable"),
        (b'{"code": "VersionMismatch", "message": "It changed."}', F.PROTOCOL, "request-refused"),
        (b'{"code": "ResourceNotFound"}', F.PROTOCOL, "request-refused"),
        (b'{"code": null, "message": null}', F.PROTOCOL, "request-refused"),
        (b'{"code": {"a": 1}, "message": ["x"]}', F.PROTOCOL, "request-refused"),
        (b'{"code": true}', F.PROTOCOL, "request-refused"),
        (b"{}", F.PROTOCOL, "request-refused"),
    ],
    ids=lambda body: body.decode() if isinstance(body, bytes) else "",
)
def test_a_rejected_answer_means_what_its_code_says(body: bytes, kind: FailureClass, code: str) -> None:
    """Shadows and retirements give a number, jobs a name; what is neither is a refusal all the same."""
    failure = not_accepted(body)

    assert (failure.kind, failure.code, failure.decisive) == (kind, code, False)
    assert failure.message.startswith("retire ")


@pytest.mark.parametrize("junk", [None, 7, ["x"], {}, b"x"], ids=repr)
def test_a_reason_that_is_no_text_is_no_reason(junk: object) -> None:
    """Neither code nor message need be there, or be text."""
    failure = refused(CREATE, 400, junk, junk)

    assert (failure.code, failure.message.count("no reason given")) == ("request-refused", 2)
