from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from agent.core.change.decide import Limits, RegisterThing, Wait, next_action
from agent.core.change.lifecycle import Phase
from agent.core.dependants import Served, Step
from agent.core.failure.failure import FailureClass
from agent.core.report.document import document
from agent.core.report.known import NO_DAEMON
from agent.core.report.screen import explain, history_line, screen
from agent.core.report.seen import OnDisk, WatchedEnd, WatchedFile
from agent.core.report.status import Retiring
from agent.core.text import clock_time
from agent.core.timekeeping import ClockState
from agent.core.values import BY_HAND, Origin, Provenance, TrustSource
from agent.core.when.renewal import RenewalWindow
from agent.core.when.schedule import Holds, Pause, Plan, Wishes
from support import make
from support.make import DAY, HOUR, MINUTE, NOW, SECOND

TROUBLE = make.failure(message="The name cannot be resolved.")


def shown(now: datetime = NOW, **changes: Any) -> dict[str, str]:
    """Return the screen of a status by name."""
    lines = list(screen(make.status(now, **changes)))
    assert len(dict(lines)) == len(lines)
    return dict(lines)


def test_the_screen_of_a_healthy_gateway_fits_on_one() -> None:
    """Who, when, what, until when, what is under way, what is wrong."""
    found = shown()

    assert list(found) == ["gateway", "clock", "generation", "certificate", "renewal", "anchors", "change", "health"]
    assert found["gateway"] == "gw-0042 at abc-ats.iot.eu-west-1.amazonaws.com:8883"
    assert found["clock"] == "2027-03-01 12:00:00 UTC, synchronised"
    assert found["generation"] == "7 since 2027-02-28 12:00:00 UTC (rotate), previous is 6"
    assert found["certificate"] == (f"CN=gw-0042, EC P-256, until 2028-02-28 12:00 UTC (364 days left)\nid {'ab' * 32}")
    assert found["renewal"].startswith("due 2027-11-")
    assert found["renewal"].endswith(" UTC")
    assert found["anchors"] == "Amazon Root CA 1, until 2038-02-11 12:00 UTC (4000 days left)"
    assert (found["change"], found["health"]) == ("none in flight", "ok")


def test_a_gateway_without_a_certificate_has_a_short_screen() -> None:
    """The configured name, if there is one."""
    found = shown(current=None)

    assert list(found) == ["gateway", "clock", "change", "health"]
    assert found["gateway"].startswith("not enrolled at ")
    assert found["health"] == "This gateway has no certificate yet: run `iot-cert enroll`."
    assert shown(current=None, thing_name="gw-9")["gateway"].startswith("gw-9 at ")


@pytest.mark.parametrize(
    ("left", "text"),
    [
        (30 * DAY, "30 days left"),
        (2 * DAY, "2 days left"),
        (2 * DAY - MINUTE, "48.0 h left"),
        (HOUR, "1.0 h left"),
        (SECOND, "0.0 h left"),
        (timedelta(), "EXPIRED"),
        (-DAY, "EXPIRED"),
    ],
)
def test_what_is_left_is_told_in_the_unit_that_matters(left: timedelta, text: str) -> None:
    """Days while there are days, hours after that, and at the end one word."""
    current = make.in_use(certificate=make.certificate(not_after=NOW + left))

    assert shown(current=current)["certificate"].split("\n")[0].endswith(f"UTC ({text})")


def test_a_change_in_flight_is_told_with_its_next_step() -> None:
    """And with the instant, when it waits."""
    change = make.record(Phase.PREPARED)
    waits = shown(change=change, following=Wait(why="it waits", code="retry", until=NOW + HOUR))
    goes_on = shown(change=change, following=RegisterThing(why="it must connect"))

    first, second = waits["change"].split("\n")
    assert first == ("rotate c-1 (the renewal window is open), in phase prepared since 2027-03-01 12:00:00 UTC")
    assert second == "next: it waits until 2027-03-01 13:00:00 UTC"
    assert goes_on["change"].endswith("\nnext: it must connect")
    assert shown(change=change)["change"].endswith("\nnext: unknown")


