"""`make bench`: every figure of the design beside its floor, measured in the same run on this machine.

Nothing is asserted and nothing fails for being slow; what could not be measured says why. `--quick` shortens it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from agent.core.failure.retry import CAP
from bench import child, growth, idle, links, million, page, procfs, rotation
from bench.place import QUICK, Effort, open_place
from bench.rows import KIB, MIB, MS, Results, Row, facts, profile

if TYPE_CHECKING:
    from collections.abc import Iterator

_QUOTA = "under the account's quota"

ROWS = (
    Row(key="rotation.daemon", title="rotation through the daemon, order to current", unit="s", times=1.1),
    Row(key="rotation.command", title="rotation by the command, start to current", unit="s", times=1.1),
    Row(key="rotation.rushed", title="  both without the wait between two CONNECTs", unit="s", times=1.2),
    Row(
        key="down.longest",
        title="the agent's own session is down, at the longest",
        unit="s",
        most=2,
        reach="≤ the rotation, ≤ 2 s",
    ),
    Row(
        key="down.total",
        title="  all together, with the end of probation",
        unit="s",
        reach="≤ 1 s and a connect",
    ),
    Row(
        key="links.dies",
        title="a link dies without a word: until status, exit code, metrics",
        unit="s",
        most=60,
        reach="≤ 60 s",
    ),
    Row(key="links.gone", title="  the system says that it is gone: until they do", unit="s", most=1, reach="≤ 1 s"),
    Row(
        key="links.returned",
        title="  it is back, as the system says: until connected",
        unit="s",
        most=5,
        reach="seconds",
    ),
    Row(
        key="links.back",
        title="  it is back without a word: until connected",
        unit="s",
        most=CAP + 60,
        reach="minutes",
    ),
    Row(
        key="links.deactivated",
        title="deactivated in probation: until connected again",
        unit="s",
        most=15,
        reach="≤ 15 s",
    ),
    Row(key="memory.pss", title="idle daemon, connected: proportional set size", unit=MIB, times=1.2),
    Row(key="memory.alone", title="  where nothing else runs Python, as on most gateways", unit=MIB, times=1.2),
    Row(key="memory.modules", title="  of which a bare session that has read its modules", unit=MIB),
    Row(key="memory.private", title="  private pages, clean and dirty", unit=MIB),
    Row(key="memory.rss", title="  all that is resident", unit=MIB),
    Row(key="idle.cpu", title="idle daemon: processor time a minute", unit=MS, times=5),
    Row(key="idle.wakeups", title="  wake-ups a minute, all threads"),
    Row(key="status.daemon", title="iot-cert status with the daemon up", unit=MS, times=3),
    Row(key="status.alone", title="  without a daemon", unit=MS, times=5),
    Row(key="status.libraries", title="  of which its two libraries alone, with one certificate", unit=MS),
    *(
        Row(
            key=f"growth.{axis.name.split()[0]}",
            title=f"  with {axis.sizes[-1]:,} {axis.name}: its processor time",
            unit=MS,
            reach="≤ in proportion",
        )
        for axis in growth.AXES
    ),
    Row(key="flash.bytes", title="bytes written for a rotation", unit=KIB, times=4),
    Row(key="flash.single", title="  without the proofs on probation", unit=KIB),
    Row(key="flash.syncs", title="  syncs for a rotation", most=25, reach="≤ 25"),
    Row(key="pages.daemon", title="  in whole pages, as the kernel counts, by the daemon", unit=KIB),
    Row(key="pages.command", title="  in whole pages, by the command", unit=KIB),
    Row(key="flash.disk", title="  what an ext4 gives its disk, journal and all", unit=KIB, times=4),
    Row(key="flash.bound", title="  of which as many syncs of an empty file alone", unit=KIB),
    Row(key="flash.idle", title="bytes written while idle, a minute", unit="B", most=0, reach="0"),
    Row(key="fleet.hour", title="1,000,000 devices in a 30-day window: busiest hour", unit="/s", times=1.2),
    Row(key="fleet.second", title="  busiest second", unit="/s"),
    Row(
        key="fleet.connects",
        title="  connects after 6 hours of outage: busiest second",
        unit="/s",
        times=1,
        reach=_QUOTA,
    ),
    Row(
        key="fleet.requests", title="  requests for certificates then: busiest second", unit="/s", times=1, reach=_QUOTA
    ),
    Row(key="fleet.refused", title="  and if each change meanwhile had been refused", unit="/s"),
)


def main() -> int:
    """Measure and print."""
    os.environ.pop("PYTHONPATH", None)  # this program needs it, and what it measures must not have it
    signal.signal(signal.SIGTERM, _end)
    arguments = _arguments()
    effort = QUICK if arguments.quick else Effort()
    results, machine, start = Results(ROWS), _machine(), monotonic()
    print(facts(machine), flush=True)
    _measure(results, effort, arguments.dir)
    seconds = round(monotonic() - start, 1)
    if arguments.page:
        page.write(arguments.page, results, machine, datetime.now(UTC).date().isoformat())
    print(f"\n{results.table()}\n")
    for name, steps in results.profiles.items():
        print(profile(f"where the time of a rotation goes: {name} (medians, from the order on)", steps) + "\n")
    print(f"It took {seconds:g} s. " + ("It was a quick run: its figures are rough." if effort.quick else ""))
    print(json.dumps({"bench": 1, "quick": effort.quick, "seconds": seconds, "machine": machine, **results.record()}))
    return 0


def _end(number: int, _frame: object) -> None:
    """Leave by the way that ends every process on it; asking twice does not help."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description="Measures the agent beside the floor.")
    parser.add_argument("--quick", action="store_true", help="ten seconds for a minute, and fewer repetitions")
    parser.add_argument("--dir", type=Path, default=Path("/var/tmp"), help="on a disk, for the state directory")  # noqa: S108 - it outlives nothing
    parser.add_argument("--page", type=Path, help="also put the figures on this page, in place of those of before")
    return parser.parse_args()


