from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.backend.values import Record
from agent.fleet.decide.trial import FACTS, FactOutcome, TrialSeen
from agent.fleet.errors import NotNowError, NotOfferedError
from agent.fleet.trial.steps import STEPS
from support.aws.account import OWN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.aws.fleet_account import Operator

TRIED = [fact.key for fact in FACTS if fact.tried]


@pytest.fixture(name="words")
def _words(operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command line; every step sees what it expects until a test says otherwise."""
    operator.answers("DescribeEndpoint", {"endpointAddress": "a-ats.iot.eu-west-1.amazonaws.com"})
    operator.answers("DeleteFunctionConcurrency", {})
    operator.world.owner.create_policy(policyName="iot-cert-claim", policyDocument="{}")
    for key in TRIED:
        monkeypatch.setitem(STEPS, key, lambda _: TrialSeen(outcome=FactOutcome.EXPECTED, text="Fine."))
    return ["first-deployment", "--yes", "--directory", str(tmp_path / "trial")]


def certificates(operator: Operator) -> int:
    """Return how many certificates the account has."""
    return len(operator.world.owner.list_certificates()["certificates"])


def test_nothing_is_made_before_the_operator_says_so(operator: Operator, words: list[str], tmp_path: Path) -> None:
    """Without a terminal by --yes, with one by a word."""
    words.remove("--yes")
    assert operator.runs(*words)[0] == 4
    operator.typed = "yes"
    assert operator.runs(*words)[0] == 4
    assert not (tmp_path / "trial").exists()
    assert certificates(operator) == 0
    operator.typed = "try"
    assert operator.runs(*words)[0] == 0


def test_a_surprise_stops_it_and_the_same_command_goes_on_there(
    operator: Operator, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was settled is not tried again; at the end nothing is left but what was seen."""
    tried: list[str] = []

    def step(key: str, outcome: FactOutcome) -> Callable[[object], TrialSeen]:
        def seen(_: object) -> TrialSeen:
            tried.append(key)
            return TrialSeen(outcome=outcome, text="Seen.")

        return seen

    for key in TRIED:
        monkeypatch.setitem(STEPS, key, step(key, FactOutcome.SURPRISE if key == TRIED[2] else FactOutcome.EXPECTED))
    code, said = operator.runs(*words)
    assert code == 1
    assert "nothing more is tried" in said
    assert tried == TRIED[:3]
    monkeypatch.setitem(STEPS, TRIED[2], step(TRIED[2], FactOutcome.NOT_SHOWN))
    code, said = operator.runs(*words)
    assert code == 0, said
    assert tried == TRIED[:3] + TRIED[2:]
    assert [path.name for path in (tmp_path / "trial").iterdir()] == ["transcript.md"]
    assert certificates(operator) == 0
    assert operator.world.store.device("first-deployment") is None
    text = (tmp_path / "trial" / "transcript.md").read_text()
    assert text.count("# First deployment") == 1
    assert "not tried" in text


def test_what_is_not_offered_is_not_shown_and_what_cannot_be_asked_now_is_tried_again(
    operator: Operator, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An emulator lacks things; an outage says nothing about AWS."""

    def refused(error: Exception) -> Callable[[object], TrialSeen]:
        def step(_: object) -> TrialSeen:
            raise error

        return step

    monkeypatch.setitem(STEPS, TRIED[0], refused(NotOfferedError("It is not offered here.")))
    monkeypatch.setitem(STEPS, TRIED[1], refused(NotNowError("AWS does not answer.")))
    code, said = operator.runs(*words)
    assert code == 5
    assert f"{TRIED[0]:<12} not shown" in said
    monkeypatch.setitem(STEPS, TRIED[1], lambda _: TrialSeen(outcome=FactOutcome.EXPECTED, text="Fine."))
    outcomes = [row["fact"] for row in operator.rows(*words)]
    assert outcomes == [*TRIED[1:], "clean-up"]
    made = certificates(operator)
    (told,) = operator.rows(*words)
    assert told["event"] == "nothing", "all of it was tried"
    assert certificates(operator) == made


def test_it_takes_nothing_that_is_there(operator: Operator, words: list[str]) -> None:
    """A serial number or a thing of the fleet's is no test device."""
    operator.world.enrolled("0042")
    assert operator.runs(*words, "--serial", "0042")[0] == 2
    assert operator.runs(*words, "--serial", "gw-0042")[0] == 2


def test_what_aws_does_not_let_go_yet_is_removed_by_the_next_run(
    operator: Operator, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both certificates are off their thing by then, and can no longer be used; the next run knows of both."""
    world, made = operator.world, [operator.world.issue() for _ in range(2)]

    def step(_: object) -> TrialSeen:
        for name in made:
            world.registry.register("first-deployment", name, OWN)
            world.store.save_record(Record(certificate_id=name, thing="first-deployment"))
        return TrialSeen(outcome=FactOutcome.SURPRISE, text="No.")

    monkeypatch.setitem(STEPS, TRIED[0], step)
    assert operator.runs(*words)[0] == 1
    operator.refuses("DeleteCertificate", "DeleteConflictException", status=409)
    code, said = operator.runs(*words, "--clean-up")
    assert (code, "Run it again with --clean-up" in said) == (5, True)
    assert {item["status"] for item in world.owner.list_certificates()["certificates"]} == {"INACTIVE"}
    assert world.registry.certificates_of("first-deployment") == ()

    def delete() -> dict[str, str]:
        world.registry.delete(operator.given["DeleteCertificate"]["certificateId"])
        return {}

    operator.has_answered("DeleteCertificate", delete)
    assert operator.runs(*words, "--clean-up")[0] == 0
    assert certificates(operator) == 0
    assert [world.store.record(name) for name in made] == [None, None]


def test_it_cleans_up_when_told_to_and_twice_does_no_harm(
    operator: Operator, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a surprise that the operator does not want to go on from."""
    monkeypatch.setitem(STEPS, TRIED[0], lambda _: TrialSeen(outcome=FactOutcome.SURPRISE, text="No."))
    assert operator.runs(*words)[0] == 1
    assert certificates(operator) == 1
    for _ in range(2):
        (told,) = operator.rows(*words, "--clean-up")
        assert (told["fact"], told["outcome"]) == ("clean-up", "as expected")
        assert certificates(operator) == 0
