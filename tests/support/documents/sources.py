"""What several tests ask of all sources: each file is parsed once for them, and its tree is not kept."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# What holds names and numbers, or a node without anything of its own, such as `ast.Load`: 135,000 of 400,000.
_EMPTY_FIELDS = frozenset(
    {"arg", "asname", "attr", "conversion", "ctx", "id", "is_async", "kind", "kwd_attrs", "level", "module", "name"}
    | {"op", "ops", "rest", "simple", "type_comment"}
)
_EMPTY_NODES = frozenset({ast.Constant, ast.Global, ast.MatchSingleton, ast.Nonlocal})
_BODIES = ("body", "orelse", "finalbody", "handlers", "cases")


class _Fields(dict[type[ast.AST], tuple[str, ...]]):
    """The fields that may hold a node, by the class of the node that has them."""

    def __missing__(self, kind: type[ast.AST]) -> tuple[str, ...]:
        names = () if kind in _EMPTY_NODES else kind._fields
        self[kind] = tuple(name for name in names if name not in _EMPTY_FIELDS)
        return self[kind]


_FIELDS = _Fields()


def walk(tree: ast.AST) -> list[ast.AST]:
    """Return what `ast.walk` does in a third of its time, without operators and contexts."""
    found = [tree]
    for node in found:
        for name in _FIELDS[node.__class__]:
            held = getattr(node, name)
            if held.__class__ is list:
                found += filter(None, held)
            elif held is not None:
                found.append(held)
    return found


def statements(tree: ast.AST) -> list[ast.AST]:
    """Return what holds statements, and these: only they can hold a function, a class or an import."""
    found = [tree]
    for node in found:
        for name in _BODIES:
            held = getattr(node, name, None)
            if held.__class__ is list:
                found += held
    return found


@dataclass(frozen=True, kw_only=True)
class SourceFacts:
    """What is asked of a file.

    Attributes:
        functions: Each function and method, with what it calls, those within it included; `fail` is among that where it
            can fail by itself, for what it sees.
        classes: Each class, those within functions included: how many methods and properties other modules may use,
            and what an instance is given in its own methods.
        imports: What it imports, with dots; of `from a import b` both `a` and `a.b`, since either may be a module.
        has_code: Whether it has a function or a class.
    """

    functions: tuple[tuple[str, frozenset[str]], ...]
    classes: tuple[tuple[str, int, int], ...]
    imports: frozenset[str]
    has_code: bool


@cache
def facts(path: Path) -> SourceFacts:
    """Return the facts of a file."""
    return facts_of(path.read_text(encoding="utf-8"))


def facts_of(source: str) -> SourceFacts:
    """Return the facts of a source."""
    tree = ast.parse(source)
    held = statements(tree)
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return SourceFacts(
        functions=tuple((node.name, _calls(node)) for node in held if isinstance(node, kinds)),
        classes=tuple((node.name, _public(node), len(_kept(node))) for node in held if isinstance(node, ast.ClassDef)),
        imports=frozenset(_imports(held)),
        has_code=any(isinstance(node, kinds | ast.ClassDef) for node in tree.body),
    )


def _calls(function: ast.AST) -> frozenset[str]:
    return frozenset(name for node in walk(function) if (name := _called(node)))


def _called(node: ast.AST) -> str:
    if isinstance(node, ast.Call):
        return str(getattr(node.func, "attr", getattr(node.func, "id", "")))
    return "fail" if isinstance(node, ast.Assert | ast.Raise) else ""


def _public(found: ast.ClassDef) -> int:
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return sum(isinstance(item, kinds) and not item.name.startswith("_") for item in found.body)


def _kept(found: ast.ClassDef) -> set[str]:
    return {
        node.attr
        for node in walk(found)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


def _imports(held: Iterable[ast.AST]) -> set[str]:
    found = set()
    for node in held:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found
