"""A fleet's side of a daemon, on a clock that the test moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.office import HandClock, Office

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(name="office")
def _office(monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    clock = HandClock()
    for module in ("loop", "retirement", "shadow"):
        monkeypatch.setattr(f"agent.daemon.{module}.monotonic", clock)
    office = Office(clock)
    office.connect()
    yield office
    office.loop.close()
