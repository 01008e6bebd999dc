"""Named shadows: documents of what is desired and what is reported, for each thing and name.

It owns the shadows of all things. What it does follows the developer guide ("Device Shadow service documents", "Device
Shadow MQTT topics", "Device Shadow error messages"):

* An update changes the keys it names, at any depth, and no others; null deletes a key or a whole section. A list is one
  value.
* Each update raises the version, which a deletion does not set back. An update that names another version is refused.
* After each update each subscriber hears `update/documents`; and `update/delta`, when something desired is not
  reported, with all that differs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent.core.frozen import frozen
from agent.sandbox.replies.answers import BAD_REQUEST, CONFLICT, NOT_FOUND, TOO_LARGE, ServiceRefusalError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

MAX_STATE = 8192
MAX_DEPTH = 8
MAX_TOKEN = 64

_DESIRED, _REPORTED = "desired", "reported"


@dataclass(frozen=True)
class _Leaf:
    """One value and when it was set."""

    value: Any
    at: int


_Tree = dict[str, Any]  # of leaves, and of None for what an update deletes


@frozen
class _Shadow:
    tree: _Tree = field(default_factory=dict)
    version: int

    @property
    def document(self) -> dict[str, Any]:
        return {"state": _values(self.tree), "metadata": _stamps(self.tree), "version": self.version}

    @property
    def delta(self) -> _Tree:
        return _difference(self.tree.get(_DESIRED, {}), self.tree.get(_REPORTED, {}))


class Shadows:
    """The named shadows of all things."""

    def __init__(self, now: Callable[[], datetime], send: Callable[[str, Mapping[str, Any]], None]) -> None:
        """Make an account without shadows.

        Args:
            now: The cloud's clock.
            send: Takes the topic and the body of a message to the subscribers.
        """
        self._now = now
        self._send = send
        self._shadows: dict[tuple[str, str], _Shadow] = {}
        self._versions: dict[tuple[str, str], int] = {}

    def document(self, thing_name: str, name: str) -> dict[str, Any] | None:
        """Return state, metadata and version of a shadow, or None."""
        shadow = self._shadows.get((thing_name, name))
        return None if shadow is None else shadow.document

    def answer(self, thing_name: str, name: str, verb: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out a request: get, update or delete.

        Raises:
            ServiceRefusalError: It is refused.
        """
        _check_token(request.get("clientToken"))
        match verb:
            case "update":
                return self.update(thing_name, name, request)
            case "delete":
                self._existing(thing_name, name)
                del self._shadows[thing_name, name]
                return {"version": self._versions[thing_name, name]}
            case _:
                shadow = self._existing(thing_name, name)
                delta = {"delta": _values(shadow.delta)} if shadow.delta else {}
                return shadow.document | {"state": _values(shadow.tree) | delta}

    def _existing(self, thing_name: str, name: str) -> _Shadow:
        shadow = self._shadows.get((thing_name, name))
        if shadow is None:
            raise ServiceRefusalError(NOT_FOUND, "ResourceNotFound", f"No shadow exists with name: '{name}'")
        return shadow

    def update(self, thing_name: str, name: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Change a shadow, or make it, and tell the subscribers.

        Raises:
            ServiceRefusalError: It is refused.
        """
        at = int(self._now().timestamp())
        changes = _plant(_state(request), at)
        version = self._versions.get((thing_name, name), 0)
        _check_version(request.get("version"), version)
        old = self._shadows.get((thing_name, name))
        merged = {key: value for key, value in _merge(old.tree if old else {}, changes).items() if value}
        _check_size(_values(merged))
        new = _Shadow(tree=merged, version=version + 1)
        self._shadows[thing_name, name], self._versions[thing_name, name] = new, new.version
        common = {key: request[key] for key in ("clientToken",) if request.get(key) is not None} | {"timestamp": at}
        self._tell(f"$aws/things/{thing_name}/shadow/name/{name}/update", old, new, common)
        return {"state": _values(changes), "metadata": _stamps(changes), "version": new.version}

    def _tell(self, topic: str, old: _Shadow | None, new: _Shadow, common: dict[str, Any]) -> None:
        if new.delta:
            delta = {"state": _values(new.delta), "metadata": _stamps(new.delta), "version": new.version}
            self._send(f"{topic}/delta", delta | common)
        previous = {"previous": old.document} if old else {}
        self._send(f"{topic}/documents", {**previous, "current": new.document, **common})


# -- trees -------------------------------------------------------------------------------------------------------------


def _plant(state: Mapping[str, Any], at: int) -> _Tree:
    def grow(value: Any) -> Any:
        if isinstance(value, Mapping):
            return _plant(value, at)
        return None if value is None else _Leaf(value, at)

    return {key: grow(value) for key, value in state.items()}


def _merge(old: _Tree, changes: _Tree) -> _Tree:
    merged = dict(old)
    for key, change in changes.items():
        below = merged.get(key)
        if change is None:
            merged.pop(key, None)
        elif isinstance(change, dict):
            merged[key] = _merge(below if isinstance(below, dict) else {}, change)
        else:
            merged[key] = change
    return merged


def _difference(desired: _Tree, reported: _Tree) -> _Tree:
    """Return what of `desired` is not in `reported`."""
    found: _Tree = {}
    for key, want in desired.items():
        have = reported.get(key)
        if isinstance(want, dict) and isinstance(have, dict):
            if below := _difference(want, have):
                found[key] = below
        elif not (isinstance(want, _Leaf) and isinstance(have, _Leaf) and _text(want.value) == _text(have.value)):
            found[key] = want
    return found


def _values(tree: _Tree) -> dict[str, Any]:
    """Return the tree with values as leaves; what is deleted is None."""
    return {
        key: _values(node) if isinstance(node, dict) else None if node is None else node.value
        for key, node in tree.items()
    }


def _stamps(tree: _Tree) -> dict[str, Any]:
    """Return the tree with timestamps as leaves; what is deleted has none."""
    return {
        key: _stamps(node) if isinstance(node, dict) else {"timestamp": node.at}
        for key, node in tree.items()
        if node is not None
    }


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


# -- what a request holds ----------------------------------------------------------------------------------------------


def _refuse(message: str) -> ServiceRefusalError:
    return ServiceRefusalError(BAD_REQUEST, "InvalidRequest", message)


def _state(request: Mapping[str, Any]) -> dict[str, Any]:
    if "state" not in request:
        raise _refuse("Missing required node: state")
    state = request["state"]
    if not isinstance(state, dict):
        raise _refuse("State node must be an object")
    for section, node in state.items():
        if section not in {_DESIRED, _REPORTED}:
            raise _refuse("State contains an invalid node")
        if not isinstance(node, dict | None):
            raise _refuse(f"{section.capitalize()} node must be an object")
        _check_node(node, MAX_DEPTH)
    return state


def _check_node(node: Any, levels: int) -> None:
    if not isinstance(node, dict | list):
        return
    if not levels:
        raise _refuse(f"JSON contains too many levels of nesting; maximum is {MAX_DEPTH}")
    if isinstance(node, list) and None in node:
        raise _refuse("State contains an invalid node")
    for below in node.values() if isinstance(node, dict) else node:
        _check_node(below, levels - 1)


def _check_version(given: object, version: int) -> None:
    if given is None:
        return
    if not isinstance(given, int) or isinstance(given, bool):
        raise _refuse("Invalid version")
    if given != version:
        raise ServiceRefusalError(CONFLICT, "VersionConflict", "Version conflict")


def _check_token(given: object) -> None:
    if given is not None and not (isinstance(given, str) and len(given.encode(errors="replace")) <= MAX_TOKEN):
        raise _refuse("Invalid clientToken")


def _check_size(state: Mapping[str, Any]) -> None:
    if len(_text(state).encode(errors="replace")) > MAX_STATE:
        raise ServiceRefusalError(TOO_LARGE, "PayloadTooLarge", "The payload exceeds the maximum size allowed")
