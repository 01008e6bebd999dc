"""Compile the agent as a gateway carries it, without the texts for readers of the source: `lean.py FOLDER PLACE`.

FOLDER holds the sources, PLACE is where they will be. The code is put beside them, and is not checked against them at
run time. Docstrings are left out, which an idle daemon would hold for years and each command would read. Lines, names
and assertions stay, so a traceback says what it says without this. A class keeps an empty one, since `dataclasses`
writes one for a class that has none.

The same input gives the same bytes.
"""

from __future__ import annotations

import ast
import marshal
import sys
from importlib.util import MAGIC_NUMBER, cache_from_source, source_hash
from pathlib import Path

_UNCHECKED = (1).to_bytes(4, "little")  # PEP 552: by the hash of the source, which is not compared


def without_docstrings(source: bytes) -> ast.Module:
    """Return what a source says, without its docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(body=[ast.Expr(value=ast.Constant(value=str()) as text), *_]):
                text.value = " "
            case ast.Module(body=body) | ast.FunctionDef(body=body) | ast.AsyncFunctionDef(body=body):
                match body:
                    case [ast.Expr(value=ast.Constant(value=str())) as first]:
                        body[:] = [ast.copy_location(ast.Pass(), first)]
                    case [ast.Expr(value=ast.Constant(value=str())), *_]:
                        del body[0]
    return tree


def main(folder: Path, place: Path) -> None:
    """Compile every source below a folder."""
    for path in sorted(folder.rglob("*.py")):
        source = path.read_bytes()
        code = compile(without_docstrings(source), place / path.relative_to(folder), "exec", dont_inherit=True)
        compiled = Path(cache_from_source(path))
        compiled.parent.mkdir(exist_ok=True)
        compiled.write_bytes(MAGIC_NUMBER + _UNCHECKED + source_hash(source) + marshal.dumps(code))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
