"""What guessers, thieves, gateways that were taken over and mistaken operators try at the vending machine, by name."""

from __future__ import annotations

import base64
import itertools
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from agent.backend.decide.vending import MOST_FAILURES, MOST_REQUESTS, REFUSAL
from agent.backend.handlers.vending import LONGEST_BODY
from agent.backend.names import Metric
from agent.backend.values import DeviceState, Status
from support.aws.account import ADDRESS, DAY, HOUR, MINUTE, TOKEN, World, certificate_id, request
from support.suite import campaigns

ELSEWHERE = "203.0.113.9"
REFUSED = {"code": 403, "message": REFUSAL}


@pytest.fixture(name="world")
def _world() -> World:
    world = World()
    world.arm()
    return world


# -- a guesser at the vending API --------------------------------------------------------------------------------------


def test_a_guesser_at_the_vending_api_hears_one_answer_for_all_refusals(world: World) -> None:
    """Unknown, wrong, spent, ended, blocked and taken back look alike; the operator's log tells them apart."""
    for serial in ("0044", "0045", "0046", "0047"):
        world.arm(serial, until=world.now + HOUR if serial == "0046" else None)
    world.block("0044")
    world.rotated(world.vend(request("spent"), "0045")["certificateId"])
    taken_back = world.vend(request("taken back"), "0047")["certificateId"]
    world.registry.set_status(taken_back, Status.INACTIVE)
    world.now += HOUR
    tried = [
        world.vend(request(1), "unknown"),
        world.vend(request(2), "0042", "wrong"),
        world.vend(request(3), "0042", ""),
        world.vend(request(4), "0044"),
        world.vend(request(5), "0045"),
        world.vend(request(6), "0046"),
        world.vend(request("taken back"), "0047"),
    ]
    assert tried == [REFUSED] * len(tried)
    reasons = {str(about["reason"]) for _, _, about in world.outbox.counted[-len(tried) :]}
    assert len(reasons) == 5
    assert TOKEN not in repr(world.outbox.counted)


def test_a_guesser_at_the_vending_api_learns_nothing_from_what_is_looked_up(world: World) -> None:
    """A wrong token costs the same steps for a serial number that is known, has bought, or is not there."""
    world.arm("0043")
    world.vend(request("bought"), "0043")
    steps = []
    for serial in ("0042", "0043", "unknown"):
        done = len(world.verbs)
        world.vend(request("guess"), serial, "wrong")
        steps.append(world.verbs[done:])
    assert steps[0] == steps[1] == steps[2]


def test_a_guesser_at_the_vending_api_is_not_heard_after_ten_wrong_tokens(world: World) -> None:
    """Not for the rest of the hour, and then with the right one; of other serial numbers it is."""
    world.arm("0043", "another")
    for number in range(MOST_FAILURES):
        assert world.vend(request(number), token=f"guess {number}") == REFUSED
    assert world.vend(request("right")) == REFUSED
    assert "10 wrong tokens" in str(world.outbox.counted[-1][2]["reason"])
    assert "code" not in world.vend(request("right"), "0043", "another")
    world.now += HOUR
    assert "code" not in world.vend(request("right"))


def test_a_guesser_at_the_vending_api_locks_no_gateway_out(world: World) -> None:
    """A stranger who has read its serial number off a label has another address, and is counted by that."""
    for number in range(3 * MOST_FAILURES):
        world.vend(request(number), token="guess", address=ELSEWHERE)  # noqa: S106 - a wrong one
    assert world.vend(request("right"), address=ELSEWHERE) == REFUSED
    assert "code" not in world.vend(request("right"))
    assert world.counts(Metric.ENROLMENTS_REFUSED) == 3 * MOST_FAILURES + 1, "which is an alarm"


def test_a_guesser_at_the_vending_api_says_where_it_comes_from(world: World) -> None:
    """AWS's word counts, no header; of IPv6 it has a whole network, which is one address."""
    for number in range(MOST_FAILURES):
        world.vend(request(number), token="guess", address=f"2001:db8:1:2::{number:x}")  # noqa: S106 - a wrong one
    assert world.vend(request("right"), address="2001:db8:1:2:ffff::1") == REFUSED
    assert "code" not in world.vend(request("right"), address="2001:db8:1:3::1")


