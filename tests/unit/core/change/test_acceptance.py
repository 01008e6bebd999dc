from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.change.acceptance import (
    ALLOWED_SIGNATURES,
    LEAST_LIFETIME,
    MAX_CERTIFICATE_PEM,
    MAX_CHAIN,
    MAX_TOKEN,
    SLOW,
    Issuance,
    accept,
)
from agent.core.failure.failure import FailureClass
from agent.core.text import clock_time
from agent.core.timekeeping import TOLERANCE, ClockState
from support import make
from support.make import DAY, HOUR, MINUTE, NOW, SECOND

if TYPE_CHECKING:
    from agent.core.timekeeping import Reading

LEAF = make.certificate()
AUTHORITY = make.certificate(subject="CN=AWS IoT", is_ca=True, sha256="ef" * 32, spki_sha256="01" * 32)


def issuance(**changes: Any) -> Issuance:
    """Return a sound reply: a leaf for our key, new to us, with its id and token."""
    base = Issuance(
        size=1_200,
        chain=(LEAF,),
        problem="",
        claimed_id=LEAF.sha256,
        token_size=466,
        key_sha256=LEAF.spki_sha256,
        known=frozenset({"99" * 32}),
    )
    return replace(base, **changes)


def leaf(**changes: Any) -> Issuance:
    """Return a reply whose leaf differs from a sound one."""
    return issuance(chain=(make.certificate(**changes),))


def complaint(reply: Issuance, clock: Reading | None = None) -> str:
    """Return what is held against the reply, or nothing when it is accepted."""
    failure, _ = accept(reply, clock or make.reading())
    return failure.message if failure else ""


REFUSED = [
    (1, issuance(size=MAX_CERTIFICATE_PEM + 1)),
    (1, issuance(chain=(LEAF, *[AUTHORITY] * MAX_CHAIN))),
    (1, issuance(token_size=0)),
    (1, issuance(token_size=MAX_TOKEN + 1)),
    (2, issuance(problem="block 2 does not parse")),
    (2, issuance(chain=())),
    (3, issuance(chain=(AUTHORITY,))),
    (3, issuance(chain=(AUTHORITY, LEAF))),
    (3, issuance(chain=(LEAF, make.certificate(sha256="77" * 32)))),
    (3, issuance(chain=(LEAF, AUTHORITY, LEAF))),
    (4, leaf(spki_sha256="00" * 32)),
    (5, leaf(not_before=NOW, not_after=NOW)),
    (5, leaf(not_before=NOW + SLOW + SECOND)),
    (5, leaf(not_after=NOW + LEAST_LIFETIME - SECOND)),
    (5, leaf(not_before=NOW - 2 * DAY, not_after=NOW - DAY)),
    (6, issuance(known=frozenset({"99" * 32, LEAF.sha256}))),
    (7, leaf(digital_signature=False)),
    (7, leaf(client_auth=False)),
    (8, leaf(signature="ecdsa-sha1")),
    (8, leaf(signature="rsa-md5")),
    (8, leaf(signature="ed25519")),
    (8, leaf(signature="")),
]

ACCEPTED = [
    issuance(),
    issuance(size=MAX_CERTIFICATE_PEM, token_size=MAX_TOKEN),
    issuance(token_size=1),
    issuance(chain=(LEAF, *[AUTHORITY] * (MAX_CHAIN - 1))),
    issuance(known=frozenset()),
    leaf(not_before=NOW + TOLERANCE),
    leaf(not_after=NOW + LEAST_LIFETIME),
    leaf(digital_signature=None, client_auth=None),
    *[leaf(signature=signature) for signature in sorted(ALLOWED_SIGNATURES)],
]


@pytest.mark.parametrize(("number", "reply"), REFUSED)
def test_each_check_refuses_and_names_its_number(number: int, reply: Issuance) -> None:
    """A reply that fails a check is a protocol failure that quotes the check's number, and not decisive."""
    failure, warnings = accept(reply, make.reading())

    assert failure is not None
    assert failure.kind is FailureClass.PROTOCOL
    assert f"not acceptable: check {number}, " in failure.message
    assert failure.remedy
    assert not failure.decisive
    assert warnings == ()


