"""What the sandbox tells of jobs by itself, what their owner does, and faults."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agent.sandbox.replies.faults import TOKEN_MARK, Effect, Fault, Operation
from agent.sandbox.services.jobs import MAX_DOCUMENT, JobStatus
from support.unit.sandbox.sandbox_gateway import NOON, THING
from support.unit.sandbox.sandbox_jobs import JOBS, ROTATE, JobGateway, summary

# -- notifications -----------------------------------------------------------------------------------------------------


def test_the_first_job_is_told_as_the_list_and_as_the_next(gateway: JobGateway) -> None:
    """The list holds summaries by state, the other message the whole execution."""
    gateway.cloud.create_job(THING, ROTATE)
    assert gateway.since() == [
        ("notify", {"timestamp": NOON, "jobs": {"QUEUED": [summary("job-1")]}}),
        (
            "notify-next",
            {
                "timestamp": NOON,
                "execution": summary("job-1")
                | {"thingName": THING, "status": "QUEUED", "statusDetails": {}, "jobDocument": ROTATE},
            },
        ),
    ]


def test_a_second_job_changes_the_list_but_not_what_is_next(gateway: JobGateway) -> None:
    """So only the list is told."""
    gateway.cloud.create_job(THING, ROTATE, "a")
    gateway.since()
    gateway.cloud.create_job(THING, ROTATE, "b")
    assert gateway.since() == [("notify", {"timestamp": NOON, "jobs": {"QUEUED": [summary("a"), summary("b")]}})]


def test_a_job_that_starts_is_no_news(gateway: JobGateway) -> None:
    """It was pending and next before, and it is now; further progress is no news either."""
    gateway.cloud.create_job(THING, ROTATE)
    gateway.since()
    gateway.ask("job-1/update", status="IN_PROGRESS")
    gateway.ask("job-1/update", status="IN_PROGRESS", statusDetails={"phase": "a"})
    assert gateway.since() == []


def test_a_job_that_starts_before_its_turn_becomes_the_next(gateway: JobGateway) -> None:
    """The list has the same members, so only the next one is told."""
    gateway.cloud.create_job(THING, ROTATE, "a")
    gateway.cloud.create_job(THING, ROTATE, "b")
    gateway.since()
    gateway.ask("b/update", status="IN_PROGRESS")
    ((topic, body),) = gateway.since()
    assert (topic, body["execution"]["jobId"], body["execution"]["status"]) == ("notify-next", "b", "IN_PROGRESS")


def test_the_end_of_the_last_job_leaves_an_empty_list_and_nothing_next(gateway: JobGateway) -> None:
    """Both are told."""
    gateway.cloud.create_job(THING, ROTATE)
    gateway.ask("job-1/update", status="IN_PROGRESS")
    gateway.since()
    gateway.ask("job-1/update", status="SUCCEEDED")
    assert gateway.since() == [("notify", {"timestamp": NOON, "jobs": {}}), ("notify-next", {"timestamp": NOON})]


def test_the_end_of_one_of_two_jobs_leaves_the_other_next(gateway: JobGateway) -> None:
    """In the list it stands under its own state."""
    gateway.cloud.create_job(THING, ROTATE, "a")
    gateway.cloud.create_job(THING, ROTATE, "b")
    gateway.ask("b/update", status="IN_PROGRESS")
    gateway.since()
    gateway.cloud.end_job(THING, "b")
    (_, listed), (_, following) = gateway.since()
    assert listed["jobs"] == {"QUEUED": [summary("a")]}
    assert following["execution"]["jobId"] == "a"


def test_a_list_that_is_told_holds_fifteen_at_most(gateway: JobGateway) -> None:
    """The list that is asked for holds them all."""
    for _ in range(16):
        gateway.cloud.create_job(THING, ROTATE)
    topic, body = gateway.since()[-1]
    assert (topic, len(body["jobs"]["QUEUED"])) == ("notify", 15)
    assert len(gateway.ask("get")[1]["queuedJobs"]) == 16


# -- the account's owner -----------------------------------------------------------------------------------------------


def test_a_job_that_ended_may_be_given_again_under_its_name(gateway: JobGateway) -> None:
    """It is another execution, from the beginning; the first stays as it ended."""
    gateway.cloud.create_job(THING, ROTATE)
    gateway.ask("job-1/update", status="FAILED", statusDetails={"phase": "rejected"})
    gateway.now += timedelta(hours=1)
    gateway.cloud.retry_job(THING, "job-1")
    _, body = gateway.ask("job-1/get")
    execution = body["execution"]
    assert (execution["executionNumber"], execution["versionNumber"], execution["status"]) == (2, 1, "QUEUED")
    assert (execution["queuedAt"], execution["statusDetails"]) == (NOON + 3600, {})
    assert execution["jobDocument"] == ROTATE
    assert gateway.refusal("job-1/get", executionNumber=1) == "TerminalStateReached"
    assert gateway.refusal("job-1/update", executionNumber=1, status="SUCCEEDED") == "InvalidStateTransition"
    assert gateway.refusal("job-1/update", executionNumber=3, status="SUCCEEDED") == "ResourceNotFound"
    assert gateway.ask("job-1/update", executionNumber=2, status="SUCCEEDED")[0] == "accepted"
    assert [(job.number, job.status) for job in gateway.cloud.jobs(THING)] == [(1, "FAILED"), (2, "SUCCEEDED")]


@pytest.mark.parametrize("end", [JobStatus.CANCELED, JobStatus.TIMED_OUT, JobStatus.REMOVED])
def test_a_job_in_progress_may_be_ended_from_the_outside(gateway: JobGateway, end: JobStatus) -> None:
    """The device's next update is refused with that state."""
    gateway.cloud.create_job(THING, ROTATE)
    gateway.ask("job-1/update", status="IN_PROGRESS")
    gateway.cloud.end_job(THING, "job-1", end)
    _, body = gateway.ask("job-1/update", status="SUCCEEDED")
    assert (body["code"], body["executionState"]["status"]) == ("InvalidStateTransition", end)


