from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.change.reserve import Standing
from agent.core.dependants import Served, Step
from agent.core.exit_codes import Exit
from agent.core.failure.codes import Code
from agent.core.failure.failure import FailureClass
from agent.core.failure.readmission import way_back
from agent.core.report.findings import LONG_DOWN, events, judge, turns
from agent.core.report.journal_events import Event
from agent.core.report.known import NO_DAEMON
from agent.core.report.screen import explain, screen
from agent.core.report.seen import Damage, SetInUse, WatchedEnd, WatchedFile
from agent.core.report.status import Renewal, Retiring
from agent.core.text import clock_time
from agent.core.timekeeping import ClockState
from agent.core.values import Kind
from agent.core.when.renewal import RenewalPolicy, renewal_window
from support import make
from support.make import DAY, HOUR, NOW, SECOND

if TYPE_CHECKING:
    from agent.core.report.status import Status

IMPLAUSIBLE = make.reading(state=ClockState.IMPLAUSIBLE)
TROUBLE = make.failure(message="The name cannot be resolved.")


def judged(status: Status) -> tuple[list[str], Exit]:
    """Return the sentences and the exit code."""
    found = judge(status)
    return list(found.health), found.exit


def with_anchors(*ends: datetime) -> SetInUse:
    """Return a set in use whose anchors end so."""
    return make.in_use(anchors=tuple(make.anchor(not_after=end) for end in ends))


def ending(not_after: datetime, emergency_at: datetime | None = None) -> dict[str, Any]:
    """Return the fields of a status whose certificate ends so."""
    window = renewal_window(NOW - DAY, NOW + 364 * DAY, RenewalPolicy())
    emergency = {} if emergency_at is None else {"emergency_at": emergency_at}
    return {
        "current": make.in_use(certificate=make.certificate(not_after=not_after)),
        "renewal": Renewal(splay=0.5, window=replace(window, **emergency)),
    }


def watched(*ends: datetime, warn: timedelta = 30 * DAY) -> WatchedFile:
    """Return a watched file whose certificates end so."""
    named = (
        WatchedEnd(subject=f"CN=Server {place},O=Example", sha256=f"{place:02x}" * 32, not_after=end)
        for place, end in enumerate(ends)
    )
    return WatchedFile(path="/etc/app.pem", warn=warn, certificates=len(ends), ends=tuple(named))


def damage(severity: Exit, text: str) -> Damage:
    """Return something that is not as it should be."""
    return Damage(critical=severity is Exit.CRITICAL, text=text)


def test_a_healthy_gateway_has_nothing_wrong() -> None:
    """No sentence, and the exit code of success."""
    assert judged(make.status()) == ([], Exit.DONE)


