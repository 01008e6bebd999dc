"""The configuration file: YAML in, frozen values out, every complaint with file, line, key and expectation.

Rules:

* All complaints come at once, so that a person does not fix a file line by line.
* An unknown key is a mistake, never ignored: a misspelt limit must not become the default.
* Reading checks what the file says. Whether the files it names can be used is checked where they are needed, since a
  claim certificate is rightly gone from a gateway that has its own.

What may stand in the file is said by `agent.config.schema` alone; here one walker goes along it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from agent.config import schema
from agent.config.files import read_bounded
from agent.config.kinds import UnfitError, ValueKind, unexpected
from agent.config.sections import ParametersKind, Section, Sections
from agent.config.values import DEFAULT_RUNTIME_DIR
from agent.core.text_files import NoTextError, decoded
from agent.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from agent.config.sections import Key
    from agent.config.values import Config

MAX_CONFIG = 65_536  # bytes
MAX_DEPTH = 20  # of lists and mappings in each other; the deepest key of the table is at 5

_NOT_THERE = (
    "Name it with `--config FILE` where it lies elsewhere; the package brings one with every key explained, "
    "/etc/iot-cert-agent/config.yaml."
)

_NULL = "tag:yaml.org,2002:null"

# The entries of a mapping: the node of each key, and of what stands there, None where that is nothing.
_Entries = dict[str, tuple[yaml.Node, yaml.Node | None]]


def load(path: Path, *, allow_legacy: bool = False) -> Config:
    """Read the configuration file.

    Args:
        path: Where it is.
        allow_legacy: Let a legacy endpoint pass: only the doctor goes on, to see the rest.

    Raises:
        ConfigError: It cannot be read or says something impossible; one line for each complaint.
    """
    try:
        data = read_bounded(path, MAX_CONFIG, "configuration file")
    except ConfigError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            error.hint = _NOT_THERE
        raise
    try:
        return parse(decoded(data), path, allow_legacy=allow_legacy)
    except NoTextError as error:
        hint = "Save it as UTF-8 text, or put the file that is meant in its place."
        raise ConfigError(f"{path}: {error}", hint=hint) from None


def parse(text: str, path: Path, *, allow_legacy: bool = False) -> Config:
    """Return what the text of a configuration file means.

    Args:
        text: What the file says, or said.
        path: Where it is, for complaints.
        allow_legacy: As for `load`.

    Raises:
        ConfigError: It says something impossible; one line for each complaint.
    """
    walker = _Walker(path, lenient=allow_legacy)
    values = walker.section(schema.FILE, _compose(text, path), "")
    if walker.complaints:
        complaints = sorted(walker.complaints, key=lambda said: said.endswith(_MISSING))  # which one misspelt may be
        raise ConfigError(*complaints, hint="`iot-cert config check` checks the file again.")
    config: Config = schema.FILE.made(values, path=path, source=text)
    return config


def runtime_dir(path: Path) -> Path | None:
    """Return the runtime directory that a file names of which the rest may be unsound; None when not even that is."""
    try:
        data = read_bounded(path, MAX_CONFIG, "configuration file")
        try:
            text = decoded(data)
        except NoTextError:
            text = data.decode(errors="replace")
        node = _compose(text, path)
    except ConfigError:
        return None
    walker = _Walker(path, lenient=True)
    found: Path | None = walker.section(schema.FILE, node, "").get("runtime_dir", DEFAULT_RUNTIME_DIR)
    return None if "runtime_dir" in walker.unfit else found


def _compose(text: str, path: Path) -> yaml.Node:
    try:
        node = _composed(text, path)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        tab = line if r"'\t'" in (error.problem or "") else _tab_before(text, line)
        if tab:
            raise ConfigError(f"{path}:{tab}: there is a tab: put spaces in its place, YAML takes no tabs") from None
        raise ConfigError(f"{path}:{line}: it is not sound YAML: {error.problem}", hint=_LINES) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{path}: it is not sound YAML: {str(error)[:120]}") from None
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{path}: a mapping (`key: value` lines) is expected, at least `endpoint:`")
    return node


_LINES = "A line is `key: value`, with a blank behind the colon; what belongs to a key is indented by spaces below it."


def _tab_before(text: str, line: int) -> int:
    """Return the number of the first line up to `line` that a tab indents, or 0."""
    numbered = enumerate(text.splitlines()[:line], start=1)
    return next((number for number, found in numbered if found.lstrip(" ").startswith("\t")), 0)


_MISSING = "it is required and missing"

_OPENS = (
    yaml.BlockMappingStartToken, yaml.BlockSequenceStartToken, yaml.FlowMappingStartToken, yaml.FlowSequenceStartToken,
)  # fmt: skip
_CLOSES = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)


def _composed(text: str, path: Path) -> yaml.Node | None:
    loader = _Loader(text, path)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    """Refuses what is nested too deep, as far as it was read: composing it costs time that grows with its square."""

    def __init__(self, text: str, path: Path) -> None:
        super().__init__(text)
        self._path = path
        self._depth = 0

    def get_token(self) -> Any:
        """Take the next token, for the parser.

        Raises:
            ConfigError: It opens a list or a mapping too deep.
        """
        token = super().get_token()  # type: ignore[no-untyped-call]
        self._depth += isinstance(token, _OPENS) - isinstance(token, _CLOSES)
        if self._depth > MAX_DEPTH:
            where = f"{self._path}:{token.start_mark.line + 1}"
            raise ConfigError(f"{where}: it is not sound YAML for this: nested more than {MAX_DEPTH} deep")
        return token


class _Walker:
    """Goes along the table and the file at once; what is wrong is noted, and the walk goes on."""

    def __init__(self, path: Path, *, lenient: bool) -> None:
        self.complaints: list[str] = []
        self.unfit: set[str] = set()  # the keys that there are complaints about
        self._path = path
        self._lenient = lenient

    def section(self, section: Section, node: yaml.Node, name: str) -> dict[str, Any]:
        """Return the sound values of a mapping by their keys; `name` leads to it, empty for the file."""
        entries = self._entries(node, name)
        for key in section.keys:
            if key.required and _absent(entries, key.name):
                self._missing(_below(name, key.name))
        values = {}
        for key in section.keys:
            found = entries.get(key.name, (None, None))[1]
            value = None if found is None else self._value(key, found, _below(name, key.name))
            if value is not None:
                values[key.name] = value
        for key_name, expected in section.check(values):
            self._unsuited(entries, name, key_name, expected)
        self._unknown(section, entries, name)
        return values

    def _entries(self, node: yaml.Node, name: str) -> _Entries:
        entries: _Entries = {}
        if not isinstance(node, yaml.MappingNode):
            self._note(node, name, unexpected("a mapping (`key: value` lines)", node))
            return entries
        for key, value in node.value:
            known = key.value if isinstance(key, yaml.ScalarNode) else "?"
            if known in entries:
                self._note(key, _below(name, known), "it stands here twice")
            entries[known] = (key, None if value.tag == _NULL else value)
        return entries

    def _value(self, key: Key, node: yaml.Node, name: str) -> Any:
        """Return what a node means, or None where it means nothing sound."""
        match key.kind:
            case Section() as section if isinstance(node, yaml.ScalarNode) and section.word:
                return self._word(section, node, name)
            case Section() as section:
                return self._made(section, self.section(section, node, name))
            case Sections() as sections:
                return self._list(sections, node, name)
            case ParametersKind() as parameters:
                return self._parameters(parameters, node, name)
            case ValueKind() as kind:
                return self._scalar(kind, node, name)

    def _word(self, section: Section, node: yaml.Node, name: str) -> None:
        if node.value != section.word:
            known = ", ".join(key.name for key in section.keys)
            self._note(node, name, unexpected(f"`{section.word}` or a mapping with {known}", node))

    def _scalar(self, kind: ValueKind, node: yaml.Node, name: str) -> Any:
        try:
            return kind.read(node)
        except UnfitError as error:
            if error.usable is not None and self._lenient:
                return error.usable
            self._note(node, name, error.text)
            return None

    def _made(self, section: Section, values: dict[str, Any]) -> Any:
        """Return what a section means, or None once there is a complaint: nothing is made of such a file."""
        return None if self.complaints else section.made(values)

    def _list(self, kind: Sections, node: yaml.Node, name: str) -> tuple[Any, ...] | None:
        if not isinstance(node, yaml.SequenceNode):
            self._note(node, name, unexpected("a list (`- ` lines)", node))
            return None
        found = [self.section(kind.section, item, f"{name}[{place}]") for place, item in enumerate(node.value)]
        named = [item[kind.unique] for item in found if kind.unique in item]
        if kind.unique and (len(set(named)) < len(named) or len(found) > kind.most):
            self._note(node, name, unexpected(f"each one once, and at most {kind.most} of them,", node))
        return tuple(self._made(kind.section, item) for item in found)

    def _parameters(self, kind: ParametersKind, node: yaml.Node, name: str) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for known, (_, found) in self._entries(node, name).items():
            below = _below(name, known)
            if isinstance(found, yaml.MappingNode):
                values[known] = self._made(kind.section, self.section(kind.section, found, below))
            else:
                values[known] = "" if found is None else self._scalar(kind.text, found, below)
        return values

    def _unsuited(self, entries: _Entries, name: str, key: str, expected: str) -> None:
        node = entries.get(key, (None, None))[1]
        if expected and node is not None:
            self._note(node, _below(name, key), unexpected(expected, node))
        elif node is None:
            self._missing(_below(name, key))  # and where it is there and unsound, that has been said

    def _unknown(self, section: Section, entries: _Entries, name: str) -> None:
        known = [key.name for key in section.keys]
        for found, (node, _) in entries.items():
            if found not in known:
                import difflib  # noqa: PLC0415 - needed for a mistake only

                near = difflib.get_close_matches(found, known, n=1)
                meant = f"; `{near[0]}` was probably meant" if near else ""
                self._note(node, _below(name, found), f"there is no such key{meant}")

    def _note(self, at: yaml.Node, name: str, text: str) -> None:
        self.complaints.append(f"{self._path}:{at.start_mark.line + 1}: {name or 'the file'}: {text}")
        self.unfit.add(name)

    def _missing(self, name: str) -> None:
        self.complaints.append(f"{self._path}: {name}: {_MISSING}")


def _below(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _absent(entries: _Entries, key: str) -> bool:
    return entries.get(key, (None, None))[1] is None
