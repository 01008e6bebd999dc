"""A user who may not look at the state directory: each verb that looks says that, and none calls it a defect."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.config import reader
from support.surroundings import need_root
from support.systemd import NOBODY, authorities, lay, open_place

if TYPE_CHECKING:
    from collections.abc import Iterator

VERBS = (
    "status", "check", "explain", "history", "config check", "support-bundle --output -", "trust list", "rotate",
    "retire", "pause 1h",
)  # fmt: skip
COMMAND = (sys.executable, "-m", "agent")


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


@pytest.mark.parametrize("closed", ["parent", "parent/state", "parent/state/generations"])
@pytest.mark.parametrize("verb", VERBS)
def test_it_is_said_that_this_user_may_not(place: Path, verb: str, closed: str) -> None:
    """On the way to it, at it, and within."""
    (place / closed).chmod(0o700)
    done = subprocess.run(
        [*COMMAND, "--config", str(place / "config.yaml"), *verb.split()],
        capture_output=True, text=True, errors="replace", user=NOBODY, group=NOBODY, extra_groups=[], cwd="/",
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONDONTWRITEBYTECODE": "1"}, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert "defect" not in said
    assert "ermission denied" in said or "may not look" in said or "this user" in said


def test_an_inhibit_file_that_cannot_be_looked_for_holds_nothing(place: Path) -> None:
    """The daemon plans by it again and again, and must not end over it."""
    (place / "parent").chmod(0o700)
    config = reader.load(place / "config.yaml")
    os.seteuid(NOBODY)
    try:
        assert config.rotation.holds(None).inhibited_by == ""
    finally:
        os.seteuid(0)