PROBLEMS: dict[str, tuple[dict[str, Any], Exit, str]] = {
    "no room for falling back": (
        {"reserve": Standing.NO_ROOM},
        Exit.DEGRADED,
        (
            "Nothing is set aside for falling back should the disk be full. Free 768 KiB and 68 inodes on the file "
            "system of the state directory; then it is set aside by itself."
        ),
    ),
    "room that could not be set aside": (
        {"reserve": Standing.MISSING, "live": make.live()},
        Exit.DEGRADED,
        (
            "Nothing is set aside for falling back should the disk be full, though there is room: "
            "`journalctl -u iot-cert-agent` says what it failed with."
        ),
    ),
    "not looked at": (
        {"looked": False, "current": None},
        Exit.DEGRADED,
        "The state directory was not read yet.",
    ),
    "no certificate": (
        {"current": None},
        Exit.CRITICAL,
        "This gateway has no certificate yet: run `iot-cert enroll`.",
    ),
    "expired": (
        ending(NOW),
        Exit.CRITICAL,
        f"The certificate expired at {clock_time(NOW)}. {way_back('', enrols=True)}",
    ),
    "expiring": (
        ending(NOW + DAY, emergency_at=NOW),
        Exit.DEGRADED,
        f"The certificate expires at {clock_time(NOW + DAY)} and is not replaced yet: see `iot-cert explain`.",
    ),
    "an anchor ends": (
        {"current": with_anchors(NOW + 2000 * DAY, NOW + 100 * DAY)},
        Exit.DEGRADED,
        f"The trust anchor, Amazon Root CA 1, expires at {clock_time(NOW + 100 * DAY)}, in less than 180 d.",
    ),
    "an anchor has ended": (
        {"current": with_anchors(NOW)},
        Exit.DEGRADED,
        f"The trust anchor, Amazon Root CA 1, expired at {clock_time(NOW)}.",
    ),
    "the anchor in use ends": (
        {"current": with_anchors(NOW + 6 * DAY), "anchor_in_use": "ef" * 32},
        Exit.DEGRADED,
        (
            "The trust anchor that the endpoint chained to at the last proof, Amazon Root CA 1, expires at "
            f"{clock_time(NOW + 6 * DAY)}, in less than 7 d."
        ),
    ),
    "the anchor in use has ended": (
        {"current": with_anchors(NOW), "anchor_in_use": "ef" * 32},
        Exit.CRITICAL,
        (
            "The trust anchor that the endpoint chained to at the last proof, Amazon Root CA 1, expired at "
            f"{clock_time(NOW)}."
        ),
    ),
    "a watched certificate ends": (
        {"watched": (watched(NOW + 900 * DAY, NOW + DAY),)},
        Exit.DEGRADED,
        f"Server 1 in /etc/app.pem expires at {clock_time(NOW + DAY)}, in less than 30 d.",
    ),
    "a watched certificate has ended": (
        {"watched": (watched(NOW),)},
        Exit.DEGRADED,
        f"Server 0 in /etc/app.pem expired at {clock_time(NOW)}.",
    ),
    "a watched file is gone": (
        {"watched": (WatchedFile(path="/etc/app.pem", warn=SECOND, problem="/etc/app.pem: it cannot be read"),)},
        Exit.DEGRADED,
        "A watched file cannot be used. /etc/app.pem: it cannot be read.",
    ),
    "the clock": (
        {"clock": IMPLAUSIBLE},
        Exit.DEGRADED,
        f"The clock shows {clock_time(NOW)}, which cannot be; nothing is judged by it.",
    ),
    "rolled back": (
        {"unresolved": (make.finished(Phase.ROLLED_BACK, failure=TROUBLE),)},
        Exit.DEGRADED,
        "The last change was rolled back: The name cannot be resolved.",
    ),
    "given up": (
        {"unresolved": (make.finished(Phase.REJECTED, failure=TROUBLE),)},
        Exit.DEGRADED,
        "The last change was given up: The name cannot be resolved.",
    ),
    "anchors given up": (
        {"unresolved": (make.finished(Phase.REJECTED, kind=Kind.TRUST, failure=TROUBLE),)},
        Exit.DEGRADED,
        "The last change of anchors was given up: The name cannot be resolved.",
    ),
    "the only set was refused": (
        {"refused": make.finished(Phase.REJECTED, failure=TROUBLE)},
        Exit.CRITICAL,
        (
            "The set in use was refused in its probation, and there is none to go back to: The name cannot be "
            "resolved. The daemon looks for a set that connects; without it, run `iot-cert rotate`."
        ),
    ),
    "no endpoint": (
        {"endpoint": "change-me.invalid"},
        Exit.CRITICAL,
        (
            "`endpoint` is change-me.invalid still, which only stands where the account's own endpoint has to be put. "
            "Ask for it: `aws iot describe-endpoint --endpoint-type iot:Data-ATS`."
        ),
    ),
    "a key open to others": (
        {"exposed": ("The key may be read by others. Run `sudo chmod g-w,o-rwx key.pem`.",)},
        Exit.DEGRADED,
        "The key may be read by others. Run `sudo chmod g-w,o-rwx key.pem`.",
    ),
    "a distrusted anchor": (
        {"distrusted": ("A is distrusted: it was withdrawn. Remove it.",)},
        Exit.DEGRADED,
        "A is distrusted: it was withdrawn. Remove it.",
    ),
    "anchors that are lacking": (
        {"lacking": "The anchors lack B."},
        Exit.DONE,
        "The anchors lack B. `iot-cert check anchors` says what to do.",
    ),
    "no daemon": ({"unattended": NO_DAEMON}, Exit.DEGRADED, NO_DAEMON.text),
    "dependants that were not served": (
        {"served": Served(generation=6, steps=(Step(name="a.service"),))},
        Exit.DEGRADED,
        "The dependants were not served generation 7 yet: `sudo iot-cert deploy`.",
    ),
    "dependants that were never served": (
        {"served": Served()},
        Exit.DEGRADED,
        "The dependants were not served generation 7 yet: `sudo iot-cert deploy`.",
    ),
    "trouble in flight": (
        {"change": make.record(failure=TROUBLE)},
        Exit.DEGRADED,
        "The change in flight has trouble: The name cannot be resolved.",
    ),
    "locked out": (
        {"change": make.record(failure=make.failure(FailureClass.CREDENTIAL, Code.LOCKED_OUT))},
        Exit.CRITICAL,
        "It did not work. Look into it.",
    ),
    "a retirement is refused": (
        {"retiring": (Retiring(change="c-1", certificate_id="01" * 32, due=NOW, refused="Not yours."),)},
        Exit.DEGRADED,
        (
            "The cloud refuses to retire 010101010101: Not yours. "
            "To have it not asked for any more: `iot-cert retire --drop 010101010101`."
        ),
    ),
    "taken over": ({"live": make.live("taken-over", "Another client.")}, Exit.DEGRADED, "Another client."),
    "not for long": ({"live": make.live(rival="Another client.")}, Exit.DEGRADED, "Another client."),
    "no connection": (
        {"live": make.live("down", "No route.", NOW - HOUR)},
        Exit.DEGRADED,
        f"There has been no connection since {clock_time(NOW - HOUR)}: No route.",
    ),
    "stuck": ({"live": make.live(stuck="No set is accepted.")}, Exit.CRITICAL, "No set is accepted."),
    "a look that failed": (
        {"live": make.live(unseen="Cannot lock it.")},
        Exit.DEGRADED,
        "The state directory was not put in order as it should be: Cannot lock it.",
    ),
    "configuration": (
        {"live": make.live(configuration_refused="c.yaml:2: port: no")},
        Exit.DEGRADED,
        "The changed configuration is not in force: c.yaml:2: port: no",
    ),
    "a client id that may be shared": (
        {"concerns": ("The id may be shared.",)},
        Exit.DONE,
        "The id may be shared. `iot-cert check configuration` says what to do.",
    ),
    "damage": (
        {"damage": (damage(Exit.DEGRADED, "The previous set is damaged."),)},
        Exit.DEGRADED,
        "The previous set is damaged.",
    ),
    "damage of the set in use": (
        {"damage": (damage(Exit.CRITICAL, "The current set is damaged."),), "current": None},
        Exit.CRITICAL,
        "The current set is damaged.",
    ),
    "a dependant": (
        {"served": Served(generation=7, steps=(Step(name="a.service", problem="a.service is failed."),))},
        Exit.DEGRADED,
        "a.service is failed.",
    ),
    "a helper that does not answer": (
        {"served": Served(generation=7, steps=(Step(name="a.service"),), problem="The helper is gone.")},
        Exit.DEGRADED,
        "The helper is gone.",
    ),
}


