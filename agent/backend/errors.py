"""What can go wrong between the handlers and AWS, by what the handler does about it.

::

    BackendError
    ├── UnavailableError      AWS did not answer, or puts off: nothing is decided, the same event comes again
    ├── ChangedError          what was decided upon is not so any more: read and decide again
    └── MisconfiguredError    the stack is not right: a permission, a table or a policy is missing; a person must act
    NotSignedError            a refusal, raised because a certificate provider cannot answer no
"""

from __future__ import annotations


class BackendError(Exception):
    """Something that keeps a handler from carrying its verdict out."""


class UnavailableError(BackendError):
    """AWS did not answer, or puts the request off."""


class ChangedError(BackendError):
    """A row or a certificate is not any more what the verdict was about."""


class MisconfiguredError(BackendError):
    """AWS refuses what the stack should be allowed to do, or lacks what it should have."""


class NotSignedError(Exception):
    """A request for a certificate is refused; the same request would be refused again.

    It is raised, because a certificate provider cannot answer no (see `handlers.signing`).
    """
