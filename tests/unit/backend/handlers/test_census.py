from __future__ import annotations

import pytest

from agent.backend.errors import UnavailableError
from agent.backend.handlers.census import census
from agent.backend.names import Metric
from agent.backend.values import Status
from support.aws.account import DAY, World


def counted(world: World) -> dict[Metric, int]:
    """Return what was counted."""
    return {metric: value for metric, value, _ in world.outbox.counted}


def test_every_certificate_of_the_account_is_counted_once_by_state_and_once_by_age() -> None:
    """And what there is none of is told as none, or its line would end."""
    world = World()
    for status in (Status.ACTIVE, Status.ACTIVE, Status.INACTIVE, Status.REVOKED):
        world.registry.set_status(world.issue(), status)
    world.issue()
    census(world.account, lambda: True)
    assert counted(world) == {
        Metric.ACTIVE: 2,
        Metric.INACTIVE: 1,
        Metric.OTHERWISE: 2,
        Metric.UP_TO_30_DAYS: 2,
        Metric.UP_TO_90_DAYS: 0,
        Metric.UP_TO_365_DAYS: 0,
        Metric.OLDER: 0,
    }


def test_a_count_that_does_not_come_to_its_end_is_not_told() -> None:
    """Half a fleet is no number; the line has a gap."""
    world = World()
    for _ in range(4):
        world.issue()
    left = [True, True, False]
    census(world.account, lambda: left.pop(0))
    assert counted(world) == {}
    world.at_each_step = world.failing(1)
    with pytest.raises(UnavailableError):
        census(world.account, lambda: True)
    assert counted(world) == {}


def test_a_certificate_grows_old() -> None:
    """Each day it is in one of the ages."""
    world = World()
    world.registry.set_status(world.issue(), Status.ACTIVE)
    ages = []
    for _ in range(4):
        census(world.account, lambda: True)
        ages.append([name for name, value in counted(world).items() if value and name.startswith("ActiveU")])
        world.now += 31 * DAY
    assert ages == [[Metric.UP_TO_30_DAYS], [Metric.UP_TO_90_DAYS], [Metric.UP_TO_90_DAYS], [Metric.UP_TO_365_DAYS]]
