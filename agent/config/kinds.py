"""The kinds of values in a configuration file: what each takes, what is expected instead, and what comes out.

A kind knows one value and nothing of the key it stands under or of the file around it: it returns what a node of YAML
means, or raises `UnfitError` with what is expected. `agent.config.schema` says which key has which kind.
"""

from __future__ import annotations

import re
import socket
from datetime import time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from agent.core.aws.endpoints import EndpointKind, classify, in_ascii, is_host
from agent.core.when.maintenance import DAYS, MissingZone

if TYPE_CHECKING:
    from datetime import tzinfo
    from enum import StrEnum

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
DURATION = re.compile(r"([0-9]{1,7})([smhd])")
LONGEST = "36500d"  # a calendar ends with the year 9999, and what is reckoned from now must not
MODE = re.compile(r"0?[0-7]{3}")
HOUR = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")

_SHOWN, _LISTED = 40, 7  # characters of what was found, and items of a list
_MAX_PORT = 65_535


class UnfitError(Exception):
    """A value that its kind does not take.

    Attributes:
        text: What is to be said of it.
        usable: What the value means to a reader who goes on all the same, or None.
    """

    def __init__(self, text: str, usable: object = None) -> None:
        super().__init__(text)
        self.text = text
        self.usable = usable


def unexpected(expected: str, found: yaml.Node) -> str:
    """Return the complaint about a value in whose place something else is expected."""
    quoted = isinstance(found, yaml.ScalarNode) and found.style in {"'", '"'} and found.value.isdecimal()
    return f"{expected} is expected, not {_shown(found)}{' in quotes' if quoted else ''}"


def _shown(found: yaml.Node) -> str:
    """Return a value for a person who has written it: a list by what is in it, which is where the mistake is."""
    if isinstance(found, yaml.ScalarNode):
        return repr(found.value[:_SHOWN]) + ("..." if len(found.value) > _SHOWN else "")
    if isinstance(found, yaml.MappingNode):
        return "a mapping"
    if not all(isinstance(item, yaml.ScalarNode) for item in found.value):
        return "a nested list"
    listed = ", ".join(item.value[:_SHOWN] for item in found.value[:_LISTED])
    return f"[{listed}]" if listed else "an empty list"


def _scalar(node: yaml.Node, tag: str) -> str | None:
    """Return the text of a scalar that YAML takes for this type, or None."""
    sound = isinstance(node, yaml.ScalarNode) and node.tag == f"tag:yaml.org,2002:{tag}"
    return str(node.value) if sound else None


def _items(node: yaml.Node) -> list[Any]:
    """Return what the items of a list hold; nothing where it is no list."""
    return [item.value for item in node.value] if isinstance(node, yaml.SequenceNode) else []


class ValueKind:
    """One kind of value."""

    expected = ""

    def read(self, node: yaml.Node) -> Any:
        """Return what a node means.

        Raises:
            UnfitError: It is nothing of this kind.
        """
        raise NotImplementedError

    def unfit(self, node: yaml.Node) -> UnfitError:
        """Return the complaint that something of this kind is expected."""
        return UnfitError(unexpected(self.expected, node))


class Text(ValueKind):
    """Text that is not empty; `pattern` is what all of it must match."""

    def __init__(self, expected: str = "text", pattern: re.Pattern[str] | None = None) -> None:
        self.expected = expected
        self.pattern = pattern

    def read(self, node: yaml.Node) -> Any:
        """See `ValueKind`. A number or a date of YAML's is no text, and the complaint says how it becomes one."""
        value = _scalar(node, "str")
        if not value:
            quotes = " (put it in quotes)" if isinstance(node, yaml.ScalarNode) and node.value else ""
            raise UnfitError(unexpected(f"{self.expected}{quotes}", node))
        if self.pattern is not None and self.pattern.fullmatch(value) is None:
            raise self.unfit(node)
        return value


