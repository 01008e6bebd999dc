"""The account's sweep of certificates: beside an operator who rescues one, a retirement, and its own death."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from itertools import count

from agent.backend.errors import BackendError
from agent.backend.names import Metric
from agent.backend.values import Status
from support.aws.account import DAY, HOUR, OWN, SETTINGS, World, intrude


def _retired(world: World) -> tuple[str, str]:
    """A gateway whose old certificate is due; return the old one and the current one."""
    old = world.enrolled()
    new = world.rotated(old)
    assert "code" not in world.retire(new, old)
    world.now += SETTINGS.keep + timedelta(seconds=1)
    return old, new


def test_the_sweep_meets_what_the_operator_has_rescued(world: World) -> None:
    """Its state is read again; it leaves the list for good, with everything that it had."""
    old, new = _retired(world)
    world.rescue(old)
    world.swept(3)
    assert world.active() == {old, new}
    assert world.registry.policies_of(old) == OWN
    assert world.counts(Metric.RESCUED) == 1
    world.registry.set_status(old, Status.INACTIVE)
    world.swept(3)
    assert world.status(old) is Status.INACTIVE, "by the operator's hand: no sweep deletes it"


def test_the_operator_rescues_at_any_step_of_the_sweep() -> None:
    """What was taken off its thing a moment before is given back to it."""
    for step in count(1):
        world = World()
        old, new = _retired(world)
        reached = intrude(world, step, partial(world.rescue, old))
        world.swept(1)
        if not reached:
            assert step > 5
            break
        world.swept(3)
        assert world.active() == {old, new}, step


def test_the_operator_rescues_between_two_rounds(world: World) -> None:
    """After the first it is off its thing, and active again without one it could not be used."""
    old, new = _retired(world)
    world.sweep()
    assert world.registry.things_of(old) == ()
    world.rescue(old)
    world.now += HOUR
    world.sweep()
    assert world.active() == {old, new}


def test_the_way_back_to_a_thing_without_an_active_certificate_is_kept(world: World) -> None:
    """Its last one was deactivated by hand, say; the retired one may be what saves it."""
    old, new = _retired(world)
    world.registry.set_status(new, Status.INACTIVE)
    for _ in range(10):
        world.sweep()
        world.now += DAY
    assert world.status(old) is Status.INACTIVE
    assert world.counts(Metric.KEPT) == 10
    world.registry.set_status(new, Status.ACTIVE)
    world.now += DAY
    world.swept()
    assert world.status(old) is None


def test_taking_off_a_thing_has_not_spread_when_the_next_round_comes(world: World) -> None:
    """Deleting is refused by AWS; the round after that does it."""
    old, _ = _retired(world)
    world.sweep()
    lagging = world.registry.entries[old].things

    def shown(verb: str) -> None:  # the list says that it is off, and deleting says that it is not
        if verb == "delete":
            lagging.append("gw-0042")

    world.at_each_step = shown
    world.sweep()
    world.at_each_step = lambda _: None
    assert world.status(old) is Status.INACTIVE
    assert world.counts(Metric.KEPT) == 1
    lagging.clear()
    world.sweep()
    assert world.status(old) is None
    assert world.counts(Metric.DELETED) == 1


def test_the_sweep_dies_at_any_step_and_the_next_one_goes_on() -> None:
    """After each step, once and from there on."""
    for step in count(1):
        world = World()
        old, new = _retired(world)
        world.at_each_step = world.failing(step, for_good=bool(step % 2))
        try:
            world.swept()
        except BackendError:
            world.at_each_step = lambda _: None
        else:
            assert step > 8
            break
        world.swept(3)
        assert world.status(old) is None
        assert world.active() == {new}
        assert world.store.records[old].ended_at is not None


def test_a_sweep_and_a_retirement_write_one_row(world: World) -> None:
    """A rescued certificate is retired anew while the sweep is about to drop it from its list: it stays there."""
    old, new = _retired(world)
    world.rescue(old)
    reached = intrude(world, 5, lambda: world.retire(new, old))
    world.sweep()
    assert reached
    record = world.store.records[old]
    assert record.delete_after is not None
    assert record.delete_after > world.now
    assert world.status(old) is Status.INACTIVE
