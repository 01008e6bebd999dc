"""The table of keys, written down for people and editors: ``python -m agent.config.describe schema`` or ``manual``.

Two files of the repository come from here (`make configuration`), and tests hold them to it: the JSON Schema that
editors check and complete a configuration by, and the keys in the manual page. Nothing that runs imports this module.
"""

from __future__ import annotations

import json
import re
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from agent.config import kinds
from agent.config.schema import FILE
from agent.config.sections import ParametersKind, Section, Sections
from agent.core.aws.endpoints import MAX_HOST
from agent.core.text import sentence_of
from agent.core.when.maintenance import DAYS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.config.sections import Key

BEGIN, END = '.\\" The keys, by `make configuration`:', '.\\" The end of the keys.'

_ABSOLUTE = r"^/[^\u0000]*$"
_HOST = f"^[A-Za-z0-9.-]{{1,{MAX_HOST}}}$"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file: what the reader refuses by a value alone, it refuses too.

    What no schema can say stays with the reader: pairs of keys that do not fit, names that may be there once, how long
    a duration may be, a time zone that there is not, and the legacy endpoint.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The configuration of iot-cert-agent",
        **_of_section(FILE),
    }


def _of_section(section: Section) -> dict[str, Any]:
    required = [key.name for key in section.keys if key.required]
    return {
        "type": "object",
        "properties": {key.name: _of_key(section, key) for key in section.keys},
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }


def _of_key(section: Section, key: Key) -> dict[str, Any]:
    """Return what may stand under a key: nothing at all, where it is not required."""
    found = _of_kind(key.kind)
    described = {"description": key.help} if key.help else {}
    default = default_of(section, key)
    stated = {} if default is None else {"default": default}
    return {**described, **stated, **(found if key.required else {"anyOf": [found, {"type": "null"}]})}


def default_of(section: Section, key: Key) -> Any:
    """Return what holds where a key is missing, as it is spelled in the file, or None."""
    default = section.default(key) if isinstance(key.kind, kinds.ValueKind) else None
    return None if default is None else plain(key.kind, default)


def _of_kind(kind: kinds.ValueKind | Section | Sections | ParametersKind) -> dict[str, Any]:
    match kind:
        case Section():
            return {"anyOf": [{"enum": [kind.word]}, _of_section(kind)]} if kind.word else _of_section(kind)
        case Sections():
            most = {"maxItems": kind.most} if kind.unique else {}
            return {"type": "array", "items": _of_section(kind.section), **most}
        case ParametersKind():
            one = [{"type": "string", "minLength": 1}, _of_section(kind.section), {"type": "null"}]
            return {"type": "object", "additionalProperties": {"anyOf": one}}
        case kinds.ValueKind():
            return _of_value(kind)


def _of_value(kind: kinds.ValueKind) -> dict[str, Any]:
    match kind:
        case kinds.AbsolutePath():
            return {"type": "string", "pattern": _ABSOLUTE}
        case kinds.Host():
            return {"type": "string", "pattern": _HOST}
        case kinds.Text():
            rule = {"pattern": f"^(?:{kind.pattern.pattern})$"} if kind.pattern else {}
            return {"type": "string", "minLength": 1, **rule}
        case kinds.Number():
            return {"type": "integer", "minimum": kind.low, "maximum": kind.high}
        case kinds.Flag():
            return {"type": "boolean"}
        case kinds.Duration():
            return _span()
        case kinds.Durations():
            return {"type": "array", "items": _span(), "minItems": 1}
        case kinds.Choice():
            return {"enum": list(kind.members)}
        case kinds.Days():
            return {"type": "array", "items": {"enum": list(DAYS)}, "minItems": 1}
        case _:  # a command
            word = {"type": "string", "minLength": 1}
            return {"type": "array", "prefixItems": [{**word, "pattern": _ABSOLUTE}], "items": word, "minItems": 1}


def _span() -> dict[str, Any]:
    return {"type": "string", "pattern": f"^(?:{kinds.DURATION.pattern})$"}