class Host(Text):
    """The name of an endpoint that root stores still trust."""

    def read(self, node: yaml.Node) -> str:
        """See `ValueKind`. Only the doctor goes on with a legacy endpoint, to see the rest.

        Names are compared letter by letter by some servers and clients, and with the final dot by others, so both get
        the one form that all take.
        """
        value = str(super().read(node)).lower().removesuffix(".")
        if not is_host(value):
            plain = in_ascii(value)
            wanted = f"{plain}, the same in ASCII," if plain else "a host name without scheme, port or path"
            raise UnfitError(unexpected(wanted, node) + _meant(value))
        name = classify(value)
        if name.kind is EndpointKind.LEGACY:
            said = (
                f"{value} is the legacy endpoint, whose VeriSign chain root stores no longer trust; use {name.instead}"
            )
            raise UnfitError(said, usable=value)
        return value


def _meant(written: str) -> str:
    """Return which name was probably meant by what may be a URL, as a clause; empty where none is in it."""
    host = written.rpartition("//")[2].partition("/")[0].partition(":")[0].strip().removesuffix(".")
    return f"; `{host}` was probably meant" if "." in host and is_host(host) else ""


class HostOrAddress(Text):
    """The name or the address of a machine, IPv4 or IPv6, and nothing more."""

    def read(self, node: yaml.Node) -> str:
        """See `ValueKind`. An IPv6 address may stand in brackets, as in a URL."""
        value = str(super().read(node))
        bare = value[1:-1] if value.startswith("[") and value.endswith("]") else value
        if not is_host(value) and not _is_ipv6(bare):
            plain = in_ascii(value)
            raise UnfitError(unexpected(f"{plain}, the same in ASCII,", node)) if plain else self.unfit(node)
        return bare


class Url(Text):
    """Where a server is asked over HTTPS, with nothing secret in it."""

    def __init__(self) -> None:
        host, port = r"([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:]{2,39}\])", "(:[0-9]{1,5})?"
        pattern = re.compile(rf"https://{host}{port}(/[!$-;=@-~]*)?")
        super().__init__("a URL that begins with https:// and names a host", pattern)

    def read(self, node: yaml.Node) -> str:
        """See `ValueKind`. No user, query or fragment, and a port that there is."""
        plain = _url_in_ascii(str(node.value)) if isinstance(node, yaml.ScalarNode) else ""
        if plain:
            raise UnfitError(unexpected(f"{plain}, the same in ASCII,", node))
        value = str(super().read(node))
        port = value.split("/")[2].rpartition(":")[2]
        if port.isdecimal() and not 0 < int(port) <= _MAX_PORT:
            raise self.unfit(node)
        return value


def _url_in_ascii(url: str) -> str:
    """Return a URL with its host as DNS has it, or nothing where the host is in ASCII already, or is no name."""
    scheme, slashes, rest = url.partition("//")
    host = re.split("[:/]", rest, maxsplit=1)[0]
    plain = in_ascii(host)
    return f"{scheme}{slashes}{plain}{rest.removeprefix(host)}" if plain else ""


def _is_ipv6(text: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6, text)
    except (OSError, ValueError):
        return False
    return True


class AbsolutePath(Text):
    """A path that means the same wherever a process stands."""

    def __init__(self) -> None:
        super().__init__("an absolute path")

    def read(self, node: yaml.Node) -> Path:
        """See `ValueKind`. YAML can spell a null byte, which the kernel cannot be given."""
        value = super().read(node)
        if not value.startswith("/") or "\0" in value:
            raise self.unfit(node)
        return Path(value)


class Number(ValueKind):
    """A whole number within bounds."""

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high
        self.expected = f"a whole number from {low} to {high}"

    def read(self, node: yaml.Node) -> int:
        """See `ValueKind`. Decimal digits alone: YAML's other spellings surprise people."""
        value = _scalar(node, "int")
        if value is None or not value.isdecimal() or not self.low <= int(value[:12]) <= self.high:
            raise self.unfit(node)
        return int(value)


class Flag(ValueKind):
    """Yes or no."""

    expected = "true or false"

    def read(self, node: yaml.Node) -> bool:
        """See `ValueKind`."""
        value = _scalar(node, "bool")
        if value is None:
            raise self.unfit(node)
        return value.lower() in {"true", "yes", "on"}


