"""What the daemon has done, and when: on a clock that is passed in, with workers that only remember their orders."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import make
import pytest
from make import DAY, HOUR, NOW

from agent.adapters.clock import monotonic
from agent.config import Config
from agent.core.lifecycle import Phase
from agent.core.orders import Do, Order
from agent.core.schedule import LOOK_EVERY, Suggestion
from agent.core.values import Kind, Origin
from agent.daemon.service import Daemon
from agent.sandbox.simulator import SimulatedClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BOOT_1970 = datetime(1970, 1, 1, 0, 2, tzinfo=UTC)


class Recorded:
    """A worker that does nothing but remember its order."""

    orders: ClassVar[list[Order]]
    running: ClassVar[Recorded | None] = None

    def __init__(self, _loop: object, _config: Path, order: Order, _progress: object, end: Callable[..., None]) -> None:
        self.order = order
        self._end = end
        type(self).orders.append(order)
        type(self).running = self

    def stop(self) -> None:
        """It does nothing anyway."""

    def kill(self) -> None:
        """It does nothing anyway."""

    def finish(self, **end: Any) -> None:
        """End, with what was seen."""
        self._end({"event": "end", **end})


class House:
    """A daemon, its clock and what it ordered."""

    def __init__(self, path: Path, **config: Any) -> None:
        (path / "state" / "generations" / "000007").mkdir(parents=True)
        (path / "run").mkdir()
        self.clock = SimulatedClock(NOW)

        class Worker(Recorded):
            orders: ClassVar[list[Order]] = []

        self.worker = Worker
        base = Config(path=path / "config.yaml", endpoint="127.0.0.1", port=9, state_dir=path / "state")
        self.config = replace(base, runtime_dir=path / "run", **config)
        self.daemon = Daemon(self.config, clock=self.clock, start_worker=self.worker)

    @property
    def orders(self) -> list[Order]:
        """What was ordered so far."""
        return self.worker.orders

    def see(self, age: timedelta = timedelta(days=10), lifetime: timedelta = timedelta(days=8000)) -> None:
        """Let a worker have seen a sound set of this age."""
        self.daemon.outlook.take(_seen(NOW - age, lifetime))

    def due(self) -> None:
        """Let the set's turn have come."""
        self.see(age=timedelta(days=396))

    def look(self) -> list[Order]:
        """Consider, and return what was ordered by that."""
        before = len(self.orders)
        self.daemon.consider()
        return self.orders[before:]

    def close(self) -> None:
        """Let go of what it holds."""
        self.daemon.close()
        self.daemon.loop.close()

    def finish(self, **end: Any) -> None:
        """End the running worker."""
        worker = self.worker.running
        assert worker is not None
        worker.finish(**end)


def _seen(not_before: datetime, lifetime: timedelta) -> dict[str, Any]:
    leaf = make.certificate(not_before=not_before, not_after=not_before + lifetime)
    document = make.document()
    document["clock"] = {
        "now": NOW.isoformat(),
        "state": "synchronised",
        "floor": datetime(2026, 11, 1, tzinfo=UTC).isoformat(),
    }
    document["current"] |= {
        "generation": 7,
        "splay": 0.5,
        "certificate": document["current"]["certificate"]
        | {"not_before": leaf.not_before.isoformat(), "not_after": leaf.not_after.isoformat()},
    }
    return document


@pytest.fixture
def blind(tmp_path: Path) -> Iterator[House]:
    """Give a daemon that has seen nothing yet."""
    made = House(tmp_path)
    yield made
    made.close()


@pytest.fixture
def house(blind: House) -> House:
    """Give a daemon that has seen a set which is not due."""
    blind.see()
    return blind


def test_before_anything_was_seen_a_worker_looks(blind: House) -> None:
    """The store is recovered before anything else is thought of."""
    assert [order.do for order in blind.look()] == [Do.LOOK]


def test_what_is_not_due_is_left_alone(house: House) -> None:
    """And looked at again within ten minutes, whatever happens."""
    assert house.look() == []
    assert house.daemon._look is not None
    assert 0 < house.daemon._look.due - monotonic() <= LOOK_EVERY.total_seconds()


def test_what_is_due_is_begun_once(house: House) -> None:
    """One worker at a time, however often the facts are looked at."""
    house.due()
    begun = house.look()
    assert [(order.do, order.kind, order.origin) for order in begun] == [(Do.BEGIN, Kind.ROTATE, Origin.SCHEDULE)]
    assert house.look() == []


def test_a_boot_in_1970_leads_to_one_right_decision(house: House) -> None:
    """No network and no clock: nothing. The clock is set: one rotation. The network comes: no second one."""
    house.due()
    house.clock.time, house.clock.is_synchronised = BOOT_1970, False
    assert house.look() == []
    assert house.daemon.outlook.plan().code == "clock"
    house.clock.time, house.clock.is_synchronised = NOW, True
    house.daemon._clock_watch = Stepped()  # type: ignore[assignment]
    house.daemon._on_clock()
    assert [order.do for order in house.orders] == [Do.BEGIN]
    house.daemon._on_uplink()
    assert house.look() == []


