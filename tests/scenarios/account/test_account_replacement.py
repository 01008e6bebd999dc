"""A device that another one replaces: it goes on until the new one is in use, and not much longer. One test a race."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import pytest

from agent.backend.errors import BackendError
from agent.backend.names import Metric
from agent.backend.values import DeviceState, Record, Status
from support.aws.account import DAY, HOUR, MINUTE, OWN, World, intrude

if TYPE_CHECKING:
    from collections.abc import Callable

THING = "gw-0042"
SECOND = timedelta(seconds=1)


def replaced(world: World) -> tuple[str, str]:
    """Have an enrolled device replaced by another one that has enrolled; return both certificates."""
    old = world.enrolled()
    world.replace()
    new = world.issue()
    assert world.enrol(new, "0077") == THING
    return old, new


def used(world: World, certificate: str) -> None:
    """Have the shadow report that a certificate is in use."""
    world.registry.shadows[THING] = certificate


# -- first use ---------------------------------------------------------------------------------------------------------


def test_the_old_device_goes_on_for_as_long_as_the_new_one_is_not_in_use(world: World) -> None:
    """On its shelf, or enrolled and not heard of: months of that take nothing from the old one."""
    old = world.enrolled()
    world.replace()
    for _ in range(100):
        world.now += DAY
        world.replacing()
    new = world.issue()
    assert world.enrol(new, "0077") == THING
    for _ in range(20):
        world.now += DAY
        world.replacing()
    assert world.active() == {old, new}
    assert world.rotated(old), "it rotates too"


@pytest.mark.parametrize("how", ["shadow", "rotation", "retirement"])
def test_the_first_use_of_the_new_one_retires_the_old_one(world: World, how: str) -> None:
    """By its shadow, by a rotation, or by a retirement with it; over the certificate that was used."""
    old, new = replaced(world)
    left = {new}
    match how:
        case "shadow":
            used(world, new)
        case "rotation":
            left.add(world.rotated(new))
        case _:
            world.retire(world.rotated(new), new)
            left = world.active() - {old}
    world.replacing()
    assert world.active() == left
    assert world.store.records[old].retired_by in left
    assert world.store.devices["0077"].state is DeviceState.ENROLLED, "its token is spent"
    assert world.registry.policies_of(old) == OWN, "the operator takes it back with one call"


def test_the_use_of_the_old_one_is_not_the_new_ones(world: World) -> None:
    """Both are the same thing, and write the same shadow; whose certificate it reports is what counts."""
    old, new = replaced(world)
    used(world, old)
    world.rotated(old)
    world.replacing()
    assert {old, new} <= world.active()
    used(world, new)
    world.replacing()
    assert world.active() == {new}


def test_the_old_one_reports_over_the_new_ones_report(world: World) -> None:
    """Two devices that are both alive; sooner or later a round meets the new one's word."""
    old, new = replaced(world)
    for turn in range(5):
        used(world, old if turn < 3 else new)
        world.replacing()
    assert world.active() == {new}


@pytest.mark.parametrize("had", ["row", "none"])
def test_the_old_device_asks_for_the_retirement_of_the_new_ones(world: World, had: str) -> None:
    """It may be a thief's: what the new one has bought, and what follows from that, is not its to retire."""
    old, new = replaced(world)
    if had == "none":
        del world.store.records[old]
    rotated, follower = world.rotated(old), world.rotated(new)
    for caller in (old, rotated):
        for target in (new, follower):
            refusal = world.retire(caller, target)
            assert (refusal["code"], "given to another device" in refusal["message"]) == (403, True)
        world.now += MINUTE
    assert world.active() >= {new, follower}
    assert "code" not in world.retire(rotated, old), "its own it may"
    world.now += MINUTE
    for target in (new, rotated):
        assert "code" not in world.retire(follower, target), "the new one may have either's retired"
    assert world.active() == {follower}


