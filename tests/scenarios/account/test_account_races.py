"""What may overlap, repeat, arrive late or stop half-way in the account, one test for each."""

from __future__ import annotations

import threading
from datetime import timedelta
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import pytest

from agent.backend.errors import UnavailableError
from agent.backend.values import DeviceState, Status
from support.aws.account import CLAIM, DAY, HOUR, MINUTE, OWN, SETTINGS, TOKEN, World, intrude

if TYPE_CHECKING:
    from collections.abc import Callable

BY_CLAIM = {"SerialNumber": "0042", "RegistrationToken": TOKEN}


# -- registration ------------------------------------------------------------------------------------------------------


def test_the_reply_to_a_registration_is_lost_and_the_same_token_is_sent_again(world: World) -> None:
    """The hook allows the same certificate at any time, and counts it once."""
    first = world.enrolled()
    new = world.issue()
    for _ in range(3):
        assert world.enrol(first) == "gw-0042"
        assert world.rotate(first, new) == "gw-0042"
    assert world.store.devices["0042"].bought == {first}
    assert [len(ids) for ids in world.store.budgets.values()] == [1]


def test_the_power_is_cut_after_the_hook_and_the_gateway_makes_another_request(world: World) -> None:
    """Another certificate of the same token, or one more of the day's budget; the first one harms nothing."""
    world.arm()
    lost, enrolled = world.issue(), world.issue()
    assert world.ask_hook("gateway", CLAIM, lost, BY_CLAIM)["allowProvisioning"]
    assert world.enrol(enrolled) == "gw-0042"
    also_lost, rotated = world.issue(), world.issue()
    assert world.ask_hook("gateway-rotation", enrolled, also_lost, {})["allowProvisioning"]
    assert world.rotate(enrolled, rotated) == "gw-0042"
    assert world.active() == {enrolled, rotated}
    assert world.status(lost) is world.status(also_lost) is Status.PENDING_ACTIVATION


def test_a_registration_is_applied_by_half(world: World) -> None:
    """AWS answers with an error, and the repetition completes it."""
    world.arm()
    made = world.issue()
    assert world.ask_hook("gateway", CLAIM, made, BY_CLAIM)["allowProvisioning"]
    world.registry.things.add("gw-0042")
    world.registry.attach_thing("gw-0042", made)
    assert world.enrol(made) == "gw-0042"
    assert world.registry.policies_of(made) == OWN
    assert world.active() == {made}


@pytest.mark.parametrize("template", ["gateway", "gateway-rotation"])
def test_the_hook_is_slow_or_down(template: str) -> None:
    """Nothing is allowed from memory, old certificates live on, and the same request goes through afterwards."""
    for step in count(1):
        world = World()
        current = world.enrolled()
        world.arm()
        made = world.issue()
        caller = CLAIM if template == "gateway" else current
        world.at_each_step = world.failing(step, for_good=True)
        try:
            world.register(template, caller, made, BY_CLAIM if template == "gateway" else {})
        except UnavailableError:
            pass
        else:
            assert step > 4
            break
        assert world.active() == {current}
        world.at_each_step = lambda _: None
        assert world.register(template, caller, made, BY_CLAIM if template == "gateway" else {}) == "gw-0042"
        assert world.active() == {current, made}


def test_the_list_of_things_lags_behind_the_registration(world: World) -> None:
    """The rotation is refused, and allowed when the registry knows; the table's word alone is not enough."""
    first = world.enrolled()
    entry = world.registry.entries[first]
    entry.things.clear()
    new = world.issue()
    assert world.rotate(first, new) == ""
    assert "does not know of it yet" in str(world.outbox.counted[-1][2]["reason"])
    entry.things.append("gw-0042")
    assert world.rotate(first, new) == "gw-0042"


def test_two_functions_claim_one_serial_number() -> None:
    """Whatever the instant, both certificates end up in the row, and the budget of the token counts both."""
    for step in count(1):
        world = World()
        world.arm()
        first, second = world.issue(), world.issue()
        reached = intrude(world, step, partial(world.enrol, second))
        assert world.enrol(first) == "gw-0042"
        if not reached:
            assert step > 3
            break
        assert world.store.devices["0042"].bought == {first, second}
        assert world.active() == {first, second}


