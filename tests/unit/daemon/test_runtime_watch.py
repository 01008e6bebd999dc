"""What is done in the runtime directory is heard of, put right once a moment has passed, and tried again."""

from __future__ import annotations

import json
import os
import resource
import shutil
from typing import TYPE_CHECKING

import pytest

from agent.core.report.findings import judge
from agent.daemon.runtime_watch import AGAIN, SETTLE, RuntimeWatch
from agent.daemon.single_instance import SingleInstance
from support.running.office import HandClock, HandLoop
from support.shorthand import planted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.running.daemon_rig import DaemonRig

OWN = ["control.sock", "daemon.lock", "metrics.prom", "status.json"]


class WatchedDirectory(HandLoop):
    """A runtime directory with the real loop and the real kernel, and a clock that the test moves."""

    def __init__(self, run: Path, clock: HandClock) -> None:
        super().__init__(clock)
        self.run = run
        self.looks = 0
        self.well = True
        self.watch = RuntimeWatch(self.loop, run / "control.sock", self._restore)

    def _restore(self) -> bool:
        self.looks += 1
        return self.well

    def after(self, seconds: float) -> int:
        """Hear what there is to hear, let time pass, and return how many looks there were so far."""
        self.turn()
        self.wait(seconds)
        return self.looks


@pytest.fixture(name="desk")
def _desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WatchedDirectory]:
    clock = HandClock()
    monkeypatch.setattr("agent.daemon.loop.monotonic", clock)
    desk = WatchedDirectory(tmp_path / "run", clock)
    desk.run.mkdir()
    for name in OWN:
        (desk.run / name).touch()
    desk.watch.look()
    desk.looks = 0
    yield desk
    desk.watch.close()
    desk.loop.close()


TOUCHES: dict[str, Callable[[Path], object]] = {
    "removed": lambda path: path.unlink(),
    "renamed": lambda path: path.rename(path.with_name("other")),
    "replaced": lambda path: path.with_name("new").rename(path),
    "closed": lambda path: path.chmod(0),
}


@pytest.mark.parametrize("touch", TOUCHES)
@pytest.mark.parametrize("name", OWN)
def test_hands_on_each_of_its_names_are_heard_of_a_moment_later(desk: WatchedDirectory, name: str, touch: str) -> None:
    """However much is done at once, and the next time again."""
    for number in range(2):
        desk.looks = 0
        (desk.run / name).touch()
        (desk.run / "new").touch()
        TOUCHES[touch](desk.run / name)
        assert desk.after(SETTLE / 2) == 0
        assert desk.after(SETTLE) >= 1, number


def test_other_names_are_not_heard_of(desk: WatchedDirectory) -> None:
    """Such as words of an application, and what is on its way to its place."""
    (desk.run / "confirm").mkdir()
    (desk.run / ".new-status.json").touch()
    assert desk.after(SETTLE) == 0


def test_the_directory_may_go_and_come_back(desk: WatchedDirectory) -> None:
    """As it may look the same to the kernel."""
    shutil.rmtree(desk.run)
    assert desk.after(SETTLE) == 1
    desk.run.mkdir()
    desk.watch.look()
    (desk.run / "control.sock").touch()
    before = desk.looks
    assert desk.after(SETTLE) > before


def test_what_cannot_be_put_right_is_tried_each_minute_until_it_is(desk: WatchedDirectory) -> None:
    """And no more then."""
    desk.well = False
    desk.watch.look()
    looks = [desk.after(AGAIN) for _ in range(3)]
    assert looks == [2, 3, 4]
    desk.well = True
    assert [desk.after(AGAIN) for _ in range(3)] == [5, 5, 5]


