"""How much of each step the disk has to know before the next one, stated for each pair of phases."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agent.core.change.advance import advance
from agent.core.change.events import ProbationHeld, StepFailed
from agent.core.change.lasting import Lasting, lasting
from agent.core.change.lifecycle import Phase
from agent.core.change.transitions import TRANSITIONS
from support import make

# What a restart may find out again; everything that is not here lasts before the next step.
LATER = {
    ("planned", "key-ready"): "no one was asked for anything with the key, so another is as good",
    ("registered", "prepared"): "the generation is whole under its final name, and found there",
    ("proven", "active"): "`current` points at it",
}
SEEN = {
    ("prepared", "proven"): "activation syncs it before `current` moves",
    ("active", "deployed"): "a power cut starts every dependant anew with the set in use",
}


@pytest.mark.parametrize(("before", "event"), TRANSITIONS)
def test_each_step_lasts_unless_a_restart_finds_it_out(before: Phase, event: type) -> None:
    """The table of steps that may be lost is written down here once more, with the reason for each."""
    after = TRANSITIONS[before, event]
    step = (str(before), str(after))
    expected = Lasting.LATER if step in LATER else Lasting.SEEN if step in SEEN else Lasting.NOW
    old, new = make.record(before), make.record(after, attempts=1)

    assert lasting(old, new) is expected


def test_a_change_that_was_cut_off_is_written_down_at_each_step() -> None:
    """So that what stops the agent again and again is told by its name."""
    for before, after in LATER:
        old = make.record(Phase(before), resumes=1)
        assert lasting(old, make.record(Phase(after))) is Lasting.NOW


def test_a_proof_of_a_quiet_probation_is_not_written() -> None:
    """And a failure of one is."""
    record = make.record(Phase.DEPLOYED)
    later = record.entered_at + timedelta(minutes=1)

    assert lasting(record, advance(record, make.event(ProbationHeld, later, synchronised=True))) is Lasting.NEVER
    assert lasting(record, advance(record, make.event(StepFailed, later))) is Lasting.NOW
