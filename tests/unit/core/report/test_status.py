from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.exit_codes import Exit
from agent.core.failure.codes import Code
from agent.core.failure.failure import FailureClass
from agent.core.report import shadow
from agent.core.report.findings import judge
from agent.core.report.screen import screen
from agent.core.report.status import TOLD_FOR, status_of, unresolved
from agent.core.values import Kind, Origin
from agent.core.when.retirement import Answers
from agent.core.when.schedule import Holds, Pause, Wishes
from support import make
from support.make import DAY, HOUR, NOW, SECOND

if TYPE_CHECKING:
    from datetime import timedelta

    from agent.core.change.lifecycle import ChangeRecord

OLD, ANCHOR = "01" * 32, "ef" * 32


def test_a_healthy_gateway_is_what_was_found_and_what_is_planned() -> None:
    """The builder of the other tests makes the same."""
    assert status_of(make.known()) == replace(make.status(), plan=make.known().plan())


def test_before_anything_was_seen_that_is_all_there_is_to_say() -> None:
    """No set is made up, and none is missed."""
    status = status_of(make.known(seen=None))

    assert (status.looked, status.current, status.renewal, status.previous) == (False, None, None, None)
    assert judge(status).health == ("The state directory was not read yet.",)
    assert dict(screen(status))["change"] == "none in flight"


def test_the_last_proof_of_the_set_in_use_says_which_anchor_is_used() -> None:
    """That of a change in flight is the newest; those of other generations say nothing. When it was is told, too."""
    history = (make.finished(at=NOW - 9 * DAY, anchor="aa" * 32), make.finished(generation=6, anchor="bb" * 32))

    assert status_of(make.known(history=history)).anchor_in_use == "aa" * 32
    flying = make.record(Phase.DEPLOYED, anchor=ANCHOR)
    found = status_of(make.known(history=history, change=flying))
    assert (found.anchor_in_use, found.anchor_seen_at) == (ANCHOR, flying.checked_at)
    assert status_of(make.known()).anchor_in_use == ""


def test_an_endpoint_that_moved_leaves_an_anchor_behind() -> None:
    """What it chained to before may go, once a later proof says so; of AWS's own endpoints no proof says that."""
    old, new = make.anchor(sha256="aa" * 32, subject="CN=Old"), make.anchor(sha256="bb" * 32, subject="CN=New")
    history = (make.finished(generation=6, anchor=old.sha256), make.finished(generation=7, anchor=new.sha256))
    seen = make.seen(current=make.in_use(anchors=(old, new)))
    own = make.asked(endpoint="iot.example.com")

    moved = status_of(make.known(seen=seen, asked=own, history=history))
    assert moved.anchors_left == (old,)
    assert "; the endpoint has moved away from it" in dict(screen(moved))["anchors"].splitlines()[0]
    (finding,) = [item for item in judge(moved).findings if item.code == "endpoint-moved"]
    assert (finding.severity, finding.check) == (Exit.DONE, "anchors")
    assert "Old, which it chained to before, may go" in finding.text
    assert shadow.report(moved, shadow.Wish())["endpointMovedFrom"] == old.sha256
    back = (*history, make.finished(generation=8, phase=Phase.ROLLED_BACK, anchor=old.sha256))
    assert status_of(make.known(seen=seen, asked=own, history=back)).anchors_left == (old,)
    for unmoved in (
        make.known(seen=seen, asked=own, history=history[1:]),
        make.known(seen=make.seen(current=make.in_use(anchors=(new,))), asked=own, history=history),
        make.known(seen=seen, history=history),
        make.known(seen=seen, asked=own),
    ):
        assert status_of(unmoved).anchors_left == ()


def test_a_pause_is_told_while_it_lasts() -> None:
    """One that is over holds nothing."""
    for until, told in ((NOW + HOUR, True), (NOW, False)):
        pause = Pause(until=until, reason="harvest")
        asked = make.asked(wishes=Wishes(holds=Holds(pause=pause)))
        assert status_of(make.known(asked=asked)).pause == (pause if told else None)


def test_a_retirement_is_told_with_the_clouds_answer() -> None:
    """By certificate."""
    history = (make.finished(at=NOW - 30 * DAY, replaces=OLD), make.finished(at=NOW - 20 * DAY, replaces="02" * 32))
    answers = Answers(refused={OLD: "Not yours."}, unanswered={"02" * 32: "Late."})
    first, second = status_of(make.known(history=history, answers=answers)).retiring

    assert (first.certificate_id, first.refused, first.unanswered) == (OLD, "Not yours.", "")
    assert (second.certificate_id, second.refused, second.unanswered) == ("02" * 32, "", "Late.")


