"""The real command, killed before a step that lasts: ``python -m support.running.dying STEP NOTE ARGUMENT...``.

A step lasts where it changes what a restart of the system finds: a name that is made, moved or removed, or a sync.
They are counted from 0. Those of a run that ends by itself, with `STEP` -1, are written to the file NOTE, a line each.
Unlike `support.crashkit.stepper` it takes a process of any number of threads, so there is a network and the SDK.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.suite.ran import Ran

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.running.gateway import Gateway

LASTING = ("fsync", "rename", "replace", "symlink", "link", "unlink", "mkdir", "rmdir")


def dies(gateway: Gateway, step: int, *arguments: str) -> Ran:
    """Run a gateway's command and have it killed before a step; the steps of one that is not are in its `steps`."""
    note = gateway.directory / "steps"
    typed = [sys.executable, "-m", __name__, str(step), str(note), "--config", str(gateway.config), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(typed, check=False, env=environment, cwd=gateway.directory, capture_output=True, text=True)
    ran = Ran(arguments=arguments, code=done.returncode, out=done.stdout, err=done.stderr)
    gateway.remember(ran)
    return ran


def main(step: int, note: Path) -> int:
    """Run the command with the rest of the arguments; return its exit code."""
    done: list[str] = []
    number = count()

    def before(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def carry_out(*args: Any, **options: Any) -> Any:
            if next(number) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            done.append(f"{name} {args[0] if isinstance(args[0], str) else ''}")
            return real(*args, **options)

        return carry_out

    for name in LASTING:
        setattr(os, name, before(name, getattr(os, name)))
    from agent.cli import main as run  # noqa: PLC0415 - with what is counted

    code = run()
    if step < 0:
        note.write_text("\n".join(done))
    return code


if __name__ == "__main__":
    at, where = int(sys.argv[1]), Path(sys.argv[2])
    sys.argv = ["iot-cert", *sys.argv[3:]]
    sys.exit(main(at, where))
