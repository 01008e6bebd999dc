from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from agent.backend.values import Signer, SigningCa
from agent.fleet.decide import own_ca
from agent.fleet.decide.own_ca import Promise, SignerSeen
from support.aws.account import DAY, HOUR, NOW

YEAR = timedelta(days=365)
ALL_OR_NOTHING = '{"Effect": "Allow", "Action": "Update:*", "Principal": "*", "Resource": "*"}'
FUNCTION = "arn:aws:lambda:eu-west-1:123456789012:function:iot-cert-sign"
OURS = {"certificateProviderName": "iot-cert", "lambdaFunctionArn": FUNCTION}


def made(number: int, signs_from: timedelta, ends: timedelta = 10 * YEAR) -> SigningCa:
    """Return a CA, by times from now on."""
    name = f"{number:02}" * 32
    return SigningCa(
        number=number, ca_id=name, pem="its text", key=f"key-{number}", signs_from=NOW + signs_from, ends=NOW + ends
    )


OLD, CURRENT, NEXT = made(1, -YEAR), made(2, -30 * DAY), made(3, 7 * DAY)
ALL = Signer(cas=(OLD, CURRENT, NEXT), on=True)
SELF = Promise(signs_from=NOW, ends=NOW + YEAR)
ROOTED = replace(SELF, by_another=True)


def test_what_a_ca_does() -> None:
    """Of three, one each."""
    assert [own_ca.state(ALL, item, NOW) for item in ALL.cas] == ["before", "signs", "next"]
    assert own_ca.find(ALL, 2) == CURRENT
    assert own_ca.find(ALL, 4) is None


@pytest.mark.parametrize(
    ("number", "begin", "why"),
    [
        (3, 8 * DAY, ""),
        (3, timedelta(), ""),
        (4, 8 * DAY, "There is no CA 4"),
        (3, -HOUR, "in the past"),
        (3, 11 * YEAR, "before the new one would sign"),
        (3, 9 * YEAR, "before it signs"),
    ],
)
def test_when_a_ca_may_be_renewed(number: int, begin: timedelta, why: str) -> None:
    """From a moment that is to come, and before its own end: otherwise nothing signs in between; and not after its."""
    new = Promise(signs_from=NOW + begin, ends=NOW + 9 * YEAR)
    found = own_ca.not_renewed(ALL, number, new, NOW)
    assert why in found
    assert bool(why) is bool(found)


def test_what_an_interrupted_order_has_said_stands() -> None:
    """Its end always; its beginning as long as that is to come, since an overlap that has passed is none."""
    before = Promise(signs_from=NOW + 7 * DAY, ends=NOW + 10 * YEAR)
    said = Promise(signs_from=NOW + 9 * DAY, ends=NOW + 3 * YEAR)
    assert own_ca.kept(said, before, NOW + HOUR) == before
    assert own_ca.kept(said, before, NOW + 8 * DAY) == replace(before, signs_from=said.signs_from)


@pytest.mark.parametrize(
    ("before", "order", "told"),
    [
        (ROOTED, ROOTED, ""),
        (SELF, SELF, ""),
        (ROOTED, SELF, "--certificate takes in"),
        (SELF, ROOTED, "signs itself"),
    ],
)
def test_a_key_is_of_a_root_or_signs_itself(before: Promise, order: Promise, told: str) -> None:
    """An order of the other kind says how the first one is completed, and how it is given up."""
    found = own_ca.not_continued(before, order, 1, "key-1")
    assert told in found
    assert bool(told) is ("aws kms disable-key --key-id key-1" in found)


@pytest.mark.parametrize(
    ("provider", "why"),
    [
        (OURS, ""),
        ({**OURS, "certificateProviderName": "theirs"}, "the certificate provider theirs"),
        ({**OURS, "lambdaFunctionArn": "arn:theirs"}, "which asks arn:theirs"),
    ],
)
def test_another_provider_is_in_the_way(provider: dict[str, str], why: str) -> None:
    """By its name, which alone may call the function, and by its function."""
    found = own_ca.not_provided([provider], "iot-cert", FUNCTION)
    assert why in found
    assert bool(why) is bool(found)
    assert own_ca.not_provided([], "iot-cert", FUNCTION) == ""


@pytest.mark.parametrize(
    ("number", "lifetime", "why"),
    [
        (1, DAY, ""),
        (1, 29 * DAY, ""),
        (1, 30 * DAY, "lives until"),
        (1, 90 * DAY, "lives until"),
        (2, DAY, "signs, or will"),
        (3, DAY, "signs, or will"),
        (9, DAY, ""),
    ],
)
def test_when_a_ca_may_go(number: int, lifetime: timedelta, why: str) -> None:
    """When another one has signed for longer than a certificate lives."""
    assert why in own_ca.not_retired(ALL, number, lifetime, NOW)
    assert bool(why) is bool(own_ca.not_retired(ALL, number, lifetime, NOW))


