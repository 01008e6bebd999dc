"""Faults that strike a change, once or for as long as it lasts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.failure.failure import FailureClass
from agent.sandbox.replies.faults import Operation

if TYPE_CHECKING:
    from agent.core.change.lasting import Lasting as Durability
    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.failure.failure import Failure
    from support.simulated.rig import Rig

CONNECT, CREATE, REGISTER, ASK = (Operation(name) for name in ("connect", "create", "register", "ask"))

NETWORK, PROTOCOL, POLICY = FailureClass.NETWORK, FailureClass.PROTOCOL, FailureClass.POLICY


def watch(rig: Rig) -> list[Failure]:
    """Return a list that fills with the failures that are saved in the record from now on."""
    failures: list[Failure] = []
    save = rig.store.save_change

    def watched(record: ChangeRecord, needed: Durability) -> None:
        if record.failure is not None and record.failure not in failures:
            failures.append(record.failure)
        save(record, needed)

    rig.store.save_change = watched  # type: ignore[method-assign]
    return failures
