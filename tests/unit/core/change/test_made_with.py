from __future__ import annotations

import pytest

from agent.core.change.made_with import differences, kept, other_thing
from agent.core.values import Kind

CONFIGURED = {
    "key.algorithm": "ec-p256",
    "key.subject": "",
    "enrollment.template": "gateway",
    "enrollment.parameters": "a",
    "rotation.template": "gateway-rotation",
    "rotation.parameters": "b",
}


@pytest.mark.parametrize("key", CONFIGURED)
def test_each_key_that_is_configured_otherwise_is_named(key: str) -> None:
    """It is named alone, and no digest is shown."""
    assert list(differences(CONFIGURED, CONFIGURED)) == []
    told = list(differences(CONFIGURED, {**CONFIGURED, key: "another"}))
    assert [text.split("`")[1] for text in told] == [key]
    assert ("another" in told[0]) is not key.endswith(".parameters")


@pytest.mark.parametrize("kind", Kind)
def test_how_a_gateway_enrolled_ends_with_its_next_certificate(kind: Kind) -> None:
    """A set that a rotation made is held against no template of the enrolment."""
    assert any(key.startswith("enrollment.") for key in kept(CONFIGURED, kind)) is (kind is Kind.ENROLL)
    assert {"key.algorithm", "rotation.template"} <= set(kept(CONFIGURED, kind))


def test_what_is_not_known_is_no_difference() -> None:
    """A set that a person brought was registered by no template."""
    assert list(differences({}, CONFIGURED)) == []
    assert list(differences(CONFIGURED, {"key.algorithm": "ec-p256"})) == []


@pytest.mark.parametrize(("configured", "thing"), [(None, "gw-1"), ("gw-1", "gw-1"), ("gw-1", "")])
def test_a_set_for_the_configured_thing(configured: str | None, thing: str) -> None:
    """None is asked for, it is the same, or there is no set."""
    assert not other_thing(configured, thing)


def test_a_set_for_another_thing() -> None:
    """Both are named."""
    assert other_thing("gw-2", "gw-1") == "`thing_name` is gw-2, and the set in use is for gw-1."
