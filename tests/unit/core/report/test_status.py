from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timedelta
from typing import Any

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.change.records import public
from agent.core.failure.failure import FailureClass
from agent.core.jsonio import encode, to_plain
from agent.core.report import status
from agent.core.report.journal_events import Event
from agent.core.report.status import CRITICAL, DEGRADED, DONE, LONG_DOWN, events, explain, history_line, judge, screen
from agent.core.text import clock_time
from agent.core.timekeeping import ClockState
from support import make
from support.make import DAY, HOUR, MINUTE, NOW, SECOND

IMPLAUSIBLE = to_plain(make.reading(state=ClockState.IMPLAUSIBLE))
TROUBLE = make.failure(message="The name cannot be resolved.")


def with_set(
    *, not_after: datetime | None = None, emergency_at: datetime | None = None, anchors: tuple[datetime, ...] = ()
) -> dict[str, Any]:
    """Return a current set with other ends."""
    current: dict[str, Any] = make.document()["current"]
    if emergency_at is not None:
        current["renewal"]["emergency_at"] = to_plain(emergency_at)
    if not_after is not None:
        current["certificate"]["not_after"] = to_plain(not_after)
    if anchors:
        current["anchors"] = [to_plain(make.anchor(not_after=end)) for end in anchors]
    return current


def watched(*ends: datetime, path: str = "/etc/app.pem", warn: timedelta = 30 * DAY) -> dict[str, Any]:
    """Return a watched file as the document has it."""
    named = [
        {"subject": f"CN=Server {place},O=Example", "sha256": f"{place:02x}" * 32, "not_after": to_plain(end)}
        for place, end in enumerate(ends)
    ]
    return {
        "path": path, "warn": warn.total_seconds(), "certificates": len(ends), "unreadable": 0, "ends": named,
    }  # fmt: skip


def shown(now: datetime = NOW, **changes: Any) -> dict[str, str]:
    """Return the screen of a document by name."""
    lines = list(screen(make.document(**changes), now))
    assert len(dict(lines)) == len(lines)
    return dict(lines)


def link(state: str, why: str = "", since: datetime | None = None) -> dict[str, Any]:
    """Return a connection as the daemon tells of it."""
    told = {"state": state, "why": why, "since": to_plain(since) if since else None}
    return {name: value for name, value in told.items() if value}


# -- what is wrong -------------------------------------------------------------------------------------------------


def test_a_healthy_gateway_has_nothing_wrong() -> None:
    """No sentence, and the exit code of success."""
    assert judge(make.document(), NOW) == ([], DONE)


