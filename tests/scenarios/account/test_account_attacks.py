"""What thieves, gateways that were taken over and mistaken operators try in the account, one test for each."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from agent.backend.decide.admission import MOST_BOUGHT
from agent.backend.handlers import retirement
from agent.backend.names import RETIRE_FILTER, Metric
from agent.backend.values import DeviceState, Status
from support.aws.account import CLAIM, DAY, HOUR, OWN, TOKEN, World, certificate_id, request

# -- the claim certificate and tokens ----------------------------------------------------------------------------------


def test_a_stolen_claim_certificate_enrols_nothing_without_a_token(world: World) -> None:
    """Neither a serial number that it guesses nor one that it has read on a label."""
    world.arm()
    thief = world.issue()
    for serial, token in (("0042", "guess"), ("0042", ""), ("0043", TOKEN), ("", TOKEN), ("0042#", TOKEN)):
        assert world.enrol(thief, serial, token) == ""
    assert world.active() == set()
    assert world.store.devices["0042"].state is DeviceState.ARMED
    assert world.counts(Metric.ENROLMENTS_REFUSED) == 5


def test_a_stolen_claim_certificate_does_not_rotate(world: World) -> None:
    """It is attached to no thing, whatever thing it names."""
    world.enrolled()
    assert world.rotate(CLAIM, world.issue(), "gw-0042") == ""


def test_the_operator_deactivates_a_stolen_claim_certificate(world: World) -> None:
    """AWS lets it connect no more, so the hook is not asked by it; what gateways do rests on their own."""
    world.registry.add(CLAIM, world.now, Status.ACTIVE)
    current = world.enrolled()
    world.registry.set_status(CLAIM, Status.INACTIVE)
    follower = world.rotated(current)
    assert "code" not in world.retire(follower, current)
    world.now += 31 * DAY
    world.swept()
    assert world.active() == {follower}
    assert world.status(CLAIM) is Status.INACTIVE, "it is the operator's to delete"


def test_a_token_buys_five_certificates_of_one_thing_at_most(world: World) -> None:
    """For as long as none of them is known to be in use."""
    world.arm()
    for _ in range(MOST_BOUGHT):
        assert world.enrol(world.issue()) == "gw-0042"
    assert world.enrol(world.issue()) == ""
    assert world.counts(Metric.RE_ENROLMENTS_REFUSED) == 1
    assert world.registry.things == {"gw-0042"}


def test_a_token_of_one_serial_number_admits_no_other(world: World) -> None:
    """A token is stored with its serial number, so a row that was copied is of no use either."""
    world.arm("0042", TOKEN)
    world.arm("0043", "another")
    stolen = replace(world.store.devices["0043"], token_sha256=world.store.devices["0042"].token_sha256)
    world.store.save_device(stolen)
    assert world.enrol(world.issue(), "0043", TOKEN) == ""


def test_a_thief_has_the_token_before_the_gateway_has_it(world: World) -> None:
    """The thief gets in; the gateway's refusal is an alarm, and `block` with a new token ends it."""
    world.arm()
    stolen = world.issue()
    assert world.enrol(stolen) == "gw-0042"
    world.registry.shadows["gw-0042"] = stolen
    assert world.enrol(world.issue()) == ""
    assert world.counts(Metric.RE_ENROLMENTS_REFUSED) == 1
    assert world.store.devices["0042"].state is DeviceState.ENROLLED
    world.block()
    assert world.rotate(stolen, world.issue()) == "", "what is blocked gets no new certificate either"
    world.registry.set_status(stolen, Status.INACTIVE)
    world.arm("0042", "a new one")
    assert world.enrol(world.issue(), token="a new one") == "gw-0042"  # noqa: S106 - of no gateway


def test_a_token_has_its_end(world: World) -> None:
    """Which is told to the operator, since the token was the right one."""
    world.arm(until=world.now + HOUR)
    made = world.issue()
    assert world.enrol(made) == "gw-0042"
    world.now += HOUR
    assert world.enrol(world.issue()) == ""
    assert world.enrol(made) == "gw-0042", "the same certificate, whose registration is repeated"
    assert world.counts(Metric.RE_ENROLMENTS_REFUSED) == 1


