"""The whole suite: its surroundings, and the figures before its last line."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import surroundings
from crashkit import points

surroundings.settle()  # here, before anything is started, the other processes of a run included

_GATHERED: Counter[str] = Counter()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out what only root can do, where that is allowed."""
    if item.get_closest_marker("root"):
        surroundings.need_root()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand this process's counts to the one that prints."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["points"] = dict(points.COUNTS)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take the counts of a process that has ended."""
    del error
    _GATHERED.update(getattr(node, "workeroutput", {}).get("points", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many points each method visited, and the figures that tests have measured."""
    _show_figures(terminalreporter)
    counts = _GATHERED + points.COUNTS
    if counts:
        terminalreporter.section("points visited")
        for method, number in sorted(counts.items()):
            terminalreporter.write_line(f"{number:>8} {method}")


def _show_figures(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    known = [item for report in reports for item in getattr(report, "user_properties", [])]
    figures = [value for name, value in known if name == "figure"]
    if figures:
        terminalreporter.section("figures")
        for figure in figures:
            terminalreporter.write_line(f"    {figure}")
