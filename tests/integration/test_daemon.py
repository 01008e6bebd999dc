"""The daemon: rotations that no person asks for, orders from people, and what systemd expects of a service."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import sys
from contextlib import contextmanager
from copy import copy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.values import Kind, Origin
from agent.daemon.app import RELOAD_PATIENCE
from agent.sandbox.cloud import Status
from agent.sandbox.faults import Operation
from agent.sandbox.sessions import gaps
from support import campaigns
from support.daemon import CLIENT_ID, LOOK, PATIENCE, RunningDaemon, ServiceManager
from support.gateway import COMMAND, Ran

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from support.gateway import Gateway
    from support.warm import Process


@pytest.fixture
def short_lived(gateway: Gateway) -> Gateway:
    """Give a gateway with its first certificate, which is good for two minutes, and the next of which is due soon."""
    gateway.cloud.provisioning.lifetime = timedelta(minutes=2)
    gateway.rotation(max_age="1s", before_expiry="10s", window="1s")
    gateway.enroll()
    return gateway


def finished(gateway: Gateway, process: subprocess.Popen[str], *arguments: str) -> Ran:
    """Return what a command that was started has said, once it has ended."""
    out, _ = process.communicate(timeout=PATIENCE)
    ran = Ran(arguments=arguments, code=process.returncode, out=out, err="")
    gateway.remember(ran)
    return ran


def test_unattended_rotations_cost_a_certificate_each_and_leave_no_gap(short_lived: Gateway) -> None:
    """With certificates of two minutes: each is replaced in time and retired, and the cloud hardly misses us."""
    gateway = short_lived
    last = 1 + len(campaigns.places(10, 3))
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
    """No person has to be there: it says what is missing, and gets its first certificate when it can."""
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


def test_the_first_connection_after_an_enrolment_keeps_its_distance(gateway: Gateway) -> None:
    """AWS takes one CONNECT a second of each client id, whether a worker or the daemon sends it."""
    with RunningDaemon(gateway) as daemon:
        daemon.until_up(1)
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


def test_two_people_who_want_a_rotation_at_once_get_one_and_both_follow_it(enrolled: Gateway) -> None:
    """Who comes second joins the change in flight and sees the same outcome."""
    enrolled.rotation(probation="3s")
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        first = enrolled.start("rotate", "--json")
        second = enrolled.start("rotate", "--json")
        outcomes = [finished(enrolled, item, "rotate", "--json").outcome for item in (first, second)]
        assert [(item["event"], item["exit"]) for item in outcomes] == [("outcome", 0)] * 2
        assert outcomes[0]["change"]["id"] == outcomes[1]["change"]["id"]
        daemon.until_up(2)
    assert [record.kind for record in enrolled.history()] == [Kind.ENROLL, Kind.ROTATE]
    assert enrolled.history()[-1].origin is Origin.TECHNICIAN
    assert enrolled.cloud.count(Operation.CREATE) == 2


def test_who_does_not_wait_gets_the_change_by_its_id(enrolled: Gateway) -> None:
    """`rotate --no-wait` returns once the change is begun; the daemon carries it through."""
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        begun = enrolled.run("rotate", "--no-wait", "--json", expect=0).outcome
        assert begun["event"] == "begun"
        daemon.until_finished(2)
        daemon.until_up(2)
    assert enrolled.history()[-1].id == begun["change"]


def test_a_rehearsal_through_the_daemon_asks_for_no_certificate(enrolled: Gateway) -> None:
    """`rotate --dry-run` connects and has a request answered, and leaves everything as it was."""
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        asked = enrolled.cloud.count(Operation.ASK)
        assert "would make generation 2" in enrolled.run("rotate", "--dry-run", expect=0).out
        assert enrolled.cloud.count(Operation.ASK) > asked
        daemon.until_up(1)
    assert enrolled.cloud.count(Operation.CREATE) == 1
    assert enrolled.generations() == (1, None)


def test_a_rollback_gives_up_a_rotation_on_probation(enrolled: Gateway) -> None:
    """Who followed the rotation is told as well; the set before is in use again, and the new one is set aside."""
    enrolled.rotation(probation="10m")
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        follower = enrolled.start("rotate", "--json")
        daemon.until_phase("deployed")
        daemon.until_up(2)
        given_up = enrolled.run("rollback", "--reason", "not today", "--json", expect=0).outcome
        followed = finished(enrolled, follower, "rotate", "--json").outcome
        assert given_up["change"]["id"] == followed["change"]["id"]
        assert given_up["change"]["phase"] == followed["change"]["phase"] == "rolled-back"
        daemon.until_up(1)
    assert enrolled.generations() == (1, None)
    assert (enrolled.state / "generations" / "000002.rejected").is_dir()


def test_a_confirmation_makes_a_rotation_on_probation_final(enrolled: Gateway) -> None:
    """Who followed the rotation is told as well; said again, it is true still."""
    enrolled.rotation(probation="10m")
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        follower = enrolled.start("rotate", "--json")
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


@pytest.mark.parametrize("said", [True, False])
def test_a_rotation_waits_for_the_word_of_the_application(enrolled: Gateway, *, said: bool) -> None:
    """It says so with a file that names the set; without it the set before is in use again, and that is told."""
    enrolled.rotation(confirm="5m" if said else "6s")
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        follower = enrolled.start("rotate", "--json")
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
    """It does not wait until the rotation is final, to go back from there."""
    enrolled.order("fault register ignore")
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        change = enrolled.run("rotate", "--no-wait", "--json", expect=0).outcome["change"]
        daemon.until_said("The certificate has come")
        assert daemon.ask("rollback")["exit"] == 0
        daemon.until_up(1)
    assert [(record.id, record.phase) for record in enrolled.history()[1:]] == [(change, Phase.REJECTED)]
    assert enrolled.generations() == (1, None)


def test_status_knows_the_change_that_a_worker_is_busy_with(enrolled: Gateway) -> None:
    """A technician who looks in the middle of a rotation sees the rotation."""
    enrolled.order("fault register ignore")
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        change = enrolled.run("rotate", "--no-wait", "--json", expect=0).outcome["change"]
        daemon.until_said("The certificate has come")
        assert f"rotate {change}" in enrolled.run("status").out
        assert daemon.published()["change"]["phase"] == "issued"


def test_who_asks_as_a_change_ends_is_told_about_their_own(enrolled: Gateway) -> None:
    """A rollback that comes in the last moment of a rotation is carried out, and answered with its own outcome."""
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        daemon.ask("rotate", no_wait=True)
        daemon.until_said("Generation 2 held through probation")
        told = daemon.ask("rollback")
        assert (told["event"], told["exit"], told["change"]["kind"]) == ("outcome", 0, "rollback")
        daemon.until_up(1)
    assert enrolled.generations() == (1, 2)


def test_orders_that_are_refused_hold_nothing_up(enrolled: Gateway) -> None:
    """An operator who tries in vain several times does not keep the next order waiting."""
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        for _ in range(4):
            refused = daemon.ask("rollback")
            assert refused["exit"] == 4
            assert "There is no previous generation" in refused["message"]
        # The back-off of four troubles would be longer than any client waits for its first answer.
        assert daemon.ask("rotate", no_wait=True)["event"] == "begun"
        daemon.until_up(2)


# -- holds -------------------------------------------------------------------------------------------------------------


def far_from_now() -> str:
    """Return a maintenance window that opens in two hours."""
    opens, closes = (datetime.now(UTC) + timedelta(hours=hours) for hours in (2, 3))
    return f'[{{from: "{opens:%H:%M}", to: "{closes:%H:%M}"}}]'


def test_pause_inhibit_file_and_maintenance_window_hold_a_rotation_that_is_due(short_lived: Gateway) -> None:
    """`explain` names what holds it; a pause outlives a restart; once nothing holds it, it begins."""
    enrolled = short_lived
    inhibit = enrolled.directory / "inhibit"
    inhibit.touch()
    enrolled.rotation(inhibit_file=str(inhibit), maintenance=far_from_now(), daily_limit="2")
    enrolled.run("pause", "1h", "--reason", "the crane is moving", expect=0)
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        assert daemon.stop() == 0
        daemon.start()
        daemon.until_up(1)
        daemon.until(lambda: daemon.status()["plan"]["code"] == "paused", "plan that is held")
        assert "the crane is moving" in enrolled.run("explain", expect=0).out
        enrolled.run("resume", expect=0)
        assert f"{inhibit} exists; remove it" in enrolled.run("explain", expect=0).out
        inhibit.unlink()
        assert "scheduled for the next maintenance window" in enrolled.run("explain", expect=0).out
        assert enrolled.cloud.count(Operation.CREATE) == 1
        enrolled.rotation(maintenance="[]")
        daemon.reload()
        daemon.until_up(2)
    assert enrolled.history()[-1].origin is Origin.SCHEDULE


def test_a_pause_through_the_daemon_holds_until_it_is_ended(short_lived: Gateway) -> None:
    """`resume` lets a rotation that is due begin at once."""
    enrolled = short_lived
    inhibit = enrolled.directory / "inhibit"
    inhibit.touch()
    enrolled.rotation(inhibit_file=str(inhibit), daily_limit="2")
    with RunningDaemon(enrolled) as daemon:
        daemon.until(daemon.published, "first look")
        enrolled.run("pause", "1h", expect=0)
        inhibit.unlink()
        daemon.until(lambda: daemon.status()["plan"]["code"] == "paused", "plan that is held")
        daemon.until_up(1)
        assert "paused" in enrolled.run("status", expect=0).out
        enrolled.run("resume", expect=0)
        daemon.until_up(2)
    assert enrolled.cloud.count(Operation.CREATE) == 2
    assert not (enrolled.state / "pause.json").exists()


def test_an_inhibit_file_that_is_removed_is_noticed_without_a_word(short_lived: Gateway) -> None:
    """The process that made the file removes it and ends; the rotation that is due begins within the minute."""
    enrolled = short_lived
    inhibit = enrolled.directory / "inhibit"
    inhibit.touch()
    enrolled.rotation(inhibit_file=str(inhibit), daily_limit="2")
    with RunningDaemon(enrolled) as daemon:
        daemon.until(lambda: daemon.published().get("plan", {}).get("code") == "inhibited", "plan that is held")
        inhibit.unlink()
        daemon.until_up(2)


# -- signals -----------------------------------------------------------------------------------------------------------


def test_a_broken_configuration_is_not_taken_into_force(enrolled: Gateway) -> None:
    """After SIGHUP the one before stays in force, and `status` says why; a good one is applied without a hiccup."""
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        sessions, good = len(enrolled.service.front.log.sessions), enrolled.config.read_text()
        planned = daemon.published()["plan"]["at"]
        enrolled.rotation(max_age="soon")
        daemon.reload()
        shown = enrolled.run("status", expect=1).out
        assert "The changed configuration is not in force" in shown
        assert "rotation.max_age" in shown
        assert daemon.status()["plan"]["at"] == planned
        enrolled.config.write_text(good)
        enrolled.rotation(max_age="100d")
        daemon.reload()
        daemon.until_up(1)
        enrolled.run("status", expect=0)
        moved = datetime.fromisoformat(planned) - datetime.fromisoformat(daemon.status()["plan"]["at"])
        assert moved == timedelta(days=265)
        assert len(enrolled.service.front.log.sessions) == sessions


def test_a_changed_configuration_is_not_answered_for_by_the_daemon_before(enrolled: Gateway) -> None:
    """Its file names another place by now, where another daemon may be; a broken one still has the daemon it had."""
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        assert enrolled.run("status", "--json", expect=0).outcome["daemon"] == daemon.pid
        text = enrolled.config.read_text()
        enrolled.config.write_text(text + "prot: 8883\n")
        assert enrolled.run("status", "--json", expect=0).outcome["daemon"] == daemon.pid
        enrolled.run("explain", expect=2)
        enrolled.config.write_text(text)
        enrolled.config.write_text(elsewhere(enrolled).config.read_text())
        assert "daemon" not in enrolled.run("status", "--json", expect=1).outcome
        enrolled.config.write_text(text)
        assert enrolled.run("status", "--json", expect=0).outcome["daemon"] == daemon.pid


def test_a_rotation_goes_on_by_the_configuration_in_force(short_lived: Gateway) -> None:
    """A file that an operator broke, and that was refused, keeps no certificate from being replaced in time."""
    short_lived.run("pause", "1h", expect=0)
    with RunningDaemon(short_lived) as daemon:
        daemon.until_up(1)
        short_lived.config.write_text("endpoint: [\n")
        daemon.reload()
        daemon.ask("resume")
        daemon.until_up(2)


def test_a_reload_moves_the_connection_to_where_the_configuration_says(enrolled: Gateway) -> None:
    """Another port takes effect without a restart."""
    service = enrolled.service
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        assert [item.alpn for item in service.front.live] == [None]
        enrolled.configure({f"port: {service.port}": f"alpn: true\nport: {service.alpn_port}"})
        daemon.reload()
        daemon.until(lambda: [item.alpn for item in service.front.live] == ["x-amzn-mqtt-ca"], "move")
        daemon.until_up(1)


def test_a_second_daemon_is_refused_and_the_first_goes_on(enrolled: Gateway) -> None:
    """Two of them would fight for one client id."""
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        enrolled.run("run", expect=4)
        assert daemon.status()["daemon"] == daemon.pid
        assert daemon.connection == "up"


def elsewhere(gateway: Gateway) -> Gateway:
    """Return the same gateway by a configuration that has another runtime directory."""
    other = copy(gateway)
    other.config = gateway.directory / "elsewhere.yaml"
    text = gateway.config.read_text()
    other.config.write_text(text.replace(f"_dir: {gateway.directory}/run", f"_dir: {gateway.directory}/elsewhere"))
    return other


ACTING = [
    ("rotate",), ("rotate", "--dry-run"), ("rollback",), ("enroll",), ("retire",), ("pause", "1h"), ("resume",),
    ("trust", "restore"), ("import", "--from", "stick"),
]  # fmt: skip


def test_a_second_daemon_with_another_runtime_directory_is_refused(enrolled: Gateway) -> None:
    """It would share the client id; the process that is there is named, and goes on."""
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        other = elsewhere(enrolled)
        refused = other.run("run", expect=4)
        assert f"A daemon (process {daemon.pid}) runs already with {enrolled.state}" in refused.err
        daemon.through(3, lambda: daemon.connection == "up" and len(daemon.live()) == 1, "the first one's connection")


def test_no_command_acts_behind_the_back_of_a_daemon_that_it_does_not_reach(enrolled: Gateway) -> None:
    """Whatever would change something or connect is refused, by the process; what only looks at the disk is not."""
    (enrolled.directory / "stick").mkdir()
    (enrolled.directory / "stick" / "roots.pem").write_bytes((enrolled.directory / "roots.pem").read_bytes())
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        sessions, other = len(enrolled.service.front.log.sessions), elsewhere(enrolled)
        before = traces(enrolled.state)
        for arguments in ACTING:
            refused = other.run(*arguments, expect=4)
            assert f"A daemon (process {daemon.pid}) works on {enrolled.state}" in refused.err, arguments
        checked = other.run("check", "connect", "daemon", "--json", expect=1)
        lines = {line["check"]: line for line in checked.events if line["event"] == "line"}
        assert (lines["connect"]["verdict"], lines["daemon"]["code"]) == ("skipped", "other-daemon")
        assert f"process {daemon.pid}" in lines["connect"]["text"]
        for looks in (("history",), ("explain",), ("trust", "list"), ("config", "check")):
            other.run(*looks, expect=0)
        assert f"process {daemon.pid}" in other.run("status", expect=1).out
        assert traces(enrolled.state) == before
        assert len(enrolled.service.front.log.sessions) == sessions
        daemon.kill()
        other.run("pause", "1h", expect=0)


def test_of_two_daemons_that_wait_for_a_state_directory_one_is_left(gateway: Gateway) -> None:
    """Neither can tell before there is one. Once it is made, by any program, one has it and the other ends."""
    text = gateway.config.read_text()
    gateway.config.write_text(text[: text.index("enrollment:")] + text[text.index("rotation:") :])
    log = gateway.directory / "other.log"
    with RunningDaemon(gateway) as first:
        first.until(first.published, "first look")
        second = elsewhere(gateway).start("run", log=log)
        status = gateway.directory / "elsewhere" / "status.json"
        first.until(status.exists, "the second one's first look")
        gateway.state.mkdir(mode=0o700)
        first_to_end({first.process, second})
        left = [process for process in (first.process, second) if process.poll() is None]
        assert len(left) == 1
        assert f"A daemon (process {left[0].pid}) runs already with {gateway.state}" in first.said() + log.read_text()
        second.terminate()
        assert second.wait(PATIENCE) in {0, 4}


def first_to_end(processes: set[Process]) -> None:
    """Wait until one of some processes ends, with the exit code of a refusal."""
    deadline = monotonic() + PATIENCE
    while all(process.poll() is None for process in processes):
        assert monotonic() < deadline, "none of them ends"
        sleep(LOOK)
    assert [process.returncode for process in processes if process.returncode is not None] == [4]


def test_a_daemon_told_to_end_in_the_middle_of_a_change_keeps_it_for_the_next_start(enrolled: Gateway) -> None:
    """It ends between two steps, says goodbye to the clients that follow, and goes on where it was."""
    enrolled.order("fault register ignore")
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        follower = enrolled.start("rotate", "--json")
        daemon.until_said("The certificate has come")
        assert daemon.stop() == 0
        left = finished(enrolled, follower, "rotate", "--json")
        assert left.code == left.outcome["exit"] == 5, left.out
        assert "the change, if any, is kept" in left.out
        change = enrolled.run("status", "--json").outcome["change"]
        assert change["phase"] == "issued"
        daemon.start()
        daemon.until_up(2)
    assert enrolled.history()[-1].id == change["id"]
    assert enrolled.cloud.count(Operation.CREATE) == 2


def test_what_is_asked_when_the_daemon_ends_has_not_failed(enrolled: Gateway) -> None:
    """A request that is cut off by our own goodbye is no news, and no refusal."""
    enrolled.configure({"request: 5s": "request: 20s"})
    enrolled.order("fault ask ignore")
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        assert daemon.stop() == 0
        assert "was not answered" not in daemon.said()


# -- systemd -----------------------------------------------------------------------------------------------------------


def test_systemd_hears_all_it_expects(enrolled: Gateway) -> None:
    """Ready without a cloud, alive all the time, a status in words, a reload that ends, a stop that is announced."""
    enrolled.service.take_down()
    with (
        ServiceManager() as manager,
        RunningDaemon(enrolled, NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="1000000") as daemon,
    ):
        ready = manager.hear("READY=1")
        assert any(line.startswith("STATUS=generation 1") for line in ready)
        for _ in range(3):
            manager.hear("WATCHDOG=1")
        manager.hear("STATUS=*connection down*")
        enrolled.service.bring_up()
        manager.hear("STATUS=*connection up*")
        manager.heard.clear()
        daemon.signal(signal.SIGHUP)
        assert manager.hear("RELOADING=1")[1].startswith("MONOTONIC_USEC=")
        manager.hear("READY=1")
        assert daemon.stop() == 0
        manager.hear("STOPPING=1")


def test_a_reload_has_ended_when_status_shows_what_it_brought(enrolled: Gateway) -> None:
    """`systemctl reload` waits for that word; what is asked right after it is not answered with the world before.

    A worker that takes longer than `RELOAD_PATIENCE` is not waited for: on a machine that busy it is tried again.
    """
    text, certificate = enrolled.config.read_text(), enrolled.state / "current" / "certificate.pem"
    with ServiceManager() as manager, RunningDaemon(enrolled, NOTIFY_SOCKET=manager.address) as daemon:
        manager.hear("READY=1")
        for number in range(5):
            daemon.until_up(1)
            watched = shutil.copy(certificate, enrolled.directory / f"watched-{number}.pem")
            enrolled.config.write_text(text.replace("trust:\n", f"watch: [{{path: {watched}}}]\ntrust:\n"))
            manager.heard.clear()
            begun = monotonic()
            daemon.signal(signal.SIGHUP)
            manager.hear("READY=1")
            if monotonic() - begun < RELOAD_PATIENCE:
                break
        assert str(watched) in enrolled.run("status", expect=0).out


def test_a_person_who_does_not_wait_for_a_rollback_is_not_told_that_the_rotation_goes_on(enrolled: Gateway) -> None:
    """The id is that of the change that is given up; of a rollback of its own it is that one's."""
    enrolled.rotation(probation="10m")
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        enrolled.run("rotate", "--no-wait", expect=0)
        daemon.until_phase("deployed")
        told = enrolled.run("rollback", "--no-wait", expect=0).out
        assert told.startswith("The daemon goes back to the set before (change ")
        daemon.until_up(1)


