"""Jobs of the sandbox, as a gateway asks for them and updates them."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from agent.sandbox.services.jobs import JobStatus
from support.unit.sandbox.sandbox_gateway import NOON, THING, register
from support.unit.sandbox.sandbox_jobs import JOBS, ROTATE, JobGateway, summary

# -- what is pending ---------------------------------------------------------------------------------------------------


def test_a_thing_without_jobs_has_none_pending(gateway: JobGateway) -> None:
    """Both lists are there and empty; the token and the time are in the reply."""
    assert gateway.ask("get", clientToken="t") == (
        "accepted",
        {"inProgressJobs": [], "queuedJobs": [], "clientToken": "t", "timestamp": NOON},
    )


def test_a_new_job_is_queued_and_listed(gateway: JobGateway) -> None:
    """It has the next free id, its first version and execution, and was not started."""
    assert gateway.cloud.create_job(THING, ROTATE) == "job-1"
    assert gateway.cloud.create_job(THING, ROTATE, "mine") == "mine"
    gateway.now += timedelta(minutes=1)
    verdict, body = gateway.ask("get")
    assert verdict == "accepted"
    assert body == {"inProgressJobs": [], "queuedJobs": [summary("job-1"), summary("mine")], "timestamp": NOON + 60}


def test_what_is_in_progress_comes_before_what_is_queued(gateway: JobGateway) -> None:
    """The order of queueing counts only among jobs of the same state."""
    for job_id in ("a", "b", "c"):
        gateway.cloud.create_job(THING, ROTATE, job_id)
    gateway.now += timedelta(seconds=5)
    gateway.ask("b/update", status="IN_PROGRESS")
    _, body = gateway.ask("get")
    assert body["inProgressJobs"] == [summary("b", startedAt=NOON + 5, lastUpdatedAt=NOON + 5, versionNumber=2)]
    assert [job["jobId"] for job in body["queuedJobs"]] == ["a", "c"]
    _, following = gateway.ask("$next/get")
    assert following["execution"]["jobId"] == "b"


def test_the_jobs_of_another_thing_are_not_shown(gateway: JobGateway) -> None:
    """Each thing has its own list, and may have a job of the same name."""
    gateway.cloud.create_job("gw-2", ROTATE, "a")
    assert gateway.ask("get")[1]["queuedJobs"] == []
    assert gateway.cloud.create_job(THING, ROTATE, "a") == "a"


def test_another_gateways_certificate_may_not_ask(gateway: JobGateway) -> None:
    """The policy allows the own thing's topics only, so nothing happens to the job."""
    gateway.cloud.create_job(THING, ROTATE)
    answer = gateway.publish("job-1/update", b'{"status": "SUCCEEDED"}', register(gateway.cloud, "gw-2"))
    assert not answer.authorised
    assert answer.replies == ()
    assert gateway.cloud.job(THING, "job-1").status is JobStatus.QUEUED
    assert [(request.operation, request.outcome) for request in gateway.cloud.requests] == [("jobs", "unauthorised")]


# -- one execution -----------------------------------------------------------------------------------------------------


def test_an_execution_is_described_with_its_document(gateway: JobGateway) -> None:
    """Everything that AWS tells is there."""
    gateway.cloud.create_job(THING, ROTATE | {"reason": "audit"})
    assert gateway.ask("job-1/get", clientToken="t") == (
        "accepted",
        {
            "execution": {
                "jobId": "job-1",
                "thingName": THING,
                "status": "QUEUED",
                "statusDetails": {},
                "jobDocument": {"operation": "rotate-certificate", "reason": "audit"},
                "queuedAt": NOON,
                "lastUpdatedAt": NOON,
                "versionNumber": 1,
                "executionNumber": 1,
            },
            "clientToken": "t",
            "timestamp": NOON,
        },
    )


@pytest.mark.parametrize("job_id", ["job-1", "$next"])
def test_the_document_is_left_out_when_it_is_not_wanted(gateway: JobGateway, job_id: str) -> None:
    """`includeJobDocument` is true unless it is false."""
    gateway.cloud.create_job(THING, ROTATE)
    assert "jobDocument" not in gateway.ask(f"{job_id}/get", includeJobDocument=False)[1]["execution"]
    assert gateway.ask(f"{job_id}/get", includeJobDocument=True)[1]["execution"]["jobDocument"] == ROTATE


def test_nothing_is_next_when_nothing_is_pending(gateway: JobGateway) -> None:
    """The reply is accepted and holds no execution."""
    assert gateway.ask("$next/get") == ("accepted", {"timestamp": NOON})
    assert gateway.ask("start-next") == ("accepted", {"timestamp": NOON})


