"""What is told of a change while it is made, to a terminal, the journal and the clients of the daemon alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.frozen import frozen
from agent.core.values import Id, LongText  # noqa: TC001 - the decoder reads the types of `Progress`

if TYPE_CHECKING:
    from datetime import datetime


@frozen
class Progress:
    """One thing worth telling those who follow a change.

    Attributes:
        at: When.
        code: The phase reached, ``wait``, ``trouble``, ``note`` or ``outcome``.
        text: A sentence.
        change: The change's id, or empty.
        failure: The class of the failure that is told of, or None.
    """

    at: datetime
    code: Id
    text: LongText
    change: Id = ""
    failure: Id | None = None
