"""Jobs: what is asked, in which order, what is believed, and when it is asked again."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.failure.failure import Failure, FailureClass
from agent.core.report.jobs import Download
from agent.core.report.journal_events import Event
from agent.core.values import Kind
from agent.daemon.cloud.jobs import POSTPONED
from support import make
from support.fleet import NOTIFY, described, listed
from support.office import GET_JOBS, JOB, ORDER, ROTATE, UPDATE, WINDOW, Office, accept, change, details, suggested

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


# -- forgetting and asking again ---------------------------------------------------------------------------------------


def test_a_job_that_is_not_listed_any_more_is_forgotten(office: Office) -> None:
    """It was cancelled: nothing more is said about it, and its window counts no more."""
    office.begin("job-1", {**ROTATE, "window": WINDOW})
    accept(office)
    office.link.say(NOTIFY, b"{}")
    office.turn()
    office.link.answer(GET_JOBS, listed())
    assert [item and item.source for item in office.gateway.suggested][-2:] == ["job job-1", None]
    office.jobs.review()
    assert not office.link.open(UPDATE)


def test_a_job_that_was_cancelled_before_its_turn_is_taken_back(office: Office) -> None:
    """Another change may be in flight for an hour; what was handed over meanwhile must not outlive the job."""
    office.begin("job-1", ROTATE)
    accept(office)
    assert office.gateway.withdrawn == []
    office.link.say(NOTIFY, b"{}")
    office.turn()
    office.link.answer(GET_JOBS, listed())
    assert office.gateway.withdrawn == [ORDER]


def test_a_window_counts_only_after_the_job_is_accepted(office: Office) -> None:
    """And what is not accepted is not waited for."""
    office.begin("job-1", {**ROTATE, "window": WINDOW})
    assert [item for item in office.gateway.suggested if item is not None] == []
    accept(office)
    found = suggested(office)
    assert found is not None
    assert (found.opens_at, found.order) == (datetime(2027, 5, 1, tzinfo=UTC), ORDER)
    assert office.gateway.begun == []


def test_a_window_that_was_used_suggests_nothing_more(office: Office) -> None:
    """Between the end of the change and the cloud's word that it knows, nothing may rotate again."""
    office.begin("job-1", {**ROTATE, "window": WINDOW})
    accept(office)
    office.gateway.records[ORDER] = change(ORDER, Phase.COMMITTED)
    office.fleet.disconnected()
    office.jobs.review()
    assert suggested(office) is None


def test_a_window_before_the_certificate_was_made_is_done_already(office: Office) -> None:
    """The operator wants a newer certificate than the window, and that is what there is."""
    office.gateway.not_before = datetime(2027, 6, 1, tzinfo=UTC)
    office.begin("job-1", {**ROTATE, "window": WINDOW})
    assert accept(office)["status"] == "SUCCEEDED"
    assert office.gateway.begun == []


def test_jobs_of_others_are_remembered_within_bounds(office: Office) -> None:
    """A thousand and one jobs of others cost a thousand names."""
    office.link.answer(GET_JOBS, listed())
    for number in range(1_100):
        office.link.say(NOTIFY, b"{}")
        office.turn()
        office.begin(f"job-{number}", {"operation": "reboot"})
    assert len(office.jobs._foreign) <= 1_000
    assert "job:job-1099:1" in office.jobs._foreign


def test_what_was_announced_while_a_list_was_lost_is_asked_for_at_once(office: Office) -> None:
    """A new job must not wait for minutes because the answer that would have named it went astray; unless throttled."""
    office.link.say(NOTIFY, b"{}")
    office.turn()
    office.link.lose(GET_JOBS)
    office.turn()
    assert len(office.link.open(GET_JOBS)) == 1
    office.link.say(NOTIFY, b"{}")
    office.turn()
    office.link.refuse(GET_JOBS, "RequestThrottled")
    office.wait(10)
    assert not office.link.open(GET_JOBS)
    office.wait(180)
    assert len(office.link.open(GET_JOBS)) == 1


def test_a_flood_of_notifications_is_not_answered_by_a_flood_of_requests(office: Office) -> None:
    """A client that floods a gateway must not make it flood the cloud: one request is under way, and one may follow."""
    for _ in range(1_000):
        office.link.say(NOTIFY, b"{}")
    office.turn()
    assert len(office.link.open(GET_JOBS)) <= 2
    while office.link.open(GET_JOBS):
        office.link.answer(GET_JOBS, listed())
        office.turn()
    assert len(office.link.all(GET_JOBS)) == 2, "the first answer was older than the last notification"
    office.link.say(NOTIFY, b"{}")
    office.wait(1)
    assert office.link.open(GET_JOBS)