@pytest.mark.parametrize("document", [b'{"operation": ', b"[1, 2]", b'{"a":1,"a":2}', b"\xff", b"null"])
def test_a_document_of_bytes_arrives_to_the_byte(gateway: JobGateway, document: bytes) -> None:
    """What cannot be parsed spoils the whole message, as a hostile or broken cloud would."""
    gateway.cloud.detach(gateway)  # it reads what it hears
    gateway.cloud.create_job(THING, document)
    (reply,) = gateway.publish("job-1/get", b"{}").replies
    assert b'"jobDocument": ' + document + b"}" in reply.payload


def test_the_next_job_is_started_with_its_details(gateway: JobGateway) -> None:
    """A queued job goes in progress; one in progress is returned as it is."""
    gateway.cloud.create_job(THING, ROTATE)
    gateway.now += timedelta(seconds=9)
    verdict, body = gateway.ask("start-next", statusDetails={"phase": "begun"})
    assert verdict == "accepted"
    assert body["execution"]["status"] == "IN_PROGRESS"
    assert body["execution"]["startedAt"] == NOON + 9
    assert body["execution"]["statusDetails"] == {"phase": "begun"}
    assert body["execution"]["jobDocument"] == ROTATE
    again = gateway.ask("start-next", statusDetails={"phase": "other"})[1]["execution"]
    assert (again["versionNumber"], again["statusDetails"]) == (2, {"phase": "begun"})


# -- updates -----------------------------------------------------------------------------------------------------------


def test_an_update_changes_the_state_and_raises_the_version(gateway: JobGateway) -> None:
    """The reply holds no more than was asked for; the start is noted once."""
    gateway.cloud.create_job(THING, ROTATE)
    gateway.now += timedelta(seconds=1)
    assert gateway.ask("job-1/update", status="IN_PROGRESS", clientToken="t") == (
        "accepted",
        {"clientToken": "t", "timestamp": NOON + 1},
    )
    gateway.now += timedelta(seconds=1)
    gateway.ask("job-1/update", status="IN_PROGRESS")
    job = gateway.cloud.job(THING, "job-1")
    assert (job.status, job.version) == (JobStatus.IN_PROGRESS, 3)
    assert (job.queued_at, job.started_at, job.last_updated_at) == (NOON, NOON + 1, NOON + 2)


def test_an_update_may_ask_for_state_and_document(gateway: JobGateway) -> None:
    """Both come when wanted."""
    gateway.cloud.create_job(THING, ROTATE)
    _, body = gateway.ask(
        "job-1/update",
        status="IN_PROGRESS",
        statusDetails={"phase": "requested"},
        includeJobExecutionState=True,
        includeJobDocument=True,
    )
    assert body == {
        "executionState": {"status": "IN_PROGRESS", "statusDetails": {"phase": "requested"}, "versionNumber": 2},
        "jobDocument": ROTATE,
        "timestamp": NOON,
    }


def test_details_replace_the_old_ones_altogether(gateway: JobGateway) -> None:
    """Nothing is merged; an update without details keeps them."""
    gateway.cloud.create_job(THING, ROTATE)
    gateway.ask("job-1/update", status="IN_PROGRESS", statusDetails={"phase": "a", "change": "c-1"})
    gateway.ask("job-1/update", status="IN_PROGRESS")
    assert gateway.cloud.job(THING, "job-1").status_details == {"phase": "a", "change": "c-1"}
    gateway.ask("job-1/update", status="IN_PROGRESS", statusDetails={"phase": "b"})
    assert gateway.cloud.job(THING, "job-1").status_details == {"phase": "b"}


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED", "REJECTED"])
def test_a_device_may_end_a_job_that_it_never_started(gateway: JobGateway, status: str) -> None:
    """It leaves the list of pending jobs."""
    gateway.cloud.create_job(THING, ROTATE)
    assert gateway.ask("job-1/update", status=status)[0] == "accepted"
    assert gateway.cloud.job(THING, "job-1").status == status
    assert gateway.ask("get")[1]["queuedJobs"] == []


@pytest.mark.parametrize("expected", [2, "2"])
def test_the_expected_version_is_accepted_as_a_number_or_as_text(gateway: JobGateway, expected: object) -> None:
    """AWS's own examples write it as text."""
    gateway.cloud.create_job(THING, ROTATE)
    gateway.ask("job-1/update", status="IN_PROGRESS")
    assert gateway.ask("job-1/update", status="SUCCEEDED", expectedVersion=expected)[0] == "accepted"


