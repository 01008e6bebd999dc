"""When dependants are looked after outside of a change: at the start, each hour, sooner after trouble, never twice."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest

from agent.config.values import Config
from agent.core.dependants import Dependants, Hooks, Report, Step, Unit, encode_report
from agent.core.worker_protocol import Do, End, Order, WorkerError
from agent.daemon.work.dependants import EVERY, DependantsWatch
from agent.dependants.report_file import REPORT
from support.make import NOW
from support.running.office import HandClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.daemon.loop import Loop

LOOP = cast("Loop", object())
TROUBLE = WorkerError(message="It cannot be reached.", hint="Is it enabled?", exit=5)


class RememberingWorker:
    """A worker that does nothing but remember what it was told."""

    def __init__(self, config: Path, order: Order, end: Callable[[End], None]) -> None:
        self.config = config
        self.order = order
        self.end = end
        self.killed = False

    def stop(self) -> None:
        """Do nothing."""

    def kill(self) -> None:
        """Remember it."""
        self.killed = True


class DaemonHouse:
    """What the daemon has of dependants, on a clock that the test moves.

    Attributes:
        clock: The clock.
        workers: Those that were started.
        news: How often it was said that something is known.
        chance: What is drawn.
    """

    def __init__(self, path: Path, clock: HandClock) -> None:
        self.clock = clock
        self.workers: list[RememberingWorker] = []
        self.news = 0
        self.chance = 0.5
        configured = Dependants(hooks=Hooks(directory=path / "hooks.d"), units=(Unit(name="a.service"),))
        base = Config(path=path / "config.yaml", endpoint="x.example", source="endpoint: x.example\n")
        self.config = replace(base, dependants=configured, deploy_dir=path / "deploy")
        self.config.deploy_dir.mkdir()
        self.dependants = DependantsWatch(LOOP, self._start, lambda: self.chance, self._hear)

    def _start(
        self, loop: object, config: Path, order: Order, _: object, end: Callable[..., None]
    ) -> RememberingWorker:
        assert loop is LOOP
        self.workers.append(RememberingWorker(config, order, end))
        return self.workers[-1]

    def _hear(self) -> None:
        self.news += 1

    def look(self, seconds: float = 0, generation: int | None = 7) -> int:
        """Let time pass and the daemon come by, and return how many workers were started so far."""
        self.clock.now += seconds
        self.dependants.consider(self.config, generation)
        return len(self.workers)

    def end(self, error: WorkerError | None = None) -> None:
        """Let the last worker end."""
        self.workers[-1].end(End(error=error))

    def served(self, generation: int, problem: str = "") -> None:
        """Let another process have served them."""
        steps = (Step(name="a.service", problem=problem),)
        report = Report(at=NOW, generation=generation, set="ab" * 32, steps=steps)
        (self.config.deploy_dir / REPORT).write_bytes(encode_report(report))


@pytest.fixture(name="house")
def _house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DaemonHouse:
    clock = HandClock()
    monkeypatch.setattr("agent.daemon.work.dependants.monotonic", clock)
    return DaemonHouse(tmp_path, clock)


@pytest.fixture(name="calm")
def _calm(house: DaemonHouse) -> DaemonHouse:
    """A daemon that has had them served once, without trouble."""
    house.look()
    house.end()
    return house


def test_they_are_served_at_the_start(house: DaemonHouse) -> None:
    """By a worker with the configuration in force; whatever was done before, it may have been undone."""
    house.served(7)
    assert house.look() == 1
    assert house.workers[0].order == Order(do=Do.SERVE, configuration="endpoint: x.example\n")
    assert house.workers[0].config == house.config.path


def test_without_a_set_or_while_a_change_works_on_it_no_dependant_is_served(house: DaemonHouse) -> None:
    """The change sees to them itself."""
    assert house.look(generation=None) == 0
    assert house.look(EVERY, generation=None) == 0
    assert house.look() == 1


def test_they_are_served_again_after_an_hour(calm: DaemonHouse) -> None:
    """And not before; it is known how long that is."""
    assert calm.dependants.delay == EVERY
    assert calm.look(EVERY - 1) == 1
    assert calm.dependants.delay == 1
    assert calm.look(1) == 2


def test_no_second_worker_serves_while_one_does(house: DaemonHouse) -> None:
    """However long it takes, and however much a caller hurries."""
    house.look()
    house.dependants.look_soon()
    assert house.look(5 * EVERY) == 1
    assert house.look(generation=8) == 1
    assert house.dependants.delay == EVERY
    house.end()
    assert house.dependants.delay == 0
    assert house.look(generation=8) == 2


def test_what_is_known_is_told(house: DaemonHouse) -> None:
    """Each end is news, good or bad; the problem is kept for the status until it is over."""
    house.look()
    assert (house.news, house.dependants.problem) == (0, "")
    house.end(TROUBLE)
    assert (house.news, house.dependants.problem) == (1, "It cannot be reached. Is it enabled?")
    house.look(EVERY)
    assert house.dependants.problem == "It cannot be reached. Is it enabled?"
    house.end()
    assert (house.news, house.dependants.problem) == (2, "")


def test_a_problem_is_over_once_another_process_has_served_them(house: DaemonHouse) -> None:
    """A person does what the status says, and it says so no more; what is wrong now is in the report."""
    house.served(1)
    house.look()
    house.end(TROUBLE)
    assert house.dependants.problem
    house.served(2)
    assert house.dependants.problem == ""


def test_a_problem_without_a_remedy_is_one_sentence(house: DaemonHouse) -> None:
    """As of a worker that died."""
    house.look()
    house.end(WorkerError(message="It died."))
    assert house.dependants.problem == "It died."


@pytest.mark.parametrize(("chance", "delays"), [(0.0, [30, 60, 120]), (0.999999, [60, 120, 240])])
def test_after_trouble_they_are_served_again_soon_and_then_later(
    house: DaemonHouse, chance: float, delays: list[int]
) -> None:
    """Twice as late each time, between half of it and all of it, so that a fleet does not come at once."""
    house.chance = chance
    house.look()
    for number, delay in enumerate(delays):
        house.end(TROUBLE)
        assert house.dependants.delay == pytest.approx(delay, abs=0.01)
        assert house.look(delay - 1) == number + 1
        assert house.look(1.1) == number + 2


def test_the_wait_is_never_longer_than_an_hour(house: DaemonHouse) -> None:
    """After any number of failures."""
    house.chance = 0.999999
    house.look()
    for number in range(40):
        house.end(TROUBLE)
        assert 20 <= house.dependants.delay <= EVERY
        assert house.look(EVERY) == number + 2


def test_after_success_the_waits_begin_anew(house: DaemonHouse) -> None:
    """What failed last week is forgotten."""
    house.look()
    for _ in range(5):
        house.end(TROUBLE)
        house.look(EVERY)
    house.end()
    assert house.dependants.delay == EVERY
    house.look(EVERY)
    house.end(TROUBLE)
    assert house.dependants.delay == pytest.approx(45, abs=0.01)


def test_a_caller_may_hurry(calm: DaemonHouse) -> None:
    """After a reload of the configuration; then it is an hour again."""
    calm.dependants.look_soon()
    assert calm.dependants.delay == 0
    assert calm.look() == 2
    calm.end()
    assert calm.look() == 2
    assert calm.dependants.delay == EVERY


def test_another_generation_is_served_at_once(calm: DaemonHouse) -> None:
    """When no report says that its change saw to it; once."""
    assert calm.look(10, generation=8) == 2
    calm.end()
    assert calm.look(10, generation=8) == 2
    assert calm.look(10, generation=7) == 3


def test_another_generation_that_its_change_saw_to_is_left_alone(calm: DaemonHouse) -> None:
    """By what the report says; the hour goes on."""
    calm.served(8)
    assert calm.look(10, generation=8) == 1
    assert calm.look(EVERY - 11, generation=8) == 1
    assert calm.look(1, generation=8) == 2


def test_that_a_change_saw_to_them_is_remembered(calm: DaemonHouse) -> None:
    """What the report says of them later is no reason to hurry."""
    calm.served(8)
    calm.look(10, generation=8)
    calm.served(8, "It does not.")
    assert calm.look(10, generation=8) == 1


def test_what_a_report_says_of_one_generation_is_not_for_another(calm: DaemonHouse) -> None:
    """After a change that was seen to, the next one counts by itself."""
    calm.served(8)
    calm.look(10, generation=8)
    assert calm.look(10, generation=9) == 2


@pytest.mark.parametrize("kind", ["another", "problem", "garbage"])
def test_a_report_that_does_not_say_so_is_not_believed(calm: DaemonHouse, kind: str) -> None:
    """It is about another generation, tells a problem, or is none."""
    if kind == "garbage":
        (calm.config.deploy_dir / REPORT).write_bytes(b"{")
    else:
        calm.served(7 if kind == "another" else 8, "It does not." if kind == "problem" else "")
    assert calm.look(10, generation=8) == 2


def test_a_round_that_was_cut_off_is_none(calm: DaemonHouse) -> None:
    """The report names no dependant, and there is one: its worker was killed before it came to them."""
    report = Report(at=NOW, generation=8, set="ab" * 32)
    (calm.config.deploy_dir / REPORT).write_bytes(encode_report(report))
    assert calm.look(10, generation=8) == 2


def test_a_change_that_went_back_with_trouble_is_made_up_for_at_once(calm: DaemonHouse) -> None:
    """It ended with the generation that it began with, and one that failed is not on it; then the hour begins anew."""
    calm.served(8)
    assert calm.look(10, generation=None) == 1
    calm.served(7, "It does not.")
    assert calm.look(10) == 2
    calm.end()
    assert calm.look(10) == 2
    assert calm.dependants.delay == EVERY - 10


def test_a_change_that_went_back_while_no_dependant_could_be_asked_is_made_up_for_at_once(calm: DaemonHouse) -> None:
    """The report still tells of the set that was given up."""
    calm.served(8)
    calm.look(10, generation=None)
    assert calm.look(10) == 2


def test_a_change_that_went_back_and_saw_to_all_is_left_alone(calm: DaemonHouse) -> None:
    """As one that went on; likewise one that put nothing in use."""
    calm.served(7)
    calm.look(10, generation=None)
    assert calm.look(10) == 1
    assert calm.look(EVERY - 21) == 1
    assert calm.look(1) == 2


def test_a_change_during_a_look_is_not_forgotten(calm: DaemonHouse) -> None:
    """It is made up for when the look has ended."""
    calm.look(EVERY)
    calm.look(10, generation=None)
    assert calm.look(10) == 2
    calm.served(7, "It does not.")
    calm.end()
    assert calm.look(10) == 3


def test_another_generation_does_not_wait_for_the_end_of_a_delay(house: DaemonHouse) -> None:
    """The trouble was with the one before."""
    house.look()
    house.end(TROUBLE)
    assert house.look(1, generation=8) == 2


def test_without_dependants_no_worker_is_started(house: DaemonHouse) -> None:
    """And a problem from before is over; when there is one, it is found within the hour."""
    house.look()
    house.end(TROUBLE)
    none = replace(house.config.dependants, units=())
    before, house.config = house.config, replace(house.config, dependants=none)
    assert house.look(EVERY) == 1
    assert house.dependants.problem == ""
    assert house.dependants.delay == EVERY

    house.config = before
    assert house.look(1) == 1
    assert house.look(EVERY) == 2


def test_the_end_of_the_daemon_ends_the_worker(house: DaemonHouse) -> None:
    """The next daemon serves them; without a worker there is nothing to end."""
    house.dependants.stop()
    house.look()
    house.dependants.stop()
    assert house.workers[0].killed
