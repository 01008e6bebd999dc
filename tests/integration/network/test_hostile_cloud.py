"""A cloud that says anything at all: the daemon lives, stays small, and carries out the next good order."""

from __future__ import annotations

import json
import time
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from agent.core.report.jobs import MARK
from agent.daemon.quiet import CAUSES
from agent.sandbox.replies.faults import TOKEN_MARK, Effect, Operation
from agent.sandbox.services.jobs import JobStatus
from support.network.malformed import Malformed
from support.running.fleet import DELTA, DOCUMENTS, NOTIFY, PATIENCE, SHADOW, THING, Site, until
from support.suite import campaigns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.running.gateway import Gateway

SEED = 20270302
GROWTH = 1024.0  # KiB; of a sound daemon it is 100 to 400
WARM_UP, MESSAGES = 500, 500 + len(campaigns.places(9_500, 10))
ANSWERS = 40  # of them are answers to requests, before and after the warm-up
AGAIN = 150.0  # seconds: what was answered badly is asked for again within two minutes
BATCH, BYTES = 200, 600_000  # messages between two looks at whether the daemon keeps up: the front lets 1 MiB wait
SETTLED = 8.0  # seconds in which a daemon gives back what it needed only for something that is over

JOBS, NAMED = f"$aws/things/{THING}/jobs", f"$aws/things/{THING}/shadow/name/{SHADOW}"
TOPICS = (
    *(NOTIFY, DELTA, DOCUMENTS) * 3,
    *(f"{NAMED}/update/accepted", f"{NAMED}/get/accepted", f"{NAMED}/update/rejected"),
    *(f"{JOBS}/get/accepted", f"{JOBS}/get/rejected", f"{JOBS}/job-1/get/accepted", f"{JOBS}/job-1/update/accepted"),
    f"iot-cert-agent/{THING}/retire/accepted",
)


@pytest.fixture(name="site")
def _site(gateway: Gateway) -> Iterator[Site]:
    """Give a gateway that has a certificate to be retired, so that it asks for everything it ever asks for."""
    gateway.expect_silence()
    gateway.configure({"  template: gateway-rotation\n": "  template: gateway-rotation\n  grace: 0s\n"})
    gateway.enroll()
    gateway.run("rotate", expect=0)
    with Site(gateway) as site:
        yield site


def keep_up(site: Site) -> None:
    """Have the daemon ask for its jobs, which it does after all that was said before."""
    before, end = site.cloud.count(Operation.JOBS), time.monotonic() + PATIENCE
    while site.cloud.count(Operation.JOBS) == before:
        assert time.monotonic() < end, "the daemon does not ask for its jobs any more"
        site.notify()
        patience = time.monotonic() + 0.5  # it may be waiting for an answer that will never come
        while site.cloud.count(Operation.JOBS) == before and time.monotonic() < patience:
            time.sleep(0.005)


def pour(site: Site, payloads: Iterator[bytes], number: int) -> None:
    """Have the cloud say malformed things, now here and now there, at a pace at which none is lost."""
    waiting = 0
    for count, payload in enumerate(islice(payloads, number)):
        site.push(TOPICS[count % len(TOPICS)], payload)
        waiting += len(payload)
        if waiting > BYTES or count % BATCH == 0:
            keep_up(site)
            waiting = 0


