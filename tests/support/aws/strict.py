"""Holds each request of a boto3 client to the model of its service: enumerations, lengths and patterns too.

botocore itself checks types, what is required, and minima; a word that AWS does not know or a text that is too long
goes through. What was asked is noted, for a role that is to allow just that.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

_IN_IAM = {"Invoke": "InvokeFunction"}  # what IAM calls by another name than the API

# Java's classes in the models' patterns, in Python's words.
_CLASSES = (
    (r"[^\p{C}]", r"[^\x00-\x1f\x7f-\x9f]"),
    (r"\p{Graph}", r"\x21-\x7e"),
    (r"\p{C}", r"\x00-\x1f\x7f-\x9f"),
    (r"\p{L}", r"A-Za-z\u00c0-\u024f"),
    (r"\p{M}", ""),
    (r"\p{Z}", " "),
    (r"\p{S}", "+=~^$<>|`"),
    (r"\p{N}", "0-9"),
    (r"\p{P}", r"!-/:-@\[-`{-~"),
)


class Strict:
    """What clients ask, and whether AWS would take it.

    Attributes:
        asked: The actions, as IAM calls them, in order: `iot:UpdateCertificate`.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []

    def watch(self, client: Any) -> None:
        """Hold a client to its service's model from now on."""
        service = client.meta.service_model.service_name.removesuffix("-data")  # which has no prefix of its own in IAM
        client.meta.events.register("provide-client-params.*.*", partial(self._before, service))

    def _before(self, service: str, params: dict[str, Any], model: Any, **_: Any) -> None:
        self.asked.append(f"{service}:{_IN_IAM.get(model.name, model.name)}")
        complaints = list(complaints_about(params, model.input_shape, model.name))
        assert not complaints, complaints


def complaints_about(value: Any, shape: Any, path: str) -> list[str]:
    """Return what a service's model has against a value.

    Args:
        value: What is sent.
        shape: What botocore's model says of it.
        path: Where it is, for complaints.
    """
    kind: str = shape.type_name
    inner: list[tuple[Any, Any, str]] = []
    match kind:
        case "structure":
            found = [f"{path}.{name}: not known" for name in value if name not in shape.members]
            known = ((name, item) for name, item in value.items() if name in shape.members)
            inner = [(item, shape.members[name], f"{path}.{name}") for name, item in known]
        case "list":
            found = _size(len(value), shape, f"{path}: items")
            inner = [(item, shape.member, f"{path}[{number}]") for number, item in enumerate(value)]
        case "map":
            found = [text for name in value for text in complaints_about(name, shape.key, path)]
            inner = [(item, shape.value, f"{path}.{name}") for name, item in value.items()]
        case "string":
            found = _text(value, shape, path)
        case "integer" | "long" | "float" | "double":
            found = _range(value, shape, path)
        case _:
            found = []
    return found + [text for item, its, place in inner for text in complaints_about(item, its, place)]


def _text(value: str, shape: Any, path: str) -> list[str]:
    pattern = shape.metadata.get("pattern")
    found = _size(len(value), shape, f"{path}: characters")
    if shape.enum and value not in shape.enum:
        found.append(f"{path}: {value!r} is none of {shape.enum}")
    if pattern and not re.fullmatch(_in_python(pattern), value, re.DOTALL):
        found.append(f"{path}: {value!r} does not match {pattern}")
    return found


def _size(length: int, shape: Any, what: str) -> list[str]:
    least, most = shape.metadata.get("min", 0), shape.metadata.get("max", length)
    return [] if least <= length <= most else [f"{what}: {length}, allowed {least} to {most}"]


def _range(value: float, shape: Any, path: str) -> list[str]:
    least, most = shape.metadata.get("min", value), shape.metadata.get("max", value)
    return [] if least <= value <= most else [f"{path}: {value}, allowed {least} to {most}"]


def _in_python(pattern: str) -> str:
    for java, python in _CLASSES:
        pattern = pattern.replace(java, python)
    return pattern