def test_a_ca_that_has_ended_may_go() -> None:
    """All that it has signed has ended with it."""
    assert own_ca.not_retired(Signer(cas=(made(1, -YEAR, -HOUR),)), 1, DAY, NOW) == ""


def judged(**seen: Any) -> list[tuple[str, str]]:
    """Return levels and texts of what is found in a sound account in which something is otherwise."""
    sound: dict[str, Any] = {
        "signer": ALL,
        "prefix": "iot-cert",
        "function": FUNCTION,
        "providers": (OURS,),
        "keys": {1: "Disabled", 2: "Enabled", 3: "Enabled"},
        "registered": {1: "INACTIVE", 2: "ACTIVE", 3: "ACTIVE"},
        "lifetime": DAY,
        "policy": own_ca.guarded(""),
    }
    return [(item.level.value, item.text + item.remedy) for item in own_ca.judge(SignerSeen(**{**sound, **seen}), NOW)]


def test_a_sound_signer() -> None:
    """One whose work is done may have any key."""
    assert judged() == [("fine", "CA 2 signs, and ends at 2036-11-26.")]


@pytest.mark.parametrize("signer", [Signer(), replace(ALL, on=False)])
def test_an_account_in_which_aws_signs(signer: Signer) -> None:
    """With CAs or without."""
    assert judged(signer=signer, function="", providers=()) == [
        ("fine", "AWS signs; no certificate provider is asked.")
    ]


@pytest.mark.parametrize(
    ("seen", "level", "told"),
    [
        (
            {"providers": ({**OURS, "certificateProviderName": "theirs"},)},
            "error",
            "provider theirs is not this stack's",
        ),
        (
            {"providers": ({**OURS, "certificateProviderName": "theirs"},), "signer": Signer()},
            "warning",
            "provider theirs is not this stack's",
        ),
        ({"function": ""}, "error", "no signer of this stack"),
        ({"providers": ({**OURS, "lambdaFunctionArn": "arn:other"},)}, "error", "asks arn:other"),
        ({"providers": ()}, "warning", "but AWS IoT does not"),
        ({"signer": replace(ALL, on=False)}, "warning", "but the vending machine does not"),
        ({"policy": ""}, "warning", "a deployment with Signer=off would take it away"),
        ({"signer": Signer(cas=(NEXT,), on=True)}, "error", "No CA signs"),
        ({"keys": {2: "Disabled", 3: "Enabled"}}, "error", "The key of CA 2 is Disabled"),
        ({"keys": {2: "Enabled", 3: "PendingDeletion"}}, "error", "The key of CA 3 is PendingDeletion"),
        ({"keys": {2: "Enabled"}}, "error", "The key of CA 3 is gone"),
        ({"registered": {2: "INACTIVE", 3: "ACTIVE"}}, "error", "CA 2 is not ACTIVE"),
        ({"registered": {2: "ACTIVE"}}, "error", f"--certificate-id {NEXT.ca_id} --new-status ACTIVE"),
        ({"signer": Signer(cas=(made(2, -YEAR, 2 * HOUR),), on=True)}, "error", "lives shorter than it should"),
        ({"signer": Signer(cas=(made(2, -YEAR, -HOUR),), on=True)}, "error", "has ended"),
        ({"signer": Signer(cas=(made(2, -YEAR, 60 * DAY),), on=True)}, "warning", "none follows"),
        ({"signer": Signer(cas=(made(2, -YEAR, 60 * DAY),), on=True), "lifetime": 90 * DAY}, "error", "shorter"),
    ],
)
def test_what_is_wrong_with_a_signer(seen: dict[str, Any], level: str, told: str) -> None:
    """Each alone, with what helps."""
    ((found, text),) = judged(**seen)
    assert found == level
    assert told in text
    assert "`" in text or "aws " in text or "iot-cert cloud ca" in text


def test_a_ca_that_is_followed_in_time_is_fine() -> None:
    """Its end is no news."""
    signer = Signer(cas=(made(2, -YEAR, 60 * DAY), NEXT), on=True)
    assert [level for level, _ in judged(signer=signer)] == ["fine"]
    late = Signer(cas=(made(2, -YEAR, 60 * DAY), made(3, 61 * DAY)), on=True)
    assert [level for level, _ in judged(signer=late)] == ["warning"]


@pytest.mark.parametrize("theirs", ["", '{"Statement": []}', ALL_OR_NOTHING, f"[{ALL_OR_NOTHING}]"])
def test_a_stack_policy_is_added_to_and_taken_from(theirs: str) -> None:
    """Once, whatever it was before; what the operator has written stays as it is."""
    policy = f'{{"Statement": {theirs}}}' if "Effect" in theirs else theirs
    kept = own_ca.guarded(policy)
    assert own_ca.is_guarded(kept)
    assert own_ca.guarded(kept) == kept
    assert not own_ca.is_guarded(policy)
    after = json.loads(own_ca.released(kept))["Statement"]
    own = json.loads(policy)["Statement"] if policy else []
    assert after == (own if isinstance(own, list) else [own]) or (not own and after[0]["Action"] == "Update:*")
    assert own_ca.released("") == ""