def test_a_right_token_that_is_asked_about_often_is_no_failure(world: World) -> None:
    """A gateway whose answers are lost asks again, more often than one may guess."""
    answers = [world.vend(request("same")) for _ in range(3 * MOST_FAILURES)]
    assert answers[1:] == answers[:-1]
    assert "code" not in answers[0]


# -- a load ------------------------------------------------------------------------------------------------------------


def test_ten_times_the_throttle_from_one_address_changes_nothing_for_others(world: World) -> None:
    """For an hour: the others' requests are answered as if there were none, and the flood costs one write each.

    A sample has the flood in every third minute of it.
    """
    others = [f"{number:04}" for number in campaigns.take(range(100, 160), 3)]
    for serial in others:
        world.arm(serial)
    for serial in others:  # one a minute, in the whole
        flood = [world.vend(request(serial), serial, "guess", ELSEWHERE) for _ in range(10 * MOST_REQUESTS)]
        assert [answer["code"] for answer in flood].count(429) == 9 * MOST_REQUESTS
        done = len(world.verbs)
        assert world.vend(request("flood"), address=ELSEWHERE)["code"] == 429
        assert world.verbs[done:] == ["tally", "count"]
        assert world.vend(request(serial), serial)["thingName"] == f"gw-{serial}"
        world.now += HOUR / len(others)
    assert world.counts(Metric.ENROLMENTS) == len(others)
    assert world.vend(request("late"), address=ELSEWHERE).get("thingName") == "gw-0042", "it is heard when it stops"


def test_a_flood_from_many_addresses_leaves_gateways_in_the_field_alone(world: World) -> None:
    """A thousand hosts, each within its own limit: vending may wait, but a rotation and a retirement do not.

    What the flood costs the account the API bounds: tests/project/cloud/test_cloud_template.py.
    """
    current = world.enrolled("0042")
    for number in range(1000):
        answer = world.vend(request(number), f"{number:05}", "guess", f"198.51.{number // 250}.{number % 250}")
        assert answer == REFUSED
    made = world.issue()
    assert world.rotate(current, made) == "gw-0042"
    assert "code" not in world.retire(made, current)
    assert world.active() == {made}
    assert not {"make_certificate", "order"} & set(world.verbs)


