from __future__ import annotations

import re
from pathlib import Path

import pytest

import agent
from agent.core.failure.codes import TRAITS, Code, Traits, traits
from support import make

AGENT = Path(agent.__file__).parent
TABLE = AGENT / "core" / "failure" / "codes.py"
SOURCE = "\n".join(path.read_text() for path in sorted(AGENT.rglob("*.py")) if path != TABLE)
NAMED = {word for found in re.findall(r"\bCode\.(\w+)|\"([\w-]+)\"", SOURCE) for word in found}


@pytest.mark.parametrize("code", Code)
def test_each_code_is_that_of_a_failure_that_can_happen(code: Code) -> None:
    """No rule waits for a code that nothing ever has."""
    assert {code.name, code} & NAMED


def test_nothing_follows_from_a_code_of_another_version() -> None:
    """It stands in a record, and its class says what to do."""
    assert traits("made-up-in-2031") == Traits()
    assert traits("hung-up") == TRAITS[Code.HUNG_UP]


@pytest.mark.parametrize(
    ("trait", "codes"),
    [
        (
            "ambiguous",
            {"hung-up", "tls-alert", "tls-failed", "connack-timeout", "not-mqtt", "session-lost", "not-sent"},
        ),
        ("turned_away", {"hung-up", "tls-alert"}),
        (
            "of_the_path",
            {
                "dns", "unreachable", "proxy", "not-tls", "tls-interrupted", "tls-failed", "certificate-not-asked-for",
                "alpn-needed",
                "connack-timeout", "not-mqtt", "hung-up", "disconnected", "path-lost", "locked-out",
            },
        ),
        ("blames_the_clock", {"server-certificate-expired", "server-certificate-not-yet-valid"}),
        (
            "other_anchors",
            {"unknown-root", "server-certificate-expired", "server-chain-weak", "server-chain-unsound"},
        ),
        ("unanswered", {"no-reply", "session-lost", "taken-over", "cloud-unavailable", "garbled"}),
        (
            "nothing_issued",
            {
                "throttled", "denied", "account-not-ready", "request-refused", "not-authorised", "not-sent",
                "taken-over-unsent", "key-lost", "vending-unheard", "token-refused",
            },
        ),
        ("of_the_account", {"denied", "account-not-ready"}),
        ("final", {"request-refused", "wrong-thing", "token-refused", "dependant-untried", "gate-unasked"}),
    ],
)  # fmt: skip
def test_what_follows_from_which(trait: str, codes: set[str]) -> None:
    """The rules rest on these; each is written down a second time, so that none changes by the way."""
    assert make.codes(trait) == codes


def test_what_may_have_been_carried_out_is_not_free() -> None:
    """A code cannot say both that a certificate may have been issued, and that none was."""
    assert not make.codes("unanswered") & make.codes("nothing_issued")
