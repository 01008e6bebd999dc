"""The fleet's side as a whole: what a new link asks for, what comes first, and what no message can do."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest

from agent.core.change.lifecycle import Phase
from support import make
from support.network.malformed import Malformed
from support.running.fleet import DELTA, DOCUMENTS, NOTIFY, THING, described, listed
from support.running.office import DUE, GET_JOBS, GET_SHADOW, JOB, ORDER, ROTATE, UPDATE, WINDOW, Office, accept, change
from support.suite import campaigns

if TYPE_CHECKING:
    import random


SEED = 20270301


def test_a_new_link_asks_for_the_shadow_and_for_the_pending_jobs_and_listens(office: Office) -> None:
    """Nothing is remembered from before, so everything is asked for."""
    assert {asked.topic for asked in office.link.open()} == {
        f"$aws/things/{THING}/shadow/name/certificate/get",
        f"$aws/things/{THING}/jobs/get",
    }
    assert NOTIFY in office.link.heard
    assert {DELTA, DOCUMENTS} & set(office.link.heard)


def spoil(office: Office, end: str, how: str) -> None:
    """Answer a request in a way that helps no client."""
    match how:
        case "lost":
            office.link.lose(end)
        case "throttled":
            office.link.refuse(end, 429 if end == GET_SHADOW else "RequestThrottled")
        case "garbled":
            office.link.answer(end, b"{\xff")
        case _:
            office.link.answer(end, {"inProgressJobs": 5, "execution": 5, "state": 5})


@pytest.mark.parametrize(
    ("end", "how"),
    [
        *((end, how) for end in (GET_JOBS, JOB, GET_SHADOW) for how in ("lost", "throttled", "garbled", "strange")),
        *((UPDATE, how) for how in ("lost", "throttled", "garbled")),
    ],
)
def test_what_was_not_answered_soundly_is_asked_for_again_without_hurry(office: Office, end: str, how: str) -> None:
    """A connection may last for months: one bad answer must not be the last word, and a fleet must not hammer."""
    if end in {JOB, UPDATE}:
        office.link.answer(GET_JOBS, listed(("job-1", 1, 1)))
    if end == UPDATE:
        office.link.answer(JOB, described("job-1", ROTATE))
    spoil(office, end, how)
    again = GET_SHADOW if end == GET_SHADOW else GET_JOBS
    asked = len(office.link.all(again))
    office.wait(10)
    assert len(office.link.all(again)) == asked
    office.wait(180)
    assert len(office.link.all(again)) > asked


def test_nothing_is_said_without_a_link(office: Office) -> None:
    """Whatever is reviewed, reported or retired meanwhile."""
    office.begin("job-1", ROTATE)
    link = office.link
    asked = len(link.asked)
    office.fleet.disconnected()
    office.gateway.records[ORDER] = change(ORDER, Phase.COMMITTED)
    office.jobs.review()
    office.fleet.report()
    assert not office.retirements.ask(DUE)
    office.wait(1_000)
    assert len(link.asked) == asked


def test_a_job_comes_before_the_shadows_wish(office: Office) -> None:
    """The operator who gave this gateway a job meant this gateway; afterwards the wish counts again."""
    office.link.answer(GET_SHADOW, {"state": {"desired": {"renew": WINDOW}}})
    later = {"opens_at": "2027-06-01T00:00:00+00:00", "closes_at": "2027-06-02T00:00:00+00:00"}
    office.begin("job-1", {**ROTATE, "window": later})
    accept(office)
    assert [item and item.source for item in office.gateway.suggested][-1] == "job job-1"
    office.link.say(NOTIFY, b"{}")
    office.turn()
    office.link.answer(GET_JOBS, listed())
    assert [item and item.source for item in office.gateway.suggested][-1] == "the shadow"


def ask_everything(office: Office, number: int) -> None:
    """Bring a fleet into the state in which it waits for one answer of each kind."""
    office.wait(100_000)
    office.gateway.status = make.status(current=make.in_use(generation=number))
    office.connect()
    office.clock.now += 61
    if number % 2 == 0:
        office.link.answer(GET_SHADOW, {"state": {"desired": {"renew": WINDOW}}})
    office.begin(f"job-{number}", ROTATE)
    for _ in range(2):
        office.link.say(NOTIFY, b"{}")
        office.turn()
        if len(office.link.all(GET_JOBS)) == 2:
            office.link.answer(GET_JOBS, listed((f"job-{number}", 1, 1), (f"other-{number}", 1, 1)))
    office.retirements.ask(DUE)
    kinds = {asked.operation for asked in office.link.open()}
    shadow_asked = "GetShadow" if number % 2 else "UpdateShadow"
    assert kinds == {"GetPendingJobExecutions", "DescribeJobExecution", "UpdateJobExecution", "retire", shadow_asked}


def deliver(office: Office, payload: bytes, verdict: str) -> int:
    """Hand one message to everything that waits for an answer or listens, and return how many that were."""
    waiting = office.link.open()
    for asked in waiting:
        asked.open = False
        asked.done(f"{asked.topic}/{verdict}", payload)
    for heard in list(office.link.heard.values()):
        heard(payload)
    office.turn()
    return len(waiting) + len(office.link.heard)


def test_ten_thousand_malformed_messages_raise_nothing_and_leave_nothing(office: Office) -> None:
    """Whatever is answered or said: no error gets out, nothing piles up, and the next good job is carried out."""
    asked, delivered = count(), 0

    def say(chance: random.Random) -> None:
        nonlocal delivered
        ask_everything(office, next(asked))
        payload = next(iter(Malformed(chance.getrandbits(32))))
        delivered += deliver(office, payload, "accepted" if chance.randrange(3) else "rejected")

    number = campaigns.each(10_000, say, one_in=25, seed=SEED)
    assert delivered >= 7 * number
    assert len(office.jobs._known) <= 100
    assert len(office.jobs._foreign) <= 1_000
    assert all(order.startswith("job:") and len(order) < 90 for _, order, _ in office.gateway.begun)
    assert all(len(reason) <= 500 for _, _, reason in office.gateway.begun)
    _carries_out_a_good_job(office)


def _carries_out_a_good_job(office: Office) -> None:
    office.wait(100_000)
    office.connect()
    office.link.answer(GET_JOBS, listed(("good", 1, 1)))
    office.link.answer("/good/get", described("good", ROTATE))
    accept(office, "good")
    assert office.gateway.begun[-1][1] == "job:good:1"
    office.gateway.records["job:good:1"] = change("job:good:1", Phase.COMMITTED)
    office.jobs.review()
    assert accept(office, "good")["status"] == "SUCCEEDED"
