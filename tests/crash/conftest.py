from __future__ import annotations

from typing import TYPE_CHECKING

from crashkit import points

if TYPE_CHECKING:
    import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many points each method visited."""
    if points.COUNTS:
        terminalreporter.write_line(f"crash points: {points.summary()}")
