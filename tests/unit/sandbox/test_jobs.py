from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from agent.sandbox.authority import AWS_NOT_AFTER, name
from agent.sandbox.cloud import Cloud, Entry, Status
from agent.sandbox.faults import TOKEN_MARK, Effect, Fault, Operation
from agent.sandbox.jobs import MAX_DOCUMENT, JobStatus
from agent.sandbox.policies import GATEWAY

if TYPE_CHECKING:
    from agent.sandbox.answers import Answer, Reply

THING = "gw-1"
JOBS = f"$aws/things/{THING}/jobs"
START = datetime(2027, 3, 1, 12, tzinfo=UTC)
NOON = 1_803_902_400  # START, in seconds since the epoch
ROTATE = {"operation": "rotate-certificate"}


@dataclass
class Gateway:
    """One gateway before a cloud whose clock is set by the test, and what the cloud said by itself."""

    now: datetime = START
    heard: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cloud = Cloud(lambda: self.now)
        self.cloud.attach(self)
        self.entry = register(self.cloud, THING)

    def deliver(self, message: Reply, to: str | None) -> None:
        """Keep what the cloud says to all."""
        assert to is None
        self.heard.append((message.topic.removeprefix(f"{JOBS}/"), json.loads(message.payload)))

    def cut(self, certificate_id: str) -> None:
        """No job cuts a connection."""
        raise AssertionError(certificate_id)

    def publish(self, path: str, payload: bytes, entry: Entry | None = None) -> Answer:
        """Publish below the thing's jobs."""
        return self.cloud.publish(entry or self.entry, THING, f"{JOBS}/{path}", payload)

    def ask(self, path: str, **request: Any) -> tuple[str, dict[str, Any]]:
        """Ask, and return whether it was accepted or rejected, and the reply."""
        (reply,) = self.publish(path, json.dumps(request).encode()).replies
        topic, _, verdict = reply.topic.rpartition("/")
        assert topic == f"{JOBS}/{path}"
        return verdict, json.loads(reply.payload)

    def refusal(self, path: str, **request: Any) -> str:
        """Ask, and return the code of the refusal."""
        verdict, body = self.ask(path, **request)
        assert verdict == "rejected"
        assert body["message"]
        return str(body["code"])

    def since(self) -> list[tuple[str, dict[str, Any]]]:
        """Return what was heard since the last time."""
        heard, self.heard = self.heard, []
        return heard


def register(cloud: Cloud, thing: str) -> Entry:
    """Give a thing a certificate without asking."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = cloud.authority.issue_client(name("x"), key.public_key(), START, AWS_NOT_AFTER)
    entry = cloud.registry.add(certificate, Status.ACTIVE)
    entry.policies, entry.thing_name = [GATEWAY], thing
    return entry


@pytest.fixture
def gateway() -> Gateway:
    """Return a gateway without jobs."""
    return Gateway()


def summary(job_id: str, **changes: Any) -> dict[str, Any]:
    """Return the summary of a job that was queued at the start."""
    base = {"jobId": job_id, "queuedAt": NOON, "lastUpdatedAt": NOON, "versionNumber": 1, "executionNumber": 1}
    return base | changes


# -- what is pending ---------------------------------------------------------------------------------------------------


def test_a_thing_without_jobs_has_none_pending(gateway: Gateway) -> None:
    """Both lists are there and empty; the token and the time are in the reply."""
    assert gateway.ask("get", clientToken="t") == (
        "accepted",
        {"inProgressJobs": [], "queuedJobs": [], "clientToken": "t", "timestamp": NOON},
    )


def test_a_new_job_is_queued_and_listed(gateway: Gateway) -> None:
    """It has the next free id, its first version and execution, and was not started."""
    assert gateway.cloud.create_job(THING, ROTATE) == "job-1"
    assert gateway.cloud.create_job(THING, ROTATE, "mine") == "mine"
    gateway.now += timedelta(minutes=1)
    verdict, body = gateway.ask("get")
    assert verdict == "accepted"
    assert body == {"inProgressJobs": [], "queuedJobs": [summary("job-1"), summary("mine")], "timestamp": NOON + 60}


def test_what_is_in_progress_comes_before_what_is_queued(gateway: Gateway) -> None:
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


def test_the_jobs_of_another_thing_are_not_shown(gateway: Gateway) -> None:
    """Each thing has its own list, and may have a job of the same name."""
    gateway.cloud.create_job("gw-2", ROTATE, "a")
    assert gateway.ask("get")[1]["queuedJobs"] == []
    assert gateway.cloud.create_job(THING, ROTATE, "a") == "a"


def test_another_gateways_certificate_may_not_ask(gateway: Gateway) -> None:
    """The policy allows the own thing's topics only, so nothing happens to the job."""
    gateway.cloud.create_job(THING, ROTATE)
    answer = gateway.publish("job-1/update", b'{"status": "SUCCEEDED"}', register(gateway.cloud, "gw-2"))
    assert not answer.authorised
    assert answer.replies == ()
    assert gateway.cloud.job(THING, "job-1").status is JobStatus.QUEUED
    assert [(request.operation, request.outcome) for request in gateway.cloud.requests] == [("jobs", "unauthorised")]