def test_the_old_device_goes_on_asking_so_that_nothing_else_gets_the_lease(world: World) -> None:
    """From the first look after the new one's first use on it is not heard any more."""
    old, new = replaced(world)
    older, old = old, world.rotated(old)
    world.retire(old, older)
    used(world, new)
    for _ in range(2):
        world.now += 5 * MINUTE - SECOND
        world.retire(old, older)
        world.now += SECOND - 5 * MINUTE
        world.replacing()
    assert world.active() == {new}


def test_the_old_device_that_was_taken_back_retires_its_own_again(world: World) -> None:
    """When the operator has thought better of it, and what was under way has ended."""
    old, new = replaced(world)
    used(world, new)
    world.replacing()
    world.rescue(old)
    world.now += 2 * HOUR
    world.replacing()
    follower = world.rotated(old)
    assert "code" not in world.retire(follower, old)
    world.now += MINUTE
    assert world.retire(follower, new)["code"] == 403


# -- what happens meanwhile --------------------------------------------------------------------------------------------


def test_the_old_device_rotates_between_the_arming_and_the_first_use(world: World) -> None:
    """Its new certificate is the old device's too, by the serial number that it descends from."""
    old, new = replaced(world)
    follower = world.rotated(old)
    world.retire(follower, old)
    used(world, new)
    world.replacing()
    assert world.active() == {new}


def test_a_rotation_of_the_old_device_is_under_way_when_the_new_one_is_first_used(world: World) -> None:
    """The hook has allowed it and AWS registers it afterwards; for two hours such a certificate is retired too."""
    old, new = replaced(world)
    late = world.issue()
    assert world.ask_hook("gateway-rotation", old, late, {})["allowProvisioning"]
    used(world, new)
    world.replacing()
    assert world.active() == {new}
    world.registry.register(THING, late, OWN)
    assert world.active() == {new, late}
    world.replacing()
    assert world.active() == {new}
    assert not world.ask_hook("gateway-rotation", old, world.issue(), {})["allowProvisioning"]
    world.now += 2 * HOUR
    world.replacing()
    assert world.store.replaced[THING].look_at is None
    world.verbs.clear()
    world.replacing()
    assert world.verbs == ["replacements"], "then it costs one question"


def test_the_new_device_rotates_before_its_first_use_was_looked_at(world: World) -> None:
    """What it bought is retired by then; the old device is retired over what followed."""
    old, new = replaced(world)
    follower = world.rotated(new)
    world.retire(follower, new)
    world.replacing()
    assert world.active() == {follower}
    assert world.store.records[old].retired_by == follower


def test_the_new_device_was_retired_whole(world: World) -> None:
    """A certificate that is not ACTIVE is no successor, however well it was used."""
    old, new = replaced(world)
    used(world, new)
    world.registry.set_status(new, Status.INACTIVE)
    world.replacing()
    assert world.active() == {old}


def test_the_operator_takes_the_retirement_back(world: World) -> None:
    """At once or within the hours in which it is still looked at: it stays."""
    old, new = replaced(world)
    used(world, new)
    world.replacing()
    world.rescue(old)
    for _ in range(3):
        world.replacing()
        world.now += HOUR
    assert world.active() == {old, new}


def test_the_operator_thinks_better_of_it(world: World) -> None:
    """`block` of the new serial number keeps the old device, also when the new one had been used."""
    old, new = replaced(world)
    used(world, new)
    world.block("0077")
    world.replacing()
    assert world.active() == {old, new}


def test_yet_another_device_is_named(world: World) -> None:
    """The last one counts: the use of the one that was named before retires nothing, and it is an old one itself."""
    old, second = replaced(world)
    world.replace("0078")
    used(world, second)
    world.replacing()
    assert world.active() == {old, second}
    third = world.issue()
    assert world.enrol(third, "0078") == THING
    used(world, third)
    world.replacing()
    assert world.active() == {third}


def test_the_serial_number_stays_the_same(world: World) -> None:
    """Another board in the same case: what there was at the arming is the old one's, whatever its serial number."""
    old = world.enrolled()
    world.replace("0042")
    used(world, old)
    world.replacing()
    assert world.active() == {old}
    new = world.issue()
    assert world.enrol(new) == THING
    used(world, new)
    world.replacing()
    assert world.active() == {new}


