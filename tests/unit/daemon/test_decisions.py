"""What the daemon has done, and when: on a clock that is passed in, with workers that only remember their orders."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, cast

import pytest

from agent.config import Config, RotationConfig
from agent.core.change.decide import Wait
from agent.core.change.lifecycle import ChangeRecord, Dropped, Phase, Retired, advance
from agent.core.change.records import encode_outcome, encode_record, public
from agent.core.change.reserve import Standing
from agent.core.dependants import Dependants, Hooks, Report, Step, Unit, encode_report
from agent.core.exit_codes import Exit
from agent.core.failure import failures
from agent.core.failure.failure import FailureClass
from agent.core.jsonio import Node, decode, to_plain
from agent.core.report import shadow
from agent.core.report.findings import Judgement, judge
from agent.core.report.seen import Damage, plainly
from agent.core.values import Kind, Origin
from agent.core.when.reconnect import STEADY
from agent.core.when.retirement import left_behind
from agent.core.when.schedule import LOOK_EVERY, Suggestion
from agent.core.worker_protocol import Do, Order
from agent.daemon.app import Daemon
from agent.daemon.control_client import Client, ControlRequest
from agent.daemon.credential_watch import HALF
from agent.daemon.session import SessionState, SessionStatus
from agent.dependants.report_file import REPORT
from agent.errors import RefusedError
from agent.store import durable, fingerprints, reserve
from agent.system.clock import monotonic
from agent.system.peers import Role
from support import make
from support.make import DAY, HOUR, MINUTE, NOW, SECOND
from support.office import ListLink
from support.simulator import SimulatedClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from agent.core.report.status import Retiring
    from agent.iotcore.async_client import Link

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


class Person:
    """A client that waits for what it asked for, and remembers what it was told."""

    role = Role.ADMIN

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def on_gone(self, _call: object) -> None:
        """It stays."""

    def send(self, message: dict[str, Any]) -> bool:
        """Take a line."""
        self.told.append(message)
        return True

    def end(self, message: dict[str, Any]) -> None:
        """Take the last one."""
        self.told.append(message)


class House:
    """A daemon, its clock and what it ordered."""

    def __init__(self, path: Path, **config: Any) -> None:
        (path / "state" / "generations" / "000007").mkdir(parents=True)
        (path / "state" / "current").symlink_to("generations/000007")
        (path / "run").mkdir()
        with durable.directory(str(path / "state")) as root:
            reserve.make(root, durable.Modes())
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

    def job(self, order: str, kind: Kind = Kind.ROTATE) -> None:
        """Let an execution order a change."""
        self.daemon._begin_for_job(Order(do=Do.BEGIN, kind=kind, origin=Origin.JOB, reason="a test", order=order))

    def stand(self, *, rival: str = "", **status: Any) -> None:
        """Let the session stand like this."""
        self.daemon.session._status = SessionStatus(**status)
        self.daemon.session._memory = replace(self.daemon.session._memory, rival=rival)

    def close(self) -> None:
        """Let go of what it holds."""
        self.daemon.close()
        self.daemon.loop.close()

    def ask(self, order: Order) -> Person:
        """Have a person ask for something."""
        person = Person()
        self.daemon.submit(order, person)  # type: ignore[arg-type] # as much of a client as is needed
        return person

    def say(self, verb: str) -> Person:
        """Have a person ask for something at the desk."""
        person, node = Person(), decode(b'{"no_wait": false}', "the request", limit=100)
        self.daemon.desk.handle(person, ControlRequest(verb, node))  # type: ignore[arg-type] # as above
        return person

    def finish(self, **end: Any) -> None:
        """End the running worker."""
        worker = self.worker.running
        assert worker is not None
        worker.finish(**end)


def _seen(not_before: datetime, lifetime: timedelta, **changes: Any) -> dict[str, Any]:
    leaf = make.certificate(not_before=not_before, not_after=not_before + lifetime)
    found = make.seen(floor=datetime(2026, 11, 1, tzinfo=UTC), current=make.in_use(certificate=leaf))
    return plainly(replace(found, **changes))


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
        house.job(f"job:{number}:1", Kind.ROLLBACK)
        assert [order.order for order in house.look()] == [f"job:{number}:1"]
        house.finish(error={"message": "There is no previous generation.", "hint": "", "exit": 4})
    house.job("job:9:1")
    assert [order.order for order in house.look()] == ["job:9:1"]


def test_a_busy_store_keeps_the_order(house: House) -> None:
    """Somebody's command works on the store: the same order comes first once it is done."""
    house.due()
    first = house.look()
    house.finish(error={"message": "Process 7 is working.", "hint": "", "exit": 4, "busy": True})
    house.daemon._busy_until = 0.0
    again = house.look()
    assert [(order.do, order.reason) for order in again] == [(order.do, order.reason) for order in first]


