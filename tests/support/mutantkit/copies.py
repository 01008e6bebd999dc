"""A copy of the tree in which a mutant lives, and the tests that are to kill it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).parents[3]
ANY = "…"
PATIENCE = 600  # seconds for the tests of one mutant, of which most take five


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A change to the source that must not pass.

    Attributes:
        name: What it is called in the report.
        breaks: The rule that it breaks, as a sentence.
        old: The source that is changed. It stands once in `agent/`; how it is wrapped into lines does not matter, and
            `…` stands for the rest of a dotted name, as which object has a method.
        new: What stands there instead; each `…` is what the one of `old` in its place stood for.
        killers: The tests that fail for it, as pytest names them.
    """

    name: str
    breaks: str
    old: str
    new: str
    killers: tuple[str, ...]


class MutantFate(StrEnum):
    """What became of a mutant."""

    KILLED = "killed"
    SURVIVED = "SURVIVED"
    UNFIT = "UNFIT"  # nothing was proven: its text is not there, or its tests could not run


class NotThereError(ValueError):
    """The text of a mutant stands nowhere, or more than once."""


def texts_of(agent: Path) -> dict[Path, str]:
    """Return the modules of an agent, in which mutants find their places."""
    return {path: path.read_text() for path in sorted(agent.rglob("*.py"))}


def place_of(mutant: Mutant, texts: Mapping[Path, str], agent: Path) -> tuple[Path, str]:
    """Return the file that a mutant changes, wherever that is by now, and its changed content.

    Args:
        mutant: The mutant.
        texts: See `texts_of`.
        agent: The directory that they are below.

    Raises:
        NotThereError: The text is not found exactly once.
    """
    pattern = re.compile(r"\s+".join(map(re.escape, mutant.old.split())).replace(ANY, r"([\w.]*)"))
    found = [(path, text, match) for path, text in texts.items() for match in pattern.finditer(text)]
    if len(found) != 1:
        places = ", ".join(str(path.relative_to(agent.parent)) for path, _, _ in found) or "nowhere"
        raise NotThereError(f"{mutant.name}: this must stand once in the agent, and is found {places}: {mutant.old}")
    (path, text, match), *_ = found
    parts = mutant.new.split(ANY)
    new = "".join(chain.from_iterable(zip_longest(parts, match.groups()[: len(parts) - 1], fillvalue="")))
    return path, text[: match.start()] + new + text[match.end() :]


class Copy:
    """The files that git knows or would take, in a directory that goes away."""

    def __init__(self, root: Path = ROOT) -> None:
        memory = Path("/dev/shm")  # noqa: S108 - a directory with a random name is made in it
        self.path = Path(tempfile.mkdtemp(prefix="mutants-", dir=memory if os.access(memory, os.W_OK) else None))
        git = ["git", "-c", f"safe.directory={root}", "ls-files", "-zco", "--exclude-standard"]
        for name in subprocess.run(git, cwd=root, capture_output=True, text=True, check=True).stdout.split("\0"):
            if name and (root / name).is_file():
                (self.path / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / name, self.path / name)
        # The tree is installed as well, and must not be what the tests of the copy import.
        look = [sys.executable, "-c", "from importlib.util import find_spec as f; print(f('agent').origin)"]
        found = subprocess.run(look, cwd=self.path, capture_output=True, text=True, check=True).stdout.strip()
        assert found == f"{self.path}/agent/__init__.py", found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        shutil.rmtree(self.path)

    def try_out(self, mutant: Mutant) -> tuple[MutantFate, str]:
        """Run its tests against a mutant; return what became of it, and what was seen.

        Raises:
            NotThereError: Its text is not there.
        """
        agent = self.path / "agent"
        path, changed = place_of(mutant, texts_of(agent), agent)
        before = path.read_text()
        path.write_text(changed)
        try:
            code, last = self.run(mutant.killers)
        finally:
            path.write_text(before)
        return {0: MutantFate.SURVIVED, 1: MutantFate.KILLED}.get(code, MutantFate.UNFIT), last

    def run(self, tests: Sequence[str]) -> tuple[int, str]:
        """Run tests of the copy against the agent of the copy; return pytest's exit code and its last line."""
        # No compiled file may outlive the source that it was made of.
        command = [sys.executable, "-B", "-m", "pytest", "-xq", "-p", "no:cacheprovider", "--tb=no", *tests]
        done = subprocess.run(command, cwd=self.path, capture_output=True, text=True, check=False, timeout=PATIENCE)
        return done.returncode, (done.stdout.strip() or done.stderr.strip() or "nothing was said").splitlines()[-1]
