"""When the session of a daemon comes and goes by itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, cast

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.report.findings import judge
from agent.core.report.known import ConnectionState
from agent.core.when.looks import Looks
from agent.core.worker_protocol import Do
from agent.system.clock import boottime, monotonic
from support import make
from support.make import DAY, NOW
from support.running.daemon_rig import OLD, ConnectedRig
from support.running.office import ListLink

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent.iotcore.async_client import Link

LOOKS = Looks(every=timedelta(hours=6), lasts=timedelta(minutes=1))


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ConnectedRig]:
    """Give a connected daemon whose look is over."""
    made = ConnectedRig(tmp_path)
    session = made.daemon.cloud.session
    monkeypatch.setattr(ListLink, "close", lambda link: session.on_over(link, None, taken_over=False), raising=False)
    monkeypatch.setattr(ListLink, "abandon", lambda _link: None, raising=False)
    made.see()
    made.daemon.facts.configure(replace(made.config, session=LOOKS))
    answered(made)
    yield made
    made.close()


def answered(rig: ConnectedRig) -> None:
    """Let the cloud have answered, and all that was to be stayed for be long ago."""
    for asked in rig.link.open():
        rig.link.refuse(asked.topic, 403)
    rig.daemon.cloud._visits._idle_since = 0.0


def state(rig: ConnectedRig, *, up_for: float | None = None) -> ConnectionState:
    """Return how the session stands after a look at everything; `up_for` says for how long it is up."""
    if up_for is not None:
        rig.stand(state=ConnectionState.UP, generation=7, since=monotonic() - up_for)
    rig.daemon.consider()
    return rig.daemon.cloud.session.status.state


@pytest.mark.parametrize(("up_for", "expected"), [(50, ConnectionState.UP), (61, ConnectionState.RESTING)])
def test_it_leaves_when_the_look_is_over(rig: ConnectedRig, up_for: float, expected: ConnectionState) -> None:
    """And not before."""
    assert state(rig, up_for=up_for) is expected


def test_it_is_there_always_without_the_key(rig: ConnectedRig) -> None:
    """However long that is."""
    rig.daemon.facts.configure(rig.config)
    assert state(rig, up_for=1e6) is ConnectionState.UP


def test_a_rest_is_told_and_is_no_fault(rig: ConnectedRig) -> None:
    """The status says when the next look is, and the exit code stays."""
    assert state(rig, up_for=61) is ConnectionState.RESTING
    rig.daemon._on_disconnected(rig.daemon.cloud.session.status.why)
    status = rig.status()
    assert status.live is not None
    assert status.live.connection.since is None
    assert status.live.connection.why.startswith("`session` asks for a look now and then; the next one is at ")
    assert [item.code for item in judge(status).findings if item.check == "connect"] == []


def test_it_stays_with_a_change_in_flight_and_a_look_longer(rig: ConnectedRig) -> None:
    """What is in probation is watched, and what came of it is told before it leaves."""
    rig.change(make.record(Phase.DEPLOYED, checked_at=NOW))
    assert state(rig, up_for=1e5) is ConnectionState.UP
    (rig.config.state_dir / "change.json").unlink()
    rig.daemon.facts.refresh()
    assert state(rig) is ConnectionState.UP
    assert rig.daemon.cloud._visits._leave._timer is not None
    rig.daemon.cloud._visits._idle_since -= 61
    assert state(rig) is ConnectionState.RESTING


def test_it_comes_back_for_a_person_who_has_certificates_retired(rig: ConnectedRig) -> None:
    """It does not say that there is no connection to ask over."""
    rig.leave_behind(make.finished(Phase.COMMITTED, NOW - DAY, replaces=OLD))
    rig.stand(state=ConnectionState.RESTING, generation=7, why="Later.")
    rig.daemon.cloud.session._link = None
    rig.daemon.cloud._visits._rests_since = boottime()
    assert state(rig) is ConnectionState.RESTING
    assert rig.daemon.cloud.retire_all(over=False) == 1
    assert state(rig) is ConnectionState.CONNECTING


def test_time_in_which_the_machine_slept_counts(rig: ConnectedRig) -> None:
    """Its timers stood still; the clock that goes on says that the look is due."""
    rig.stand(state=ConnectionState.RESTING, generation=7, why="Later.")
    rig.daemon.cloud.session._link = None
    rig.daemon.cloud._visits._rests_since = boottime() - 6 * 3600
    assert state(rig) is ConnectionState.CONNECTING


def test_another_set_than_the_last_looks_is_looked_at(rig: ConnectedRig) -> None:
    """Whether it is accepted is not left until the next one."""
    rig.stand(state=ConnectionState.RESTING, generation=6, why="Later.")
    rig.daemon.cloud.session._link = None
    rig.daemon.cloud._visits._rests_since = boottime()
    assert state(rig) is ConnectionState.CONNECTING


def test_a_new_connection_is_examined_once_a_day_in_this_mode_too(rig: ConnectedRig) -> None:
    """A look shows that the set is accepted, not which root the endpoint chains to; so looks do not put it off."""
    rig.daemon.cloud._plan_anew()
    due = rig.daemon.cloud._anew._timer
    rig.daemon.cloud._on_connected(cast("Link", rig.link))
    assert rig.daemon.cloud._anew._timer is due
    rig.stand(state=ConnectionState.RESTING, generation=7, why="Later.")
    rig.daemon.cloud._connect_anew()
    assert [order.do for order in rig.look()] == [Do.EXAMINE]