def test_every_check_but_the_warning_has_a_refused_case() -> None:
    """The cases here cover checks 1 to 8."""
    assert {number for number, _ in REFUSED} == set(range(1, 9))


@pytest.mark.parametrize("reply", ACCEPTED)
def test_a_sound_reply_is_accepted_up_to_every_bound(reply: Issuance) -> None:
    """A reply at the edge of what is allowed is accepted without a warning."""
    assert accept(reply, make.reading()) == (None, ())


@pytest.mark.parametrize("ahead", [TOLERANCE + SECOND, SLOW])
def test_a_certificate_that_begins_ahead_of_the_clock_says_that_the_clock_is_slow(ahead: timedelta) -> None:
    """It was made when it was asked for. Refused, each try would cost another one, and the clock stayed as it is."""
    failure, warnings = accept(leaf(not_before=NOW + ahead), make.reading())

    assert failure is None
    (warning,) = warnings
    assert "this clock is" in warning
    assert "timedatectl" in warning


def test_what_speaks_against_its_dates_names_the_clock() -> None:
    """Either may be wrong, and the clock is what a person can look at."""
    for reply in (leaf(not_before=NOW + 10 * DAY), leaf(not_after=NOW - HOUR)):
        assert f"this gateway's clock shows {clock_time(NOW)}" in complaint(reply)


@pytest.mark.parametrize("claimed", ["", "00" * 32, LEAF.sha256.upper()])
def test_another_id_than_the_hash_is_only_a_warning(claimed: str) -> None:
    """AWS does not document what the id is, so check 9 accepts the certificate and says so."""
    failure, warnings = accept(issuance(claimed_id=claimed), make.reading())

    assert failure is None
    assert len(warnings) == 1
    assert "check 9" in warnings[0]


def test_the_first_check_that_fails_is_the_one_that_is_named() -> None:
    """The checks are made in the order of their numbers."""
    reply = leaf(is_ca=False, spki_sha256="00" * 32, not_after=NOW - 2 * DAY, client_auth=False, signature="rsa-md5")

    assert "check 4" in complaint(reply)
    assert "check 1" in complaint(replace(reply, size=10**9))
    assert "check 2" in complaint(replace(reply, problem="a block does not parse"))
    assert "check 5" in complaint(replace(reply, key_sha256="00" * 32))


@pytest.mark.parametrize("state", [ClockState.UNSYNCHRONISED, ClockState.IMPLAUSIBLE])
@pytest.mark.parametrize(
    "reply",
    [leaf(not_before=NOW + 10 * DAY), leaf(not_after=NOW - HOUR), leaf(not_after=NOW + SECOND)],
    ids=["not yet", "expired", "about to expire"],
)
def test_an_unsynchronised_clock_judges_no_validity(state: ClockState, reply: Issuance) -> None:
    """What a synchronised clock refuses is accepted by one that may be wrong."""
    assert "check 5" in complaint(reply)
    assert complaint(reply, make.reading(state=state)) == ""


@pytest.mark.parametrize("state", ClockState)
def test_every_clock_refuses_what_ended_before_the_floor(state: ClockState) -> None:
    """The floor certainly lies in the past, so a certificate that ended before it has expired for any clock."""
    floor = NOW - DAY
    clock = make.reading(NOW - 300 * DAY, state, floor)
    ended = leaf(not_before=NOW - 400 * DAY, not_after=floor - SECOND)
    alive = leaf(not_before=NOW - 400 * DAY, not_after=floor + timedelta(days=2))

    assert "check 5" in complaint(ended, clock)
    assert complaint(alive, clock) == ""


@pytest.mark.parametrize("state", ClockState)
def test_every_clock_refuses_a_life_that_ends_before_it_begins(state: ClockState) -> None:
    """Nonsense needs no clock to be seen."""
    assert "check 5" in complaint(leaf(not_before=NOW, not_after=NOW - MINUTE), make.reading(state=state))


@pytest.mark.parametrize(("number", "reply"), [case for case in REFUSED if case[0] != 5])
def test_all_other_checks_hold_under_any_clock(number: int, reply: Issuance) -> None:
    """A wrong clock excuses nothing but validity."""
    assert f"check {number}, " in complaint(reply, make.reading(state=ClockState.UNSYNCHRONISED))
