"""Settings of the machine's OpenSSL: they reach neither the agent, nor does its own word reach another program."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from agent.system import children, openssl
from support.documents.pages import ROOT
from support.suite import campaigns

if TYPE_CHECKING:
    from pathlib import Path

# Runs one command; the exit code is 99 where a library that reads the settings is imported under others than these.
_WATCHED = """
import os, sys
taken, *words = sys.argv[1:]
seen = set()
def hook(event, values):
    if event == "import" and values[0] in {"_ssl", "_hashlib", "cryptography.hazmat.bindings._rust"}:
        seen.add(values[0])
        if os.environ.get("OPENSSL_CONF") != taken:
            os.write(2, f"{values[0]} too early".encode())
            os._exit(99)
sys.addaudithook(hook)
from agent import cli
sys.argv[1:] = words
try:
    cli.main()
finally:
    print(*sorted(seen))
"""

VERBS = [
    ["check"],
    ["config", "check"],
    ["deploy", "--serve"],
    ["enroll"],
    ["rotate", "--reason", "cloud"],
    ["run"],
    ["sandbox", "--help"],
    ["status", "--json"],
    ["support-bundle"],
    ["trust", "list"],
]


def run(config: Path, words: list[str], taken: str, **named: str) -> str:
    """Return what a command says that has to be run with these settings."""
    line = [sys.executable, "-c", _WATCHED, taken, "--config", str(config), *words]
    given = {**os.environ, "OPENSSL_CONF": "/machine.cnf", **named}
    done = subprocess.run(line, env=given, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert "too early" not in done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.mark.parametrize("words", campaigns.take(VERBS, 3), ids=" ".join)
def test_no_command_reads_a_library_before_the_settings_are_its_own(tmp_path: Path, words: list[str]) -> None:
    """What the machine's OpenSSL is told, for other programs, changes nothing that the agent does."""
    run(tmp_path / "none.yaml", words, os.devnull)


def test_an_operator_may_name_settings_for_the_agent(tmp_path: Path) -> None:
    """Such as FIPS's; the machine's own word stays without a meaning."""
    run(tmp_path / "none.yaml", ["check"], "/fips.cnf", **{openssl.GIVEN: "/fips.cnf"})


def test_the_accounts_side_connects_as_other_programs_of_the_operators_do(tmp_path: Path) -> None:
    """A company's proxy may need what its own `openssl.cnf` allows."""
    run(tmp_path / "none.yaml", ["cloud", "--help"], "/machine.cnf")


# The agent's own children.
_INHERIT = {"cli/looking/support.py:_checked", "fleet/trial/device.py:run"}
_MAY_START = re.compile(r"subprocess|\bos\s*\.\s*(system|popen|execv|spawnv)")  # a module without it need not be parsed
_STARTS = {"run", "Popen", "check_output", "check_call", "call", "getoutput"}


def _starts_that_inherit() -> set[str]:
    found = set()
    for path in (ROOT / "agent").rglob("*.py"):
        text = path.read_text()
        for function in ast.walk(ast.parse(text)) if _MAY_START.search(text) else ():
            if isinstance(function, ast.FunctionDef):
                found |= {
                    f"{path.relative_to(ROOT / 'agent')}:{function.name}" for _ in filter(_inherits, ast.walk(function))
                }
    return found


def _inherits(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name("subprocess"), attr=name), keywords=named) if name in _STARTS:
            return "env" not in {keyword.arg for keyword in named}
        case ast.Call(func=ast.Attribute(value=ast.Name("os"), attr="system" | "popen" | "execv" | "spawnv")):
            return True
        case _:
            return False


def test_no_other_program_inherits_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hooks, gates, notices, `systemctl` and others are given an environment in which OpenSSL is not named."""
    monkeypatch.setenv("OPENSSL_CONF", os.devnull)
    assert _starts_that_inherit() == _INHERIT
    assert openssl.of_others() == {name: value for name, value in os.environ.items() if name != "OPENSSL_CONF"}
    assert "OPENSSL_CONF" not in children.ENVIRONMENT
