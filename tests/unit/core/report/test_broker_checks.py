from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from agent.core.aws import topics
from agent.core.change.ladder import Climb, Rung
from agent.core.exit_codes import Exit
from agent.core.failure import failures
from agent.core.failure.failure import FailureClass
from agent.core.report import broker_checks
from agent.core.report.broker_checks import Examination
from agent.core.report.checks import Line, Verdict
from support import make

SHUT = Climb(use=Rung.TECHNICIAN, why="the endpoint accepts no set of this gateway", remedy="Help it.")
FOUND = Examination(thing="gw-7", client_id="gw-7-cert-agent")
GET = topics.shadow_get("gw-7")
DENIED = make.failure(FailureClass.POLICY, "not-authorised")


@pytest.mark.parametrize(
    ("refusal", "code", "words", "exit_code"),
    [
        (None, "ok", "accepts the current set as gw-7-cert-agent", Exit.DONE),
        (DENIED, "connect-denied", '"Action":"iot:Connect"', Exit.DEGRADED),
        (failures.hung_up(), "certificate-refused", "unknown or not active", Exit.DEGRADED),
        (failures.certificate_alert("bad"), "certificate-refused", "unknown or not active", Exit.DEGRADED),
        (failures.silent(), "connack-timeout", "did not answer the MQTT connect in time", Exit.UNAVAILABLE),
    ],
)
def test_a_connection_is_judged_by_how_it_ended(refusal: Any, code: str, words: str, exit_code: Exit) -> None:
    """A policy, a certificate and a bad network have different remedies."""
    line = broker_checks.of_connection(replace(FOUND, connected=refusal))
    assert (line.check, line.code, line.exit) == ("connect", code, exit_code)
    assert words in f"{line.text} {line.remedy}"


def test_another_client_with_the_same_id_is_a_failure_with_two_ways_out() -> None:
    """Either it is there, or what looks like it is looked into with the daemon stopped."""
    connect, permissions = broker_checks.of_rival("Another client connected as gw-0042.")
    assert (connect.check, connect.verdict, connect.code, connect.exit) == (
        "connect", Verdict.FAILURE, "taken-over", Exit.DEGRADED,
    )  # fmt: skip
    assert connect.text.startswith("Another client connected as gw-0042. No connection was made")
    assert all(
        words in connect.remedy
        for words in ("`client_id` of its own", "copy of this gateway's disk", "stop the daemon")
    )
    assert (permissions.check, permissions.verdict) == ("permissions", Verdict.SKIPPED)


def statements(line: Line) -> list[tuple[str, str]]:
    """Return what a remedy would add to a policy."""
    decoder, text, found = json.JSONDecoder(), line.remedy[line.remedy.index("{") :], []
    while text:
        value, end = decoder.raw_decode(text)
        assert value["Effect"] == "Allow"
        found.append((value["Action"], value["Resource"].split(":", 5)[5]))
        text = text[end:].strip()
    return found


def test_a_policy_that_suffices_is_told_so() -> None:
    """With what cannot be seen."""
    assert broker_checks.of_permissions(FOUND).verdict is Verdict.OK


def test_a_missing_subscription_is_the_statement_to_add() -> None:
    """Each topic that was refused, as a topic filter."""
    line = broker_checks.of_permissions(replace(FOUND, denied=("a/b", "c/d")))
    assert (line.check, line.verdict, line.code) == ("permissions", "failure", "permission-missing")
    assert line.text == "The policy lacks iot:Subscribe on topicfilter/a/b and 1 more."
    assert statements(line) == [("iot:Subscribe", "topicfilter/a/b"), ("iot:Subscribe", "topicfilter/c/d")]


def test_a_question_that_may_not_be_asked_is_the_statement_to_add() -> None:
    """Publishing is seen with the one request that harms nothing."""
    line = broker_checks.of_permissions(replace(FOUND, asked=DENIED))
    assert line.text == f"The policy lacks iot:Publish on topic/{GET}."
    assert statements(line) == [("iot:Publish", f"topic/{GET}")]


def test_a_question_whose_answer_may_not_be_heard_proves_nothing_about_asking() -> None:
    """It was refused before it was published, so nothing is said of publishing."""
    line = broker_checks.of_permissions(replace(FOUND, asked=DENIED, denied=topics.answers(GET)))
    assert {action for action, _ in statements(line)} == {"iot:Subscribe"}
    other = broker_checks.of_permissions(replace(FOUND, asked=DENIED, denied=("a/b",)))
    assert statements(other) == [("iot:Publish", f"topic/{GET}"), ("iot:Subscribe", "topicfilter/a/b")]


def test_a_question_that_was_lost_is_a_matter_of_the_network() -> None:
    """It says nothing about a policy."""
    line = broker_checks.of_permissions(replace(FOUND, asked=failures.no_reply("GetThingShadow")))
    assert (line.code, line.exit) == ("no-reply", Exit.UNAVAILABLE)


def test_a_gateway_that_is_locked_out_is_not_told_to_rotate() -> None:
    """No rung of the ladder is accepted, so the remedy is what a person can do."""
    line = broker_checks.of_connection(replace(FOUND, connected=make.failure(code="hung-up"), climb=SHUT))

    assert (line.code, line.exit) == ("locked-out", Exit.CRITICAL)
    assert line.text == "The endpoint accepts no set of this gateway."
    assert line.remedy == "Help it."


def test_a_refused_certificate_is_left_where_another_rung_is_accepted() -> None:
    """Then `rotate` leads out, and the line says how."""
    climb = Climb(use=Rung.CLAIM, why="the claim set is accepted")
    line = broker_checks.of_connection(replace(FOUND, connected=make.failure(code="hung-up"), climb=climb))

    assert line.code == "certificate-refused"
    assert line.remedy == "`iot-cert rotate` leads out: the claim set is accepted. A running daemon does so by itself."


def test_a_distrusted_root_that_other_anchors_do_without_is_a_warning() -> None:
    """The ladder puts them in use; without such anchors the line about the server says all there is to say."""
    why = "the endpoint chains to X, which is distrusted, and the baked anchors are accepted without it"
    line = broker_checks.of_connection(replace(FOUND, climb=Climb(use=Rung.BAKED_ANCHORS, why=why)))
    assert (line.verdict, line.code, line.exit) == (Verdict.WARNING, "distrusted-root", Exit.DEGRADED)
    assert line.text == f"The broker accepts the current set, but {why}."
    assert line.remedy == "A running daemon puts the baked anchors in use by itself."
    assert broker_checks.of_connection(replace(FOUND, climb=Climb(use=Rung.CURRENT, why=why))).verdict is Verdict.OK