def test_the_watchdog_is_fed_while_a_worker_waits(enrolled: Gateway) -> None:
    """A request that is never answered keeps a worker busy, and the daemon awake."""
    enrolled.order("fault create ignore")
    with (
        ServiceManager() as manager,
        RunningDaemon(enrolled, NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="1000000") as daemon,
    ):
        daemon.until_up(1)
        enrolled.run("rotate", "--no-wait", expect=0)
        daemon.until_said("The cloud is asked for a certificate")
        manager.heard.clear()
        for _ in range(3):
            manager.hear("WATCHDOG=1")
        assert daemon.workers() or "was not answered" in daemon.said()


def test_a_socket_that_systemd_opened_is_used_and_left_alone(enrolled: Gateway) -> None:
    """Socket activation: who connects before the daemon is up is answered, and the socket outlives it."""
    with listening(enrolled) as listener, Activated(enrolled, listener) as daemon:
        assert enrolled.run("status", "--json").outcome["daemon"] == daemon.pid
        daemon.until_up(1)
        assert daemon.stop() == 0
        assert (daemon.runtime / "control.sock").is_socket()
        assert not (daemon.runtime / "status.json").exists()


@pytest.mark.parametrize(("verb", "code"), [("rotate", 0), ("enroll", 4), ("rollback", 4)])
def test_an_order_that_came_before_the_daemon_is_judged_by_what_is_on_disk(
    enrolled: Gateway, verb: str, code: int
) -> None:
    """The client that is first in the socket's queue is not told that this gateway has no certificate, nor enrolled."""
    with listening(enrolled) as listener:
        waiting = enrolled.start(verb, "--json")
        with Activated(enrolled, listener) as daemon:
            assert finished(enrolled, waiting, verb, "--json").code == code
            daemon.until_up(2 if code == 0 else 1)
    assert enrolled.cloud.count(Operation.CREATE) == (2 if code == 0 else 1)


