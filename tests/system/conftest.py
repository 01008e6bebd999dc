"""What system tests start from. They need root and the tools of Debian; in CI their absence is an error."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.boot import images
from support.boot.installed import Installed
from support.boot.machine import Machine
from support.suite import parallel
from support.suite.surroundings import in_ci

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip where a machine cannot be booted, but never in CI."""
    missing = [tool for tool in images.TOOLS if shutil.which(tool) is None]
    reason = "only root boots machines" if os.geteuid() != 0 else f"not installed: {', '.join(missing)}"
    if (os.geteuid() != 0 or missing) and not in_ci():
        for item in items:
            if item.path.is_relative_to(HERE):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that all processes of this run share."""
    return parallel.run_folder(tmp_path_factory) / "system"


@pytest.fixture
def bare(run_folder: Path, tmp_path: Path) -> Iterator[Installed]:
    """Return a gateway with Debian and nothing of the agent, down, with the package at /package.deb."""
    machine = Machine(tmp_path / "disk", [images.debian()])
    machine.write("/package.deb", images.package(run_folder).read_bytes())
    with Installed(machine, tmp_path / "cloud") as installed:
        yield installed
        assert "Traceback" not in machine.journal()


@pytest.fixture
def gateway(run_folder: Path, tmp_path: Path) -> Iterator[Installed]:
    """Return a gateway out of the factory, down: the package, a configuration and a claim certificate, and no state."""
    with _out_of_the_factory(run_folder, tmp_path) as installed:
        yield installed


@pytest.fixture(scope="module")
def fresh(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """Return one out of the factory that the tests of a file share; it is down until the first of them boots it."""
    with _out_of_the_factory(run_folder, tmp_path_factory.mktemp("shared")) as installed:
        yield installed


@pytest.fixture(scope="module")
def enrolled(fresh: Installed) -> Installed:
    """Return the same one, booted and connected, for the tests of a file that leave it so.

    Each of them begins with the generation that is in use then, and puts back what it changes.
    """
    if not fresh.machine.running:
        fresh.machine.boot()
    fresh.until_up()
    return fresh


@contextmanager
def _out_of_the_factory(run_folder: Path, directory: Path) -> Iterator[Installed]:
    machine = Machine(directory / "disk", images.factory(run_folder))
    with Installed(machine, directory / "cloud") as installed:
        installed.configure()
        installed.equip()
        yield installed
        assert "Traceback" not in machine.journal()
