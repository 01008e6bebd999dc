"""The daemon: rotations that no person asks for, orders from people, and what systemd expects of a service."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.values import Kind, Origin
from agent.sandbox.cloud import Status
from agent.sandbox.network.sessions import gaps
from agent.sandbox.replies.faults import Operation
from support.running.daemon import CLIENT_ID, RunningDaemon, finished
from support.suite import campaigns

if TYPE_CHECKING:
    from support.running.gateway import Gateway


def test_unattended_rotations_cost_a_certificate_each_and_leave_no_gap(short_lived: Gateway) -> None:
    """With certificates of two minutes: each is replaced in time and retired, and the cloud hardly misses us."""
    gateway = short_lived
    last = 1 + len(campaigns.places(10, 5))
    gateway.rotation(grace="0s", daily_limit=str(last))
    gateway.run("pause", "1h", expect=0)
    with RunningDaemon(gateway) as daemon:
        daemon.until_up(1)
        known = len(gateway.service.front.log.sessions) - 1
        gateway.service.front.log.rushed.clear()  # the daemon knows nothing of the command that enrolled just before
        daemon.ask("resume")
        daemon.until(lambda: len(daemon.history()) == last, "last rotation", 300)  # the budget allows no other
        daemon.until_up(last)
        gateway.run("status", expect=0)
        retired = (Phase.RETIRED,) * (last - 1)  # a lease of the account's apart
        daemon.until(lambda: tuple(item.phase for item in daemon.history()[1:]) == retired, "last retirement", 300)
        sessions = gateway.service.front.log.sessions[known:]
        assert gaps(sessions, CLIENT_ID) == []  # each session is taken over by the next
    rotations = gateway.history()[1:]
    assert {(item.kind, item.origin, item.phase) for item in rotations} == {
        (Kind.ROTATE, Origin.SCHEDULE, Phase.RETIRED)
    }
    assert gateway.cloud.count(Operation.CREATE) == gateway.cloud.count(Operation.REGISTER) == last
    statuses = [entry.status for entry in gateway.cloud.certificates_of("gw-0042")]
    assert statuses == [Status.INACTIVE] * (last - 1) + [Status.ACTIVE]
    assert gateway.service.front.log.rushed == []


# -- the cloud is not there yet ----------------------------------------------------------------------------------------


def test_a_gateway_out_of_the_factory_enrols_as_soon_as_there_is_a_cloud(gateway: Gateway) -> None:
    """No person has to be there: it says what is missing, and gets its first certificate when it can.

    AWS takes one CONNECT a second of each client id, whether a worker or the daemon sends it: also after an enrolment.
    """
    gateway.service.take_down()
    with RunningDaemon(gateway) as daemon:
        daemon.until(lambda: (daemon.published().get("change") or {}).get("failure"), "failed try")
        shown = gateway.run("status", expect=3).out
        assert "This gateway has no certificate yet" in shown
        assert "does not take connections" in shown
        gateway.service.bring_up()
        daemon.until_up(1)
        gateway.run("status", expect=0)
    (record,) = gateway.history()
    assert (record.kind, record.origin, record.phase) == (Kind.ENROLL, Origin.SCHEDULE, Phase.COMMITTED)
    assert gateway.cloud.count(Operation.CREATE) == 1
    assert gateway.service.front.log.rushed == []


def test_a_daemon_without_a_cloud_says_so_and_connects_when_it_comes(enrolled: Gateway) -> None:
    """A gateway may boot long before its uplink; that is no failure, and `status` says what is missing."""
    enrolled.service.take_down()
    with RunningDaemon(enrolled) as daemon:
        missing = f"localhost does not take connections on port {enrolled.service.port}"
        daemon.until_said("Not connected")
        assert f"connection   down: {missing}" in enrolled.run("status", expect=0).out
        assert f"The connection is down: {missing}" in enrolled.run("explain", expect=0).out
        enrolled.service.bring_up()
        daemon.until_up(1)
        assert "connection   up" in enrolled.run("status", expect=0).out
    assert enrolled.cloud.count(Operation.CREATE) == 1
    assert enrolled.service.front.log.rushed == []


# -- people ------------------------------------------------------------------------------------------------------------


def test_a_daemon_takes_orders_from_people(enrolled: Gateway) -> None:
    """One daemon is refused to, rehearsed with, and asked for rotations that are waited for or not."""
    enrolled.rotation(probation="2s")
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        a_rehearsal_asks_for_no_certificate(enrolled)
        orders_that_are_refused_hold_nothing_up(enrolled, daemon)
        two_people_who_want_a_rotation_at_once_get_one_and_both_follow_it(enrolled)
        who_asks_as_a_change_ends_is_told_about_their_own(daemon)
        daemon.until_up(3)
    assert [record.kind for record in enrolled.history()] == [Kind.ENROLL, *[Kind.ROTATE] * 3, Kind.ROLLBACK]
    assert {record.origin for record in enrolled.history()} == {Origin.TECHNICIAN}
    assert enrolled.cloud.count(Operation.CREATE) == 4
    assert enrolled.generations() == (3, 4)


def a_rehearsal_asks_for_no_certificate(gateway: Gateway) -> None:
    """`rotate --dry-run` connects and has a request answered, and leaves everything as it was."""
    asked = gateway.cloud.count(Operation.ASK)
    assert "would make generation 2" in gateway.run("rotate", "--dry-run", expect=0).out
    assert gateway.cloud.count(Operation.ASK) > asked
    assert gateway.cloud.count(Operation.CREATE) == 1
    assert gateway.generations() == (1, None)


def orders_that_are_refused_hold_nothing_up(gateway: Gateway, daemon: RunningDaemon) -> None:
    """An operator who tries in vain several times does not keep the next order waiting; who does not wait gets its id.

    The back-off of four troubles would be longer than any client waits for its first answer.
    """
    for _ in range(4):
        refused = daemon.ask("rollback")
        assert refused["exit"] == 4
        assert "There is no previous generation" in refused["message"]
    begun = gateway.run("rotate", "--no-wait", "--json", expect=0).outcome
    assert begun["event"] == "begun"
    daemon.until_finished(2)
    daemon.until_up(2)
    assert gateway.history()[-1].id == begun["change"]


def two_people_who_want_a_rotation_at_once_get_one_and_both_follow_it(gateway: Gateway) -> None:
    """Who comes second joins the change in flight and sees the same outcome."""
    both = [gateway.fork("rotate", "--json") for _ in range(2)]
    outcomes = [finished(gateway, item, "rotate", "--json").outcome for item in both]
    assert [(item["event"], item["exit"]) for item in outcomes] == [("outcome", 0)] * 2
    assert outcomes[0]["change"]["id"] == outcomes[1]["change"]["id"]


def who_asks_as_a_change_ends_is_told_about_their_own(daemon: RunningDaemon) -> None:
    """A rollback that comes in the last moment of a rotation is carried out, and answered with its own outcome."""
    daemon.until_up(3)
    daemon.ask("rotate", no_wait=True)
    daemon.until_said("Generation 4 held through probation")
    told = daemon.ask("rollback")
    assert (told["event"], told["exit"], told["change"]["kind"]) == ("outcome", 0, "rollback")


def test_a_rollback_gives_up_a_rotation_on_probation(enrolled: Gateway) -> None:
    """Who followed the rotation is told as well; the set before is in use again, and the new one is set aside."""
    enrolled.rotation(probation="10m")
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        follower = enrolled.fork("rotate", "--json")
        daemon.until_phase("deployed")
        daemon.until_up(2)
        given_up = enrolled.run("rollback", "--reason", "not today", "--json", expect=0).outcome
        followed = finished(enrolled, follower, "rotate", "--json").outcome
        assert given_up["change"]["id"] == followed["change"]["id"]
        assert given_up["change"]["phase"] == followed["change"]["phase"] == "rolled-back"
        daemon.until_up(1)
        assert (enrolled.state / "generations" / "000002.rejected").is_dir()
        who_does_not_wait_for_a_rollback_is_not_told_that_the_rotation_goes_on(enrolled, daemon)
    assert enrolled.generations() == (1, None)


def who_does_not_wait_for_a_rollback_is_not_told_that_the_rotation_goes_on(
    gateway: Gateway, daemon: RunningDaemon
) -> None:
    """The id is that of the change that is given up; of a rollback of its own it is that one's."""
    begun = gateway.run("rotate", "--no-wait", "--json", expect=0).outcome["change"]
    daemon.until_phase("deployed")
    told = gateway.run("rollback", "--no-wait", expect=0).out
    assert told.startswith(f"The daemon goes back to the set before (change {begun})")
    daemon.until_up(1)


