"""Retirement, as a fleet's owner and a running daemon see it."""

from __future__ import annotations

import grp
import os
import pwd
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.dependants import Report, Step, encode_report
from agent.sandbox.cloud import Status
from agent.sandbox.replies.faults import Effect, Operation
from agent.sandbox.services.jobs import JobStatus
from support.running.fleet import Site, daemon, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.running.gateway import Gateway


def test_the_replaced_certificate_is_retired_by_its_successor_and_asked_for_until_it_is_accepted(  # noqa: PLR0915
    gateway: Gateway,
) -> None:
    """With the new certificate's own connection; while the cloud says no, or nothing, the status says so."""
    with daemon(gateway.expect_silence(), grace="0s") as site:
        first = gateway.certificate_id()
        site.fault(Operation.RETIRE, Effect.DENY)
        second = site.reaches(site.rotation(), JobStatus.SUCCEEDED).status_details["certificateId"]
        until(lambda: retiring(site).get("refused"), "the refusal is shown")
        assert retiring(site)["certificate_id"] == first
        assert site.cloud.registry[first].status is Status.ACTIVE
        assert f"retiring     {first[:12]}" in gateway.run("status", expect=1).out
        gateway.run("retire", expect=0)
        until(lambda: not retiring(site), "nothing is left to be retired")
        assert site.cloud.registry[first].status is Status.INACTIVE
        assert "retiring" not in gateway.run("status", expect=0).out
        site.cloud.stack.store.leases.clear()  # the minute is over in which the second one alone is heard
        site.fault(Operation.RETIRE, Effect.LOSE)
        third = site.reaches(site.rotation(), JobStatus.SUCCEEDED).status_details["certificateId"]
        until(lambda: retiring(site).get("unanswered"), "the answer is missed")
        assert not retiring(site)["refused"]
        assert site.cloud.registry[second].status is Status.INACTIVE
        assert gateway.history()[-1].retired_at is None
        site.restart()
        until(lambda: gateway.history()[-1].retired_at is not None, "the retirement is noted")
        asked = site.requests(Operation.RETIRE)
        outcomes = ("deny", second), ("200", second), ("200", third), ("200", third)
        assert tuple((request.outcome, request.principal) for request in asked) == outcomes
        refused = site.reaches(site.job({"operation": "rollback"}), JobStatus.FAILED)
        assert "retired" in refused.status_details["message"]


def retiring(site: Site) -> dict[str, Any]:
    """Return the first certificate that waits for its retirement; empty when there is none."""
    waiting: list[dict[str, Any]] = site.status.get("retirements") or [{}]
    return waiting[0]


@contextmanager
def with_a_copy(gateway: Gateway, **settings: str) -> Iterator[tuple[Site, Path]]:
    """Run a daemon with another program, which wants a copy in a directory that is not there."""
    gateway.enroll()
    copy, user = gateway.directory / "app" / "gateway.pem", pwd.getpwuid(os.geteuid()).pw_name
    group = grp.getgrgid(os.getegid()).gr_name
    more = f"copies: [{{to: {copy}, content: chain, owner: {user}, group: {group}}}]\n"
    more += f"deploy_dir: {gateway.directory}/deploy\ndeploy_socket: {gateway.directory}/deploy.sock\n"
    gateway.config.write_text(more + gateway.config.read_text())
    with daemon(gateway, dependants_patience="0s", **settings) as site:
        yield site, copy


def take_up(site: Site, copy: Path) -> None:
    """Have the program use the current set, as root's helper would."""
    copy.parent.mkdir(exist_ok=True)
    deploy = site.gateway.directory / "deploy"
    deploy.mkdir(exist_ok=True)
    number = site.gateway.generations()[0] or 0
    report = Report(at=datetime.now(UTC), generation=number, set="ab" * 32, steps=(Step(name=f"copy {copy}"),))
    (deploy / "report.json").write_bytes(encode_report(report))


def test_what_another_program_may_use_is_not_retired_before_it_has_the_new_set(gateway: Gateway) -> None:
    """It keeps its connection after the grace, and is named in every place; then it takes the new set up."""
    with with_a_copy(gateway, grace="0s") as (site, copy):
        first, name = gateway.certificate_id(), f"copy {copy}"
        site.reaches(site.rotation(), JobStatus.SUCCEEDED)
        until(lambda: retiring(site).get("waits_for") == [name], "it waits for the program")
        site.settle()
        assert f"waits for {name}" in gateway.run("status", expect=1).out
        assert str(copy) in gateway.run("history", expect=0).out  # which the change went on without
        refused = gateway.run("retire", expect=4)
        assert f"Not retired: {first[:12]}, which other programs of this gateway may use still: {name}" in refused.err
        assert "iot-cert retire --now" in refused.err
        until(lambda: site.reported.get("retiringWaitsFor") == name, "the fleet's operator sees it")
        assert f'iot_cert_retirement_waits_for{{name="{name}"}} 1' in metrics(site)
        assert f"is not retired while it may be in use still: {name}." in site.log
        assert not site.requests(Operation.RETIRE)
        take_up(site, copy)
        gateway.run("retire", expect=0)
        assert site.cloud.registry[first].status is Status.INACTIVE
        assert not retiring(site)