def test_a_certificate_of_which_no_row_says_whose_it_is(world: World) -> None:
    """It was attached by hand after the arming, say: it goes on working, and is told of once."""
    old, new = replaced(world)
    unknown = world.issue()
    world.registry.register(THING, unknown, OWN)
    used(world, new)
    for _ in range(4):
        world.replacing()
        world.now += HOUR
    assert world.active() == {new, unknown}
    assert world.status(old) is Status.INACTIVE
    assert world.counts(Metric.RETIREMENTS_REFUSED) == 1
    assert world.outbox.counted[-1][2]["certificateId"] == unknown


def test_a_certificate_that_was_there_before_the_stack_is_the_old_devices(world: World) -> None:
    """It has no row; that it was there when the new device was armed is enough."""
    unknown = world.issue()
    world.registry.register(THING, unknown, OWN)
    world.replace()
    new = world.issue()
    assert world.enrol(new, "0077") == THING
    used(world, new)
    world.replacing()
    assert world.active() == {new}
    assert world.store.records[unknown] == Record(
        certificate_id=unknown,
        thing=THING,
        retired_at=world.now,
        retired_by=new,
        delete_after=world.now + world.account.settings.keep,
        version=1,
    )


# -- at any instant ----------------------------------------------------------------------------------------------------


INTRUDERS: dict[str, Callable[[World, str, str], object]] = {
    "the old device retires the new one": lambda world, old, new: world.retire(old, new),
    "the new device retires the old one": lambda world, old, new: world.retire(new, old),
    "another round": lambda world, _old, _new: world.replacing(),
    "the operator blocks the new one": lambda world, _old, _new: world.block("0077"),
    "another device is named": lambda world, _old, _new: world.replace("0078"),
    "the old device rotates": lambda world, old, _new: world.rotate(old, world.issue()),
    "the new device rotates": lambda world, _old, new: world.rotate(new, world.issue()),
    "the sweep": lambda world, _old, _new: world.sweep(),
}


@pytest.mark.parametrize("what", INTRUDERS)
def test_something_else_happens_at_any_step(what: str) -> None:
    """The thing keeps an active certificate that is in use, whatever the instant; and in the end one device is left."""
    for step in count(1):
        world = World()
        old, new = replaced(world)
        used(world, new)
        reached = intrude(world, step, partial(INTRUDERS[what], world, old, new))
        world.replacing()
        world.at_each_step = lambda _: None
        active = world.active()
        assert active & {old, new}, step
        if not reached:
            assert step > 6
            break
        for _ in range(3):
            world.replacing()
        assert world.active() & {old, new}
        if what in {"another round", "the new device retires the old one", "the old device rotates", "the sweep"}:
            assert world.active() == {new}, step


def test_the_function_dies_at_any_step_and_comes_again() -> None:
    """After each step, once and from there on; then the same end."""
    for step in count(1):
        world = World()
        old, new = replaced(world)
        used(world, new)
        world.at_each_step = world.failing(step, for_good=bool(step % 2))
        try:
            world.replacing()
        except BackendError:
            assert new in world.active()
        else:
            assert step > 8
            break
        world.at_each_step = lambda _: None
        world.replacing()
        assert world.active() == {new}
        world.rescue(old)
        world.replacing()
        assert world.active() == {old, new}, "what was taken back is left alone, whatever was lost on the way"


def test_one_thing_that_cannot_be_looked_at_keeps_no_other_waiting(world: World) -> None:
    """And the round ends with an error, upon which the same event comes again."""
    for number in range(3):
        world.enrolled(f"000{number}")
        world.replace(f"010{number}", f"gw-000{number}")
        new = world.issue()
        assert world.enrol(new, f"010{number}")
        world.registry.shadows[f"gw-000{number}"] = new
    world.at_each_step = world.failing(4)
    with pytest.raises(BackendError):
        world.replacing()
    assert sum(len(world.active(f"gw-000{number}")) for number in range(3)) == 4