@pytest.mark.parametrize("seen", ["shadow", "rotation", "retirement"])
def test_a_token_is_replayed_after_the_enrolment(world: World, seen: str) -> None:
    """It is spent by whatever shows that a certificate which it bought is in use."""
    first = world.enrolled()
    if seen == "shadow":
        world.registry.shadows["gw-0042"] = first
    elif seen == "rotation":
        world.rotated(first)
    else:
        second = world.issue()
        assert world.enrol(second) == "gw-0042"
        assert "code" not in world.retire(second, first)
    assert world.enrol(world.issue()) == ""
    assert world.store.devices["0042"].state is DeviceState.ENROLLED


@pytest.mark.parametrize("bought", ["claim", "vending"])
def test_a_gateway_is_blocked_long_after_it_has_enrolled(world: World, bought: str) -> None:
    """DynamoDB removes rows, but none that a block rests on; nor that of a certificate which was rotated since."""
    world.arm()
    first = world.enrolled() if bought == "claim" else world.vend(request("first"))["certificateId"]
    world.now += 40 * DAY
    world.block()
    assert world.rotate(first, world.issue()) == ""
    world.arm()
    second = world.rotated(first)
    world.now += 40 * DAY
    world.block()
    assert world.rotate(second, world.issue()) == ""


@pytest.mark.parametrize("bought", ["claim", "vending"])
def test_a_token_is_found_after_two_years(world: World, bought: str) -> None:
    """The first rotation was late, and what the token bought was deleted and forgotten since: it stays spent."""
    world.arm()
    first = world.enrolled() if bought == "claim" else world.vend(request("first"))["certificateId"]
    world.now += 330 * DAY
    current = world.rotated(first)
    assert world.store.devices["0042"].state is DeviceState.ENROLLED
    assert "code" not in world.retire(current, first)
    world.now += 31 * DAY
    world.swept()
    assert world.status(first) is None
    world.now += 372 * DAY
    assert first not in world.store.records
    assert world.enrol(world.issue()) == ""
    assert world.vend(request("thief's"))["code"] == 403
    assert world.active() == {current}


def test_a_shadow_is_believed_of_no_certificate_but_those_that_the_token_bought(world: World) -> None:
    """What an earlier identity has left there spends no new token."""
    world.arm()
    world.registry.shadows["gw-0042"] = certificate_id("of the disk that broke")
    assert world.enrol(world.issue()) == "gw-0042"
    assert world.enrol(world.issue()) == "gw-0042"


def test_a_certificate_is_admitted_as_one_thing(world: World) -> None:
    """A holder of two tokens does not attach one certificate twice."""
    world.arm("0042")
    world.arm("0043")
    made = world.issue()
    assert world.enrol(made, "0042") == "gw-0042"
    assert world.enrol(made, "0043") == ""
    assert world.registry.things_of(made) == ("gw-0042",)


def test_a_retired_certificate_is_not_made_active_by_registering_it_again(world: World) -> None:
    """An ownership token lives for an hour, and registration activates."""
    first = world.enrolled()
    second = world.rotated(first)
    assert "code" not in world.retire(second, first)
    assert world.enrol(first) == ""
    assert world.rotate(second, first) == ""
    assert world.status(first) is Status.INACTIVE


def test_who_guesses_hears_the_same_each_time(world: World) -> None:
    """Unknown, wrong, spent and blocked look alike; the reason is in the operator's log, and no token is."""
    world.arm("0042")
    world.arm("0044")
    world.block("0044")
    world.enrolled("0045")
    world.rotated(next(iter(world.active("gw-0045"))))
    answers = [
        world.ask_hook("gateway", CLAIM, world.issue(), {"SerialNumber": serial, "RegistrationToken": token})
        for serial, token in (("0042", "wrong"), ("0043", TOKEN), ("0044", TOKEN), ("0045", TOKEN), ("0045", "wrong"))
    ]
    assert answers == [{"allowProvisioning": False}] * 5
    assert TOKEN not in repr(world.outbox.counted)
    assert TOKEN not in repr(world.store.devices)


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"parameters": None},
        {"parameters": []},
        {"parameters": {"SerialNumber": {"S": "0042"}, "RegistrationToken": TOKEN}},
        {"parameters": {"SerialNumber": "0042", "RegistrationToken": None}},
        {"parameters": {"SerialNumber": "0042", "RegistrationToken": "x" * 1_000_000}},
        {"parameters": {"SerialNumber": "0042", "RegistrationToken": "\ud800"}},
        {"certificateId": "0042"},
        {"certificateId": None},
        {"templateArn": "arn:aws:iot:eu-west-1:1:provisioningtemplate/other"},
        {"templateArn": None},
        {"templateArn": "arn:aws:iot:eu-west-1:1:provisioningtemplate/gateway-rotation", "claimCertificateId": None},
        {"templateArn": "arn:aws:iot:eu-west-1:1:provisioningtemplate/gateway-rotation", "claimCertificateId": "x"},
    ],
)
def test_a_request_of_another_shape_is_refused(world: World, event: dict[str, Any]) -> None:
    """It is refused and not stumbled over: an error would be repeated, and would hide others."""
    from agent.backend.handlers.hook import hook  # noqa: PLC0415 - the bare event

    world.arm()
    sound = {
        "templateArn": "arn:aws:iot:eu-west-1:1:provisioningtemplate/gateway",
        "certificateId": world.issue(),
        "claimCertificateId": CLAIM,
        "parameters": {"SerialNumber": "0042", "RegistrationToken": "wrong"},
    }
    assert hook(sound | event, world.account) == {"allowProvisioning": False}