def test_when_a_wait_is_over_is_told_once_and_never_by_a_clock_that_is_wrong() -> None:
    """The reason says it by itself, or no time can be told."""
    change = make.record(Phase.KEY_READY, requests=(NOW,) * 4)
    for facts in (make.facts(), make.facts(state=ClockState.IMPLAUSIBLE)):
        following = next_action(change, facts, Limits())
        assert isinstance(following, Wait)
        assert shown(change=change, following=following)["change"].endswith(f"\nnext: {following.why}")


def test_a_set_on_probation_is_told_with_its_next_proof() -> None:
    """Which is not what its probation lasts until."""
    why = "generation 7 waits for confirmation until 2027-03-01 12:10:00 UTC: `iot-cert confirm`; it is kept ready"
    following = Wait(why=why, code="probation", until=NOW + MINUTE)
    told = shown(change=make.record(Phase.DEPLOYED), following=following)

    assert told["change"].endswith(f"\nnext: {why}; it is proven again at 2027-03-01 12:01:00 UTC")


def test_a_pause_is_shown_without_a_daemon_too() -> None:
    """It is on disk, and holds what the next daemon would begin."""
    pause = Pause(until=NOW + DAY, reason="harvest")
    assert shown(pause=pause)["paused"].splitlines() == [
        "until 2027-03-02 12:00:00 UTC: harvest",
        "root, or a member of iot-cert-admin, ends it: `iot-cert resume`",
    ]
    assert document(make.status(pause=pause))["pause"] == {"until": "2027-03-02T12:00:00+00:00", "reason": "harvest"}
    assert document(make.status())["pause"] is None


def test_an_inhibit_file_is_shown_before_a_change_is_due() -> None:
    """A person who forgot it, or finds it, learns so while there is time; without a daemon too."""
    there = make.status(wishes=Wishes(holds=Holds(inhibited_by="/run/hold")))
    told = (
        "/run/hold is there: scheduled changes do not begin, except near the certificate's end, until `sudo rm "
        "/run/hold`"
    )
    assert dict(screen(there))["inhibited"] == told
    assert document(there)["inhibited_by"] == "/run/hold"
    assert f"{told}." in explain(there)
    blank = make.status(wishes=Wishes(holds=Holds(inhibited_by="/run/do not")))
    assert dict(screen(blank))["inhibited"].endswith("until `sudo rm '/run/do not'`")
    assert "inhibited" not in shown()
    assert document(make.status())["inhibited_by"] is None


@pytest.mark.parametrize(("until", "held"), [(timedelta(seconds=-1), False), (timedelta(seconds=1), True)])
def test_a_pause_that_lasts_until_a_change_is_due_is_explained(until: timedelta, *, held: bool) -> None:
    """One that is over by then holds nothing."""
    status = make.status()
    assert status.plan.at is not None
    lines = explain(replace(status, pause=Pause(until=status.plan.at + until, reason="harvest")))
    assert any(line.startswith("It is paused then, until ") for line in lines) == held


def test_the_generations_on_disk_are_shown_with_certificate_and_end() -> None:
    """A technician who may have to go back sees what there is, until when, and what is damaged."""
    ends = (NOW + 300 * DAY, NOW - DAY)
    found = (
        OnDisk(generation=7, certificate_id="07" * 32, not_after=ends[0]),
        OnDisk(generation=6, certificate_id="06" * 32, not_after=ends[1]),
        OnDisk(generation=5),
    )
    assert shown(generations=found, previous=6)["on disk"].splitlines() == [
        f"7 with 070707070707, until {ends[0]:%Y-%m-%d %H:%M} UTC (300 days left), in use",
        f"6 with 060606060606, until {ends[1]:%Y-%m-%d %H:%M} UTC (EXPIRED), previous",
        "5 is damaged",
    ]
    told: dict[str, Any] = document(make.status(generations=found))
    assert told["generations"][1:] == [
        {"generation": 6, "certificate_id": "06" * 32, "not_after": ends[1].isoformat()},
        {"generation": 5, "certificate_id": None, "not_after": None},
    ]


