from __future__ import annotations

import json
import random
import re
import unicodedata
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.change import plan
from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.failure.failure import Failure, FailureClass
from agent.core.jsonio import Node, PlainError
from agent.core.report.jobs import (
    MARK,
    MAX_DETAIL,
    MAX_LISTED,
    MAX_PAYLOAD,
    MAX_REASON,
    DocumentOrder,
    Download,
    Execution,
    ExecutionStatus,
    JobAnswer,
    JobOperation,
    answer_of,
    details,
    failed,
    find,
    read_execution,
    read_order,
    read_pending,
    read_window,
    rejected,
    updated,
    waiting,
)
from agent.core.report.shadow import Wish, report
from agent.core.report.status import Retiring
from agent.core.values import MAX_URL
from agent.core.when.schedule import Suggestion
from support import make
from support.make import DAY, HOUR, NOW

if TYPE_CHECKING:
    from collections.abc import Callable

# "statusDetails" of JobExecutionState (API reference): names, and values without control characters of 1 to 1024.
DETAIL_NAME = re.compile(r"[a-zA-Z0-9:_-]{1,128}")
# CancelJobExecution (API reference): "You can specify at most 10 name/value pairs."
MAX_DETAILS = 10

ORDER = "job:j-1:2"
OPENS, CLOSES = NOW + DAY, NOW + 3 * DAY
WINDOW = {"opens_at": "2027-03-02T12:00:00Z", "closes_at": "2027-03-04T13:00:00+01:00"}
DOCUMENT = {"operation": "rotate-certificate", "reason": "new authority", "window": WINDOW, "agent": MARK}


def data(plain: object) -> bytes:
    """Return a message of the cloud."""
    return json.dumps(plain).encode()


def summary(job_id: object = "j-1", **changes: object) -> dict[str, object]:
    """Return an execution as a list of pending ones holds it."""
    return {"jobId": job_id, "executionNumber": 2, "versionNumber": 3, "queuedAt": 1_800_000_000, **changes}


def execution(document: object = None, **changes: Any) -> Execution:
    """Return an execution with a document."""
    node = Node(document, "the job: execution: jobDocument") if document is not None else None
    return replace(Execution(job_id="j-1", number=2, version=3, document=node), **changes)


def wants(**document: object) -> DocumentOrder | JobAnswer | None:
    """Return what a document wants."""
    return read_order(execution(document))


def is_allowed(answer: JobAnswer) -> bool:
    """Whether AWS takes the answer's details; no character of a value may be of a class that begins with C."""
    return len(answer.details) <= MAX_DETAILS and all(
        DETAIL_NAME.fullmatch(name)
        and 1 <= len(value) <= 1024
        and not any(unicodedata.category(char).startswith("C") for char in value)
        for name, value in answer.details.items()
    )


# -- lists and executions ----------------------------------------------------------------------------------------------


def test_what_is_in_progress_comes_before_what_is_queued() -> None:
    """A job that was begun before a restart is answered first; the documents are asked for one by one."""
    found = read_pending(data({"queuedJobs": [summary("b"), summary("c")], "inProgressJobs": [summary("a")]}))

    assert [item.job_id for item in found] == ["a", "b", "c"]
    assert found[0] == Execution(job_id="a", number=2, version=3, document=None)
    assert found[0].order == "job:a:2"


@pytest.mark.parametrize(
    "plain", [{}, {"timestamp": 1, "clientToken": "t"}, {"inProgressJobs": [], "queuedJobs": []}], ids=str
)
def test_an_empty_list_is_empty(plain: object) -> None:
    """No job is the usual case."""
    assert read_pending(data(plain)) == ()


def test_a_flood_of_jobs_is_looked_at_in_part() -> None:
    """What comes first is dealt with first; the rest is asked for again once there is room."""
    found = read_pending(data({"queuedJobs": [summary(f"j-{number}") for number in range(MAX_LISTED + 50)]}))

    assert [item.job_id for item in found] == [f"j-{number}" for number in range(MAX_LISTED)]


def test_an_execution_comes_with_its_document() -> None:
    """Document, number and version are what an answer rests on."""
    found = read_execution(data({"execution": summary(jobDocument=DOCUMENT, status="QUEUED"), "timestamp": 1}))

    assert found is not None
    assert (found.job_id, found.number, found.version, found.order) == ("j-1", 2, 3, ORDER)
    assert found.document is not None
    assert found.document.plain() == DOCUMENT


@pytest.mark.parametrize("plain", [{}, {"execution": None}, {"timestamp": 1, "clientToken": "t"}], ids=str)
def test_there_may_be_no_execution(plain: object) -> None:
    """It was cancelled meanwhile."""
    assert read_execution(data(plain)) is None