# -- a gateway against another -----------------------------------------------------------------------------------------


def test_a_gateway_rotates_in_anothers_name(world: World) -> None:
    """The registry knows which thing asks; what it calls itself decides nothing."""
    rogue = world.enrolled("0666")
    world.enrolled("0042")
    assert world.rotate(rogue, world.issue(), "gw-0042") == ""
    new = world.issue()
    assert world.rotate(rogue, new) == "gw-0666"
    assert len(world.active("gw-0042")) == 1


def test_a_name_that_begins_like_anothers_is_another(world: World) -> None:
    """`gw-1` is not `gw-10`."""
    one = world.enrolled("1")
    world.enrolled("10")
    assert world.rotate(one, world.issue(), "gw-10") == ""
    assert world.retire(one, next(iter(world.active("gw-10"))), "gw-10")["code"] == 403


def test_a_gateway_retires_anothers_certificate(world: World) -> None:
    """Neither by its own topic nor by the other's."""
    rogue = world.enrolled("0666")
    victim = world.enrolled("0042")
    spare = world.rotated(victim)
    for thing in ("gw-0666", "gw-0042"):
        answer = world.retire(rogue, victim, thing)
        assert answer["code"] == 403
    assert world.active() == {victim, spare}


def test_whether_a_foreign_certificate_exists_is_not_told(world: World) -> None:
    """Foreign, shared, unknown and deleted sound alike."""
    rogue = world.enrolled("0666")
    foreign = world.enrolled("0042")
    shared = world.rotated(rogue)
    world.registry.entries[shared].things.append("gw-0042")
    answers = [world.retire(rogue, target, "gw-0666") for target in (foreign, shared, certificate_id("unknown"))]
    assert {(answer["code"], answer["message"]) for answer in answers} == {(403, "gw-0666 has no such certificate.")}


def test_the_holder_of_another_things_topic_does_not_hold_up_its_retirements(world: World) -> None:
    """A lease is given to a certificate of the thing alone."""
    rogue = world.enrolled("0666")
    old = world.enrolled("0042")
    new = world.rotated(old)
    assert world.retire(rogue, old, "gw-0042")["code"] == 403
    assert "code" not in world.retire(new, old)


def test_a_certificate_of_two_things_asks_for_none_of_them(world: World) -> None:
    """Which of both it is cannot be told."""
    old = world.enrolled()
    new = world.rotated(old)
    world.registry.entries[new].things.append("gw-0666")
    assert world.retire(new, old)["code"] == 403
    assert world.rotate(new, world.issue()) == ""


def test_a_gateway_that_was_taken_over_mints_certificates(world: World) -> None:
    """A budget a day; all are attached to it, so that deactivating by thing ends all of them."""
    current = world.enrolled()
    admitted = sum(bool(world.rotate(current, world.issue())) for _ in range(20))
    assert admitted == world.account.settings.daily_limit
    assert world.counts(Metric.ROTATIONS_REFUSED) == 20 - admitted
    assert len(world.active()) == 1 + admitted
    world.now += DAY
    assert world.rotate(current, world.issue()) == "gw-0042"
    world.block()
    assert world.rotate(current, world.issue()) == ""