def of(name: str) -> Status:
    """Return the status of a gateway that has a problem."""
    return make.status(**PROBLEMS[name][0])


@pytest.mark.parametrize("name", PROBLEMS)
def test_each_problem_is_told_in_a_sentence_with_its_severity(name: str) -> None:
    """Alone it decides the exit code."""
    _, severity, sentence = PROBLEMS[name]

    assert judged(of(name)) == ([sentence], severity)


# What the journal is to have of a problem, once; the others have messages of their own where they happen.
EVENTS = {
    "dependants that were not served": Event.TROUBLE_DEPENDANT,
    "dependants that were never served": Event.TROUBLE_DEPENDANT,
    "expired": Event.CERTIFICATE_EXPIRED,
    "expiring": Event.CERTIFICATE_EXPIRING,
    "an anchor ends": Event.ANCHOR_EXPIRING,
    "an anchor has ended": Event.ANCHOR_EXPIRING,
    "the anchor in use ends": Event.ANCHOR_EXPIRING,
    "the anchor in use has ended": Event.ANCHOR_EXPIRING,
    "a watched certificate ends": Event.WATCHED_EXPIRING,
    "a watched certificate has ended": Event.WATCHED_EXPIRING,
    "a watched file is gone": Event.WATCHED_EXPIRING,
    "the clock": Event.CLOCK_IMPLAUSIBLE,
    "a client id that may be shared": Event.CLIENT_ID_SHARED,
    "damage": Event.TROUBLE_STORE,
    "damage of the set in use": Event.TROUBLE_STORE,
    "not looked at": Event.TROUBLE_STORE,
    "no room for falling back": Event.TROUBLE_STORE,
    "room that could not be set aside": Event.TROUBLE_STORE,
    "locked out": Event.LOCKED_OUT,
    "a dependant": Event.TROUBLE_DEPENDANT,
    "a helper that does not answer": Event.TROUBLE_DEPENDANT,
    "the only set was refused": Event.CHANGE_REJECTED,
    "no endpoint": Event.TROUBLE_NETWORK,
    "a key open to others": Event.TROUBLE_STORE,
    "a distrusted anchor": Event.ANCHORS_DOUBTFUL,
    "anchors that are lacking": Event.ANCHORS_DOUBTFUL,
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_what_no_other_module_tells_the_journal_is_an_event(name: str) -> None:
    """Its sentence is the problem's."""
    assert events(of(name)) == ({PROBLEMS[name][2]: EVENTS[name]} if name in EVENTS else {})


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_status_can_be_shown_and_explained(name: str) -> None:
    """Nothing that can be wrong keeps the screen from being drawn."""
    status, sentence = of(name), PROBLEMS[name][2]
    lines = list(screen(status))

    assert lines[-1] == ("health", sentence)
    assert explain(status)[-1] == sentence
    assert all(text and text == text.strip() for _, text in lines)


@pytest.mark.parametrize(
    "changes",
    [
        {"reserve": Standing.MISSING},  # made by an older version: the next start sets it aside
        {"reserve": Standing.MISSING, "live": make.live(), "change": make.record()},  # set aside when that is over
        {"reserve": Standing.NO_ROOM, "current": None, "damage": (damage(Exit.DEGRADED, "One."),)},  # nothing is in use
        {"reserve": Standing.KEPT, "live": make.live()},
    ],
)
def test_room_that_will_be_set_aside_by_itself_is_no_problem(changes: dict[str, Any]) -> None:
    """Only what needs a person is told."""
    assert not [text for text in judge(make.status(**changes)).health if "set aside" in text]


@pytest.mark.parametrize("order", [1, -1])
def test_the_worst_problem_decides(order: int) -> None:
    """A critical one is not hidden by others, wherever it stands, and all are told."""
    found = (damage(Exit.DEGRADED, "One."), damage(Exit.CRITICAL, "Two."), damage(Exit.DEGRADED, "Three."))[::order]

    assert judged(make.status(damage=found)) == ([item.text for item in found], Exit.CRITICAL)


def test_an_unbelievable_clock_judges_no_dates() -> None:
    """A gateway that woke up in 2049 does not cry that all is lost."""
    current = replace(with_anchors(NOW - DAY), certificate=make.certificate(not_after=NOW - DAY))
    health, code = judged(make.status(clock=IMPLAUSIBLE, current=current))

    assert (len(health), code) == (1, Exit.DEGRADED)
    assert "cannot be" in health[0]


def test_the_ends_are_judged_to_the_microsecond() -> None:
    """A certificate is good until its last instant, an anchor is warned of from the first distance on."""
    tick, first = timedelta(microseconds=1), 180 * DAY

    assert judged(make.status(**ending(NOW + DAY, emergency_at=NOW + tick))) == ([], Exit.DONE)
    assert judged(make.status(**ending(NOW + tick))) == ([], Exit.DONE)
    assert judged(make.status(current=with_anchors(NOW + first))) == ([], Exit.DONE)
    assert judged(make.status(current=with_anchors(NOW + first - tick)))[1] is Exit.DEGRADED


@pytest.mark.parametrize(
    ("down", "code"),
    [(LONG_DOWN, Exit.DONE), (LONG_DOWN + SECOND, Exit.DEGRADED), (-LONG_DOWN * 2, Exit.DEGRADED)],
)
def test_a_connection_that_is_briefly_down_is_no_problem(down: timedelta, code: Exit) -> None:
    """A minute is granted; a clock that was set back since does not hide an outage, nor does another attempt."""
    for state in ("down", "connecting"):
        assert judge(make.status(live=make.live(state, "No route.", NOW - down))).exit is code


@pytest.mark.parametrize("state", ["down", "connecting"])
def test_a_connection_whose_path_is_gone_is_a_problem_at_once(state: str) -> None:
    """It is known that there is none; what is only being made again is granted its minute."""
    live = make.live(state, "No sign of life.", NOW)
    gone = replace(live, connection=replace(live.connection, cut_off=True))
    assert judge(make.status(live=gone)).exit is Exit.DEGRADED
    assert judge(make.status(live=live)).exit is Exit.DONE


@pytest.mark.parametrize("state", ["up", "lent"])
def test_a_connection_in_any_other_state_is_no_problem(state: str) -> None:
    """Whatever it says."""
    assert judged(make.status(live=make.live(state, "soon", NOW - DAY))) == ([], Exit.DONE)


def test_a_gateway_without_a_set_tells_its_other_troubles_too() -> None:
    """That there is no certificate helps little, while the configuration is what is wrong."""
    status = make.status(
        current=None,
        live=make.live(stuck="No set is accepted.", configuration_refused="c.yaml:2: port: no"),
        change=make.record(failure=TROUBLE),
    )
    health, code = judged(status)

    assert code is Exit.CRITICAL
    for part in ("No set is accepted.", "c.yaml:2", "The name cannot be resolved."):
        assert any(part in sentence for sentence in health)


# -- retirement --------------------------------------------------------------------------------------------------------


WAITS = Retiring(change="c-2", certificate_id="02" * 32, due=NOW, waits_for=("nginx.service", "copy /etc/app.pem"))
UNANSWERED = Retiring(change="c-3", certificate_id="03" * 32, due=NOW, unanswered="retire was not answered in time.")
REFUSED = Retiring(change="c-4", certificate_id="04" * 32, due=NOW, refused="Not yours.")


def test_only_a_refused_retirement_is_a_fault() -> None:
    """That a program does not use the set is one already; that no answer came is a note."""
    assert judged(make.status(retiring=(WAITS,))) == ([], Exit.DONE)
    assert judged(make.status(retiring=(UNANSWERED,))) == ([], Exit.DONE)
    assert judge(make.status(retiring=(WAITS, UNANSWERED, REFUSED))).exit is Exit.DEGRADED


def test_the_journal_hears_what_a_retirement_waits_for_once_it_is_due() -> None:
    """And that no answer came; with the names, and with an event for each."""
    early = events(make.status(NOW - HOUR, retiring=(WAITS, UNANSWERED)))
    due = events(make.status(retiring=(WAITS, UNANSWERED)))

    assert list(early.values()) == [Event.RETIRE_UNANSWERED]
    assert list(due.values()) == [Event.RETIRE_WAITS, Event.RETIRE_UNANSWERED]
    waits, unanswered = due
    assert "020202020202" in waits
    assert "nginx.service, copy /etc/app.pem" in waits
    assert unanswered.startswith("The request to retire 030303030303 has no answer: retire was not answered in time.")
    assert "rotation: {retire: false}" in unanswered
    assert events(make.status(retiring=(replace(WAITS, waits_for=()),))) == {}


# -- alarms at distances -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "within"),
    [
        (180 * DAY, ""), (180 * DAY - SECOND, "180 d"), (30 * DAY, "180 d"), (30 * DAY - SECOND, "30 d"),
        (7 * DAY, "30 d"), (7 * DAY - SECOND, "7 d"), (SECOND, "7 d"),
    ],
)  # fmt: skip
def test_an_anchor_raises_an_alarm_at_each_distance(left: timedelta, within: str) -> None:
    """The journal tells a sentence once, so it is another at each distance, and the same in between."""
    told = [text.rpartition("in less than ")[2] for text in events(make.status(current=with_anchors(NOW + left)))]

    assert told == ([f"{within}."] if within else [])


