"""Gateways for the tests, each checked for leaked secrets when its test ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """Give a gateway out of the factory; afterwards nothing it said may hold a secret."""
    with Gateway(tmp_path) as made:
        yield made
        said, secrets = made.everything_said(), made.secrets()
        assert secrets, "the claim key at least is a secret"
        leaked = [secret[:6] for secret in secrets if secret in said]
        assert not leaked, f"secrets that begin with {leaked} were printed, logged or recorded"


@pytest.fixture
def enrolled(gateway: Gateway) -> Gateway:
    """Give a gateway that has its first certificate."""
    gateway.enroll()
    return gateway
