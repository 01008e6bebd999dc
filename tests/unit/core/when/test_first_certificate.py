"""A gateway without a certificate enrols as soon as it may, and one without a usable set climbs the ladder."""

from __future__ import annotations

from datetime import datetime, timedelta

from agent.core.change.decide import Limits
from agent.core.timekeeping import ClockState
from agent.core.values import Kind
from agent.core.when.schedule import AFTER_FAILED_ENROLMENT, Past, Plan, plan_enrolment, without_a_set
from support import make
from support.make import HOUR, MINUTE, NOW
from support.shorthand.scheduling import IMPLAUSIBLE, UNSYNCHRONISED, YEAR_1970


def enrolment(now: datetime = NOW, *, past: Past | None = None, state: ClockState = ClockState.SYNCHRONISED) -> Plan:
    """Return the plan of a gateway that has no certificate yet."""
    return plan_enrolment(past or Past(), make.reading(now, state), Limits(), configured=True)


def test_a_gateway_without_a_certificate_enrols_at_once() -> None:
    """Neither window nor splay: it is of no use before."""
    found = enrolment()

    assert (found.due, found.code, found.at, found.kind) == (True, "due", NOW, Kind.ENROLL)
    assert (found.window, found.emergency) == (None, False)


def test_a_gateway_without_enrolment_waits_for_its_owner() -> None:
    """What is missing is told."""
    found = plan_enrolment(Past(), make.reading(), Limits(), configured=False)

    assert (found.due, found.code, found.at, found.kind) == (False, "not-configured", None, Kind.ENROLL)
    assert found.why == "this gateway has no certificate, and enrolment is not configured"


def test_enrolment_waits_for_a_believable_clock_but_not_for_a_synchronised_one() -> None:
    """A gateway fresh from its box has no time server before it has a network, and must get on."""
    assert enrolment(state=UNSYNCHRONISED).due
    found = enrolment(YEAR_1970, state=IMPLAUSIBLE)
    assert (found.due, found.code, found.at, found.kind) == (False, "clock", None, Kind.ENROLL)


def test_enrolment_keeps_the_budget() -> None:
    """A claim certificate is shared by a fleet."""
    found = enrolment(past=Past(requests=(NOW - HOUR,) * 4))

    assert (found.code, found.at, found.kind) == ("budget", NOW + 23 * HOUR, Kind.ENROLL)


def test_enrolment_is_tried_again_sooner_than_a_rotation() -> None:
    """A technician may stand next to it; up to an hour is waited, where a rotation waits up to a day."""
    first = enrolment(past=Past(failures=1, failed_at=NOW, jitter=0.5))
    last = enrolment(past=Past(failures=99, failed_at=NOW, jitter=0.999))

    assert (first.code, first.at, first.kind) == ("back-off", NOW + MINUTE, Kind.ENROLL)
    assert last.at is not None
    assert last.at <= NOW + timedelta(seconds=AFTER_FAILED_ENROLMENT.cap) == NOW + HOUR


def test_without_a_usable_set_the_ladder_is_climbed() -> None:
    """A gateway that had a certificate does not simply enrol again."""
    found = without_a_set()

    assert (found.due, found.code, found.at) == (True, "due", None)
    assert "ladder" in found.why
