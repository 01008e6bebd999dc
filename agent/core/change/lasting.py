"""How much of each step of a change the disk has to know before the next one: each sync wears flash out.

Rules:

* What a restart cannot find out, or must not do twice without knowing of it, lasts before the next step: that a
  certificate is about to be asked for (the request counts, answered or not), the certificate and its token, that it is
  registered, each failure, each word of a person, and how a change ended.
* A key that nothing has been asked for yet, a generation that is written, and the link that was moved are on the disk
  themselves. A restart from the phase before makes another key, finds the generation whole, or finds `current` moved.
* That a set was proven lasts before `current` moves, and not sooner: until then a restart proves it once more. That the
  dependants were served is seen by an agent that restarts; after a power cut each program of the gateway starts anew.
* A change that was cut off is written down at each step from then on, so that what stops it again is told by its name.
* When a set on probation was proven last is kept in memory; see `agent.core.change.probation`.

It refuses to know how a file is made durable.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from agent.core.change import probation
from agent.core.change.lifecycle import Phase

if TYPE_CHECKING:
    from agent.core.change.lifecycle import ChangeRecord


class Lasting(Enum):
    """What must have become of a record before the next step is taken."""

    NOW = auto()  # no power cut undoes it
    SEEN = auto()  # a process that starts sees it; a power cut may bring the record before it back
    LATER = auto()  # it is written with the next record, or before the change waits
    NEVER = auto()  # it need not be written at all


_LATER = {
    (Phase.PLANNED, Phase.KEY_READY),
    (Phase.REGISTERED, Phase.PREPARED),
    (Phase.PROVEN, Phase.ACTIVE),
}
_SEEN = {
    (Phase.PREPARED, Phase.PROVEN),
    (Phase.ACTIVE, Phase.DEPLOYED),
}


def lasting(before: ChangeRecord, after: ChangeRecord) -> Lasting:
    """Return how durable a record has to be that follows another."""
    if probation.is_quiet(before, after):
        return Lasting.NEVER
    step = (before.phase, after.phase)
    if step in _LATER and not before.resumes:
        return Lasting.LATER
    return Lasting.SEEN if step in _SEEN else Lasting.NOW
