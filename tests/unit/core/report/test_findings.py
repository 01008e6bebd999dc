"""What is wrong with a gateway, by its status: each problem in a sentence, with what it means for the gateway."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.change.reserve import Standing
from agent.core.dependants import Served, Step
from agent.core.exit_codes import Exit
from agent.core.failure.codes import Code
from agent.core.failure.failure import FailureClass
from agent.core.failure.readmission import way_back
from agent.core.report.findings import LONG_DOWN, events, judge
from agent.core.report.journal_events import Event
from agent.core.report.known import NO_DAEMON
from agent.core.report.screen import explain, screen
from agent.core.report.seen import Damage, WatchedFile
from agent.core.report.status import Retiring
from agent.core.text import clock_time
from agent.core.values import Kind
from support import make
from support.make import DAY, HOUR, NOW, SECOND
from support.unit.core.judged import FAR_AHEAD, IMPLAUSIBLE, TOLD_AS_AHEAD, ending, judged, watched, with_anchors

if TYPE_CHECKING:
    from agent.core.report.status import Status

TROUBLE = make.failure(message="The name cannot be resolved.")


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
    "room for falling back alone": (
        {"reserve": Standing.LAST},
        Exit.DEGRADED,
        (
            "The disk is full: no certificate can be rotated. What falling back needs is set aside. Free some space or "
            "inodes on the file system of the state directory."
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
    "a clock that ran away": ({"clock": FAR_AHEAD}, Exit.DEGRADED, TOLD_AS_AHEAD),
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
            "`endpoint` is still the placeholder change-me.invalid; the account's own endpoint belongs there. "
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
    "a clock that ran away": Event.TROUBLE_CLOCK,
    "a client id that may be shared": Event.CLIENT_ID_SHARED,
    "damage": Event.TROUBLE_STORE,
    "damage of the set in use": Event.TROUBLE_STORE,
    "not looked at": Event.TROUBLE_STORE,
    "room for falling back alone": Event.TROUBLE_STORE,
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