def test_what_the_owner_cannot_mean_is_an_error(gateway: JobGateway) -> None:
    """A name that is taken or impossible, a document too long, an end twice, a retry too early, a job that is not."""
    gateway.cloud.create_job(THING, ROTATE, "a")
    for job_id in ("a", "", "a b", "x" * 65, "$next"):
        with pytest.raises(ValueError, match="job"):
            gateway.cloud.create_job(THING, ROTATE, job_id)
    with pytest.raises(ValueError, match="at most 32768 bytes, not 32769"):
        gateway.cloud.create_job(THING, b"x" * (MAX_DOCUMENT + 1))
    with pytest.raises(ValueError, match="has not ended yet"):
        gateway.cloud.retry_job(THING, "a")
    with pytest.raises(ValueError, match="QUEUED is no end"):
        gateway.cloud.end_job(THING, "a", JobStatus.QUEUED)
    gateway.cloud.end_job(THING, "a")
    with pytest.raises(ValueError, match="has ended already: CANCELED"):
        gateway.cloud.end_job(THING, "a")
    with pytest.raises(KeyError):
        gateway.cloud.job("gw-2", "a")
    assert [job.status for job in gateway.cloud.jobs(THING)] == [JobStatus.CANCELED]


def test_a_name_that_is_taken_is_not_given_out(gateway: JobGateway) -> None:
    """The next free one is."""
    gateway.cloud.create_job(THING, ROTATE, "job-1")
    assert gateway.cloud.create_job(THING, ROTATE) == "job-2"


# -- faults ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("effect", "code"),
    [
        (Effect.REJECT, "InvalidRequest"),
        (Effect.DENY, "ACCESS_DENIED"),
        (Effect.THROTTLE, "RequestThrottled"),
        (Effect.UNAVAILABLE, "InternalError"),
    ],
)
def test_a_fault_that_refuses_is_told_in_the_words_of_jobs(gateway: JobGateway, effect: Effect, code: str) -> None:
    """With the token of the request, so that a client takes the refusal for its own; nothing was carried out."""
    gateway.cloud.create_job(THING, ROTATE)
    gateway.cloud.faults.add(Fault(operation=Operation.JOBS, effect=effect))
    verdict, body = gateway.ask("job-1/update", status="SUCCEEDED", clientToken="t")
    assert (verdict, body["code"], body["clientToken"], body["timestamp"]) == ("rejected", code, "t", NOON)
    assert gateway.cloud.job(THING, "job-1").status is JobStatus.QUEUED
    assert [(request.operation, request.outcome) for request in gateway.cloud.requests] == [("jobs", effect)]


@pytest.mark.parametrize(
    ("effect", "replies", "held", "carried_out"),
    [
        (Effect.LOSE, 0, 0, True),
        (Effect.LATE, 0, 1, True),
        (Effect.DUPLICATE, 2, 0, True),
        (Effect.IGNORE, 0, 0, False),
        (Effect.SILENCE, 0, 0, False),
        (Effect.HANG_UP, 0, 0, False),
        (Effect.UNAUTHORISED, 0, 0, False),
        (Effect.GARBLE, 1, 0, False),
        (Effect.OVERSIZE, 1, 0, False),
    ],
)
def test_a_fault_spoils_the_reply_or_the_request(
    gateway: JobGateway, effect: Effect, replies: int, held: int, *, carried_out: bool
) -> None:
    """A lost, late or doubled reply belongs to an update that took place; the others never do."""
    gateway.cloud.create_job(THING, ROTATE)
    gateway.cloud.faults.add(Fault(operation=Operation.JOBS, effect=effect))
    answer = gateway.publish("job-1/update", b'{"status": "SUCCEEDED"}')
    assert (len(answer.replies), len(answer.held)) == (replies, held)
    assert (answer.hang_up, answer.authorised) == (effect is Effect.HANG_UP, effect is not Effect.UNAUTHORISED)
    assert (gateway.cloud.job(THING, "job-1").status is JobStatus.SUCCEEDED) == carried_out
    assert gateway.cloud.count(Operation.JOBS) == 1


def test_a_hostile_reply_may_carry_the_token_of_the_request(gateway: JobGateway) -> None:
    """Else no client would take it for an answer; all other bytes are as given."""
    payload = b'{"clientToken": "' + TOKEN_MARK + b'", "execution": 7\x00}'
    gateway.cloud.faults.add(Fault(operation=Operation.JOBS, effect=Effect.HOSTILE, payload=payload))
    (reply,) = gateway.publish("$next/get", b'{"clientToken": "abc"}').replies
    assert reply.topic == f"{JOBS}/$next/get/accepted"
    assert reply.payload == b'{"clientToken": "abc", "execution": 7\x00}'


def test_what_is_asked_of_jobs_is_noted_with_its_outcome(gateway: JobGateway) -> None:
    """A refusal by its name."""
    gateway.ask("get")
    gateway.ask("nothing/get")
    noted = [(request.operation, request.outcome, request.client_id) for request in gateway.cloud.requests]
    assert noted == [("jobs", "200", THING), ("jobs", "ResourceNotFound", THING)]
