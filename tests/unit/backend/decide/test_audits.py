from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.backend.decide import audits
from agent.backend.decide.audits import MOST_DUE, AuditedCertificate, Left, at_once, judge, may_rotate
from agent.backend.decide.orders import JOB_PREFIX, MOST_TARGETS, Pace
from agent.backend.values import AuditFinding, Certificate, Check, Record, ShadowReport, Status
from agent.core.when.renewal import RenewalPolicy, renewal_window
from support.aws.account import DAY, HOUR, NOW, certificate_id

if TYPE_CHECKING:
    from datetime import timedelta

USED, OTHER = certificate_id("used"), certificate_id("other")


def certificate(
    name: str = USED, *, age: timedelta = 50 * DAY, left: timedelta = 40 * DAY, status: Status = Status.ACTIVE
) -> Certificate:
    """A certificate, 90 days long and past its own renewal."""
    begin = NOW - age
    return Certificate(certificate_id=name, status=status, created_at=begin, not_before=begin, not_after=NOW + left)


def finding(check: Check = Check.EXPIRING, **more: object) -> AuditFinding:
    """What was found."""
    return AuditFinding(check=check, certificate_id=USED, **more)  # type: ignore[arg-type]


def seen(found: Certificate | None = None, **more: object) -> AuditedCertificate:
    """A gateway of this stack with one certificate, which should have renewed five days ago."""
    found = found or certificate(age=85 * DAY, left=5 * DAY)
    usual = {"certificate": found, "things": ("gw-1",), "known": True, "attached": (found,)}
    return AuditedCertificate(**(usual | more))  # type: ignore[arg-type]


def test_a_gateway_that_has_not_renewed_by_itself_is_ordered_to() -> None:
    """By whichever check it is found."""
    assert [judge(finding(check), seen(), NOW) for check in Check] == [None, None, None]


@pytest.mark.parametrize(
    ("known", "left"),
    [
        (AuditedCertificate(certificate=None), Left.NOT_IN_USE),
        (seen(certificate(status=Status.INACTIVE)), Left.NOT_IN_USE),
        (seen(certificate(status=Status.REVOKED)), Left.NOT_IN_USE),
        (seen(things=()), Left.NO_GATEWAY),
        (seen(things=("gw-1", "gw-2")), Left.SHARED),
        (seen(known=False), Left.NO_GATEWAY),
        (seen(blocked=True), Left.BLOCKED),
        (seen(jobs=("firmware", f"{JOB_PREFIX}1")), Left.WAITS),
        (seen(certificate(age=85 * DAY, left=-HOUR)), Left.EXPIRED),
        (seen(jobs=("firmware",)), None),
        (seen(known=False, report=ShadowReport(certificate_id=USED)), None),
    ],
)
def test_what_is_left(known: AuditedCertificate, left: Left | None) -> None:
    """And why."""
    assert judge(finding(), known, NOW) is left
    assert judge(finding(Check.AGE), known, NOW) is left


def test_a_certificate_in_its_grace_is_no_finding() -> None:
    """The newest one is in use, unless the gateway itself says that it is another."""
    old, new = certificate(age=85 * DAY, left=5 * DAY), certificate(OTHER, age=DAY)
    both = seen(old, attached=(old, new))
    assert judge(finding(), both, NOW) is Left.REPLACED
    fell_back = seen(old, attached=(old, new), report=ShadowReport(certificate_id=USED))
    assert judge(finding(), fell_back, NOW) is None
    unproven = seen(old, attached=(old, certificate(OTHER, age=DAY, status=Status.INACTIVE)))
    assert judge(finding(), unproven, NOW) is None
    gone = seen(old, attached=(old, new), report=ShadowReport(certificate_id=certificate_id("gone")))
    assert judge(finding(), gone, NOW) is Left.REPLACED
    ended = certificate(age=91 * DAY, left=-DAY)
    assert judge(finding(), seen(ended, attached=(ended, new)), NOW) is Left.REPLACED


@pytest.mark.parametrize("check", Check)
@pytest.mark.parametrize(
    ("at", "left"), [(2 * DAY, Left.RENEWS), (-HOUR, Left.RENEWS), (-2 * DAY, None), (39 * DAY, None)]
)
def test_what_the_gateway_does_by_itself_in_time_is_not_ordered(check: Check, at: timedelta, left: Left | None) -> None:
    """In its own words; what is overdue, or comes too late, is ordered."""
    report = ShadowReport(certificate_id=USED, renews_at=NOW + at)
    known = seen(certificate(age=60 * DAY, left=39 * DAY), report=report)
    assert judge(finding(check, ends=NOW + 30 * DAY), known, NOW) is left