def test_the_last_claim_is_not_given_twice() -> None:
    """Two functions that both see room for one more."""
    for step in range(1, 4):
        world = World()
        world.arm()
        for _ in range(4):
            assert world.enrol(world.issue()) == "gw-0042"
        first, second = world.issue(), world.issue()
        admitted: list[str] = []
        intrude(world, step, lambda: admitted.append(world.enrol(second)))  # noqa: B023 - it is over before the next
        admitted.append(world.enrol(first))
        assert sorted(admitted) == ["", "gw-0042"]


# -- retirement --------------------------------------------------------------------------------------------------------


def test_a_retirement_is_asked_for_twice_late_and_out_of_order(world: World) -> None:
    """The same answer each time, also when the certificate is gone."""
    first = world.enrolled()
    second = world.rotated(first)
    answer = world.retire(second, first)
    assert answer == {"certificateId": first}
    assert world.retire(second, first) == answer
    third = world.rotated(second)
    world.now += HOUR
    assert world.retire(third, second) == {"certificateId": second}
    assert world.retire(second, first)["code"] == 429, "not while the lease of the third lasts"
    world.now += HOUR
    assert world.retire(second, first)["code"] == 403, "late: the certificate that asked is not active any more"
    world.now += 31 * DAY
    world.swept()
    assert world.status(first) is None
    assert world.retire(third, first) == answer
    assert world.active() == {third}


def test_a_late_request_names_what_a_rollback_has_made_current_again(world: World) -> None:
    """It comes from another active certificate, so the thing keeps that one, and the operator can take it back."""
    old = world.enrolled()
    new = world.rotated(old)
    assert "code" not in world.retire(new, old)
    assert world.active() == {new}
    world.rescue(old)
    assert world.active() == {old, new}


def test_a_retirement_before_the_commit(world: World) -> None:
    """A gateway never asks for it; one that does keeps the certificate it asks with, and harms itself alone."""
    old = world.enrolled()
    new = world.rotated(old)
    assert "code" not in world.retire(new, old)
    world.now += 29 * DAY
    world.sweep()
    world.rescue(old)
    assert world.active() == {old, new}
    assert world.registry.things_of(old) == ("gw-0042",)
    assert world.registry.policies_of(old) == OWN, "whole, at once"


def test_two_certificates_ask_for_each_others_retirement_one_within_the_other() -> None:
    """At whichever step of the one the other comes, one stays active."""
    for step in count(1):
        world = World()
        first = world.enrolled()
        second = world.rotated(first)
        inner: list[dict[str, object]] = []
        ask = partial(world.retire, second, first)
        reached = intrude(world, step, lambda: inner.append(ask()))  # noqa: B023 - it is over before the next
        outer = world.retire(first, second)
        assert len(world.active()) == 1
        if not reached:
            assert step > 6
            break
        assert sorted(answer.get("code", 200) for answer in (outer, *inner)) in ([200, 403], [200, 429])


@pytest.mark.parametrize("seed", range(40))
def test_two_certificates_ask_for_each_others_retirement_step_by_step(seed: int) -> None:
    """Two functions that run at once, whose steps take turns as a number's bits say."""
    world = World()
    first = world.enrolled()
    second = world.rotated(first)
    turns = _Turns(world, [(seed * 2654435761 >> bit) & 1 for bit in range(28)])
    turns.run(lambda: world.retire(first, second), lambda: world.retire(second, first))
    assert len(world.active()) == 1
    world.at_each_step = lambda _: None
    world.now += 2 * MINUTE
    (left,) = world.active()
    other = ({first, second} - {left}).pop()
    assert "code" not in world.retire(left, other), "the one that is left is told so when it asks again"


def test_a_certificate_that_was_told_to_wait_asks_again(world: World) -> None:
    """The lease ends by itself, a minute after it was taken."""
    first = world.enrolled()
    second, third = world.rotated(first), world.rotated(first)
    assert "code" not in world.retire(second, first)
    assert world.retire(third, second)["code"] == 429
    assert "minute" in str(world.outbox.answers[-1][1]["message"])
    world.now += MINUTE
    assert "code" not in world.retire(third, second)
    assert world.active() == {third}


