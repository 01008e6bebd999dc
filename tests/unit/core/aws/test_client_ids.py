from __future__ import annotations

import re

import pytest

from agent.core.aws import client_ids
from agent.core.aws.client_ids import REMEDY, concerns, is_own, plainly_attached

THING = "gw-0042"


@pytest.mark.parametrize(
    ("template", "own"),
    [
        ("{thing}-cert-agent", True),
        ("cert-agent-{thing}", True),
        ("agent:{thing}", True),
        ("{thing}-01", True),
        ("{thing}-ä1", True),
        ("a{thing}b", True),
        ("site7-agent", True),
        ("{thing}", False),
        ("{thing}-", False),
        ("{thing}-1", False),
        ("{thing}a", False),
        ("-{thing}:_", False),
        ("{thing}{thing}", False),
        ("gw-0042", False),
        ("gw-0042-", False),
        ("gw-0042x", False),
        ("gw-0042-cert-agent", True),
        ("gw-004", True),  # another id than the thing's name
        ("x", False),
        ("--", False),
    ],
)
def test_a_client_id_is_the_agents_own_by_two_letters_or_digits(template: str, *, own: bool) -> None:
    """Besides the thing's name, as `{thing}` or spelt out."""
    assert is_own(template, THING) is own


@pytest.mark.parametrize(("template", "own"), [("{thing}", False), ("gw-0042", True), ("{thing}-cert-agent", True)])
def test_without_a_name_only_the_place_for_it_counts(template: str, *, own: bool) -> None:
    """Before the first enrolment the thing's name may not be known."""
    assert is_own(template) is own


@pytest.mark.parametrize("thing", ["cert-agent", "a", "ag"])
def test_a_thing_whose_name_is_part_of_the_agents_own_is_no_reason(thing: str) -> None:
    """Where `{thing}` stands for the name, nothing else is taken for it."""
    assert is_own("{thing}-cert-agent", thing)


def test_each_client_id_is_named_with_its_risk() -> None:
    """The agent's and the enrolment's, each by its key, and what becomes of an application."""
    agents, enrolments = concerns("{thing}", "gw-0042", THING)

    assert agents.startswith("`client_id: {thing}` has no part of the agent's own")
    assert enrolments.startswith("`enrollment.client_id: gw-0042` has no part of the agent's own")
    assert all("application" in text and "cut off" in text and text.endswith(".") for text in (agents, enrolments))
    assert all(word in REMEDY for word in ("{thing}-cert-agent", "EXCLUSIVE_THING", "keep every application off"))


@pytest.mark.parametrize("enrolment", [None, "factory-0042"])
def test_of_ids_of_its_own_nothing_is_said(enrolment: str | None) -> None:
    """The defaults are fine."""
    assert list(concerns("{thing}-cert-agent", enrolment, THING)) == []


@pytest.mark.parametrize("template", ["{thing}-cert-agent", "{thing}", "agent-{thing}", "a{thing}b", "{thing}.{thing}"])
@pytest.mark.parametrize("length", [1, 64, 117, 118, 127, 128])
def test_a_client_id_is_never_longer_than_the_broker_takes(template: str, length: int) -> None:
    """A thing's name may have 128 characters, which leaves no room for what is the agent's own."""
    thing = "g" * length
    found = client_ids.made(template, thing)
    assert len(found) <= client_ids.MAX
    if len(template.replace("{thing}", thing)) <= client_ids.MAX:
        assert found == template.replace("{thing}", thing)
    else:
        assert found != client_ids.made(template, f"{thing[:-1]}h")
        assert found == client_ids.made(template, thing)


def test_what_is_the_agents_own_of_a_long_client_id_is_kept() -> None:
    """And so is as much of the thing's name as there is room for."""
    found = client_ids.made("{thing}-cert-agent", "gw-" + "0" * 125)
    assert re.fullmatch(r"gw-0{101}-[0-9a-f]{12}-cert-agent", found)


@pytest.mark.parametrize("template", ["x" * 200, "ä" * 100, "{thing}" + "y" * 200])
def test_a_template_that_is_too_long_is_cut_as_well(template: str) -> None:
    """Whatever it is made of."""
    assert 0 < len(client_ids.made(template, "gw").encode()) <= client_ids.MAX


def test_a_client_id_that_was_cut_is_told_from_another() -> None:
    """Its refusal is the policy's, which knows the thing's whole name."""
    assert client_ids.is_cut(client_ids.made("{thing}-cert-agent", "g" * 118))
    assert not client_ids.is_cut(client_ids.made("{thing}-cert-agent", "g" * 117))
    assert not client_ids.is_cut("gw-0123456789ab-cert-agent")


def test_a_refused_client_id_that_is_not_the_things_name_is_told_of_the_attachment() -> None:
    """With a plain attachment the thing's variables resolve for the thing's name alone; a claim has no thing."""
    told = plainly_attached("gw-1-cert-agent", "gw-1")

    assert "takes no other id than gw-1, unless the certificate is attached exclusively" in told
    assert "`ThingPrincipalType: EXCLUSIVE_THING`" in told
    assert plainly_attached("gw-1", "gw-1") == plainly_attached("claim-7", "") == ""


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
def test_a_gateway_without_a_thing_is_known_by_its_machine_id(ending: bytes) -> None:
    """It is the same after a restart, and another on another machine."""
    one, other = b"3d1219c7c4c5404aaa1f6d2a48adfda4" + ending, b"3d1219c7c4c5404aaa1f6d2a48adfda5" + ending
    assert client_ids.unnamed(one, b"a") == client_ids.unnamed(one, b"b") != client_ids.unnamed(other, b"a")
    assert re.fullmatch("iot-cert-agent-[0-9a-f]{16}", client_ids.unnamed(one, b"a"))


@pytest.mark.parametrize(
    "machine", [b"", b"\n", b"uninitialized\n", b"0" * 32, b"\0" * 33, b"3d1219c7", b"gateway image 7\n"]
)
def test_what_a_whole_fleet_has_in_place_of_a_machine_id_tells_no_two_gateways_apart(machine: bytes) -> None:
    """As in an image whose root is read-only, from the factory on."""
    assert client_ids.unnamed(machine, b"a") != client_ids.unnamed(machine, b"b")
