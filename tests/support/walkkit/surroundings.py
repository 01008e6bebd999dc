"""What surrounds a gateway and may fail: the disk under its state, and whatever answers in the endpoint's place."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 4096
SIZE = 2048  # KiB
INODES = 400


class SmallDisk:
    """A small disk of the state directory's own, in memory; a context manager. Without root there is none.

    Attributes:
        mounted: Whether there is one.
    """

    def __init__(self, path: Path) -> None:
        """Describe it; nothing is mounted yet."""
        self._path = path
        self.mounted = False

    def __enter__(self) -> Self:
        self._path.mkdir(mode=0o700)
        options = f"size={SIZE}k,nr_inodes={INODES},mode=0700"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self._path)]
        self.mounted = os.geteuid() == 0 and subprocess.run(command, check=False, capture_output=True).returncode == 0
        return self

    def __exit__(self, *_: object) -> None:
        if self.mounted:  # lazily: a process that was killed may not be gone from it yet
            subprocess.run(["umount", "--lazy", str(self._path)], check=True)

    def fill(self, kibibytes: int) -> None:
        """Leave at most so much room."""
        self.free()
        ballast = self._path / "ballast"
        with ballast.open("wb") as file, suppress(OSError):
            free = os.statvfs(self._path).f_bavail * PAGE
            os.posix_fallocate(file.fileno(), 0, max(PAGE, free - kibibytes * 1024))

    def free(self) -> None:
        """Give the room back."""
        (self._path / "ballast").unlink(missing_ok=True)


class StandIn:
    """What answers on the endpoint's port while the endpoint is away: it takes connections and says nothing useful."""

    def __init__(self, port: int, *, silent: bool) -> None:
        """Begin to listen.

        Args:
            port: The endpoint's, which does not listen.
            silent: Keep connections open without a word, instead of hanging up on them.
        """
        self._silent = silent
        self._held: list[socket.socket] = []
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self._socket.listen(64)
        self._thread = threading.Thread(target=self._serve, name="stand-in", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            if self._silent:
                self._held.append(connection)
            else:
                connection.close()

    def close(self) -> None:
        """Hang up and give the port back."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()
        for connection in self._held:
            connection.close()