def test_what_only_a_daemon_knows_is_shown_when_there_is_one() -> None:
    """Connection, plan, pause and retirements, before the last change."""
    found = shown(
        live=make.live(),
        pause=Pause(until=NOW + DAY, reason="harvest"),
        retiring=(Retiring(change="c-1", certificate_id="01" * 32, due=NOW + DAY),),
        last=make.finished(failure=TROUBLE),
    )

    assert list(found)[7:] == ["connection", "plan", "paused", "retiring", "last", "health"]
    assert found["connection"] == "up"
    assert found["plan"] == "it is scheduled for later"
    assert found["paused"].startswith("until 2027-03-02 12:00:00 UTC: harvest")
    assert found["retiring"] == "010101010101 from 2027-03-02 12:00:00 UTC"
    assert shown(live=make.live("down", "No route."))["connection"] == "down: No route."


def test_a_plan_is_not_shown_next_to_a_change() -> None:
    """What is planned is what is being done."""
    assert "plan" not in shown(change=make.record(), live=make.live())


WAITS = Retiring(change="c-2", certificate_id="02" * 32, due=NOW, waits_for=("nginx.service", "copy /etc/app.pem"))
UNANSWERED = Retiring(change="c-3", certificate_id="03" * 32, due=NOW, unanswered="retire was not answered in time.")
REFUSED = Retiring(change="c-4", certificate_id="04" * 32, due=NOW, refused="Not yours.")


def test_what_a_retirement_waits_for_is_shown_by_name() -> None:
    """The operator knows then which program to look at, and what goes over it where it can never be put right."""
    line, way_out = shown(retiring=(WAITS,))["retiring"].splitlines()
    assert line == "020202020202 from 2027-03-01 12:00:00 UTC, waits for nginx.service, copy /etc/app.pem"
    assert "`sudo iot-cert deploy`" in way_out
    assert "`iot-cert retire --now` retires it all the same" in way_out


def test_that_no_answer_came_is_told_with_what_it_costs() -> None:
    """And which switch ends it."""
    line, note = shown(retiring=(UNANSWERED,))["retiring"].splitlines()

    assert line == "030303030303 from 2027-03-01 12:00:00 UTC, no answer yet"
    assert "stays active in the account until it is deactivated" in note
    assert "rotation: {retire: false}" in note


def test_each_retirement_is_told_apart_from_the_others() -> None:
    """A refused one may wait, too."""
    lines = shown(retiring=(WAITS, UNANSWERED, replace(REFUSED, waits_for=("a.service",))))["retiring"].splitlines()

    assert [line.partition(" UTC, ")[2] for line in lines[:3]] == [
        "waits for nginx.service, copy /etc/app.pem",
        "no answer yet",
        "refused, waits for a.service",
    ]


def test_where_nothing_is_asked_for_that_is_said_once_something_was_left_behind() -> None:
    """Before that there is nothing to say."""
    assert shown(not_asked_for=2)["retiring"] == "not asked for (rotation.retire is false): 2 left behind"
    assert "retiring" not in shown(not_asked_for=0)


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ("CN=Amazon Root CA 1,O=Amazon,C=US", "Amazon Root CA 1"),
        ("O=Amazon,CN=Root", "Root"),
        ("OU=Starfield Class 2,O=Starfield", "Starfield Class 2"),
        ("O=Starfield\\, Inc.,C=US", "Starfield, Inc."),
        ("C=US", "C=US"),
    ],
)
def test_an_anchor_is_known_by_its_common_name(subject: str, name: str) -> None:
    """Or by its unit, its organisation, or all of its name, whichever it has first."""
    current = make.in_use(anchors=(make.anchor(subject=subject),))

    assert shown(current=current)["anchors"].startswith(f"{name}, until ")


