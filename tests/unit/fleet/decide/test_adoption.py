from __future__ import annotations

from datetime import UTC, datetime

import pytest

from agent.backend.values import Certificate, Device, DeviceState, Status
from agent.fleet.decide.adoption import EXCLUSIVE, AdoptableCertificate, adopt

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
OWN = ("session", "rotation")


def held(status: Status = Status.ACTIVE, policies: tuple[str, ...] = OWN, **attachments: str) -> AdoptableCertificate:
    """Return a certificate."""
    certificate = Certificate(certificate_id="c" * 64, status=status, created_at=NOW)
    return AdoptableCertificate(
        certificate=certificate, attachments=attachments or {"gw": EXCLUSIVE}, policies=policies, noted=True
    )


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (None, "no such thing"),
        ([], "no active certificate"),
        ([held(Status.INACTIVE)], "no active certificate"),
        ([held(gw="x", other="x")], "2 things"),
        ([held(policies=tuple(f"p{n}" for n in range(9)))], "9 policies"),
    ],
)
def test_what_is_left_as_it_is(found: list[AdoptableCertificate] | None, told: str) -> None:
    """Each with its reason."""
    judged = adopt("gw", found, OWN, ("gw", None), NOW)
    assert told in judged.why
    assert judged.steps == ()


def test_what_is_ready_lacks_nothing() -> None:
    """And a row is written once."""
    row = Device(serial="gw", thing="gw", state=DeviceState.ENROLLED)
    assert adopt("gw", [held()], OWN, ("gw", row), NOW).ready
    assert not adopt("gw", [held()], OWN, ("gw", None), NOW).ready


def test_a_serial_number_of_another_thing_is_not_taken_over() -> None:
    """Two gateways with one attribute are a mistake."""
    row = Device(serial="1", thing="other", state=DeviceState.ENROLLED)
    assert "other's already" in adopt("gw", [held()], OWN, ("1", row), NOW).why
