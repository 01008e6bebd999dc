"""What the tests of bundles share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.unit.publisher import Shop

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(name="shop")
def _shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture(name="opened")
def _opened(shop: Shop) -> Shop:
    shop.first()
    return shop
