"""Sees to it that a gateway has one daemon: two would fight for the client id.

Both its runtime directory and its state directory are held by a lock for as long as the process lives, since a second
daemon may run with another runtime directory. A state directory may be made later; then the first to find it has it.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from agent.errors import AgentError, RefusedError, StoreError
from agent.store.files import lock_files
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
        self._state_lock = locks.LifeLock(state_dir / locks.DAEMON, lock_files.opened_at)
        self._runtime_lock = locks.LifeLock(runtime_dir / locks.DAEMON, lock_files.opened_at)
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
        try:
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._runtime_lock.hold()
        except locks.HeldError:
            hint = "`systemctl status iot-cert-agent` shows it."
            raise RefusedError(f"A daemon runs already with {directory}.", hint=hint) from None
        except FileExistsError as error:  # which is also said of a link to what is not there
            text = f"{directory} is {files.kind_of(os.lstat(directory).st_mode)}, where a directory is expected."
            raise AgentError(text, hint="Move it out of the way, or name another `runtime_dir`.") from error
        except OSError as error:
            text = f"runtime_dir {directory} cannot be used: {os.strerror(error.errno or 0)}."
            remedy = _REMEDIES.get(error.errno or 0, files.remedy(error.errno))
            raise AgentError(text, hint=f"{remedy} {_ELSE}" if remedy else _ANOTHER) from error

    def hold_state(self) -> str:
        """Hold the state directory as well, once there is one; cheap when it is held.

        Returns:
            Why it is not held, as a sentence, when that is news; else an empty text.

        Raises:
            RefusedError: Another daemon holds it.
        """
        try:
            self._state_lock.hold()
            why = ""
        except locks.HeldError as held:
            message = f"A daemon{held.holder.who} runs already with {self._state_dir}; it has another runtime_dir."
            hint = "Stop that one, or give this one a state_dir and a client_id of its own."
            self._refusal = RefusedError(message, hint=hint)
            raise self._refusal from None
        except StoreError as error:
            why = str(error)
        except OSError as error:
            why = f"{self._state_dir / locks.DAEMON}: {os.strerror(error.errno or 0)}"
        news, self._unlocked = why != self._unlocked, why
        if not why or not news:
            return ""
        return f"A second daemon could not be told from this one, since the state directory is not locked: {why}."

    def close(self) -> None:
        """Let go of the state directory; of the runtime directory the kernel does, once nothing there is in use."""
        self._state_lock.close()