def test_without_systemds_library_it_runs_and_says_so(enrolled: Gateway, tmp_path: Path) -> None:
    """Under a Python for which the distribution has none: lines in the log, and no word to systemd."""
    (tmp_path / "systemd").mkdir()
    (tmp_path / "systemd" / "__init__.py").write_text("raise ImportError('there is none')\n")
    with (
        ServiceManager() as manager,
        RunningDaemon(enrolled, NOTIFY_SOCKET=manager.address, PYTHONPATH=str(tmp_path)) as daemon,
    ):
        daemon.until_up(1)
        daemon.until_said(
            "Systemd is told nothing and its sockets are not used: its library cannot be loaded (there is none)"
        )
        enrolled.run("rotate", expect=0)
        with pytest.raises(TimeoutError):
            manager.hear("*", patience=0.01)


@contextmanager
def listening(gateway: Gateway) -> Iterator[socket.socket]:
    """Give a socket that listens where the daemon's control socket is to be."""
    runtime = gateway.directory / "run"
    runtime.mkdir()
    folder = os.open(runtime, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{folder}/control.sock")
        os.close(folder)
        listener.listen()
        yield listener


_LAUNCHER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.execve(sys.argv[2], sys.argv[2:], {**os.environ, "LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())})
"""


class Activated(RunningDaemon):
    """A daemon that is started as a ``.socket`` unit does it."""

    def __init__(self, gateway: Gateway, listener: socket.socket) -> None:
        super().__init__(gateway)
        self._listener = listener

    def start(self) -> None:
        """See `RunningDaemon`."""
        import subprocess  # noqa: PLC0415

        number = self._listener.fileno()
        command = [COMMAND, "--config", str(self.gateway.config), "run"]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _LAUNCHER, str(number), *command],
                stdout=log,
                stderr=log,
                text=True,
                pass_fds=[number],
            )


# -- what it leaves ----------------------------------------------------------------------------------------------------


def traces(directory: Path) -> dict[str, tuple[int, ...]]:
    """Return what changes when anything below a directory is written, renamed, linked or removed."""
    found: dict[str, tuple[int, ...]] = {}
    for path in (directory, *directory.rglob("*")):
        status = path.lstat()
        found[str(path)] = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)
    return found


def written(pid: int) -> int:
    """Return how many bytes a process has written so far, to whatever descriptor."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar:"))


def test_an_idle_daemon_writes_nothing(enrolled: Gateway) -> None:
    """Flash wears out: while nothing happens, nothing is written."""
    with RunningDaemon(enrolled, started=True) as daemon:
        daemon.until_up(1)
        daemon.ask("status")  # it has written both of its files when it answers
        before, amount = traces(enrolled.state), written(daemon.pid)
        published = traces(daemon.runtime)
        daemon.through(5, lambda: not daemon.workers(), "idleness")
        assert traces(enrolled.state) == before
        assert traces(daemon.runtime) == published
        assert written(daemon.pid) - amount < 200  # to wake itself; a line of the log would be as much


def test_what_is_published_may_be_read_by_all_and_the_state_by_no_other_user(enrolled: Gateway) -> None:
    """``status.json`` and ``metrics.prom`` are for everybody, for as long as the daemon vouches for them."""
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        public = [daemon.runtime / name for name in ("status.json", "metrics.prom")]
        assert [stat.S_IMODE(path.stat().st_mode) for path in public] == [0o644] * 2
        assert "iot_cert_generation 1\n" in public[1].read_text()
        private = [path for path in enrolled.state.rglob("*") if not path.is_symlink()]
        assert len(private) > 6
        assert [path for path in private if path.stat().st_mode & 0o077] == []
        assert daemon.stop() == 0
        assert [path for path in (*public, daemon.runtime / "control.sock") if path.exists()] == []


def test_no_secret_is_in_anything_that_others_may_see(enrolled: Gateway) -> None:
    """Neither log nor status nor metrics nor any process's arguments and environment show a key or a token."""
    enrolled.order("fault register ignore")  # for two seconds a worker has key, certificate and token in hand
    with RunningDaemon(enrolled, started=True) as daemon:
        daemon.until_up(1)
        enrolled.run("rotate", "--no-wait", expect=0)
        daemon.until_said("The certificate has come")
        seen = [shown(pid) for pid in (daemon.pid, *daemon.workers())] + published(daemon)
        daemon.until_up(2)
        seen += [daemon.said(), *published(daemon)]
    said, secrets = "\n".join(seen), enrolled.secrets()
    assert "agent.worker.main" in said
    assert "iot_cert_health" in said
    assert len(secrets) > 6
    assert [secret[:6] for secret in secrets if secret in said] == []


def published(daemon: RunningDaemon) -> list[str]:
    """Return what lies in the runtime directory."""
    return [path.read_text() for path in daemon.runtime.iterdir() if path.is_file()]


def shown(pid: int) -> str:
    """Return the arguments and the environment of a process."""
    parts: list[Any] = [Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
    return b"\n".join(parts).replace(b"\0", b"\n").decode()
