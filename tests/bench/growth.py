"""`make bench-growth`: what a look, the status, a rotation and the idle daemon cost as a gateway has more of something.

Processor time, since how long it takes on a busy machine says nothing; the least of a few. Every line has what a
further item costs in the first stretch and in the second: what grows faster than its input costs more in the second.
`tests/scenarios/lives/test_growth.py` holds the product to that, in counts. `--record` keeps the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING

from agent.core.change.records import encode_outcome
from agent.core.values import Kind, Origin
from agent.core.worker_protocol import Do, Order, encode_order
from agent.sandbox.account.authority import Authority
from agent.store.notes import change_log
from agent.store.store import Store
from bench import place, procfs
from bench.place import BenchError, Effort, Place, open_place
from support.make import NOW
from support.running import gateway

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.rows import Results

TIMES = 5  # that each is measured
AT_REST = 3.0  # seconds after a connection
NOTABLE = 0.25  # of what the smallest input costs: less may be chance on a machine that does other things

WHAT = {
    "look": ("a look of a worker", "ms"),
    "status": ("iot-cert status without a daemon", "ms"),
    "rotation": ("iot-cert rotate", "ms"),
    "memory": ("private memory of the idle daemon", "MiB"),
}
_LOOK = encode_order(Order(do=Do.LOOK, origin=Origin.SCHEDULE, kind=Kind.ROTATE, orderly=True))


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Something that a gateway can have more of.

    Attributes:
        name: What.
        sizes: How many: the fewest, a middle, and the most.
        lay: Gives a gateway so many, and returns what the configuration says of them.
    """

    name: str
    sizes: tuple[int, int, int]
    lay: Callable[[Place, int], str]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What one figure comes to along an axis.

    Attributes:
        axis: The axis.
        figure: A key of `WHAT`.
        points: The sizes, and the figure at each.
    """

    axis: str
    figure: str
    points: tuple[tuple[int, float], ...]

    @property
    def stretches(self) -> tuple[float, float]:
        """What each further item costs from the fewest to the middle, and from there to the most."""
        (first, low), (middle, mid), (last, high) = self.points
        return (mid - low) / (middle - first), (high - mid) / (last - middle)

    @property
    def verdict(self) -> str:
        """How it grows, in words."""
        (first, low), (middle, mid), (last, high) = self.points
        if high - low < NOTABLE * low:
            return "flat"
        straight = low + (high - low) * (middle - first) / (last - first)
        return "FASTER THAN ITS INPUT" if straight - mid > NOTABLE * low else "no faster"


# -- what there is more of ---------------------------------------------------------------------------------------------


def _dependants(here: Place, number: int) -> str:
    """Programs that take a signal, and do not run: each is looked for, and nothing waits for it."""
    folder = here.gateway.directory
    return "signals:\n" + "".join(f"  - {{pid_file: {folder}/app-{n}.pid, process: app}}\n" for n in range(number))


def _copies(here: Place, number: int) -> str:
    folder = here.gateway.directory / f"copies-{number}"
    folder.mkdir()
    return "copies:\n" + "".join(f"  - {{to: {folder}/{n}.pem, content: key+certificate}}\n" for n in range(number))


def _anchors(here: Place, number: int) -> str:
    file = here.gateway.directory / "roots.pem"
    file.write_bytes(here.gateway.service.root_pem + b"".join(_root(n).pem for n in range(number - 1)))
    if number > 1:
        here.gateway.run("trust", "restore", expect=0)
    return ""


def _history(here: Place, number: int) -> str:
    with Store(here.gateway.state) as store:
        last = store.history()[-1]
    free = replace(last, requests=())  # or the day's certificates are spent
    lines = (encode_outcome(replace(free, id=f"c-{n}", replaces=f"{n:064x}")) for n in range(number))
    (here.gateway.state / change_log.HISTORY).write_bytes(b"".join(lines))
    return ""


def _watched(here: Place, number: int) -> str:
    folder = here.gateway.directory / f"watched-{number}"
    folder.mkdir()
    for n in range(number):
        (folder / f"{n}.pem").write_bytes(_root(n % 20).pem)
    return "watch:\n" + "".join(f"  - path: {folder}/{n}.pem\n" for n in range(number))


_ROOTS: dict[int, Authority] = {}


def _root(number: int) -> Authority:
    return _ROOTS.setdefault(number, Authority(f"Public root {number}", NOW))


AXES = (
    Axis(name="dependants", sizes=(1, 25, 100), lay=_dependants),
    Axis(name="copies", sizes=(1, 25, 100), lay=_copies),
    Axis(name="watched files", sizes=(1, 125, 500), lay=_watched),
    Axis(name="changes in the history", sizes=(10, 2_500, 10_000), lay=_history),
    Axis(name="trust anchors", sizes=(1, 75, 300), lay=_anchors),  # last, since they stay
)


# -- what it costs -----------------------------------------------------------------------------------------------------


def spent(command: Sequence[str], here: Place, given: bytes = b"") -> float:
    """Return the milliseconds of a processor that a command takes, with all that it starts."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=here.gateway.directory
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(given)
        process.stdin.close()
        said = process.stderr.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in {0, 1}:
        raise BenchError(f"{' '.join(command[-2:])} ended with {process.returncode}: {said[-200:]}")
    return (usage.ru_utime + usage.ru_stime) * 1000


