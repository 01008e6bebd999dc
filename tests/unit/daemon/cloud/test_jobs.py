"""Jobs: what is asked, in which order, what is believed, and when it is asked again."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.failure.failure import Failure, FailureClass
from agent.core.report.journal_events import Event
from agent.core.values import Kind
from support import make
from support.running.fleet import NOTIFY, described, listed
from support.running.office import GET_JOBS, JOB, ORDER, ROTATE, UPDATE, WINDOW, Office, accept, change, details

# -- what is asked -----------------------------------------------------------------------------------------------------


def test_a_notification_is_a_reason_to_ask_and_nothing_is_taken_from_it(office: Office) -> None:
    """What a notification holds may be old; the list that is asked for is what counts."""
    office.link.answer(GET_JOBS, listed())
    office.link.say(NOTIFY, {"jobs": {"QUEUED": listed(("job-1", 1, 1))["queuedJobs"]}})
    office.turn()
    assert len(office.link.open(GET_JOBS)) == 1
    assert not office.link.all(JOB)


def test_a_job_is_described_then_taken_then_begun(office: Office) -> None:
    """The gateway learns of an order only after the cloud took our word that it is in progress."""
    office.link.answer(GET_JOBS, listed(("job-1", 1, 1)))
    assert office.link.answer(JOB, described("job-1", ROTATE))["executionNumber"] == 1
    assert office.gateway.begun == []
    assert accept(office)["status"] == "IN_PROGRESS"
    assert office.gateway.begun == [(Kind.ROTATE, ORDER, "job job-1: a reason")]
    assert not office.link.open(UPDATE)


def test_a_rollback_is_begun_as_one(office: Office) -> None:
    """The operation decides the kind of change."""
    office.begin("job-1", {"operation": "rollback"})
    accept(office)
    assert office.gateway.begun == [(Kind.ROLLBACK, ORDER, "job job-1: no reason given")]


def test_a_report_is_answered_at_once_and_begins_nothing(office: Office) -> None:
    """A report is the digest that the shadow has, as text."""
    office.gateway.status = make.status(current=make.in_use(generation=7))
    office.begin("job-1", {"operation": "report"})
    body = accept(office)
    assert body["status"] == "SUCCEEDED"
    assert details(body)["generation"] == "7"
    assert office.gateway.begun == []
    assert (Event.JOB_DONE, "Job job-1 is SUCCEEDED.") in office.gateway.told


def test_what_the_cloud_does_not_accept_is_not_begun(office: Office) -> None:
    """Another process of this thing may have taken the job, or an operator may have cancelled it."""
    office.begin("job-1", ROTATE)
    office.link.refuse(UPDATE, "VersionMismatch")
    office.turn()
    assert office.gateway.begun == []


@pytest.mark.parametrize("status", ["FAILED", "REJECTED", "SUCCEEDED"])
@pytest.mark.parametrize("noticed", ["by a refused update", "by the list"])
def test_an_order_that_another_client_ends_is_told_with_the_way_around(
    office: Office, noticed: str, status: str
) -> None:
    """AWS IoT Device Client takes every job of its thing, and fails those that it does not know."""
    office.begin("job-1", ROTATE)
    if noticed == "by the list":
        accept(office)
        office.link.say(NOTIFY, b"{}")
        office.turn()
    else:
        office.link.refuse(UPDATE, "InvalidStateTransition")
        office.wait(120)
    office.link.answer(GET_JOBS, listed())
    answer = described("job-1", ROTATE)
    answer["execution"]["status"] = status
    assert office.link.answer(JOB, answer) == {"executionNumber": 1, "includeJobDocument": False}
    (told,) = [text for event, text in office.gateway.told if event is Event.JOB_REJECTED]
    assert told.startswith(f"Job job-1: another program on this gateway took the order and ended it as {status};")
    assert "shadow `certificate`" in told


def test_an_end_of_our_own_whose_answer_was_lost_blames_no_other_client(office: Office) -> None:
    """The cloud took the word, and this gateway did not hear so."""
    office.begin("job-1", {"operation": "report"})
    office.link.lose(UPDATE)
    office.wait(200)
    office.link.answer(GET_JOBS, listed())
    answer = described("job-1", ROTATE)
    answer["execution"]["status"] = "SUCCEEDED"
    office.link.answer(JOB, answer)
    assert Event.JOB_REJECTED not in [event for event, _ in office.gateway.told]


@pytest.mark.parametrize("status", ["CANCELED", "REMOVED", "TIMED_OUT", "QUEUED", None])
def test_an_order_that_its_operator_takes_back_blames_no_other_client(office: Office, status: str | None) -> None:
    """It is forgotten, as it should be."""
    office.begin("job-1", ROTATE)
    accept(office)
    office.link.say(NOTIFY, b"{}")
    office.turn()
    office.link.answer(GET_JOBS, listed())
    answer = described("job-1", ROTATE)
    answer["execution"] = {**answer["execution"], "status": status} if status else answer["execution"]
    office.link.answer(JOB, answer)
    assert Event.JOB_REJECTED not in [event for event, _ in office.gateway.told]


def test_an_order_that_was_begun_is_not_begun_again(office: Office) -> None:
    """Neither another notification, nor another review, nor another list is another order."""
    office.begin("job-1", ROTATE)
    accept(office)
    for _ in range(5):
        office.link.say(NOTIFY, b"{}")
        office.turn()
        office.link.answer(GET_JOBS, listed(("job-1", 1, 2)))
        office.jobs.review()
    assert len(office.gateway.begun) == 1


def test_a_change_that_was_found_in_flight_is_answered_for_and_not_begun_again(office: Office) -> None:
    """After a restart the job is in progress, and so is its change: one more order would be one more certificate."""
    office.gateway.records[ORDER] = change(ORDER, Phase.DEPLOYED)
    office.begin("job-1", ROTATE, version=2)
    assert details(accept(office))["phase"] == "deployed"
    office.jobs.review()
    office.gateway.records[ORDER] = change(ORDER, Phase.COMMITTED)
    office.jobs.review()
    assert accept(office)["status"] == "SUCCEEDED"
    assert office.gateway.begun == []


def test_a_description_that_is_of_another_job_orders_nothing_twice(office: Office) -> None:
    """An answer that was mixed up, by whomever, must not make a second rotation out of a job that is known."""
    office.begin("job-1", ROTATE)
    accept(office)
    office.link.say(NOTIFY, b"{}")
    office.turn()
    office.link.answer(GET_JOBS, listed(("job-1", 1, 2), ("job-2", 1, 1)))
    office.link.answer("/job-2/get", described("job-1", ROTATE, version=2))
    while office.link.open(UPDATE):
        accept(office)
    assert len(office.gateway.begun) == 1


def test_two_descriptions_of_one_job_are_one_job(office: Office) -> None:
    """Two lists may be under way at once, and each asks for the description."""
    office.link.say(NOTIFY, b"{}")
    office.turn()
    while office.link.open(GET_JOBS):
        office.link.answer(GET_JOBS, listed(("job-1", 1, 1)))
        office.turn()
    while office.link.open(JOB):
        office.link.answer(JOB, described("job-1", ROTATE))
    accept(office)
    assert len(office.link.all(UPDATE)) == 1
    assert len(office.gateway.begun) == 1


def test_a_description_that_is_under_way_is_not_asked_for_again(office: Office) -> None:
    """Ten jobs that are queued one after the other are ten notifications, and not a hundred descriptions."""
    for _ in range(10):
        office.link.say(NOTIFY, b"{}")
        office.turn()
        while office.link.open(GET_JOBS):
            office.link.answer(GET_JOBS, listed(("job-1", 1, 1), ("job-2", 1, 1)))
            office.turn()
    assert len(office.link.open(JOB)) == len(office.link.open("/job-2/get")) == 1
    office.link.lose(JOB)
    office.wait(200)
    office.link.answer(GET_JOBS, listed(("job-1", 1, 1), ("job-2", 1, 1)))
    assert len(office.link.open(JOB)) == len(office.link.open("/job-2/get")) == 1


def test_a_redone_job_is_an_order_of_its_own(office: Office) -> None:
    """The execution number tells one from the other."""
    office.begin("job-1", ROTATE)
    accept(office)
    office.gateway.records[ORDER] = change(ORDER, Phase.COMMITTED)
    office.jobs.review()
    accept(office)
    office.link.say(NOTIFY, b"{}")
    office.turn()
    office.begin("job-1", ROTATE, number=2)
    accept(office)
    assert [order for _, order, _ in office.gateway.begun] == [ORDER, "job:job-1:2"]


def test_jobs_are_taken_one_by_one_and_each_is_begun(office: Office) -> None:
    """The gateway sees to it that one comes after the other."""
    office.link.answer(GET_JOBS, listed(("job-1", 1, 1), ("job-2", 1, 1)))
    for job_id in ("job-1", "job-2"):
        office.link.answer(f"/{job_id}/get", described(job_id, ROTATE))
        accept(office, job_id)
    assert [order for _, order, _ in office.gateway.begun] == ["job:job-1:1", "job:job-2:1"]


# -- versions ----------------------------------------------------------------------------------------------------------


def test_each_update_names_the_execution_and_the_version_it_rests_on(office: Office) -> None:
    """An accepted update raises the version by one."""
    office.begin("job-1", ROTATE, number=4, version=9)
    first = accept(office)
    assert (first["expectedVersion"], first["executionNumber"]) == (9, 4)
    office.gateway.records["job:job-1:4"] = change("job:job-1:4", Phase.DEPLOYED)
    office.jobs.review()
    second = accept(office)
    assert (second["expectedVersion"], second["status"]) == (10, "IN_PROGRESS")
    office.gateway.records["job:job-1:4"] = change("job:job-1:4", Phase.COMMITTED)
    office.jobs.review()
    third = accept(office)
    assert (third["expectedVersion"], third["status"]) == (11, "SUCCEEDED")


def test_one_update_is_under_way_at_a_time(office: Office) -> None:
    """Two that rest on the same version would refuse each other."""
    office.begin("job-1", ROTATE)
    office.gateway.records[ORDER] = change(ORDER, Phase.COMMITTED)
    office.jobs.review()
    office.jobs.review()
    assert len(office.link.open(UPDATE)) == 1
    accept(office)
    assert accept(office)["status"] == "SUCCEEDED"


def test_what_was_told_is_not_told_again(office: Office) -> None:
    """A version for each look would be a request for each look."""
    office.begin("job-1", ROTATE)
    accept(office)
    office.gateway.records[ORDER] = change(ORDER, Phase.DEPLOYED)
    office.jobs.review()
    accept(office)
    for _ in range(3):
        office.jobs.review()
    assert len(office.link.all(UPDATE)) == 2


def test_after_a_version_mismatch_the_cloud_is_asked_and_the_new_version_named(office: Office) -> None:
    """Another client changed the execution; what is true is described anew."""
    office.begin("job-1", ROTATE)
    office.link.refuse(UPDATE, "VersionMismatch")
    office.wait(120)
    office.begin("job-1", ROTATE, version=5)
    assert accept(office)["expectedVersion"] == 5
    assert len(office.gateway.begun) == 1


def test_a_new_link_asks_again_for_what_was_under_way(office: Office) -> None:
    """The answer of the old connection never comes, and the desk does not wait for it."""
    office.begin("job-1", ROTATE)
    office.fleet.disconnected()
    office.connect()
    office.link.answer(GET_JOBS, listed(("job-1", 1, 1)))
    assert accept(office)["expectedVersion"] == 1
    assert len(office.gateway.begun) == 1


# -- answers -----------------------------------------------------------------------------------------------------------


def test_the_answer_says_what_became_of_the_change(office: Office) -> None:
    """Phase, change, generation and certificate."""
    office.begin("job-1", ROTATE)
    accept(office)
    office.gateway.records[ORDER] = change(ORDER, Phase.COMMITTED)
    office.jobs.review()
    body = accept(office)
    assert details(body) == {"phase": "committed", "change": "abc123", "generation": "7", "certificateId": "c" * 64}


def test_a_failed_change_is_told_with_its_class_and_its_remedy(office: Office) -> None:
    """An operator who reads the job needs no journal."""
    failure = Failure(kind=FailureClass.CREDENTIAL, code="hung-up", message="It is refused.", remedy="Do this.")
    office.begin("job-1", ROTATE)
    office.gateway.records[ORDER] = change(ORDER, Phase.REJECTED, failure)
    accept(office)
    body = accept(office)
    assert body["status"] == "FAILED"
    assert {"failureClass": "credential", "message": "It is refused.", "remedy": "Do this."}.items() <= body[
        "statusDetails"
    ].items()


def test_a_change_that_waits_says_why_and_until_when(office: Office) -> None:
    """A job that takes long is a job that is asked about."""
    office.gateway.waits = ("on probation", datetime(2027, 3, 1, 12, 30, tzinfo=UTC))
    office.begin("job-1", ROTATE)
    accept(office)
    office.gateway.records[ORDER] = change(ORDER, Phase.DEPLOYED)
    office.jobs.review()
    told = details(accept(office))
    assert (told["message"], told["nextTry"]) == ("on probation", "2027-03-01 12:30:00 UTC")


def test_an_order_that_is_refused_here_fails_with_the_reason(office: Office) -> None:
    """The gateway may be in no state for it."""
    office.begin("job-1", {"operation": "rollback"})
    accept(office)
    office.jobs.refuse(ORDER, "refused", "There is no previous generation.")
    body = accept(office)
    assert (body["status"], details(body)["message"]) == ("FAILED", "There is no previous generation.")
    office.jobs.refuse(ORDER, "refused", "It is known no more, and that is no trouble.")
    assert not office.link.open(UPDATE)


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ({"operation": "dance", "agent": "iot-cert-agent"}, "rollback"),
        ({"agent": "iot-cert-agent"}, "rotate-certificate"),
        ({"operation": ["rollback"], "agent": "iot-cert-agent"}, "report"),
        ({"operation": "rotate-certificate", "window": {"opens_at": "soon", "closes_at": "later"}}, "opens_at"),
        ({"operation": "rotate-certificate", "window": {"opens_at": WINDOW["opens_at"]}}, "closes_at"),
        ({"operation": "rotate-certificate", "window": "tonight"}, "object"),
        (
            {
                "operation": "rotate-certificate",
                "window": {"opens_at": WINDOW["closes_at"], "closes_at": WINDOW["opens_at"]},
            },
            "closes before it opens",
        ),
        ({"operation": "rotate-certificate", "reason": 5}, "reason"),
        ({"operation": "rotate-certificate", "reason": "x" * 301}, "300"),
    ],
)
def test_what_is_ours_and_cannot_be_understood_is_rejected_with_the_reason(
    office: Office, document: object, word: str
) -> None:
    """A rejected job is not tried again by itself, so the document's author must see why."""
    office.begin("job-1", document)
    body = accept(office)
    assert body["status"] == "REJECTED"
    assert word in details(body)["message"]
    assert details(body)["message"].endswith(".")
    assert office.gateway.begun == []


@pytest.mark.parametrize("document", [{"operation": "reboot"}, {"steps": []}, {}, ["rollback"], "rollback", 7, None])
def test_another_programs_job_is_left_alone_and_asked_for_once(office: Office, document: object) -> None:
    """The queue belongs to the whole gateway."""
    office.begin("job-1", document)
    office.link.say(NOTIFY, b"{}")
    office.turn()
    office.link.answer(GET_JOBS, listed(("job-1", 1, 1)))
    assert len(office.link.all(JOB)) == 1
    assert not office.link.all(UPDATE)


def test_no_answer_breaks_the_rules_of_the_service(office: Office) -> None:
    """AWS takes values of 1 to 1024 characters without control characters; one that breaks this is never answered."""
    office.gateway.status = make.status(
        live=make.live(configuration_refused="c.yaml:1: first\nc.yaml:2: second\x1b[31m\u202e"),
        current=make.in_use(certificate=make.certificate(sha256="a" * 5000)),
    )
    office.begin("job-1", {"operation": "report"})
    told = details(accept(office))
    assert "first" in told["problem"]
    for value in told.values():
        assert 0 < len(value) <= 1024
        assert not [char for char in value if unicodedata.category(char).startswith("C")]