def test_the_judgement_changes_by_the_clock_at_the_turns_alone() -> None:
    """So the daemon need not look in between, and is never late."""
    current = with_anchors(NOW + 200 * DAY, NOW + 20 * DAY)
    changes = {**ending(NOW + 50 * DAY, emergency_at=NOW + 40 * DAY), "watched": (watched(NOW + 90 * DAY),)}
    changes["current"] = replace(current, certificate=changes["current"].certificate)
    at = sorted({instant for instant in turns(make.status(**changes)) if instant > NOW})
    tick = timedelta(microseconds=1)

    def told(now: datetime) -> tuple[list[str], Exit]:
        return judged(make.status(now, **changes))

    for before, after in itertools.pairwise([NOW, *at, NOW + 300 * DAY]):
        assert told(before + tick) == told(after - tick)
    differ = [instant for instant in at if told(instant - tick) != told(instant + tick)]
    assert differ == at
    assert list(turns(make.status(current=None))) == []


def test_an_alarm_is_told_once_at_each_distance() -> None:
    """Looked at every hour of the last half year, one anchor makes four sentences."""
    current = with_anchors(NOW)
    looks = (make.status(NOW + hour * HOUR, current=current) for hour in range(-200 * 24, 24))
    anchors = {text for status in looks for text in events(status) if "anchor" in text}

    assert len(anchors) == 4
    assert {text.split(", ")[-1] for text in anchors if "less" in text} == {
        "in less than 180 d.", "in less than 30 d.", "in less than 7 d.",
    }  # fmt: skip


