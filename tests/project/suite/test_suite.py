"""The suite itself: what starts it decides nothing, and what it found can be repeated."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.running.gateway import COMMAND
from support.suite import campaigns, surroundings, warm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

TESTS = Path(__file__).parents[2]
LOOK = """
import json, os, resource, signal
from support.suite import surroundings
surroundings.settle()
ignored = [name.name for name in signal.Signals if signal.getsignal(name) is signal.SIG_IGN]
blocked = [name.name for name in signal.pthread_sigmask(signal.SIG_BLOCK, [])]
umask = os.umask(0)
print(json.dumps([ignored, blocked, umask, resource.getrlimit(resource.RLIMIT_NOFILE)[0], dict(os.environ)]))
"""
DRAW = """
import os
from pathlib import Path
from awscrt.crypto import ED25519, ED25519ExportFormat
from support.suite import surroundings
surroundings.share_the_seed()
for _ in range(4):
    if os.fork() == 0:
        os.write(1, ED25519.new_generate().export_public_key(ED25519ExportFormat.RAW).hex().encode() + b"\\n")
        os._exit(0)
    os.wait()
wiped = [line for line in Path("/proc/self/smaps").read_text().splitlines() if "wf" in line.split()]
print(len(wiped), flush=True)
"""
# What Python ignores by itself; `subprocess` gives what it starts the usual ones again.
PYTHONS_OWN = ["SIGPIPE", "SIGXFSZ"]


def test_nothing_is_inherited_from_what_starts_it() -> None:
    """A background job of a shell ignores Ctrl-C, under `nohup` a hang-up; a umask, a language and variables are so."""
    started = 'trap "" INT HUP QUIT TERM USR1 USR2; umask 0; ulimit -Sn 256; exec "$@"'
    odd = {"LANG": "de_DE", "LC_ALL": "tr_TR", "TZ": "Asia/Kathmandu", "COLUMNS": "20", "https_proxy": "http://x:1"}
    odd |= {"NOTIFY_SOCKET": "@x", "LISTEN_FDS": "1", "PATH": "/usr/bin:/bin", "PYTHONPATH": str(TESTS)}
    odd |= {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        ["/bin/sh", "-c", started, "sh", sys.executable, "-c", LOOK], env=odd, capture_output=True, check=True
    )
    ignored, blocked, umask, files, environment = json.loads(done.stdout)

    assert (ignored, blocked, umask) == (PYTHONS_OWN, [], surroundings.UMASK)
    assert files == surroundings.FILES
    assert {name: environment[name] for name in ("LANG", "TZ", "COLUMNS")} == {
        "LANG": "C.UTF-8", "TZ": "UTC", "COLUMNS": "80",
    }  # fmt: skip
    dropped = {"LC_ALL", "https_proxy", "NOTIFY_SOCKET", "LISTEN_FDS", "PYTHONDONTWRITEBYTECODE"}
    assert dropped & set(environment) == set()
    assert environment["PATH"] == "/usr/bin:/bin:/usr/sbin:/sbin"


def test_this_run_has_those_surroundings() -> None:
    """In each of its processes, before the first test."""
    before = os.umask(0o777)
    os.umask(before)
    assert before == surroundings.UMASK
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert os.environ["TZ"] == "UTC"


@pytest.mark.parametrize(("ci", "so"), [("", False), ("0", False), ("false", False), ("true", True), ("1", True)])
def test_in_continuous_integration_nothing_is_skipped_for_lack_of_a_right(
    monkeypatch: pytest.MonkeyPatch, ci: str, *, so: bool
) -> None:
    """On a laptop it is."""
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    outcome = pytest.fail.Exception if so else pytest.skip.Exception
    with pytest.raises(outcome, match="needs root"):
        surroundings.need_root()


# -- campaigns ---------------------------------------------------------------------------------------------------------


@pytest.fixture(name="choose")
def _choose() -> Iterator[Callable[[str], campaigns.Choice]]:
    """Choose another part for the length of a test."""
    before = campaigns.chosen()
    yield campaigns.choose
    campaigns.choose(str(before))


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("whole", list(range(10))),
        ("sample", [0, 4, 8]),
        ("sample:0", [0, 4, 8]),
        ("sample:3", [3, 7]),
        ("sample:5", [1, 5, 9]),
        ("case:7", [7]),
    ],
)
def test_a_part_of_a_campaign_is_chosen(choose: Callable[[str], campaigns.Choice], text: str, taken: list[int]) -> None:
    """Of ten cases, where a sample is one in four; what was chosen is told so that it can be chosen again."""
    chosen = choose(text)
    assert list(campaigns.places(10, 4)) == taken
    assert [case for case in range(10) if campaigns.takes(case, 4)] == taken
    assert choose(str(chosen)) == chosen


def test_the_samples_together_are_the_whole(choose: Callable[[str], campaigns.Choice]) -> None:
    """No case is in none of them."""
    taken: list[int] = []
    for phase in range(7):
        choose(f"sample:{phase}")
        taken += campaigns.places(100, 7)
    assert sorted(taken) == list(range(100))


@pytest.mark.parametrize("text", ["", "all", "case", "case:", "case:x", "whole:1", "sample:", "sample:-1", "1"])
def test_what_is_no_part_is_refused(choose: Callable[[str], campaigns.Choice], text: str) -> None:
    """A run of something else than was meant would look like success."""
    with pytest.raises(ValueError, match="is none of sample"):
        choose(text)


def test_a_case_is_the_same_alone_and_among_others(choose: Callable[[str], campaigns.Choice]) -> None:
    """So a failure is repeated without what was before it."""
    seen: list[float] = []
    choose("whole")
    campaigns.each(20, lambda chance: seen.append(chance.random()), one_in=5, seed=7)
    choose("case:13")
    campaigns.each(20, lambda chance: seen.append(chance.random()), one_in=5, seed=7)
    assert seen[20:] == [seen[13]]


def test_one_of_each_kind_is_in_every_sample(choose: Callable[[str], campaigns.Choice]) -> None:
    """Another one in the next sample, and all of them in the whole."""
    cases = ["a1", "b1", "a2", "a3"]
    for text, taken in (("sample", ["a1", "b1"]), ("sample:1", ["a2", "b1"]), ("whole", cases)):
        choose(text)
        assert campaigns.one_of_each(cases, lambda case: case[0]) == taken


def test_a_sample_of_pairs_has_all_of_both(choose: Callable[[str], campaigns.Choice]) -> None:
    """Each of the longer once; another sample pairs them otherwise, and the whole has each pair."""
    rows, columns = ["a", "b", "c"], [1, 2]
    for text, taken in (("sample", [("a", 1), ("b", 2), ("c", 1)]), ("sample:1", [("a", 2), ("b", 1), ("c", 2)])):
        choose(text)
        assert campaigns.pairs(rows, columns) == taken
    choose("whole")
    assert campaigns.pairs(rows, columns) == [("a", 1), ("a", 2), ("b", 1), ("b", 2), ("c", 1), ("c", 2)]


def test_a_case_that_fails_says_how_it_is_repeated(choose: Callable[[str], campaigns.Choice]) -> None:
    """With one command, for this test and this case."""
    choose("sample:2")

    def fail(chance: Random) -> None:
        assert chance.random() < 0

    with pytest.raises(AssertionError) as caught:
        campaigns.each(20, fail, one_in=5, seed=7)
    name = "tests/project/suite/test_suite.py::test_a_case_that_fails_says_how_it_is_repeated"
    command = f".venv/bin/pytest --campaign=case:2 '{name}'"
    assert caught.value.__notes__ == [f"To repeat it: {command}"]
    assert campaigns.told(2, "It broke.") == f"It broke.\n    to repeat it: {command}"
    assert campaigns.told(2, "") == ""


# -- forked commands --------------------------------------------------------------------------------------------------


def test_a_forked_command_is_as_one_that_was_started(tmp_path: Path) -> None:
    """In what it says, how it ends, and what it finds around it; one that does not end is ended."""
    for arguments in (["--version"], ["rotate", "--no-such"], ["--config", "there.yaml", "status"], ["help", "check"]):
        environment = os.environ | {"COLUMNS": "60"}
        started = subprocess.run(
            [COMMAND, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        forked = warm.run(arguments, cwd=tmp_path, env=environment, timeout=60)
        assert (forked.returncode, forked.stdout, forked.stderr) == (started.returncode, started.stdout, started.stderr)
    with pytest.raises(subprocess.TimeoutExpired):
        warm.run(["sandbox", "--dir", str(tmp_path)], cwd=tmp_path, env=os.environ, timeout=1)


def test_forks_that_share_a_seed_draw_different_numbers() -> None:
    """Or two commands of a test would have the same secrets in TLS."""
    done = subprocess.run(
        [sys.executable, "-c", DRAW], env=os.environ | {"PYTHONPATH": str(TESTS)}, capture_output=True, check=True
    )
    *drawn, wiped = done.stdout.split()
    assert len(set(drawn)) == 4
    assert wiped == b"0"  # so none of them has looked for a seed of its own