PROBLEMS: dict[str, tuple[dict[str, Any], int, str]] = {
    "no room for falling back": (
        {"reserve": "no-room"},
        DEGRADED,
        (
            "Nothing is set aside for falling back should the disk be full. Free 768 KiB and 68 inodes on the file "
            "system of the state directory; then it is set aside by itself."
        ),
    ),
    "room that could not be set aside": (
        {"reserve": "missing", "daemon": 7},
        DEGRADED,
        (
            "Nothing is set aside for falling back should the disk be full, though there is room: "
            "`journalctl -u iot-cert-agent` says what it failed with."
        ),
    ),
    "no certificate": (
        {"current": None},
        CRITICAL,
        "This gateway has no certificate yet: run `iot-cert enroll`.",
    ),
    "expired": (
        {"current": with_set(not_after=NOW)},
        CRITICAL,
        f"The certificate expired at {clock_time(NOW)}: run `iot-cert rotate`.",
    ),
    "expiring": (
        {"current": with_set(not_after=NOW + DAY, emergency_at=NOW)},
        DEGRADED,
        f"The certificate expires at {clock_time(NOW + DAY)} and is not replaced yet: see `iot-cert explain`.",
    ),
    "an anchor ends": (
        {"current": with_set(anchors=(NOW + 2000 * DAY, NOW + 100 * DAY))},
        DEGRADED,
        f"The trust anchor, Amazon Root CA 1, expires at {clock_time(NOW + 100 * DAY)}, in less than 180 d.",
    ),
    "an anchor has ended": (
        {"current": with_set(anchors=(NOW,))},
        DEGRADED,
        f"The trust anchor, Amazon Root CA 1, expired at {clock_time(NOW)}.",
    ),
    "the anchor in use ends": (
        {"current": {**with_set(anchors=(NOW + 6 * DAY,)), "anchor_in_use": "ef" * 32}},
        DEGRADED,
        (
            "The trust anchor that the endpoint chains to, Amazon Root CA 1, expires at "
            f"{clock_time(NOW + 6 * DAY)}, in less than 7 d."
        ),
    ),
    "the anchor in use has ended": (
        {"current": {**with_set(anchors=(NOW,)), "anchor_in_use": "ef" * 32}},
        CRITICAL,
        f"The trust anchor that the endpoint chains to, Amazon Root CA 1, expired at {clock_time(NOW)}.",
    ),
    "a watched certificate ends": (
        {"watched": [watched(NOW + 900 * DAY, NOW + DAY)]},
        DEGRADED,
        f"Server 1 in /etc/app.pem expires at {clock_time(NOW + DAY)}, in less than 30 d.",
    ),
    "a watched certificate has ended": (
        {"watched": [watched(NOW)]},
        DEGRADED,
        f"Server 0 in /etc/app.pem expired at {clock_time(NOW)}.",
    ),
    "a watched file is gone": (
        {"watched": [{"path": "/etc/app.pem", "warn": 1.0, "problem": "/etc/app.pem: it cannot be read"}]},
        DEGRADED,
        "A watched file cannot be used. /etc/app.pem: it cannot be read.",
    ),
    "the clock": (
        {"clock": IMPLAUSIBLE},
        DEGRADED,
        f"The clock shows {clock_time(NOW)}, which cannot be; nothing is judged by it.",
    ),
    "rolled back": (
        {"last": public(make.finished(Phase.ROLLED_BACK, failure=TROUBLE))},
        DEGRADED,
        "The last change was rolled back: The name cannot be resolved.",
    ),
    "trouble in flight": (
        {"change": public(make.record(failure=TROUBLE))},
        DEGRADED,
        "The change in flight has trouble: The name cannot be resolved.",
    ),
    "a retirement is refused": (
        {"retirements": [{"certificate_id": "01" * 32, "due": to_plain(NOW), "refused": "Not yours."}]},
        DEGRADED,
        (
            "The cloud refuses to retire 010101010101: Not yours. "
            "To have it not asked for any more: `iot-cert retire --drop 010101010101`."
        ),
    ),
    "taken over": ({"connection": link("taken-over", "Another client.")}, DEGRADED, "Another client."),
    "not for long": ({"connection": {"state": "up", "rival": "Another client."}}, DEGRADED, "Another client."),
    "no connection": (
        {"connection": link("down", "No route.", NOW - HOUR)},
        DEGRADED,
        f"There has been no connection since {clock_time(NOW - HOUR)}: No route.",
    ),
    "stuck": ({"stuck": "No set is accepted."}, CRITICAL, "No set is accepted."),
    "a look that failed": (
        {"unseen": "Cannot lock it."},
        DEGRADED,
        "The state directory was not put in order as it should be: Cannot lock it.",
    ),
    "configuration": (
        {"configuration_refused": "c.yaml:2: port: no"},
        DEGRADED,
        "The changed configuration is not in force: c.yaml:2: port: no",
    ),
    "a client id that may be shared": (
        {"warnings": ["The id may be shared."]},
        DONE,
        "The id may be shared. `iot-cert check configuration` says what to do.",
    ),
    "damage": ({"damage": [(DEGRADED, "The previous set is damaged.")]}, DEGRADED, "The previous set is damaged."),
    "damage of the set in use": (
        {"damage": [[CRITICAL, "The current set is damaged."]], "current": None},
        CRITICAL,
        "The current set is damaged.",
    ),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_each_problem_is_told_in_a_sentence_with_its_severity(name: str) -> None:
    """Alone it decides the exit code."""
    changes, severity, sentence = PROBLEMS[name]

    assert judge(make.document(**changes), NOW) == ([sentence], severity)


# What the journal is to have of a problem, once; the others have messages of their own where they happen.
EVENTS = {
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
    "no room for falling back": Event.TROUBLE_STORE,
    "room that could not be set aside": Event.TROUBLE_STORE,
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_what_nobody_else_tells_the_journal_is_an_event(name: str) -> None:
    """Its sentence is the problem's, and its name is one that the catalogue has."""
    changes, _, sentence = PROBLEMS[name]
    found = status.events(make.document(**changes), NOW)

    assert found == ({sentence: EVENTS[name].value} if name in EVENTS else {})


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_document_is_judged_alike_before_and_after_it_was_a_file(name: str) -> None:
    """Pairs become lists in JSON; nothing else changes."""
    document = make.document(**PROBLEMS[name][0])

    assert judge(json.loads(encode(document)), NOW) == judge(document, NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"reserve": "missing"},  # made by an older version: the next start sets it aside
        {"reserve": "missing", "daemon": 7, "change": public(make.record())},  # it is set aside when that is over
        {"reserve": "no-room", "current": None, "damage": [(DEGRADED, "One.")]},  # nothing to fall back from
        {"reserve": "kept", "daemon": 7},
    ],
)
def test_room_that_will_be_set_aside_by_itself_is_no_problem(changes: dict[str, Any]) -> None:
    """Only what needs a person is told."""
    assert not [text for text in judge(make.document(**changes), NOW)[0] if "set aside" in text]