@pytest.mark.parametrize("document", [None, "echo", 7, [], ["rotate-certificate"], True], ids=repr)
def test_a_document_that_is_no_object_belongs_to_another_program(document: object) -> None:
    """Other programs' documents may be anything, and are no reason to complain."""
    found = read_execution(data({"execution": summary(jobDocument=document)}))

    assert found is not None
    assert found.document is None
    assert read_order(found) is None


def test_numbers_may_be_missing() -> None:
    """The first execution and its first version are meant."""
    found = read_execution(data({"execution": {"jobId": "j-1"}}))

    assert found == Execution(job_id="j-1", number=1, version=1)


def test_an_update_that_was_accepted_raises_the_version() -> None:
    """The next update names the one it rests on."""
    assert updated(execution()) == execution(version=4)


@pytest.mark.parametrize(
    "job_id", [None, 7, "", "a/b", "a b", "x" * 65, "ä", "\ud800", "j\n", "../..", "+", "#", "$next"], ids=repr
)
def test_a_job_id_that_would_lead_elsewhere_is_refused(job_id: object) -> None:
    """It becomes part of a topic."""
    with pytest.raises(PlainError, match=r"jobId: "):
        read_execution(data({"execution": summary(job_id)}))
    with pytest.raises(PlainError, match=r"jobId: "):
        read_pending(data({"queuedJobs": [summary(job_id)]}))


@pytest.mark.parametrize("value", [None, -1, "2", 1.5, True, 10**10], ids=repr)
@pytest.mark.parametrize("name", ["executionNumber", "versionNumber"])
def test_a_number_that_is_none_is_refused(name: str, value: object) -> None:
    """Nothing is guessed; what is missing is another matter than what is null."""
    with pytest.raises(PlainError, match=rf"{name}: a whole number is expected"):
        read_execution(data({"execution": summary(**{name: value})}))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"\xff",
        b'{"queuedJobs": {}}',
        b'{"queuedJobs": [7]}',
        b'{"inProgressJobs": "all"}',
        b'{"queuedJobs": [{"jobId": "a", "jobId": "b"}]}',
        b'{"queuedJobs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b" " * (MAX_PAYLOAD + 1),
    ],
    ids=lambda payload: repr(payload[:24]),
)
def test_a_list_that_is_none_is_refused(payload: bytes) -> None:
    """With the module's own error, whatever it is."""
    with pytest.raises(PlainError, match=r"^the list of jobs"):
        read_pending(payload)


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


# -- answers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", make.UNFINISHED)
def test_a_change_under_way_is_in_progress(phase: Phase) -> None:
    """Phase, change and generation are told, and no more than there is."""
    answer = answer_of(make.record(phase, issued=None))

    assert answer == JobAnswer(
        status=ExecutionStatus.IN_PROGRESS, details={"phase": phase.value, "change": "c-1", "generation": "7"}
    )


@pytest.mark.parametrize(
    ("phase", "kind", "status"),
    [
        (Phase.COMMITTED, None, ExecutionStatus.SUCCEEDED),
        (Phase.RETIRED, None, ExecutionStatus.SUCCEEDED),
        (Phase.REJECTED, FailureClass.CREDENTIAL, ExecutionStatus.FAILED),
        (Phase.REJECTED, None, ExecutionStatus.FAILED),
        (Phase.REJECTED, FailureClass.OPERATOR, ExecutionStatus.REJECTED),
        (Phase.ROLLED_BACK, FailureClass.POLICY, ExecutionStatus.FAILED),
        (Phase.ROLLED_BACK, FailureClass.OPERATOR, ExecutionStatus.REJECTED),
    ],
)
def test_a_finished_change_has_succeeded_failed_or_was_given_up(
    phase: Phase, kind: FailureClass | None, status: ExecutionStatus
) -> None:
    """What a person gave up on the spot is rejected, so that the cloud does not order it again by itself."""
    failure = make.failure(kind, decisive=True) if kind else None

    assert answer_of(make.finished(phase, failure=failure)).status is status


def test_an_answer_says_what_went_wrong_and_what_it_waits_for() -> None:
    """Class and code are for programs, message and remedy for people."""
    failure = make.failure(FailureClass.NETWORK, "dns", message="No such name.", remedy="Look at the DNS.")
    answer = answer_of(make.record(Phase.ISSUED, failure=failure), "it waits", NOW + HOUR)

    assert answer.details == {
        "phase": "issued",
        "change": "c-1",
        "generation": "7",
        "certificateId": "ab" * 32,
        "failureClass": "network",
        "failureCode": "dns",
        "message": "No such name.",
        "remedy": "Look at the DNS.",
        "nextTry": "2027-03-01 13:00:00 UTC",
    }


def test_a_wait_without_a_failure_is_told_in_its_own_words() -> None:
    """The reason of the wait is the message."""
    assert answer_of(make.record(), "it waits").details["message"] == "it waits"