def metrics(site: Site) -> str:
    """Return the metrics that the daemon publishes."""
    return (site.gateway.directory / "run" / "metrics.prom").read_text()


@pytest.mark.whole
def test_a_persons_word_goes_over_a_program_that_will_never_take_the_new_set_up(gateway: Gateway) -> None:
    """And over the grace; the gateway itself is as well as before."""
    with with_a_copy(gateway) as (site, copy):
        first = gateway.certificate_id()
        site.reaches(site.rotation(), JobStatus.SUCCEEDED)
        assert f"copy {copy}" in gateway.run("retire", expect=4).err
        assert site.cloud.registry[first].status is Status.ACTIVE
        gateway.run("retire", "--now", expect=0)
        assert site.cloud.registry[first].status is Status.INACTIVE
        assert [request.outcome for request in site.requests(Operation.RETIRE)] == ["200"]
        assert site.up


def test_a_fleet_without_a_rule_for_retirements_stays_healthy(gateway: Gateway) -> None:
    """What no rule answers is told as that, with the switch; once it is set, nothing is asked any more."""
    with daemon(gateway.expect_silence(), grace="0s") as site:
        first = gateway.certificate_id()
        site.fault(Operation.RETIRE, Effect.IGNORE, times=None)
        site.reaches(site.rotation(), JobStatus.SUCCEEDED)
        until(lambda: retiring(site).get("unanswered"), "that no answer came is shown")
        shown = gateway.run("status", expect=0).out
        assert f"{first[:12]} from " in shown
        assert ", no answer yet" in shown
        assert "stays active in the account until it is deactivated" in shown
        assert "rotation: {retire: false}" in shown
        assert "refuse" not in shown
        assert gateway.run("retire", expect=5).err.count("not answered") == 1
        until(lambda: site.reported.get("retiringUnanswered") == 1, "the fleet's operator sees it")
        assert site.reported["health"] == 0
        assert "iot_cert_retirements_unanswered 1" in metrics(site)
        assert "has no answer: retire was not answered in time." in site.log
        assert "retire-refused" not in site.log
        gateway.rotation(retire="false")
        site.reload()
        until(lambda: site.status.get("retirements") == [], "nothing is asked for any more")
        shown = gateway.run("status", expect=0).out
        assert "retiring     not asked for (rotation.retire is false): 1 left behind" in shown
        assert "`rotation.retire` is false" in gateway.run("retire", "--now", expect=4).err
        assert site.cloud.registry[first].status is Status.ACTIVE


def test_a_certificate_that_the_cloud_will_never_retire_is_dropped_by_a_person(gateway: Gateway) -> None:
    """It was given to another thing: a fault until a technician says that it is none."""
    with daemon(gateway) as site:
        first = gateway.certificate_id()
        site.reaches(site.rotation(), JobStatus.SUCCEEDED)
        site.cloud.registry[first].thing_name = "gw-0043"
        assert "has no such certificate" in gateway.run("retire", expect=4).err
        assert "has no such certificate" in retiring(site)["refused"]
        assert not retiring(site)["unanswered"]
        assert f"iot-cert retire --drop {first[:12]}" in gateway.run("status", expect=1).out
        for wrong, code in (("f" * 8, 4), (first[:7], 2), ("not hexadecimal", 2), (gateway.certificate_id(), 4)):
            gateway.run("retire", "--drop", wrong, expect=code)
        gateway.run("retire", "--now", "--drop", first, expect=2)
        assert (
            f"{first} is not asked to be retired any more" in gateway.run("retire", "--drop", first[:8], expect=0).out
        )
        until(lambda: site.status.get("retirements") == [], "it is not asked for any more")
        again = gateway.run("retire", "--drop", first, "--json", expect=0).outcome
        assert (again["event"], again["exit"]) == ("dropped", 0)
        assert "already" in again["text"]
        assert "retiring" not in gateway.run("status", expect=0).out
        assert gateway.history()[-1].dropped_at is not None
        site.restart()
        site.settle()
        assert not retiring(site)
        assert f"retire-dropped        The certificate {first}" in site.log


def test_what_is_in_use_after_a_rollback_is_never_retired_and_grace_is_skipped_only_once(gateway: Gateway) -> None:
    """The set that was gone back to is in use again, whatever the history says of it; the next change has its grace."""
    with daemon(gateway) as site:
        site.reaches(site.rotation(), JobStatus.SUCCEEDED)
        second = gateway.certificate_id()
        site.reaches(site.job({"operation": "rollback"}), JobStatus.SUCCEEDED)
        first = gateway.certificate_id()
        assert not site.requests(Operation.RETIRE)
        gateway.run("retire", expect=0)
        assert site.cloud.registry[second].status is Status.INACTIVE
        assert site.cloud.registry[first].status is Status.ACTIVE
        site.reaches(site.rotation(), JobStatus.SUCCEEDED)
        site.settle()
        until(lambda: site.status["retirements"], "the next one has its grace")
        assert [item["certificate_id"] for item in site.status["retirements"]] == [first]
        assert site.cloud.registry[first].status is Status.ACTIVE
        assert len(site.requests(Operation.RETIRE)) == 1
        assert [record.phase for record in gateway.history()][-1] in {Phase.COMMITTED, Phase.RETIRED}
