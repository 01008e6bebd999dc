"""Retirements that wait for other programs, and certificates of which it is not known whether they were registered."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest

from agent.cli.carrying.outcomes import Ending, tell_outcome
from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.exit_codes import Exit
from agent.core.report.screen import history_line
from agent.core.values import Kind, Origin
from agent.errors import CloudError, RefusedError, StoreError
from agent.sandbox.cloud import Status
from agent.sandbox.replies.faults import Effect, Operation
from support.shorthand.retiring import DAY, only, waiting

if TYPE_CHECKING:
    from agent.cli.writing.output import Output
    from support.simulated.rig import Rig


def test_what_another_program_may_use_is_not_asked_for(gateway: Rig) -> None:
    """Not even by a caller that has forgotten to look; a person's word is that nothing is waited for."""
    due = replace(only(gateway), waits_for=("bridge.service", "copy /etc/app.pem"))
    with pytest.raises(RefusedError, match=r"may use still: bridge\.service, copy /etc/app\.pem") as refusal:
        gateway.retirements.retire(due)

    assert gateway.asked(Operation.RETIRE) == 0
    assert gateway.entry(1).status is Status.ACTIVE
    assert "iot-cert retire --now" in refusal.value.hint
    gateway.retirements.retire(replace(due, waits_for=()))
    assert gateway.entry(1).status is Status.INACTIVE


def test_the_set_that_a_program_took_up_last_is_kept_on_disk(gateway: Rig) -> None:
    """However many rotations it fails at: what it reads by its number must not vanish; nor is all kept for ever."""
    gateway.configure(keep=0)
    gateway.programs.stubborn = True
    for _ in range(4):
        gateway.clock.advance(days=2)
        assert gateway.rotate().record.degraded is not None
    assert gateway.programs.uses == 2
    assert gateway.generations == ["000002", "000005", "000006"]
    gateway.programs.stubborn = False
    gateway.clock.advance(days=2)
    assert gateway.rotate().record.degraded is None
    assert gateway.generations == ["000006", "000007"]


def test_a_change_that_goes_on_without_a_program_names_it(gateway: Rig) -> None:
    """In the history, in the status and in what the command says at the end."""
    gateway.programs.stubborn = True
    outcome = gateway.rotate()
    record = gateway.store.history()[-1]

    assert outcome.record.degraded is not None
    assert "bridge.service" in outcome.record.degraded.message
    assert "(without this: bridge.service is failed" in history_line(gateway.store.history()[-1])
    assert "without this: bridge.service is failed" in told(record)
    gateway.programs.stubborn = False
    gateway.clock.advance(days=2)
    gateway.rotate()
    assert "without" not in told(gateway.store.history()[-1])


def told(record: ChangeRecord) -> str:
    """Return what the command says of a change that has ended."""
    output = KeepingOutput()
    tell_outcome(cast("Output", output), Ending(change=record, current=3, code=Exit.DEGRADED))
    return "\n".join(output.lines)


class KeepingOutput:
    """An output that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def tell(self, _told: object, *lines: str) -> None:
        """Keep it."""
        self.lines += lines


def test_what_was_never_registered_is_settled_by_the_account(gateway: Rig) -> None:
    """The registration never arrived, nor did its answer; the broker's refusal ended the change."""
    gateway.fault(Operation.REGISTER, Effect.IGNORE, times=None)
    ended = gateway.rotate(patience=DAY).record
    gateway.cloud.faults.clear()
    assert ended.phase is Phase.REJECTED
    old, never = waiting(gateway)
    assert (old.doubtful, never.doubtful, never.change) == (False, True, ended.id)
    (set_aside,) = [*(gateway.path / "generations").glob("000003.rejected*")]
    assert (set_aside / "key.pem").exists()
    gateway.retirements.retire(never)

    assert waiting(gateway) == (old,)
    last = gateway.store.history()[-1]
    assert (last.phase, last.failure, last.retired_at) == (Phase.REJECTED, ended.failure, None)
    assert last.dropped_at == gateway.clock.now()
    assert not (set_aside / "key.pem").exists()
    told = f"dropped: The certificate {never.certificate_id[:12]} is not asked to be retired any more: the cloud"
    assert gateway.log.text.count(told) == 1
    size = (gateway.path / "history.jsonl").stat().st_size
    gateway.retirements.note_unregistered(never.change)
    assert (gateway.path / "history.jsonl").stat().st_size == size
    assert "was dropped at" in gateway.retirements.drop(never.certificate_id)
    gateway.restart()
    assert waiting(gateway) == (old,)


def test_what_was_registered_unheard_is_retired(gateway: Rig) -> None:
    """Each answer was lost, and so was every proof: the account knows it and deactivates it."""
    gateway.fault(Operation.REGISTER, Effect.LOSE, times=None)
    gateway.planner.begin(Kind.ROTATE, Origin.TECHNICIAN, "test")
    gateway.follow(patience=DAY / 48)
    gateway.engine.give_up("test")
    assert gateway.follow().record.phase is Phase.REJECTED
    gateway.cloud.faults.clear()
    old, unheard = waiting(gateway)
    assert unheard.doubtful
    gateway.retirements.retire(unheard)

    assert gateway.cloud.registry[unheard.certificate_id].status is Status.INACTIVE
    assert waiting(gateway) == (old,)
    assert gateway.store.history()[-1].retired_at == gateway.clock.now()


def test_a_certificate_that_was_registered_is_not_settled_by_a_refusal(gateway: Rig) -> None:
    """The answer to the registration came, so it may be active: a person has to look."""
    gateway.fault(Operation.REGISTER, Effect.IGNORE)
    gateway.fault(Operation.REGISTER, Effect.NEVER_ACTIVE)
    ended = gateway.rotate(patience=DAY).record
    assert ended.phase is Phase.REJECTED
    _, given_up = waiting(gateway)
    gateway.cloud.registry[given_up.certificate_id].thing_name = "gw-0043"
    with pytest.raises(CloudError, match="no such certificate"):
        gateway.retirements.retire(given_up)

    assert given_up in waiting(gateway)


def test_a_key_that_cannot_be_destroyed_is_tried_again_with_the_next_answer(gateway: Rig) -> None:
    """Nothing is written down before."""
    gateway.fault(Operation.REGISTER, Effect.IGNORE, times=None)
    gateway.rotate(patience=DAY)
    gateway.cloud.faults.clear()
    never = waiting(gateway)[1]
    gateway.disk.fail("destroy")
    with pytest.raises(StoreError, match="No space left"):
        gateway.retirements.retire(never)

    assert never in waiting(gateway)
    gateway.retirements.retire(never)
    assert never not in waiting(gateway)