def _machine() -> dict[str, str | int | float]:
    return {
        "processors": os.cpu_count() or 0,
        "load": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "awscrt": metadata.version("awscrt"),
    }


def _measure(results: Results, effort: Effort, disk: Path) -> None:
    with _excused(
        results, ("flash.bytes", "flash.single", "flash.syncs", "flash.disk", "flash.bound"), "what a rotation writes"
    ):
        _weigh(results)
    with _excused(results, ("links.",), "links that die and come back"):
        links.put(results)
    with _excused(results, ("fleet.",), "a fleet of a million"):
        million.measure(results)
    with _excused(results, ("",), "a gateway and its cloud"), open_place(disk, effort) as here:
        with _excused(results, ("status.alone", "status.libraries"), "`iot-cert status` without a daemon"):
            idle.status_alone(here, results)
        with _excused(results, ("memory.", "idle.", "status.", "flash.idle"), "the idle daemon"):
            idle.measure(here, results)
        with _excused(results, ("rotation.", "down.", "pages."), "rotations"):
            rotation.measure(here, results)
        with _excused(results, ("growth.",), "how the status grows"):
            growth.measure(here, results)
    if procfs.file_system(disk) == "tmpfs":
        for key in ("pages.daemon", "pages.command", "flash.idle"):
            results.found.pop(key, None)
        results.excuse(f"{disk} is no disk: choose one with --dir", ("pages.", "flash.idle"))


@contextmanager
def _excused(results: Results, prefixes: tuple[str, ...], what: str) -> Iterator[None]:
    """Say what is measured, and when that fails, why, in place of its figures."""
    print(f"measuring {what} ...", flush=True)
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it is, the other figures are wanted
        results.excuse(" ".join(f"{type(error).__name__}: {error}".split())[:300], prefixes)


def _weigh(results: Results) -> None:
    """Count what a rotation writes in a process of its own, which has one thread.

    What it mounts, no other process sees, and it is gone when that one is.
    """
    apart = ("unshare", "--mount") if os.geteuid() == 0 else ()
    _put_weights(results, child.ask("bench.traces", 120, before=apart))


def _put_weights(results: Results, told: dict[str, Any]) -> None:
    usual, single = told["usual"], told["single"]
    for key, weight in (("flash.bytes", usual), ("flash.single", single)):
        parts = ", ".join(f"{kind} {size / 1024:.1f}" for kind, size in weight["written"].items())
        results.put(key, [weight["bytes"] / 1024], [weight["generation"] / 1024], f"KiB: {parts}")
    parts = ", ".join(f"{kind} {number}" for kind, number in usual["synced"].items())
    note = f"{parts}; {single['syncs']} without the proofs on probation; {usual['names']} times a name changed"
    results.put("flash.syncs", [usual["syncs"]], note=note)
    if "disk" in told:
        floor = [told["disk"]["floor"] / 1024]
        note = "the floor is the same set written without care and synced once"
        results.put("flash.disk", [told["disk"]["rotation"] / 1024], floor, note)
        note = (
            f"{usual['syncs']} syncs, for each of which the file system writes its journal: they bound the line above"
        )
        results.put("flash.bound", [told["disk"]["syncs"] / 1024], floor, note)
    else:
        results.excuse(told["no_disk"], ("flash.disk", "flash.bound"))


if __name__ == "__main__":
    sys.exit(main())
