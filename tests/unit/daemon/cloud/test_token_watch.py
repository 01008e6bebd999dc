"""A token that is put into its file is heard of a second later, however that is done; its end is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.daemon.cloud.token_watch import SETTLE, TokenWatch
from support.running.office import HandClock, HandLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class WatchedToken(HandLoop):
    """A place for the file, with the real loop and the real kernel, and a clock that the test moves."""

    def __init__(self, file: Path, clock: HandClock) -> None:
        super().__init__(clock)
        self.file = file
        self.news = 0
        self.watch = TokenWatch(self.loop, self._heard)
        self.watch.listen(file)

    def _heard(self) -> None:
        self.news += 1

    def after(self, seconds: float) -> int:
        """Hear what there is to hear, let time pass, and return how much news there was so far."""
        self.turn()
        self.wait(seconds)
        return self.news


@pytest.fixture(name="counter")
def _counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WatchedToken]:
    clock = HandClock()
    monkeypatch.setattr("agent.daemon.loop.monotonic", clock)
    place = tmp_path / "place"
    place.mkdir()
    counter = WatchedToken(place / "token", clock)
    yield counter
    counter.watch.close()
    counter.loop.close()


def renamed(file: Path) -> None:
    """Put another file in its place."""
    other = file.with_name("token.new")
    other.write_text("new")
    other.rename(file)


WAYS: dict[str, Callable[[Path], object]] = {
    "written": lambda file: file.write_text("new"),
    "renamed into place": renamed,
    "touched": lambda file: file.open("a").close(),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("before", [False, True])
def test_a_token_is_heard_of_once(counter: WatchedToken, way: str, *, before: bool) -> None:
    """Where there was a file before, and where there was none."""
    if before:
        counter.file.write_text("old")
        assert counter.after(SETTLE) == 1
    WAYS[way](counter.file)
    counter.watch.listen(counter.file)
    assert counter.after(SETTLE / 2) == int(before)
    assert counter.after(SETTLE / 2) == 1 + int(before)
    assert counter.after(SETTLE) == 1 + int(before)


def test_its_end_and_other_files_are_no_news(counter: WatchedToken) -> None:
    """The agent overwrites and removes a token that is spent."""
    counter.file.with_name("another").write_text("x")
    counter.file.write_text("spent")
    counter.file.unlink()
    assert counter.after(2 * SETTLE) == 0


def test_a_directory_that_is_made_anew_is_watched_again(counter: WatchedToken) -> None:
    """And one that is not there yet, once it is."""
    counter.file.parent.rmdir()
    assert counter.after(SETTLE) == 0
    counter.watch.listen(counter.file)
    counter.file.parent.mkdir()
    counter.watch.listen(counter.file)
    counter.file.write_text("new")
    assert counter.after(SETTLE) == 1


def test_another_file_may_be_named(counter: WatchedToken) -> None:
    """After the configuration was read again."""
    other = counter.file.with_name("other")
    counter.watch.listen(other)
    counter.file.write_text("x")
    assert counter.after(SETTLE) == 0
    other.write_text("new")
    assert counter.after(SETTLE) == 1
    counter.watch.close()
    other.write_text("newer")
    assert counter.after(SETTLE) == 1