def test_a_site_behind_one_address_gets_its_certificates_one_after_the_other(world: World) -> None:
    """Two hundred gateways at once: those that are put off ask again, and nothing else is in their way."""
    serials = [f"{number:04}" for number in range(200, 400)]
    for serial in serials:
        world.arm(serial)
    for _ in range(1 + len(serials) // MOST_REQUESTS):
        serials = [serial for serial in serials if "code" in world.vend(request(serial), serial)]
        world.now += MINUTE
    assert serials == []


# -- tokens ------------------------------------------------------------------------------------------------------------


def test_a_token_thief_before_the_device_is_an_alarm_when_the_device_comes(world: World) -> None:
    """The thief is in use, so the token is spent; `block` and a new token end it, and the thief gets nothing more."""
    stolen = world.vend(request("thief"), address=ELSEWHERE)["certificateId"]
    world.registry.shadows["gw-0042"] = stolen
    assert world.vend(request("device")) == REFUSED
    assert world.counts(Metric.RE_ENROLMENTS_REFUSED) == 1
    world.block()
    assert world.rotate(stolen, world.issue()) == ""
    world.registry.set_status(stolen, Status.INACTIVE)
    assert world.vend(request("thief"), address=ELSEWHERE) == REFUSED
    world.arm(token="a new one")  # noqa: S106 - of no gateway
    assert world.vend(request("thief"), address=ELSEWHERE) == REFUSED
    answer = world.vend(request("device"), token="a new one")  # noqa: S106 - of no gateway
    assert world.active() == {answer["certificateId"]}


@pytest.mark.parametrize("seen", ["shadow", "rotation", "retirement"])
def test_a_token_replay_after_enrolment_buys_nothing(world: World, seen: str) -> None:
    """Over both ways in, since it is one token: spent by whatever shows that what it bought is in use."""
    first = world.vend(request("device"))["certificateId"]
    if seen == "shadow":
        world.registry.shadows["gw-0042"] = first
    elif seen == "rotation":
        world.rotated(first)
    else:
        second = world.vend(request("device again"))["certificateId"]
        assert "code" not in world.retire(second, first)
    assert world.vend(request("thief")) == REFUSED
    assert world.enrol(world.issue()) == ""
    assert world.store.devices["0042"].state is DeviceState.ENROLLED


def test_a_stolen_expired_certificate_helps_nothing(world: World) -> None:
    """Neither its text nor its request buys anything; a token does, and that is the gateway's."""
    old = world.vend(request("device"))["certificateId"]
    new = world.rotated(old)
    assert "code" not in world.retire(new, old)
    for token in (old, world.registry.entries[old].certificate.pem, ""):
        assert world.vend(request("device"), token=token) == REFUSED
    assert world.status(old) is Status.INACTIVE


def test_a_token_of_one_serial_number_buys_for_no_other(world: World) -> None:
    """A row that was copied is of no use either: the fingerprint holds the serial number."""
    world.arm("0043", "another")
    assert world.vend(request("gw"), "0043") == REFUSED
    stolen = replace(world.store.devices["0043"], token_sha256=world.store.devices["0042"].token_sha256)
    world.store.save_device(stolen)
    assert world.vend(request("gw"), "0043") == REFUSED


# -- gateways, and others in the account -------------------------------------------------------------------------------


def test_one_gateway_asks_for_another_things_name(world: World) -> None:
    """The thing is the row's; there is no field for it, and one that is sent all the same is not read."""
    fields = {"serialNumber": "0042", "registrationToken": TOKEN, "certificateSigningRequest": request("gw")}
    answer = world.post(json.dumps({**fields, "thingName": "gw-0001", "ThingName": "gw-0001"}))
    assert answer["thingName"] == "gw-0042"
    assert world.registry.things == {"gw-0042"}


def test_one_request_is_sold_for_two_serial_numbers(world: World) -> None:
    """A copied key is two certificates of two things; neither gateway gets the other's."""
    world.arm("0043")
    first, second = world.vend(request("gw")), world.vend(request("gw"), "0043")
    assert first["certificateId"] != second["certificateId"]
    assert (first["thingName"], second["thingName"]) == ("gw-0042", "gw-0043")


def test_a_gateway_taken_over_mints_no_certificates_by_its_token(world: World) -> None:
    """It is spent; what it has minted by rotation ends with its thing, as before."""
    current = world.vend(request("gw"))["certificateId"]
    world.rotated(current)
    assert [world.vend(request(number)) for number in range(5)] == [REFUSED] * 5
    assert len(world.active()) == 2


def test_a_stolen_claim_certificate_buys_nothing_here(world: World) -> None:
    """Nothing is asked of the connection: a serial number and its token, or nothing."""
    assert world.vend(request("thief"), token="") == REFUSED
    assert world.active() == set()


def test_nothing_is_taken_away_from_a_thing_by_any_purchase(world: World) -> None:
    """Whatever is bought, what was active before is active after, with its policies."""
    old = world.vend(request("gw"))["certificateId"]
    world.registry.attach_policy("application", old)
    before = world.registry.policies_of(old)
    for number, token in enumerate(("one", "two", "three")):
        world.arm(token=token)
        world.vend(request(number), token=token)
    assert world.status(old) is Status.ACTIVE
    assert world.registry.policies_of(old) == before
    assert world.registry.things_of(old) == ("gw-0042",)
    assert not {"deactivate", "detach_thing", "delete"} & set(world.verbs)


def test_an_operators_error_loses_the_tables(world: World) -> None:
    """Nothing is sold until a serial number is armed again, and nothing is lost by what was sold."""
    sold = world.vend(request("gw"))["certificateId"]
    world.store.devices.clear()
    world.store.records.clear()
    assert world.vend(request("gw")) == REFUSED
    assert world.active() == {sold}
    assert world.rotated(sold)


# -- what is no request ------------------------------------------------------------------------------------------------

GOOD = {"serialNumber": "0042", "registrationToken": TOKEN, "certificateSigningRequest": request("gw")}


def _bodies() -> list[Any]:
    wrong: list[Any] = [None, 7, True, [], {}, "", "x" * 9000, "\0", "a b", "ü"]
    changed: list[dict[str, Any]] = [{**GOOD, "serialNumber": value} for value in wrong]
    requests = ["", "text", request("gw") * 2, request("gw")[:-5], "-----BEGIN CERTIFICATE-----\nAA==\n"]
    broken = request("gw").replace("=", "!")
    spaces = f"-----BEGIN CERTIFICATE REQUEST-----{' ' * 8000}-----END"
    changed += [{**GOOD, "certificateSigningRequest": value} for value in (*wrong[:5], *requests, broken, spaces)]
    changed += [{**GOOD, "registrationToken": value} for value in wrong[:5]]
    lacking: list[dict[str, Any]] = [{key: GOOD[key] for key in GOOD if key != name} for name in GOOD]
    bodies: list[Any] = [*changed, *lacking, None, [], "text", 7]
    return [json.dumps(body) for body in bodies]


@pytest.mark.parametrize(
    "body", [*_bodies(), None, 7, "", "{", "[" * 5000, "\ud800", json.dumps(GOOD) + " " * LONGEST_BODY]
)
def test_what_is_no_request_is_refused_before_anything_is_looked_up(world: World, body: Any) -> None:
    """And told what is expected; it is no enrolment that failed, or any scanner would raise the alarm."""
    assert world.post(body)["code"] == 400
    assert set(world.verbs) <= {"device", "save_device", "tally"}
    assert world.verbs[2:] == ["tally"]
    assert world.outbox.counted == []


def test_a_body_may_come_as_base64(world: World) -> None:
    """API Gateway does so for types that it takes for binary; what is none is refused."""
    text = base64.b64encode(json.dumps(GOOD).encode()).decode()
    assert world.post(text, isBase64Encoded=True)["thingName"] == "gw-0042"
    for broken in ("###", base64.b64encode(b"\xff{}").decode()):
        assert world.post(broken, isBase64Encoded=True)["code"] == 400


@pytest.mark.parametrize("context", [None, {}, {"http": None}, {"http": {"sourceIp": 7}}, {"http": {"sourceIp": "x"}}])
def test_an_event_without_an_address_is_counted_as_one(world: World, context: object) -> None:
    """Those of no address share one."""
    answer = world.post(json.dumps(GOOD), requestContext=context)
    assert answer["thingName"] == "gw-0042"
    assert any("requests#unknown#" in name for name in world.store.tallies)


def test_a_request_that_aws_does_not_take_buys_nothing(world: World) -> None:
    """It is told so, since its token was right; the token is as good as before."""
    memory, made = world.registry, certificate_id("none")
    world.account = replace(world.account, registry=_Unwilling(memory))
    assert world.vend(request("odd"))["code"] == 400
    world.account = replace(world.account, registry=memory)
    assert "code" not in world.vend(request("gw"))
    assert memory.certificate(made) is None


class _Unwilling:
    """A registry that takes no request for one."""

    def __init__(self, registry: Any) -> None:
        self._registry = registry

    def __getattr__(self, verb: str) -> Any:
        """Return a verb of the registry."""
        return getattr(self._registry, verb)

    def make_certificate(self, *_: object) -> None:
        """AWS: InvalidRequestException."""


def test_windows_end_and_begin_without_a_gap(world: World) -> None:
    """The count of one is not that of the next."""
    start = world.now
    for second in itertools.count():
        world.now = start + timedelta(seconds=second)
        answer = world.post("{", address=ADDRESS)
        if second >= 2 * MOST_REQUESTS:
            break
        assert answer["code"] == 400, "one a second is never too often"
    assert world.now < start + DAY