class Stepped:
    """A clock watch that has seen the clock being set."""

    def read(self) -> bool:
        """Say so."""
        return True

    def arm(self, _at: datetime) -> None:
        """Nothing else will come."""

    def close(self) -> None:
        """There is nothing to let go of."""


def test_a_boot_in_1970_does_not_rotate_what_is_fresh(house: House) -> None:
    """Neither under the wrong clock nor after the step."""
    house.clock.time, house.clock.is_synchronised = BOOT_1970, False
    assert house.look() == []
    house.clock.time, house.clock.is_synchronised = NOW, True
    assert house.look() == []


def test_a_clock_that_runs_years_ahead_is_waited_for(house: House) -> None:
    """Nobody vouches for it, so the certificate is not taken for overdue before a day has passed."""
    house.clock.time, house.clock.is_synchronised = NOW + timedelta(days=500), False
    house.see(age=-timedelta(days=119, hours=12))  # due half a day before what the clock shows
    assert house.look() == []
    assert house.daemon.outlook.plan().code == "clock"
    house.clock.advance(days=1)
    assert [order.kind for order in house.look()] == [Kind.ROTATE]


def test_a_suspend_over_the_window_ends_in_a_rotation_on_wake(house: House) -> None:
    """The clock has moved on by two years; the first look after it sees that."""
    assert house.look() == []
    house.clock.advance(days=400)
    assert [order.kind for order in house.look()] == [Kind.ROTATE]


def test_an_order_that_fails_is_not_repeated_at_once(house: House) -> None:
    """What could not even be begun, for lack of space say, waits before it is tried again."""
    house.due()
    house.look()
    house.finish(error={"message": "No space left.", "hint": "", "exit": 1})
    assert house.look() == []
    assert house.daemon._hold_until > monotonic()


def test_an_order_of_the_fleets_that_is_refused_holds_no_other_up(house: House) -> None:
    """Its job is told, and the next one is begun at once: only what the daemon does by itself is put off by failing."""
    for number in range(4):
        house.daemon.begin_for(Kind.ROLLBACK, f"job:{number}:1", "a test")
        assert [order.order for order in house.look()] == [f"job:{number}:1"]
        house.finish(error={"message": "There is no previous generation.", "hint": "", "exit": 4})
    house.daemon.begin_for(Kind.ROTATE, "job:9:1", "a test")
    assert [order.order for order in house.look()] == ["job:9:1"]


def test_a_busy_store_keeps_the_order(house: House) -> None:
    """Somebody's command works on the store: the same order comes first once it is done."""
    house.due()
    first = house.look()
    house.finish(error={"message": "Process 7 is working.", "hint": "", "exit": 4, "busy": True})
    house.daemon._hold_until = 0.0
    again = house.look()
    assert [(order.do, order.reason) for order in again] == [(order.do, order.reason) for order in first]


def test_touched_files_are_looked_at(house: House, tmp_path: Path) -> None:
    """Somebody wrote into the current generation."""
    assert house.look() == []
    (tmp_path / "state" / "generations" / "000007" / "certificate.pem").write_text("by hand")
    assert [order.do for order in house.look()] == [Do.LOOK]


def test_a_suggested_window_moves_the_rotation(house: House) -> None:
    """And the change answers to whoever suggested it."""
    house.daemon.suggest(Suggestion(opens_at=NOW - HOUR, closes_at=NOW + HOUR / 2, source="job 7", order="job:7:1"))
    begun = house.look()
    assert [(order.origin, order.order) for order in begun] == [(Origin.JOB, "job:7:1")]


def test_without_a_set_the_ladder_is_climbed(blind: House) -> None:
    """The set is damaged and there is none to go back to."""
    house = blind
    seen = _seen(NOW - DAY, 90 * DAY) | {"current": None, "damage": [(3, "It is damaged.")]}
    house.daemon.outlook.take(seen)
    assert [(order.do, order.origin) for order in house.look()] == [(Do.CLIMB, Origin.LADDER)]
    house.finish(document=seen, climb={"use": "technician", "why": "there is no set left"})
    assert house.look() == [], "climbing again waits"
    assert "there is no set left." in house.daemon.status()["health"]


def test_a_change_that_found_its_source_refused_is_followed_by_the_ladder(house: House) -> None:
    """The rotation ended because the certificate it started from is not accepted any more."""
    house.due()
    house.look()
    record = make.finished(Phase.REJECTED)
    house.finish(change={"id": record.id, "kind": "rotate", "phase": "rejected"}, locked_out=True, exit=1)
    assert house.orders[-1].do is Do.CLIMB


def test_nothing_is_begun_while_stopping(house: House) -> None:
    """The next start goes on."""
    house.due()
    house.daemon._stop()
    assert house.look() == []
