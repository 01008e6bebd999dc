"""What is told when a change moves: one sentence for each event, or none. It refuses to know who listens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.core.change.events import Confirmed, Deployed, Doubted, Resumed, RolledBack
from agent.core.change.lifecycle import Phase

if TYPE_CHECKING:
    from agent.core.change.events import ChangeEvent
    from agent.core.change.lifecycle import ChangeRecord


@dataclass(frozen=True)
class Announcement:
    """What is told; see `agent.core.change.progress.Progress`."""

    code: str
    text: str
    failure: str | None = None


def announcement(before: ChangeRecord, record: ChangeRecord, event: ChangeEvent) -> Announcement | None:
    """Return what is told of an event that moved a change from one record to the next."""
    if isinstance(event, Resumed):
        return Announcement("note", f"Change {record.id} was found in phase {before.phase} and goes on from there.")
    if isinstance(event, Confirmed):
        final = "one more proof makes it final" if event.early else "it is final once probation is over"
        return Announcement("note", f"Generation {record.generation} is confirmed; {final}.")
    if isinstance(event, Doubted):
        lost = "The session was lost or refused on probation, so the set is proven now."
        return Announcement("note", lost)
    if isinstance(event, RolledBack):
        return None  # why was told when the set was condemned, and the outcome says which one is in use
    if record.failure is not None and record.failure is not before.failure:
        return Announcement("trouble", f"{record.failure} {record.failure.advice}".rstrip(), record.failure.kind)
    if isinstance(event, Deployed) and event.problem is not None:
        without = f"The change goes on without this: {event.problem.message}"
        return Announcement("trouble", without, event.problem.kind)
    if record.phase is not before.phase:
        ready = "; the previous set is kept ready" if record.base is not None else ""
        return Announcement(record.phase, _PHASE_TEXTS[record.phase].format(record=record, ready=ready))
    return None


_PHASE_TEXTS = {
    Phase.PLANNED: "Begun again with a new key.",
    Phase.KEY_READY: "A new private key is ready; it never leaves this device.",
    Phase.REQUESTED: "The cloud is asked for a certificate.",
    Phase.ISSUED: "The certificate has come and is acceptable.",
    Phase.REGISTERED: "The certificate is registered for {record.thing_name}.",
    Phase.PREPARED: "Generation {record.generation} is written.",
    Phase.PROVEN: "Generation {record.generation} connects and its request is answered.",
    Phase.ACTIVE: "Generation {record.generation} is current.",
    Phase.DEPLOYED: "On probation until {record.probation_until:%H:%M:%S} UTC{ready}.",
    Phase.COMMITTED: "Generation {record.generation} held through probation and is final.",
    Phase.REJECTED: "Given up before anything was changed.",
    Phase.ROLLED_BACK: "The set before is current again.",
    Phase.RETIRED: "The replaced certificate is retired.",
}
