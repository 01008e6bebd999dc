"""Documents of jobs: what may be said in one, and how hostile ones are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agent.change import plan
from agent.core.jsonio import Node
from agent.core.report.jobs import (
    MARK,
    MAX_REASON,
    DocumentOrder,
    Download,
    Execution,
    ExecutionStatus,
    JobAnswer,
    JobOperation,
    find,
    read_execution,
    read_order,
    read_pending,
    read_window,
    rejected,
)
from agent.core.values import MAX_URL
from agent.core.when.schedule import Suggestion
from support import make
from support.make import DAY, NOW
from support.unit.core.hostile import read_hostile
from support.unit.core.job_documents import DOCUMENT, ORDER, WINDOW, data, execution, is_allowed, summary

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from agent.core.change.lifecycle import ChangeRecord

OPENS, CLOSES = NOW + DAY, NOW + 3 * DAY


def wants(**document: object) -> DocumentOrder | JobAnswer | None:
    """Return what a document wants."""
    return read_order(execution(document))


# -- documents ---------------------------------------------------------------------------------------------------------


def test_a_rotation_can_be_ordered_for_now() -> None:
    """The operation is all that must be said."""
    expected = DocumentOrder(operation=JobOperation.ROTATE, reason="no reason given", window=None)

    assert wants(operation="rotate-certificate") == expected
    assert wants(operation="rotate-certificate", reason="", window=None) == expected


def test_a_rotation_can_be_ordered_for_a_window() -> None:
    """The window becomes a suggestion that names the job and answers to its execution."""
    window = Suggestion(opens_at=OPENS, closes_at=CLOSES, source="job j-1", order=ORDER)

    assert wants(**DOCUMENT) == DocumentOrder(operation=JobOperation.ROTATE, reason="new authority", window=window)


@pytest.mark.parametrize("operation", [JobOperation.ROLLBACK, JobOperation.REPORT])
def test_rollback_and_report_can_be_ordered(operation: JobOperation) -> None:
    """With a reason or without."""
    assert wants(operation=operation, reason="why") == DocumentOrder(operation=operation, reason="why")


URL, DIGEST = "https://depot.example/bundle.tar?X-Amz-Signature=5ecret", "0aB1" * 16


def test_a_bundle_can_be_ordered() -> None:
    """From a URL, with the hash of its archive or without, in either case of letters."""
    plain = Download(url=URL)

    assert wants(operation="install-trust-bundle", url=URL) == DocumentOrder(
        operation=JobOperation.INSTALL, reason="no reason given", download=plain
    )
    for digest, expected in ((DIGEST, DIGEST.lower()), ("", ""), (None, "")):
        found = wants(operation="install-trust-bundle", url=URL, sha256=digest, reason="why", agent=MARK)
        assert found == DocumentOrder(
            operation=JobOperation.INSTALL, reason="why", download=Download(url=URL, digest=expected)
        )


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({}, "url: text of at most"),
        ({"url": None}, "url: text of at most"),
        ({"url": 7}, "url: text of at most"),
        ({"url": ""}, "url: one that begins with https:// is expected"),
        ({"url": "http://depot.example/b.tar"}, "url: one that begins with https:// is expected"),
        ({"url": "HTTPS://depot.example/b.tar"}, "url: one that begins with https:// is expected"),
        ({"url": "file:///etc/passwd"}, "url: one that begins with https:// is expected"),
        ({"url": " https://depot.example/b.tar"}, "url: one that begins with https:// is expected"),
        ({"url": "https://" + "x" * MAX_URL}, "url: text of at most"),
        ({"url": URL, "sha256": 7}, "sha256: text of at most"),
        ({"url": URL, "sha256": "0a" * 31}, "sha256: 64 hexadecimal digits are expected"),
        ({"url": URL, "sha256": "0g" * 32}, "sha256: 64 hexadecimal digits are expected"),
        ({"url": URL, "sha256": "0a" * 33}, "sha256: text of at most"),
        ({"url": URL, "window": WINDOW}, "Only rotate-certificate takes a window."),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bundle_that_cannot_be_had_is_rejected(document: dict[str, object], why: str) -> None:
    """At once, and without the URL, which may be a secret."""
    answer = wants(operation="install-trust-bundle", **document)

    assert isinstance(answer, JobAnswer)
    assert answer.status is ExecutionStatus.REJECTED
    assert answer.details["code"] == "malformed-document"
    assert why in answer.details["message"]
    assert is_allowed(answer)


def test_the_url_of_a_bundle_is_not_shown() -> None:
    """Presigned, it is as good as a password."""
    order = wants(operation="install-trust-bundle", url=URL, sha256=DIGEST)

    assert "5ecret" not in repr(order)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"operation": "reboot"},
        {"operation": None},
        {"operation": ["rotate-certificate"]},
        {"operation": {"rollback": 1}},
        {"operation": "ROLLBACK"},
        {"operation": 7, "agent": "another"},
        {"agent": "another", "reason": 7, "window": 7},
        {"operation": "report", "window": {"from": "02:00"}},
        {"operation": "rollback", "window": "tonight"},
        {"operation": "rollback", "reason": {"code": 7}},
        {
            "version": "1.0",
            "steps": [{"action": {"name": "Reboot", "type": "runHandler", "input": {"handler": "r.sh"}}}],
        },
    ],
    ids=str,
)
def test_what_is_not_ours_is_left_alone(document: dict[str, object]) -> None:
    """The queue of a thing is shared; another program's job is not even answered."""
    assert wants(**document) is None


