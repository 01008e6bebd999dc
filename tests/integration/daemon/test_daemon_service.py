"""What systemd expects of the daemon, and what the daemon leaves on disk."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from agent.daemon.app import RELOAD_PATIENCE
from agent.sandbox.replies.faults import Operation
from support.running.daemon import RunningDaemon, ServiceManager, shown, traces
from support.suite import warm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.running.gateway import Gateway

# -- systemd -----------------------------------------------------------------------------------------------------------


def test_a_daemon_that_systemd_starts(enrolled: Gateway) -> None:
    """Systemd hears all it expects; idle, the daemon writes nothing; at work, no secret of it is seen.

    Heard is: ready without a cloud, alive all the time, a status in words, a reload that ends, a stop it is told of.
    """
    enrolled.expect_silence()
    enrolled.service.take_down()
    with (
        ServiceManager() as manager,
        RunningDaemon(enrolled, started=True, NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="1000000") as daemon,
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
        an_idle_daemon_writes_nothing(daemon)
        no_secret_is_in_anything_that_others_may_see(daemon)
        manager.pass_over()
        assert daemon.stop() == 0
        manager.hear("STOPPING=1")


def an_idle_daemon_writes_nothing(daemon: RunningDaemon) -> None:
    """Flash wears out: while nothing happens, nothing is written."""
    daemon.until_up(1)
    daemon.ask("status")  # it has written both of its files when it answers
    state = daemon.gateway.state
    before, amount = traces(state), written(daemon.pid)
    published_before = traces(daemon.runtime)
    daemon.through(5, lambda: not daemon.workers(), "idleness")
    assert traces(state) == before
    assert traces(daemon.runtime) == published_before
    assert written(daemon.pid) - amount < 200  # to wake itself; a line of the log would be as much


def no_secret_is_in_anything_that_others_may_see(daemon: RunningDaemon) -> None:
    """Neither log nor status nor metrics nor any process's arguments and environment show a key or a token."""
    gateway = daemon.gateway
    gateway.order("fault register ignore")  # for five seconds a worker has key, certificate and token in hand
    gateway.run("rotate", "--no-wait", expect=0)
    daemon.until_said("The certificate has come")
    seen = [shown(pid) for pid in (daemon.pid, *daemon.workers())] + [daemon.said(), *published(daemon)]
    said, secrets = "\n".join(seen), gateway.secrets()
    assert "agent.worker.main" in said
    assert "iot_cert_health" in said
    assert len(secrets) > 6
    assert [secret[:6] for secret in secrets if secret in said] == []


def test_a_reload_has_ended_when_status_shows_what_it_brought(enrolled: Gateway) -> None:
    """`systemctl reload` waits for that word; what is asked right after it is not answered with the world before.

    A worker that takes longer than `RELOAD_PATIENCE` is not waited for: on a machine that busy it is tried again, and
    at last the word comes before what it tells of.
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
                assert str(watched) in enrolled.run("status", expect=0).out
                break
        daemon.until(lambda: str(watched) in enrolled.run("status", expect=0).out, "what was brought")


def test_the_watchdog_is_fed_while_a_worker_waits(enrolled: Gateway) -> None:
    """A request that is never answered keeps a worker busy, and the daemon awake."""
    enrolled.expect_silence()
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
        assert daemon.ask("rollback")["exit"] == 4  # the command would wait for a few seconds only
        assert daemon.status()["daemon"] == daemon.pid
        daemon.until_up(1)
        assert enrolled.run("status", "--json").outcome["daemon"] == daemon.pid
        assert daemon.stop() == 0
        assert (daemon.runtime / "control.sock").is_socket()
        assert not (daemon.runtime / "status.json").exists()


@pytest.mark.parametrize(
    ("verb", "code"),
    [("rotate", 0), *(pytest.param(verb, 4, marks=pytest.mark.whole) for verb in ("enroll", "rollback"))],
)
def test_an_order_that_came_before_the_daemon_is_judged_by_what_is_on_disk(
    enrolled: Gateway, verb: str, code: int
) -> None:
    """The client that is first in the socket's queue is not told that this gateway has no certificate, nor enrolled."""
    with listening(enrolled) as listener, Activated(enrolled, listener) as daemon:
        assert daemon.ask(verb)["exit"] == code
        daemon.until_up(2 if code == 0 else 1)
    assert enrolled.cloud.count(Operation.CREATE) == (2 if code == 0 else 1)


def test_without_systemds_library_it_runs_and_says_so(enrolled: Gateway, tmp_path: Path) -> None:
    """Under a Python for which the distribution has none: lines in the log, and no word to systemd."""
    (tmp_path / "systemd").mkdir()
    (tmp_path / "systemd" / "__init__.py").write_text("raise ImportError('there is none')\n")
    with (
        ServiceManager() as manager,
        RunningDaemon(enrolled, started=True, NOTIFY_SOCKET=manager.address, PYTHONPATH=str(tmp_path)) as daemon,
    ):
        daemon.until_up(1)
        daemon.until_said(
            "Systemd is told nothing and its sockets are not used: its library cannot be loaded (there is none)"
        )
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


class Activated(RunningDaemon):
    """A daemon that is given a socket as a ``.socket`` unit does it."""

    def __init__(self, gateway: Gateway, listener: socket.socket) -> None:
        super().__init__(gateway)
        self._listener = listener

    def start(self) -> None:
        """See `RunningDaemon`."""
        number, words = self._listener.fileno(), ["--config", str(self.gateway.config), "run"]
        self.process = warm.start(words, cwd=self.gateway.directory, env=os.environ, log=self.log, listener=number)


# -- what it leaves ----------------------------------------------------------------------------------------------------


def written(pid: int) -> int:
    """Return how many bytes a process has written so far, to whatever descriptor."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar:"))


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


def published(daemon: RunningDaemon) -> list[str]:
    """Return what lies in the runtime directory."""
    return [path.read_text() for path in daemon.runtime.iterdir() if path.is_file()]
