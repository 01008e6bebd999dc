"""How the dependants stand: what the process that serves them wrote down, for any user to read.

Where nothing may replace the report, as one that is immutable, a second stands beside it, and that one is believed: to
serve the dependants matters more than the note of it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.core.dependants import HOOKS, MAX_REPORT, Served, decode_report, names_of
from agent.core.jsonio import PlainError
from agent.core.when import retirement
from agent.dependants import copy_looks, hooks
from agent.errors import StoreError
from agent.store.files import disk

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.dependants import Dependants, Report
    from agent.core.report.known import Known

REPORT = "report.json"
SECOND = "report-2.json"  # there only while the first cannot be replaced


def any_configured(dependants: Dependants) -> bool:
    """Whether there is anything to serve."""
    listed = dependants.copies or dependants.signals or dependants.units
    return bool(listed or hooks.any_in(dependants.hooks.directory))


def names(dependants: Dependants) -> tuple[str, ...]:
    """Return what each of them is called in a report."""
    found, problem = hooks.find(dependants.hooks.directory)
    unknown = (HOOKS,) if problem else ()
    return (*names_of(dependants, (hook.name for hook in found)), *unknown)


def behind(dependants: Dependants, directory: Path, generation: int | None) -> tuple[str, ...]:
    """Return those that are not known to use the set of a generation; see `agent.core.when.retirement.behind`."""
    if not any_configured(dependants):
        return ()
    return retirement.behind(names(dependants), last_report(directory), generation)


def add_behind(known: Known, dependants: Dependants, directory: Path) -> Known:
    """Return what is known, with the dependants that keep a certificate from being retired.

    They are looked up only where there is one to be retired.
    """
    if not known.retirements():
        return known
    generation = known.current.generation if known.current else None
    return replace(known, behind=behind(dependants, directory, generation))


def last_report(directory: Path) -> Report | None:
    """Return how the dependants stood when they were served last; None where that is unknown."""
    return _read(directory)[0]


def read(directory: int) -> Report:
    """Return the report in an open directory.

    Raises:
        FileNotFoundError: There is none.
        StoreError: It cannot be read.
        PlainError: It is none.
    """
    with suppress(FileNotFoundError):
        return decode_report(disk.read(directory, SECOND, MAX_REPORT), SECOND)
    return decode_report(disk.read(directory, REPORT, MAX_REPORT), REPORT)


def _read(directory: Path) -> tuple[Report | None, str]:
    """Return the report, and why this user may not know what is in it, or nothing."""
    try:
        with disk.directory(str(directory)) as fd:
            return read(fd), ""
    except StoreError as error:
        return None, f"How the dependants stand this user may not read: {error}" if error.denied else ""
    except (PlainError, FileNotFoundError):
        return None, ""


def served(dependants: Dependants, directory: Path, unserved: str = "") -> Served | None:
    """Return how they stand; None where nothing is configured.

    Args:
        dependants: What is configured.
        directory: Where the report is.
        unserved: Why they could not be served, as far as the daemon knows.
    """
    if not any_configured(dependants):
        return None
    report, denied = _read(directory)
    if report is None:
        return Served(problem=denied or unserved or " ".join(copy_looks.misplaced(dependants).values()))
    steps = copy_looks.with_looks(report.steps, dependants, report.traces)
    return Served(generation=report.generation, steps=steps, problem="" if report.problems else unserved)
