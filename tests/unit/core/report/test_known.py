from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from agent.core.change.decide import Action, AssumeRegistered, DropCertificate
from agent.core.change.lifecycle import Phase
from agent.core.report.seen import Damage
from agent.core.timekeeping import ClockState
from agent.core.values import Kind
from agent.core.when.schedule import Wishes
from support import make
from support.make import DAY, HOUR, NOW

OLD = "01" * 32
LEFT_BEHIND = make.finished(at=NOW - 30 * DAY, replaces=OLD)


def test_a_gateway_that_never_had_a_set_is_to_enrol() -> None:
    """Where it may; one whose set is damaged had one, and so has one whose history says so."""
    new = make.known(seen=make.seen(current=None))
    damaged = make.known(seen=make.seen(current=None, damage=(Damage(critical=True, text="It is damaged."),)))

    assert (new.has_enrolled, new.plan().kind) == (False, Kind.ENROLL)
    assert replace(new, asked=make.asked(enrols=False)).plan().code == "not-configured"
    assert damaged.has_enrolled
    assert replace(new, history=(make.finished(),)).has_enrolled
    assert not make.known(seen=None).has_enrolled


def test_the_plan_rests_on_the_certificate_and_this_gateways_place() -> None:
    """Half of the way through the window is when half of the fleet has renewed."""
    plan = make.known().plan()

    assert (plan.code, plan.due) == ("scheduled", False)
    assert plan.window is not None
    assert plan.at == plan.window.renew_at(0.5)


@pytest.mark.parametrize(("base", "whole"), [(6, True), (7, True), (5, False), (None, True)])
def test_a_base_is_whole_that_is_in_use_or_the_one_before(base: int | None, *, whole: bool) -> None:
    """Anything else was not looked at, or is damaged."""
    change = make.record(base=base)

    assert make.known(change=change).facts(change).base_whole is whole


@pytest.mark.parametrize(("configured", "step"), [(None, DropCertificate), ("gw-0042", AssumeRegistered)])
def test_what_a_first_change_does_next_is_what_the_engine_does(configured: str | None, step: type[Action]) -> None:
    """Without a set the thing is the configuration's; where it names none, no certificate is assumed to be for it."""
    change = make.record(Phase.ISSUED, kind=Kind.ENROLL, base=None, unanswered=1)
    known = make.known(
        seen=make.seen(current=None, previous=None), asked=make.asked(thing_name=configured), change=change
    )

    assert type(replace(known, clock=make.reading(NOW + HOUR)).following()) is step


def test_the_next_step_is_decided_under_the_limits_in_force() -> None:
    """A quiet probation is looked at every so often, or at its end alone."""
    change = make.record(Phase.DEPLOYED, generation=7)
    known = make.known(change=change)
    limits = Wishes().limits
    often, once = known.following(), known.following(replace(limits, check_every=limits.probation))

    assert make.known().following() is None
    assert often is not None
    assert once is not None
    assert getattr(often, "until", NOW) < getattr(once, "until", NOW)


def test_what_was_left_behind_is_retired_after_the_grace_unless_that_is_not_wanted() -> None:
    """It is counted all the same."""
    known = make.known(history=(LEFT_BEHIND,), behind=("nginx.service",))
    (found,) = known.retirements()

    assert (found.certificate_id, found.waits_for) == (OLD, ("nginx.service",))
    assert found.due == NOW - 30 * DAY + make.asked().grace
    unwanted = replace(known, asked=make.asked(retires=False))
    assert (unwanted.retirements(), len(unwanted.left_behind())) == ((), 1)


def test_what_a_clock_that_was_ahead_dated_is_not_kept_until_then() -> None:
    """Under a synchronised clock the grace counts from the certificate that took its place; no other clock knows."""
    ahead = make.finished(at=NOW + 365 * DAY, replaces=OLD)
    known, grace = make.known(history=(ahead,)), make.asked().grace
    unsure = replace(known, clock=replace(known.clock, state=ClockState.UNSYNCHRONISED))
    soon = replace(known, history=(make.finished(at=NOW + DAY, replaces=OLD),))
    assert known.current is not None

    assert known.retirements()[0].due == known.current.certificate.not_before + grace
    assert unsure.retirements()[0].due == NOW + 365 * DAY + grace
    assert soon.retirements()[0].due == NOW + DAY + grace


def test_nothing_that_is_in_use_is_retired() -> None:
    """Neither by the current set nor by a change in flight."""
    current = make.in_use(certificate=make.certificate(sha256=OLD))

    assert make.known(history=(LEFT_BEHIND,), seen=make.seen(current=current)).retirements() == ()
    assert make.known(history=(LEFT_BEHIND,), change=make.record(replaces=OLD)).retirements() == ()


def test_an_implausible_clock_plans_nothing() -> None:
    """It is waited for."""
    clock = make.reading(NOW - timedelta(days=365 * 50), state=ClockState.IMPLAUSIBLE)

    assert make.known(clock=clock).plan().code == "clock"
