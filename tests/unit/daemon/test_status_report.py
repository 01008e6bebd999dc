"""What is told of another client with the same id, and what that changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.change.decide import Wait
from agent.core.change.lifecycle import Phase
from agent.core.exit_codes import Exit
from agent.core.report import shadow
from agent.core.report.findings import judge
from agent.core.report.known import ConnectionState
from agent.core.report.seen import WatchedEnd, WatchedFile
from agent.core.when.reconnect import STEADY
from agent.core.worker_protocol import Do
from agent.daemon.status_report import Outage
from agent.system.clock import monotonic
from support import make
from support.make import NOW
from support.running.daemon_rig import seen_set

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.daemon.app import Daemon
    from support.running.daemon_rig import DaemonRig


RIVAL = "Another client connected as gw-0042; every client needs an id of its own."


def judged(daemon: Daemon) -> tuple[tuple[str, ...], Exit]:
    """Return the sentences and the exit code."""
    found = judge(daemon.report.status())
    return found.health, found.exit


@pytest.fixture
def contested(rig: DaemonRig) -> DaemonRig:
    """Give a daemon that was cut off by another client with its id, and keeps away."""
    rig.stand(rival=RIVAL, state=ConnectionState.TAKEN_OVER, why=f"{RIVAL} It keeps away.")
    return rig


def test_probation_makes_one_proof_instead_of_one_a_minute(contested: DaemonRig) -> None:
    """The one at its end, without which nothing becomes final."""
    rig = contested
    until = NOW + timedelta(minutes=10)
    rig.change(make.record(Phase.DEPLOYED, probation_until=until, checked_at=NOW))
    rig.clock.advance(minutes=5)
    assert rig.look() == []
    assert isinstance(rig.daemon.facts.following(), Wait)
    rig.clock.advance(minutes=5)
    assert [order.do for order in rig.look()] == [Do.GO_ON]
    rig.stand(rival="")
    rig.clock.advance(minutes=-5)
    before = len(rig.orders)
    rig.finish()
    assert [order.do for order in rig.orders[before:]] == [Do.GO_ON], "without a rival it is proven every minute"


def test_an_outage_is_told_after_a_minute_while_nothing_else_happens(
    rig: DaemonRig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the files too, though no event writes them anew, and while the next attempt is under way."""
    timers: list[tuple[float, Callable[[], None]]] = []
    rig.look()
    monkeypatch.setattr(rig.daemon.loop, "later", lambda seconds, call: timers.append((seconds, call)))
    rig.stand(state=ConnectionState.DOWN, why="No route.")
    rig.daemon._on_disconnected("No route.")
    rig.daemon._on_disconnected("No route.")
    ((seconds, publish),) = timers
    assert judge(rig.status()).exit is Exit.DONE
    rig.stand(state=ConnectionState.CONNECTING, why="No route.")
    rig.clock.advance(seconds=seconds)
    publish()
    assert judge(rig.status()).exit is Exit.DEGRADED
    assert "There has been no connection since" in (tmp_path / "run" / "status.json").read_text()
    assert "iot_cert_health 1\n" in (tmp_path / "run" / "metrics.prom").read_text()


def test_the_files_follow_the_clock_to_the_instant(rig: DaemonRig, tmp_path: Path) -> None:
    """What ends in three minutes is said to have ended in three minutes, though nothing else happens then."""
    end = WatchedEnd(subject="CN=app", sha256="ab" * 32, not_after=NOW + timedelta(minutes=3))
    item = WatchedFile(path="/etc/app.pem", warn=timedelta(minutes=1), certificates=1, ends=(end,))
    rig.daemon.facts.take(seen_set(NOW - timedelta(days=10), timedelta(days=8000), watched=(item,)))
    rig.look()
    for wait, text in ((120, "app in /etc/app.pem expires"), (60, "app in /etc/app.pem expired")):
        assert text not in (tmp_path / "run" / "status.json").read_text()
        assert wait - 5 < rig.sleeps <= wait
        rig.clock.advance(seconds=wait, microseconds=1)
        rig.look()
        assert text in (tmp_path / "run" / "status.json").read_text()
        assert "iot_cert_health 1\n" in (tmp_path / "run" / "metrics.prom").read_text()


def test_a_change_that_uses_the_connection_is_no_outage(rig: DaemonRig, capfd: pytest.CaptureFixture[str]) -> None:
    """However long it takes; that the connection does not come back after it is one, and is told."""
    rig.look()
    rig.stand(state=ConnectionState.LENT, why="a change is using the connection")
    rig.daemon._on_disconnected("a change is using the connection")
    rig.clock.advance(minutes=5)
    assert judge(rig.status()).exit is Exit.DONE
    rig.stand(state=ConnectionState.DOWN, why="No route.")
    rig.daemon._on_disconnected("No route.")
    assert judge(rig.status()).exit is Exit.DONE
    rig.clock.advance(minutes=2)
    assert judge(rig.status()).exit is Exit.DEGRADED
    assert "Not connected: No route." in capfd.readouterr().err


def test_a_rival_is_told_everywhere(contested: DaemonRig, tmp_path: Path) -> None:
    """Status, metrics and shadow; and still while a connection is up that may be ended in the next second."""
    daemon = contested.daemon
    contested.look()
    assert judged(daemon) == ((f"{RIVAL} It keeps away.",), Exit.DEGRADED)
    assert "iot_cert_client_id_contested 1\n" in (tmp_path / "run" / "metrics.prom").read_text()
    contested.stand(rival=RIVAL, state=ConnectionState.UP, since=monotonic())
    assert judged(daemon) == ((RIVAL,), Exit.DEGRADED)
    assert shadow.report(daemon.report.status(), shadow.Wish())["clientIdContested"] is True
    contested.stand(rival=RIVAL, state=ConnectionState.UP, since=monotonic() - STEADY)
    assert judged(daemon) == ((), Exit.DONE)
    assert shadow.report(daemon.report.status(), shadow.Wish())["clientIdContested"] is None


def test_the_next_try_is_told_alike_until_it_is_another() -> None:
    """Two looks at a clock and at what is left of a delay are never quite one."""
    now = datetime(2026, 5, 1, 12, 0, 0, 499_000, tzinfo=UTC)
    outage = Outage()
    told = outage.tried_in(30, now)
    assert told == datetime(2026, 5, 1, 12, 0, 30, tzinfo=UTC)
    for late in range(0, 20_000, 1_000):
        assert outage.tried_in(30 - late / 1e6, now + timedelta(microseconds=2 * late)) == told
    assert outage.tried_in(None, now) is None
    assert outage.tried_in(45, now) == told + timedelta(seconds=15)
    assert outage.tried_in(45, now - timedelta(hours=1)) == told + timedelta(seconds=15, hours=-1)
