"""The fleet's operator and a gateway: jobs and the shadow, with the real daemon over real TLS."""

from __future__ import annotations

import itertools
import json
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.when.renewal import splay
from agent.crypto.x509 import read_certificate
from agent.sandbox.replies.faults import Effect, Operation
from agent.sandbox.services.jobs import JobStatus
from support.running.fleet import NOTIFY, THING, Site, daemon, instant, until, window
from support.running.gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
QUICK = timedelta(minutes=3)  # a lifetime with which one rotation may follow another after a few seconds


@pytest.fixture(name="site", scope="module")
def _site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Give a gateway that the stories share; none of them rests on what another has left."""
    with Gateway(tmp_path_factory.mktemp("fleet")) as gateway:
        gateway.expect_silence().enroll()
        with Site(gateway) as site:
            yield site
        said, secrets = gateway.everything_said(), gateway.secrets()
        assert not [secret[:6] for secret in secrets if secret in said]


def give_early_place(gateway: Gateway) -> None:
    """Have each certificate of the operator's own CA give the thing a place in the first eighth of any window.

    No window may end within a minute, and a test waits for the gateway's place in it. The certificate's id decides that
    place, and a second more of its lifetime makes another id.
    """
    sign = gateway.cloud.stack.sign

    def signed(csr: str, caller: str, lifetime: timedelta) -> str:
        made = (sign(csr, caller, lifetime + timedelta(seconds=more)) for more in itertools.count())
        return next(pem for pem in made if splay(THING, read_certificate(pem.encode())[0].sha256) < 1 / 8)

    gateway.cloud.stack.sign = signed  # type: ignore[method-assign]


def created(site: Site) -> int:
    """Return how many certificates were asked for."""
    return site.cloud.count(Operation.CREATE)


# -- jobs --------------------------------------------------------------------------------------------------------------


def test_a_job_rotates_once_and_its_progress_and_end_are_told(site: Site) -> None:
    """QUEUED, IN_PROGRESS, SUCCEEDED, with what became of it; and once more when the operator has it redone."""
    before, asked = site.gateway.generations()[0] or 0, created(site)
    job_id = site.rotation(reason="leaked key\x1b[31m\nhealth       ok")
    done = site.reaches(job_id, JobStatus.SUCCEEDED)
    record = site.gateway.history()[-1]
    assert dict(done.status_details) == {
        "phase": "committed",
        "change": record.id,
        "generation": str(before + 1),
        "certificateId": site.gateway.certificate_id(),
    }
    assert done.started_at is not None
    assert (record.order, record.origin, created(site) - asked) == (f"job:{job_id}:1", "job", 1)
    updates = site.tap.bodies(f"/jobs/{job_id}/update")
    assert [update["status"] for update in updates] == ["IN_PROGRESS", "SUCCEEDED"]
    assert [update["expectedVersion"] for update in updates] == [1, 2]
    shown = site.gateway.run("history").out + site.gateway.run("status").out + site.log
    assert "leaked key" in shown
    assert "\x1b" not in shown
    site.cloud.retry_job(THING, job_id)
    again = site.reaches(job_id, JobStatus.SUCCEEDED)
    assert (again.number, again.status_details["generation"]) == (2, str(before + 2))
    assert site.orders[-2:] == [f"job:{job_id}:1", f"job:{job_id}:2"]
    assert created(site) - asked == 2


def test_a_job_asks_for_a_report_and_gets_one(site: Site) -> None:
    """The digest of the status, as text, and nothing is changed."""
    asked, number = created(site), len(site.orders)
    told = site.reaches(site.job({"operation": "report", "agent": "iot-cert-agent"}), JobStatus.SUCCEEDED)
    assert told.status_details["certificateId"] == site.gateway.certificate_id()
    assert told.status_details["generation"] == str(site.gateway.generations()[0])
    assert told.status_details["notAfter"].startswith("2049-12-31")
    assert (created(site), len(site.orders)) == (asked, number)


def test_a_job_goes_back_and_where_there_is_nothing_to_go_back_to_it_says_so(gateway: Gateway) -> None:
    """A rollback is a change with its own end; a gateway that cannot do it, or that fails at it, says why."""
    with daemon(gateway) as site:
        for job_id in [site.job({"operation": "rollback"}) for _ in range(3)]:
            told = site.reaches(job_id, JobStatus.FAILED).status_details
            assert "no previous generation" in told["message"]
        site.fault(Operation.REGISTER, Effect.NEVER_ACTIVE)
        failed = site.reaches(site.rotation(), JobStatus.FAILED)
        told = failed.status_details
        assert (told["phase"], told["failureClass"]) == ("rejected", "credential")
        assert told["message"].endswith(".")
        assert told["remedy"].endswith(".")
        assert gateway.generations() == (1, None)
        site.reaches(site.rotation(), JobStatus.SUCCEEDED)
        current, previous = gateway.generations()
        back = site.reaches(site.job({"operation": "rollback", "reason": "not good"}), JobStatus.SUCCEEDED)
        assert gateway.generations() == (previous, current)
        assert (back.status_details["phase"], back.status_details["generation"]) == ("committed", str(previous))
        assert gateway.history()[-1].kind == "rollback"


FOREIGN: list[bytes | dict[str, Any]] = [
    {"operation": "reboot", "steps": ["now"]},
    {"files": [{"fileName": "x"}]},
    b"[1, 2, 3]",
    b'"rotate-certificate"',
    b"null",
]

REJECTED: list[tuple[dict[str, Any], str]] = [
    ({"operation": "dance", "agent": "iot-cert-agent"}, "rotate-certificate, rollback, install-trust-bundle, report"),
    ({"operation": "rotate-certificate", "window": {"opens_at": "soon", "closes_at": "later"}}, "opens_at"),
    (
        {
            "operation": "rotate-certificate",
            "window": {"opens_at": "2090-01-02T00:00:00Z", "closes_at": "2090-01-01T00:00:00Z"},
        },
        "closes before it opens",
    ),
    ({"operation": "rotate-certificate", "reason": ["because"]}, "reason"),
]


def test_what_is_ours_and_wrong_is_rejected_and_what_is_anothers_is_left_alone(site: Site) -> None:
    """The author of the document learns what is wrong with it; another program's job is not touched, ever."""
    asked = created(site)
    foreign = [site.job(document) for document in FOREIGN]
    rejected = [(site.job(document), word) for document, word in REJECTED]
    for job_id, word in rejected:
        told = site.reaches(job_id, JobStatus.REJECTED).status_details
        assert word in told["message"]
        assert told["message"].endswith(".")
    site.settle()
    described = [len(site.tap.bodies(f"/jobs/{job_id}/get")) for job_id in foreign]
    for _ in range(3):
        site.notify()
    site.settle()
    for job_id in foreign:
        execution = site.execution(job_id)
        assert (execution.status, execution.version) == (JobStatus.QUEUED, 1)
        assert not site.tap.bodies(f"/jobs/{job_id}/update")
    assert min(described) >= 1
    assert described == [len(site.tap.bodies(f"/jobs/{job_id}/get")) for job_id in foreign]
    assert not site.tap.bodies("/start-next")
    assert created(site) == asked
    for job_id in foreign:
        site.cloud.end_job(THING, job_id)


