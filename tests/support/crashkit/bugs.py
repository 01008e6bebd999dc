"""Bugs that the methods must find, planted by replacing functions while a script runs."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, Any

from agent.errors import StoreError
from agent.store.files import durable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def no_file_sync() -> Iterator[None]:
    """Files get their names before their data is durable."""
    with replaced(os, "fsync", _only(stat.S_ISDIR)):
        yield


@contextlib.contextmanager
def no_directory_sync() -> Iterator[None]:
    """Names are never made durable."""
    with replaced(os, "fsync", _only(stat.S_ISREG)):
        yield


@contextlib.contextmanager
def no_sync_before_activation() -> Iterator[None]:
    """`current` may move before the record is durable that says that its set was proven."""
    real = durable.sync

    def sync(dir_fd: int, done: str) -> None:
        if not done.startswith(("previous was put", "the record of the change")):
            real(dir_fd, done)

    with replaced(durable, "sync", sync):
        yield


@contextlib.contextmanager
def unlink_before_link() -> Iterator[None]:
    """A link is removed before the new one is made."""
    with replaced(durable, "point", _point_with_a_gap):
        yield


def _only(wanted: Callable[[int], bool]) -> Callable[[int], None]:
    real = os.fsync

    def fsync(fd: int) -> None:
        if wanted(os.fstat(fd).st_mode):
            real(fd)

    return fsync


def _point_with_a_gap(dir_fd: int, name: str, target: str) -> None:
    durable.remove(dir_fd, name)
    try:
        os.symlink(target, name, dir_fd=dir_fd)
    except OSError as error:
        raise StoreError(f"cannot make the link {name}") from error
    durable.sync(dir_fd, f"{name} was put in place")


@contextlib.contextmanager
def replaced(module: Any, name: str, replacement: Callable[..., Any]) -> Iterator[None]:
    """Have a module's function do something else for the length of a block."""
    real = getattr(module, name)
    setattr(module, name, replacement)
    try:
        yield
    finally:
        setattr(module, name, real)
