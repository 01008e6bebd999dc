from __future__ import annotations

import pytest

from support.crashkit import syscalls
from support.simulated.kept import keep_what_is_decoded


@pytest.fixture(autouse=True)
def _only_where_calls_are_known() -> None:
    if not syscalls.SUPPORTED:
        pytest.skip("the stepper knows the system calls of x86-64 and arm64 only")


@pytest.fixture(autouse=True)
def _the_same_bytes_are_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_what_is_decoded(monkeypatch)