def test_a_job_that_is_announced_and_delivered_many_times_is_one_rotation(site: Site) -> None:
    """AWS IoT delivers at least once: replies come twice and late, notifications come when they like."""
    asked = created(site)
    site.fault(Operation.JOBS, Effect.DUPLICATE, times=3)
    site.fault(Operation.JOBS, Effect.LATE, times=1)
    site.fault(Operation.JOBS, Effect.DUPLICATE, times=6)
    job_id = site.rotation()
    for _ in range(20):
        site.notify()
        site.push(f"{NOTIFY}-next", b'{"execution": {}}')
    until(lambda: site.execution(job_id).status is not JobStatus.QUEUED, "the job is taken", 200)
    while site.execution(job_id).status.pending:
        site.notify()
        time.sleep(0.1)
    site.cloud.faults.clear()
    site.settle()
    assert site.execution(job_id).status == JobStatus.SUCCEEDED
    assert site.orders.count(f"job:{job_id}:1") == 1
    assert created(site) == asked + 1


def test_a_job_cancelled_before_it_is_seen_is_not_carried_out(site: Site) -> None:
    """The list that is asked for at the start is the one that counts."""
    asked = created(site)
    site.stop()
    job_id = site.rotation()
    site.cloud.end_job(THING, job_id)
    site.start()
    site.settle()
    assert site.execution(job_id).status == JobStatus.CANCELED
    assert created(site) == asked
    assert not site.tap.bodies(f"/jobs/{job_id}/update")


def test_a_job_cancelled_while_another_change_is_in_flight_is_not_carried_out(gateway: Gateway) -> None:
    """It was accepted and waits for its turn; then the operator takes it back."""
    gateway.configure({"probation: 1s": "probation: 8s"})
    with Site(gateway) as site:  # which enrols first
        until(lambda: (site.status.get("change") or {}).get("phase") == "deployed" and site.up, "it is on probation")
        job_id = site.rotation()
        site.reaches(job_id, JobStatus.IN_PROGRESS)
        site.settle()
        assert (site.status.get("change") or {}).get("phase") == "deployed"
        site.cloud.end_job(THING, job_id)
        until(lambda: site.status.get("change") is None and site.up, "that change ends")
        site.settle()
        assert f"job:{job_id}:1" not in site.orders
        assert site.status["change"] is None
        assert created(site) == 1