def test_the_screen_says_where_the_anchors_came_from_and_which_is_used() -> None:
    """A line for each, and one for the bundle."""
    plain, used = shown()["anchors"], shown(anchor_in_use="ef" * 32, anchor_seen_at=NOW)["anchors"]
    for trust, line in (
        (Provenance(source=TrustSource.BUNDLE, version=7, issued_at=NOW), "from signed bundle 7 of 2027-03-01"),
        (Provenance(source=TrustSource.BUNDLE, version=7), "from signed bundle 7"),
        (Provenance(source=TrustSource.BAKED, issued_at=NOW), "from the package or OS image of 2027-03-01"),
        (Provenance(source=TrustSource.BAKED), "from the package or OS image"),
        (BY_HAND, "from what a technician brought"),
    ):
        assert shown(current=make.in_use(trust=trust))["anchors"] == f"{plain}\n{line}"

    moved_since = (
        f"{plain}; the endpoint chained to it at {clock_time(NOW)}"  # which `check` would see, and this cannot
    )
    assert used == moved_since


def test_the_screen_shows_what_is_watched() -> None:
    """How many, and the first to end; or why nothing can be said."""
    ends = tuple(WatchedEnd(subject="CN=a", sha256="01" * 32, not_after=NOW + days * DAY) for days in (40, 90))
    found = WatchedFile(path="/etc/app.pem", warn=30 * DAY, certificates=2, ends=ends)
    gone = WatchedFile(path="/etc/app.pem", warn=30 * DAY, problem="/etc/app.pem: it is gone")

    assert shown(watched=(found,))["watched"] == "/etc/app.pem: 2, first until 2027-04-10 12:00 UTC (40 days left)"
    assert shown(watched=(gone,))["watched"] == "/etc/app.pem: it is gone"


def test_the_screen_says_how_dependants_stand() -> None:
    """How many use which generation, and each that does not; nothing where none are configured."""
    good, other = Step(name="a"), Step(name="b")
    bad = Step(name="bridge.service", problem="bridge.service is failed after its restart.")

    assert "dependants" not in shown()
    assert shown(served=Served())["dependants"] == "not served yet"
    assert shown(served=Served(generation=7, steps=(good, other)))["dependants"] == "2 of 2 use generation 7"
    found = shown(served=Served(generation=7, steps=(good, bad)))["dependants"]
    assert found.splitlines() == ["1 of 2 use generation 7", bad.problem]


# -- the history -------------------------------------------------------------------------------------------------------


def test_a_finished_change_is_one_line() -> None:
    """When, what, how it ended, who wanted it and why, and what went wrong."""
    good = history_line(make.finished())
    bad = history_line(make.finished(Phase.ROLLED_BACK, failure=TROUBLE))

    assert good == (
        "2027-03-01 12:00:00 UTC  rotate   committed   generation 7    schedule: the renewal window is open"
    )
    assert bad == (
        "2027-03-01 12:00:00 UTC  rotate   rolled-back generation 7    schedule: the renewal window is open"
        ": The name cannot be resolved."
    )


def test_a_job_and_the_ladder_are_named_once() -> None:
    """Their reasons say whose they are."""
    led = replace(make.finished(), origin=Origin.LADDER, reason="ladder: network: It failed.")
    assert history_line(led).endswith(" generation 7    ladder: network: It failed.")
    ordered = replace(make.finished(), origin=Origin.JOB, reason="job job-7: ticket 17")

    assert history_line(ordered).endswith(" generation 7    job job-7: ticket 17")
    assert history_line(replace(ordered, reason="the fleet asks for it")).endswith(" job: the fleet asks for it")


