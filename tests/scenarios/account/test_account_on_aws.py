"""Each function over boto3, with each call of AWS refused once, refused from there on, or its answer lost; then again.

AWS is moto's. The end must be that of a run in which nothing failed, and nothing on the way there may leave the gateway
without an active certificate.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from itertools import count
from typing import TYPE_CHECKING

import pytest

from agent.backend.decide.census import COUNTED
from agent.backend.errors import BackendError
from agent.backend.handlers.census import census
from agent.backend.names import Variable
from agent.backend.values import Status
from support.aws.account import CLAIM, SETTINGS
from support.aws.moto_account import ARN, ENVIRONMENT, AwsWorld, Fate, emulated, signing_request
from support.suite import campaigns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class EventStory:
    """One gateway, up to the event that a function is called for."""

    def __init__(self, world: AwsWorld, serial: str) -> None:
        self.world, self.serial, self.thing = world, serial, f"gw-{serial}"
        self.known: dict[str, str] = {}
        self.serials: dict[str, str] = {}  # of certificates that another serial number has bought
        world.arm(serial)

    def issue(self, name: str) -> str:
        """Make a certificate that the end is told by name."""
        made = self.world.issue()
        self.known[made] = name
        return made

    def buy(self, name: str) -> str:
        """Ask the vending machine, by a request of a name that the certificate is known by in the end."""
        answer = self.world.vend(signing_request(name), self.serial, address=f"2001:db8:{self.serial}::1")
        self.known[answer["certificateId"]] = name
        return name

    def settled(self) -> list[object]:
        """Return the end, after as many rounds of the sweep as any needs."""
        for _ in range(2):
            self.world.sweep()
        return self.end()

    def end(self) -> list[object]:
        """Return how everything of this gateway is, with names instead of ids, and without counting the writes."""
        world, named = self.world, self.known | {"": ""}
        device = world.store.device(self.serial)
        assert device is not None
        bought = frozenset(self.known[name] for name in device.bought)
        told: list[object] = [replace(device, version=0, serial="", thing="", token_sha256="", bought=bought)]
        for certificate, name in self.known.items():
            record = world.store.record(certificate)
            if record is not None:
                by = named[record.retired_by]
                assert (record.thing, record.serial) == (self.thing, self.serials.get(certificate, self.serial))
                told.append(replace(record, version=0, certificate_id=name, thing="", serial="", retired_by=by))
            policies = sorted(world.registry.policies_of(certificate))
            told += [name, world.status(certificate), len(world.registry.things_of(certificate)), policies]
        return [*told, *self._budget(), *self._replaced()]

    def _replaced(self) -> list[object]:
        row = self.world.store.replacement(self.thing)
        return [] if row is None else [sorted(self.known[name] for name in row.retired), row.look_at is None]

    def _budget(self) -> list[str]:
        key = {"serial": {"S": f"day#{self.thing}#{self.world.now:%Y%m%d}"}}
        row = self.world.clients.tables.get_item(TableName=ENVIRONMENT[Variable.DEVICES], Key=key).get("Item", {})
        return sorted(self.known[name] for name in row.get("ids", {"SS": []})["SS"])


def _enrolment(story: EventStory) -> Callable[[], object]:
    made = story.issue("new")
    return lambda: story.world.enrol(made, story.serial)


def _second_enrolment(story: EventStory) -> Callable[[], object]:
    story.world.enrol(story.issue("lost"), story.serial)
    made = story.issue("new")
    return lambda: story.world.enrol(made, story.serial)


def _rotation(story: EventStory) -> Callable[[], object]:
    old, new = story.issue("old"), story.issue("new")
    story.world.enrol(old, story.serial)
    story.world.owner.attach_policy(policyName="application", target=ARN + old)
    return lambda: story.world.rotate(old, new, story.thing)


def _retirement(story: EventStory) -> Callable[[], object]:
    old, new = story.issue("old"), story.issue("new")
    story.world.enrol(old, story.serial)
    story.world.rotate(old, new)
    return lambda: story.world.retire(new, old, story.thing)


def _sweep(story: EventStory) -> Callable[[], object]:
    retire, start = _retirement(story), story.world.now
    story.world.now += SETTINGS.keep
    story.settled()  # what other stories have left
    story.world.now = start
    retire()
    story.world.now += SETTINGS.keep
    return story.world.sweep


def _second_round(story: EventStory) -> Callable[[], object]:
    _sweep(story)()
    return story.world.sweep


def _purchase(story: EventStory) -> Callable[[], object]:
    return lambda: story.buy("new")


def _second_purchase(story: EventStory) -> Callable[[], object]:
    story.buy("lost")
    return lambda: story.buy("new")


def _replacement(story: EventStory) -> Callable[[], object]:
    world, other = story.world, f"9{story.serial}"
    old, new, used = story.issue("old"), story.issue("new"), story.issue("used")
    world.enrol(old, story.serial)
    world.replace(other, story.thing)
    world.enrol(new, other)
    world.rotate(new, used)
    story.serials[new] = story.serials[used] = other
    start = world.now

    def act() -> None:
        try:
            world.replacing()
        finally:
            world.now = start

    return act


STORIES: list[Callable[[EventStory], Callable[[], object]]] = [
    _enrolment, _second_enrolment, _rotation, _retirement, _purchase, _second_purchase, _replacement, _sweep,
    _second_round,
]  # fmt: skip
FATES = [(Fate.REFUSED, False), (Fate.REFUSED, True), (Fate.LOST, False)]


@pytest.fixture(name="world", scope="module")
def _world() -> Iterator[AwsWorld]:
    with emulated():
        yield AwsWorld()


_serials = count(1)


def _story(world: AwsWorld) -> EventStory:
    return EventStory(world, f"{next(_serials):04}")


@contextmanager
def _answered(world: AwsWorld) -> Iterator[None]:
    """Have every call answered from the end of this on."""
    now = world.now
    yield
    world.at_each_call = lambda _: Fate.ANSWERED
    world.now = now


@pytest.fixture(name="undisturbed", scope="module")
def _undisturbed(world: AwsWorld) -> Callable[[Callable[[EventStory], Callable[[], object]]], tuple[int, list[object]]]:
    """Return what tells a story in which nothing fails, once: how many calls its event makes, and its end."""

    @cache
    def told(tell: Callable[[EventStory], Callable[[], object]]) -> tuple[int, list[object]]:
        with _answered(world):
            story = _story(world)
            act = tell(story)
            before = world.calls
            act()
            return world.calls - before, story.settled()

    return told


@pytest.mark.parametrize("tell", STORIES)
@pytest.mark.parametrize(("fate", "for_good"), FATES)
def test_each_call_fails_and_the_event_comes_again(
    world: AwsWorld,
    undisturbed: Callable[[Callable[[EventStory], Callable[[], object]]], tuple[int, list[object]]],
    tell: Callable[[EventStory], Callable[[], object]],
    fate: Fate,
    for_good: bool,  # noqa: FBT001 - the table's
) -> None:
    """After each call; a sample takes one in 43, another one of each story and fate that has as many."""
    calls, wanted = undisturbed(tell)
    assert calls > 3
    first = len(FATES) * STORIES.index(tell) + FATES.index((fate, for_good))
    for number in [number for number in range(calls) if campaigns.takes(first + number, 43)]:
        with _answered(world):
            story = _story(world)
            act = tell(story)
            had = world.active(story.thing)
            world.at_each_call = world.failing_call(number + 1, fate, for_good=for_good)
            with pytest.raises(BackendError):
                act()
            world.at_each_call = lambda _: Fate.ANSWERED
            assert world.active(story.thing) or not had
            act()
            assert story.settled() == wanted, f"call {number + 1}, which is case {first + number}"


@pytest.mark.parametrize(("fate", "for_good"), FATES)
def test_the_count_fails_and_the_next_one_is_whole(world: AwsWorld, fate: Fate, for_good: bool) -> None:  # noqa: FBT001
    """Nothing is told by one that fails. It is one call here, for moto has no pages."""
    with _answered(world):
        _story(world).issue("one")
        census(world.account, lambda: True)
        wanted = world.outbox.counted[-len(COUNTED) :]
        world.at_each_call = world.failing_call(1, fate, for_good=for_good)
        told = len(world.outbox.counted)
        with pytest.raises(BackendError):
            census(world.account, lambda: True)
    assert len(world.outbox.counted) == told
    census(world.account, lambda: True)
    assert world.outbox.counted[told:] == wanted


def test_the_same_events_twice_are_the_same_as_once(world: AwsWorld) -> None:
    """At least once is what is promised."""
    for tell in campaigns.take(STORIES[:7], 2):
        once, twice = _story(world), _story(world)
        tell(once)()
        act = tell(twice)
        assert act() == act()
        assert once.end() == twice.end()


def _intrude(world: AwsWorld, number: int, intruder: Callable[[], object]) -> list[int]:
    """Have something happen before the call of a number, counted from now on; return a list that tells once it did."""
    done, reached = world.calls, list[int]()

    def decide(call: int) -> Fate:
        if call - done == number and not reached:
            reached.append(call)
            intruder()
        return Fate.ANSWERED

    world.at_each_call = decide
    return reached


def test_two_certificates_ask_for_each_others_retirement_on_aws(world: AwsWorld) -> None:
    """At whichever call of the one the other comes, one stays active."""
    for number in campaigns.places(12, 4):
        story = _story(world)
        first, second = story.issue("first"), story.issue("second")
        world.enrol(first, story.serial)
        world.rotate(first, second)
        reached = _intrude(world, number + 1, partial(world.retire, second, first, story.thing))
        world.retire(first, second, story.thing)
        assert reached, number + 1
        world.at_each_call = lambda _: Fate.ANSWERED
        assert len(world.active(story.thing)) == 1


def test_a_rescued_certificate_gets_its_thing_back_on_aws(world: AwsWorld) -> None:
    """Between two rounds of the sweep."""
    with _answered(world):
        story = _story(world)
        _sweep(story)()
        old = next(iter(story.known))
        assert world.registry.things_of(old) == ()
        world.rescue(old)
        world.sweep()
        assert world.active(story.thing) == set(story.known)


def test_a_thief_on_aws(world: AwsWorld) -> None:
    """What the attacks' tests say, with the requests that AWS would get."""
    victim, rogue = _story(world), _story(world)
    for story in (victim, rogue):
        world.enrol(story.issue("only"), story.serial)
    (theirs,), (ours,) = victim.known, rogue.known
    assert world.enrol(world.issue(), victim.serial, "wrong") == ""
    assert world.rotate(ours, world.issue(), victim.thing) == ""
    assert world.rotate(CLAIM, world.issue(), victim.thing) == ""
    assert world.retire(ours, theirs, rogue.thing)["code"] == 403
    assert world.retire(ours, theirs, victim.thing)["code"] == 403
    assert world.status(theirs) is Status.ACTIVE
    world.clients.data.update_thing_shadow(
        thingName=victim.thing,
        shadowName="certificate",
        payload=f'{{"state": {{"reported": {{"certificateId": "{theirs}"}}}}}}'.encode(),
    )
    assert world.enrol(world.issue(), victim.serial) == "", "the shadow shows that the token is spent"
