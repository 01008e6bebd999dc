"""The daemon as a whole: alone on its state directory, woken by what happens, and at its end."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.core.report.findings import judge
from agent.core.worker_protocol import Do
from agent.daemon.app import ONE_TURN, Daemon
from agent.system.clock import monotonic
from support.running.daemon_rig import DaemonRig

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_client_id_that_an_application_may_have_is_told_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In the journal when it is first seen; in the status for as long as it is so."""
    rig = DaemonRig(tmp_path, client_id="{thing}")
    rig.see()
    rig.look()
    rig.look()
    health = judge(rig.status()).health
    rig.close()
    assert [text.partition(" has")[0] for text in health] == ["`client_id: {thing}`"]
    said = capfd.readouterr().err
    assert said.count("`client_id: {thing}` has no part of the agent's own") == said.count("client-id-shared") == 1


def test_a_hand_on_the_set_is_noticed_without_anything_else_happening(rig: DaemonRig) -> None:
    """A second later, by the kernel's word; and the look is patient with a person who has done half of it."""
    assert rig.look() == []
    (rig.config.state_dir / "current" / "key.pem").write_text("by hand")
    deadline = monotonic() + 60
    while not rig.orders and monotonic() < deadline:
        rig.daemon.loop.turn()
    assert [(order.do, order.patient) for order in rig.orders] == [(Do.LOOK, True)]


def test_nothing_is_begun_while_stopping(rig: DaemonRig) -> None:
    """The next start goes on."""
    rig.due()
    rig.daemon._stop()
    assert rig.look() == []


def test_a_connection_that_ends_while_a_worker_is_waited_for_does_not_end_the_daemon(
    rig: DaemonRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the worker tells at its end is still to be taken in; after that the daemon ends when it is cut off."""
    ended: list[bool] = []
    monkeypatch.setattr(rig.daemon.loop, "stop", lambda: ended.append(True))
    rig.due()
    rig.look()
    rig.daemon._stop()
    rig.daemon._on_disconnected("The network is down.")
    looked = monotonic() + 2 * ONE_TURN
    rig.daemon.loop.later(2 * ONE_TURN, lambda: None)
    while monotonic() < looked:
        rig.daemon.loop.turn()
    assert not ended
    rig.finish()
    rig.daemon._on_disconnected("it is closed")
    while not ended:
        rig.daemon.loop.turn()


def test_the_second_of_two_that_waited_for_a_state_directory_ends(rig: DaemonRig, tmp_path: Path) -> None:
    """Neither could tell before there was one. What is made then is the first one's, and the second orders nothing."""
    shutil.rmtree(rig.config.state_dir)
    other = Daemon(replace(rig.config, runtime_dir=tmp_path / "elsewhere"), start_worker=rig.worker)
    for daemon in (rig.daemon, other):
        daemon.consider()
    assert other.instance.refusal is None
    ordered = len(rig.orders)
    rig.config.state_dir.mkdir()
    for daemon in (rig.daemon, other, rig.daemon):
        daemon.consider()
    assert rig.daemon.instance.refusal is None
    assert f"A daemon (process {os.getpid()}) runs already with {rig.config.state_dir}" in str(other.instance.refusal)
    assert other._stopping
    assert len(rig.orders) == ordered
    other.close()
    other.loop.close()


def test_a_state_directory_that_cannot_be_locked_is_told_once_and_used(
    rig: DaemonRig, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only file system must not keep a daemon from starting; a second one could not be told from it."""

    def read_only(_path: Path) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(rig.daemon.instance._state_lock, "_opened", read_only)
    rig.due()
    assert len(rig.look()) == 1
    rig.look()
    said = capfd.readouterr().err
    assert said.count("the state directory is not locked") == said.count("Read-only file system") == 1
