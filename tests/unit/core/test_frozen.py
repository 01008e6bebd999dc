from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, asdict, field, fields, replace
from typing import Any

import pytest

from agent.core.frozen import frozen


@frozen
class Pin:
    """A value with a field that is not shown and with defaults."""

    number: int
    hidden: str = field(default="", repr=False)
    marks: tuple[str, ...] = field(default_factory=tuple)


@frozen
class LongPin(Pin):
    """One more field."""

    length: int = 8


@frozen
class Named:
    """A class with methods of its own."""

    name: str

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Named) and self.name.lower() == other.name.lower()

    def __hash__(self) -> int:
        return hash(self.name.lower())


def test_equal_fields_are_equal_values_with_one_hash() -> None:
    """Two values with the same fields are one, wherever values are compared or looked up."""
    assert Pin(number=1, hidden="a") == Pin(hidden="a", number=1)
    assert len({Pin(number=1), Pin(number=1), Pin(number=2)}) == 2


@pytest.mark.parametrize(
    "other", [Pin(number=2), Pin(number=1, hidden="b"), Pin(number=1, marks=("x",)), LongPin(number=1), 1, None]
)
def test_every_field_and_the_class_count(other: object) -> None:
    """A field that differs, and another class, make another value."""
    assert Pin(number=1) != other
    assert other != Pin(number=1)


def test_a_field_cannot_be_changed_added_or_deleted() -> None:
    """After `__init__` nothing of a value changes."""
    pin: Any = LongPin(number=1)
    for name in ("number", "marks", "length", "another"):
        with pytest.raises(FrozenInstanceError, match=f"cannot assign to field '{name}'"):
            setattr(pin, name, 2)
        with pytest.raises(FrozenInstanceError, match=f"cannot delete field '{name}'"):
            delattr(pin, name)
    assert pin == LongPin(number=1)


def test_the_text_of_a_value_leaves_out_what_is_not_for_texts() -> None:
    """What is marked as not for texts is not in them."""
    assert repr(Pin(number=1, hidden="1234")) == "Pin(number=1, marks=())"
    assert repr(LongPin(number=1)) == "LongPin(number=1, marks=(), length=8)"


def test_what_a_class_says_by_itself_stays() -> None:
    """A class that compares, hashes or shows in its own way still does."""
    assert repr(Named(name="A")) == "<A>"
    assert len({Named(name="A"), Named(name="a")}) == 1


def test_the_standard_library_takes_it_for_its_own() -> None:
    """`fields`, `replace`, `asdict`, `copy` and `pickle` do as with any dataclass."""
    pin = LongPin(number=1, hidden="s", marks=("m",))
    assert [field.name for field in fields(pin)] == ["number", "hidden", "marks", "length"]
    assert replace(pin, number=2) == LongPin(number=2, hidden="s", marks=("m",))
    assert asdict(pin) == {"number": 1, "hidden": "s", "marks": ("m",), "length": 8}
    assert copy.deepcopy(pin) == pin == pickle.loads(pickle.dumps(pin))  # noqa: S301 - its own bytes


@pytest.mark.parametrize("given", [{}, {"number": 1, "nothing": 2}])
def test_missing_and_unknown_fields_are_refused(given: dict[str, Any]) -> None:
    """A call with a field too few or too many is a defect that is told."""
    with pytest.raises(TypeError):
        Pin(**given)


def test_fields_are_named() -> None:
    """Fields are given by name alone."""
    with pytest.raises(TypeError):
        Pin(1)  # type: ignore[call-arg]


def test_what_is_unhashable_makes_a_value_so() -> None:
    """A value that holds what may change has no hash."""
    with pytest.raises(TypeError, match="unhashable"):
        hash(Pin(number=1, marks=["m"]))  # type: ignore[arg-type]