def _figures(here: Place, whole: bool) -> dict[str, float]:  # noqa: FBT001 - a state, and no option
    agent = ["--config", str(here.gateway.config)]
    worker, command = [here.python, "-I", "-m", "agent.worker.main", *agent], [gateway.COMMAND, *agent]
    found = {"status": min(spent([*command, "status"], here) for _ in range(TIMES))}
    if whole:
        found["look"] = min(spent(worker, here, _LOOK) for _ in range(TIMES))
        found["rotation"] = min(spent([*command, "rotate", "--reason", "a measurement"], here) for _ in range(2))
        with place.daemon(here) as daemon:
            sleep(AT_REST)
            memory = procfs.memory(daemon.pid)
        if memory is not None:
            found["memory"] = memory.private
    return found


@contextmanager
def _laid(here: Place, axis: Axis, size: int) -> Iterator[None]:
    """Give the gateway so many of something; the configuration and the history are as before afterwards."""
    kept = {file: file.read_bytes() for file in (here.gateway.config, here.gateway.state / change_log.HISTORY)}
    here.gateway.config.write_bytes(kept[here.gateway.config] + axis.lay(here, size).encode())
    try:
        yield
    finally:
        for file, before in kept.items():
            file.write_bytes(before)


def curves(here: Place, axis: Axis, *, whole: bool) -> Iterator[Curve]:
    """Measure along an axis; the status alone unless it is to be whole."""
    found = []
    for size in axis.sizes:
        with _laid(here, axis, size):
            found.append((size, _figures(here, whole)))
    for figure in found[0][1]:
        points = tuple((size, round(figures[figure], 2)) for size, figures in found)
        yield Curve(axis=axis.name, figure=figure, points=points)


def measure(here: Place, results: Results) -> None:
    """Enter the status with the most of each, beside the fewest; the small form of `make bench`."""
    for curve in (curve for axis in AXES for curve in curves(here, axis, whole=False)):
        (fewest, low), *_, (_, high) = curve.points
        results.put(f"growth.{curve.axis.split()[0]}", [high], [low], f"the floor has {fewest}; {curve.verdict}")


def line(curve: Curve) -> str:
    """Return one curve for people."""
    what, unit = WHAT[curve.figure]
    points = "  ".join(f"{size:>6,}: {value:8,.1f}" for size, value in curve.points)
    early, late = (stretch * 1000 for stretch in curve.stretches)
    small = {"ms": "µs", "MiB": "KiB"}[unit]
    each = f"{early:7.1f} then {late:7.1f} {small} each"
    return f"{curve.axis:<23} {what:<34} {points} {unit:<4} {each:<32} {curve.verdict}"


def main() -> int:
    """Measure, print a line for each curve, and keep the figures if that is asked for."""
    os.environ.pop("PYTHONPATH", None)  # as `bench.run`
    parser = argparse.ArgumentParser(prog="make bench-growth", description="Measures how the agent's costs grow.")
    parser.add_argument("--dir", type=Path, default=Path("/var/tmp"), help="on a disk, for the state directory")  # noqa: S108 - it outlives nothing
    parser.add_argument("--record", type=Path, help="where the figures are kept for the picture")
    arguments = parser.parse_args()
    found = []
    for axis in AXES:  # a gateway for each: ten rotations within ten minutes are none, and dependants are not served
        with open_place(arguments.dir, Effort()) as here:
            here.gateway.rotation(daily_limit="1000")
            for curve in curves(here, axis, whole=True):
                found.append(curve)
                print(line(curve), flush=True)
    if arguments.record:
        arguments.record.write_text(json.dumps([asdict(curve) for curve in found], indent=1) + "\n")
    faster = [curve for curve in found if curve.verdict.isupper()]
    print(f"{len(found)} curves; {len(faster)} of them grow faster than their input.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