# -- one execution -----------------------------------------------------------------------------------------------------


def test_an_execution_is_described_with_its_document(gateway: Gateway) -> None:
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
def test_the_document_is_left_out_when_it_is_not_wanted(gateway: Gateway, job_id: str) -> None:
    """`includeJobDocument` is true unless it is false."""
    gateway.cloud.create_job(THING, ROTATE)
    assert "jobDocument" not in gateway.ask(f"{job_id}/get", includeJobDocument=False)[1]["execution"]
    assert gateway.ask(f"{job_id}/get", includeJobDocument=True)[1]["execution"]["jobDocument"] == ROTATE


def test_nothing_is_next_when_nothing_is_pending(gateway: Gateway) -> None:
    """The reply is accepted and holds no execution."""
    assert gateway.ask("$next/get") == ("accepted", {"timestamp": NOON})
    assert gateway.ask("start-next") == ("accepted", {"timestamp": NOON})


@pytest.mark.parametrize("document", [b'{"operation": ', b"[1, 2]", b'{"a":1,"a":2}', b"\xff", b"null"])
def test_a_document_of_bytes_arrives_to_the_byte(gateway: Gateway, document: bytes) -> None:
    """What cannot be parsed spoils the whole message, as a hostile or broken cloud would."""
    gateway.cloud.detach(gateway)  # it reads what it hears
    gateway.cloud.create_job(THING, document)
    (reply,) = gateway.publish("job-1/get", b"{}").replies
    assert b'"jobDocument": ' + document + b"}" in reply.payload


def test_the_next_job_is_started_with_its_details(gateway: Gateway) -> None:
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


def test_an_update_changes_the_state_and_raises_the_version(gateway: Gateway) -> None:
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


def test_an_update_may_ask_for_state_and_document(gateway: Gateway) -> None:
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


def test_details_replace_the_old_ones_altogether(gateway: Gateway) -> None:
    """Nothing is merged; an update without details keeps them."""
    gateway.cloud.create_job(THING, ROTATE)
    gateway.ask("job-1/update", status="IN_PROGRESS", statusDetails={"phase": "a", "change": "c-1"})
    gateway.ask("job-1/update", status="IN_PROGRESS")
    assert gateway.cloud.job(THING, "job-1").status_details == {"phase": "a", "change": "c-1"}
    gateway.ask("job-1/update", status="IN_PROGRESS", statusDetails={"phase": "b"})
    assert gateway.cloud.job(THING, "job-1").status_details == {"phase": "b"}


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED", "REJECTED"])
def test_a_device_may_end_a_job_that_it_never_started(gateway: Gateway, status: str) -> None:
    """It leaves the list of pending jobs."""
    gateway.cloud.create_job(THING, ROTATE)
    assert gateway.ask("job-1/update", status=status)[0] == "accepted"
    assert gateway.cloud.job(THING, "job-1").status == status
    assert gateway.ask("get")[1]["queuedJobs"] == []


@pytest.mark.parametrize("expected", [2, "2"])
def test_the_expected_version_is_accepted_as_a_number_or_as_text(gateway: Gateway, expected: object) -> None:
    """AWS's own examples write it as text."""
    gateway.cloud.create_job(THING, ROTATE)
    gateway.ask("job-1/update", status="IN_PROGRESS")
    assert gateway.ask("job-1/update", status="SUCCEEDED", expectedVersion=expected)[0] == "accepted"