def test_a_retired_certificate_mints_no_successor_while_it_is_still_connected(world: World) -> None:
    """AWS cuts it off within minutes; one that was rescued may rotate again."""
    stolen = world.enrolled()
    new = world.rotated(stolen)
    assert "code" not in world.retire(new, stolen)
    assert world.rotate(stolen, world.issue()) == ""
    world.rescue(stolen)
    assert world.rotate(stolen, world.issue()) == "gw-0042"


def test_a_certificate_that_is_not_active_has_none_retired(world: World) -> None:
    """Its connection may outlive it for minutes."""
    first = world.enrolled()
    second = world.rotated(first)
    world.registry.set_status(second, Status.INACTIVE)
    assert world.retire(second, first)["code"] == 403
    assert world.active() == {first}


def test_a_certificate_does_not_retire_itself(world: World) -> None:
    """A thief who holds it alone would cut the gateway off by that."""
    only = world.enrolled()
    assert world.retire(only, only)["code"] == 409
    assert world.active() == {only}


@pytest.mark.parametrize("target", [None, 7, "", "0042", "A" * 64, "a" * 63, "a" * 65, ["a" * 64], {"S": "a" * 64}])
def test_a_retirement_of_another_shape_is_refused(world: World, target: object) -> None:
    """And answered, so that the gateway does not wait."""
    current = world.enrolled()
    assert world.retire(current, target) == {
        "certificateId": None,
        "code": 400,
        "message": "certificateId must be 64 hexadecimal digits.",
    }


@pytest.mark.parametrize("message", [None, 7, "text", [1], {}])
def test_a_payload_that_is_no_object_is_refused(world: World, message: object) -> None:
    """The rule passes on whatever was published."""
    current = world.enrolled()
    retirement.retire({"thing": "gw-0042", "principal": current, "message": message}, world.account)
    topic, body = world.outbox.answers[-1]
    assert topic == "iot-cert-agent/gw-0042/retire/rejected"
    assert body["code"] == 400


# -- others in the account ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("principal", ["AROAEXAMPLE:operator", "AIDAEXAMPLE", "", None, 7])
def test_a_user_of_the_account_publishes_a_retirement(world: World, principal: object) -> None:
    """`principal()` is then no certificate, and no one but the thing has its certificates retired."""
    old = world.enrolled()
    new = world.rotated(old)
    event = {"thing": "gw-0042", "principal": principal, "message": {"certificateId": old, "principal": new}}
    retirement.retire(event, world.account)
    assert world.outbox.answers[-1][1]["code"] == 403
    assert world.active() == {old, new}


def test_a_payload_names_another_caller_and_thing(world: World) -> None:
    """The payload is nested, so its names are not those that AWS gives."""
    rogue = world.enrolled("0666")
    old = world.enrolled("0042")
    new = world.rotated(old)
    message = {"certificateId": old, "principal": new, "thing": "gw-0042", "message": {"principal": new}}
    retirement.retire({"thing": "gw-0666", "principal": rogue, "message": message}, world.account)
    assert world.outbox.answers[-1][0] == "iot-cert-agent/gw-0666/retire/rejected"
    assert world.active() == {old, new}


def test_an_answer_that_was_forged_changes_nothing_in_the_account() -> None:
    """It delays a retirement, which is not defended against; no rule takes it for a request."""
    pattern = re.compile(RETIRE_FILTER.replace("+", "[^/]+"))
    assert pattern.fullmatch("iot-cert-agent/gw-0042/retire")
    assert not pattern.fullmatch("iot-cert-agent/gw-0042/retire/accepted")
    assert not pattern.fullmatch("iot-cert-agent/a/b/retire")


def test_a_topic_of_no_thing_is_left_unanswered(world: World) -> None:
    """There is no one to be answered."""
    for thing in ("", "a b", "x" * 200, None, 5):
        retirement.retire({"thing": thing, "principal": CLAIM, "message": {}}, world.account)
    assert world.outbox.answers == []
    assert world.counts(Metric.RETIREMENTS_REFUSED) == 5


def test_the_stack_was_deleted_with_its_tables_and_deployed_again(world: World) -> None:
    """Gateways rotate and retire by what the registry says; a serial number has to be armed again."""
    old = world.enrolled()
    world.store.devices.clear()
    world.store.records.clear()
    new = world.rotated(old)
    world.store.records.clear()
    assert "code" not in world.retire(new, old)
    assert world.active() == {new}
    assert world.registry.policies_of(new) == OWN
    assert world.enrol(world.issue()) == ""