def test_what_a_gateway_says_of_another_certificate_does_not_count() -> None:
    """It is an old report, or one that was made up."""
    known = seen(report=ShadowReport(certificate_id=OTHER, renews_at=NOW + DAY))
    assert judge(finding(), known, NOW) is None


def test_an_age_that_the_operator_does_not_want_is_not_waited_for() -> None:
    """A renewal in the far future is of no use against it, and would be against an end that is farther."""
    old = certificate(age=100 * DAY, left=8000 * DAY)
    report = ShadowReport(certificate_id=USED, renews_at=NOW + 300 * DAY)
    assert judge(finding(Check.AGE), seen(old, report=report), NOW) is None
    assert judge(finding(), seen(old, report=report), NOW) is Left.RENEWS
    soon = ShadowReport(certificate_id=USED, renews_at=NOW + 6 * DAY)
    assert judge(finding(Check.AGE), seen(old, report=soon), NOW) is Left.RENEWS


@pytest.mark.parametrize("lived", [HOUR, 20 * HOUR, 23 * HOUR])
def test_a_certificate_of_a_day_is_never_ordered_for_its_end(lived: timedelta) -> None:
    """Whatever it says: an audit comes once a day, and its gateway tries every few minutes."""
    short = certificate(age=lived, left=DAY - lived)
    for report in (ShadowReport(), ShadowReport(certificate_id=USED, renews_at=NOW - 5 * HOUR)):
        assert judge(finding(), seen(short, report=report), NOW) is Left.RENEWS
    ended = certificate(age=2 * DAY, left=-DAY)
    assert judge(finding(), seen(ended), NOW) is Left.EXPIRED


def test_a_fleet_of_short_lives_is_left_without_a_question() -> None:
    """By its row and the finding alone."""
    row = Record(certificate_id=USED, thing="gw-1", issued_at=NOW - HOUR)
    assert at_once(finding(ends=NOW + 23 * HOUR), row, NOW) is Left.RENEWS
    assert at_once(finding(suppressed=True), row, NOW) is Left.SUPPRESSED
    for other, its in (
        (finding(ends=NOW + 89 * DAY), row),
        (finding(), row),
        (finding(ends=NOW - HOUR), row),
        (finding(Check.AGE, ends=NOW + HOUR), row),
        (finding(ends=NOW + HOUR), Record(certificate_id=USED, thing="gw-1")),
        (finding(ends=NOW + HOUR), None),
    ):
        assert at_once(other, its, NOW) is None


@pytest.mark.parametrize("lifetime", [DAY, 40 * DAY, 90 * DAY, 365 * DAY, 3650 * DAY, 8400 * DAY])
def test_the_time_by_which_a_silent_gateway_has_renewed_is_the_agents_own(lifetime: timedelta) -> None:
    """By its defaults: its window is closed by then, and the emergency has not begun."""
    window = renewal_window(NOW, NOW + lifetime, RenewalPolicy())
    assert window.closes_at <= NOW + min(lifetime * audits.RENEWED_AT, audits.RENEWED_AFTER) <= window.emergency_at


def test_only_a_signer_of_ones_own_that_is_another_one_rotates_away_from_a_ca() -> None:
    """Amazon's CA would be another trust, of which nothing is known here."""
    assert not may_rotate("ca" * 32, "")
    assert not may_rotate("ca" * 32, "ca" * 32)
    assert may_rotate("ca" * 32, "cb" * 32)


def test_an_audits_jobs_follow_from_the_audit() -> None:
    """A thing has its place in one of them whichever others are due, so that a job that is there is the same."""
    things = [f"gw-{number}" for number in range(MOST_DUE)]
    made = audits.orders("a-1", things)
    assert sorted(thing for order in made for thing in order.things) == sorted(things)
    assert max(len(order.things) for order in made) <= MOST_TARGETS
    places = {thing: order.job_id for order in made for thing in order.things}
    fewer = audits.orders("a-1", things[::7])
    assert all(places[thing] == order.job_id for order in fewer for thing in order.things)
    assert not {order.job_id for order in made} & {order.job_id for order in audits.orders("a-2", things)}
    assert audits.orders("a-1", ["b", "a"]) == audits.orders("a-1", ["a", "b"])
    assert audits.orders("a-1", []) == ()


@pytest.mark.parametrize("number", [1, 5, 60, MOST_DUE])
def test_an_audits_jobs_are_as_fast_as_one_and_each_stops_by_itself(number: int) -> None:
    """However few its things are; beyond a job for each minute of the pace none is slower than one thing a minute."""
    made = audits.orders("a-1", [f"gw-{each}" for each in range(number)])
    assert sum(order.pace.per_minute for order in made) <= Pace.per_minute
    assert all(1 <= order.pace.abort_after <= min(len(order.things), Pace.abort_after) for order in made)