def test_another_version_than_expected_is_a_mismatch_that_tells_the_state(gateway: Gateway) -> None:
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


def test_a_job_that_has_ended_cannot_be_updated_and_is_not_described(gateway: Gateway) -> None:
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
def test_a_job_that_is_not_there_is_not_found(gateway: Gateway, path: str) -> None:
    """So is one of another thing, and `$next` is no name of a job to be updated."""
    gateway.cloud.create_job("gw-2", ROTATE, "nothing")
    assert gateway.refusal(path, status="FAILED") == "ResourceNotFound"


@pytest.mark.parametrize("path", ["notify", "a/b/get", "", "job-1/delete"])
def test_a_topic_that_means_nothing_to_jobs_is_invalid(gateway: Gateway, path: str) -> None:
    """It is rejected on a topic of its own."""
    assert gateway.refusal(path) == "InvalidTopic"


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(gateway: Gateway, payload: bytes) -> None:
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
def test_an_update_beyond_the_limits_is_refused_and_changes_nothing(gateway: Gateway, request_: dict[str, Any]) -> None:
    """AWS's own limits: its states for devices, and what names and values in the details may be."""
    gateway.cloud.create_job(THING, ROTATE)
    assert gateway.refusal("job-1/update", **request_) == "InvalidRequest"
    assert gateway.cloud.job(THING, "job-1").version == 1


def test_details_up_to_the_limits_are_taken(gateway: Gateway) -> None:
    """128 characters of a name, 1024 of a value, counted as characters."""
    gateway.cloud.create_job(THING, ROTATE)
    details = {"aZ0:_-".ljust(128, "k"): "ü" * 1024}
    assert gateway.ask("job-1/update", status="IN_PROGRESS", statusDetails=details)[0] == "accepted"
    assert gateway.cloud.job(THING, "job-1").status_details == details


# -- notifications -----------------------------------------------------------------------------------------------------


def test_the_first_job_is_told_as_the_list_and_as_the_next(gateway: Gateway) -> None:
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


def test_a_second_job_changes_the_list_but_not_what_is_next(gateway: Gateway) -> None:
    """So only the list is told."""
    gateway.cloud.create_job(THING, ROTATE, "a")
    gateway.since()
    gateway.cloud.create_job(THING, ROTATE, "b")
    assert gateway.since() == [("notify", {"timestamp": NOON, "jobs": {"QUEUED": [summary("a"), summary("b")]}})]


def test_a_job_that_starts_is_no_news(gateway: Gateway) -> None:
    """It was pending and next before, and it is now; further progress is no news either."""
    gateway.cloud.create_job(THING, ROTATE)
    gateway.since()
    gateway.ask("job-1/update", status="IN_PROGRESS")
    gateway.ask("job-1/update", status="IN_PROGRESS", statusDetails={"phase": "a"})
    assert gateway.since() == []


def test_a_job_that_starts_before_its_turn_becomes_the_next(gateway: Gateway) -> None:
    """The list has the same members, so only the next one is told."""
    gateway.cloud.create_job(THING, ROTATE, "a")
    gateway.cloud.create_job(THING, ROTATE, "b")
    gateway.since()
    gateway.ask("b/update", status="IN_PROGRESS")
    ((topic, body),) = gateway.since()
    assert (topic, body["execution"]["jobId"], body["execution"]["status"]) == ("notify-next", "b", "IN_PROGRESS")


def test_the_end_of_the_last_job_leaves_an_empty_list_and_nothing_next(gateway: Gateway) -> None:
    """Both are told."""
    gateway.cloud.create_job(THING, ROTATE)
    gateway.ask("job-1/update", status="IN_PROGRESS")
    gateway.since()
    gateway.ask("job-1/update", status="SUCCEEDED")
    assert gateway.since() == [("notify", {"timestamp": NOON, "jobs": {}}), ("notify-next", {"timestamp": NOON})]