def is_heard(payload: bytes) -> bool:
    """Whether the SDK hands an answer on: it takes what it can read and tell by its token; others time out, unheard."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        body = json.loads(payload, parse_constant=refuse)
    except (ValueError, RecursionError):
        return False
    unread = b"\\ud" in payload or b"9" * 64 in payload
    return isinstance(body, dict) and body.get("clientToken") == TOKEN_MARK.decode() and not unread


def answer(site: Site, payloads: Iterator[bytes], number: int) -> None:
    """Have the cloud answer so many requests with malformed messages."""
    for payload in islice(filter(is_heard, payloads), number):
        site.fault(Operation.JOBS, Effect.HOSTILE, payload=payload)
    end = site.cloud.count(Operation.JOBS) + number
    while site.cloud.count(Operation.JOBS) < end:
        keep_up(site)


def settled(site: Site) -> float:
    """Return the least memory in KiB of some seconds: the daemon gives back what it needed for a worker that ended."""
    site.reload()
    samples = []
    end = time.monotonic() + SETTLED
    while time.monotonic() < end:
        samples.append(site.memory())
        time.sleep(0.2)
    return min(samples)


def carries_out_an_order(site: Site) -> None:
    """Prove that the daemon does its work: it answers people, reports, rotates, and tells of it."""
    site.cloud.faults.clear()
    for _ in range(2):  # the first may still wait for an answer that was hostile
        keep_up(site)
    shown = site.gateway.run("status").out
    assert "generation" in shown
    assert "\x1b" not in shown
    asked = site.cloud.count(Operation.CREATE)
    job_id = site.job({"operation": "rotate-certificate", "reason": "the good one"}, "the-good-one")
    site.reaches(job_id, JobStatus.SUCCEEDED, AGAIN)
    assert site.orders[-1] == f"job:{job_id}:1"
    assert site.cloud.count(Operation.CREATE) == asked + 1
    assert "Traceback" not in site.log
    assert "\x1b" not in site.log


def test_thousands_of_malformed_messages_cost_nothing(site: Site) -> None:
    """Said and answered: no traceback, hardly any memory, the same process and the same connection throughout."""
    payloads, pid, connects = iter(Malformed(SEED)), site.pid, site.cloud.count(Operation.CONNECT)
    until(lambda: site.status.get("retirements") == [], "the replaced certificate is retired")
    pour(site, payloads, WARM_UP - ANSWERS)
    answer(site, payloads, ANSWERS)
    warm = settled(site)
    pour(site, payloads, MESSAGES - WARM_UP - ANSWERS)
    answer(site, payloads, ANSWERS)
    until(lambda: site.memory() < warm + GROWTH, f"no more than {GROWTH:.0f} KiB is kept of {MESSAGES} messages")
    told = site.log.count("What the cloud told of the shadow was not used")
    assert told == CAUSES, "what is malformed is told to the log, and does not fill it"
    assert (site.pid, site.cloud.count(Operation.CONNECT)) == (pid, connects)
    carries_out_an_order(site)


@pytest.mark.whole
def test_a_flood_of_sound_and_laden_messages_keeps_the_daemon_from_nothing(site: Site) -> None:
    """As fast as they can be said: people are answered by it meanwhile, and it carries out an order after.

    A machine that is too busy to read so much is hung up on; the daemon connects anew.
    """
    laden = json.dumps({"current": {"state": {"desired": {"other": [[1] * 30] * 1000}}}}).encode()
    pid = site.pid
    for _ in range(10):
        for _ in range(300):
            site.push(DOCUMENTS, laden)
            site.notify()
        shown = json.loads(site.gateway.run("status", "--json").out)
        assert shown["daemon"] == pid, "it is the daemon's own word, and not what a command finds without it"
    until(lambda: site.up, "it is connected")
    assert site.pid == pid
    carries_out_an_order(site)


def test_a_storm_of_jobs_gets_the_certificates_of_a_day_and_each_is_told_what_it_waits_for(gateway: Gateway) -> None:
    """The first ones are carried out, the next one waits and says until when, and the others for their turn."""
    gateway.enroll()
    gateway.configure({"daily_limit: 100": "daily_limit: 4"})
    with Site(gateway) as site:
        storm = [site.rotation(agent=MARK, force=True) for _ in range(12)]
        for job_id in storm[:3]:
            site.reaches(job_id, JobStatus.SUCCEEDED)
        until(lambda: site.execution(storm[3]).status_details.get("nextTry"), "the fourth tells until when it waits")
        site.settle()
        waits = site.execution(storm[3]).status_details
        assert waits["message"].startswith("4 certificates were asked for within 24 hours and the limit is 4")
        assert waits["message"].endswith(waits["nextTry"])
        shown = gateway.run("status", expect=0).out
        assert f"next: {waits['message']}\n" in shown
        told = {(site.execution(job_id).status, *site.execution(job_id).status_details.items()) for job_id in storm[4:]}
        message = "The order is accepted and follows those before it: one change at a time, within the daily limit."
        assert told == {(JobStatus.IN_PROGRESS, ("phase", "waiting"), ("message", message))}
        assert [len(site.tap.bodies(f"/jobs/{job_id}/update")) for job_id in storm[4:]] == [1] * 8, "each is told once"
        assert site.cloud.count(Operation.CREATE) == 4
        for job_id in storm[3:]:
            site.cloud.end_job(THING, job_id)
        site.settle()
        assert site.cloud.count(Operation.CREATE) == 4


@pytest.mark.whole
def test_a_storm_of_jobs_that_ask_for_the_same_is_one_or_two_rotations(gateway: Gateway) -> None:
    """Each is carried out by what began after it was queued; at the site's second the second may be another one."""
    gateway.enroll()
    with Site(gateway) as site:
        storm = [site.rotation() for _ in range(12)]
        for job_id in storm:
            site.reaches(job_id, JobStatus.SUCCEEDED)
        assert 2 <= site.cloud.count(Operation.CREATE) <= 4
        details = site.execution(storm[-1]).status_details
        assert details["message"].startswith("Already rotated: ")


def test_a_hostile_answer_to_any_request_is_got_over(site: Site) -> None:
    """Each kind of request is answered with malformed messages, at one start after the other."""
    payloads = iter(Malformed(SEED + 1))
    for operation, times in {Operation.ASK: 2, Operation.SHADOW: 2, Operation.RETIRE: 4, Operation.JOBS: 8}.items():
        for payload in islice(payloads, times):
            site.fault(operation, Effect.HOSTILE, payload=payload)
    for _ in range(3):
        site.restart()
        keep_up(site)
    wanted = {Operation.ASK, Operation.SHADOW, Operation.RETIRE, Operation.JOBS}

    def answered() -> set[str]:
        return {request.operation for request in list(site.cloud.requests) if request.outcome == "hostile"}

    until(lambda: answered() == wanted, "each kind of request is answered so", AGAIN)
    carries_out_an_order(site)
