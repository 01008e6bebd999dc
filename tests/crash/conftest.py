from __future__ import annotations

import pytest
from crashkit import points, syscalls


@pytest.fixture(autouse=True)
def _only_where_calls_are_known() -> None:
    if not syscalls.SUPPORTED:
        pytest.skip("the stepper knows the system calls of x86-64 and arm64 only")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many points each method visited."""
    if points.COUNTS:
        terminalreporter.write_line(f"crash points: {points.summary()}")