def test_the_end_of_one_of_two_jobs_leaves_the_other_next(gateway: Gateway) -> None:
    """In the list it stands under its own state."""
    gateway.cloud.create_job(THING, ROTATE, "a")
    gateway.cloud.create_job(THING, ROTATE, "b")
    gateway.ask("b/update", status="IN_PROGRESS")
    gateway.since()
    gateway.cloud.cancel_job(THING, "b")
    (_, listed), (_, following) = gateway.since()
    assert listed["jobs"] == {"QUEUED": [summary("a")]}
    assert following["execution"]["jobId"] == "a"


def test_a_list_that_is_told_holds_fifteen_at_most(gateway: Gateway) -> None:
    """The list that is asked for holds them all."""
    for _ in range(16):
        gateway.cloud.create_job(THING, ROTATE)
    topic, body = gateway.since()[-1]
    assert (topic, len(body["jobs"]["QUEUED"])) == ("notify", 15)
    assert len(gateway.ask("get")[1]["queuedJobs"]) == 16


# -- the account's owner -----------------------------------------------------------------------------------------------


def test_a_job_that_ended_may_be_given_again_under_its_name(gateway: Gateway) -> None:
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
def test_a_job_in_progress_may_be_ended_from_the_outside(gateway: Gateway, end: JobStatus) -> None:
    """The device's next update is refused with that state."""
    gateway.cloud.create_job(THING, ROTATE)
    gateway.ask("job-1/update", status="IN_PROGRESS")
    gateway.cloud.end_job(THING, "job-1", end)
    _, body = gateway.ask("job-1/update", status="SUCCEEDED")
    assert (body["code"], body["executionState"]["status"]) == ("InvalidStateTransition", end)


def test_what_the_owner_cannot_mean_is_an_error(gateway: Gateway) -> None:
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
    gateway.cloud.cancel_job(THING, "a")
    with pytest.raises(ValueError, match="has ended already: CANCELED"):
        gateway.cloud.cancel_job(THING, "a")
    with pytest.raises(KeyError):
        gateway.cloud.job("gw-2", "a")
    assert [job.status for job in gateway.cloud.jobs(THING)] == [JobStatus.CANCELED]


def test_a_name_that_is_taken_is_not_given_out(gateway: Gateway) -> None:
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
def test_a_fault_that_refuses_is_told_in_the_words_of_jobs(gateway: Gateway, effect: Effect, code: str) -> None:
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
    gateway: Gateway, effect: Effect, replies: int, held: int, *, carried_out: bool
) -> None:
    """A lost, late or doubled reply belongs to an update that took place; the others never do."""
    gateway.cloud.create_job(THING, ROTATE)
    gateway.cloud.faults.add(Fault(operation=Operation.JOBS, effect=effect))
    answer = gateway.publish("job-1/update", b'{"status": "SUCCEEDED"}')
    assert (len(answer.replies), len(answer.held)) == (replies, held)
    assert (answer.hang_up, answer.authorised) == (effect is Effect.HANG_UP, effect is not Effect.UNAUTHORISED)
    assert (gateway.cloud.job(THING, "job-1").status is JobStatus.SUCCEEDED) == carried_out
    assert gateway.cloud.count(Operation.JOBS) == 1


def test_a_hostile_reply_may_carry_the_token_of_the_request(gateway: Gateway) -> None:
    """Else no client would take it for an answer; all other bytes are as given."""
    payload = b'{"clientToken": "' + TOKEN_MARK + b'", "execution": 7\x00}'
    gateway.cloud.faults.add(Fault(operation=Operation.JOBS, effect=Effect.HOSTILE, payload=payload))
    (reply,) = gateway.publish("$next/get", b'{"clientToken": "abc"}').replies
    assert reply.topic == f"{JOBS}/$next/get/accepted"
    assert reply.payload == b'{"clientToken": "abc", "execution": 7\x00}'


def test_what_is_asked_of_jobs_is_noted_with_its_outcome(gateway: Gateway) -> None:
    """A refusal by its name."""
    gateway.ask("get")
    gateway.ask("nothing/get")
    noted = [(request.operation, request.outcome, request.client_id) for request in gateway.cloud.requests]
    assert noted == [("jobs", "200", THING), ("jobs", "ResourceNotFound", THING)]
