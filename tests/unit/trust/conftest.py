"""What the tests of bundles share."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from support.unit.install import Site
from support.unit.publisher import Shop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(name="shop")
def _shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture(name="opened")
def _opened(shop: Shop) -> Shop:
    shop.first()
    return shop


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Return a gateway."""
    with closing(Site(tmp_path)) as made:
        yield made
