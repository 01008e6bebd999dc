"""An account before moto."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.aws.moto_account import AwsWorld, emulated

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(name="world")
def _world() -> Iterator[AwsWorld]:
    with emulated():
        yield AwsWorld()
