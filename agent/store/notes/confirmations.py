"""The directory in which the gateway's own application says that it works with a new set.

The contract: it makes a file there that is named like the directory `current` leads to, for example with
``touch /run/iot-cert-agent/confirm/000007``. What is in the file does not matter; it is never opened. So the word is
about the one set that the application has seen, and about no other.

Rules:

* No other program can say it: what lies there is believed only while root, the agent's own user and members of
  `iot-cert-admin`, who may order changes anyway, are the only ones who can put it there.
* It is emptied before a set is put in use, so that no word is older than what it is about.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from agent.errors import StoreError
from agent.store.files import disk, durable
from agent.store.names import final_name
from agent.system.peers import ADMINS, group_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class ConfirmationDirectory:
    """One directory; see `agent.ports.Confirmations`."""

    def __init__(self, path: Path, admins: Callable[[], frozenset[int]] = lambda: group_ids(ADMINS)) -> None:
        """Name it; nothing happens yet.

        Args:
            path: Where it is, or is to be made.
            admins: Returns the groups whose members may order changes.
        """
        self._path = path
        self._admins = admins

    def expect(self) -> None:
        """See `agent.ports.Confirmations`."""
        self._make()
        with self._open() as fd:
            for name in disk.names(fd):
                if not disk.is_directory(fd, name):
                    durable.remove(fd, name)

    def given(self, generation: int) -> bool:
        """See `agent.ports.Confirmations`."""
        name = final_name(generation)
        try:
            with self._open() as fd, disk.explained(f"look at {self._path}/{name}"):
                return stat.S_ISREG(os.lstat(name, dir_fd=fd).st_mode)
        except StoreError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return False
            raise

    def _make(self) -> None:
        """Make it where no package has; a user who is not root may not give it to a group of others."""
        with disk.explained(f"make {self._path}"):
            try:
                self._path.mkdir(mode=0o700)
            except FileExistsError:
                return
            with suppress(PermissionError):
                for group in self._admins():
                    os.chown(self._path, -1, group)
                    self._path.chmod(0o770)

    @contextmanager
    def _open(self) -> Iterator[int]:
        """Open it, after a look at who can write to it.

        Raises:
            StoreError: Others can, or it cannot be looked at.
        """
        with disk.directory(os.fspath(self._path)) as fd:
            with disk.explained(f"look at {self._path}"):
                status = os.fstat(fd)
            ours = status.st_uid in {0, os.geteuid()}
            by_group = status.st_mode & stat.S_IWGRP and status.st_gid not in self._admins()
            if not ours or by_group or status.st_mode & stat.S_IWOTH:
                raise StoreError(
                    f"Others than root and members of {ADMINS} may write to {self._path}, so no word in it counts.",
                    hint=f"Give it to the agent's user and the group {ADMINS}, with mode 0770.",
                )
            yield fd
