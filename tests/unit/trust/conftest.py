"""What the tests of bundles share."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from agent.sandbox.account.authority import Authority
from support.network.depot import Depot
from support.publishing.signing import Habits, Publisher
from support.simulated.outside import START
from support.simulated.rig import Rig
from support.unit.trust.attacks import Target, make
from support.unit.trust.download import CONTENT, NOW, ROOT
from support.unit.trust.install import InstallSite
from support.unit.trust.publisher import ReadRepository

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True, scope="package")
def _small_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let the system trust one authority: each downloader reads them all, and Debian's 140 take 0.1 s."""
    trusted = tmp_path_factory.mktemp("system") / "trusted.pem"
    trusted.write_bytes(Authority("system root", NOW).pem)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(trusted))
        yield


@pytest.fixture(name="shop")
def _shop(tmp_path: Path) -> ReadRepository:
    return ReadRepository(tmp_path)


@pytest.fixture(name="opened")
def _opened(shop: ReadRepository) -> ReadRepository:
    shop.first()
    return shop


@pytest.fixture
def site(tmp_path: Path) -> Iterator[InstallSite]:
    """Return a gateway."""
    with closing(InstallSite(tmp_path)) as made:
        yield made


@pytest.fixture
def habits() -> Habits:
    """Return how its publisher signs; a test says so as a parameter where it matters."""
    return Habits()


@pytest.fixture
def target(tmp_path: Path, habits: Habits) -> Iterator[Target]:
    """Return a gateway that has read one publication, which holds what it had already."""
    with closing(Rig(tmp_path / "state")) as rig:
        yield make(tmp_path, rig, Publisher(START, habits))


@pytest.fixture
def depot(tmp_path: Path) -> Iterator[Depot]:
    """Serve one file."""
    (tmp_path / "b.tar").write_bytes(CONTENT)
    with Depot(tmp_path, ROOT) as running:
        yield running
    assert running.defects == []
