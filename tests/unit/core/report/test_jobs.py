"""Jobs of a fleet: lists, executions, and what is answered to each."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.failure.failure import Failure, FailureClass
from agent.core.jsonio import PlainError
from agent.core.report.jobs import (
    MARK,
    MAX_DETAIL,
    MAX_LISTED,
    MAX_PAYLOAD,
    DocumentOrder,
    Execution,
    ExecutionStatus,
    JobAnswer,
    JobOperation,
    answer_of,
    details,
    done_already,
    failed,
    find,
    read_execution,
    read_order,
    read_pending,
    rejected,
    updated,
    waiting,
)
from agent.core.report.shadow import Wish, report
from agent.core.report.status import Retiring
from agent.core.values import Kind
from support import make
from support.make import DAY, HOUR, NOW, SECOND
from support.unit.core.job_documents import DOCUMENT, ORDER, WINDOW, data, execution, is_allowed, summary

# -- lists and executions ----------------------------------------------------------------------------------------------


QUEUED = datetime(2027, 1, 15, 8, tzinfo=UTC)  # as `summary` says


def test_what_is_in_progress_comes_before_what_is_queued() -> None:
    """A job that was begun before a restart is answered first; the documents are asked for one by one."""
    found = read_pending(data({"queuedJobs": [summary("b"), summary("c")], "inProgressJobs": [summary("a")]}))

    assert [item.job_id for item in found] == ["a", "b", "c"]
    assert found[0] == Execution(job_id="a", number=2, version=3, document=None, queued_at=QUEUED)
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


# -- which change ------------------------------------------------------------------------------------------------------


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


# -- what is done already ----------------------------------------------------------------------------------------------

PLAIN = DocumentOrder(operation=JobOperation.ROTATE, reason="visit")


def rotated(**changes: Any) -> ChangeRecord:
    """Return a rotation that began a minute after the job was queued."""
    return make.finished(**{"planned_at": NOW + timedelta(minutes=1), "at": NOW + HOUR, **changes})


def settled(
    *history: ChangeRecord, order: DocumentOrder = PLAIN, begins: datetime | None = NOW, queued: datetime | None = NOW
) -> JobAnswer | None:
    """Return what is answered to an order to rotate that was queued at noon."""
    return done_already(execution(queued_at=queued), order, history, lambda: begins)


def test_a_rotation_that_began_after_a_job_was_queued_has_done_what_it_asks() -> None:
    """It is told which, and how to have it done all the same."""
    answer = settled(rotated())
    assert answer is not None
    assert (answer.status, answer.details["change"]) == (ExecutionStatus.SUCCEEDED, rotated().id)
    assert answer.details["message"].startswith("Already rotated: the certificate in use was asked for by rotate ")
    assert "`force`" in answer.details["message"]
    assert is_allowed(answer)


@pytest.mark.parametrize(
    ("history", "more"),
    [
        ((), {}),
        ((rotated(planned_at=NOW),), {}),  # in the same second: it may have begun before
        ((rotated(planned_at=NOW + SECOND * 0.9),), {}),
        ((rotated(planned_at=NOW - SECOND),), {}),
        ((rotated(kind=Kind.IMPORT),), {}),  # of whose key nothing is known
        ((rotated(), rotated(kind=Kind.ROLLBACK)), {}),
        ((rotated(phase=Phase.REJECTED),), {}),
        ((rotated(),), {"begins": NOW - timedelta(minutes=3)}),  # this gateway's clock was ahead
        ((rotated(),), {"begins": None}),
        ((rotated(),), {"queued": None}),
        ((rotated(),), {"order": replace(PLAIN, force=True)}),
        ((rotated(),), {"order": replace(PLAIN, operation=JobOperation.ROLLBACK)}),
    ],
)
def test_whatever_else_there_is_does_not_settle_it(history: tuple[ChangeRecord, ...], more: dict[str, Any]) -> None:
    """Two jobs on purpose, one after the other, are two rotations."""
    assert settled(*history, **more) is None


@pytest.mark.parametrize("kind", [Kind.ROTATE, Kind.ENROLL])
def test_what_came_later_and_left_the_certificate_alone_does_not_matter(kind: Kind) -> None:
    """Anchors, and a change that failed; AWS dates a certificate two minutes back."""
    later = (rotated(kind=Kind.TRUST), rotated(phase=Phase.REJECTED), rotated(kind=Kind.TRUST, at=NOW + DAY))
    assert settled(rotated(kind=kind), *later, begins=NOW - timedelta(minutes=2)) is not None


@pytest.mark.parametrize(
    ("said", "queued"),
    [
        (1_800_000_000, QUEUED),
        (1_800_000_000.5, QUEUED + timedelta(seconds=0.5)),
        ("soon", None),
        (-1, None),
        (0, None),
        (True, None),
        (None, None),
        (1_800_000_000_000, None),  # as milliseconds
        (1e20, None),
    ],
)
def test_when_a_job_was_queued_is_read_with_care(said: object, queued: datetime | None) -> None:
    """What is no time keeps no job from being carried out."""
    (found,) = read_pending(data({"queuedJobs": [summary("a", queuedAt=said)]}))
    assert found.queued_at == queued


def test_force_is_a_word_of_marked_documents_alone() -> None:
    """Another program may have an operation of that name with such a key."""
    marked = {"operation": "rotate-certificate", "agent": MARK, "force": True}
    order = read_order(execution(marked))
    assert isinstance(order, DocumentOrder)
    assert order.force
    assert read_order(execution({"operation": "rotate-certificate", "force": True})) is None
    refused = read_order(execution({**marked, "force": "yes"}))
    assert isinstance(refused, JobAnswer)
    assert refused.status is ExecutionStatus.REJECTED
