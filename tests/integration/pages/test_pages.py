"""The pages that need no machine of their own, typed word by word: what a person copies from there has to work."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from support.documents.pages import ROOT, blocks, lines, section
from support.running.fleet import until
from support.running.gateway import COMMAND
from support.running.rehearsal import rehearse
from support.suite import warm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHELLS = {*"|&;<>$`()*?"}  # what a shell makes something of
SIGNERS = "When a signer of trust bundles is compromised"


class Terminal:
    """Types lines of a page, with another directory and this tree's own command.

    A line that is this command and needs no shell is forked (see `support.suite.warm`); all others a shell carries out.
    """

    def __init__(self, directory: Path, *, cwd: Path = ROOT) -> None:
        self._cloud, self._cwd = directory / "cloud", cwd
        self._log = directory / "beside.log"

    def _here(self, line: str) -> str:
        named = re.sub(r"(?<![\w/-])(\.venv/bin/)?iot-cert(?= )", COMMAND, line)
        return named.replace("/tmp/cloud", str(self._cloud))  # noqa: S108 - the page's own

    def _words(self, line: str) -> list[str]:
        """Return what stands after the command's name; nothing where a line is more than this command."""
        first, *words = shlex.split(here := self._here(line), comments=True)
        return words if first == COMMAND and not SHELLS & {*here} else []

    def types(self, line: str, expect: int | None = 0) -> str:
        """Type a line, hold it to its exit code, and return what is printed."""
        if words := self._words(line):
            done = warm.run(words, cwd=self._cwd, env=os.environ, timeout=400)
        else:
            done = subprocess.run(
                ["sh", "-c", self._here(line)], cwd=self._cwd, capture_output=True, text=True, check=False, timeout=400
            )
        assert "Traceback" not in done.stdout + done.stderr
        assert expect in {None, done.returncode}, (line, done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr

    @contextmanager
    def beside(self, line: str) -> Iterator[None]:
        """Let a line run in another terminal, until Ctrl-C."""
        words = self._words(line)
        process = warm.start(words, cwd=self._cwd, env=os.environ, log=self._log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=60)

    def until_up(self, *, after: str = "") -> str:
        """Return the certificate in use once the daemon is at rest and connected with it.

        Args:
            after: A certificate that is not to be in use any more.
        """

        def there() -> str:
            told = json.loads((self._cloud / "run" / "status.json").read_text())
            up = told["connection"]["state"] == "up" and told["change"] is None
            used: str = told["current"]["certificate"]["sha256"]
            return used if up and used != after else ""

        until((self._cloud / "run" / "status.json").exists, "the daemon tells of itself")
        return until(there, f"connected, and not with {after or 'none'}", patience=120)


def test_the_rehearsal(tmp_path: Path) -> None:
    """As the page says; tests/system/test_rehearsal.py types it on a Debian 12 that has nothing installed yet."""
    _, in_one, in_another = blocks(section("docs/start.md", "A first gateway, rehearsed"))
    rehearse(Terminal(tmp_path), in_one, in_another, tmp_path / "cloud")


def test_what_to_do_about_signers(tmp_path: Path) -> None:
    """A key that leaked is replaced: by the root's key, and the root's own by both."""
    terminal = Terminal(tmp_path, cwd=tmp_path)
    (tmp_path / "roots.pem").write_bytes((ROOT / "config" / "amazon-roots.pem").read_bytes())
    made = lines(blocks(section("docs/ota-pipeline.md", "Once: keys and the first bundle"))[0])
    online, roots, _ = (lines(block) for block in blocks(section("SECURITY.md", SIGNERS)))
    keys = [f"openssl genpkey -algorithm ed25519 -out {name}.pem" for name in ("online-2", "root-2")]
    for line in [*made, *keys, *online, *roots]:
        terminal.types(line)
    signed = json.loads((tmp_path / "repository" / "metadata" / "3.root.json").read_text())["signed"]
    assert len(signed["roles"]["root"]["keyids"]) == len(signed["roles"]["targets"]["keyids"]) == 1
    assert (tmp_path / "roots-9.tar").exists()


@pytest.mark.whole
def test_the_demonstration(tmp_path: Path) -> None:
    """Every step of it holds itself to an exit code, and another one ends it."""
    (line,) = lines(blocks(section("docs/start.md", "Watch it"))[0])
    told = Terminal(tmp_path).types(line)
    assert len(re.findall(r"^\d+\. ", told, flags=re.MULTILINE)) >= 12
    assert [line for line in told.splitlines() if len(line) > 100] == []
    _, last = told.split("\nWhat to do next\n")
    assert len(re.findall(r"^  \S", last, flags=re.MULTILINE)) == 4


@pytest.mark.whole
def test_the_demonstration_of_the_account_s_side(tmp_path: Path) -> None:
    """The same of this one; both pages that are about it name the command."""
    for page in ("docs/vending-machine.md", "docs/audits.md"):
        assert "`make demo-cloud`" in (ROOT / page).read_text()
    told = Terminal(tmp_path).types("make demo-cloud")
    assert "is ordered to rotate" in told
    assert "nothing is ordered" in told


@pytest.mark.parametrize("line", ["false", "echo Traceback"])
def test_what_goes_wrong_at_a_terminal_is_seen(line: str, tmp_path: Path) -> None:
    """Another exit code than the page's, and a defect."""
    with pytest.raises(AssertionError):
        Terminal(tmp_path).types(line)