@pytest.mark.parametrize("order", [1, -1])
def test_the_worst_problem_decides(order: int) -> None:
    """A critical one is not hidden by others, wherever it stands, and all are told."""
    damage = [(DEGRADED, "One."), (CRITICAL, "Two."), (DEGRADED, "Three.")][::order]

    assert judge(make.document(damage=damage), NOW) == ([text for _, text in damage], CRITICAL)


def test_an_unbelievable_clock_judges_no_dates() -> None:
    """A gateway that woke up in 2049 does not cry that all is lost."""
    document = make.document(clock=IMPLAUSIBLE, current=with_set(not_after=NOW - DAY, anchors=(NOW - DAY,)))
    health, code = judge(document, NOW)

    assert (len(health), code) == (1, DEGRADED)
    assert "cannot be" in health[0]


def test_the_ends_are_judged_to_the_microsecond() -> None:
    """A certificate is good until its last instant, an anchor is warned of from the first distance on."""
    tick, first = timedelta(microseconds=1), 180 * DAY
    ending = with_set(not_after=NOW + DAY, emergency_at=NOW + tick)

    assert judge(make.document(current=ending), NOW) == ([], DONE)
    assert judge(make.document(current=with_set(not_after=NOW + tick)), NOW) == ([], DONE)
    assert judge(make.document(current=with_set(anchors=(NOW + first,))), NOW) == ([], DONE)
    assert judge(make.document(current=with_set(anchors=(NOW + first - tick,))), NOW)[1] == DEGRADED


@pytest.mark.parametrize(
    ("down", "code"), [(LONG_DOWN, DONE), (LONG_DOWN + SECOND, DEGRADED), (-LONG_DOWN * 2, DEGRADED)]
)
def test_a_connection_that_is_briefly_down_is_no_problem(down: timedelta, code: int) -> None:
    """Fifteen minutes are granted; a clock that was set back since does not hide an outage."""
    assert judge(make.document(connection=link("down", "No route.", NOW - down)), NOW)[1] == code


@pytest.mark.parametrize("state", ["up", "connecting", "lent"])
def test_a_connection_in_any_other_state_is_no_problem(state: str) -> None:
    """Whatever it says."""
    assert judge(make.document(connection=link(state, "soon", NOW - DAY)), NOW) == ([], DONE)


@pytest.mark.parametrize("phase", [Phase.COMMITTED, Phase.REJECTED])
def test_a_change_that_left_the_gateway_as_it_was_is_no_problem(phase: Phase) -> None:
    """Only a rollback says that something which was in use did not work."""
    last = public(make.finished(phase, failure=TROUBLE if phase is Phase.REJECTED else None))

    assert judge(make.document(last=last), NOW) == ([], DONE)