def test_a_confirmation_makes_a_rotation_on_probation_final(enrolled: Gateway) -> None:
    """Who followed the rotation is told as well; said again, it is true still."""
    enrolled.rotation(probation="10m")
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        follower = enrolled.fork("rotate", "--json")
        daemon.until_phase("deployed")
        daemon.until_up(2)
        outcomes = [enrolled.run("confirm", "--json", expect=0).outcome]
        outcomes.append(finished(enrolled, follower, "rotate", "--json").outcome)
        outcomes.append(enrolled.run("confirm", "--json", expect=0).outcome)
        assert len({outcome["change"]["id"] for outcome in outcomes}) == 1
        assert {outcome["change"]["phase"] for outcome in outcomes} == {"committed"}
        assert "Done: rotate" in enrolled.run("confirm", expect=0).out
        daemon.until_up(2)
        enrolled.run("rotate", "--no-wait", expect=0)
        daemon.until_phase("deployed")
        assert enrolled.run("confirm", "--no-wait", "--json", expect=0).outcome["event"] == "begun"
        daemon.until_up(3)
    assert [record.confirmed_at is not None for record in enrolled.history()] == [False, True, True]
    assert enrolled.generations() == (3, 2)


@pytest.mark.parametrize("said", [pytest.param(True, marks=pytest.mark.whole), False])
def test_a_rotation_waits_for_the_word_of_the_application(enrolled: Gateway, *, said: bool) -> None:
    """It says so with a file that names the set; without it the set before is in use again, and that is told."""
    enrolled.rotation(confirm="5m" if said else "6s")
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        follower = enrolled.fork("rotate", "--json")
        daemon.until_phase("deployed")
        assert "waits for confirmation until" in enrolled.run("status", expect=0).out
        assert "`iot-cert confirm`" in enrolled.run("explain", expect=0).out
        waiting = daemon.status()["change"]
        assert (bool(waiting.get("confirm_until")), waiting.get("confirmed_at")) == (True, None)
        if said:
            (daemon.runtime / "confirm" / (enrolled.state / "current").readlink().name).touch()
        ended = finished(enrolled, follower, "rotate", "--json")
        daemon.until_up(2 if said else 1)
    record = enrolled.history()[-1]
    if said:
        assert (ended.code, record.phase, record.degraded) == (0, Phase.COMMITTED, None)
        assert record.confirmed_at is not None
        assert record.confirm_until is not None
        assert record.confirmed_at < record.confirm_until
        return
    assert (ended.code, record.phase) == (1, Phase.ROLLED_BACK)
    assert record.failure is not None
    assert record.failure.code == "not-confirmed"