@pytest.mark.parametrize("operation", JobOperation)
def test_what_is_marked_as_another_programs_is_left_alone(operation: JobOperation) -> None:
    """A firmware updater has rollbacks and reports of its own."""
    assert wants(operation=operation, agent="firmware-updater") is None


@pytest.mark.parametrize("operation", JobOperation)
@pytest.mark.parametrize(
    "more",
    [
        {"packageName": "firmware", "version": "2.3.1"},
        {"interval": 60},
        {"window2": None},
        {"certificateArn": "arn:aws:acm:eu-west-1:123456789012:certificate/1"},
        {"csr": "-----BEGIN CERTIFICATE REQUEST-----"},
    ],
    ids=str,
)
def test_a_word_that_others_use_too_is_ours_with_the_mark_or_with_nothing_unknown(
    operation: JobOperation, more: dict[str, object]
) -> None:
    """A firmware's rollback must not take the certificate back, nor be taken from whom it is for.

    Nor is the rotation of a web server's certificate ours, or a bundle that is unpacked somewhere.
    """
    bundle = {"url": URL, "sha256": DIGEST} if operation == JobOperation.INSTALL else {}
    document = {"operation": operation, "reason": "r", **bundle, **more}
    assert read_order(execution(document)) is None
    assert isinstance(read_order(execution({**document, "agent": "iot-cert-agent"})), DocumentOrder)


@pytest.mark.parametrize("operation", [None, "reboot", 7, [], "Rotate"], ids=repr)
def test_what_is_marked_as_ours_and_not_known_is_rejected(operation: object) -> None:
    """The author of the job learns what there is."""
    answer = wants(operation=operation, agent=MARK)

    assert answer == rejected(
        "unknown-operation", "The operations are rotate-certificate, rollback, install-trust-bundle, report."
    )


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"reason": 7}, "reason: text of at most"),
        ({"reason": "\ud800"}, "reason: text of at most"),
        ({"window": "tonight"}, "window: an object is expected"),
        ({"window": []}, "window: an object is expected"),
        ({"window": {}}, "window: opens_at: a time is expected"),
        ({"window": {"opens_at": WINDOW["opens_at"]}}, "window: closes_at: a time is expected"),
        ({"window": {**WINDOW, "opens_at": "2027-03-02T12:00:00"}}, "opens_at: a time with its zone is expected"),
        ({"window": {**WINDOW, "opens_at": 1_800_000_000}}, "opens_at: a time is expected"),
        ({"window": {**WINDOW, "opens_at": "2027-03-05T12:00:00Z"}}, "window: it closes before it opens"),
    ],
)
def test_what_is_ours_and_cannot_be_understood_is_rejected_with_the_place(
    document: dict[str, object], why: str
) -> None:
    """A rejected job is not tried again on this gateway, and the reason is for its author."""
    answer = wants(operation="rotate-certificate", **document)

    assert isinstance(answer, JobAnswer)
    assert (answer.status, answer.details["code"]) == (ExecutionStatus.REJECTED, "malformed-document")
    assert why in answer.details["message"]
    assert answer.details["message"].endswith(".")
    assert is_allowed(answer)


