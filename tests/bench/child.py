"""A part of the bench in a process of its own, which prints what it found as one JSON object."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from bench.installed import ROOT
from bench.place import BenchError

if TYPE_CHECKING:
    from collections.abc import Sequence


def ask(module: str, seconds: float, *, before: Sequence[str] = ()) -> dict[str, Any]:
    """Run a module and return what it prints.

    Args:
        module: Its name.
        seconds: How long it may take.
        before: A program that is to start it.

    Raises:
        BenchError: It failed, or took too long.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    command = [*before, sys.executable, "-m", module]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"it took longer than {seconds:g} s") from error
    if done.returncode != 0:
        raise BenchError(done.stderr.strip().split("\n")[-1][:200])
    found: dict[str, Any] = json.loads(done.stdout)
    return found
