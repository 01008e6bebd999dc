"""Letting go of open files changes nothing, whatever the file system says to it."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from agent.store import disk, durable
from agent.system import descriptors

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(name="closed")
def _closed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have each close tell of trouble after it has let go, as Linux does."""
    really, closed = os.close, []

    def close(fd: int) -> None:
        really(fd)
        closed.append(fd)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "close", close)
    return closed


def test_trouble_at_the_close_is_none_and_a_descriptor_is_closed_once(tmp_path: Path, closed: list[int]) -> None:
    """A second try would close what another thread has opened since."""
    fd = os.open(tmp_path, os.O_RDONLY)
    descriptors.release(fd)
    assert closed == [fd]


def test_what_was_synced_or_read_is_known_although_the_close_fails(tmp_path: Path, closed: list[int]) -> None:
    """On NFS and FUSE a disk that fails may say so first at close(2)."""
    with disk.directory(str(tmp_path)) as fd:
        durable.replace(fd, "a", b"new", durable.Modes())
        durable.append(fd, "b", b"line\n", durable.Modes())
        assert disk.read(fd, "a", 10) == b"new"
        assert disk.read(fd, "b", 10) == b"line\n"
    assert len(closed) >= 5
