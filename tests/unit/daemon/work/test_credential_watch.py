"""Hands on the set in use are heard of a second later, wherever `current` has moved to, and nothing else is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.daemon.work.credential_watch import HALF, SETTLE, CredentialWatch
from support.running.office import HandClock, HandLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class WatchedState(HandLoop):
    """A state directory with the real loop and the real kernel, and a clock that the test moves."""

    def __init__(self, state: Path, clock: HandClock) -> None:
        super().__init__(clock)
        self.state = state
        self.news = 0
        self.hands = CredentialWatch(self.loop, self._heard)

    def _heard(self) -> None:
        self.news += 1
        self.hands.listen(self.state)

    def after(self, seconds: float) -> int:
        """Hear what there is to hear, let time pass, and return how much news there was so far."""
        self.turn()
        self.wait(seconds)
        return self.news

    def point(self, number: int) -> None:
        """Move `current`, as a rename does it."""
        (self.state / "new").symlink_to(f"generations/{number:06d}")
        (self.state / "new").rename(self.state / "current")

    def key(self, number: int) -> Path:
        """Return a generation's key."""
        return self.state / "generations" / f"{number:06d}" / "key.pem"


@pytest.fixture(name="desk")
def _desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WatchedState]:
    clock = HandClock()
    monkeypatch.setattr("agent.daemon.work.credential_watch.monotonic", clock)
    monkeypatch.setattr("agent.daemon.loop.monotonic", clock)
    desk = WatchedState(tmp_path / "state", clock)
    for number in (1, 2):
        desk.key(number).parent.mkdir(parents=True)
        desk.key(number).write_text("key")
    desk.point(1)
    desk.hands.listen(desk.state)
    yield desk
    desk.hands.close()
    desk.loop.close()


TOUCHES: dict[str, Callable[[WatchedState], object]] = {
    "a file written": lambda desk: desk.key(1).write_text("another"),
    "a file removed": lambda desk: desk.key(1).unlink(),
    "a file made unreadable": lambda desk: desk.key(1).chmod(0),
    "current flipped": lambda desk: desk.point(2),
    "current removed": lambda desk: (desk.state / "current").unlink(),
    "previous made": lambda desk: (desk.state / "previous").symlink_to("generations/000002"),
    "the generation renamed": lambda desk: desk.key(1).parent.rename(desk.state / "aside"),
    "all generations renamed": lambda desk: (desk.state / "generations").rename(desk.state / "aside"),
    "the state directory renamed": lambda desk: desk.state.rename(desk.state.parent / "aside"),
}


@pytest.mark.parametrize("touch", TOUCHES.values(), ids=TOUCHES)
def test_a_touch_is_news_after_a_second_and_only_once(
    desk: WatchedState, touch: Callable[[WatchedState], object]
) -> None:
    """However it is done; after that the daemon sleeps on."""
    touch(desk)
    assert desk.after(SETTLE - 0.1) == 0
    assert desk.after(0.2) == 1
    assert desk.after(3600) == 1


def test_several_touches_within_a_second_are_one(desk: WatchedState) -> None:
    """A copy is many system calls, and two files are two copies."""
    for _ in range(20):
        desk.key(1).write_text("a")
        assert desk.after(0.04) == 0
    assert desk.after(SETTLE) == 1


def test_what_does_not_touch_the_set_in_use_is_no_news(desk: WatchedState) -> None:
    """Records, other generations, the inbox; and reading."""
    (desk.state / "change.json").write_text("{}")
    (desk.state / "lock").touch()
    (desk.state / "inbox").mkdir()
    (desk.state / "generations" / ".000003").mkdir()
    (desk.state / "generations" / ".000003").rename(desk.state / "generations" / "000003")
    desk.key(2).write_text("another")
    desk.key(1).read_text()
    assert desk.after(10) == 0
    assert not desk.hands.busy


def test_the_watch_moves_with_current(desk: WatchedState) -> None:
    """The generation that was left does not count any more, the one that is used does."""
    desk.point(2)
    assert desk.after(SETTLE) == 1
    desk.key(1).write_text("another")
    assert desk.after(2 * SETTLE) == 1
    desk.key(2).write_text("another")
    assert desk.after(2 * SETTLE) == 2


def test_another_directory_under_the_same_name_is_watched(desk: WatchedState) -> None:
    """Moved aside, and a copy put in its place."""
    desk.key(1).parent.rename(desk.state / "aside")
    desk.key(1).parent.mkdir()
    desk.key(1).write_text("key")
    assert desk.after(2 * SETTLE) == 1
    desk.key(1).write_text("another")
    assert desk.after(2 * SETTLE) == 2


def test_the_coming_of_a_state_directory_is_news(desk: WatchedState) -> None:
    """Any program may make it: the daemon has a lock to take there, and something to look at."""
    desk.state.rename(desk.state.parent / "aside")
    assert desk.after(2 * SETTLE) == 1
    (desk.state.parent / "something else").touch()
    assert desk.after(2 * SETTLE) == 1
    desk.state.mkdir()
    assert desk.after(2 * SETTLE) == 2


def test_a_person_who_has_touched_something_may_go_on_for_half_a_minute(desk: WatchedState) -> None:
    """A key and a certificate are two files, and a person types two commands."""
    busy = [desk.hands.busy]
    desk.key(1).write_text("another")
    for seconds in (0, HALF - 1, 1):
        desk.after(seconds)
        busy.append(desk.hands.busy)
    assert busy == [False, True, True, False]


def test_listening_again_costs_nothing(desk: WatchedState) -> None:
    """The daemon does so whenever it looks at the facts."""
    watch = desk.hands._hearing.watch
    for _ in range(3):
        desk.hands.listen(desk.state)
    assert desk.hands._hearing.watch is watch is not None


def test_without_inotify_nothing_is_heard_and_nothing_breaks(
    desk: WatchedState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon looks every ten minutes, as it does anyway."""
    monkeypatch.setattr("agent.daemon.work.credential_watch.open_change_watch", lambda _: None)
    desk.hands.close()
    desk.hands.listen(desk.state)
    desk.key(1).unlink()
    assert desk.after(3600) == 0
