"""Jobs that are forgotten and asked for again, and those that bring trust anchors."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.report.jobs import Download
from agent.core.report.journal_events import Event
from agent.core.values import Kind
from agent.daemon.cloud.jobs import POSTPONED
from support import make
from support.running.fleet import NOTIFY, described, listed
from support.running.office import GET_JOBS, ORDER, ROTATE, UPDATE, WINDOW, Office, accept, change, details, suggested

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


@pytest.mark.parametrize("code", ["VersionMismatch", "InvalidStateTransition", "InternalError"])
def test_an_order_whose_updates_are_refused_for_ever_is_told_once_and_never_begun(office: Office, code: str) -> None:
    """It is asked about again, within two minutes each time and not sooner, for as long as it is listed."""
    before, updates = len(office.gateway.told), 0
    for round_ in range(30):
        office.begin("job-1", ROTATE, version=round_ + 1)
        assert office.link.answer(UPDATE, {"code": code, "message": "no"}, "rejected")["expectedVersion"] == round_ + 1
        updates += 1
        office.turn()
        assert not office.link.open(GET_JOBS), "it is not asked for at once"
        office.wait(120)
    assert office.gateway.begun == []
    assert len(office.link.all(UPDATE)) == updates
    told = [event for event, _ in office.gateway.told[before:]]
    assert told.count(Event.JOB_ACCEPTED) == 1
    assert told.count(Event.PROGRESS) == 1


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


def test_jobs_that_were_queued_together_are_one_rotation(office: Office) -> None:
    """What waits behind the first is taken back once that is done, and no worker is started for it."""
    names = [f"job-{number}" for number in range(1, 40)]
    office.link.answer(GET_JOBS, listed(*((name, 1, 1) for name in names)))
    for name in names:
        office.link.answer(f"/{name}/get", described(name, ROTATE))
        accept(office, name)
    assert len(office.gateway.begun) == len(names)
    began = make.NOW + timedelta(seconds=1)
    office.gateway.records[ORDER] = replace(change(ORDER, Phase.COMMITTED), planned_at=began)
    office.gateway.not_before = began
    office.jobs.review()
    assert sorted(office.gateway.withdrawn) == sorted(f"job:{name}:1" for name in names[1:])
    for name in names:
        body = accept(office, name)
        assert (body["status"], "Already rotated" in body["statusDetails"].get("message", "")) == (
            "SUCCEEDED", name != "job-1"
        )  # fmt: skip
    told = [text for _, text in office.gateway.told if "Already rotated" in text]
    assert len(told) == len(names) - 1


def test_a_job_whose_rotation_was_undone_before_the_cloud_was_told_is_carried_out(office: Office) -> None:
    """What was done already is so for as long as it is in use, and told in the journal once the cloud knows."""
    office.begin("job-1", ROTATE)
    accept(office)
    assert len(office.gateway.begun) == 1
    office.fleet.disconnected()
    began = make.NOW + timedelta(seconds=1)
    office.gateway.records["other"] = replace(change("other", Phase.COMMITTED), planned_at=began)
    office.gateway.not_before = began
    office.jobs.review()
    assert office.gateway.withdrawn == [ORDER]
    assert not [text for _, text in office.gateway.told if "Already rotated" in text]
    undone = replace(change("undo", Phase.COMMITTED), kind=Kind.ROLLBACK, planned_at=began + timedelta(minutes=1))
    office.gateway.records["undo"] = undone
    office.jobs.review()
    assert len(office.gateway.begun) == 2


def test_an_order_that_is_done_already_is_told_once_however_often_the_cloud_refuses_to_hear_it(office: Office) -> None:
    """It is told with the cloud's word."""
    began = make.NOW + timedelta(seconds=1)
    office.gateway.records["other"] = replace(change("other", Phase.COMMITTED), planned_at=began)
    office.gateway.not_before = began

    def told() -> int:
        return sum("Already rotated" in text for _, text in office.gateway.told)

    for round_ in range(10):
        office.begin("job-1", ROTATE, version=round_ + 1)
        refused = office.link.answer(UPDATE, {"code": "InternalError", "message": "no"}, "rejected")
        assert refused["status"] == "SUCCEEDED"
        office.wait(120)
    assert told() == 0
    office.begin("job-1", ROTATE, version=11)
    accept(office)
    assert told() == 1


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
