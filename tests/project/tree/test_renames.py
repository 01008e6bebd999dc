"""Only `agent.store.files.durable` renames, links, truncates, removes trees and syncs: read from the syntax tree.

Ruff bans the functions of `os` while an engineer types. It sees neither a method of a path nor an alias, so it is not
enough: a rename elsewhere is a rename without its syncs.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.documents import sources

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
DURABLE = "agent.store.files.durable"

# Of `os` and `posix`. Other objects may have a method `link` or `sync`.
SYSTEM = frozenset(
    {
        "rename",
        "renames",
        "replace",
        "link",
        "symlink",
        "truncate",
        "ftruncate",
        "fsync",
        "fdatasync",
        "sync",
        "O_TRUNC",
    }
)
# Of any object: no other meaning of these names is worth having.
METHODS = frozenset(
    {"rename", "renames", "symlink_to", "hardlink_to", "link_to", "truncate", "ftruncate", "rmtree", "fsync"}
    | {"fdatasync", "write_text", "write_bytes"}
)
# What is nowhere in a module that does nothing of the kind; most need not be parsed.
_NAMES = SYSTEM | METHODS | {"attrgetter", "getattr", "methodcaller", "open", "shutil"}
_MAY = re.compile(rf"\b({'|'.join(sorted(_NAMES))})\b|import \*")
HARMLESS = frozenset({"shutil.which", "shutil.disk_usage", "shutil.get_terminal_size"})

# What does so all the same, and why it may.
EXCEPTIONS = {
    "agent/trust/tuf_client.py: (directory / name).write_bytes": "a temporary directory, which no start reads again",
    "agent/fleet/trial/device.py: shutil.rmtree": "a test device's directory, on the operator's machine",
    "agent/cli/writing/output_file.py: os.O_TRUNC": "a link, a pipe or a device that a person named",
}


def found_in(source: str) -> list[tuple[int, str]]:
    """Return where a module changes names or truncates without `durable`: line and expression."""
    if source.isascii() and not _MAY.search(source):
        return []
    nodes = sources.walk(ast.parse(source))
    names = dict(_imported(nodes))
    called = {id(call.func): call for call in nodes if isinstance(call, ast.Call)}
    found = []
    for node in nodes:
        match node:
            case ast.Attribute():
                seen = _changes_files(node, _dotted(node, names), called.get(id(node)))
            case ast.Call():
                seen = _names_one(node) or _truncates(node)
            case ast.ImportFrom():
                seen = _imports_one(node)
            case _:
                continue
        if seen:
            found.append((node.lineno, ast.unparse(node)))
    return sorted(found)


def _imported(nodes: list[ast.AST]) -> Iterator[tuple[str, str]]:
    """Yield each name that an import binds, and what it stands for."""
    for node in nodes:
        for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
            if isinstance(node, ast.ImportFrom):
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"
            else:  # `import a.b` binds `a`
                bound = alias.asname or alias.name.partition(".")[0]
                yield bound, alias.name if alias.asname else bound


def _imports_one(node: ast.ImportFrom) -> bool:
    known = node.module in {"os", "posix", "shutil"}
    return known and any(_is_forbidden(f"{node.module}.{alias.name}") or alias.name == "*" for alias in node.names)


def _is_forbidden(dotted: str) -> bool:
    module, _, name = dotted.rpartition(".")
    return (module in {"os", "posix"} and name in SYSTEM) or (module == "shutil" and dotted not in HARMLESS)


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    """Return the full name of an expression that begins with an imported one, or an empty text."""
    if isinstance(node, ast.Name):
        return names.get(node.id, "")
    inner = _dotted(node.value, names) if isinstance(node, ast.Attribute) else ""
    return f"{inner}.{node.attr}" if inner and isinstance(node, ast.Attribute) else ""


def _changes_files(node: ast.Attribute, dotted: str, call: ast.Call | None) -> bool:
    if dotted.startswith(f"{DURABLE}.") or dotted in HARMLESS:
        return False
    if node.attr == "replace" and dotted != "os.replace":
        return dotted != "dataclasses.replace" and (call is None or _may_be_of_a_path(call))
    return _is_forbidden(dotted) or node.attr in METHODS


def _may_be_of_a_path(call: ast.Call) -> bool:
    """Whether a call of `replace` has the arguments of a path's; a text's has two, a time's have names."""
    if any(isinstance(argument, ast.Starred) for argument in call.args):
        return True
    return len(call.args) + len(call.keywords) == 1 and all(word.arg == "target" for word in call.keywords)


def _called(call: ast.Call) -> str:
    """Return the last name of what is called."""
    return str(getattr(call.func, "attr", getattr(call.func, "id", "")))


