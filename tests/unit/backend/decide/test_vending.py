from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.backend.decide import vending
from agent.backend.decide.admission import KnownSerial, fingerprint
from agent.backend.decide.vending import MOST_FAILURES, MOST_REQUESTS, SET_ASIDE, Purchase
from agent.backend.decide.verdict import (
    ActivateCertificate,
    AttachPolicy,
    AttachThing,
    MakeThing,
    SaveDevice,
    SaveRecord,
)
from agent.backend.values import Certificate, CertificateOrigin, Device, DeviceState, Record, Status
from support.aws.account import DAY, HOUR, MINUTE, NOW, OWN, TOKEN, certificate_id

NAME, DIGEST = certificate_id("made"), certificate_id("request")
ASKED = Purchase(serial="0042", token=TOKEN, csr="a request", digest=DIGEST, address="192.0.2.7")
ARMED = Device(
    serial="0042", thing="gw-0042", state=DeviceState.ARMED, token_sha256=fingerprint("0042", TOKEN), version=1
)
BOUGHT = replace(ARMED, state=DeviceState.BOUGHT, bought=frozenset({NAME}), bought_at=NOW, version=2)
MADE = Certificate(certificate_id=NAME, status=Status.INACTIVE, created_at=NOW, pem="its text")
ASIDE = replace(vending.set_aside(ASKED, "gw-0042", NAME, NOW), version=1)
SOLD = replace(ASIDE, delete_after=None, version=2)


def test_a_sale_says_what_to_do_and_in_which_order() -> None:
    """The claim first, active last, and off the sweep's list when all of it is done."""
    verdict = vending.sell(ASKED, KnownSerial(device=ARMED, records={NAME: ASIDE}), MADE, NOW, policies=OWN)
    assert verdict.allowed
    assert verdict.say == {"certificateId": NAME, "certificatePem": "its text", "thingName": "gw-0042"}
    assert verdict.do == (
        SaveDevice(replace(BOUGHT, version=1)),
        MakeThing("gw-0042"),
        *(AttachPolicy(name, NAME) for name in sorted(OWN)),
        AttachThing("gw-0042", NAME),
        ActivateCertificate(NAME),
        SaveRecord(replace(ASIDE, delete_after=None)),
    )


def test_what_is_set_aside_waits_for_its_deletion() -> None:
    """For a day; its row does not go by itself."""
    assert (ASIDE.origin, ASIDE.csr_sha256, ASIDE.serial) == (CertificateOrigin.VENDING, DIGEST, "0042")
    assert ASIDE.delete_after == NOW + SET_ASIDE
    assert ASIDE.retired_at is ASIDE.expires_at is None


def test_a_claim_that_was_written_is_not_written_again() -> None:
    """The function died after it."""
    verdict = vending.sell(ASKED, KnownSerial(device=BOUGHT, records={NAME: ASIDE}), MADE, NOW, policies=OWN)
    assert verdict.do[0] == MakeThing("gw-0042")


@pytest.mark.parametrize("status", list(Status))
def test_what_was_sold_is_told_again_while_it_is_active(status: Status) -> None:
    """And nothing is done about it, whatever it is."""
    known = KnownSerial(device=BOUGHT, records={NAME: SOLD})
    verdict = vending.sell(ASKED, known, replace(MADE, status=status), NOW, policies=OWN)
    assert verdict.do == ()
    assert verdict.allowed is (status is Status.ACTIVE)


@pytest.mark.parametrize(
    ("device", "records", "found"),
    [
        (BOUGHT, {NAME: SOLD}, True),
        (BOUGHT, {NAME: ASIDE}, True),
        (BOUGHT, {NAME: replace(SOLD, ended_at=NOW)}, False),
        (BOUGHT, {NAME: replace(ASIDE, detached_at=NOW)}, False),
        (BOUGHT, {NAME: replace(SOLD, csr_sha256=certificate_id("another"))}, False),
        (BOUGHT, {NAME: Record(certificate_id=NAME, thing="gw-0042", serial="0042")}, False),
        (BOUGHT, {}, False),
        (ARMED, {NAME: SOLD}, False),
        (None, {}, False),
    ],
)
def test_what_a_request_has_bought_is_what_the_token_has(
    device: Device | None,
    records: dict[str, Record],
    found: bool,  # noqa: FBT001 - the table's
) -> None:
    """A claim of the row, of the same request, that is there still."""
    assert (vending.bought(ASKED, KnownSerial(device=device, records=records)) is not None) is found


def test_a_quote_claims_nothing() -> None:
    """There is no certificate to claim yet; what is known of the token's end is noted all the same."""
    assert vending.quote(ASKED, KnownSerial(device=ARMED), NOW).do == ()
    used = vending.quote(ASKED, KnownSerial(device=BOUGHT, reported=NAME), NOW)
    (deed,) = used.do
    assert isinstance(deed, SaveDevice)
    assert deed.device.state is DeviceState.ENROLLED


@given(st.text(max_size=300), st.text(max_size=300), st.none() | st.just(ARMED) | st.just(BOUGHT))
def test_nothing_but_the_token_buys(serial: str, token: str, device: Device | None) -> None:
    """Whatever is typed, all refusals are one."""
    asked = replace(ASKED, serial=serial, token=token)
    if (serial, token) != ("0042", TOKEN):
        quoted = vending.quote(asked, KnownSerial(device=device), NOW)
        assert not quoted.allowed
        assert quoted.say == {"code": 403, "message": vending.REFUSAL}


def test_limits_are_reached_by_what_is_over_them() -> None:
    """Each counts the one that asks."""
    assert vending.unheard(MOST_REQUESTS) is None
    assert vending.unheard(MOST_REQUESTS + 1) is not None
    assert vending.closed(ASKED, MOST_FAILURES - 1) is None
    assert vending.closed(ASKED, MOST_FAILURES) is not None


@pytest.mark.parametrize(
    ("address", "counts_as"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", "unknown"),
        ("192.0.2.7, 198.51.100.1", "unknown"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_what_an_address_counts_as(address: str, counts_as: str) -> None:
    """One host, or the network that one host has."""
    assert vending.origin(address) == counts_as


@given(st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis'
def test_a_window_holds_its_instant_and_ends_within_its_span(now: datetime) -> None:
    """So what is counted is forgotten in time, and never before."""
    for window, span in ((vending.requests_of("a", now), MINUTE), (vending.failures_of(ASKED, now), HOUR)):
        assert timedelta() < window.end - now <= span
        assert str(int(window.end.timestamp())) in window.name


def test_a_token_is_in_no_text_of_what_was_asked() -> None:
    """Nor in the name of what is counted."""
    assert TOKEN not in repr(ASKED)
    assert TOKEN not in vending.failures_of(ASKED, NOW + DAY).name
