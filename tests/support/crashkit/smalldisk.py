"""A real small ext4 on a loop device, and ways to leave exactly so much of it free."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 1024


class CannotMountError(Exception):
    """This machine does not let us: no root, no loop device, no mkfs."""


@contextlib.contextmanager
def small_ext4(*, kibibytes: int, inodes: int, block: int = BLOCK) -> Iterator[Path]:
    """Mount a new ext4 without a journal for the length of a block.

    Raises:
        CannotMountError: It cannot be done here; the text is the reason.
    """
    if os.geteuid() != 0:
        raise CannotMountError("mounting needs root")
    folder = Path(tempfile.mkdtemp(prefix="crashkit-disk-"))
    try:
        image, mount = folder / "image", folder / "mount"
        mount.mkdir()
        with image.open("wb") as file:
            file.truncate(kibibytes * 1024)
        layout = ("-b", str(block), "-O", "^has_journal,^resize_inode", "-m", "0", "-N", str(inodes))
        _run("mkfs.ext4", "-q", "-F", *layout, str(image))
        _run("mount", "-o", "loop,lazytime", str(image), str(mount))
        try:
            yield mount
        finally:
            _run("umount", str(mount))
    finally:
        shutil.rmtree(folder)


def remount(mount: Path, how: str) -> None:
    """Mount again, ``ro`` or ``rw``."""
    _run("mount", "-o", f"remount,{how}", str(mount))


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise CannotMountError(f"there is no {command[0]}") from error
    except subprocess.CalledProcessError as error:
        raise CannotMountError(f"{' '.join(command)} failed: {error.stderr.strip()}") from error


def free_blocks(mount: Path) -> int:
    """Return how many blocks are free."""
    return os.statvfs(mount).f_bavail


@contextlib.contextmanager
def only_blocks(mount: Path, blocks: int) -> Iterator[None]:
    """Leave this many blocks free for the length of a block of code."""
    ballast, size = mount / "ballast", os.statvfs(mount).f_frsize
    with ballast.open("wb") as file:
        lot = free_blocks(mount) - blocks
        while lot > 0 and (surplus := free_blocks(mount) - blocks) > 0:
            try:
                os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), min(lot, surplus) * size)
            except OSError:
                lot //= 2  # where what is free lies in many places, the list of them takes a block, too
    try:
        yield
    finally:
        ballast.unlink()


@contextlib.contextmanager
def only_inodes(mount: Path, inodes: int) -> Iterator[None]:
    """Leave this many inodes free for the length of a block of code."""
    folder = mount / "many"
    folder.mkdir()
    number = 0
    while os.statvfs(mount).f_favail > inodes:
        (folder / str(number)).touch()
        number += 1
    try:
        yield
    finally:
        shutil.rmtree(folder)
