"""Tells many stories, each in a process of its own, and says what broke: ``python -m support.walkkit --help``."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Self

from support.walkkit import chance, known
from support.walkkit.scene import Breach
from support.walkkit.telling import MINUTES, Report, tell

if TYPE_CHECKING:
    from collections.abc import Iterator


def main() -> int:
    """Tell the stories that the command line names; return 1 when a promise was not kept."""
    signal.signal(signal.SIGTERM, _end)  # so that what was started and mounted is ended and unmounted
    given = _arguments()
    if given.one:
        return _tell_here(given.one, given)
    names = given.known or [str(given.seed + number) for number in range(given.stories)]
    if names == ["all"]:
        names = [row.name for row in known.KNOWN]
    if len(names) == 1:
        return _tell_here(names[0], given)
    with Company(given) as company:
        reports = [_take(report, given.keep) for report in company.tell(names)]
    _sum_up(reports)
    return int(any(report.breaches for report in reports))


def _end(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m support.walkkit", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--stories", type=int, default=1, help="how many")
    parser.add_argument("--known", nargs="+", help="stories of the table, or `all`, instead of random ones")
    parser.add_argument("--jobs", type=int, default=2 * len(os.sched_getaffinity(0)), help="how many at a time")
    parser.add_argument(
        "--keep", help="a directory that takes all reports, and the text of each story that was not kept"
    )
    parser.add_argument("--minutes", type=float, default=MINUTES / 60, help="within which a gateway must be connected")
    parser.add_argument("--without", default="", metavar="TEXT", help="leave out each event whose text has this in it")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--report", help=argparse.SUPPRESS)
    return parser.parse_args()


def _tell_here(name: str, given: argparse.Namespace) -> int:
    os.environ.pop("PYTHONPATH", None)  # this program needs it, and the gateway's must not have it
    story = chance.story(int(name)) if name.isdecimal() else known.story(name)
    if given.without:
        left = tuple(step for step in story.steps if given.without not in str(step))
        story = replace(story, steps=left, repeat=f"{story.repeat} OPTIONS='--without \"{given.without}\"'")
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - memory, where there is some
    with tempfile.TemporaryDirectory(prefix="walk-", dir=place) as directory:
        report = tell(story, Path(directory), given.minutes * 60)
    if given.report:
        Path(given.report).write_text(report.to_json())
    else:
        print(report)
    return int(bool(report.breaches))


class Company:
    """Tells stories in processes of their own, a few at a time; a context manager that leaves none behind."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._pool = ThreadPoolExecutor(given.jobs)
        self._options = ["--without", given.without, "--minutes", str(given.minutes)]
        self._place = Path(tempfile.mkdtemp(prefix="walks-"))
        self._running: set[subprocess.Popen[str]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in list(self._running):
            process.terminate()
        self._pool.shutdown()
        shutil.rmtree(self._place)

    def tell(self, names: list[str]) -> Iterator[Report]:
        """Tell these, and yield each report when it is there."""
        for future in as_completed([self._pool.submit(self._tell, name) for name in names]):
            yield future.result()

    def _tell(self, name: str) -> Report:
        path = self._place / f"{name}.json"
        command = [sys.executable, "-m", "support.walkkit", "--one", name, "--report", str(path), *self._options]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            self._running.add(process)
            said, _ = process.communicate()
            self._running.discard(process)
        if path.exists():
            return Report.from_json(path.read_text())
        text = f"its process ended with {process.returncode}: {said}"
        return Report(name=name, breaches=[Breach(promise="the story can be told", text=text)])


def _take(report: Report, keep: str | None) -> Report:
    """Show a report, and keep it if there is a place for it."""
    _show(report)
    if keep is not None:
        place = Path(keep)
        place.mkdir(exist_ok=True)
        with (place / "reports.jsonl").open("a") as file:
            file.write(report.to_json() + "\n")
        if report.breaches:
            (place / f"{report.name.replace(' ', '-')}.txt").write_text(str(report))
    return report


def _show(report: Report) -> None:
    after = "not" if report.recovered is None else f"{report.recovered:.1f} s"
    kept = "; ".join(breach.promise for breach in report.breaches) or "kept"
    print(f"{report.name}: {report.took:.0f} s, {report.rung}, connected {after}: {kept}", flush=True)


def _sum_up(reports: list[Report]) -> None:
    """Print how long recoveries took, by rung, and how many stories were not kept."""
    by_rung: dict[str, list[float]] = {}
    for report in reports:
        if report.recovered is not None:
            by_rung.setdefault(report.rung, []).append(report.recovered)
    for rung, seconds in sorted(by_rung.items()):
        ordered = sorted(seconds)
        print(
            f"{len(ordered):>5} x {rung}: median {statistics.median(ordered):.1f} s, "
            f"nine of ten within {ordered[ceil(len(ordered) * 0.9) - 1]:.1f} s, longest {ordered[-1]:.1f} s"
        )
    broken: dict[str, int] = {}
    for report in reports:
        for breach in report.breaches:
            broken[breach.promise] = broken.get(breach.promise, 0) + 1
    whole = sum(not report.breaches for report in reports)
    print(f"{whole} of {len(reports)} stories kept every promise; not kept: {broken or 'none'}")


if __name__ == "__main__":
    sys.exit(main())