def test_a_gateway_without_a_set_tells_its_other_troubles_too() -> None:
    """Nobody is helped by hearing only that there is no certificate, while the configuration is what is wrong."""
    document = make.document(
        current=None, stuck="No set is accepted.", configuration_refused="c.yaml:2: port: no",
        change=public(make.record(failure=TROUBLE)),
    )  # fmt: skip
    health, code = judge(document, NOW)

    assert code == CRITICAL
    for part in ("No set is accepted.", "c.yaml:2", "The name cannot be resolved."):
        assert any(part in sentence for sentence in health)


# -- the screen --------------------------------------------------------------------------------------------------------


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
    found = shown(current=None, health=["Enrol it.", "Soon."])

    assert list(found) == ["gateway", "clock", "change", "health"]
    assert found["gateway"].startswith("not enrolled at ")
    assert found["health"] == "Enrol it.\nSoon."
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
    assert shown(current=with_set(not_after=NOW + left))["certificate"].split("\n")[0].endswith(f"UTC ({text})")


def test_a_change_in_flight_is_told_with_its_next_step() -> None:
    """And with the instant, when it waits."""
    change = public(make.record(Phase.PREPARED))
    waits = shown(change=change, next={"why": "it waits", "code": "retry", "until": to_plain(NOW + HOUR)})
    goes_on = shown(change=change, next={"why": "it must connect", "code": "step"})

    first, second = waits["change"].split("\n")
    assert first == ("rotate c-1 (the renewal window is open), in phase prepared since 2027-03-01 12:00:00 UTC")
    assert second == "next: it waits until 2027-03-01 13:00:00 UTC"
    assert goes_on["change"].endswith("\nnext: it must connect")
    assert shown(change=change)["change"].endswith("\nnext: unknown")


def test_what_only_a_daemon_knows_is_shown_when_there_is_one() -> None:
    """Connection, plan, pause and retirements, before the last change."""
    found = shown(
        daemon=17,
        connection=link("up"),
        pause={"until": to_plain(NOW + DAY), "reason": "harvest"},
        retirements=[{"certificate_id": "01" * 32, "due": to_plain(NOW + DAY), "change": "c-1"}],
        last=public(make.finished(failure=TROUBLE)),
    )

    assert list(found)[7:] == ["connection", "plan", "paused", "retiring", "last", "health"]
    assert found["connection"] == "up"
    assert found["plan"] == "its turn has not come"
    assert found["paused"] == "until 2027-03-02 12:00:00 UTC: harvest"
    assert found["retiring"] == "010101010101 from 2027-03-02 12:00:00 UTC"
    assert shown(connection=link("down", "No route."))["connection"] == "down: No route."


def test_a_set_on_probation_is_told_with_its_next_proof() -> None:
    """Which is not what its probation lasts until."""
    why = "generation 7 waits for confirmation until 2027-03-01 12:10:00 UTC: `iot-cert confirm`; it is kept ready"
    following = {"why": why, "code": "probation", "until": to_plain(NOW + MINUTE)}
    told = shown(change=public(make.record(Phase.DEPLOYED)), next=following)

    assert told["change"].endswith(f"\nnext: {why}; it is proven again at 2027-03-01 12:01:00 UTC")


WAITS = {"certificate_id": "02" * 32, "due": to_plain(NOW), "waits_for": ["nginx.service", "copy /etc/app.pem"]}
UNANSWERED = {"certificate_id": "03" * 32, "due": to_plain(NOW), "unanswered": "retire was not answered in time."}
REFUSED = {"certificate_id": "04" * 32, "due": to_plain(NOW), "refused": "Not yours."}


def test_what_a_retirement_waits_for_is_shown_by_name() -> None:
    """A fault is not made of it: that a program does not use the set is one already."""
    found = make.document(retirements=[WAITS])

    assert judge(found, NOW) == ([], DONE)
    assert shown(retirements=[WAITS])["retiring"] == (
        "020202020202 from 2027-03-01 12:00:00 UTC, waits for nginx.service, copy /etc/app.pem"
    )


