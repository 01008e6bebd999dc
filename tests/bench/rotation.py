"""Rotations, through the daemon and without it, beside a script that does the same with no care at all."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from statistics import median
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from agent.cli.carrying.client import call
from agent.iotcore.client_options import CONNECT_SPACING
from bench import place, procfs
from bench.place import FLOORS, PROBATION, THING, BenchError, LinkWatch
from bench.rows import middle
from support.running import gateway
from support.running.daemon import CLIENT_ID

if TYPE_CHECKING:
    from pathlib import Path

    from bench.place import Place
    from bench.rows import Results
    from support.running.daemon import RunningDaemon

Steps = list[tuple[str, float]]

_PATIENCE = 60.0
_APART = 1.5  # seconds between two rotations of different processes, each of which begins with a CONNECT
_BLOCK, _KIB = 512, 1024  # bytes; in blocks the kernel counts what a child wrote
_OLD, _NEW = "CONNECT with the old set", "CONNECT with the new set"


@dataclass
class Runs:
    """What repeated rotations of one kind took."""

    seconds: list[float] = field(default_factory=list)
    steps: list[Steps] = field(default_factory=list)
    connects: list[float] = field(default_factory=list)
    longest: list[float] = field(default_factory=list)
    total: list[float] = field(default_factory=list)
    disk: list[float] = field(default_factory=list)
    sizes: tuple[int, int] = (0, 0)


def measure(here: Place, results: Results) -> None:
    """Rotate through the daemon, by the script and by the command, a few times each."""
    ours, floor, rushed, command = Runs(), Runs(), Runs(), Runs()
    link = _lay_floor(here)
    with place.daemon(here) as daemon:
        for _ in range(here.effort.long):
            _through_daemon(here, daemon, ours)
            _by_script(here, link, floor, CONNECT_SPACING)
            sleep(_APART)
            _by_script(here, link, rushed, 0.0)
    for _ in range(here.effort.long):
        _by_command(here, command)
        sleep(_APART)
    _put(results, ours, floor, rushed, command)
    if here.gateway.service.front.log.defects:
        raise BenchError(f"the sandbox is defective: {here.gateway.service.front.log.defects}")


def _put(results: Results, ours: Runs, floor: Runs, rushed: Runs, command: Runs) -> None:
    results.put("rotation.daemon", ours.seconds, floor.seconds)
    results.put("rotation.command", command.seconds, floor.seconds)
    connects = floor.connects + rushed.connects
    note = "AWS would refuse it; the script really does it, the agent's wait is taken from what the cloud saw"
    worked = [_without_wait(dict(steps), median(connects)) for steps in ours.steps]
    results.put("rotation.rushed", worked, rushed.seconds, note)
    note = "the floor is one connect of the script: TCP, TLS and CONNACK"
    results.put("down.longest", ours.longest, connects, note, most=median(ours.seconds))
    note = f"all gaps together until the probation of {PROBATION} s is over and the daemon connected again"
    results.put("down.total", ours.total, connects, note, most=CONNECT_SPACING + median(connects))
    size, pages = command.sizes
    if ours.disk:
        results.put("pages.daemon", [written / _KIB for written in ours.disk], [pages / _KIB])
    results.excuse("what the daemon had written is shown to root only", ("pages.daemon",))
    note = f"the floor is the new generation, {size} bytes, in whole pages"
    results.put("pages.command", [written / _KIB for written in command.disk], [pages / _KIB], note)
    for name, runs in (("daemon", ours), ("command", command), ("script", floor), ("script, rushed", rushed)):
        results.profiles[name] = middle(runs.steps)


# -- the floor ---------------------------------------------------------------------------------------------------------


def _lay_floor(here: Place) -> Path:
    """Make a place like the agent's for the script: a link to the set it begins with."""
    folder = here.gateway.directory / "floor"
    folder.mkdir()
    link = folder / "current"
    link.symlink_to((here.gateway.state / "current").resolve())
    return link


def _by_script(here: Place, link: Path, runs: Runs, spacing: float) -> None:
    roots = str(here.gateway.directory / "roots.pem")
    port = str(here.gateway.service.port)
    command = [here.python, "-I", str(FLOORS / "rotation.py"), port, THING, roots, str(link), str(spacing)]
    start = monotonic()
    with LinkWatch(link) as watch:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
        if done.returncode != 0:
            raise BenchError(f"the floor's rotation failed: {done.stderr[-300:]}")
        runs.seconds.append(watch.seconds_since(start))
    told = json.loads(done.stdout)
    runs.steps.append([(name, at - start) for name, at in told["steps"]])
    runs.connects.extend(told["connects"])


# -- through the daemon ------------------------------------------------------------------------------------------------


def _through_daemon(here: Place, daemon: RunningDaemon, runs: Runs) -> None:
    """Order a rotation as the command does, see it through probation, and wait until the daemon is at rest."""
    sleep(_APART)
    written, steps = procfs.disk_bytes(daemon.pid), Steps()
    start = monotonic()
    with LinkWatch(here.gateway.state / "current") as watch:
        messages = call(str(daemon.runtime / "control.sock"), b'{"verb":"rotate","reason":"a measurement"}\n')
        if messages is None:
            raise BenchError("the daemon does not listen")
        for message in messages:
            _note(steps, message, start)
        runs.seconds.append(watch.seconds_since(start))
    if message.get("exit") != 0:
        raise BenchError(f"the rotation through the daemon ended with {message}")
    daemon.until_up()
    gaps = here.gaps(start)
    runs.longest.append(max(gaps, default=0.0))
    runs.total.append(sum(gaps))
    now = procfs.disk_bytes(daemon.pid)
    if now is not None and written is not None:
        runs.disk.append(now - written)
    runs.steps.append(_complete(here, steps, start, watch.moved))


def _note(steps: Steps, message: dict[str, Any], start: float) -> None:
    if message.get("event") == "progress" and message.get("code") not in dict(steps):
        steps.append((str(message["code"]), monotonic() - start))


def _complete(here: Place, steps: Steps, start: float, moved: float | None) -> Steps:
    """Add what the cloud saw to what the agent said, up to the end of what is measured and a little beyond."""
    began = [item.began - start for item in here.sessions if item.client_id == CLIENT_ID and item.began > start]
    names = (_OLD, _NEW, "CONNECT of the next process")
    seen = [*steps, *zip(names, sorted(began), strict=False)]
    if moved is not None:
        seen.append(("current moved", moved - start))
    return sorted(seen, key=lambda step: step[1])


def _without_wait(steps: dict[str, float], connect: float) -> float:
    """Return how long it would have taken if the second CONNECT had come as soon as all else was done."""
    return steps["current moved"] - (steps[_NEW] - steps["prepared"]) + connect


# -- without the daemon ------------------------------------------------------------------------------------------------


def _by_command(here: Place, runs: Runs) -> None:
    """Rotate by the command itself; the kernel says what it had written when it ends."""
    command = [gateway.COMMAND, "--config", str(here.gateway.config), "rotate", "--json", "--reason", "a measurement"]
    steps, start = Steps(), monotonic()
    with LinkWatch(here.gateway.state / "current") as watch:
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=here.gateway.directory) as process:
            assert process.stdout is not None
            for line in process.stdout:
                _note(steps, json.loads(line), start)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        runs.seconds.append(watch.seconds_since(start))
    if process.returncode != 0:
        raise BenchError(f"`iot-cert rotate` ended with {process.returncode}")
    runs.disk.append(usage.ru_oublock * _BLOCK)
    runs.sizes = here.set_size()
    runs.steps.append(_complete(here, steps, start, watch.moved))