def test_one_certificate_has_several_retired_at_once(world: World) -> None:
    """The lease keeps others out, not the one that has it."""
    first = world.enrolled()
    second = world.rotated(first)
    third = world.rotated(second)
    assert "code" not in world.retire(third, first)
    assert "code" not in world.retire(third, second)
    assert world.active() == {third}


def test_a_function_dies_at_any_step_of_a_retirement_and_the_event_comes_again() -> None:
    """After each step, once and from there on; then the same end."""
    for step in count(1):
        world = World()
        first = world.enrolled()
        second = world.rotated(first)
        world.at_each_step = world.failing(step, for_good=bool(step % 2))
        try:
            world.retire(second, first)
        except UnavailableError:
            assert world.active() in ({second}, {first, second})
        else:
            assert step > 8
            break
        world.at_each_step = lambda _: None
        assert world.retire(second, first) == {"certificateId": first}
        assert world.active() == {second}
        record = world.store.records[first]
        assert record.retired_by == second
        assert record.delete_after == world.now + SETTINGS.keep
        assert world.store.devices["0042"].state is DeviceState.ENROLLED, "the first has rotated, and was used by that"


# -- many --------------------------------------------------------------------------------------------------------------


def test_what_a_rotation_asks_of_the_registry(world: World) -> None:
    """The calls whose quotas are ten a second, of which 10^6 gateways in 30 days take 0.46 rotations a second."""
    old = world.enrolled()
    world.verbs.clear()
    new = world.rotated(old)
    world.retire(new, old)
    world.now += SETTINGS.keep + timedelta(seconds=1)
    world.swept()
    used = {verb: world.verbs.count(verb) for verb in ("things_of", "certificate", "certificates_of", "delete")}
    assert used == {"things_of": 5, "certificate": 6, "certificates_of": 2, "delete": 1}
    assert world.verbs.count("deactivate") == 1
    assert world.verbs.count("policies_of") == 1


def test_six_hours_in_which_nothing_answers() -> None:
    """No certificate changes its state, no budget is spent, and all is taken up afterwards."""
    world = World()
    gateways = {serial: world.enrolled(serial) for serial in ("0001", "0002", "0003")}
    world.at_each_step = world.failing(1, for_good=True)
    news = {serial: world.issue() for serial in gateways}
    for _ in range(6):
        for serial, old in gateways.items():
            with pytest.raises(UnavailableError):
                world.rotate(old, news[serial])
        world.now += HOUR
    world.at_each_step = lambda _: None
    for serial, old in gateways.items():
        assert world.rotate(old, news[serial]) == f"gw-{serial}"
    assert {len(ids) for ids in world.store.budgets.values()} == {1}


# -- two at once -------------------------------------------------------------------------------------------------------


class _Turns:
    """Runs two functions in two threads of which one moves at a time, verb by verb."""

    def __init__(self, world: World, order: list[int]) -> None:
        self._order = order
        self._running = {0, 1}
        self._who: dict[int, int] = {}
        self._condition = threading.Condition()
        world.at_each_step = self._wait

    def run(self, *functions: Callable[[], object]) -> None:
        threads = [threading.Thread(target=self._go, args=(number, it)) for number, it in enumerate(functions)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()

    def _go(self, number: int, function: Callable[[], object]) -> None:
        self._who[threading.get_ident()] = number
        try:
            function()
        finally:
            with self._condition:
                self._running.discard(number)
                self._condition.notify_all()

    def _wait(self, _: str) -> None:
        number = self._who[threading.get_ident()]
        with self._condition:
            self._condition.wait_for(lambda: self._is_on(number), 60)
            if self._order and self._order[0] == number:
                self._order.pop(0)
            self._condition.notify_all()

    def _is_on(self, number: int) -> bool:
        while self._order and self._order[0] not in self._running:
            self._order.pop(0)
        return not self._order or self._order[0] == number