def plain(kind: object, value: Any) -> Any:
    """Return a value as it is spelled in the file, or a list of such."""
    match kind, value:
        case kinds.Mode(), _:
            return f"{value:04o}"
        case kinds.Days(), _:
            return [DAYS[place] for place in sorted(value)]
        case _, timedelta():
            return spelled(value)
        case _, tuple():
            return [plain(kind, item) for item in value]
        case ((kinds.Flag() | kinds.Number()), _):
            return value
        case _:
            return str(value)


def spelled(span: timedelta) -> str:
    """Return a duration in the largest unit that it is whole in."""
    seconds = int(span.total_seconds())
    unit = next(name for name, size in reversed(kinds.UNITS.items()) if seconds % size == 0)
    return f"{seconds // kinds.UNITS[unit]}{unit}"


# -- the manual page ---------------------------------------------------------------------------------------------------


def manual() -> str:
    """Return the keys as roff, each with what it takes, what holds without it, and what it is for."""
    return "".join(f".TP\n.B {_roff(name)}\n{_roff(_told(section, key))}\n" for name, section, key in rows(FILE))


def rows(section: Section, above: str = "") -> Iterator[tuple[str, Section, Key]]:
    """Yield each key with its whole name and the section that it stands in; ``[]`` stands for the items of a list."""
    for key in section.keys:
        name = f"{above}{key.name}"
        yield name, section, key
        match key.kind:
            case Section() as inner:
                yield from rows(inner, f"{name}.")
            case Sections(section=inner):
                yield from rows(inner, f"{name}[].")
            case ParametersKind(section=inner):
                yield from rows(inner, f"{name}.NAME.")
            case _:
                pass


def _told(section: Section, key: Key) -> str:
    facts = [takes(key.kind), without(section, key)]
    sentence = f"{sentence_of(key.help)}." if key.help else ""
    return f"({'; '.join(fact for fact in facts if fact)}) {sentence}".rstrip()


def takes(kind: object) -> str:
    """Return in a few words what may stand under a key."""
    match kind:
        case kinds.Duration() if kind.high:
            return f"duration from {kind.low} to {kind.high}"
        case kinds.Number():
            return f"{kind.low} to {kind.high}"
        case kinds.Flag():
            return kind.expected
        case kinds.Choice():
            return " | ".join(kind.members)
        case kinds.Days():
            return f"list of {', '.join(DAYS)}"
        case Section(word=word) if word:
            return f"{word} | section"
        case Sections():
            return f"list, at most {kind.most}" if kind.unique else "list"
        case _:
            return _WORDS[type(kind)]


_WORDS: dict[type, str] = {
    Section: "section",
    ParametersKind: "section with names of its own",
    kinds.AbsolutePath: "absolute path",
    kinds.Command: "list of words, no shell",
    kinds.Duration: "duration",
    kinds.Durations: "list of durations",
    kinds.Host: "host name",
    kinds.HostOrAddress: "host name or address",
    kinds.Hour: "time of day",
    kinds.Mode: "file mode in quotes",
    kinds.Text: "text",
    kinds.Url: "https URL",
    kinds.Zone: "time zone",
}


def without(section: Section, key: Key) -> str:
    """Return in a few words what holds where a key is missing."""
    if key.required:
        return "required"
    if key.otherwise:
        return f"without: {key.otherwise}"
    default = default_of(section, key)
    if default is None:
        return ""
    if default == list(DAYS):
        return "default every day"
    shown = ", ".join(default) if isinstance(default, list) else str(default)
    return f"default {shown.lower() if isinstance(default, bool) else shown}"


def _roff(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"`([^`]*)`", r"\\fB\1\\fR", text)


def with_manual(page: str) -> str:
    """Return a manual page with the keys between its two marks as they are now."""
    before, _, rest = page.partition(f"{BEGIN}\n")
    _, _, after = rest.partition(f"{END}\n")
    return f"{before}{BEGIN}\n{manual()}{END}\n{after}"


def main(words: list[str]) -> None:
    """Print the JSON Schema, or a manual page that comes in with its keys as they are now."""
    if words == ["schema"]:
        sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
    else:
        sys.stdout.write(with_manual(sys.stdin.read()))


if __name__ == "__main__":
    main(sys.argv[1:])