def test_a_rollback_gives_up_a_rotation_that_a_worker_is_busy_with(enrolled: Gateway) -> None:
    """It does not wait until the rotation is final, to go back from there; who looks before sees the rotation."""
    enrolled.expect_silence()
    enrolled.order("fault register ignore")
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        change = enrolled.run("rotate", "--no-wait", "--json", expect=0).outcome["change"]
        daemon.until_said("The certificate has come")
        assert f"rotate {change}" in enrolled.run("status").out
        assert daemon.published()["change"]["phase"] == "issued"
        assert daemon.ask("rollback")["exit"] == 0
        daemon.until_up(1)
    assert [(record.id, record.phase) for record in enrolled.history()[1:]] == [(change, Phase.REJECTED)]
    assert enrolled.generations() == (1, None)


# -- holds -------------------------------------------------------------------------------------------------------------


def far_from_now() -> str:
    """Return a maintenance window that opens in two hours."""
    opens, closes = (datetime.now(UTC) + timedelta(hours=hours) for hours in (2, 3))
    return f'[{{from: "{opens:%H:%M}", to: "{closes:%H:%M}"}}]'


def test_pause_inhibit_file_and_maintenance_window_hold_a_rotation_that_is_due(short_lived: Gateway) -> None:
    """`explain` names what holds it; a pause outlives a restart; once nothing holds it, it begins.

    The process that made the inhibit file removes it and ends: that is noticed without a word, within the minute.
    """
    enrolled = short_lived
    inhibit = enrolled.directory / "inhibit"
    inhibit.touch()
    enrolled.rotation(inhibit_file=str(inhibit), maintenance=far_from_now(), daily_limit="2")
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        a_pause_outlives_a_restart(enrolled, daemon)
        enrolled.run("resume", expect=0)
        assert not (enrolled.state / "pause.json").exists()
        assert f"{inhibit} exists; remove it" in enrolled.run("explain", expect=0).out
        inhibit.unlink()
        assert "scheduled for the next maintenance window" in enrolled.run("explain", expect=0).out
        assert enrolled.cloud.count(Operation.CREATE) == 1
        inhibit.touch()
        enrolled.rotation(maintenance="[]")
        daemon.reload()
        daemon.until(lambda: daemon.status()["plan"]["code"] == "inhibited", "plan that is held")
        inhibit.unlink()
        daemon.until_up(2)
    assert enrolled.history()[-1].origin is Origin.SCHEDULE
    assert enrolled.cloud.count(Operation.CREATE) == 2


def a_pause_outlives_a_restart(gateway: Gateway, daemon: RunningDaemon) -> None:
    """It is given through the daemon, and told by `status` and `explain`."""
    gateway.run("pause", "1h", "--reason", "the crane is moving", expect=0)
    daemon.until(lambda: daemon.status()["plan"]["code"] == "paused", "plan that is held")
    assert "paused" in gateway.run("status", expect=0).out
    assert daemon.stop() == 0
    daemon.start()
    daemon.until_up(1)
    daemon.until(lambda: daemon.status()["plan"]["code"] == "paused", "plan that is held")
    assert "the crane is moving" in gateway.run("explain", expect=0).out