# -- changes that failed -----------------------------------------------------------------------------------------------

BAD = make.failure(message="The name cannot be resolved.")
BY_A_PERSON = make.failure(FailureClass.OPERATOR, Code.GIVEN_UP, message="Given up: test.", decisive=True)


def past(*ends: tuple[Kind, Phase]) -> list[ChangeRecord]:
    """Return a history of changes that ended so, an hour apart."""
    return [
        make.finished(phase, at=NOW + place * HOUR, kind=kind, failure=None if phase.succeeded else BAD)
        for place, (kind, phase) in enumerate(ends)
    ]


ROTATED, NOT_ROTATED = (Kind.ROTATE, Phase.COMMITTED), (Kind.ROTATE, Phase.REJECTED)
ANCHORED, NOT_ANCHORED = (Kind.TRUST, Phase.COMMITTED), (Kind.TRUST, Phase.REJECTED)


@pytest.mark.parametrize(
    ("ends", "left"),
    [
        ([], []),
        ([ROTATED], []),
        ([NOT_ROTATED], [0]),
        ([(Kind.ROTATE, Phase.ROLLED_BACK)], [0]),
        ([NOT_ROTATED, NOT_ROTATED], [1]),
        ([NOT_ROTATED, ROTATED], []),
        ([NOT_ROTATED, (Kind.ROLLBACK, Phase.RETIRED)], []),
        ([NOT_ROTATED, ANCHORED], [0]),
        ([NOT_ANCHORED], [0]),
        ([NOT_ANCHORED, ROTATED], []),
        ([NOT_ANCHORED, NOT_ROTATED], [0, 1]),
        ([NOT_ROTATED, NOT_ANCHORED, NOT_ROTATED], [1, 2]),
        ([(Kind.IMPORT, Phase.REJECTED), NOT_ROTATED], [1]),
    ],
)
def test_a_change_that_failed_is_told_until_one_makes_it_good(ends: list[tuple[Kind, Phase]], left: list[int]) -> None:
    """New anchors say nothing for a certificate that could not be had; any set that holds was proven by its anchors."""
    history = past(*ends)

    assert unresolved(history) == tuple(history[place] for place in left)


@pytest.mark.parametrize("origin", Origin)
def test_what_nothing_begins_again_is_told_for_a_month(origin: Origin) -> None:
    """The wrong file of a visit is no alarm for a year; a rotation that is due fails and is told anew each day."""
    failed = make.finished(Phase.REJECTED, at=NOW, failure=BAD, origin=origin)

    def told(after: timedelta) -> bool:
        return bool(unresolved([failed], failed.entered_at + after))

    once = origin in {Origin.TECHNICIAN, Origin.JOB, Origin.INBOX}
    assert told(TOLD_FOR)
    assert told(TOLD_FOR + SECOND) is not once
    assert told(-TOLD_FOR - SECOND) is not once  # dated by a clock that was ahead
    assert unresolved([failed], None) == (failed,)  # nothing is judged by a clock that cannot be believed


@pytest.mark.parametrize("phase", [Phase.REJECTED, Phase.ROLLED_BACK])
def test_what_a_person_ended_is_no_failure(phase: Phase) -> None:
    """And hides none that was before it."""
    given_up = make.finished(phase, failure=BY_A_PERSON)
    before = make.finished(Phase.REJECTED, at=NOW - HOUR, failure=BAD)

    assert unresolved([given_up]) == ()
    assert unresolved([before, given_up]) == (before,)
    assert judge(status_of(make.known(history=(given_up,)))).health == ()


def test_a_set_whose_only_probation_ended_in_a_refusal_is_told_as_refused() -> None:
    """Until it is tried again, or another one is in use; a person's word is no refusal."""
    end = make.finished(Phase.REJECTED, generation=7, failure=BAD)

    assert status_of(make.known(history=(end,))).refused == end
    assert judge(status_of(make.known(history=(end,)))).exit is Exit.CRITICAL
    assert status_of(make.known(history=(end,), change=make.record(Phase.DEPLOYED, generation=7))).refused is None
    assert status_of(make.known(history=(replace(end, generation=8),))).refused is None
    assert status_of(make.known(history=(replace(end, failure=BY_A_PERSON),))).refused is None
    assert status_of(make.known(history=(end, make.finished(generation=7)))).refused is None