def test_where_the_kernel_does_not_tell_it_is_looked_at_each_minute_until_it_does(desk: WatchedDirectory) -> None:
    """As when other programs took all watches that a user may have; here there is no descriptor left."""
    desk.watch.close()
    _, most = before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(desk.run, os.O_PATH)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, most))
    try:
        desk.watch.look()
        told = [desk.after(AGAIN) for _ in range(2)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert told[1] > told[0] > 0
    before_it_tells = desk.after(AGAIN)
    (desk.run / "control.sock").unlink()
    assert desk.after(SETTLE) > before_it_tells
    settled = desk.after(SETTLE)
    assert desk.after(AGAIN) == settled


@pytest.mark.root
@pytest.mark.parametrize("kind", planted.MOVABLE)
@pytest.mark.parametrize("name", OWN)
def test_each_name_is_the_daemons_again_whatever_took_its_place(rig: DaemonRig, name: str, kind: str) -> None:
    """What another program may want back is kept, what the object leads to is not written into."""
    run = rig.config.runtime_dir
    rig.daemon._keep_runtime()
    (run / name).unlink()
    with planted.at(run / name, kind) as plant:
        assert rig.daemon._keep_runtime()
        kept = run / f"{name}.damaged"
        if kind in planted.FOREIGN and (name, kind) != ("control.sock", "socket"):
            plant.require_kept(kept)
        assert json.loads((run / "status.json").read_bytes())["runtime"] == ""
        assert (run / "control.sock").is_socket()
        assert (run / "metrics.prom").read_text().startswith("#")
        assert (run / "daemon.lock").is_file()


@pytest.mark.root
@pytest.mark.parametrize("name", ["control.sock", "status.json", "metrics.prom"])
def test_what_cannot_be_put_right_is_told_as_long_as_it_lasts(rig: DaemonRig, name: str) -> None:
    """By the path, by what keeps it and by what helps; and in the published status, where that can be written."""
    run = rig.config.runtime_dir
    rig.daemon._keep_runtime()
    (run / name).unlink()
    with planted.at(run / name, "immutable") as plant:
        for _ in range(2):
            assert not rig.daemon._keep_runtime()
        (found,) = [item for item in judge(rig.status()).findings if item.code == "runtime-directory"]
        for words in (str(run), name, "Operation not permitted", "chattr -ia"):
            assert words in found.text
        plant.require_kept(run / name)
        if name == "control.sock":
            assert json.loads((run / "status.json").read_bytes())["runtime"] == found.text
    assert rig.daemon._keep_runtime()
    assert json.loads((run / "status.json").read_bytes())["runtime"] == ""
    assert "runtime-directory" not in {item.code for item in judge(rig.status()).findings}


def test_what_another_daemon_publishes_is_left_to_it(rig: DaemonRig, tmp_path: Path) -> None:
    """Two that write the same names anew whenever the other did so would never end; once it has gone they are ours."""
    run, other = rig.config.runtime_dir, SingleInstance(rig.config.runtime_dir, tmp_path / "other")
    rig.daemon._keep_runtime()
    (run / "daemon.lock").unlink()
    other.hold_runtime()
    (run / "status.json").write_text("of the other")
    for _ in range(2):
        assert not rig.daemon._keep_runtime()
        rig.daemon.report.publish()
    rig.daemon.report.withdraw()
    assert (run / "status.json").read_text() == "of the other"
    assert "A daemon runs already" in rig.status().live.runtime  # type: ignore[union-attr]
    (run / "daemon.lock").unlink()
    assert rig.daemon._keep_runtime()
    assert json.loads((run / "status.json").read_bytes())["runtime"] == ""


def test_what_the_daemon_writes_there_itself_is_not_written_again(rig: DaemonRig) -> None:
    """It is heard of like another's hand, and a status that is new at each look was written some ten times a second."""
    status = rig.config.runtime_dir / "status.json"
    rig.daemon._keep_runtime()
    written = status.stat().st_ino
    rig.daemon.report._refused_configuration = "This is news."
    assert rig.daemon._keep_runtime()
    assert status.stat().st_ino == written
    rig.daemon.report.publish()
    assert status.stat().st_ino != written
