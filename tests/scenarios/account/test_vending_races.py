"""What may overlap, repeat or stop half-way at the vending machine: the table of `agent.backend.decide.vending`."""

from __future__ import annotations

import base64
from dataclasses import replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from agent.backend.decide.admission import MOST_BOUGHT
from agent.backend.decide.vending import SET_ASIDE
from agent.backend.errors import UnavailableError
from agent.backend.names import Metric
from agent.backend.values import CertificateOrigin, DeviceState, Signer, Status
from support.aws.account import DAY, HOUR, OWN, World, intrude, request

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST, SECOND = request("first"), request("second")


@pytest.fixture(name="world")
def _world() -> World:
    return armed()


class MinuteSigner:
    """A signer of the account's own: within a minute, the same request of the same caller is the same certificate."""

    def __init__(self, world: World) -> None:
        self._world = world

    def sign(self, csr: str, caller: str) -> str:
        """Return what stands for a certificate."""
        made = base64.b64encode(f"{csr} {caller} {self._world.now:%H:%M}".encode()).decode()
        return f"-----BEGIN CERTIFICATE-----\n{made}\n-----END CERTIFICATE-----\n"


def armed(*, signs: bool = False) -> World:
    """Return an account that has a serial number armed; with a signer of its own that is on, or without."""
    world = World()
    world.arm()
    if signs:
        world.store.signing = Signer(on=True)
        world.account = replace(world.account, signer=MinuteSigner(world))
    return world


def assert_sold(world: World, *answers: dict[str, Any]) -> None:
    """Each answer names a certificate with which the gateway can connect, and nothing else is active or attached."""
    sold = {answer["certificateId"] for answer in answers}
    assert world.active() == sold == world.store.devices["0042"].bought
    for name in sold:
        assert world.registry.policies_of(name) == tuple(sorted(OWN))
        assert world.store.records[name].delete_after is None
        assert world.store.records[name].origin is CertificateOrigin.VENDING


def test_a_certificate_is_sold_for_a_serial_number_and_its_token(world: World) -> None:
    """It is the thing's that the operator has armed, whole, and the first use spends the token."""
    answer = world.vend(FIRST)
    assert (answer["thingName"], "code" in answer) == ("gw-0042", False)
    assert answer["certificatePem"]
    assert_sold(world, answer)
    assert world.counts(Metric.ENROLMENTS) == 1
    assert world.rotated(answer["certificateId"])
    assert world.store.devices["0042"].state is DeviceState.ENROLLED
    assert world.vend(SECOND)["code"] == 403


def test_the_answer_is_lost_and_the_request_is_repeated(world: World) -> None:
    """The same certificate, counted once, however its lines are broken; on the next day too."""
    answer = world.vend(FIRST)
    world.now += 2 * DAY
    world.swept()
    assert world.vend(FIRST.replace("\n", "\r\n")) == answer
    assert_sold(world, answer)


def test_the_power_is_cut_and_the_gateway_makes_another_request(world: World) -> None:
    """Another certificate of the same token, five in all; no answer that was lost has locked the gateway out."""
    answers = [world.vend(request(number)) for number in range(MOST_BOUGHT)]
    assert_sold(world, *answers)
    assert world.vend(request("one more"))["code"] == 403
    assert world.counts(Metric.RE_ENROLMENTS_REFUSED) == 1
    assert_sold(world, *answers)


@pytest.mark.parametrize("signs", [False, True])
@pytest.mark.parametrize("again", [FIRST, SECOND])
def test_two_functions_sell_to_one_serial_number_one_within_the_other(again: str, *, signs: bool) -> None:
    """At whichever step: one certificate for one request, two for two, and what was made in vain goes by itself."""
    for step in count(1):
        world = armed(signs=signs)
        inner: list[dict[str, Any]] = []
        ask = partial(world.vend, again)
        reached = intrude(world, step, lambda: inner.append(ask()))  # noqa: B023 - it is over before the next
        outer = world.vend(FIRST)
        if not reached:
            assert step > 10
            break
        assert_sold(world, outer, *inner)
        assert len(world.active()) == len({FIRST, again})
        world.now += SET_ASIDE
        world.swept()
        assert_sold(world, outer, *inner)
        assert set(world.registry.entries) == world.active()


@pytest.mark.parametrize("signs", [False, True])
def test_a_function_dies_at_any_step_and_the_request_comes_again(*, signs: bool) -> None:
    """After each step, once and from there on: one certificate is sold, and nothing but it can ever be used."""
    for step in count(1):
        world = armed(signs=signs)
        world.at_each_step = world.failing(step, for_good=bool(step % 2))
        try:
            world.vend(FIRST)
        except UnavailableError:
            world.at_each_step = lambda _: None
        else:
            assert step > 10
            break
        assert len(world.active()) <= 1
        assert_sold(world, world.vend(FIRST))
        world.now += SET_ASIDE
        world.swept()
        unsold = set(world.registry.entries) - world.active()
        assert all(world.store.record(name) is None for name in unsold), "made, and not even noted: `orphans` lists it"
        assert len(unsold) <= 1


