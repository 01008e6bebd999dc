"""What the daemon has done, and when: on a clock that is passed in, with workers that only remember their orders."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, cast

import make
import pytest
from make import DAY, HOUR, MINUTE, NOW, SECOND

from agent.adapters.clock import monotonic
from agent.adapters.peers import Role
from agent.config import Config
from agent.core import troubles
from agent.core.lifecycle import ChangeRecord, Phase
from agent.core.orders import Do, Order
from agent.core.plain import decode, to_plain
from agent.core.records import encode_outcome, encode_record, public
from agent.core.schedule import LOOK_EVERY, Suggestion
from agent.core.values import Kind, Origin
from agent.daemon.control import Client, Request
from agent.daemon.service import Daemon
from agent.errors import RefusedError
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

    def change(self, record: ChangeRecord) -> None:
        """Let a change be in flight, as a worker left it."""
        (self.config.state_dir / "change.json").write_bytes(encode_record(record))
        self.daemon.outlook.refresh()

    def record(self, record: ChangeRecord) -> None:
        """Let a change have ended."""
        with (self.config.state_dir / "history.jsonl").open("ab") as history:
            history.write(encode_outcome(record))
        self.daemon.outlook.refresh()

    def finish_change(self, record: ChangeRecord) -> None:
        """Let a worker have left a change like this, and that change be gone."""
        self.daemon.outlook.take(None, public(record))

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


def test_a_session_that_is_lost_on_probation_has_the_set_proven_once(house: House) -> None:
    """Long before its turn; while that is ordered a second loss orders nothing more."""
    house.change(make.record(Phase.DEPLOYED, checked_at=NOW - 30 * SECOND))
    assert house.look() == []
    house.daemon.session.generation = 7
    house.daemon.on_suspicion()
    house.daemon.on_suspicion()
    assert [(order.do, order.doubt, order.hasten) for order in house.look()] == [(Do.GO_ON, True, False)]
    house.finish()
    assert house.look() == []


def test_a_proof_that_was_not_written_down_is_known_from_the_worker_that_made_it(house: House) -> None:
    """The record on disk knows of an earlier one only; by it the set would be proven again at once, and for ever."""
    house.change(make.record(Phase.DEPLOYED, checked_at=NOW - 2 * MINUTE))
    assert [order.do for order in house.look()] == [Do.GO_ON]
    wait = {"why": "on probation", "until": to_plain(NOW + MINUTE), "code": "probation", "failure": None}
    house.finish(change=public(make.record(Phase.DEPLOYED, checked_at=NOW)), wait=wait, exit=0)
    assert house.look() == []
    assert house.daemon.status()["change"]["checked_at"] == to_plain(NOW)
    house.daemon.outlook.refresh()
    assert house.look() == []
    house.clock.advance(seconds=60)
    assert [order.do for order in house.look()] == [Do.GO_ON]


def test_what_is_known_of_one_change_is_not_held_for_another(house: House) -> None:
    """The next change has a probation of its own."""
    house.finish_change(make.record(Phase.DEPLOYED, id="c-0", checked_at=NOW))
    house.change(make.record(Phase.DEPLOYED, checked_at=NOW - 2 * MINUTE))
    assert [order.do for order in house.look()] == [Do.GO_ON]


# -- a word that the set on probation works ----------------------------------------------------------------------------


class Caller:
    """A person at the control socket, who keeps what they are told."""

    role = Role.ADMIN

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def send(self, message: dict[str, Any]) -> bool:
        """Be told something."""
        self.told.append(message)
        return True

    def end(self, message: dict[str, Any]) -> None:
        """Be told the last of it."""
        self.told.append(message)

    def on_gone(self, _call: object) -> None:
        """They stay."""


def confirms(house: House) -> list[dict[str, Any]]:
    """Return what a person is told at once who says that the set works."""
    caller = Caller()
    node = decode(b'{"verb": "confirm"}', "the request", limit=100)
    house.daemon.desk.handle(cast("Client", caller), Request("confirm", node))
    return caller.told


def test_a_confirmation_is_handed_to_a_worker_and_its_outcome_back(house: House) -> None:
    """The desk only looks whether there is something to confirm."""
    house.change(make.record(Phase.DEPLOYED, checked_at=NOW))
    told = confirms(house)
    assert [(order.do, order.orderly) for order in house.look()] == [(Do.CONFIRM, True)]
    house.finish(change=public(make.finished(id="c-1")), exit=0)
    assert [message["event"] for message in told] == ["accepted", "outcome"]
    assert told[-1]["exit"] == 0


def test_a_confirmation_of_what_is_final_is_true_still(house: House) -> None:
    """Typed twice, it says what it said; a change that went on without a dependant is no more than that."""
    house.record(make.finished(Phase.COMMITTED))
    assert [(message["event"], message["exit"]) for message in confirms(house)] == [("outcome", 0)]
    house.record(make.finished(Phase.RETIRED, degraded=make.failure()))
    assert [(message["event"], message["exit"]) for message in confirms(house)] == [("outcome", 1)]
    assert house.look() == []


@pytest.mark.parametrize(
    ("change", "last", "why"),
    [
        (None, None, "Nothing is on probation"),
        (None, make.finished(Phase.ROLLED_BACK), "Nothing is on probation"),
        (make.record(Phase.ISSUED), make.finished(), "in phase issued; nothing is on probation yet"),
        (make.record(Phase.DEPLOYED, condemned=make.failure(decisive=True)), None, "is being given up"),
    ],
)
def test_a_confirmation_of_nothing_is_refused(
    house: House, change: ChangeRecord | None, last: ChangeRecord | None, why: str
) -> None:
    """With the reason, and without a worker."""
    if last is not None:
        house.record(last)
    if change is not None:
        house.change(change)
    with pytest.raises(RefusedError, match=why):
        confirms(house)
    assert all(order.do is not Do.CONFIRM for order in house.look())


def test_a_change_that_is_only_being_begun_is_not_confirmed_by_the_one_before(house: House) -> None:
    """The last change is final, and another one was ordered: what the person means is not on probation yet."""
    house.record(make.finished(at=NOW - 399 * DAY))
    house.due()
    assert [order.do for order in house.look()] == [Do.BEGIN]
    with pytest.raises(RefusedError, match="Nothing is on probation"):
        confirms(house)


# -- the application's word --------------------------------------------------------------------------------------------


def test_the_word_of_the_application_is_looked_for_every_few_seconds(house: House) -> None:
    """And taken down by a worker at once, so that no power cut can lose it; until it comes nothing is done."""
    house.change(make.record(Phase.DEPLOYED, checked_at=NOW, confirm_until=NOW + HOUR))
    assert house.look() == []
    assert house.daemon._look is not None
    assert house.daemon._look.due - monotonic() <= 5
    said = house.config.confirm_dir
    said.mkdir(mode=0o700)
    (said / "000007").touch()
    assert house.look() == [], "it was looked for a moment ago"
    house.daemon._next_word_look = 0.0
    assert [order.do for order in house.look()] == [Do.GO_ON]
    house.change(make.record(Phase.DEPLOYED, checked_at=NOW, confirm_until=NOW + HOUR, confirmed_at=NOW))
    house.finish()
    assert house.look() == []


@pytest.mark.parametrize(("name", "mode"), [("000006", 0o700), ("confirmed", 0o700), ("000007", 0o777)])
def test_a_word_about_another_set_or_of_anybody_is_none(house: House, name: str, mode: int) -> None:
    """Only who may order changes can say it, and only about the set that is in use."""
    house.change(make.record(Phase.DEPLOYED, checked_at=NOW, confirm_until=NOW + HOUR))
    said = house.config.confirm_dir
    said.mkdir()
    said.chmod(mode)
    (said / name).touch()
    assert house.look() == []


def test_a_word_that_nobody_asked_for_starts_no_worker(house: House) -> None:
    """Where `rotation.confirm` is not set, what lies there means nothing."""
    house.change(make.record(Phase.DEPLOYED, checked_at=NOW))
    house.config.confirm_dir.mkdir(mode=0o700)
    (house.config.confirm_dir / "000007").touch()
    assert house.look() == []


@pytest.mark.parametrize(
    ("generation", "record"),
    [
        (6, make.record(Phase.DEPLOYED)),  # the session of the set before
        (7, make.record(Phase.DEPLOYED, checked_at=NOW - 58 * SECOND, prove_at=NOW + SECOND)),
        (7, make.record(Phase.PREPARED, retry_at=NOW + HOUR)),
        (7, None),
    ],
)
def test_a_session_that_is_lost_orders_no_proof_otherwise(
    house: House, generation: int, record: ChangeRecord | None
) -> None:
    """Of another set, or of one that is proven in a moment, or with nothing on probation: two doubts are needed."""
    if record is not None:
        house.change(record)
    house.daemon.session.generation = generation
    house.daemon.on_suspicion()
    assert house.look() == []


def test_repeated_doubts_hasten_no_proof_on_probation(house: House) -> None:
    """The first suspicion has brought it forward, as far as proofs may follow one another."""
    failure = troubles.hung_up()
    house.change(make.record(Phase.DEPLOYED, prove_at=NOW, retry_at=NOW + 3 * SECOND, failure=failure))
    house.daemon.on_doubt(failure)
    assert house.look() == []
    house.change(make.record(Phase.PREPARED, retry_at=NOW + HOUR, failure=failure))
    house.daemon.on_doubt(failure)
    assert [(order.do, order.hasten) for order in house.look()] == [(Do.GO_ON, True)]


def test_nothing_is_begun_while_stopping(house: House) -> None:
    """The next start goes on."""
    house.due()
    house.daemon._stop()
    assert house.look() == []
