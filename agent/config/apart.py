"""Reads the configuration in a process of its own: an idle daemon carries neither YAML nor the table of keys for years.

What comes back is said by this program's own child, over a pipe that no other process has; so it is believed. Where no
child can be had, the file is read here.
"""

from __future__ import annotations

import os
import sys
from _pickle import UnpicklingError, dumps, loads
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import ConfigError
from agent.system import children

if TYPE_CHECKING:
    from agent.config.values import Config

PATIENCE = 20.0  # seconds; a slow gateway needs one or two

_MOST = 16 << 20  # bytes; the file itself may have 64 KiB


def load_apart(path: Path) -> Config:
    """Return the configuration of a file; see `agent.config.reader.load`.

    Raises:
        ConfigError: It cannot be used.
    """
    command = [sys.executable, "-I", "-m", "agent.config.apart", os.fspath(path)]
    try:
        answer: Config | ConfigError = loads(children.said_by(command, os.environ, PATIENCE, most=_MOST))
    except (OSError, UnpicklingError, EOFError):
        return _read(path)
    if isinstance(answer, ConfigError):
        raise answer
    return answer


def _read(path: Path) -> Config:
    from agent.config.reader import load  # noqa: PLC0415 - see the module's docstring

    return load(path)


def main() -> None:
    """Say what the file of the command line comes to."""
    answer: Config | ConfigError
    try:
        answer = _read(Path(sys.argv[1]))
    except ConfigError as error:
        answer = error
    os.write(1, dumps(answer))


if __name__ == "__main__":
    main()
