"""Which drop is complete, and when to look again: by the kernel's word, or after a time without a change."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import pytest

from agent.daemon.work import inbox_watch
from agent.daemon.work.inbox_watch import AGAIN, QUIET, InboxWatch
from agent.store.files import disk
from agent.trust import inbox
from agent.trust.inbox import PART, Survey
from support.running.office import HandClock, HandLoop
from support.simulated.ticks import tick
from support.suite.surroundings import descriptors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FEW = 500  # names that one look goes through here, a tenth of what it does
FLOOD = 2 * FEW


class WatchedInbox(HandLoop):
    """An inbox with the real loop and the real kernel, and a clock that the test moves."""

    def __init__(self, place: Path, clock: HandClock) -> None:
        super().__init__(clock)
        self.place = place
        self.news = 0
        self.inbox = InboxWatch(self.loop, self._heard)

    def _heard(self) -> None:
        self.news += 1

    def next(self) -> str | None:
        """Hear what there is to hear, and ask."""
        self.turn()
        return self.inbox.next(self.place)

    def later(self, seconds: float) -> str | None:
        """Let time pass, and ask."""
        self.clock.now += seconds
        return self.next()

    def drop(self, name: str, content: bytes = b"x") -> None:
        """Write a file and rename it into place, as a pipeline should."""
        (self.place.parent / name).write_bytes(content)
        (self.place.parent / name).rename(self.place / name)


@pytest.fixture(name="desk")
def _desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WatchedInbox]:
    clock = HandClock()
    monkeypatch.setattr("agent.daemon.work.inbox_watch.monotonic", clock)
    monkeypatch.setattr("agent.daemon.loop.monotonic", clock)
    (tmp_path / "inbox").mkdir()
    desk = WatchedInbox(tmp_path / "inbox", clock)
    yield desk
    desk.inbox.close()
    desk.loop.close()


@pytest.fixture(name="deaf")
def _deaf(desk: WatchedInbox, monkeypatch: pytest.MonkeyPatch) -> WatchedInbox:
    monkeypatch.setattr("agent.daemon.work.inbox_watch.open_directory_watch", lambda _: None)
    return desk


def test_an_empty_inbox_has_nothing_and_needs_no_look(desk: WatchedInbox) -> None:
    """The kernel will tell."""
    assert desk.next() is None
    assert desk.inbox.delay is None


def test_a_missing_inbox_has_nothing_until_it_is_made(desk: WatchedInbox) -> None:
    """The pipeline may make it at any time; it is looked for whenever the daemon looks."""
    desk.place.rmdir()
    assert desk.next() is None
    assert desk.inbox.delay is None
    desk.place.mkdir()
    assert desk.next() is None
    desk.drop("b.tar")

    assert desk.next() == "b.tar"


@pytest.mark.parametrize("way", ["renamed", "written"])
def test_a_drop_that_the_kernel_calls_complete_is_taken_at_once(desk: WatchedInbox, way: str) -> None:
    """And the daemon hears of it without looking."""
    desk.next()
    if way == "renamed":
        desk.drop("b.tar")
    else:
        (desk.place / "b.tar").write_bytes(b"x")
    assert desk.next() == "b.tar"
    assert desk.news == 1


def test_a_drop_that_is_still_written_is_left_alone(desk: WatchedInbox) -> None:
    """However long it takes, as long as it grows."""
    desk.next()
    with (desk.place / "b.tar").open("wb", buffering=0) as file:
        for _ in range(10):
            file.write(b"x")
            assert desk.later(QUIET - 1) is None
            assert desk.inbox.delay is not None
    assert desk.next() == "b.tar"


def test_what_was_there_before_is_taken_after_a_time_without_a_change(desk: WatchedInbox) -> None:
    """The daemon did not hear when it was closed; it is looked at again just then."""
    (desk.place / "b.tar").touch()
    assert desk.next() is None
    assert desk.inbox.delay == QUIET
    assert desk.later(QUIET - 0.5) is None
    assert desk.inbox.delay == 0.5

    assert desk.later(0.5) == "b.tar"


def test_a_change_begins_the_wait_anew(deaf: WatchedInbox) -> None:
    """Where the kernel tells nothing."""
    (deaf.place / "b.tar").touch()
    deaf.next()
    deaf.clock.now += QUIET - 1
    (deaf.place / "b.tar").write_bytes(b"more")
    assert deaf.next() is None
    assert deaf.later(QUIET - 1) is None

    assert deaf.later(1) == "b.tar"


def test_without_the_kernels_word_every_drop_waits(deaf: WatchedInbox) -> None:
    """Renamed into place or not."""
    deaf.drop("b.tar")
    assert deaf.next() is None
    assert deaf.inbox.delay == QUIET

    assert deaf.later(QUIET) == "b.tar"


def test_the_oldest_comes_first(desk: WatchedInbox) -> None:
    """So that what was shipped last is what stays."""
    desk.next()
    for name in ("c", "a", "b"):
        desk.drop(name)
        tick(desk.place.parent)
    order: list[str | None] = []
    while (found := desk.next()) is not None:
        order.append(found)
        (desk.place / found).unlink()

    assert order == ["c", "a", "b"]


def test_a_heap_of_bad_drops_keeps_no_good_one_away(desk: WatchedInbox) -> None:
    """The oldest and the newest are taken by turns."""
    assert desk.next() is None
    for number in range(6):
        desk.drop(f"bad-{number}")
        tick(desk.place.parent)
    desk.drop("good")

    taken = []
    for _ in range(4):
        name = desk.later(QUIET) or desk.later(QUIET)
        assert name is not None
        taken.append(name)
        (desk.place / name).unlink()
        desk.inbox.taken(name, desk.place)
    assert taken == ["bad-0", "good", "bad-1", "bad-5"]


@pytest.mark.parametrize(
    ("order", "bad"),
    [
        ("dropped-while-heard", FLOOD), ("there-before", FLOOD), ("unheard", FLOOD), ("in-the-midst", FLOOD),
        pytest.param("unheard", 100_000, marks=pytest.mark.whole),
    ],
)  # fmt: skip
def test_a_flood_keeps_no_good_drop_away(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, order: str, bad: int
) -> None:
    """Looks are bounded in number, and each takes and removes one drop at most."""
    part = FEW if bad == FLOOD else PART
    monkeypatch.setattr(inbox, "Survey", partial(Survey, part))
    monkeypatch.setattr(inbox, "MAX_LISTED", part // 5)
    desk: WatchedInbox = request.getfixturevalue("deaf" if order == "unheard" else "desk")
    flood(desk, bad)
    if order != "there-before":
        assert desk.next() is None
    tick(desk.place.parent)
    desk.drop("good")
    if order == "in-the-midst":  # of what the kernel tells: the flood goes on
        for number in range(20):
            desk.drop(f"more-{number}")
    looks, name = 0, None
    while name != "good":
        name = desk.later(1)
        looks += 1
        if name is not None:
            (desk.place / name).unlink()
            desk.inbox.taken(name, desk.place)
        assert looks < bad / part + QUIET + 50
    assert desk.inbox.delay is not None
    assert desk.inbox.delay <= QUIET


def flood(desk: WatchedInbox, bad: int) -> None:
    """Fill the inbox with what the kernel told of before the daemon watched, as names alone."""
    with disk.directory(str(desk.place)) as fd:
        for number in range(bad):
            os.mknod(f"bad-{number:06}", dir_fd=fd)


def test_a_drop_that_has_to_wait_is_looked_at_again_after_a_while(desk: WatchedInbox) -> None:
    """It is still there after a worker looked at it."""
    desk.next()
    desk.drop("b.tar")
    assert desk.next() == "b.tar"
    desk.inbox.taken("b.tar", desk.place)
    assert desk.next() is None
    assert desk.inbox.delay == AGAIN
    assert desk.later(AGAIN - 1) is None

    assert desk.later(1) == "b.tar"


def test_a_drop_that_waits_keeps_no_other_from_being_taken(desk: WatchedInbox) -> None:
    """Each for itself."""
    desk.next()
    desk.drop("a.tar")
    assert desk.next() == "a.tar"
    desk.inbox.taken("a.tar", desk.place)
    desk.drop("b.tar")

    assert desk.next() == "b.tar"


def looked_at(desk: WatchedInbox, seconds: float = 1) -> str | None:
    """Have a worker look at the next drop, which has to wait, and return its name."""
    name = desk.later(seconds)
    if name is not None:
        desk.inbox.taken(name, desk.place)
    return name


@pytest.fixture(name="heap")
def _heap(desk: WatchedInbox, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of more drops than are listed, three times as many, which all have to wait."""
    monkeypatch.setattr(inbox, "MAX_LISTED", 20)
    flood(desk, 60)
    return [f"bad-{number:06}" for number in range(60)]