def test_a_job_survives_the_death_of_the_daemon(gateway: Gateway) -> None:
    """Killed when the job was taken, and again while the certificate is asked for: one change is finished, and told."""
    with daemon(gateway) as site:
        job_id = site.rotation()
        site.reaches(job_id, JobStatus.IN_PROGRESS)
        site.kill()
        begun = (gateway.state / "change.json").exists()
        site.start()
        until(lambda: created(site) == 2, "the certificate is asked for")
        site.kill()
        known = json.loads((gateway.state / "change.json").read_bytes())
        site.start()
        done = site.reaches(job_id, JobStatus.SUCCEEDED)
        assert done.status_details["change"] == known["id"]
        assert done.status_details["certificateId"] == gateway.certificate_id()
        site.settle()
        assert site.orders == ["", f"job:{job_id}:1"]
        assert created(site) <= 3 + begun


# -- windows -----------------------------------------------------------------------------------------------------------


def test_a_job_waits_for_its_window_and_is_forgotten_when_it_is_cancelled(site: Site) -> None:
    """The plan moves into the window and back again."""
    ordinary, asked = site.planned_at, created(site)
    job_id = site.rotation(window=window(10 * DAY, 11 * DAY))
    told = site.reaches(job_id, JobStatus.IN_PROGRESS).status_details
    assert told["phase"] == "waiting"
    assert told["message"].startswith("Rotates between ")
    low, high = datetime.now(UTC) + 9 * DAY, datetime.now(UTC) + 12 * DAY
    until(lambda: low < (site.planned_at or low) < high, "the plan moves into the window")
    site.cloud.end_job(THING, job_id)
    until(lambda: site.planned_at == ordinary, "the plan is what it was")
    assert site.execution(job_id).status == JobStatus.CANCELED
    assert created(site) == asked


def test_a_job_rotates_once_in_its_window(gateway: Gateway) -> None:
    """Neither before it opens, nor a second time before the cloud knows of the first."""
    gateway.cloud.provisioning.lifetime = QUICK
    give_early_place(gateway)
    with daemon(gateway) as site:
        opens = datetime.now(UTC) + timedelta(seconds=12)
        job_id = site.rotation(window={"opens_at": instant(opens), "closes_at": instant(opens + timedelta(seconds=70))})
        done = site.reaches(job_id, JobStatus.SUCCEEDED)
        waits = site.tap.bodies(f"/jobs/{job_id}/update")[0]
        assert (waits["status"], waits["statusDetails"]["message"][:16]) == ("IN_PROGRESS", "Rotates between ")
        assert done.status_details["certificateId"] == gateway.certificate_id()
        assert site.requests(Operation.CREATE)[1].at >= opens
        site.settle()
        assert site.orders == ["", f"job:{job_id}:1"]
        assert gateway.history()[-1].origin == "job"


def test_a_job_whose_window_was_before_the_certificate_is_done_at_once(site: Site) -> None:
    """The certificate is newer than what the operator asked for."""
    asked = created(site)
    job_id = site.rotation(window=window(-2 * HOUR, -HOUR))
    told = site.reaches(job_id, JobStatus.SUCCEEDED).status_details
    assert "newer" in told["message"]
    assert created(site) == asked


def test_a_certificate_that_was_made_in_the_window_is_what_was_wished_for_whatever_ordered_it(gateway: Gateway) -> None:
    """AWS dates certificates two minutes back; that must not make a second rotation out of the one wish."""
    with daemon(gateway) as site:
        soon = window(timedelta(), HOUR)
        site.desired(soon)
        waiting = site.rotation(window=soon)
        site.reaches(waiting, JobStatus.IN_PROGRESS)
        site.reaches(site.rotation(), JobStatus.SUCCEEDED)
        site.reaches(waiting, JobStatus.SUCCEEDED)
        assert created(site) == 2
        until(lambda: (site.planned_at or datetime.now(UTC)) > datetime.now(UTC) + 100 * DAY, "the ordinary plan")


# -- the shadow --------------------------------------------------------------------------------------------------------