def test_that_no_answer_came_is_a_note_and_no_fault() -> None:
    """It says what it costs, and which switch ends it."""
    found = make.document(retirements=[UNANSWERED])
    line, note = shown(retirements=[UNANSWERED])["retiring"].splitlines()

    assert judge(found, NOW) == ([], DONE)
    assert line == "030303030303 from 2027-03-01 12:00:00 UTC, no answer yet"
    assert "stays active in the account until it is deactivated" in note
    assert "rotation: {retire: false}" in note


def test_a_refusal_among_others_is_the_only_fault() -> None:
    """Each is told apart from the others."""
    lines = shown(retirements=[WAITS, UNANSWERED, {**REFUSED, "waits_for": ["a.service"]}])["retiring"].splitlines()

    assert [line.partition(" UTC, ")[2] for line in lines[:3]] == [
        "waits for nginx.service, copy /etc/app.pem",
        "no answer yet",
        "refused, waits for a.service",
    ]
    assert judge(make.document(retirements=[WAITS, UNANSWERED, REFUSED]), NOW)[1] == DEGRADED


def test_where_nothing_is_asked_for_that_is_said_once_something_was_left_behind() -> None:
    """Before that there is nothing to say."""
    assert shown(not_asked_for=2)["retiring"] == "not asked for (rotation.retire is false): 2 left behind"
    assert "retiring" not in shown(not_asked_for=0)


def test_the_journal_hears_what_a_retirement_waits_for_once_it_is_due() -> None:
    """And that no answer came; with the names, and with an event for each."""
    found = make.document(retirements=[WAITS, UNANSWERED])
    early, due = events(found, NOW - HOUR), events(found, NOW)

    assert list(early.values()) == ["retire-unanswered"]
    assert list(due.values()) == ["retire-waits", "retire-unanswered"]
    waits, unanswered = due
    assert "020202020202" in waits
    assert "nginx.service, copy /etc/app.pem" in waits
    assert unanswered.startswith("The request to retire 030303030303 has no answer: retire was not answered in time.")
    assert "rotation: {retire: false}" in unanswered
    assert events(make.document(retirements=[{**WAITS, "waits_for": []}]), NOW) == {}


def test_a_plan_is_not_shown_next_to_a_change() -> None:
    """What is planned is what is being done."""
    assert "plan" not in shown(change=public(make.record()), connection=link("up"))


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
    current = with_set()
    current["anchors"] = [to_plain(make.anchor(subject=subject))]

    assert shown(current=current)["anchors"].startswith(f"{name}, until ")


def test_a_finished_change_is_one_line() -> None:
    """When, what, how it ended, who wanted it and why, and what went wrong."""
    good = history_line(public(make.finished()))
    bad = history_line(public(make.finished(Phase.ROLLED_BACK, failure=TROUBLE)))

    assert good == (
        "2027-03-01 12:00:00 UTC  rotate   committed   generation 7    schedule: the renewal window is open"
    )
    assert bad == (
        "2027-03-01 12:00:00 UTC  rotate   rolled-back generation 7    schedule: the renewal window is open"
        ": The name cannot be resolved."
    )


# -- why nothing happens ---------------------------------------------------------------------------------------------

NO_DAEMON = "No daemon runs, so nothing happens by itself: `systemctl start iot-cert-agent`, or `iot-cert rotate`."


def why(now: datetime = NOW, **changes: Any) -> list[str]:
    """Return the explanation of a gateway with a daemon."""
    return explain(make.document(**{"daemon": 17, **changes}), now)


def planned(code: str, text: str, at: datetime | None = None, *, due: bool = False) -> dict[str, Any]:
    """Return a plan as the document has it."""
    told = {"due": due, "why": text, "code": code, "kind": "rotate"}
    return told if at is None else {**told, "at": to_plain(at)}


def test_a_turn_that_has_not_come_is_told_with_the_time_that_is_left() -> None:
    """The plan's own words, and how long that is."""
    plan = planned("scheduled", "its turn is next week", NOW + 7 * DAY)

    assert why(plan=plan) == ["Nothing is begun now: its turn is next week.", "That is in 7 d."]
    assert why(NOW + 9 * DAY, plan=plan)[1] == "That is in 0 s."


