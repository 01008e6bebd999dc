"""What a command lacks of the machine it runs on, said as that: such an end is no defect of the program.

It refuses to guess: an error that can have another cause is none of these.
"""

from __future__ import annotations

import errno
from pathlib import Path

from agent.core.exit_codes import Exit
from agent.errors import AgentError, ConfigError

_USED_UP = {
    errno.EAGAIN: "process",
    errno.ENOMEM: "memory",
    errno.EMFILE: "file descriptor",
    errno.ENFILE: "file descriptor",
}
_LEAVE_SOME = (
    "End what uses them up, or raise the limit: `ulimit -a` shows it, TasksMax=, MemoryMax= and LimitNOFILE= of a unit "
    "set it. The set in use was not changed by it."
)


def lack_of(error: BaseException) -> tuple[AgentError, Exit] | None:
    """Return what an unexpected error says of the machine, and the exit code; None when it may be a defect."""
    if isinstance(error, FileNotFoundError) and _is_nowhere():
        text = "The directory that this command was started in is gone, and a path was given that begins there."
        return ConfigError(text, hint="`cd` to another directory, or give the whole path."), Exit.USAGE
    missing = _used_up(error)
    if not missing:
        return None
    return AgentError(f"This gateway has no further {missing} for this command.", hint=_LEAVE_SOME), Exit.DEGRADED


def _is_nowhere() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def _used_up(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "memory"
    if isinstance(error, RuntimeError) and "thread" in str(error).lower():  # Python's own word, and the SDK's
        return "thread"
    return _USED_UP.get(error.errno or 0, "") if isinstance(error, OSError) else ""