def test_the_shadow_wishes_for_a_window_and_the_gateway_rotates_in_it_once(gateway: Gateway) -> None:
    """Nonsense is answered with the reason; a window is echoed, so that the delta ends; and it is fulfilled once."""
    gateway.cloud.provisioning.lifetime = QUICK
    give_early_place(gateway)
    gateway.enroll()
    gateway.cloud.desire(THING, "certificate", {"renew": {"opens_at": "soon"}, "colour": "red"})
    with daemon(gateway) as site:
        until(lambda: site.reported.get("wishRefused"), "the nonsense is answered")
        assert "opens_at" in site.reported["wishRefused"]
        assert "renew" not in site.reported
        opens = datetime.now(UTC) + timedelta(seconds=12)
        wish = {"opens_at": instant(opens), "closes_at": instant(opens + timedelta(seconds=70))}
        site.desired(wish)
        until(lambda: gateway.generations()[0] == 2 and site.up, "it rotates in the window")
        assert site.requests(Operation.CREATE)[1].at >= opens
        site.restart()
        until(lambda: site.reported["generation"] == 2, "the restarted daemon has reported")
        assert site.reported.get("renew") == wish
        assert "wishRefused" not in site.reported
        until(lambda: (site.planned_at or opens) > opens + timedelta(seconds=45), "the plan follows the wish")


def test_a_wish_may_be_moved_and_withdrawn_while_the_daemon_runs(gateway: Gateway) -> None:
    """When only the end is moved, the cloud tells only the end; when it is withdrawn, the ordinary plan is back."""
    gateway.enroll()
    wish = window(10 * DAY, 11 * DAY)
    gateway.cloud.desire(THING, "certificate", {"renew": wish})
    with daemon(gateway) as site:
        until(lambda: site.reported.get("renew") == wish, "the wish is echoed")
        now = datetime.now(UTC)
        until(lambda: now + 9 * DAY < (site.planned_at or now) < now + 12 * DAY, "the plan follows the wish")
        site.cloud.desire(THING, "certificate", {"renew": {"closes_at": instant(now + 10 * DAY + HOUR)}})
        until(lambda: now + 9 * DAY < (site.planned_at or now) <= now + 10 * DAY + HOUR, "the plan follows")
        site.desired(None)
        until(lambda: (site.planned_at or now) > now + 100 * DAY, "the ordinary plan is back")


def test_the_shadow_tells_what_is_so_and_seldom(gateway: Gateway) -> None:
    """Small, right, at most once a minute however much happens, and not again after a reconnect without a change."""
    with daemon(gateway) as site:
        until(lambda: site.reported.get("generation") == 1, "the first report")
        began = time.monotonic()
        site.reaches(site.rotation(), JobStatus.SUCCEEDED)
        site.reaches(site.rotation(), JobStatus.SUCCEEDED)
        site.settle()
        assert site.cloud.count(Operation.SHADOW) <= 1 + (time.monotonic() - began) // 60
        site.restart()
        until(lambda: site.reported.get("generation") == 3, "the report after the start")
        reported, last = site.reported, gateway.history()[-1]
        assert reported["certificateId"] == gateway.certificate_id()
        assert (reported["lastChange"], reported["lastOutcome"]) == (last.id, "committed")
        assert (reported["health"], reported["retiring"], reported["anchors"]) == (0, 2, 1)
        assert reported["notAfter"].startswith("2049-12-31")
        sizes = [len(json.dumps(body)) for body in site.tap.bodies("/certificate/update")]
        assert max(sizes) < 4096
        number, connects = site.cloud.count(Operation.SHADOW), site.cloud.count(Operation.CONNECT)
        gateway.service.disconnect(gateway.certificate_id())
        until(lambda: site.cloud.count(Operation.CONNECT) > connects and site.up, "it connects again")
        site.settle()
        assert site.cloud.count(Operation.SHADOW) == number


# -- reports -----------------------------------------------------------------------------------------------------------


def test_a_report_is_given_whatever_the_status_holds(site: Site) -> None:
    """Two complaints are two lines, and AWS takes no line breaks in what is told of a job: it must be told anyway."""
    sound = site.gateway.config.read_text()
    job_id = ""
    try:
        site.gateway.config.write_text(sound.replace("daily_limit: 100", "daily_limit: many\n  keep: some"))
        site.reload()
        until(lambda: site.status.get("configuration_refused"), "the configuration is refused")
        job_id = site.job({"operation": "report"})
        until(lambda: not site.execution(job_id).status.pending, "the report is given")
        assert "daily_limit" in site.execution(job_id).status_details["problem"]
    finally:
        site.gateway.config.write_text(sound)
        site.reload()
        until(lambda: not site.status.get("configuration_refused"), "the configuration is taken")
        if job_id and site.execution(job_id).status.pending:
            site.cloud.end_job(THING, job_id)
