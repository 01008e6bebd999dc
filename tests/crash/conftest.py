from __future__ import annotations

import pytest

from support.crashkit import syscalls


@pytest.fixture(autouse=True)
def _only_where_calls_are_known() -> None:
    if not syscalls.SUPPORTED:
        pytest.skip("the stepper knows the system calls of x86-64 and arm64 only")