class Duration(ValueKind):
    """A span of time: a number and its unit; `low` and `high` are spelled as in the file."""

    expected = "a duration such as 90s, 10m, 12h or 365d"

    def __init__(self, low: str = "", high: str = "") -> None:
        self.low, self.high = low, high
        self._low, self._high = low or "0s", high or LONGEST

    def read(self, node: yaml.Node) -> timedelta:
        """See `ValueKind`."""
        value = span(node.value) if isinstance(node, yaml.ScalarNode) else None
        if value is None:
            raise self.unfit(node)
        if not spelt(self._low) <= value <= spelt(self._high):
            raise UnfitError(unexpected(f"a duration from {self._low} to {self._high}", node))
        return value


def span(text: object) -> timedelta | None:
    """Return the duration that a text spells, or None."""
    match = DURATION.fullmatch(text) if isinstance(text, str) else None
    return timedelta(seconds=int(match[1]) * UNITS[match[2]]) if match else None


def spelt(text: str) -> timedelta:
    """Return the duration that this text of ours spells."""
    return span(text) or timedelta()


class Durations(ValueKind):
    """Several spans of time, each once and the longest first."""

    expected = "a list of durations such as [180d, 30d]"

    def read(self, node: yaml.Node) -> tuple[timedelta, ...]:
        """See `ValueKind`."""
        found = [span(value) for value in _items(node)]
        if not found or not all(value is not None and value <= spelt(LONGEST) for value in found):
            raise self.unfit(node)
        return tuple(sorted({value for value in found if value is not None}, reverse=True))


class Choice(ValueKind):
    """A member of an enumeration."""

    def __init__(self, enum: type[StrEnum]) -> None:
        self.members = {str(member): member for member in enum}
        self.expected = "one of " + ", ".join(self.members)

    def read(self, node: yaml.Node) -> StrEnum:
        """See `ValueKind`."""
        if not isinstance(node, yaml.ScalarNode) or node.value not in self.members:
            raise self.unfit(node)
        return self.members[node.value]


class Mode(Text):
    """The mode of a file, in octal digits; without quotes it is a number, of which YAML makes another one."""

    def __init__(self) -> None:
        super().__init__('a file mode such as "0640", in quotes', MODE)

    def read(self, node: yaml.Node) -> int:
        """See `ValueKind`."""
        return int(super().read(node), 8)


class Command(ValueKind):
    """A program with its arguments; no shell."""

    expected = "a list such as [/usr/bin/test, -e, /run/x], which begins with an absolute path,"

    def read(self, node: yaml.Node) -> tuple[str, ...]:
        """See `ValueKind`."""
        words = _items(node)
        sound = all(isinstance(word, str) and word and "\0" not in word for word in words)
        if not words or not sound or not words[0].startswith("/"):
            raise self.unfit(node)
        return tuple(words)


class Days(ValueKind):
    """Days of the week, as positions in `DAYS`."""

    expected = f"a list of {', '.join(DAYS)}"

    def read(self, node: yaml.Node) -> frozenset[int]:
        """See `ValueKind`."""
        values = _items(node)
        if not values or not all(value in DAYS for value in values):
            raise self.unfit(node)
        return frozenset(DAYS.index(value) for value in values)


class Hour(Text):
    """A time of day."""

    def __init__(self) -> None:
        super().__init__('a time of day such as "02:30"', HOUR)

    def read(self, node: yaml.Node) -> time:
        """See `ValueKind`."""
        return time.fromisoformat(super().read(node))


class Zone(Text):
    """A time zone by its name."""

    def __init__(self) -> None:
        super().__init__("a time zone such as Europe/Berlin")

    def read(self, node: yaml.Node) -> tzinfo:
        """See `ValueKind`. One that this machine does not have is no reason to do without a daemon."""
        name = super().read(node)
        from zoneinfo import ZoneInfo  # noqa: PLC0415 - seldom needed

        try:
            return ZoneInfo(name)
        except KeyError:  # a name that may be right elsewhere, or was right yesterday
            return MissingZone(name)
        except (ValueError, OSError):
            raise self.unfit(node) from None
