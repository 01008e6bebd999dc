from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.backend.decide.admission import (
    UNPROVEN,
    Enrolment,
    KnownSerial,
    admit,
    enrolled,
    fingerprint,
    issued,
    wants_report,
)
from agent.backend.decide.verdict import SaveDevice, SaveRecord
from agent.backend.names import Metric
from agent.backend.values import CertificateOrigin, Device, DeviceState
from support.aws.account import DAY, HOUR, NOW, TOKEN, certificate_id

if TYPE_CHECKING:
    from datetime import datetime

FIRST, SECOND = certificate_id("first"), certificate_id("second")
ARMED = Device(
    serial="0042", thing="gw-0042", state=DeviceState.ARMED, token_sha256=fingerprint("0042", TOKEN), version=1
)
BOUGHT = replace(ARMED, state=DeviceState.BOUGHT, bought=frozenset({FIRST}), bought_at=NOW, version=2)
ASKED = Enrolment(serial="0042", token=TOKEN, certificate_id=FIRST)


def test_an_admission_says_what_to_write_and_in_which_order() -> None:
    """The claim first: a certificate without a row is admitted again, one without a claim would not be counted."""
    verdict = admit(ASKED, KnownSerial(device=ARMED), NOW)
    assert verdict.allowed
    assert verdict.say == {"allowProvisioning": True, "parameterOverrides": {"ThingName": "gw-0042"}}
    claim, row = verdict.do
    assert claim == SaveDevice(replace(BOUGHT, version=1))
    assert row == SaveRecord(issued(FIRST, "gw-0042", CertificateOrigin.CLAIM, "0042", NOW))


@pytest.mark.parametrize(("serial", "ends"), [("0042", None), ("", NOW + UNPROVEN)])
def test_the_row_of_a_serial_number_does_not_go_by_itself(serial: str, ends: datetime | None) -> None:
    """A block and a spent token are found by way of it; nothing rests on the row of a certificate without one."""
    assert issued(FIRST, "gw-0042", CertificateOrigin.ROTATION, serial, NOW).expires_at == ends


def test_a_row_that_was_not_written_is_written_when_the_same_is_asked_again() -> None:
    """The function died between both writes."""
    verdict = admit(ASKED, KnownSerial(device=BOUGHT), NOW)
    assert [type(deed) for deed in verdict.do] == [SaveRecord]
    record = issued(FIRST, "gw-0042", CertificateOrigin.CLAIM, "0042", NOW)
    assert admit(ASKED, KnownSerial(device=BOUGHT, records={FIRST: record}), NOW + HOUR).do == ()


@pytest.mark.parametrize(
    ("device", "asked", "wants"),
    [
        (BOUGHT, replace(ASKED, certificate_id=SECOND), True),
        (BOUGHT, ASKED, False),
        (ARMED, ASKED, False),
        (None, ASKED, False),
        (BOUGHT, replace(ASKED, certificate_id=SECOND, token="wrong"), False),  # noqa: S106 - a wrong one
        (replace(BOUGHT, state=DeviceState.ENROLLED), replace(ASKED, certificate_id=SECOND), False),
    ],
)
def test_the_shadow_is_read_for_another_certificate_alone(
    device: Device | None,
    asked: Enrolment,
    wants: bool,  # noqa: FBT001 - the table's
) -> None:
    """So that an ordinary enrolment costs nothing."""
    assert wants_report(asked, KnownSerial(device=device)) is wants


@pytest.mark.parametrize(("re_enrols", "allowed"), [(True, True), (False, False)])
def test_a_serial_number_that_was_enrolled_enrols_again_as_the_stack_says(*, re_enrols: bool, allowed: bool) -> None:
    """Once the operator has armed it again; the refusal is told to the operator."""
    armed_again = replace(ARMED, enrolled_at=NOW - 90 * DAY)
    verdict = admit(ASKED, KnownSerial(device=armed_again), NOW, re_enrols=re_enrols)
    assert verdict.allowed is allowed
    assert verdict.count is (Metric.ENROLMENTS if allowed else Metric.RE_ENROLMENTS_REFUSED)


def test_the_first_enrolment_does_not_need_that() -> None:
    """A stack that enrols nothing twice enrols each once, and repeats the same registration."""
    assert admit(ASKED, KnownSerial(device=ARMED), NOW, re_enrols=False).allowed
    assert admit(ASKED, KnownSerial(device=replace(BOUGHT, enrolled_at=NOW)), NOW, re_enrols=False).allowed


def test_the_first_use_spends_the_token_and_is_remembered() -> None:
    """Once, and by a certificate that the token bought."""
    (deed,) = enrolled(BOUGHT, FIRST, NOW + HOUR)
    assert deed.device == replace(BOUGHT, state=DeviceState.ENROLLED, enrolled_at=NOW + HOUR)
    assert enrolled(BOUGHT, SECOND, NOW) == ()
    assert enrolled(deed.device, FIRST, NOW) == ()
    assert enrolled(None, FIRST, NOW) == ()


@given(st.text(max_size=300), st.text(max_size=300), st.none() | st.just(ARMED) | st.just(BOUGHT))
def test_nothing_but_the_token_admits(serial: str, token: str, device: Device | None) -> None:
    """Whatever is typed."""
    asked = Enrolment(serial=serial, token=token, certificate_id=FIRST)
    if (serial, token) != ("0042", TOKEN):
        assert not admit(asked, KnownSerial(device=device), NOW).allowed


def test_a_row_without_a_token_admits_no_empty_one() -> None:
    """Such as that of a gateway that was adopted."""
    row = replace(ARMED, token_sha256="", state=DeviceState.ARMED)
    for token in ("", " ", fingerprint("0042", "")):
        assert not admit(replace(ASKED, token=token), KnownSerial(device=row), NOW).allowed


def test_a_token_is_in_no_text_of_what_was_asked() -> None:
    """Neither it nor what it is known by."""
    assert TOKEN not in repr(ASKED)
    assert ARMED.token_sha256 not in repr(ARMED)