@pytest.mark.parametrize("operation", [JobOperation.ROLLBACK, JobOperation.REPORT])
def test_only_a_rotation_takes_a_window(operation: JobOperation) -> None:
    """A rollback that is put off would be taken for a suggestion to rotate."""
    answer = wants(operation=operation, window=WINDOW)

    assert isinstance(answer, JobAnswer)
    assert (answer.status, answer.details["code"]) == (ExecutionStatus.REJECTED, "malformed-document")


def test_the_longest_reason_is_kept_whole() -> None:
    """And it fits the reason of a change, with the job's name before it."""
    order = wants(operation="rollback", reason="x" * MAX_REASON)

    assert isinstance(order, DocumentOrder)
    assert order.reason == "x" * MAX_REASON
    assert len(f"job {'j' * 64}: {order.reason}") <= plan.MAX_REASON


def test_a_window_may_be_an_instant() -> None:
    """Every gateway then goes at once, as the operator wants."""
    node = Node({"opens_at": WINDOW["opens_at"], "closes_at": WINDOW["opens_at"]}, "w")

    assert read_window(node, "the shadow") == Suggestion(opens_at=OPENS, closes_at=OPENS, source="the shadow")
    assert read_window(None, "the shadow") is None


# -- hostile input -----------------------------------------------------------------------------------------------------


JUNK: list[object] = [
    None, True, -1, 0, 1.5, 1e308, 10**30, "", "x", "\ud800", "rotate-certificate", "2027-03-02T12:00:00Z",
    "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", [], [None], {}, {"window": {}}, "y" * 70_000, [[[[]]]],
]  # fmt: skip


def mutated(plain: Any, chance: random.Random) -> Any:
    """Return JSON data with something in it replaced, taken away or added."""
    if isinstance(plain, dict) and plain and chance.random() < 0.9:
        changed = dict(plain)
        name = chance.choice(list(changed))
        match chance.randrange(5):
            case 0:
                del changed[name]
            case 1:
                changed[chance.choice(["window", "agent", "jobId", "", "\x00"])] = chance.choice(JUNK)
            case _:
                changed[name] = mutated(changed[name], chance)
        return changed
    if isinstance(plain, list) and plain and chance.random() < 0.9:
        return [mutated(item, chance) if chance.random() < 0.5 else item for item in plain] * chance.randint(1, 3)
    return chance.choice(JUNK)


def garbled(payload: bytes, chance: random.Random) -> bytes:
    """Return bytes with a few of them changed, cut off or repeated."""
    bytes_ = bytearray(payload)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(bytes_) + 1)
        match chance.randrange(4):
            case 0:
                bytes_[place : place + 1] = bytes([chance.randrange(256)])
            case 1:
                del bytes_[place : place + chance.randint(1, 20)]
            case 2:
                bytes_[place:place] = bytes_[: chance.randint(1, 20)]
            case _:
                bytes_ = bytes_[:place] or bytearray(b"{")
    return bytes(bytes_)


READERS: list[tuple[str, Callable[[bytes], object], object]] = [
    ("list", read_pending, {"inProgressJobs": [summary("a")], "queuedJobs": [summary("b"), summary("c")]}),
    ("execution", read_execution, {"execution": summary(jobDocument=DOCUMENT), "timestamp": 1}),
]


@pytest.mark.parametrize(("name", "read", "plain"), READERS, ids=[name for name, _, _ in READERS])
def test_no_message_of_the_cloud_raises_anything_but_a_complaint(
    name: str, read: Callable[[bytes], object], plain: object
) -> None:
    """Ten thousand messages with something wrong in bytes or in meaning: an order, an answer, or a PlainError."""

    def message(chance: random.Random) -> bytes:
        return data(mutated(plain, chance)) if chance.randrange(2) else garbled(data(plain), chance)

    def look(found: object) -> None:
        if isinstance(found, Execution):
            order = read_order(found)
            assert order is None or isinstance(order, DocumentOrder) or is_allowed(order)

    read_hostile(read, message, look, seed=len(name))


def test_records_know_their_order() -> None:
    """A change without an order answers to no job."""
    record: ChangeRecord = make.record()

    assert record.order == ""
    assert find("", None, [make.finished(order=ORDER)]) is None