TROUBLE = {"message": "No space left.", "hint": "", "exit": 1}


def test_what_a_person_asks_for_is_done_although_the_last_order_failed(house: House) -> None:
    """The wait is for what failed by itself; what was ordered then goes on waiting."""
    house.due()
    house.look()
    house.finish(error=TROUBLE)
    assert house.look() == []
    house.daemon.submit(Order(do=Do.NOTE_RETIRED))
    house.ask(Order(do=Do.EXAMINE))
    assert [order.do for order in house.look()] == [Do.EXAMINE]
    house.finish(examination=[])
    assert house.look() == []


def test_what_a_person_asks_for_waits_for_a_busy_store(house: House) -> None:
    """Two processes cannot work on it, not even for a person."""
    house.ask(Order(do=Do.EXAMINE))
    house.look()
    house.finish(error={"message": "Process 7 is working.", "hint": "", "exit": 4, "busy": True})
    house.ask(Order(do=Do.REHEARSE))
    assert house.look() == []
    house.daemon._busy_until = 0.0
    assert [order.do for order in house.look()] == [Do.EXAMINE]


def test_trouble_that_lasts_is_tried_again_within_five_minutes(house: House) -> None:
    """A disk that was full for a day is noticed to be writable again."""
    house.due()
    for _ in range(20):
        house.daemon._hold_until = 0.0
        assert len(house.look()) == 1
        house.finish(error=TROUBLE)
    assert 100 < house.daemon._hold_until - monotonic() <= 300


def test_a_reload_ends_the_wait_after_trouble(house: House) -> None:
    """An operator who reloads has put something right."""
    house.due()
    house.look()
    house.finish(error=TROUBLE)
    assert house.look() == []
    config = house.config
    config.path.write_text(f"endpoint: localhost\nstate_dir: {config.state_dir}\nruntime_dir: {config.runtime_dir}\n")
    house.daemon._reload()
    assert [order.do for order in house.orders[1:]] == [Do.LOOK]


def test_a_client_id_that_an_application_may_have_is_told_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In the journal when it is first seen; in the status for as long as it is so."""
    house = House(tmp_path, client_id="{thing}")
    house.see()
    house.look()
    house.look()
    health = judge(house.daemon.status()).health
    house.close()
    assert [text.partition(" has")[0] for text in health] == ["`client_id: {thing}`"]
    said = capfd.readouterr().err
    assert said.count("`client_id: {thing}` has no part of the agent's own") == said.count("client-id-shared") == 1


def test_touched_files_are_looked_at(house: House, tmp_path: Path) -> None:
    """Somebody wrote into the current generation."""
    assert house.look() == []
    (tmp_path / "state" / "generations" / "000007" / "certificate.pem").write_text("by hand")
    assert [order.do for order in house.look()] == [Do.LOOK]


def test_a_link_that_another_program_moved_is_looked_at(house: House) -> None:
    """`previous` as well, which a rollback would go to."""
    state = house.config.state_dir
    (state / "previous").symlink_to("generations/000007")
    assert [order.do for order in house.look()] == [Do.LOOK]
    house.finish(seen=_seen(NOW - 10 * DAY, 8000 * DAY))
    for name in ("previous", "current"):
        (state / name).unlink()
        assert [order.do for order in house.look()] == [Do.LOOK], name
        house.finish(seen=_seen(NOW - 10 * DAY, 8000 * DAY))
    assert house.look() == []


def test_what_is_touched_while_a_worker_looks_is_looked_at_again(house: House) -> None:
    """The worker says what the files were like before it looked."""
    key = house.config.state_dir / "current" / "key.pem"
    key.write_text("by hand")
    assert [order.do for order in house.look()] == [Do.LOOK]
    before = fingerprints.of(house.config.state_dir, house.config.foundations)
    key.write_text("by hand, again")
    house.finish(seen=_seen(NOW - 10 * DAY, 8000 * DAY), traces=before)
    assert [order.do for order in house.orders] == [Do.LOOK] * 2
    house.finish(
        seen=_seen(NOW - 10 * DAY, 8000 * DAY),
        traces=fingerprints.of(house.config.state_dir, house.config.foundations),
    )
    assert house.look() == []


def test_a_hand_on_the_set_is_noticed_without_anything_else_happening(house: House) -> None:
    """A second later, by the kernel's word; and the look is patient with a person who has done half of it."""
    assert house.look() == []
    (house.config.state_dir / "current" / "key.pem").write_text("by hand")
    deadline = monotonic() + 60
    while not house.orders and monotonic() < deadline:
        house.daemon.loop.turn()
    assert [(order.do, order.patient) for order in house.orders] == [(Do.LOOK, True)]


