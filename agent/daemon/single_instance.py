"""Sees to it that a gateway has one daemon: two would fight for the client id.

Both its runtime directory and its state directory are held by a lock for as long as the process lives, since a second
daemon may run with another runtime directory. A state directory may be made later; then the first to find it has it.
"""

from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING

from agent.errors import AgentError, RefusedError, StoreError
from agent.store.files import disk, lock_files
from agent.system import files, locks

if TYPE_CHECKING:
    from pathlib import Path

_REMEDIES = dict.fromkeys(
    (errno.EACCES, errno.EPERM),
    "Give it to the user that the daemon works as; systemd does so where the unit has RuntimeDirectory=.",
)
_ANOTHER = "Name another `runtime_dir`."
_ELSE = "Or name another `runtime_dir`."


class SingleInstance:
    """The locks of one daemon."""

    def __init__(self, runtime_dir: Path, state_dir: Path) -> None:
        """Name the directories; nothing is locked yet."""
        self._runtime_dir = runtime_dir
        self._state_dir = state_dir
        self._state_lock = locks.LifeLock(state_dir / locks.DAEMON)
        self._runtime_lock = -1
        self._unlocked = ""
        self._refusal: RefusedError | None = None

    @property
    def refusal(self) -> RefusedError | None:
        """Why this is not the only daemon, once that turned out."""
        return self._refusal

    def hold_runtime(self) -> None:
        """Hold the runtime directory, which is made when there is none, or go on holding it.

        Raises:
            RefusedError: Another daemon runs.
            AgentError: The directory cannot be used.
        """
        directory = self._runtime_dir
        if self._holds_runtime():
            return
        try:
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            before, self._runtime_lock = self._runtime_lock, _locked(directory)
            if before >= 0:
                os.close(before)
        except BlockingIOError:
            hint = "`systemctl status iot-cert-agent` shows it."
            raise RefusedError(f"A daemon runs already with {directory}.", hint=hint) from None
        except FileExistsError as error:  # which is also said of a link to what is not there
            text = f"{directory} is {files.kind_of(os.lstat(directory).st_mode)}, where a directory is expected."
            raise AgentError(text, hint="Move it out of the way, or name another `runtime_dir`.") from error
        except OSError as error:
            text = f"runtime_dir {directory} cannot be used: {os.strerror(error.errno or 0)}."
            remedy = _REMEDIES.get(error.errno or 0, files.remedy(error.errno))
            raise AgentError(text, hint=f"{remedy} {_ELSE}" if remedy else _ANOTHER) from error

    def _holds_runtime(self) -> bool:
        """Whether the lock that is held is still what another daemon would find."""
        if self._runtime_lock < 0:
            return False
        try:
            there, here = os.lstat(self._runtime_dir / locks.DAEMON), os.fstat(self._runtime_lock)
        except OSError:
            return False
        return os.path.samestat(there, here)

    def hold_state(self) -> str:
        """Hold the state directory as well, once there is one; cheap when it is held.

        Returns:
            Why it is not held, as a sentence, when that is news; else an empty text.

        Raises:
            RefusedError: Another daemon holds it.
        """
        try:
            why = self._state_lock.hold() and self._hold_after_making_way()
        except locks.HeldError as held:
            message = f"A daemon{held.who} runs already with {self._state_dir}; it has another runtime_dir."
            hint = "Stop that one, or give this one a state_dir and a client_id of its own."
            self._refusal = RefusedError(message, hint=hint)
            raise self._refusal from None
        news, self._unlocked = why != self._unlocked, why
        if not why or not news:
            return ""
        return f"A second daemon could not be told from this one, since the state directory is not locked: {why}."

    def _hold_after_making_way(self) -> str:
        try:
            with disk.directory(str(self._state_dir)) as folder:
                lock_files.make_way(folder, locks.DAEMON)
        except StoreError as error:
            return str(error)
        return self._state_lock.hold()

    def close(self) -> None:
        """Let go of the state directory; of the runtime directory the kernel does, once nothing there is in use."""
        self._state_lock.close()


def _locked(directory: Path) -> int:
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = lock_files.opened(folder, locks.DAEMON)
    finally:
        os.close(folder)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # and is let go of by the kernel
    except OSError:
        os.close(fd)  # it is tried again each minute
        raise
    return fd