def test_a_heap_that_has_to_wait_keeps_no_drop_away(desk: WatchedInbox, heap: list[str]) -> None:
    """All are looked at before one of them is looked at again, however long one look takes, and then in that order."""
    looks: list[str] = []
    while len(looks) < len(heap):
        looks += filter(None, [looked_at(desk, QUIET)])
        assert desk.clock.now < 5 * AGAIN

    assert desk.clock.now > 2 * AGAIN  # the first of them waits no more
    assert sorted(looks) == heap
    assert [looked_at(desk) for _ in range(10)] == looks[:10]


def test_a_drop_that_comes_while_a_heap_waits_is_taken_at_once(desk: WatchedInbox, heap: list[str]) -> None:
    """It is a new one, and they are not."""
    looks = {looked_at(desk) for _ in range(3 * int(QUIET) + len(heap))} - {None}
    assert sorted(map(str, looks)) == heap
    assert desk.next() is None
    desk.drop("good.tar")

    assert desk.next() == "good.tar"


def test_what_is_known_of_drops_that_wait_is_bounded(desk: WatchedInbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were looked at first are taken for new ones."""
    monkeypatch.setattr(inbox_watch, "_MAX_HELD", 3)
    desk.next()
    for name in "abcd":
        desk.drop(name)
    looks = [looked_at(desk, 0) for _ in range(4)]

    assert sorted(map(str, looks)) == list("abcd")
    assert [looked_at(desk, 0) for _ in range(2)] == looks[:2]


def test_another_in_place_of_one_that_waits_is_taken_at_once(desk: WatchedInbox) -> None:
    """It is another bundle."""
    desk.next()
    desk.drop("b.tar")
    desk.next()
    desk.inbox.taken("b.tar", desk.place)
    desk.drop("b.tar", b"another")

    assert desk.next() == "b.tar"


def test_a_drop_that_is_written_over_is_not_complete_any_more(desk: WatchedInbox) -> None:
    """It was, and waits; now a pipeline copies a new one over it and is not done yet."""
    desk.next()
    desk.drop("b.tar")
    assert desk.next() == "b.tar"
    desk.inbox.taken("b.tar", desk.place)
    with (desk.place / "b.tar").open("wb", buffering=0) as file:
        file.write(b"half")
        assert desk.next() is None
    assert desk.next() == "b.tar"


def test_a_clock_that_was_set_ends_the_waiting(desk: WatchedInbox) -> None:
    """Without it a bundle's dates could not be judged."""
    desk.next()
    desk.drop("b.tar")
    desk.next()
    desk.inbox.taken("b.tar", desk.place)
    assert desk.next() is None
    desk.inbox.clock_was_set()

    assert desk.next() == "b.tar"


def test_a_drop_that_was_taken_and_removed_is_forgotten(desk: WatchedInbox) -> None:
    """The next of its name is a new one, and is not taken for complete on its predecessor's account."""
    desk.next()
    desk.drop("b.tar")
    assert desk.next() == "b.tar"
    (desk.place / "b.tar").unlink()
    desk.inbox.taken("b.tar", desk.place)
    assert desk.next() is None
    with (desk.place / "b.tar").open("wb", buffering=0) as file:
        file.write(b"half")
        assert desk.next() is None
        assert desk.inbox.delay == QUIET


def test_an_inbox_that_was_replaced_is_watched_anew(desk: WatchedInbox) -> None:
    """Removed and made again, or another by configuration."""
    desk.next()
    desk.place.rmdir()
    desk.next()
    desk.place.mkdir()
    desk.next()
    desk.drop("b.tar")
    assert desk.next() == "b.tar"
    other = desk.place.parent / "other"
    other.mkdir()
    desk.place = other
    assert desk.next() is None
    desk.drop("c.tar")

    assert desk.next() == "c.tar"


def test_an_inbox_that_cannot_be_listed_has_nothing(desk: WatchedInbox) -> None:
    """The check says so; the daemon goes on."""
    desk.place.rmdir()
    desk.place.symlink_to(desk.place.parent)

    assert desk.next() is None


def test_a_closed_inbox_watches_nothing(desk: WatchedInbox) -> None:
    """And may be closed again."""
    desk.next()
    before = descriptors()
    desk.inbox.close()
    desk.inbox.close()

    assert before - descriptors() != set()
    desk.drop("b.tar")
    desk.loop.post(lambda: None)
    desk.loop.turn()
    assert desk.news == 0
