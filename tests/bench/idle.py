"""The daemon that has nothing to do, beside a bare interpreter with one connection; and `iot-cert status`."""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack
from statistics import median
from time import perf_counter, sleep
from typing import TYPE_CHECKING

from agent.cli.command_line import fast_path
from agent.core.exit_codes import Exit
from bench import place, procfs
from bench.place import FLOORS, BenchError
from support.running import gateway

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.place import Effort, Place
    from bench.procfs import Memory
    from bench.rows import Results

_LOOKS = 3  # at the memory, since who else runs on this machine changes what is shared
_APART = 0.5  # seconds
_LIBRARY = "_awscrt"
_DAEMON = "agent.daemon.app"
_ROOT = "the daemon shows its memory, and what it wrote, to root only"


def measure(here: Place, results: Results) -> None:
    """Measure memory one after the other, processor time and wake-ups side by side in the same minute.

    In this order, so that no waiting is wasted: the daemon alone, the daemon beside the floor, the floor alone.
    """
    effort = here.effort
    with ExitStack() as later:
        with place.daemon(here) as daemon:
            sleep(effort.settle)
            ours, others = _memory(daemon.pid), procfs.users(_LIBRARY, {daemon.pid})
            floor = later.enter_context(place.floor_session(here))
            status(here, results)
            sleep(effort.calm)
            _minute(here, results, daemon.pid, floor)
            unchanged = daemon.connection == "up"
        theirs, others_then = _memory(floor), procfs.users(_LIBRARY, {floor})
    with place.floor_session(here, _DAEMON) as reader:
        sleep(effort.settle)
        bound = _memory(reader)
    if not ours or not theirs:
        results.excuse(_ROOT, ("memory.",))
    else:
        note = f"shared with {others} other processes that use the SDK, the floor with {others_then}"
        results.put("memory.pss", [look.pss for look in ours], [look.pss for look in theirs], note)
        _put_memory(results, ours, theirs, effort)
        note = "alone as above: what no order, no state and no other connection adds to"
        results.put("memory.modules", [look.alone for look in bound], [look.alone for look in theirs], note)
    if not unchanged:
        raise BenchError("the daemon lost its connection meanwhile")


def _memory(pid: int) -> list[Memory]:
    looks = []
    for _ in range(_LOOKS):
        looks.append(procfs.memory(pid))
        sleep(_APART)
    return [look for look in looks if look is not None]


def _put_memory(results: Results, ours: list[Memory], theirs: list[Memory], effort: Effort) -> None:
    results.put("memory.alone", [look.alone for look in ours], [look.alone for look in theirs])
    note = f"{effort.settle:g} s after the daemon's last activity; dirty: {_dirty(ours)} and {_dirty(theirs)}"
    results.put("memory.private", [look.private for look in ours], [look.private for look in theirs], note)
    note = "as if nothing were shared, so it does not depend on what else runs here"
    results.put("memory.rss", [look.rss for look in ours], [look.rss for look in theirs], note)


def _dirty(looks: list[Memory]) -> str:
    return f"{median(look.dirty for look in looks):.2f} MiB"


def _minute(here: Place, results: Results, daemon: int, floor: int) -> None:
    """Look at both before and after the same minute."""
    effort, state = here.effort, here.gateway.state
    before, files = {pid: procfs.activity(pid) for pid in (daemon, floor)}, procfs.signature(state)
    written = procfs.disk_bytes(daemon)
    sleep(effort.minute)
    ours, theirs = (procfs.activity(pid).since(before[pid]) for pid in (daemon, floor))
    note = "" if not effort.quick else f"in {effort.minute:g} s times {60 / effort.minute:g}: quick, so not comparable"
    results.put("idle.cpu", [effort.per_minute(ours.cpu)], [effort.per_minute(theirs.cpu)], note)
    note = f"the daemon's threads: {ours}; the floor's: {theirs}"
    results.put("idle.wakeups", [effort.per_minute(ours.wakeups)], [effort.per_minute(theirs.wakeups)], note)
    changed = sum(procfs.signature(state).get(name) != known for name, known in files.items())
    now = procfs.disk_bytes(daemon)
    if now is None or written is None:
        results.excuse(f"{_ROOT}; {changed} files of the state directory changed", ("flash.idle",))
    else:
        note = f"{changed} files of the state directory changed in {effort.minute:g} s"
        results.put("flash.idle", [now - written], [0], note)


def status(here: Place, results: Results) -> None:
    """Time `iot-cert status`, with the daemon up, against the interpreter that runs it doing nothing."""
    ours, theirs = _interleaved(here, here.effort.short, [_status(here), _nothing(here)], (Exit.DONE, Exit.DONE))
    results.put("status.daemon", ours, theirs)


def status_alone(here: Place, results: Results) -> None:
    """Time `iot-cert status` where no daemon runs, which it tells by its exit code, and the libraries that it needs."""
    certificate = here.set_of()[1]
    libraries = [here.python, "-I", str(FLOORS / "libraries.py"), str(here.gateway.config), certificate]
    commands, codes = [_status(here), libraries, _nothing(here)], (Exit.DEGRADED, Exit.DONE, Exit.DONE)
    ours, bound, theirs = _interleaved(here, here.effort.short // 2, commands, codes)
    results.put("status.alone", ours, theirs)
    results.put("status.libraries", bound, theirs, "what reads YAML and one certificate with the same libraries")


def _status(here: Place) -> list[str]:
    return [gateway.COMMAND, "--config", str(here.gateway.config), "status"]


def _nothing(here: Place) -> list[str]:
    return [here.python, "-I", "-c", "pass"]


def _interleaved(
    here: Place, times: int, commands: Sequence[Sequence[str]], codes: Sequence[Exit]
) -> list[list[float]]:
    """Return the milliseconds that each of some commands took, one after the other, so many times."""
    found: list[list[float]] = [[] for _ in commands]
    for _ in range(times):
        for milliseconds, command, code in zip(found, commands, codes, strict=True):
            milliseconds.append(_timed(command, code, runtime=here.memory / "run"))
    return found


def _timed(command: Sequence[str], code: Exit, runtime: Path) -> float:
    """Return the milliseconds that a command takes, which must end with this code.

    The daemon's runtime directory is told by the environment, as the usual one needs no telling.
    """
    environment, nothing = os.environ | {fast_path.RUNTIME: str(runtime)}, subprocess.DEVNULL
    start = perf_counter()
    done = subprocess.run(command, stdin=nothing, stdout=nothing, env=environment, check=False)
    if done.returncode != code:
        raise BenchError(f"{' '.join(command[-3:])} ended with {done.returncode}")
    return (perf_counter() - start) * 1000