@pytest.mark.parametrize("status", ["QUEUED", "IN_PROGRESS"])
def test_a_window_that_closes_too_soon_is_refused_once(office: Office, status: str) -> None:
    """An operator who mistook the year would wait for ever. One that was accepted before is kept to its end."""
    soon = (make.NOW + timedelta(seconds=59)).isoformat()
    office.link.answer("/jobs/get", listed(("job-1", 1, 1)))
    told = described("job-1", {**ROTATE, "window": {"opens_at": "2027-02-01T00:00:00Z", "closes_at": soon}})
    told["execution"]["status"] = status
    office.link.answer("/job-1/get", told)
    body = accept(office)
    assert body["status"] == ("REJECTED" if status == "QUEUED" else "IN_PROGRESS")
    if status == "QUEUED":
        assert details(body)["code"] == "window-over"
        assert details(body)["message"].startswith("The window closes too soon, at 2027-")
        assert suggested(office) is None
        assert not office.link.open(UPDATE)


@pytest.mark.parametrize("distance", [timedelta(), timedelta(days=1)])
def test_a_window_of_no_length_is_a_window(office: Office, distance: timedelta) -> None:
    """Opening and closing at the same instant is a sharp order, and no mistake."""
    at = (datetime(2027, 5, 1, tzinfo=UTC) + distance).isoformat()
    office.begin("job-1", {**ROTATE, "window": {"opens_at": at, "closes_at": at}})
    assert accept(office)["status"] == "IN_PROGRESS"


# -- bundles of trust anchors ------------------------------------------------------------------------------------------


URL = "https://depot.example/bundle.tar?X-Amz-Signature=5ecret"


INSTALL = {"operation": "install-trust-bundle", "url": URL, "sha256": "AB" * 32, "reason": "root B"}


@pytest.fixture(name="shipped")
def _shipped(office: Office) -> Office:
    """Return an office in which the installation of a bundle was ordered and begun."""
    office.begin("job-1", INSTALL)
    accept(office)
    return office


def test_a_bundle_is_downloaded_for_the_job_that_ordered_it(shipped: Office) -> None:
    """Once, and as no change: whether it becomes one is for the worker to find out."""
    shipped.jobs.review()

    assert shipped.gateway.downloads == [(Download(url=URL, digest="ab" * 32), ORDER, "job job-1: root B")]
    assert shipped.gateway.begun == []


def test_a_bundle_that_is_in_use_already_is_a_success(shipped: Office) -> None:
    """With a word on why nothing was changed."""
    shipped.jobs.done(ORDER, "These anchors are in use already.")
    body = accept(shipped)

    assert (body["status"], details(body)["message"]) == ("SUCCEEDED", "These anchors are in use already.")
    assert len(shipped.gateway.downloads) == 1


def test_a_bundle_that_is_refused_fails_with_its_code(shipped: Office) -> None:
    """The pipeline reads the code."""
    shipped.jobs.refuse(ORDER, "rollback", "An older bundle.")
    body = accept(shipped)

    assert body["status"] == "FAILED"
    assert (details(body)["code"], details(body)["message"]) == ("rollback", "An older bundle.")


def test_a_bundle_that_has_to_wait_is_downloaded_again_after_a_while(shipped: Office) -> None:
    """The job stays in progress and says what it waits for; with chance, so that a fleet does not come back at once."""
    shipped.jobs.postpone(ORDER, "The clock is not set.")
    body = accept(shipped)
    assert (body["status"], details(body)["message"]) == ("IN_PROGRESS", "The clock is not set.")
    shipped.wait(1.5 * POSTPONED - 1)
    assert len(shipped.gateway.downloads) == 1
    shipped.wait(2)

    assert len(shipped.gateway.downloads) == 2
    assert shipped.gateway.downloads[0] == shipped.gateway.downloads[1]


def test_a_bundle_whose_job_is_gone_is_not_downloaded_again(shipped: Office) -> None:
    """It was cancelled while it waited."""
    shipped.jobs.postpone(ORDER, "The clock is not set.")
    accept(shipped)
    shipped.link.say(NOTIFY, b"{}")
    shipped.turn()
    shipped.link.answer(GET_JOBS, listed())
    shipped.wait(10 * POSTPONED)

    assert len(shipped.gateway.downloads) == 1
    assert shipped.gateway.withdrawn == [ORDER]


def test_what_no_job_orders_any_more_is_reported_to_none(office: Office) -> None:
    """A worker may come back after the job is gone."""
    office.jobs.done("job:gone:1", "x")
    office.jobs.postpone("job:gone:1", "x")
    office.jobs.refuse("job:gone:1", "x", "x")
    office.wait(10 * POSTPONED)

    assert office.gateway.downloads == []
    assert not office.link.all(UPDATE)


def test_no_word_to_the_cloud_or_the_journal_holds_the_url(shipped: Office) -> None:
    """It is presigned."""
    shipped.jobs.postpone(ORDER, "No route.")
    accept(shipped)
    shipped.jobs.refuse(ORDER, "wrong-hash", "Another archive.")
    accept(shipped)

    assert "5ecret" not in repr([asked.body for asked in shipped.link.asked])
    assert "5ecret" not in repr(shipped.gateway.told)
