"""`python -m pictures DIRECTORY`: draws every picture of the pages."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pictures import files, growth, ladder, machine, screens, sides, timeline

if TYPE_CHECKING:
    from collections.abc import Callable

PICTURES: dict[str, Callable[[], str]] = {
    "sides.svg": sides.draw,
    "machine.svg": machine.draw,
    "ladder.svg": ladder.draw,
    "files.svg": files.draw,
    "timeline.svg": timeline.draw,
    "growth.svg": growth.draw,
    "rotate.svg": lambda: screens.draw("rotate"),
    "status.svg": lambda: screens.draw("status"),
    "check.svg": lambda: screens.draw("check"),
}


def main(directory: str) -> None:
    """Write them."""
    Path(directory).mkdir(exist_ok=True)
    for name, draw in PICTURES.items():
        (Path(directory) / name).write_text(draw())


if __name__ == "__main__":
    main(*sys.argv[1:])