def test_without_distances_only_the_end_is_told() -> None:
    """An operator who wants no warnings gets none."""
    near, ended = (make.status(current=with_anchors(at), warn_anchors=()) for at in (NOW + SECOND, NOW))

    assert judged(near) == ([], Exit.DONE)
    assert judge(ended).exit is Exit.DEGRADED


def test_each_anchor_has_an_alarm_of_its_own() -> None:
    """And only the one that the endpoint chains to is critical once it has ended."""
    ends = (NOW - DAY, NOW + DAY, NOW + 900 * DAY)
    anchors = tuple(make.anchor(not_after=end, sha256=f"{place:02x}" * 32) for place, end in enumerate(ends))
    current = make.in_use(anchors=anchors)

    found = judge(make.status(current=current, anchor_in_use="01" * 32))
    assert (len(found.health), found.exit) == (2, Exit.DEGRADED)
    found = judge(make.status(current=current, anchor_in_use="00" * 32))
    assert (len(found.health), found.exit) == (2, Exit.CRITICAL)


def test_watched_files_are_judged_without_a_set_and_not_without_a_clock() -> None:
    """They are another program's, which may need them before this gateway has a certificate."""
    soon = (watched(NOW + DAY),)

    assert len(judge(make.status(current=None, watched=soon)).health) == 2
    assert len(judge(make.status(clock=IMPLAUSIBLE, watched=soon)).health) == 1