def test_another_version_than_expected_is_a_mismatch_that_tells_the_state(gateway: JobGateway) -> None:
    """Nothing changed, and no second request is needed to know how things stand."""
    gateway.cloud.create_job(THING, ROTATE)
    gateway.ask("job-1/update", status="IN_PROGRESS", statusDetails={"phase": "a"})
    assert gateway.ask("job-1/update", status="FAILED", expectedVersion=1, clientToken="t") == (
        "rejected",
        {
            "code": "VersionMismatch",
            "message": "Expected version 1, found 2",
            "executionState": {"status": "IN_PROGRESS", "statusDetails": {"phase": "a"}, "versionNumber": 2},
            "clientToken": "t",
            "timestamp": NOON,
        },
    )
    assert gateway.cloud.job(THING, "job-1").status is JobStatus.IN_PROGRESS


def test_a_job_that_has_ended_cannot_be_updated_and_is_not_described(gateway: JobGateway) -> None:
    """The refused update tells how it ended."""
    gateway.cloud.create_job(THING, ROTATE)
    gateway.ask("job-1/update", status="SUCCEEDED", statusDetails={"phase": "committed"})
    verdict, body = gateway.ask("job-1/update", status="IN_PROGRESS")
    assert (verdict, body["code"]) == ("rejected", "InvalidStateTransition")
    assert body["executionState"] == {
        "status": "SUCCEEDED",
        "statusDetails": {"phase": "committed"},
        "versionNumber": 2,
    }
    assert gateway.refusal("job-1/get") == "TerminalStateReached"
    assert gateway.cloud.job(THING, "job-1").version == 2


@pytest.mark.parametrize("path", ["nothing/get", "nothing/update", "$next/update"])
def test_a_job_that_is_not_there_is_not_found(gateway: JobGateway, path: str) -> None:
    """So is one of another thing, and `$next` is no name of a job to be updated."""
    gateway.cloud.create_job("gw-2", ROTATE, "nothing")
    assert gateway.refusal(path, status="FAILED") == "ResourceNotFound"


@pytest.mark.parametrize("path", ["notify", "a/b/get", "", "job-1/delete"])
def test_a_topic_that_means_nothing_to_jobs_is_invalid(gateway: JobGateway, path: str) -> None:
    """It is rejected on a topic of its own."""
    assert gateway.refusal(path) == "InvalidTopic"


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(gateway: JobGateway, payload: bytes) -> None:
    """In the words of jobs."""
    (reply,) = gateway.publish("get", payload).replies
    assert reply.topic == f"{JOBS}/get/rejected"
    assert json.loads(reply.payload)["code"] == "InvalidJson"


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"status": None},
        {"status": ["SUCCEEDED"]},
        {"status": "QUEUED"},
        {"status": "CANCELED"},
        {"status": "TIMED_OUT"},
        {"status": "REMOVED"},
        {"status": "DONE"},
        {"status": "SUCCEEDED", "expectedVersion": True},
        {"status": "SUCCEEDED", "expectedVersion": 1.0},
        {"status": "SUCCEEDED", "expectedVersion": "one"},
        {"status": "SUCCEEDED", "executionNumber": []},
        {"status": "SUCCEEDED", "statusDetails": []},
        {"status": "SUCCEEDED", "statusDetails": {"": "x"}},
        {"status": "SUCCEEDED", "statusDetails": {"a b": "x"}},
        {"status": "SUCCEEDED", "statusDetails": {"a\n": "x"}},
        {"status": "SUCCEEDED", "statusDetails": {"k" * 129: "x"}},
        {"status": "SUCCEEDED", "statusDetails": {"a": ""}},
        {"status": "SUCCEEDED", "statusDetails": {"a": 7}},
        {"status": "SUCCEEDED", "statusDetails": {"a": None}},
        {"status": "SUCCEEDED", "statusDetails": {"a": "x" * 1025}},
        {"status": "SUCCEEDED", "statusDetails": {"a": "two\nlines"}},
        {"status": "SUCCEEDED", "statusDetails": {"a": "\ud800"}},
    ],
    ids=str,
)
def test_an_update_beyond_the_limits_is_refused_and_changes_nothing(
    gateway: JobGateway, request_: dict[str, Any]
) -> None:
    """AWS's own limits: its states for devices, and what names and values in the details may be."""
    gateway.cloud.create_job(THING, ROTATE)
    assert gateway.refusal("job-1/update", **request_) == "InvalidRequest"
    assert gateway.cloud.job(THING, "job-1").version == 1


def test_details_up_to_the_limits_are_taken(gateway: JobGateway) -> None:
    """128 characters of a name, 1024 of a value, counted as characters."""
    gateway.cloud.create_job(THING, ROTATE)
    details = {"aZ0:_-".ljust(128, "k"): "ü" * 1024}
    assert gateway.ask("job-1/update", status="IN_PROGRESS", statusDetails=details)[0] == "accepted"
    assert gateway.cloud.job(THING, "job-1").status_details == details
