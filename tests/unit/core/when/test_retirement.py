"""Certificates that changes leave behind: which one the cloud is asked to retire, and when."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.failure.failure import FailureClass
from agent.core.values import Kind
from agent.core.when.retirement import Retirement, left_behind, outstanding
from agent.core.when.retirement import retired as no_more
from support import make
from support.make import DAY, HOUR, MINUTE, NOW
from support.unit.core.left_behind import GRACE, NEW, NEXT, OLD, REGISTERED, gave_up, ids, retired, rotated

# -- what a change leaves behind ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [Phase.COMMITTED, Phase.RETIRED])
def test_a_change_that_succeeded_leaves_what_it_replaced(phase: Phase) -> None:
    """Its own certificate is the one in use."""
    assert left_behind(make.finished(phase, replaces=OLD)) == OLD


@pytest.mark.parametrize("phase", [Phase.COMMITTED, Phase.RETIRED])
def test_a_first_certificate_leaves_nothing(phase: Phase) -> None:
    """There was none before."""
    assert left_behind(make.finished(phase, kind=Kind.ENROLL, base=None, replaces=None)) is None


@pytest.mark.parametrize("phase", [Phase.REJECTED, Phase.ROLLED_BACK])
def test_a_change_that_failed_leaves_its_own_certificate(phase: Phase) -> None:
    """What it was to replace is in use still."""
    assert left_behind(gave_up(phase)) == make.issued().certificate_id


def test_a_change_that_failed_without_a_certificate_leaves_nothing() -> None:
    """Nothing came, so nothing is to be taken back."""
    assert left_behind(make.finished(Phase.REJECTED, replaces=OLD, issued=None)) is None


def test_a_certificate_that_was_never_registered_is_left_to_the_cloud() -> None:
    """AWS deletes it within the hour; asking for its retirement would be refused for ever."""
    never = gave_up(passed=((Phase.ISSUED, NOW - MINUTE), (Phase.REJECTED, NOW)))

    assert left_behind(never) is None


@pytest.mark.parametrize("unanswered", [1, 5])
def test_a_certificate_that_may_have_been_registered_is_left_behind(unanswered: int) -> None:
    """A registration was sent and its answer lost: better to ask for too much than to leave a key alive."""
    doubtful = gave_up(passed=((Phase.ISSUED, NOW), (Phase.REJECTED, NOW)), unanswered=unanswered)

    assert left_behind(doubtful) == make.issued().certificate_id


def test_a_certificate_that_came_after_a_registered_one_is_judged_by_itself() -> None:
    """The first was registered and its key lost; the second was refused, and would be in its retirement for ever."""
    passed = ((Phase.ISSUED, NOW), *REGISTERED[:1], (Phase.PLANNED, NOW), (Phase.ISSUED, NOW), *REGISTERED[1:])

    assert left_behind(gave_up(passed=passed)) is None
    assert left_behind(gave_up(passed=passed, unanswered=1)) == make.issued().certificate_id
    assert [item.doubtful for item in outstanding([gave_up(passed=passed, unanswered=1)], [OLD], GRACE)] == [True]


@pytest.mark.parametrize("phase", make.UNFINISHED)
def test_a_change_in_flight_leaves_nothing_yet(phase: Phase) -> None:
    """What it replaces is what a rollback returns to."""
    assert left_behind(make.record(phase, replaces=OLD, unanswered=1)) is None


# -- what is outstanding -----------------------------------------------------------------------------------------------


def test_a_replaced_certificate_is_due_when_the_grace_is_over() -> None:
    """The grace counts from when the change became final, and the change that left it is named."""
    (found,) = outstanding([rotated(id="c-7")], [NEW], GRACE)

    assert found == Retirement(change="c-7", certificate_id=OLD, due=NOW + GRACE)


def test_the_grace_counts_from_the_commitment_and_not_from_a_later_line() -> None:
    """The history may have been amended since."""
    record = rotated(entered_at=NOW + DAY)

    assert outstanding([record], [], GRACE)[0].due == NOW + GRACE


def test_a_failed_certificate_is_due_when_the_grace_is_over_too() -> None:
    """A person can still look into it until then."""
    (found,) = outstanding([gave_up(Phase.ROLLED_BACK)], [OLD], GRACE)

    assert (found.certificate_id, found.due) == (make.issued().certificate_id, NOW + GRACE)


@pytest.mark.parametrize("grace", [timedelta(), HOUR, 365 * DAY])
def test_the_grace_is_the_operators(grace: timedelta) -> None:
    """None at all is allowed."""
    assert outstanding([rotated()], [NEW], grace)[0].due == NOW + grace


def test_the_first_due_comes_first() -> None:
    """Whatever the order of the history."""
    history = [rotated(NEW, NOW), rotated(OLD, NOW - DAY), gave_up(at=NOW - 2 * DAY)]

    assert ids(*history, in_use=(NEXT,)) == [make.issued().certificate_id, OLD, NEW]


def test_what_was_retired_is_settled() -> None:
    """Whether the change had succeeded or not."""
    assert ids(retired(rotated())) == []
    assert ids(retired(gave_up())) == []
    assert ids(retired(gave_up(Phase.ROLLED_BACK)), rotated(at=NOW + HOUR)) == [OLD]


def test_a_certificate_that_two_changes_left_behind_is_settled_once() -> None:
    """It was replaced, came back by a rollback and was replaced again: one acceptance is enough."""
    history = [retired(rotated(OLD)), rotated(OLD, NOW + DAY)]

    assert ids(*history) == []


def test_what_the_cloud_accepts_no_more_is_by_its_last_word() -> None:
    """One that was in use again was active again, and is a way back."""
    assert no_more([retired(rotated(OLD)), rotated(NEW, NOW + DAY)]) == {OLD}
    assert no_more([retired(rotated(OLD)), rotated(OLD, NOW + DAY)]) == set()
    assert no_more([rotated(OLD), retired(rotated(OLD, NOW + DAY))]) == {OLD}


def test_the_last_change_that_left_it_behind_counts() -> None:
    """The grace begins anew when a certificate was in use again."""
    history = [rotated(OLD, NOW, id="c-1"), rotated(OLD, NOW + 5 * DAY, id="c-2")]
    (found,) = outstanding(history, [NEW], GRACE)

    assert found == Retirement(change="c-2", certificate_id=OLD, due=NOW + 5 * DAY + GRACE)


def test_what_is_in_use_is_never_retired() -> None:
    """A rollback brought it back, whatever the history says of the change that had replaced it."""
    back = make.finished(Phase.COMMITTED, NOW + DAY, kind=Kind.ROLLBACK, generation=6, replaces=NEW)

    assert ids(rotated(OLD), in_use=(OLD,)) == []
    assert ids(rotated(OLD), back, in_use=(OLD,)) == [NEW]
    assert ids(rotated(OLD), back, rotated(OLD, NOW + 2 * DAY), in_use=(NEXT,)) == [NEW, OLD]


def test_what_a_change_in_flight_rests_on_is_in_use() -> None:
    """The certificate that is being replaced and the one that has just come are both spared."""
    history = [rotated(OLD), gave_up()]

    assert ids(*history, in_use=(NEW, OLD, make.issued().certificate_id)) == []


def test_given_up_by_a_person_is_given_up() -> None:
    """The class of the failure plays no part."""
    record = gave_up(failure=make.failure(FailureClass.OPERATOR, "given-up", decisive=True))

    assert ids(record, in_use=(OLD,)) == [make.issued().certificate_id]


def test_a_history_can_be_read_once_only() -> None:
    """An iterator does as well as a list."""
    assert len(outstanding(iter([rotated()]), iter([NEW]), GRACE)) == 1


CERTIFICATES = st.sampled_from(["aa" * 32, "bb" * 32, "cc" * 32, "dd" * 32])


@st.composite
def histories(draw: st.DrawFn) -> list[ChangeRecord]:
    """Return any finished changes over four certificates, some of them retired."""
    found = []
    for number in range(draw(st.integers(0, 8))):
        at = NOW + number * DAY
        phase = draw(st.sampled_from([Phase.COMMITTED, Phase.REJECTED, Phase.ROLLED_BACK]))
        if phase is Phase.COMMITTED:
            record = rotated(draw(CERTIFICATES), at)
        else:
            record = gave_up(
                phase, at, unanswered=draw(st.integers(0, 1)), passed=draw(st.just(REGISTERED) | st.just(()))
            )
        found.append(retired(record, at + GRACE) if draw(st.booleans()) else record)
    return found


@make.MANY
@given(history=histories(), in_use=st.sets(CERTIFICATES))
def test_whatever_happened_only_what_was_left_and_is_not_used_is_retired_and_once(
    history: list[ChangeRecord], in_use: set[str]
) -> None:
    """No certificate twice, none in use, none settled, none that no change left behind, and no other is forgotten."""
    found = [item.certificate_id for item in outstanding(history, in_use, GRACE)]
    left = {left_behind(record) for record in history} - {None}
    settled = {left_behind(record) for record in history if record.retired_at is not None}

    assert len(found) == len(set(found))
    assert set(found) == left - settled - in_use
    assert all(item.due >= NOW + GRACE for item in outstanding(history, in_use, GRACE))
    assert found == [item.certificate_id for item in sorted(outstanding(history, in_use, GRACE), key=lambda it: it.due)]


# -- changes of trust anchors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase.ended])
def test_a_change_of_trust_anchors_leaves_nothing_behind(phase: Phase) -> None:
    """Both generations have the same certificate, whichever of them is in use in the end."""
    record = make.finished(phase, kind=Kind.TRUST, replaces=OLD, issued=None)

    assert left_behind(record) is None
    assert ids(record) == []


def test_a_certificate_is_retired_once_however_often_its_anchors_changed() -> None:
    """A rotation replaced it, which is what counts; what was replaced before is still to be retired, too."""
    history = (
        rotated(OLD, NOW - 9 * DAY),
        make.finished(at=NOW - 8 * DAY, kind=Kind.TRUST, replaces=NEW),
        make.finished(Phase.REJECTED, NOW - 7 * DAY, kind=Kind.TRUST, replaces=NEW, issued=None),
        rotated(NEW, NOW - 6 * DAY),
    )

    assert ids(*history[:3]) == [OLD]
    assert ids(*history, in_use=(NEXT,)) == [OLD, NEW]
