"""The tree of errors: whose fault it is, and what the person who must act should do.

::

    AgentError
    ├── ConfigError            the operator must change the configuration
    ├── RefusedError           the agent will not do it now: permission, another change, a used-up budget
    ├── StoreError             this disk: no room, no permission, an I/O error
    │   ├── StoreBusyError     another process holds the store
    │   ├── StoreInDoubtError  a last sync failed: the outcome must be read back, not assumed
    │   └── DamagedError       readable but wrong; never repaired in place
    ├── MaterialError          a key, certificate, request or bundle that cannot be used
    ├── BundleError            a signed bundle that is not accepted; carries a code
    └── CloudError             the network, the endpoint or AWS IoT Core; carries a `Failure`

Misuse of the agent's own interfaces stays `ValueError` or `RuntimeError`: it is a defect, not an event.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.core.failure.failure import Failure


class AgentError(Exception):
    """Something a person may have to act on.

    Attributes:
        hint: What to do next, as a sentence, or empty where there is nothing to do.
        general: Whether that is true of any file, and a caller that knows what belongs there has a better one.
    """

    def __init__(self, message: str, *, hint: str = "", general: bool = False) -> None:
        super().__init__(message)
        self.hint = hint
        self.general = general

    @property
    def in_full(self) -> str:
        """What happened and what to do next, in one line."""
        return f"{self} {self.hint}".strip()

    def hint_or(self, own: str) -> str:
        """Return what to do next: the caller's own where this error knows no better."""
        return own if self.general or not self.hint else self.hint

    @property
    def denied(self) -> bool:
        """Whether this user may not do it, as the error says that is behind this one."""
        return self._is_of(errno.EACCES, errno.EPERM)

    def _is_of(self, *numbers: int) -> bool:
        cause = self.__cause__
        while cause is not None:
            if isinstance(cause, OSError) and cause.errno in numbers:
                return True
            cause = cause.__cause__
        return False


class ConfigError(AgentError):
    """The configuration cannot be used; the message names file, line, key and expectation.

    Attributes:
        complaints: What is wrong, each by itself; the message has them on a line each.
    """

    def __init__(self, *complaints: str, hint: str = "", general: bool = False) -> None:
        super().__init__("\n".join(complaints), hint=hint, general=general)
        self.complaints = complaints


class RefusedError(AgentError):
    """The agent declines the request in its present state."""


class StoreError(AgentError):
    """The state directory could not be read or written; what was there before is untouched."""

    @property
    def no_room(self) -> bool:
        """Whether the disk, its inodes or a quota were used up, as the error says that is behind this one."""
        return self._is_of(errno.ENOSPC, errno.EDQUOT)


class StoreBusyError(StoreError):
    """Another process is the store's one writer."""


class StoreInDoubtError(StoreError):
    """The step was taken but its last sync failed, so a power cut may still undo it."""


class DamagedError(StoreError):
    """Something on disk is readable but wrong; it is never used and never repaired in place."""


class MaterialError(AgentError):
    """A key, certificate, request or trust bundle that cannot be parsed or used."""


class BundleError(AgentError):
    """A signed bundle of trust anchors that is not accepted, or not yet; the anchors in use are untouched.

    Attributes:
        code: A short stable name of the reason, for the pipeline that shipped it.
        passing: Whether the same bundle may be accepted later: the clock is to be set, or the network to come back.
    """

    def __init__(self, code: str, message: str, *, hint: str = "", passing: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.passing = passing


class CloudError(AgentError):
    """Another party did not do what was asked: the network, the endpoint, the cloud service, a dependant.

    Attributes:
        failure: The same as a value, with its class, which the state machine judges.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message, hint=failure.remedy)
        self.failure = failure
