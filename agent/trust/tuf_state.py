"""What this gateway remembers of signed bundles: the metadata it has verified, which is a floor for all to come.

It is one file, so that a power cut leaves what was known before or what is known now, and never a part. Losing it would
let an older bundle in, so a file that is damaged is said to be so and not replaced by nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agent.core.jsonio import PlainError, decode, encode
from agent.errors import DamagedError
from agent.store.files import directories, disk, durable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DIRECTORY, FILE = "trust", "metadata.json"

MAX = 33_554_432  # bytes; all that a reader remembers is less, also where every character is escaped
_NAME = re.compile(r"(root_history/[0-9]{1,9}\.)?[A-Za-z0-9%_.-]{1,100}\.json")


def read(state_dir: Path) -> dict[str, bytes]:
    """Return the metadata by name; empty before the first bundle.

    Raises:
        DamagedError: It is there and cannot be read as such.
        StoreError: It cannot be read.
    """
    with disk.directory(str(state_dir)) as root:
        if not disk.exists(root, DIRECTORY):
            return {}
        with disk.directory(DIRECTORY, root) as fd:
            try:
                files = decode(disk.read(fd, FILE, MAX), FILE, limit=MAX).node("files")
                return {name: files.text(name, limit=MAX).encode() for name in files.names() if _NAME.fullmatch(name)}
            except FileNotFoundError:
                return {}
            except PlainError as error:
                raise DamagedError(
                    f"What was known of signed bundles is damaged: {error}.",
                    hint=f"Remove {state_dir / DIRECTORY / FILE} to begin anew; an older bundle may get in once then.",
                ) from None


def write(state_dir: Path, memory: Mapping[str, bytes]) -> None:
    """Make the metadata durable.

    Raises:
        StoreError: It is not, or in doubt.
    """
    content = {"format": 1, "files": {name: data.decode() for name, data in memory.items()}}
    with disk.directory(str(state_dir)) as root:
        if not disk.exists(root, DIRECTORY):
            directories.make_directory(root, DIRECTORY, durable.Modes())
        with disk.directory(DIRECTORY, root) as fd:
            durable.replace(fd, FILE, encode(content) + b"\n", durable.Modes())
