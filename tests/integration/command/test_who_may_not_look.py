"""A user who may not look at the state directory: each verb that looks says that, and none calls it a defect."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.config import reader
from support.running.systemd import authorities, lay, open_place
from support.suite import campaigns, warm
from support.suite.surroundings import NOBODY, need_root

if TYPE_CHECKING:
    from collections.abc import Iterator

VERBS = (
    "status", "check", "explain", "history", "config check", "support-bundle --output -", "trust list", "rotate",
    "retire", "pause 1h",
)  # fmt: skip
CLOSED = ("parent", "parent/state", "parent/state/generations")
# So that one in three has each verb once, and each place several times.
MATRIX = [(verb, CLOSED[(row + place) % len(CLOSED)]) for row, verb in enumerate(VERBS) for place in range(len(CLOSED))]


@pytest.fixture(name="place")
def _place() -> Iterator[Path]:
    need_root()
    with open_place() as place:
        (place / "parent").mkdir()
        lay(place / "parent" / "state", 1)
        (place / "claim.pem").write_bytes(authorities()[0].pem)
        (place / "config.yaml").write_text(
            f"endpoint: 127.0.0.1\nport: 9\nstate_dir: {place}/parent/state\nruntime_dir: {place}/run\n"
            f"trust: {{anchors: {place}/claim.pem}}\nrotation: {{inhibit_file: {place}/parent/state/hold}}\n"
            f"enrollment: {{template: a, claim: {{certificate: {place}/claim.pem, key: {place}/claim.pem}}}}\n"
        )
        yield place


def said_without_rights(place: Path, *words: str) -> str:
    """Run a verb as a user who owns nothing, and return what it says."""
    command = ["--config", str(place / "config.yaml"), *words]
    done = warm.run(command, cwd=Path("/"), env=os.environ, timeout=180, user=NOBODY)
    return done.stdout + done.stderr


@pytest.mark.parametrize(("verb", "closed"), campaigns.take(MATRIX, len(CLOSED)))
def test_it_is_said_that_this_user_may_not(place: Path, verb: str, closed: str) -> None:
    """On the way to it, at it, and within."""
    (place / closed).chmod(0o700)
    said = said_without_rights(place, *verb.split())
    assert "defect" not in said
    assert "ermission denied" in said or "may not look" in said or "this user" in said


@pytest.mark.parametrize("verb", ["check", "config check"])
def test_who_may_is_said(place: Path, verb: str) -> None:
    """Owner and mode are as they should be: they keep other users away."""
    (place / "parent").chmod(0o700)
    said = " ".join(said_without_rights(place, *verb.split()).split())
    assert "Permission denied; run it with sudo" in said
    assert "check owner and mode" not in said


def test_an_inhibit_file_that_cannot_be_looked_for_holds_nothing(place: Path) -> None:
    """The daemon plans by it again and again, and must not end over it."""
    (place / "parent").chmod(0o700)
    config = reader.load(place / "config.yaml")
    os.seteuid(NOBODY)
    try:
        assert config.rotation.holds(None).inhibited_by == ""
    finally:
        os.seteuid(0)


# Each file that a configuration names, with the check that reads it; every other one is of a gateway that buys, so that
# a sample has each where it is read.
READ_BY = {
    "claim.pem": "set",
    "token": "set",
    "claim.key": "set",
    "ca.pem": "set",
    "anchors.pem": "anchors",
    "watched.pem": "watched",
    "parameter": "configuration",
    "config.yaml": "configuration",
}
CLAIM = "template: a, claim: {certificate: PLACE/claim.pem, key: PLACE/claim.key}"
VENDING = "method: vending-machine, url: 'https://x/', token: {file: PLACE/token}, ca: PLACE/ca.pem"


@pytest.mark.parametrize(("closed", "way"), campaigns.pairs([*READ_BY], [CLAIM, VENDING]))
def test_a_file_that_this_user_may_not_read_is_not_blamed(closed: str, way: str) -> None:
    """It is left to who may read it: nothing is to be put in place that is there, and nothing that is known is left."""
    need_root()
    with open_place() as place:
        for name in ("anchors.pem", "watched.pem", "claim.pem", "ca.pem", "parameter", "token", "claim.key"):
            (place / name).write_bytes(authorities()[0].pem)
        (place / "config.yaml").write_text(
            f"endpoint: 127.0.0.1\nport: 9\nstate_dir: {place}/state\nruntime_dir: {place}/run\n"
            f"trust: {{anchors: {place}/anchors.pem}}\nwatch: [{{path: {place}/watched.pem}}]\n"
            f"rotation: {{parameters: {{A: {{file: {place}/parameter}}}}}}\n"
            f"enrollment: {{{way.replace('PLACE', str(place))}, parameters: {{SerialNumber: '1'}}}}\n"
        )
        for name in ("token", "claim.key", closed):
            (place / name).chmod(0o600)
        said = said_without_rights(place, "check", "--json")
    lines = {line["check"]: line for line in map(json.loads, said.splitlines()) if "check" in line}
    for line in lines.values():
        if "ermission denied" in line["text"]:
            assert "sudo" in line["text"] + line["remedy"], line
            assert not any(word in line["remedy"] for word in ("Put ", "Check ", "hand-over", "config check")), line
    assert "ermission denied" in lines[READ_BY[closed]]["text"] or closed == "parameter" or not read_with(way, closed)
    if closed == "anchors.pem":
        assert "no certificate yet" in lines["set"]["text"]
    elif closed != "config.yaml":
        assert (lines["set"]["verdict"], lines["set"]["code"]) == ("failure", "not-enrolled")


def read_with(way: str, name: str) -> bool:
    """Whether a file is read at all where a gateway enrols in a way."""
    return name in way or f"PLACE/{name}" in way or READ_BY[name] != "set"
