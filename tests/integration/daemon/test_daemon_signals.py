"""The daemon, its worker and the command, when a signal ends one of them."""

from __future__ import annotations

from copy import copy
from datetime import datetime, timedelta
from time import monotonic, sleep
from typing import TYPE_CHECKING

from agent.sandbox.replies.faults import Operation
from support.running.daemon import LOOK, PATIENCE, RunningDaemon, finished, traces

if TYPE_CHECKING:
    from support.running.gateway import Gateway
    from support.suite.warm import Process


def test_a_daemon_whose_configuration_changes(enrolled: Gateway) -> None:
    """What SIGHUP brings into force, and what it does not; and who answers meanwhile."""
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        a_broken_configuration_is_not_taken_into_force(enrolled, daemon)
        a_changed_configuration_is_not_answered_for_by_the_daemon_before(enrolled, daemon)
        a_reload_moves_the_connection_to_where_the_configuration_says(enrolled, daemon)


def a_broken_configuration_is_not_taken_into_force(gateway: Gateway, daemon: RunningDaemon) -> None:
    """After SIGHUP the one before stays in force, and `status` says why; a good one is applied without a hiccup."""
    sessions, good = len(gateway.service.front.log.sessions), gateway.config.read_text()
    planned = daemon.published()["plan"]["at"]
    gateway.rotation(max_age="soon")
    daemon.reload()
    shown = gateway.run("status", expect=1).out
    assert "The changed configuration is not in force" in shown
    assert "rotation.max_age" in shown
    assert daemon.status()["plan"]["at"] == planned
    gateway.config.write_text(good)
    gateway.rotation(max_age="100d")
    daemon.reload()
    daemon.until_up(1)
    gateway.run("status", expect=0)
    moved = datetime.fromisoformat(planned) - datetime.fromisoformat(daemon.status()["plan"]["at"])
    assert moved == timedelta(days=265)
    assert len(gateway.service.front.log.sessions) == sessions


def a_changed_configuration_is_not_answered_for_by_the_daemon_before(gateway: Gateway, daemon: RunningDaemon) -> None:
    """Its file names another place by now, where another daemon may be; a broken one still has the daemon it had."""
    assert gateway.run("status", "--json", expect=0).outcome["daemon"] == daemon.pid
    text = gateway.config.read_text()
    gateway.config.write_text(text + "prot: 8883\n")
    assert gateway.run("status", "--json", expect=0).outcome["daemon"] == daemon.pid
    gateway.run("explain", expect=2)
    gateway.config.write_text(text)
    gateway.config.write_text(elsewhere(gateway).config.read_text())
    assert "daemon" not in gateway.run("status", "--json", expect=1).outcome
    gateway.config.write_text(text)
    assert gateway.run("status", "--json", expect=0).outcome["daemon"] == daemon.pid


def a_reload_moves_the_connection_to_where_the_configuration_says(gateway: Gateway, daemon: RunningDaemon) -> None:
    """Another port takes effect without a restart."""
    service = gateway.service
    assert [item.alpn for item in service.front.live] == [None]
    gateway.configure({f"port: {service.port}": f"alpn: true\nport: {service.alpn_port}"})
    daemon.reload()
    daemon.until(lambda: [item.alpn for item in service.front.live] == ["x-amzn-mqtt-ca"], "move")
    daemon.until_up(1)


def test_a_rotation_goes_on_by_the_configuration_in_force(short_lived: Gateway) -> None:
    """A file that an operator broke, and that was refused, keeps no certificate from being replaced in time."""
    short_lived.run("pause", "1h", expect=0)
    with RunningDaemon(short_lived) as daemon:
        daemon.until_up(1)
        short_lived.config.write_text("endpoint: [\n")
        daemon.reload()
        daemon.ask("resume")
        daemon.until_up(2)


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


def test_a_second_daemon_is_refused_and_the_first_goes_on(enrolled: Gateway) -> None:
    """Also one with another runtime directory: it would share the client id. The process that is there is named."""
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        enrolled.run("run", expect=4)
        assert daemon.status()["daemon"] == daemon.pid
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
        second = elsewhere(gateway).fork("run", log=log)
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
    enrolled.expect_silence()
    enrolled.order("fault register ignore")
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        follower = enrolled.fork("rotate", "--json")
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
    enrolled.order("fault ask ignore")
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        assert daemon.stop() == 0
        assert "was not answered" not in daemon.said()
