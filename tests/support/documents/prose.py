"""`python -m support.documents.prose`: reads pages and manuals as prose, by proselint's rules and by the house's own.

`[tool.prose]` of `pyproject.toml` has what is off, with its reason, and how long a sentence may be. Code is one word to
the rules, in its place in the file.
"""

from __future__ import annotations

import re
import sys
import tomllib
from typing import TYPE_CHECKING, NamedTuple

from proselint.checks import __register__ as checks
from proselint.config import DEFAULT
from proselint.registry import CheckRegistry
from proselint.tools import LintFile

from support.documents.pages import PAGES, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FURTHER = ("*.md", "config/**/*.md", "packaging/**/*.md", "packaging/man/*")
DOCUMENTS = sorted([*PAGES, *(path for pattern in _FURTHER for path in ROOT.glob(pattern))])
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["prose"]
OFF, LONGEST, WORDS = tuple(SETTINGS["off"]), int(SETTINGS["longest"]), SETTINGS["words"]

CheckRegistry().register_many(checks)


class Slip(NamedTuple):
    """What a rule finds.

    Attributes:
        line: The line in the file.
        rule: The rule's name.
        text: What is wrong, in a sentence.
    """

    line: int
    rule: str
    text: str


def slips(text: str, *, roff: bool = False, off: tuple[str, ...] = OFF) -> list[Slip]:
    """Return what the rules find in a text, in its order.

    Args:
        text: Markdown, or a manual page.
        roff: Whether it is a manual page.
        off: Rules of proselint that are not asked, by the beginnings of their names.
    """
    prose = (_of_roff if roff else _of_markdown)(text)
    return sorted([*_by_proselint(prose, off), *_by_words(prose), *_by_length(prose)])


def _by_proselint(prose: str, off: tuple[str, ...]) -> Iterator[Slip]:
    without = dict.fromkeys(off, False)
    asked = without | DEFAULT["checks"] | without  # the first that fits a rule's name decides
    for result in LintFile("page", prose).lint({"max_errors": 1000, "checks": asked}):
        yield Slip(result.pos[0], result.check_result.check_path, result.check_result.message)


def _by_words(prose: str) -> Iterator[Slip]:
    for word, better in WORDS.items():
        for found in re.finditer(rf"(?<![\w-]){word}(?![\w-])".replace(" ", r"\s+"), prose, re.IGNORECASE):
            yield Slip(_line(prose, found.start()), "house.words", f'"{found[0]}": {better}.')


def _by_length(prose: str) -> Iterator[Slip]:
    # A list's item, a cell and a heading end what stands before them.
    apart = re.sub(r"^ *(?:[-*#>]+|\d+\.) |^\.(?:SH|SS|TP|PP|IP|RS|RE|br)\b.*$|\|", _ended, prose, flags=re.MULTILINE)
    for found in re.finditer(r"(?:[^.!?:;\0\n]|[.!?:;](?!\W*\s)|\n(?!\s*\n))+", apart):
        words = re.findall(r"\w[\w'-]*", found[0])
        if len(words) > LONGEST:
            first = " ".join(words[:5])
            at = found.start() + len(found[0]) - len(found[0].lstrip())
            yield Slip(_line(prose, at), "house.length", f'"{first} ..." goes on for {len(words)} words.')


def _ended(found: re.Match[str]) -> str:
    return "\0" * len(found[0])


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _of_markdown(text: str) -> str:
    text = _replaced(r"^```.*?^```|(?<=\])\([^)]*\)", " ", text)
    return _replaced(r"`[^`]+`|(?<=^## )iot-cert [^\n]*", "n", text)


def _of_roff(text: str) -> str:
    text = _replaced(r"^\.(?:nf|EX)$.*?^\.(?:fi|EE)$", " ", text.replace("\\-", "- "))
    text = _replaced(r'^\.(?:TH|SY|OP|YS)[^\n]*|^\.\\"[^\n]*', " ", text)
    text = _replaced(r"^\.(?:B|I|BI|BR|IR|RB|RI) [^\n]*?(?=[ .,;:]*$)", "n", text)
    return _replaced(r"\\f[BI].*?\\f[RP]", "n", text)


def _replaced(pattern: str, put: str, text: str) -> str:
    """Return a text with what a pattern finds as so many of a letter; lines stay lines."""
    return re.sub(pattern, lambda found: re.sub(r"[^\n]", put, found[0]), text, flags=re.MULTILINE | re.DOTALL)


def read(path: Path) -> list[Slip]:
    """Return what the rules find in a document; the glossary names words that are not to be used."""
    found = slips(path.read_text(), roff=path.suffix != ".md")
    return [slip for slip in found if path.name != "glossary.md" or slip.rule != "house.words"]


def main() -> int:
    """Tell of each slip, and end with 1 where there is one."""
    found = [(path, slip) for path in DOCUMENTS for slip in read(path)]
    for path, slip in found:
        print(f"{path.relative_to(ROOT)}:{slip.line}: {slip.rule}: {slip.text}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