def test_answers_without_a_change_have_a_status_of_their_own() -> None:
    """Accepted and not begun, refused here and now, refused for good."""
    assert waiting("Soon.") == JobAnswer(
        status=ExecutionStatus.IN_PROGRESS, details={"phase": "waiting", "message": "Soon."}
    )
    assert failed("busy", "Not now.") == JobAnswer(
        status=ExecutionStatus.FAILED, details={"code": "busy", "message": "Not now."}
    )
    assert rejected("bad", "Never.") == JobAnswer(
        status=ExecutionStatus.REJECTED, details={"code": "bad", "message": "Never."}
    )


def test_a_change_that_went_on_without_a_dependant_succeeds_and_says_so() -> None:
    """The fleet's operator sees at which gateways a technician has to look."""
    record = make.record(
        Phase.COMMITTED, degraded=make.failure(FailureClass.DEPENDANT, "dependant", message="It fails.")
    )
    answer = answer_of(record)

    assert answer.status is ExecutionStatus.SUCCEEDED
    assert (answer.details["failureClass"], answer.details["message"]) == ("dependant", "It fails.")


def test_details_hold_no_nothing_and_cut_what_is_long() -> None:
    """AWS refuses an empty value as it refuses one of more than 1024 characters; a zero is something."""
    assert details(a="", b=None, c=0, d=False, e="x" * 5000) == {"c": "0", "d": "False", "e": "x" * MAX_DETAIL}
    assert MAX_DETAIL <= 1024


@pytest.mark.parametrize("text", ["one\ntwo", "a\x00b", "a\x1b[2Jb", "a\u202eb", "\ud800"], ids=repr)
def test_details_hold_no_control_characters(text: str) -> None:
    """A complaint about a configuration has line breaks, and AWS takes none."""
    assert is_allowed(JobAnswer(status=ExecutionStatus.SUCCEEDED, details=details(problem=text)))


TEXTS = st.text(st.characters(), max_size=50) | st.sampled_from(["x" * 3000, "😀" * 3000, "\n", ""])
FAILURES = st.none() | st.builds(
    Failure, kind=st.sampled_from(FailureClass), code=TEXTS, message=TEXTS, remedy=TEXTS, decisive=st.booleans()
)


@make.MANY
@given(phase=st.sampled_from(Phase), failure=FAILURES, why=st.text(st.sampled_from("ab (`:)"), max_size=2000))
def test_any_answer_keeps_within_the_limits_of_aws(phase: Phase, failure: Failure | None, why: str) -> None:
    """Whatever happened, the answer is taken."""
    answer = answer_of(make.record(phase, failure=failure), why, NOW)

    assert is_allowed(answer)


def test_a_report_as_an_answer_keeps_within_the_limits_of_aws() -> None:
    """A gateway with trouble of every kind has more to tell than a job's details take, so the rest is left out."""
    failure = make.failure(message="It\ndid not work.")
    status = make.status(
        change=make.record(Phase.ISSUED, id="c-9", failure=failure),
        last=make.finished(Phase.REJECTED, id="c-8"),
        live=make.live(configuration_refused="c.yaml:2: port: no\nc.yaml:3: prot: no"),
        retiring=(Retiring(change="c-8", certificate_id="01" * 32, due=NOW),),
    )
    told = report(status, Wish(raw=WINDOW, refused="no"))

    assert is_allowed(JobAnswer(status=ExecutionStatus.SUCCEEDED, details=details(**told)))


# -- which change --------------------------------------------------------------------------------------------------


def test_the_change_of_an_execution_is_found_in_flight_or_finished() -> None:
    """A job that comes twice, or is found in progress after a restart, is answered from the record."""
    flying, done = make.record(order=ORDER), make.finished(order="job:j-1:1")
    other = make.finished(id="c-0")

    assert find(ORDER, flying, [done]) is flying
    assert find("job:j-1:1", flying, [other, done]) is done
    assert find("job:j-1:1", None, iter([done])) is done
    assert find("job:j-1:3", flying, [done]) is None
    assert find(ORDER, None, []) is None


@pytest.mark.parametrize("job_id", ["a", "x" * 64])
def test_every_order_fits_a_record(job_id: str) -> None:
    """The longest job id and the highest number are read back from disk."""
    order = execution(job_id=job_id, number=10**9).order

    assert len(order) <= 128


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
    chance = random.Random(name)  # noqa: S311 - the same mutations in each run
    understood = complaints = 0
    for number in range(10_000):
        payload = data(mutated(plain, chance)) if number % 2 else garbled(data(plain), chance)
        try:
            found = read(payload)
        except PlainError:
            complaints += 1
            continue
        understood += 1
        if isinstance(found, Execution):
            order = read_order(found)
            assert order is None or isinstance(order, DocumentOrder) or is_allowed(order)

    assert min(understood, complaints) > 500


def test_records_know_their_order() -> None:
    """A change without an order answers to no job."""
    record: ChangeRecord = make.record()

    assert record.order == ""
    assert find("", None, [make.finished(order=ORDER)]) is None
