"""The short cut of `status` and `run`: it takes what is plain, and leaves everything else to the ordinary way."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from agent.cli import fast_path

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (["run"], fast_path.DEFAULT_CONFIG),
        (["--config", "/c.yaml", "run"], "/c.yaml"),
        (["run", "--help"], None),
        (["--config=/c.yaml", "run"], None),
        (["--config"], None),
        (["status"], None),
        ([], None),
    ],
)
def test_the_daemon_is_started_by_the_plainest_command_line_alone(line: list[str], path: str | None) -> None:
    """Any other goes through the parser, which knows every word about it."""
    assert fast_path.daemon(line) == path


@pytest.mark.parametrize(
    "line",
    [
        [],
        ["rotate"],
        ["status", "--help"],
        ["status", "--json", "--json"],
        ["--config", "/none", "status"],
    ],
)
def test_other_command_lines_are_left_to_the_ordinary_way(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """As is a configuration that is not there; nothing is printed."""
    assert fast_path.status(line) is None
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("text", ["", "endpoint: x\n", "runtime_dir: relative\n", "runtime_dir: [/a]\n"])
def test_without_a_daemon_the_ordinary_way_answers(tmp_path: Path, text: str) -> None:
    """Wherever its socket would be."""
    (tmp_path / "config.yaml").write_text(text.replace("endpoint: x", f"runtime_dir: {tmp_path}"))
    assert fast_path.status(["--config", str(tmp_path / "config.yaml"), "status"]) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", fast_path.DEFAULT_RUNTIME),
        ("# runtime_dir: /a\n", fast_path.DEFAULT_RUNTIME),
        ("a: b\nruntime_dir: /a\n", "/a"),
        ('runtime_dir: "/a"  # where it is\n', "/a"),
        ("runtime_dir: '/a b'\n", "/a b"),
        ("runtime_dir: a\n", None),
        ("runtime_dir: >-\n  /a\n", None),
    ],
)
def test_the_runtime_directory_is_read_from_its_line(tmp_path: Path, text: str, found: str | None) -> None:
    """A line that is not plain is none, and the ordinary way reads the file."""
    (tmp_path / "config.yaml").write_text(text)
    assert fast_path._runtime_dir(str(tmp_path / "config.yaml")) == found


def test_it_brings_nothing_heavy_along() -> None:
    """The daemon has the answer ready: no YAML, no cryptography, no rules and no parser are needed to print it."""
    script = "import sys, agent.cli.fast_path, agent.cli.client, agent.cli.output; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    )

    assert "agent.cli.fast_path" in loaded
    assert not loaded & {"yaml", "cryptography", "hashlib", "awscrt", "argparse", "agent.config", "agent.core.change"}
    assert not loaded & {"agent.core.report", "agent.core.when"}
