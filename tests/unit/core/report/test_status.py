from __future__ import annotations

from dataclasses import replace

from agent.core.change.lifecycle import Phase
from agent.core.report.findings import judge
from agent.core.report.screen import screen
from agent.core.report.status import status_of
from agent.core.when.retirement import Answers
from agent.core.when.schedule import Holds, Pause, Wishes
from support import make
from support.make import DAY, HOUR, NOW

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
    """That of a change in flight is the newest; those of other generations say nothing."""
    history = (make.finished(at=NOW - 9 * DAY, anchor="aa" * 32), make.finished(generation=6, anchor="bb" * 32))

    assert status_of(make.known(history=history)).anchor_in_use == "aa" * 32
    flying = make.record(Phase.DEPLOYED, anchor=ANCHOR)
    assert status_of(make.known(history=history, change=flying)).anchor_in_use == ANCHOR
    assert status_of(make.known()).anchor_in_use == ""


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