def test_half_of_a_pair_is_given_half_a_minute_before_the_ladder(house: House) -> None:
    """The other half ends that wait; where it does not come, the gateway is put on a set that works."""
    seen = _seen(NOW - DAY, 90 * DAY, current=None, damage=(Damage(critical=True, text="The key is another one."),))
    (house.config.state_dir / "current" / "key.pem").write_text("by hand")
    assert [order.do for order in house.look()] == [Do.LOOK]
    house.finish(seen=seen, half=True)
    assert house.look() == []
    assert judge(house.daemon.status()).exit == 3
    assert HALF - 5 < house.daemon._climb_at - monotonic() <= HALF
    house.daemon._climb_at = 0.0
    assert [(order.do, order.patient) for order in house.look()] == [(Do.CLIMB, False)]


def test_a_look_that_failed_is_told_and_tried_again(house: House) -> None:
    """Nothing says ok that was not looked at; what kept it from looking may pass by itself."""
    house.daemon.submit(Order(do=Do.LOOK))
    house.look()
    house.finish(error={"message": "Cannot lock it.", "hint": "", "exit": 1})
    assert (judge(house.daemon.status()).exit, "Cannot lock it." in judge(house.daemon.status()).health[0]) == (1, True)
    assert house.look() == []
    house.daemon._hold_until = 0.0
    assert [order.do for order in house.look()] == [Do.LOOK]
    house.finish(seen=_seen(NOW - 10 * DAY, 8000 * DAY))
    assert (judge(house.daemon.status()).exit, house.look()) == (0, [])


def test_room_for_falling_back_is_set_aside_as_soon_as_there_is_some(house: House, tmp_path: Path) -> None:
    """A worker found the disk full; now it is not, and the next one sets aside what is lacking. Then all is as seen."""
    house.daemon.outlook.take(_seen(NOW - 10 * DAY, timedelta(days=8000), reserve=Standing.NO_ROOM))
    assert [order.do for order in house.look()] == [Do.LOOK]
    house.finish(seen=_seen(NOW - 10 * DAY, timedelta(days=8000), reserve=Standing.KEPT))
    assert house.look() == []

    shutil.rmtree(tmp_path / "state" / "reserve")
    assert [order.do for order in house.look()] == [Do.LOOK]
    house.finish(seen=_seen(NOW - 10 * DAY, timedelta(days=8000), reserve=Standing.MISSING))
    assert house.look() == [], "one that could not be made is not tried at every look"


def test_trouble_with_the_disk_does_not_hold_the_ladder_back(house: House) -> None:
    """A rotation finds no room and is held back for long; falling back has room of its own and is not."""
    house.due()
    house.look()
    house.finish(error={"message": "No space left.", "hint": "", "exit": 1})
    assert house.look() == []
    house.daemon._on_doubt(make.failure(FailureClass.NETWORK, "hung-up"))
    assert [(order.do, order.origin) for order in house.look()] == [(Do.CLIMB, Origin.LADDER)]


def test_a_suggested_window_moves_the_rotation(house: House) -> None:
    """And the change answers to whoever suggested it."""
    house.daemon._on_suggestion(
        Suggestion(opens_at=NOW - HOUR, closes_at=NOW + HOUR / 2, source="job 7", order="job:7:1")
    )
    begun = house.look()
    assert [(order.origin, order.order) for order in begun] == [(Origin.JOB, "job:7:1")]


