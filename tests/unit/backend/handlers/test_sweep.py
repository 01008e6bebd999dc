from __future__ import annotations

from datetime import timedelta

import pytest

from agent.backend.errors import UnavailableError
from agent.backend.handlers.account import MOST_FAULTS
from agent.backend.handlers.sweep import RESERVE, sweep
from agent.backend.names import Metric
from support.aws.account import HOUR, MINUTE, SETTINGS, World


def due(world: World, count: int) -> list[str]:
    """Have some gateways retire a certificate each, and wait until they are due."""
    retired = []
    for number in range(count):
        serial = f"{number:04}"
        retired.append(world.enrolled(serial))
        assert "code" not in world.retire(world.rotated(retired[-1]), retired[-1], f"gw-{serial}")
    world.now += SETTINGS.keep
    return retired


def test_it_stops_before_its_time_is_up_and_says_what_is_left() -> None:
    """The next round goes on there."""
    world = World()
    due(world, 5)
    left, looked = [5 * HOUR, 5 * HOUR, RESERVE - timedelta(seconds=1)], list[float]()
    sweep(world.account, lambda: left[len(looked)], looked.append)
    assert world.verbs.count("detach_thing") == 2
    assert world.counts(Metric.OVERDUE) == 3


def test_it_keeps_its_pace_and_leaves_the_rest_of_what_aws_answers_to_the_gateways() -> None:
    """Whatever a look takes; also where it fails."""
    world = World()
    due(world, 4)
    took = iter([0.1, 0.4, 0.7, 0.2])
    left, pauses = [15 * MINUTE], list[float]()

    def spend(verb: str) -> None:
        if verb == "things_of":
            left[0] -= timedelta(seconds=next(took))
            if len(pauses) == 1:
                raise UnavailableError("Slow down.")

    world.at_each_step = spend
    with pytest.raises(UnavailableError):
        sweep(world.account, lambda: left[0], pauses.append)
    assert [round(item, 3) for item in pauses] == [0.4, 0.1, 0.0, 0.3]


def test_one_that_cannot_be_looked_at_does_not_keep_the_others() -> None:
    """And the round ends with an error, which is an alarm."""
    world = World()
    retired = due(world, 4)
    seen: list[str] = []

    def fail(verb: str) -> None:
        seen.append(verb)
        if verb == "certificates_of" and seen.count(verb) == 2:
            raise UnavailableError("It is not answered.")

    world.at_each_step = fail
    with pytest.raises(UnavailableError):
        world.sweep()
    assert sum(bool(world.registry.things_of(name)) for name in retired) == 1


def test_it_gives_up_when_aws_does_not_answer() -> None:
    """Rather than to ask two thousand times in vain."""
    world = World()
    due(world, 20)
    world.at_each_step = _refuse
    with pytest.raises(UnavailableError):
        world.sweep()
    assert world.counts(Metric.OVERDUE) == 20 - MOST_FAULTS


def _refuse(verb: str) -> None:
    if verb == "things_of":
        raise UnavailableError("Slow down.")


def test_an_account_with_nothing_to_do_costs_one_question() -> None:
    """Most rounds are like that."""
    world = World()
    world.enrolled()
    world.verbs.clear()
    world.sweep()
    assert [verb for verb in world.verbs if verb != "count"] == ["due"]