def test_a_hold_without_an_end_has_no_time_left() -> None:
    """What nobody can date is not dated."""
    assert why(plan=planned("inhibited", "/run/busy exists")) == ["Nothing is begun now: /run/busy exists."]


def test_a_change_that_is_due_is_told() -> None:
    """It has no time left either."""
    assert why(plan=planned("due", "its turn has come", NOW, due=True)) == ["A change is due: its turn has come."]


def test_a_change_in_flight_explains_itself() -> None:
    """The plan is of no interest then."""
    lines = why(change=public(make.record(Phase.ISSUED)), next={"why": "the cloud is busy.", "code": "retry"})

    assert lines == ["The rotate c-1 is in flight, in phase issued.", "the cloud is busy."]


def test_connection_and_health_belong_to_the_explanation() -> None:
    """Often they are the explanation."""
    lines = why(connection=link("down", "No route"), health=["The certificate expired."], plan=None)

    assert lines == ["The connection is down: No route.", "The certificate expired."]
    assert why(connection=link("up"), plan=None) == []


def test_without_a_daemon_nothing_happens_by_itself() -> None:
    """That is said even where a plan is shown."""
    lines = explain(make.document(), NOW)

    assert lines[-1] == NO_DAEMON
    assert len(lines) == 3


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_document_can_be_shown_and_explained(name: str) -> None:
    """Nothing that can be wrong keeps the screen from being drawn."""
    document = make.document(**PROBLEMS[name][0])
    document["health"], document["exit"] = judge(document, NOW)
    lines = list(screen(document, NOW))

    assert lines[-1] == ("health", PROBLEMS[name][2])
    assert explain(document, NOW)[-1] == PROBLEMS[name][2]
    assert all(text and text == text.strip() for _, text in lines)


def test_the_module_brings_nothing_heavy_along() -> None:
    """`iot-cert status` reads a file and prints it; YAML, cryptography, hashing and the SDK are not needed for that."""
    script = "import sys, agent.core.report.status; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    )

    assert "agent.core.report.status" in loaded
    assert not loaded & {
        "yaml",
        "cryptography",
        "hashlib",
        "awscrt",
        "json",
        "agent.config",
        "agent.core.change.lifecycle",
    }


def test_the_class_of_a_failure_plays_no_part_in_what_is_told() -> None:
    """A change that a person gave up after activation is a rollback like any other."""
    given_up = make.failure(FailureClass.OPERATOR, "given-up", message="Given up: test.", decisive=True)
    last = public(make.finished(Phase.ROLLED_BACK, failure=given_up))

    assert judge(make.document(last=last), NOW)[1] == DEGRADED


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
    document = make.document(current=with_set(anchors=(NOW + left,)))
    told = [text.rpartition("in less than ")[2] for text in status.events(document, NOW)]

    assert told == ([f"{within}."] if within else [])


def test_an_alarm_is_told_once_at_each_distance() -> None:
    """Looked at every hour of the last half year, one anchor makes four sentences."""
    document = make.document(current=with_set(anchors=(NOW,)))
    sentences = {text for hour in range(-200 * 24, 24) for text in status.events(document, NOW + hour * HOUR)}
    anchors = {text for text in sentences if "anchor" in text}

    assert len(anchors) == 4
    assert {text.split(", ")[-1] for text in anchors if "less" in text} == {
        "in less than 180 d.", "in less than 30 d.", "in less than 7 d.",
    }  # fmt: skip


def test_without_distances_only_the_end_is_told() -> None:
    """An older daemon's document has none."""
    near, ended = (make.document(current=with_set(anchors=(at,)), warn_anchors=None) for at in (NOW + SECOND, NOW))

    assert judge(near, NOW) == ([], DONE)
    assert judge(ended, NOW)[1] == DEGRADED