def test_without_a_set_the_ladder_is_climbed(blind: House) -> None:
    """The set is damaged and there is none to go back to."""
    house = blind
    seen = _seen(NOW - DAY, 90 * DAY, current=None, damage=(Damage(critical=True, text="It is damaged."),))
    house.daemon.outlook.take(seen)
    assert [(order.do, order.origin) for order in house.look()] == [(Do.CLIMB, Origin.LADDER)]
    house.finish(seen=seen, climb={"use": "technician", "why": "there is no set left"})
    assert house.look() == [], "climbing again waits"
    assert "There is no set left." in judge(house.daemon.status()).health


def test_a_wait_between_two_climbs_holds_nothing_else(blind: House) -> None:
    """What may have mended the set is looked at, and what was noted is written down."""
    seen = _seen(NOW - DAY, 90 * DAY, current=None, damage=(Damage(critical=True, text="It is damaged."),))
    blind.daemon.outlook.take(seen)
    blind.look()
    blind.finish(seen=seen, climb={"use": None, "why": "nothing gets through"})
    assert blind.look() == []
    blind.daemon.submit(Order(do=Do.LOOK))
    assert [order.do for order in blind.look()] == [Do.LOOK]


def test_a_ladder_that_is_climbed_for_days_says_the_same_once(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    """The journal is not filled by a gateway that waits for its certificate to be activated again."""
    capfd.readouterr()
    for met in ("hung up", "hung up", "not authorised"):
        house.daemon._on_doubt(make.failure(message="The broker hung up."))
        house.look()
        assert house.orders[-1].do is Do.CLIMB
        house.daemon._on_progress({"code": "ladder", "text": f"The current set is not accepted: {met}."})
        house.finish(climb={"use": "technician", "why": "there is no set left"})
    said = capfd.readouterr().err
    assert [said.count(text) for text in ("hung up.", "not authorised.", "There is no set left")] == [1, 1, 1]


def test_a_gateway_that_is_locked_out_says_so_until_a_set_is_accepted(house: House) -> None:
    """With what helps, and as critical; a climb that found no path to the endpoint takes nothing of it back."""
    house.daemon.submit(Order(do=Do.CLIMB))
    house.look()
    house.finish(
        climb={"use": "technician", "why": "the endpoint accepts no set of this gateway", "remedy": "Help it."}
    )
    said = "The endpoint accepts no set of this gateway. Help it."
    assert said in judge(house.daemon.status()).health
    assert judge(house.daemon.status()).exit == 3

    house.daemon.submit(Order(do=Do.CLIMB))
    house.look()
    house.finish(climb={"use": None, "why": "no route to host", "remedy": ""})
    assert said in judge(house.daemon.status()).health

    house.daemon.submit(Order(do=Do.CLIMB))
    house.look()
    house.finish(climb={"use": "current", "why": "the current set is accepted", "remedy": ""})
    assert said not in judge(house.daemon.status()).health


def test_a_session_that_is_lost_on_probation_has_the_set_proven_once(house: House) -> None:
    """Long before its turn; while that is ordered a second loss orders nothing more."""
    house.change(make.record(Phase.DEPLOYED, checked_at=NOW - 30 * SECOND))
    assert house.look() == []
    house.stand(generation=7)
    house.daemon._on_suspicion()
    house.daemon._on_suspicion()
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
    assert house.daemon.outlook.change is not None
    assert house.daemon.outlook.change.checked_at == NOW
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
    house.daemon.desk.handle(cast("Client", caller), ControlRequest("confirm", node))
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
def test_a_word_about_another_set_or_of_any_user_is_none(house: House, name: str, mode: int) -> None:
    """Only who may order changes can say it, and only about the set that is in use."""
    house.change(make.record(Phase.DEPLOYED, checked_at=NOW, confirm_until=NOW + HOUR))
    said = house.config.confirm_dir
    said.mkdir()
    said.chmod(mode)
    (said / name).touch()
    assert house.look() == []


def test_a_word_that_was_not_asked_for_starts_no_worker(house: House) -> None:
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
    house.stand(generation=generation)
    house.daemon._on_suspicion()
    assert house.look() == []


def test_repeated_doubts_hasten_no_proof_on_probation(house: House) -> None:
    """The first suspicion has brought it forward. A change that has put nothing in use may give way to another rung."""
    failure = failures.hung_up()
    house.change(make.record(Phase.DEPLOYED, prove_at=NOW, retry_at=NOW + 3 * SECOND, failure=failure))
    house.daemon._on_doubt(failure)
    assert house.look() == []
    house.change(make.record(Phase.PREPARED, retry_at=NOW + HOUR, failure=failure))
    house.daemon._on_doubt(failure)
    assert [order.do for order in house.look()] == [Do.CLIMB]


# -- retirement --------------------------------------------------------------------------------------------------------

OLD, OLDER, NEVER_USED = "01" * 32, "02" * 32, "03" * 32
NGINX, BRIDGE = Unit(name="nginx.service"), Unit(name="bridge.service")


class Ordering:
    """A client at the desk, which keeps what is said."""

    role = Role.ADMIN

    def __init__(self, house: House, verb: str, **arguments: Any) -> None:
        self.said: list[dict[str, Any]] = []
        house.daemon.desk.handle(cast("Client", self), ControlRequest(verb=verb, node=Node(arguments, "the request")))

    @property
    def told(self) -> dict[str, Any]:
        """The last word; empty before it."""
        return self.said[-1] if self.said and "exit" in self.said[-1] else {}

    def send(self, message: dict[str, Any]) -> bool:
        """Keep it."""
        self.said.append(message)
        return True

    def end(self, message: dict[str, Any]) -> None:
        """Keep it."""
        self.send(message)

    def refuse(self, message: str, hint: str, code: int) -> None:
        """Keep it."""
        self.send({"event": "error", "message": message, "hint": hint, "exit": code})

    def on_gone(self, call: Callable[[], None]) -> None:
        """It stays."""


class Cottage(House):
    """A daemon that is connected, with certificates that were left behind; the test answers in the cloud's place."""

    def __init__(self, path: Path, *units: Unit, grace: timedelta = 7 * DAY, retire: bool = True) -> None:
        dependants = Dependants(hooks=Hooks(directory=path / "hooks.d"), units=units)
        rotation = RotationConfig(grace=grace, retire=retire)
        super().__init__(path, dependants=dependants, deploy_dir=path / "deploy", rotation=rotation)
        (path / "deploy").mkdir()
        self.link = ListLink()
        self.daemon._dependants._due = 1e12  # they are not this story's
        self.daemon.session._link = cast("Link", self.link)
        self.stand(generation=7, state=SessionState.UP)
        self.daemon.fleet.connected(cast("Link", self.link), make.THING)

    def leave_behind(self, *records: ChangeRecord) -> None:
        """Write finished changes into the history, and look."""
        with (self.config.state_dir / "history.jsonl").open("ab") as file:
            file.writelines(encode_outcome(record) for record in records)
        self.see()
        self.daemon.session._identity = self.daemon.outlook.current()

    def serve(self, *failing: str, generation: int = 7) -> None:
        """Write down how the dependants stand."""
        steps = tuple(
            Step(name=unit.name, problem=f"{unit.name} is failed." if unit.name in failing else "")
            for unit in self.config.dependants.units
        )
        report = Report(at=NOW, generation=generation, set="ab" * 32, steps=steps)
        (self.config.deploy_dir / REPORT).write_bytes(encode_report(report))

    def asks_for(self) -> list[str]:
        """Consider, and return the certificates that are asked for and not answered yet."""
        self.daemon.consider()
        return [str(asked.body["certificateId"]) for asked in self.link.open("/retire")]

    def accept(self) -> None:
        """Have the cloud accept the oldest request, and a worker write that down."""
        wanted = self.link.answer("/retire", {})["certificateId"]
        self.look()
        (record,) = [item for item in self.daemon.outlook.history if left_behind(item) == wanted]
        self.leave_behind(advance(record, Retired(at=NOW)))
        self.finish(seen=_seen(NOW - DAY * 10, DAY * 8000))

    def retirement(self, certificate_id: str = OLD) -> Retiring:
        """Return what the status says of one."""
        (found,) = [item for item in self.daemon.status().retiring if item.certificate_id == certificate_id]
        return found


def left(certificate_id: str = OLD, at: datetime = NOW - 8 * DAY, **changes: Any) -> ChangeRecord:
    """Return a rotation that left a certificate behind, so that its grace is over."""
    return make.finished(Phase.COMMITTED, at, replaces=certificate_id, **changes)


def gave_up(at: datetime = NOW - 9 * DAY) -> ChangeRecord:
    """Return a rotation whose certificate was registered and never used."""
    passed = ((Phase.REGISTERED, at), (Phase.REJECTED, at))
    return make.finished(Phase.REJECTED, at, issued=replace(make.issued(at), certificate_id=NEVER_USED), passed=passed)


@pytest.fixture
def cottage(tmp_path: Path) -> Iterator[Cottage]:
    """Give a connected daemon with two dependants and one certificate whose grace is over."""
    made = Cottage(tmp_path, NGINX, BRIDGE)
    made.leave_behind(left())
    yield made
    made.close()


def test_what_is_due_is_asked_for_once_all_programs_use_the_new_set(cottage: Cottage) -> None:
    """Not before they were served, not while one of them fails, and not while they have another set."""
    assert cottage.asks_for() == []
    assert cottage.retirement().waits_for == ("nginx.service", "bridge.service")
    cottage.serve(generation=6)
    assert cottage.asks_for() == []
    cottage.serve("bridge.service")
    assert cottage.asks_for() == []
    assert cottage.retirement().waits_for == ("bridge.service",)
    cottage.serve()
    assert cottage.asks_for() == [OLD]
    assert cottage.retirement().waits_for == ()


def test_what_no_program_ever_had_waits_for_none(cottage: Cottage) -> None:
    """It was given up before it was in use."""
    cottage.leave_behind(gave_up())
    assert cottage.asks_for() == [NEVER_USED]


def test_without_dependants_nothing_waits(tmp_path: Path) -> None:
    """As it was before there were any."""
    cottage = Cottage(tmp_path)
    cottage.leave_behind(left())
    assert cottage.asks_for() == [OLD]
    cottage.close()


def test_the_command_spares_what_a_program_may_use_and_names_it(cottage: Cottage) -> None:
    """What can be retired is, and then it says what was not, and why."""
    cottage.serve("nginx.service")
    cottage.leave_behind(gave_up(NOW - HOUR))
    caller = Ordering(cottage, "retire")
    assert cottage.asks_for() == [NEVER_USED]
    assert caller.told == {}
    cottage.accept()
    cottage.look()
    assert cottage.asks_for() == []
    assert caller.told["exit"] == Exit.REFUSED
    assert caller.told["message"] == (
        "Not retired: 010101010101, which other programs of this gateway may use still: nginx.service."
    )
    assert "--now" in caller.told["hint"]


def test_the_command_that_can_retire_nothing_says_so_at_once(cottage: Cottage) -> None:
    """Nothing is asked of the cloud."""
    caller = Ordering(cottage, "retire")
    assert caller.told["exit"] == Exit.REFUSED
    assert "nginx.service, bridge.service" in caller.told["message"]
    assert cottage.asks_for() == []


def test_a_persons_word_goes_over_the_programs(cottage: Cottage) -> None:
    """And over the grace, as ever; only once."""
    cottage.leave_behind(left(OLDER, NOW - HOUR))
    caller = Ordering(cottage, "retire", now=True)
    assert cottage.asks_for() == [OLD]
    cottage.accept()
    assert cottage.asks_for() == [OLDER]
    cottage.accept()
    cottage.look()
    assert caller.told == {"event": "retired", "left": 0, "exit": Exit.DONE}
    cottage.leave_behind(left("05" * 32, NOW - 8 * DAY))
    assert cottage.asks_for() == []


def test_a_program_that_fails_meanwhile_ends_the_command(cottage: Cottage) -> None:
    """It would wait for ever for what is not asked for any more."""
    cottage.serve()
    cottage.leave_behind(left(OLDER, NOW - HOUR))
    caller = Ordering(cottage, "retire")
    assert cottage.asks_for() == [OLD]
    cottage.serve("nginx.service")
    cottage.accept()
    cottage.look()
    assert "020202020202" in caller.told["message"]
    assert caller.told["exit"] == Exit.REFUSED


def test_a_request_without_an_answer_is_a_note(cottage: Cottage) -> None:
    """The gateway is as well as before; the command that asked is told, and everything is asked for again later."""
    cottage.serve()
    cottage.leave_behind(left(OLDER, NOW - HOUR))
    caller = Ordering(cottage, "retire")
    assert cottage.asks_for() == [OLD]
    cottage.link.lose("/retire")
    assert caller.told["exit"] == Exit.UNAVAILABLE
    assert caller.told["message"] == "010101010101 is not retired: retire was not answered in time."
    assert cottage.asks_for() == []
    found = cottage.retirement()
    assert (found.refused, found.unanswered) == ("", "retire was not answered in time.")
    assert judge(cottage.daemon.status()) == Judgement(health=(), exit=Exit.DONE)


def test_a_refusal_is_a_fault_and_holds_up_no_other(cottage: Cottage) -> None:
    """The command is told, the status says so, and what else was asked for goes on."""
    cottage.serve()
    cottage.leave_behind(left(OLDER, NOW - HOUR))
    caller = Ordering(cottage, "retire")
    assert cottage.asks_for() == [OLD]
    cottage.link.refuse("/retire", 403, "gw-0042 has no such certificate.")
    assert caller.told["exit"] == Exit.REFUSED
    assert "has no such certificate" in caller.told["message"]
    assert "--drop" in caller.told["hint"]
    assert cottage.asks_for() == [OLDER]
    found = cottage.retirement()
    assert ("has no such certificate" in found.refused, found.unanswered) == (True, "")
    assert judge(cottage.daemon.status()).exit is Exit.DEGRADED


def test_where_the_fleet_retires_by_other_means_nothing_is_asked(tmp_path: Path) -> None:
    """The command says so, and the status counts what was left behind."""
    cottage = Cottage(tmp_path, retire=False)
    cottage.leave_behind(left())
    assert cottage.asks_for() == []
    found = cottage.daemon.status()
    assert (found.retiring, found.not_asked_for, judge(found).exit) == ((), 1, Exit.DONE)
    for over in (False, True):
        with pytest.raises(RefusedError, match=r"`rotation\.retire` is false"):
            Ordering(cottage, "retire", now=over)
    cottage.close()


def test_a_dropped_retirement_is_a_workers_to_write_down(cottage: Cottage) -> None:
    """The client that asked for it is told what the worker says."""
    caller = Ordering(cottage, "drop", certificate=OLD[:8])
    (order,) = cottage.look()
    assert (order.do, order.certificate) == (Do.DROP_RETIREMENT, OLD[:8])
    cottage.leave_behind(advance(left(), Dropped(at=NOW)))
    cottage.finish(seen=_seen(NOW - DAY * 10, DAY * 8000), dropped="It is dropped.")
    assert caller.told == {"event": "dropped", "text": "It is dropped.", "exit": Exit.DONE}
    cottage.serve()
    assert cottage.asks_for() == []
    assert cottage.daemon.status().retiring == ()


def test_what_cannot_be_dropped_is_told(cottage: Cottage) -> None:
    """With the code that the worker gives it."""
    caller = Ordering(cottage, "drop", certificate="ff" * 4)
    cottage.look()
    cottage.finish(error={"message": "There is none.", "hint": "Look.", "exit": 4})
    assert caller.told == {"event": "error", "message": "There is none.", "hint": "Look.", "exit": 4}


def test_nothing_is_begun_while_stopping(house: House) -> None:
    """The next start goes on."""
    house.due()
    house.daemon._stop()
    assert house.look() == []


# -- the only one ------------------------------------------------------------------------------------------------------


def test_the_second_of_two_that_waited_for_a_state_directory_ends(house: House, tmp_path: Path) -> None:
    """Neither could tell before there was one. What is made then is the first one's, and the second orders nothing."""
    shutil.rmtree(house.config.state_dir)
    other = Daemon(replace(house.config, runtime_dir=tmp_path / "elsewhere"), start_worker=house.worker)
    for daemon in (house.daemon, other):
        daemon.consider()
    assert other._refusal is None
    ordered = len(house.orders)
    house.config.state_dir.mkdir()
    for daemon in (house.daemon, other, house.daemon):
        daemon.consider()
    assert house.daemon._refusal is None
    assert f"A daemon (process {os.getpid()}) runs already with {house.config.state_dir}" in str(other._refusal)
    assert other._stopping
    assert len(house.orders) == ordered
    other.close()
    other.loop.close()


def test_a_state_directory_that_cannot_be_locked_is_told_once_and_used(
    house: House, capfd: pytest.CaptureFixture[str]
) -> None:
    """A read-only file system must not keep a daemon from starting; a second one could not be told from it."""
    (house.config.state_dir / "daemon.lock").symlink_to("elsewhere")  # as much as a test can do to it
    house.due()
    assert len(house.look()) == 1
    house.look()
    said = capfd.readouterr().err
    assert said.count("the state directory is not locked") == said.count("Too many levels of symbolic links") == 1


# -- another client with the same id -----------------------------------------------------------------------------------

RIVAL = "Another client connected as gw-0042; every client needs an id of its own."


@pytest.fixture
def contested(house: House) -> House:
    """Give a daemon that was cut off by another client with its id, and keeps away."""
    house.stand(rival=RIVAL, state=SessionState.TAKEN_OVER, why=f"{RIVAL} It keeps away.")
    return house


def test_a_check_makes_no_connection_that_would_end_another_clients(contested: House) -> None:
    """It says so in the line about the connection, which is a failure, and that of the permissions is passed over."""
    person = contested.say("examine")
    connect, permissions = person.told[-1]["lines"]
    assert [event["event"] for event in person.told] == ["accepted", "examination"]
    assert (connect["check"], connect["verdict"], connect["code"], connect["exit"]) == (
        "connect", "failure", "taken-over", 1,
    )  # fmt: skip
    assert connect["text"].startswith(RIVAL)
    assert (permissions["check"], permissions["verdict"]) == ("permissions", "skipped")
    assert contested.look() == []


def test_a_rehearsal_is_refused_while_it_would_end_another_clients_connection(contested: House) -> None:
    """The reason is a sentence, and nothing is ordered."""
    with pytest.raises(RefusedError, match="A rehearsal would connect") as caught:
        contested.say("rehearse")
    assert str(caught.value).startswith(RIVAL)
    assert contested.look() == []


@pytest.mark.parametrize("verb", ["rotate", "rollback"])
def test_a_change_that_a_person_orders_is_made_after_a_warning(contested: House, verb: str) -> None:
    """It has to connect; the person who ordered it knows beforehand what that costs."""
    person = contested.say(verb)
    assert [event["event"] for event in person.told] == ["accepted", "progress"]
    assert person.told[1]["text"] == f"{RIVAL} This change connects nevertheless, and ends that one's connection."
    assert [order.verb.value for order in contested.look()] == [verb]


@pytest.mark.parametrize("verb", ["examine", "rehearse", "rotate"])
def test_without_a_rival_everything_connects_without_a_warning(house: House, verb: str) -> None:
    """As ever."""
    person = house.say(verb)
    assert [event["event"] for event in person.told] == ["accepted"]
    assert len(house.look()) == 1


def test_probation_makes_one_proof_instead_of_one_a_minute(contested: House) -> None:
    """The one at its end, without which nothing becomes final."""
    house = contested
    until = NOW + timedelta(minutes=10)
    house.change(make.record(Phase.DEPLOYED, probation_until=until, checked_at=NOW))
    house.clock.advance(minutes=5)
    assert house.look() == []
    assert isinstance(house.daemon.outlook.following(), Wait)
    house.clock.advance(minutes=5)
    assert [order.do for order in house.look()] == [Do.GO_ON]
    house.stand(rival="")
    house.clock.advance(minutes=-5)
    before = len(house.orders)
    house.finish()
    assert [order.do for order in house.orders[before:]] == [Do.GO_ON], "without a rival it is proven every minute"


def test_a_rival_is_told_everywhere(contested: House, tmp_path: Path) -> None:
    """Status, metrics and shadow; and still while a connection is up that may be ended in the next second."""
    daemon = contested.daemon
    contested.look()
    assert judge(daemon.status()) == Judgement(health=(f"{RIVAL} It keeps away.",), exit=Exit.DEGRADED)
    assert "iot_cert_client_id_contested 1\n" in (tmp_path / "run" / "metrics.prom").read_text()
    contested.stand(rival=RIVAL, state=SessionState.UP, since=monotonic())
    assert judge(daemon.status()) == Judgement(health=(RIVAL,), exit=Exit.DEGRADED)
    assert shadow.report(daemon.status(), shadow.Wish())["clientIdContested"] is True
    contested.stand(rival=RIVAL, state=SessionState.UP, since=monotonic() - STEADY)
    assert judge(daemon.status()) == Judgement(health=(), exit=Exit.DONE)
    assert shadow.report(daemon.status(), shadow.Wish())["clientIdContested"] is None
