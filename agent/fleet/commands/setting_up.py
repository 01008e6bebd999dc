"""`setup`: what no stack can make, each asked for by itself: the claim certificate, and fleet indexing."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, TextIO

from agent.core.exit_codes import Exit
from agent.fleet.decide import examination, setting_up
from agent.fleet.decide.examination import Level
from agent.fleet.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from agent.fleet.task import OperatorTask

_FILES = ("certificate.pem", "key.pem")


def setup(task: OperatorTask) -> Exit:
    """Look at each, say what it costs, and make it when the operator says so; what is there stays as it is."""
    _index(task)
    _claim(task)
    return Exit.DONE


def _index(task: OperatorTask) -> None:
    wanted = setting_up.indexing(task.fleet.indexing())
    if wanted is None:
        _tell(task, "fleet indexing", made=False, text="Fleet indexing holds the agent's shadow already.")
        return
    task.show(["Fleet indexing is a setting of the whole account. It becomes as follows; what was set is kept:"])
    task.show([f"  {name}: {value}" for name, value in sorted(wanted.items())])
    task.show(["It costs about 2.25 USD for a million updates: 1,600 USD a year for a million gateways."])
    task.confirm("Fleet indexing is changed.", "index")
    task.fleet.index_things(wanted)
    text = "Fleet indexing holds the agent's shadow. AWS builds the index now; for a large fleet that takes hours."
    _tell(task, "fleet indexing", made=True, text=text)


def _claim(task: OperatorTask) -> None:
    policy = task.fleet.stack.claim_policy
    held = examination.of_claims(policy, task.fleet.targets(policy)).level is Level.FINE
    if held and task.arguments.claim is None:
        _tell(task, "claim certificate", made=False, text=f"A certificate has the policy {policy} already.")
        return
    if task.arguments.claim is None:
        text = "There is no claim certificate. --claim DIR makes one there, for new gateways."
        _tell(task, "claim certificate", made=False, text=text)
        return
    task.show(
        ["A claim certificate leaves the factory in every gateway. With it a gateway can ask to be enrolled, with"]
    )
    task.show(["its serial number and token; it reaches nothing else. It costs nothing."])
    task.confirm(f"A claim certificate and its key are written to {task.arguments.claim}.", "claim")
    made = _write(task, task.arguments.claim, policy)
    _tell(task, "claim certificate", made=True, text=f"{made} is in {task.arguments.claim}: {', '.join(_FILES)}.")


def _write(task: OperatorTask, folder: Path, policy: str) -> str:
    """Make the files first: a key that cannot be written is lost, and its certificate is one more to look after."""
    with ExitStack() as files, ExitStack() as undo:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            certificate, key = (files.enter_context(_new(folder / name, undo)) for name in _FILES)
        except FileExistsError as error:
            raise UsageError(f"{error.filename} is there already. No certificate was made.") from error
        except OSError as error:
            raise UsageError(f"{folder} cannot be written: {error.strerror}. No certificate was made.") from error
        name, texts = task.fleet.make_claim()
        undo.pop_all()
        certificate.write(texts[0])
        key.write(texts[1])
    task.fleet.registry.attach_policy(policy, name)
    return name


def _new(path: Path, undo: ExitStack) -> TextIO:
    """Return a file that was not there, for its owner alone; it goes again if nothing comes of it."""
    found = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w")
    undo.callback(path.unlink)
    return found


def _tell(task: OperatorTask, what: str, *, made: bool, text: str) -> None:
    task.output.tell({"what": what, "made": made, "text": text}, text)