def test_each_anchor_has_an_alarm_of_its_own() -> None:
    """And only the one that the endpoint chains to is critical once it has ended."""
    current = with_set(anchors=(NOW - DAY, NOW + DAY, NOW + 900 * DAY))
    for place, anchor in enumerate(current["anchors"]):
        anchor["sha256"] = f"{place:02x}" * 32
    health, code = judge(make.document(current={**current, "anchor_in_use": "01" * 32}), NOW)
    assert (len(health), code) == (2, DEGRADED)
    health, code = judge(make.document(current={**current, "anchor_in_use": "00" * 32}), NOW)
    assert (len(health), code) == (2, CRITICAL)


def test_watched_files_are_judged_without_a_set_and_not_without_a_clock() -> None:
    """They are another program's, which may need them before this gateway has a certificate."""
    soon = [watched(NOW + DAY)]

    assert len(judge(make.document(current=None, watched=soon), NOW)[0]) == 2
    assert len(judge(make.document(clock=IMPLAUSIBLE, watched=soon), NOW)[0]) == 1


def test_the_screen_says_where_the_anchors_came_from_and_which_is_used() -> None:
    """A line for each, and one for the bundle."""
    current = with_set()
    issued = to_plain(NOW)
    plain = shown(current=current)["anchors"]
    used = shown(current={**current, "anchor_in_use": "ef" * 32})["anchors"]
    for trust, line in (
        ({"source": "bundle", "version": 7, "issued_at": issued}, "from signed bundle 7 of 2027-03-01"),
        ({"source": "bundle", "version": 7}, "from signed bundle 7"),
        ({"source": "baked", "version": 0, "issued_at": issued}, "from the baked copy of 2027-03-01"),
        ({"source": "baked", "version": 0}, "from the baked copy"),
    ):
        assert shown(current={**current, "trust": trust})["anchors"] == f"{plain}\n{line}"

    assert used == f"{plain}; the endpoint chains to it"


def test_the_screen_shows_what_is_watched() -> None:
    """How many, and the first to end; or why nothing can be said."""
    found = shown(watched=[watched(NOW + 40 * DAY, NOW + 90 * DAY)])

    assert found["watched"] == "/etc/app.pem: 2, first until 2027-04-10 12:00 UTC (40 days left)"
    gone = {"path": "/etc/app.pem", "warn": 1.0, "problem": "/etc/app.pem: it is gone"}
    assert shown(watched=[gone])["watched"] == "/etc/app.pem: it is gone"


# -- dependants --------------------------------------------------------------------------------------------------------


def standing(*steps: tuple[str, str], generation: int | None = 7, problem: str = "") -> dict[str, Any]:
    """Return how dependants stand, as the document has it."""
    named = [{"name": name, "problem": why} for name, why in steps]
    return {"generation": generation, "steps": named, "problem": problem}


BRIDGE = ("bridge.service", "bridge.service is failed after its restart.")


def test_the_screen_says_how_dependants_stand() -> None:
    """How many use which generation, and each that does not; nothing where none are configured."""
    assert "dependants" not in shown()
    assert shown(dependants=standing(generation=None))["dependants"] == "not served yet"
    assert shown(dependants=standing(("a", ""), ("b", "")))["dependants"] == "2 of 2 use generation 7"
    found = shown(dependants=standing(("nginx.service", ""), BRIDGE))["dependants"]
    assert found.splitlines() == ["1 of 2 use generation 7", BRIDGE[1]]


def test_a_dependant_that_fails_is_degraded_and_told_of() -> None:
    """And so is a helper that does not answer."""
    for dependants, why in (
        (standing(BRIDGE), BRIDGE[1]),
        (standing(("a", ""), problem="The helper is gone."), "The helper is gone."),
    ):
        document = make.document(dependants=dependants)
        assert judge(document, NOW) == ([why], DEGRADED)
        assert events(document, NOW) == {why: "trouble-dependant"}
    assert judge(make.document(dependants=standing(("a", ""))), NOW) == ([], DONE)


def test_the_history_says_without_whom_a_change_went_on() -> None:
    """Success with a reservation."""
    record = make.record(Phase.COMMITTED, degraded=make.failure(FailureClass.DEPENDANT, message=BRIDGE[1]))

    assert f"(without this: {BRIDGE[1]})" in history_line(public(record))
