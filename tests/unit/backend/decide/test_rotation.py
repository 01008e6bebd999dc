from __future__ import annotations

from dataclasses import replace

import pytest

from agent.backend.decide.rotation import MOST_POLICIES, Rotation, RotationFacts, over_budget, rotate
from agent.backend.decide.verdict import AttachPolicy, SaveDevice, SaveRecord
from agent.backend.values import CertificateOrigin, Device, DeviceState, Record
from support.aws.account import HOUR, NOW, OWN, certificate_id

OLD, NEW = certificate_id("old"), certificate_id("new")
ASKED = Rotation(thing="gw-0042", caller=OLD, certificate_id=NEW)
ROW = Record(
    certificate_id=OLD, thing="gw-0042", origin=CertificateOrigin.CLAIM, serial="0042", issued_at=NOW - HOUR, version=1
)
HELD = RotationFacts(things=("gw-0042",), policies=(*OWN, "application"), caller=ROW)


def test_the_new_certificate_gets_what_the_template_does_not_give_it() -> None:
    """After the rows, and in the order of the old one."""
    verdict = rotate(ASKED, HELD, OWN, NOW)
    assert verdict.allowed
    new = Record(
        certificate_id=NEW,
        thing="gw-0042",
        origin=CertificateOrigin.ROTATION,
        serial="0042",
        issued_at=NOW,
        expires_at=None,
    )
    saved, proven, attach = verdict.do
    assert isinstance(saved, SaveRecord)
    assert replace(saved.record, expires_at=None) == new
    assert proven == SaveRecord(replace(ROW, proven_at=NOW))
    assert attach == AttachPolicy("application", NEW)


def test_what_the_operator_named_is_not_copied_and_what_was_forgotten_is() -> None:
    """`ApplicationPolicies` are the template's; a certificate that has more than those loses none."""
    own = (*OWN, "application")
    assert not any(isinstance(deed, AttachPolicy) for deed in rotate(ASKED, HELD, own, NOW).do)
    more = replace(HELD, policies=(*own, "of one gateway alone"))
    attached = [deed.policy for deed in rotate(ASKED, more, own, NOW).do if isinstance(deed, AttachPolicy)]
    assert attached == ["of one gateway alone"]


@pytest.mark.parametrize(("besides", "allowed"), [(MOST_POLICIES - 2, True), (MOST_POLICIES - 1, False)])
def test_a_certificate_takes_ten_policies(*, besides: int, allowed: bool) -> None:
    """The template's and the copied ones together."""
    held = replace(HELD, policies=tuple(f"policy-{number}" for number in range(besides)))
    assert rotate(ASKED, held, OWN, NOW).allowed is allowed


@pytest.mark.parametrize(
    ("asked", "held"),
    [
        (replace(ASKED, caller=""), HELD),
        (replace(ASKED, certificate_id="x"), HELD),
        (replace(ASKED, certificate_id=OLD), HELD),
        (ASKED, replace(HELD, things=())),
        (ASKED, replace(HELD, things=("gw-0042", "gw-0043"))),
        (replace(ASKED, thing="gw-0043"), HELD),
        (replace(ASKED, thing="gw-004"), HELD),
        (ASKED, replace(HELD, active=False)),
        (ASKED, replace(HELD, record=Record(certificate_id=NEW, thing="gw-0043"))),
        (ASKED, replace(HELD, record=Record(certificate_id=NEW, thing="gw-0042", retired_at=NOW))),
        (ASKED, replace(HELD, device=Device(serial="0042", thing="gw-0042", state=DeviceState.BLOCKED))),
    ],
)
def test_what_is_refused(asked: Rotation, held: RotationFacts) -> None:
    """With a reason for the operator, no deed, and the same answer for the gateway."""
    verdict = rotate(asked, held, OWN, NOW)
    assert not verdict.allowed
    assert verdict.say == {"allowProvisioning": False}
    assert verdict.do == ()
    assert verdict.why.endswith(".")


def test_a_gateway_need_not_say_which_thing_it_is() -> None:
    """The registry does."""
    verdict = rotate(replace(ASKED, thing=""), HELD, OWN, NOW)
    assert verdict.say["parameterOverrides"] == {"ThingName": "gw-0042"}


def test_a_rotation_spends_the_token_that_bought_the_caller() -> None:
    """It is a use like any other."""
    device = Device(serial="0042", thing="gw-0042", state=DeviceState.BOUGHT, bought=frozenset({OLD}), version=2)
    deeds = rotate(ASKED, replace(HELD, device=device), OWN, NOW).do
    assert SaveDevice(replace(device, state=DeviceState.ENROLLED, enrolled_at=NOW)) in deeds


def test_asked_again_it_writes_nothing_again() -> None:
    """The same certificate, with the rows that the first time has left."""
    held = replace(HELD, caller=ROW.proven(NOW), record=Record(certificate_id=NEW, thing="gw-0042", version=1))
    assert rotate(ASKED, held, OWN, NOW + HOUR).do == (AttachPolicy("application", NEW),)


def test_a_caller_that_the_table_does_not_know_is_taken_in() -> None:
    """A fleet that was there before the stack."""
    deeds = rotate(ASKED, replace(HELD, caller=None), OWN, NOW).do
    seen = next(deed.record for deed in deeds if isinstance(deed, SaveRecord) and deed.record.certificate_id == OLD)
    assert (seen.origin, seen.proven_at, seen.version) == (CertificateOrigin.SEEN, NOW, 0)


def test_a_budget_that_is_used_up_is_a_refusal_with_a_hint() -> None:
    """What the operator looks for."""
    assert "mints" in over_budget("gw-0042", 6).why
