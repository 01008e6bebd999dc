"""Objects of a wrong kind at names that the daemon uses, put there while it runs and before it starts."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from support.running.daemon import RunningDaemon
from support.shorthand import planted
from support.suite import campaigns

if TYPE_CHECKING:
    from pathlib import Path

    from support.running.gateway import Gateway

pytestmark = pytest.mark.root

AGENT = 1000  # a user without any right
RUNTIME = ("control.sock", "status.json", "metrics.prom", "daemon.lock")
SEVERAL = ("directory-0555", "device", "hard-link", "stranger", "socket")


def hand_over(gateway: Gateway, user: int) -> Path:
    """Give a gateway's files to the user that its daemon is to work as, and return the runtime directory."""
    run = gateway.directory / "run"
    run.mkdir()
    for path in (gateway.state, *gateway.state.rglob("*"), run):
        os.chown(path, user, user, follow_symlinks=False)
    return run


def is_whole(daemon: RunningDaemon) -> bool:
    """Whether clients and programs find the daemon, and it has nothing to say of its directory."""
    answered = daemon.status().get("runtime") == ""
    files = [daemon.runtime / name for name in RUNTIME[1:]]
    return answered and all(path.is_file() for path in files) and files[0].read_bytes()[:1] == b"{"


def healed(daemon: RunningDaemon, plant: planted.Plant) -> None:
    """Return once the directory is whole, what was put there being kept; a file will do for a lock."""
    name = plant.path.name
    lock = name == "daemon.lock" and plant.kind not in planted.FOREIGN
    daemon.until(lambda: (lock or not plant.stands) and is_whole(daemon), f"end of a {plant.kind} as {name}")
    if plant.kind in planted.FOREIGN and (name, plant.kind) != ("control.sock", "socket"):
        plant.require_kept(plant.path.with_name(f"{name}.damaged"))


def connected(daemon: RunningDaemon) -> bool:
    """Whether the cloud sees it, whatever is published."""
    return bool(daemon.live()) and not daemon.workers()


@pytest.mark.parametrize("user", campaigns.take([AGENT, 0], 2))  # in the whole, root too
def test_each_name_in_a_live_runtime_directory_becomes_the_daemons_again(passable: Gateway, user: int) -> None:
    """Within moments, without a restart; what is there is kept, and a technician's order goes through."""
    run = hand_over(passable, user)
    with RunningDaemon(passable) as daemon:
        daemon.until_up(1)
        for name in RUNTIME:
            for kind in SEVERAL:
                with planted.instead_of(run / name, kind) as plant:
                    healed(daemon, plant)
                daemon.until(lambda: is_whole(daemon), f"{name} again")
            (run / name).unlink()
            daemon.until(lambda: is_whole(daemon), f"{name} that was removed")
        passable.run("rotate", expect=0)
        daemon.until_up(2)
        passable.run("status", expect=0)


@pytest.mark.parametrize("user", campaigns.take([0, AGENT], 2))
def test_what_cannot_be_moved_is_told_and_the_gateway_rotates(passable: Gateway, user: int) -> None:
    """The order finds no socket and says so; the daemon goes on without, and has it again once the object is gone."""
    run = hand_over(passable, user)
    with RunningDaemon(passable) as daemon:
        daemon.until_up(1)
        with planted.instead_of(run / "control.sock", "immutable"):
            daemon.until_said("chattr -ia")
            told = passable.run("rotate", expect=4).err
            assert f"it does not listen at {run}/control.sock, where a file stands: once that is moved" in told
            assert "control.sock cannot be made" in daemon.published()["runtime"]
        daemon.until(lambda: is_whole(daemon), "socket")
        passable.run("rotate", expect=0)
        daemon.until_up(2)


@pytest.mark.parametrize(
    ("kind", "user"), campaigns.pairs(["immutable", "device", "stranger", "sparse", "loop"], [0, AGENT])
)
def test_a_daemon_starts_whatever_stands_at_its_names(passable: Gateway, kind: str, user: int) -> None:
    """A daemon that does not start renews nothing; what it cannot move it tells. In a sample, of all names at once."""
    run = hand_over(passable, user)
    for names in [RUNTIME] if campaigns.chosen().sampled else [(name,) for name in RUNTIME]:
        with ExitStack() as stack:
            for name in names:
                stack.enter_context(planted.at(run / name, kind))
            daemon = stack.enter_context(RunningDaemon(passable))
            daemon.until(lambda: connected(daemon), f"connection with a {kind} as {names}")  # noqa: B023 - at once
            if kind == "immutable" and names != ("daemon.lock",):  # of which nothing more is needed than to be there
                daemon.until_said("chattr -ia")
        for left in run.iterdir():
            left.unlink()
