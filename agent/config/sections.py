"""What a table of keys is made of: keys, the sections they stand in, and lists of sections. No key is named here."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from agent.config.kinds import ValueKind


@dataclass(frozen=True)
class Key:
    """One key of the file.

    Attributes:
        name: As it stands in the file.
        kind: What it takes: a kind of value, or what stands below it.
        help: What it is for, for people; no full stop.
        attribute: What carries the value; the same name where empty.
        required: Whether it must be there, in a section that is.
        default: The value where it is missing and no dataclass says so.
        otherwise: What holds where it is missing, for people, when no value can say it.
    """

    name: str
    kind: ValueKind | Section | Sections | ParametersKind
    help: str = ""
    attribute: str = ""
    required: bool = False
    default: object = None
    otherwise: str = ""

    @property
    def carrier(self) -> str:
        """The attribute."""
        return self.attribute or self.name


def _nothing(_: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    return ()


@dataclass(frozen=True)
class Section:
    """A mapping of the file.

    Attributes:
        owner: The dataclass whose attributes carry its keys, and whose defaults hold.
        keys: What may stand in it, in the order of complaints.
        build: What is made of the attributes; the owner where None.
        check: What is to be said of keys that do not go together, given the sound values by the keys' names: the key,
            and what is expected there, or nothing when it is missing.
        word: What may stand in its place and means the same as nothing, or empty.
        inner: Whether its values are attributes of the owner of the section around it.
    """

    owner: type
    keys: tuple[Key, ...]
    build: Callable[..., Any] | None = None
    check: Callable[[Mapping[str, Any]], Iterable[tuple[str, str]]] = _nothing
    word: str = ""
    inner: bool = False

    def made(self, values: Mapping[str, Any], **given: object) -> Any:
        """Return what the section means, from its values by the keys' names and from `given` attributes."""
        found = given | {key.carrier: key.default for key in self.keys if key.default is not None}
        for key in self.keys:
            if key.name in values:
                inner = isinstance(key.kind, Section) and key.kind.inner
                found |= values[key.name] if inner else {key.carrier: values[key.name]}
        return found if self.inner else (self.build or self.owner)(**found)

    def default(self, key: Key) -> Any:
        """Return what holds where a key is missing, or None where no value says it."""
        if key.default is not None or key.otherwise or key.required:
            return key.default
        carrier = next(item for item in fields(self.owner) if item.name == key.carrier)
        return carrier.default if carrier.default_factory is MISSING else carrier.default_factory()


@dataclass(frozen=True)
class Sections:
    """A list of mappings of one kind.

    Attributes:
        section: What each is.
        unique: The key by which each may be there once, or empty.
        most: How many there may be, where `unique` is.
    """

    section: Section
    unique: str = ""
    most: int = 0


@dataclass(frozen=True)
class ParametersKind:
    """A mapping whose names are the operator's; each value is a text, or a mapping that says where the text is."""

    text: ValueKind
    section: Section
