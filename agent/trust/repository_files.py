"""The files of a signed repository as it is published: read whole, and written in the order that readers need."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from agent.errors import ConfigError
from agent.store.files import directories, disk, durable
from agent.system.files import kind_of
from agent.trust.tuf_client import METADATA, TARGETS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MAX = 1_048_576  # bytes of one file
_MODES = durable.Modes(public_mode=0o644, directory_mode=0o755)
_ROOT = re.compile(r"(\d+)\.root\.json")


def read(directory: Path) -> dict[str, bytes]:
    """Return the files of a repository by their names in it; more than `_MAX` of one is cut off, and fails to verify.

    Raises:
        OSError: One cannot be read.
    """
    files: dict[str, bytes] = {}
    for prefix in (METADATA, TARGETS):
        for path in sorted((directory / prefix).rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                with path.open("rb") as file:
                    files[f"{path.relative_to(directory)}"] = file.read(_MAX)
    return files


def write(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write what is new, the list that a gateway reads first as the last.

    Raises:
        ConfigError: Something else stands where a directory is to be.
        StoreError: It could not be written.
    """
    for name in sorted(files, key=_order):
        folder, _, base = name.rpartition("/")
        _make(directory / folder)
        with disk.directory(str(directory / folder)) as fd:
            durable.replace(fd, base, files[name], _MODES)


def _order(name: str) -> tuple[bool, bool, bool, str]:
    """Return when a file is written: a root may withdraw the timestamp's key, so nothing comes between the two."""
    base = name.removeprefix(METADATA)
    return base == "timestamp.json", _ROOT.fullmatch(base) is not None, base != name, name


def _make(folder: Path) -> None:
    """Make a folder that a web server may read, whatever the umask, and those above it."""
    with disk.explained(f"look for {folder}"):
        if folder.is_dir():
            return
        if folder.exists():
            kind = kind_of(folder.stat().st_mode)
            raise ConfigError(f"{folder} is {kind}, where the directory of a repository is expected.")
    _make(folder.parent)
    with disk.directory(os.path.realpath(folder.parent)) as fd:
        directories.make_directory(fd, folder.name, _MODES)