def _names_one(call: ast.Call) -> bool:
    """Whether an attribute is asked for by its name: `getattr(path, "rename")`."""
    by_name = _called(call) in {"getattr", "methodcaller", "attrgetter"}
    texts = {argument.value for argument in call.args if isinstance(argument, ast.Constant)}
    return by_name and bool(texts & (METHODS | SYSTEM))


def _truncates(call: ast.Call) -> bool:
    """Whether a file is opened by its name for writing, which cuts off what it holds."""
    if _called(call) != "open" or any(word.arg == "fileobj" for word in call.keywords):
        return False
    modes = [*call.args[:2], *(word.value for word in call.keywords if word.arg == "mode")]
    return any(isinstance(mode, ast.Constant) and mode.value in {"w", "wb", "wt", "w+", "w+b", "wb+"} for mode in modes)


def test_only_one_module_renames_links_truncates_and_syncs() -> None:
    """All others go through it, but the sandbox: nothing of it has to outlive a power cut, nor is it on a gateway."""
    found = {}
    for path in sorted((ROOT / "agent").rglob("*.py")):
        name = str(path.relative_to(ROOT))
        if name != "agent/store/files/durable.py" and not name.startswith("agent/sandbox/"):
            found.update({f"{name}: {text}": line for line, text in found_in(path.read_text())})
    assert {place: line for place, line in found.items() if place not in EXCEPTIONS} == {}
    assert set(EXCEPTIONS) <= set(found), "an exception that excuses nothing"


@pytest.mark.parametrize(
    "line",
    [
        "path.rename(target)",
        "path.replace(target)",
        "path.replace(target=other)",
        "path.replace(*one)",
        "Path('a').rename('b')",
        "(folder / name).symlink_to(target)",
        "path.hardlink_to(target)",
        "path.write_text('x')",
        "path.write_bytes(data)",
        "path.open('w')",
        "path.open(mode='wb')",
        "open(path, 'w')",
        "file.truncate(0)",
        "import os; os.rename(a, b)",
        "import os; os.renames(a, b)",
        "import os; os.replace(a, b, src_dir_fd=fd)",
        "import os; os.link(a, b)",
        "import os; os.symlink(a, b)",
        "import os; os.truncate(a, 0)",
        "import os; os.ftruncate(fd, 0)",
        "import os; os.fsync(fd)",
        "import os; os.fdatasync(fd)",
        "import os; os.sync()",
        "import os; os.open(a, os.O_WRONLY | os.O_TRUNC)",
        "import os as system; system.rename(a, b)",
        "import posix; posix.rename(a, b)",
        "from os import rename",
        "from os import replace as put",
        "from os import *",
        "def f():\n    from os import fsync\n    fsync(fd)",
        "import os; move = os.rename",
        "import os; getattr(os, 'rename')(a, b)",
        "from operator import methodcaller; methodcaller('rename', b)(a)",
        "import shutil; shutil.rmtree(x)",
        "import shutil; shutil.move(a, b)",
        "import shutil; shutil.copyfile(a, b)",
        "import shutil as s; s.rmtree(x)",
        "from shutil import rmtree",
        "list(map(path.replace, names))",
        "durable = Path(); durable.rename(target)",  # a name alone makes nothing durable
        "from elsewhere import durable; durable.rename(a, b, c)",
    ],
)
def test_it_is_seen(line: str) -> None:
    """Each of these, planted in a module, fails the test above."""
    assert found_in(line) != []


@pytest.mark.parametrize(
    "line",
    [
        "text.replace('a', 'b')",
        "text.replace('a', 'b', 1)",
        "data.replace(secret, CUT)",
        "moment.replace(microsecond=0)",
        "moment.replace(tzinfo=UTC, fold=1)",
        "from dataclasses import replace; replace(record, phase=phase)",
        "import dataclasses; dataclasses.replace(record, phase=phase)",
        "from agent.store.files import durable; durable.replace(fd, name, data, modes)",
        "from agent.store.files import durable; durable.rename(fd, old, new)",
        "from agent.store.files import durable; durable.sync(fd, 'it was put in place')",
        "import agent.store.files.durable; agent.store.files.durable.rename(fd, old, new)",
        "from agent.store.files.durable import replace; replace(fd, name, data, modes)",
        "session.link(other)",
        "job.sync()",
        "import os; os.unlink(name)",
        "import os; os.open(name, os.O_RDONLY)",
        "import os; os.fdopen(pipe, 'wb')",
        "import shutil; shutil.which('openssl')",
        "import tarfile; tarfile.open(fileobj=target, mode='w')",
        "path.open('rb')",
        "rename = 'os.rename(a, b)'  # os.rename(a, b)",
    ],
)
def test_it_is_left_alone(line: str) -> None:
    """What only looks like it."""
    assert found_in(line) == []
