"""Preparation: what cannot be installed is one sentence with a remedy and exit code 1, and is never taken for done."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pip
import pytest

from support.suite import campaigns

ROOT = Path(__file__).parents[3]
NEEDED = (".ci", "agent", "packaging", "requirements", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(name="tree")
def _tree(tmp_path: Path) -> Path:
    """Return a copy of what preparation reads."""
    for name in NEEDED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / name)
    return tmp_path


def prepared(tree: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it with an environment of its own."""
    return subprocess.run(
        [tree / ".ci" / "prepare"], capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )


def lend_pip(tree: Path) -> dict[str, str]:
    """Have the environment made without a pip, and return what lends it this one's: its own is 4 s of a processor."""
    script, made = tree / ".ci" / "prepare", '"$python" -m venv .venv >'
    assert script.read_text().count(made) == 1
    script.write_text(script.read_text().replace(made, made.replace("venv .venv", "venv --without-pip .venv")))
    (tree / "lent").mkdir()
    (tree / "lent" / "pip").symlink_to(Path(pip.__file__).parent)
    return {"PYTHONPATH": str(tree / "lent")}


NOT_REACHED = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "1"}, "Failed to establish a new connection"
NOT_THERE = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/nonexistent"}, "No matching distribution found"


@pytest.mark.parametrize("own_pip", [False, pytest.param(True, marks=pytest.mark.whole)], ids=["lent", "own"])
def test_a_package_that_cannot_be_installed_is_a_sentence_and_no_success(tree: Path, *, own_pip: bool) -> None:
    """And the next time it is tried again, instead of being called up to date."""
    lent = {} if own_pip else lend_pip(tree)
    for environment, why in campaigns.take([NOT_REACHED, NOT_THERE], 2):
        done = prepared(tree, **environment, **lent)
        assert done.returncode == 1
        *_, failed, remedy = done.stdout.splitlines()
        assert failed.startswith("==> packages could not be installed: ")
        assert why in failed
        assert "nothing was prepared; connect this machine to the package index" in remedy
        assert "Traceback" not in done.stdout + done.stderr
        assert not (tree / ".venv" / ".prepared").exists()
        assert "up to date" not in done.stdout


def test_where_no_system_package_may_be_installed_the_command_is_given(tree: Path) -> None:
    """An ordinary user without sudo, or with one that wants a password where no person sits."""
    bin_ = tree / "bin"
    bin_.mkdir()
    for name, body in {"dpkg-query": "exit 1", "id": "echo 1000", "sudo": "exit 1"}.items():
        (bin_ / name).write_text(f"#!/bin/sh\n{body}\n")
        (bin_ / name).chmod(0o755)
    done = prepared(tree, PATH=f"{bin_}:{os.environ['PATH']}")
    assert done.returncode == 1
    assert "sudo apt-get update && sudo apt-get install -y --no-install-recommends python3-venv" in done.stdout


@pytest.mark.parametrize("broken", ["apt-get", "sudo"])
def test_a_system_package_that_cannot_be_installed_is_a_sentence(tree: Path, broken: str) -> None:
    """As root, and as an ordinary user whom sudo lets."""
    bin_ = tree / "bin"
    bin_.mkdir()
    fails = 'case "$*" in true | "-n true") exit 0;; esac; echo "E: Could not resolve deb.debian.org" >&2; exit 100'
    for name, body in {
        "dpkg-query": "exit 1",
        "id": f"echo {0 if broken == 'apt-get' else 1000}",
        broken: fails,
    }.items():
        (bin_ / name).write_text(f"#!/bin/sh\n{body}\n")
        (bin_ / name).chmod(0o755)
    done = prepared(tree, PATH=f"{bin_}:{os.environ['PATH']}")
    assert done.returncode == 1
    assert "==> apt-get could not install python3-venv" in done.stdout
    assert "Could not resolve deb.debian.org" in done.stdout
    assert (done.stderr, done.stdout.count("\n")) == ("", 3)
