"""Commands that are typed, and how they are cut off: by a second copy, by Ctrl-C, or by a kill at some moment."""

from __future__ import annotations

import signal
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from subprocess import TimeoutExpired
from time import monotonic, sleep
from typing import TYPE_CHECKING

from agent.system.watches.inotify import open_directory_watch
from support.suite.ran import Ran

if TYPE_CHECKING:
    from pathlib import Path

    from support.suite.warm import Process
    from support.walkkit.scene import Scene

LOSES_PATIENCE = 20.0  # seconds before the person at the console presses Ctrl-C
ENDS = 180.0  # seconds for a command to end after that; the SDK may need one to let go of a connection
LOOK = 0.005


class Victim(StrEnum):
    """What a blow strikes."""

    COMMAND = "the command"
    WORKER = "the worker"
    DAEMON = "the daemon"
    ALL = "everything"


@dataclass(frozen=True, kw_only=True)
class Blow:
    """How an order is cut off.

    Attributes:
        victim: What is struck; without a daemon it is the command.
        record: At which record of the change, counted from the order, that is written; 0 to strike by time.
        after: At how many seconds, at the latest.
        interrupt: Whether it is Ctrl-C; else a kill.
    """

    victim: Victim = Victim.COMMAND
    record: int = 0
    after: float = 3.0
    interrupt: bool = False

    def __str__(self) -> str:
        """Say it in a line."""
        how = "Ctrl-C" if self.interrupt else f"SIGKILL to {self.victim}"
        moment = f"at record {self.record}, or after" if self.record else "after"
        return f"{how} {moment} {self.after:.2f} s"


def type_in(scene: Scene, *words: str, blow: Blow | None = None, times: int = 1) -> str:
    """Type a command, or the same one in several terminals at once, and return how it ended."""
    typed = [_Typed(scene, words) for _ in range(times)]
    if blow is not None:
        _strike(scene, typed[0], blow)
    return "; ".join(item.end() for item in typed)


class _Typed:
    """One command that runs."""

    def __init__(self, scene: Scene, words: tuple[str, ...]) -> None:
        self.scene, self.words = scene, words
        place = scene.directory / "typed"
        self.log = place / f"{len(list(place.iterdir())):04d}-{words[0]}.log"
        self.process = scene.gateway.fork(*words, log=self.log)

    def end(self) -> str:
        """Wait for the end, with a person's patience, and return it."""
        code = self._wait()
        said = self.log.read_text(errors="replace")
        self.scene.remember(Ran(arguments=self.words, code=code, out=said, err=""))
        last = said.strip().splitlines()[-1:] or [""]
        return f"{code} {last[0].strip()[:150]}"

    def _wait(self) -> int:
        with suppress(TimeoutExpired):
            return self.process.wait(LOSES_PATIENCE)
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(ENDS)
        except TimeoutExpired:
            self.process.kill()
            self.scene.breach("every command ends", f"{' '.join(self.words)} did not end after Ctrl-C")
            return self.process.wait()


def _strike(scene: Scene, typed: _Typed, blow: Blow) -> None:
    await_record(scene.state, blow.record, blow.after, typed.process)
    if blow.interrupt:
        typed.process.send_signal(signal.SIGINT)
    elif blow.victim is Victim.COMMAND or not scene.keeper.runs:
        typed.process.kill()
    else:
        if blow.victim is not Victim.DAEMON:
            scene.keeper.kill_worker()
        if blow.victim is not Victim.WORKER:
            scene.keeper.kill()
        if blow.victim is Victim.ALL:
            typed.process.kill()


def await_record(state: Path, number: int, seconds: float, process: Process) -> None:
    """Return once so many records of a change were written, or the time is over, or the process has ended."""
    end, seen = monotonic() + seconds, 0
    watch = open_directory_watch(state)
    while monotonic() < end and process.poll() is None and (not number or seen < number):
        sleep(LOOK)
        if watch is None:
            watch = open_directory_watch(state)
        elif number:
            seen += "change.json" in watch.read()
    if watch is not None:
        watch.close()
