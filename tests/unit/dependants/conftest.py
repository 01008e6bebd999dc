"""What the tests of dependants share."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.dependants import helper as module
from agent.dependants import units
from support.running.systemd import Systemctl, lay, open_place
from support.shorthand.dependants import House
from support.simulated.virtual import Time
from support.unit.dependants.helper import PATIENCE, HelperAtWork, at_work

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(name="house")
def _house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr("agent.dependants.units.LOOK", 0.02)
    monkeypatch.setattr("agent.dependants.deployer.SPACING", timedelta(0))
    with open_place() as place:
        house = House(place)
        house.laid = lay(house.state, 1)
        yield house


@pytest.fixture(name="place")
def _place() -> Iterator[Path]:
    """Give a directory of this process's own user, below directories of root's."""
    with open_place() as place:
        yield place


@pytest.fixture(name="desk")
def _desk(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HelperAtWork]:
    monkeypatch.setattr(module, "SAYING", PATIENCE)  # a busy machine is no reason to refuse those who behave
    desk = HelperAtWork(place / "socket")
    with at_work(desk.path, desk.deploy, desk.whose):
        yield desk


@pytest.fixture(name="systemctl")
def _systemctl(tmp_path: Path) -> Systemctl:
    return Systemctl(tmp_path)


@pytest.fixture(name="time")
def _time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """Nothing is waited for between two looks, of which there are few."""
    monkeypatch.setattr(units, "LOOK", 10.0)
    return Time(monkeypatch)