def test_the_history_says_without_whom_a_change_went_on() -> None:
    """Success with a reservation."""
    message = "bridge.service is failed after its restart."
    record = make.record(Phase.COMMITTED, degraded=make.failure(FailureClass.DEPENDANT, message=message))

    assert f"(without this: {message})" in history_line(record)


# -- why nothing happens -----------------------------------------------------------------------------------------------


def why(now: datetime = NOW, **changes: Any) -> list[str]:
    """Return the explanation of a gateway with a daemon."""
    return explain(make.status(now, **{"live": make.live(), **changes}))


def planned(code: str, text: str, at: datetime | None = None, *, due: bool = False) -> Plan:
    """Return a plan."""
    return Plan(due=due, why=text, code=code, at=at)


def test_a_change_that_is_scheduled_is_told_with_the_time_that_is_left() -> None:
    """The plan's own words, and how long that is."""
    plan = planned("scheduled", "it is scheduled for next week", NOW + 7 * DAY)

    assert why(plan=plan) == ["Nothing is begun now: it is scheduled for next week.", "That is in 7 d."]
    assert why(NOW + 9 * DAY, plan=plan)[1] == "That is in 0 s."


def test_a_hold_without_an_end_has_no_time_left() -> None:
    """What cannot be dated is not dated."""
    assert why(plan=planned("inhibited", "/run/busy exists")) == ["Nothing is begun now: /run/busy exists."]


def test_a_hold_that_the_emergency_ends_is_told_with_that_instant() -> None:
    """The sentence of the hold names another instant or none, so "that" would be a riddle."""
    window = RenewalWindow(opens_at=NOW, closes_at=NOW, emergency_at=NOW + 7 * DAY, not_after=NOW + 9 * DAY)
    plan = replace(planned("inhibited", "/run/busy exists", window.emergency_at), window=window)
    told = f"Near the certificate's end nothing waits: it begins at {clock_time(NOW + 7 * DAY)}, in 7 d."

    assert why(plan=plan) == ["Nothing is begun now: /run/busy exists.", told]
    assert why(plan=replace(plan, code="back-off"))[1] == "That is in 7 d."
    assert why(plan=replace(plan, code="scheduled"))[1] == "That is in 7 d."


def test_a_change_that_is_due_is_told() -> None:
    """It has no time left either."""
    assert why(plan=planned("due", "it is due", NOW, due=True)) == ["A change is due: it is due."]


@pytest.mark.parametrize(
    ("reason", "told"),
    [("none is left (a: b)", "none is left (a: b)."), ("none is left.", "none is left."), ("No. (Ask.)", "No. (Ask.)")],
)
def test_each_line_of_the_explanation_is_a_sentence(reason: str, told: str) -> None:
    """A bracket at its end ends none, unless the full stop is in it."""
    assert why(plan=planned("back-off", reason)) == [f"Nothing is begun now: {told}"]


def test_a_change_in_flight_explains_itself() -> None:
    """The plan is of no interest then."""
    following = Wait(why="the cloud is busy.", code="retry", until=NOW)
    lines = why(change=make.record(Phase.ISSUED), following=following)

    assert lines == ["The rotate c-1 is in flight, in phase issued.", "The cloud is busy."]


def test_connection_and_health_belong_to_the_explanation() -> None:
    """Often they are the explanation."""
    plan = planned("inhibited", "/run/busy exists")
    lines = why(live=make.live("down", "No route", stuck="No set is accepted."), plan=plan)

    assert lines[1:] == ["The connection is down: No route.", "No set is accepted."]
    assert why(plan=plan)[1:] == []


def test_without_a_daemon_nothing_happens_by_itself() -> None:
    """That is said even where a plan is shown."""
    lines = explain(make.status(unattended=NO_DAEMON))

    assert lines[-1] == NO_DAEMON.text
    assert len(lines) == 3
