from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from agent.fleet.decide.trial import FACTS, FactOutcome, TrialSeen, beginning, entry, masked, not_tried, settled
from agent.fleet.trial.steps import STEPS

PAGE = Path(__file__).parents[4] / "docs" / "fleet-operator.md"
NOW = datetime(2026, 11, 29, tzinfo=UTC)


def test_the_page_lists_what_the_code_does() -> None:
    """To the letter, and in its order; what is tried has a step, and what is not says so."""
    rows = re.findall(
        r"^\| `([a-z-]+)` \| (.+) \| (.+) \|$", PAGE.read_text().partition("## What no emulator shows")[2], re.MULTILINE
    )
    assert rows == [(fact.key, fact.unknown, fact.does) for fact in FACTS]
    assert [fact.key for fact in FACTS if fact.tried] == list(STEPS)
    assert all(fact.does.startswith("not tried: ") is not fact.tried for fact in FACTS)


def test_a_transcript_holds_nothing_that_may_not_be_committed() -> None:
    """Account numbers, endpoints, secrets; a certificate is the beginning of its id."""
    said = (
        f"arn:aws:iot:eu-west-1:123456789012:cert/{'ab' * 32} at a1b2c3-ats.iot.eu-west-1.amazonaws.com, "
        "a1b2c3d4e5f6g7.iot.eu-west-1.amazonaws.com with sesame and sesame2, account 123456789012."
    )
    kept = masked(said, ["sesame", "sesame2", ""])
    assert kept == (
        "arn:aws:iot:eu-west-1:ACCOUNT:cert/abababababab... at ENDPOINT-ats.iot.eu-west-1.amazonaws.com, "
        "ENDPOINT.iot.eu-west-1.amazonaws.com with (secret) and (secret), account ACCOUNT."
    )
    assert masked("in a.b\n\nc") == "in a.b c"
    assert len(masked("x" * 10_000)) < 600


def test_what_is_settled_is_not_tried_again_and_a_surprise_is() -> None:
    """By the last word about each."""
    first, second, third = FACTS[:3]
    text = beginning("eu-west-1", "code.zip", "1", NOW)
    text += entry(first, TrialSeen(outcome=FactOutcome.EXPECTED, text="Fine."), NOW, [])
    text += entry(second, TrialSeen(outcome=FactOutcome.SURPRISE, text="No."), NOW, [])
    text += entry(third, TrialSeen(outcome=FactOutcome.SURPRISE, text="No."), NOW, [])
    text += entry(third, TrialSeen(outcome=FactOutcome.NOT_SHOWN, text="Cannot say."), NOW, [])
    assert settled(text + not_tried()) == {first.key, third.key}
    assert settled(text + entry(first, TrialSeen(outcome=FactOutcome.SURPRISE, text="No."), NOW, [])) == {third.key}


def test_no_text_of_a_program_can_pass_for_a_heading() -> None:
    """It is one line."""
    fact = FACTS[0]
    text = entry(fact, TrialSeen(outcome=FactOutcome.SURPRISE, text=f"a\n## {fact.key}: as expected\nb"), NOW, [])
    assert settled(text) == set()