@pytest.mark.parametrize("signs", [False, True])
def test_a_function_dies_and_the_request_never_comes_again(*, signs: bool) -> None:
    """The token is not spent by that, and what was made is deleted as soon as the thing does without it."""
    for step in count(1):
        world = armed(signs=signs)
        world.at_each_step = world.failing(step, for_good=True)
        try:
            world.vend(FIRST)
        except UnavailableError:
            world.at_each_step = lambda _: None
        else:
            assert step > 10
            break
        world.now += SET_ASIDE
        world.swept(3)
        answer = world.vend(SECOND)
        assert answer["certificateId"] in world.active(), step
        world.now += 2 * SET_ASIDE
        world.swept(3)
        waiting = [record for record in world.store.records.values() if record.delete_after is not None]
        assert waiting == []


def test_the_sweep_comes_at_any_step() -> None:
    """A day after the function has stopped, while the request comes again: it is sold whole, or another one is."""
    for step in count(1):
        world = World()
        world.arm()
        stop = world.failing(8, for_good=True)
        world.at_each_step = stop
        with pytest.raises(UnavailableError):
            world.vend(FIRST)
        world.at_each_step = lambda _: None
        world.now += SET_ASIDE
        reached = intrude(world, step, world.swept)
        answer = world.vend(FIRST)
        assert world.active() == {answer["certificateId"]}, step
        assert answer["certificateId"] in world.store.devices["0042"].bought
        if not reached:
            assert step > 8
            break


def _fail_to_activate(verb: str) -> None:
    if verb == "activate":
        raise UnavailableError(verb)


def test_the_request_comes_again_at_any_step_of_the_sweep() -> None:
    """What is sold then has its thing, and goes on having it."""
    for step in count(1):
        world = World()
        world.arm()
        world.at_each_step = _fail_to_activate
        with pytest.raises(UnavailableError):
            world.vend(FIRST)
        world.registry.make_thing("gw-0042")
        other = world.issue()
        world.registry.register("gw-0042", other, OWN)
        world.at_each_step = lambda _: None
        world.now += SET_ASIDE
        answers: list[dict[str, Any]] = []
        reached = intrude(world, step, lambda: answers.append(world.vend(FIRST)))  # noqa: B023 - it is over before
        world.sweep()
        if not reached:
            assert step > 4
            break
        world.swept(3)
        assert answers[0]["certificateId"] in world.active() - {other}, step


def test_the_certificate_is_used_and_the_request_is_repeated(world: World) -> None:
    """The gateway lost its disk between both: the certificate is told again, but nothing new is sold."""
    answer = world.vend(FIRST)
    world.registry.shadows["gw-0042"] = answer["certificateId"]
    assert world.vend(SECOND)["code"] == 403
    assert world.store.devices["0042"].state is DeviceState.ENROLLED
    assert world.vend(FIRST) == answer


def test_a_certificate_that_was_taken_back_is_not_sold_again(world: World) -> None:
    """Retired by its thing, or made INACTIVE by the operator: no request makes it active again."""
    answer = world.vend(FIRST)
    old = answer["certificateId"]
    world.registry.set_status(old, Status.INACTIVE)
    assert world.vend(FIRST)["code"] == 403
    assert world.status(old) is Status.INACTIVE
    world.rescue(old)
    new = world.rotated(old)
    assert "code" not in world.retire(new, old)
    assert world.vend(FIRST)["code"] == 403
    assert world.active() == {new}


def test_a_certificate_that_is_gone_is_made_anew(world: World) -> None:
    """The operator has deleted it before it was used."""
    answer = world.vend(FIRST)
    world.registry.set_status(answer["certificateId"], Status.INACTIVE)
    world.registry.detach_thing("gw-0042", answer["certificateId"])
    world.registry.delete(answer["certificateId"])
    again = world.vend(FIRST)
    assert world.active() == {again["certificateId"]} != {answer["certificateId"]}


@pytest.mark.parametrize("act", ["arm", "block"])
def test_the_operator_arms_or_blocks_at_any_step(act: str) -> None:
    """What is decided follows the row that there is: another token, or none, buys nothing with the one of before."""
    for step in count(1):
        world = World()
        world.arm()
        change: Callable[[], object] = world.block if act == "block" else partial(world.arm, token="another")  # noqa: S106
        reached = intrude(world, step, change)
        answer = world.vend(FIRST)
        if not reached:
            assert step > 10
            break
        if "code" in answer:
            assert answer["code"] == 403
            assert world.active() == set()
        else:
            assert world.active() == {answer["certificateId"]}, "it was bought before"


def test_a_gateway_that_is_locked_out_is_let_in_with_a_new_token(world: World) -> None:
    """Nothing is taken from it: what it had stays as it is until it asks for that to be retired."""
    old = world.vend(FIRST)["certificateId"]
    current = world.rotated(old)
    world.now += 90 * DAY
    world.arm(token="a new one", until=world.now + DAY)  # noqa: S106 - of no gateway
    assert world.vend(SECOND)["code"] == 403, "the token of before"
    answer = world.vend(SECOND, token="a new one")  # noqa: S106 - of no gateway
    assert world.active() == {old, current, answer["certificateId"]}
    world.now += DAY + HOUR
    assert world.vend(SECOND, token="a new one") == answer  # noqa: S106 - its end is for other requests
    assert world.vend(request("third"), token="a new one")["code"] == 403  # noqa: S106 - of no gateway
