"""The table of keys, and that the commented example holds exactly what is in it."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from agent.config import describe, kinds
from agent.config.describe import rows
from agent.config.reader import load, parse
from agent.config.schema import FILE, SUBJECT
from agent.config.sections import Section
from agent.config.values import Config, RotationConfig, TrustConfig
from agent.core.change.decide import Limits
from agent.core.when.renewal import RenewalPolicy
from agent.crypto.keys import subject_text
from agent.errors import MaterialError

if TYPE_CHECKING:
    from agent.config.sections import Key

EXAMPLE = Path(__file__).parents[3] / "config" / "config.yaml"

# What is commented out, down to the second `#` of a list that is: a key with its value, or the beginning of a list.
_OFF = re.compile(r"^( *)# ( *(?:# |- )?\{?[a-z_]+:(?: .*)?)$")

ROWS = {name: (section, key) for name, section, key in rows(FILE)}
KINDS = {name: key.kind for name, (_, key) in ROWS.items() if isinstance(key.kind, kinds.ValueKind)}


def switched_on() -> str:
    """Return the example with everything in it that is off; a word and a colon begin no line of its prose."""
    text = EXAMPLE.read_text()
    for _ in range(2):
        text = "\n".join(_OFF.sub(r"\1\2", line) for line in text.splitlines())
    return text


def found(node: yaml.Node, above: str = "") -> dict[str, yaml.Node]:
    """Return the node under each key of a file, by the names that `rows` gives them."""
    result: dict[str, yaml.Node] = {}
    for key, value in node.value:
        name = f"{above}{key.value}"
        if name not in ROWS:  # a parameter of the operator's own
            name = f"{above}NAME"
        result[name] = value
        if isinstance(value, yaml.MappingNode):
            result |= found(value, f"{name}.")
        elif isinstance(value, yaml.SequenceNode) and isinstance(value.value[0], yaml.MappingNode):
            result |= found(value.value[0], f"{name}[].")
    return result


NODES = found(yaml.compose(switched_on(), Loader=yaml.SafeLoader) or yaml.MappingNode("", []))


def comment(name: str) -> str:
    """Return what is written beside a key of the example."""
    return EXAMPLE.read_text().splitlines()[NODES[name].start_mark.line].rpartition(" # ")[2]


def test_the_example_is_sound() -> None:
    """As it is shipped, and with everything in it that is off."""
    assert load(EXAMPLE).rotation == RotationConfig()
    assert load(EXAMPLE).trust == TrustConfig()
    on = parse(re.sub(r"^  (url|token|ca): .*\n", "", switched_on(), flags=re.MULTILINE), EXAMPLE)
    others = on.dependants
    listed = (on.watch, others.copies, others.signals, others.units, on.rotation.maintenance)
    assert [len(items) for items in listed] == [1] * 5


def test_the_example_holds_every_key_and_no_other() -> None:
    """A key that is added to the table is written about, and one that goes is not."""
    told_beside = {name for name in ROWS if name.endswith(".parameters.NAME.file")}
    assert set(ROWS) - told_beside == {name for name in NODES if not name.endswith(".NAME")}


@pytest.mark.parametrize("name", [name for name in KINDS if name in NODES])
def test_the_example_says_each_default_and_bound(name: str) -> None:
    """A key has its default there, or the comment beside it says what that is; the comment also tells of bounds."""
    (section, key), kind = ROWS[name], KINDS[name]
    default = section.default(key)
    if default is not None and kind.read(NODES[name]) != default:
        assert f"default {describe.without(section, key).removeprefix('default ')}" in comment(name)
    if isinstance(kind, kinds.Number) or (isinstance(kind, kinds.Duration) and kind.high):
        assert f"{kind.low} to {kind.high}" in comment(name)
    if isinstance(kind, kinds.Choice):
        assert all(member in f"{comment(name)} {NODES[name].value}" for member in kind.members), comment(name)


@pytest.mark.parametrize("name", ROWS)
def test_each_key_says_what_it_is_for(name: str) -> None:
    """In a phrase, unless it is a section whose keys say it."""
    _, key = ROWS[name]
    assert key.help or isinstance(key.kind, Section)
    assert not key.help.endswith(".")


def carriers(section: Section) -> set[str]:
    """Return the attributes that a section's keys are carried by."""
    names = set()
    for key in section.keys:
        below = key.kind if isinstance(key.kind, Section) and key.kind.inner else None
        names |= carriers(below) if below else {key.carrier}
    return names


def sections(section: Section = FILE) -> list[Section]:
    """Return a section and all that are below it, but those whose values are attributes of it."""
    below = [getattr(key.kind, "section", key.kind) for key in section.keys]
    return [section, *(item for one in below if isinstance(one, Section) and not one.inner for item in sections(one))]


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.owner.__name__)
def test_every_attribute_of_a_value_has_its_key(section: Section) -> None:
    """And no key is carried by nothing: one that is added to the dataclass alone is found here."""
    assert is_dataclass(section.owner)
    attributes = {item.name for item in fields(section.owner)}
    if section.owner is Config:
        attributes = attributes - {"path", "source", "dependants"} | {"copies", "hooks", "signals", "units", "gates"}
    assert carriers(section) == attributes


def test_the_cores_defaults_are_the_files() -> None:
    """They stand in the core, and the configuration refers to them."""
    config = parse("endpoint: x.example\n", Path("c.yaml"))
    assert config.limits == Limits()
    assert config.renewal_policy == RenewalPolicy()


def test_only_what_no_dataclass_says_has_a_default_in_the_table() -> None:
    """A default that stood twice would one day be two."""

    def stated(key: Key) -> bool:
        return key.default is not None

    assert [name for name, (_, key) in ROWS.items() if stated(key)] == ["hooks.directory", "gates.directory"]


@pytest.mark.parametrize(
    "subject", ["CN=gw-0042,O=Example", "C=DE", "CN=a+OU=b", r"CN=a\, b", "2.5.4.5=0042", "CN=Größe"]
)
def test_a_subject_that_a_request_can_carry(subject: str) -> None:
    """What is taken makes a name."""
    assert SUBJECT.fullmatch(subject)
    assert subject_text(subject)


@pytest.mark.parametrize(
    "subject",
    ["gw-0042", "CN=", "CN=a,", "C=DEU", "CN=a, O=b", "CN=a;O=b", "cn=a", "E=a@example.com", "CN=a ", f"CN={'x' * 65}"],
)
def test_a_subject_that_no_request_can_carry(subject: str) -> None:
    """It would be refused in the middle of each rotation, so it is a complaint about the configuration."""
    assert SUBJECT.fullmatch(subject) is None
    with pytest.raises(MaterialError):
        subject_text(subject)
