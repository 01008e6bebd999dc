"""What stands on the project's pages: sections, the blocks in them, and the commands that a person types from there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
# Pages for people, which an operator, a technician or an engineer opens; decision records and the like are among them.
PAGES = sorted((ROOT / "docs").rglob("*.md"))


def section(page: str, heading: str) -> str:
    """Return one section of a page, without the next one of its rank.

    Args:
        page: The page's path in the tree.
        heading: The words of its heading, of the second rank.
    """
    return (ROOT / page).read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]


def blocks(text: str, language: str = "sh") -> list[str]:
    """Return the fenced blocks of a language, a text for each."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def lines(block: str) -> list[str]:
    """Return what is typed in a block, a text for each command: continuations joined, remarks gone."""
    joined = block.replace("\\\n", " ")
    return [line for line in (re.sub(r"(^|\s+)#.*", "", line).strip() for line in joined.splitlines()) if line]


def typed(text: str) -> list[str]:
    """Return every command that is typed in a text's blocks of shell."""
    return [line for block in blocks(text) for line in lines(block)]


def inline(text: str) -> list[str]:
    """Return what stands in backticks, outside of fenced blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
