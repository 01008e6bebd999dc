"""The console of a local IoT Core that runs, with gateways that are connected."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from agent.sandbox.cloud import Cloud, Status
from agent.sandbox.process.console import Console, OrderError
from support.running.front import THING, Wire, ask, device, disconnect, now, wait_for_live

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.sandbox.service import LocalCloud


def test_the_console_gives_jobs_to_the_newest_gateway(local: LocalCloud, cloud: Cloud) -> None:
    """The operations by short names, with further fields, or a document to the byte; each is listed with its state."""
    device(cloud, thing="gw-0")
    device(cloud, status=Status.REVOKED)
    console = Console(local, now)
    assert console.obey("job rotate") == "gw-1 has the job job-1"
    console.obey('job rotate {"reason": "two  blanks"}')
    console.obey("job rollback")
    console.obey("job report")
    console.obey('job raw {"operation":  "rotate-certificate",')
    assert [job.document for job in cloud.jobs(THING)] == [
        b'{"operation": "rotate-certificate"}',
        b'{"operation": "rotate-certificate", "reason": "two  blanks"}',
        b'{"operation": "rollback"}',
        b'{"operation": "report"}',
        b'{"operation":  "rotate-certificate",',
    ]
    assert console.obey("cancel job-2") == "job-2 is canceled"
    assert console.obey("jobs").splitlines()[:2] == [
        "job-1  execution 1  QUEUED       {}",
        "job-2  execution 1  CANCELED     {}",
    ]


def test_the_console_lists_what_a_gateway_said_about_its_job(local: LocalCloud, wire: Callable[..., Wire]) -> None:
    """The details as they came."""
    console = Console(local, now)
    client = wire()
    client.connect()
    assert console.obey("jobs") == ""
    console.obey("job report")
    update = {"status": "FAILED", "statusDetails": {"code": "no-network"}}
    assert ask(client, f"$aws/things/{THING}/jobs/job-1/update", update) == []
    assert console.obey("jobs") == 'job-1  execution 1  FAILED       {"code": "no-network"}'


def test_the_console_wishes_and_shows_the_shadow(local: LocalCloud, cloud: Cloud) -> None:
    """Before the first wish or report there is none."""
    device(cloud)
    console = Console(local, now)
    assert console.obey("shadow") == "gw-1 has no shadow 'certificate' yet"
    assert console.obey('desire {"renew": {"opens_at": "x"}}') == "the shadow 'certificate' of gw-1 desires it"
    shown = json.loads(console.obey("shadow"))
    assert (shown["state"], shown["version"]) == ({"desired": {"renew": {"opens_at": "x"}}}, 1)


def test_the_console_lists_sessions_and_the_longest_gap(
    local: LocalCloud, cloud: Cloud, wire: Callable[..., Wire]
) -> None:
    """One line each, and one for each client."""
    console = Console(local, now)
    assert console.obey("sessions") == ""
    identity = device(cloud)
    client = wire(identity)
    client.connect()
    disconnect(client)
    wait_for_live(local, 0)
    wire(identity).connect()
    first, second, summary = console.obey("sessions").splitlines()
    assert first.split()[:2] == ["0.0", "s"]
    assert first.split()[-3:] == [THING, identity.certificate_id[:12], "closed"]
    assert second.split()[-4:] == ["...", THING, identity.certificate_id[:12], "live"]
    (gap,) = local.front.log.gaps(THING)
    assert summary == f"gw-1 was not connected for {gap:.1f} s at the longest"


REFUSED = (
    "job",
    "job dance",
    "job raw",
    "job rotate {",
    "job rotate []",
    "job rotate " + "[" * 4000,
    "cancel",
    "cancel job-7",
    "desire",
    "desire 7",
    'desire {"a": [null]}',
)


def test_an_order_that_cannot_be_carried_out_is_refused_with_a_hint(local: LocalCloud, cloud: Cloud) -> None:
    """And nothing was done."""
    device(cloud)
    for order in REFUSED:
        with pytest.raises(OrderError, match="cannot be carried out") as caught:
            Console(local, now).obey(order)
        assert caught.value.hint == "`help` lists them."
        assert cloud.jobs(THING) == []
        assert cloud.shadow(THING, "certificate") is None


def test_without_a_gateway_no_orders_are_taken(local: LocalCloud) -> None:
    """The message says so."""
    for order in ("job rotate", "jobs", "cancel job-1", "desire {}", "shadow"):
        with pytest.raises(OrderError, match="no gateway has enrolled yet"):
            Console(local, now).obey(order)


def test_the_console_tells_its_orders(local: LocalCloud) -> None:
    """The operations at which faults strike are among them."""
    told = Console(local, now).obey("help")
    for order in ("job rotate", "job raw JSON", "jobs", "cancel JOB", "desire JSON", "shadow", "sessions"):
        assert f"\n{order}" in told
    assert "ask retire jobs shadow   lose ignore" in told
