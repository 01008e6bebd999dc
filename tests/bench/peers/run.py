"""`make bench-peers`: what a user would pick instead, beside this agent, on this machine in the same run.

Nothing is asserted. A peer that is not here is named with what is missing.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import sleep
from typing import TYPE_CHECKING, Any

from bench import procfs
from bench.peers.candidates import PEERS, Agent, BareSdk, Peer, Script
from bench.peers.usable import why_not
from bench.place import QUICK, BenchError, Effort, open_place

if TYPE_CHECKING:
    from collections.abc import Iterator

POINTS = 50  # calls at which everything is killed, in turn; where there are fewer, each of them
FAILURES = (BenchError, OSError, subprocess.SubprocessError)
SETTLE = 2.0  # seconds before memory is looked at

HEAD = (
    "", "a renewal", "idle memory", "bytes written", "syncs", "files confirmed", "usable after a kill",
    "after the next run",
)  # fmt: skip


@dataclass
class PeerMeasured:
    """What one peer came to.

    Attributes:
        seconds: How long each renewal took.
        idle: The proportional set size of what runs all the time, in MiB; None where nothing does.
        counted: What `bench.peers.follow` counted in a renewal.
        confirmed: How many of key and certificate the disk was asked to confirm by the end of a renewal.
        points: At how many calls it was killed.
        missed: Why it could not be followed so far, by the call; that counts for nothing.
        broken: What was wrong with the set after a kill, by the call.
        lasting: What was still wrong after the next renewal was tried.
    """

    seconds: list[float] = field(default_factory=list)
    idle: float | None = None
    counted: dict[str, Any] = field(default_factory=dict)
    confirmed: int = 0
    points: int = 0
    missed: dict[int, str] = field(default_factory=dict)
    broken: dict[int, str] = field(default_factory=dict)
    lasting: dict[int, str] = field(default_factory=dict)

    @property
    def row(self) -> Iterator[str]:
        """The cells of the table."""
        yield f"{median(self.seconds):.2f} s"
        yield "none: nothing runs" if self.idle is None else f"{self.idle:.1f} MiB"
        yield f"{self.counted['written']:,}"
        yield str(self.counted["synced"])
        yield f"{self.confirmed} of 2"
        yield f"{self.points - len(self.broken)} of {self.points}"
        yield f"{self.points - len(self.lasting)} of {self.points}"


def measure(peer: Peer, times: int, points: int) -> PeerMeasured:
    """Set a peer up and measure it.

    Raises:
        BenchError: It does not do what it should without any disturbance.
    """
    found = PeerMeasured()
    peer.set_up()
    _must_work(peer)
    with peer.serving() as pid:
        sleep(SETTLE)
        memory = procfs.memory(pid) if pid is not None else None
        found.idle = memory.pss if memory is not None else None
    for _ in range(times):
        sleep(peer.apart)
        found.seconds.append(peer.renew())
    _must_work(peer)
    sleep(peer.apart)
    kept = peer.here.gateway.directory / "kept"
    try:
        shutil.copytree(peer.root, kept, symlinks=True)
        _follow(peer, kept, points, found)
    finally:
        shutil.rmtree(kept)
    return found


def _follow(peer: Peer, kept: Path, points: int, found: PeerMeasured) -> None:
    """Count a renewal, and kill at calls of as many more."""
    found.counted = peer.follow()
    _must_work(peer)
    found.confirmed = sum(_is_confirmed(file, found.counted) for file in (peer.key, peer.certificate))
    calls = found.counted["calls"]
    number = min(points, calls)
    for point in range(number):
        _kill(peer, kept, point * calls // number, found)


def _is_confirmed(file: Path, counted: dict[str, Any]) -> bool:
    at = file.stat()
    return [at.st_dev, at.st_ino] not in counted["unconfirmed"]


def _must_work(peer: Peer) -> None:
    problem = _problem(peer)
    if problem:
        raise BenchError(f"{peer.name} does not get in, undisturbed: {problem}")


def _problem(peer: Peer) -> str:
    elsewhere = not isinstance(peer, Agent | Script | BareSdk)
    return why_not(peer.here, peer.key, peer.certificate, elsewhere=elsewhere)


def _kill(peer: Peer, kept: Path, call: int, found: PeerMeasured) -> None:
    """Renew from the state that is kept, kill everything at one call, and look at the set; then renew once more."""
    shutil.rmtree(peer.root)
    shutil.copytree(kept, peer.root, symlinks=True)
    sleep(peer.apart)
    try:
        peer.follow(kill=call)
    except FAILURES as error:
        found.missed[call] = f"{error}"
        return
    found.points += 1
    problem = _problem(peer)
    if not problem:
        return
    found.broken[call] = problem
    sleep(peer.apart)
    try:
        peer.renew()
    except FAILURES as error:
        problem = f"{error}"
    problem = _problem(peer) and problem
    if problem:
        found.lasting[call] = problem


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Measure and print."""
    os.environ.pop("PYTHONPATH", None)  # as `bench.run`
    parser = argparse.ArgumentParser(prog="make bench-peers", description="Measures the agent beside its peers.")
    parser.add_argument("--dir", type=Path, default=Path("/var/tmp"), help="on a disk, for everything that is kept")  # noqa: S108 - it outlives nothing
    parser.add_argument("--points", type=int, default=POINTS, help="calls at which everything is killed")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    arguments = parser.parse_args()
    effort = QUICK if arguments.quick else Effort()
    print(f"{os.cpu_count()} processors, Linux {platform.release()}, load {os.getloadavg()[0]:.1f}", flush=True)
    rows, notes = [], []
    with open_place(arguments.dir, effort) as here:
        here.gateway.rotation(daily_limit="1000")
        for number, make in enumerate(PEERS):
            peer = make(here, here.gateway.directory / f"peer-{number}")
            print(f"measuring {peer.name} ...", flush=True)
            row, note = _one(peer, arguments.points)
            rows.append(row)
            notes.extend(note)
    print("\n".join(("", _line(HEAD), _line(("---",) * len(HEAD)), *rows, "", *notes)))
    return 0


def _one(peer: Peer, points: int) -> tuple[str, list[str]]:
    """Return a peer's row, and what was wrong where something was."""
    peer.root.mkdir()
    if peer.missing:
        return _line((peer.name, f"not run: {peer.missing} is not installed", *[""] * (len(HEAD) - 2))), []
    try:
        with ExitStack() as stack:
            stack.enter_context(peer.account())
            found = measure(peer, peer.here.effort.long, points)
    except FAILURES as error:
        return _line((peer.name, f"not measured: {error}", *[""] * (len(HEAD) - 2))), []
    then = {call: "" if call in found.lasting else ", put right by the next run" for call in found.broken}
    notes = [f"* {peer.name}, killed at call {call}{then[call]}: {why}" for call, why in found.broken.items()]
    notes += [f"* {peer.name}, not killed at call {call}: {why}" for call, why in found.missed.items()]
    return _line((peer.name, *found.row)), notes


if __name__ == "__main__":
    sys.exit(main())
