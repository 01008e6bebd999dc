"""Gateways for the tests, each checked for leaked secrets when its test ends."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from support.running.gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """Give a gateway out of the factory; afterwards nothing it said may hold a secret."""
    with _watched(tmp_path) as made:
        yield made


@contextmanager
def _watched(directory: Path) -> Iterator[Gateway]:
    with Gateway(directory) as made:
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


@pytest.fixture
def passable() -> Iterator[Gateway]:
    """Give one that has its first certificate, in a directory which other users may pass through.

    Not below pytest's own, which each run of root's that starts meanwhile closes again.
    """
    with TemporaryDirectory(prefix="iot-cert-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        with _watched(directory) as made:
            made.enroll()
            yield made


@pytest.fixture
def short_lived(gateway: Gateway) -> Gateway:
    """Give a gateway with its first certificate, which is good for two minutes, and the next of which is due soon."""
    gateway.cloud.provisioning.lifetime = timedelta(minutes=2)
    gateway.rotation(max_age="1s", before_expiry="10s", window="1s")
    gateway.enroll()
    return gateway


@pytest.fixture
def plain(gateway: Gateway) -> Gateway:
    """Give a gateway that was never meant to enrol: no claim, no thing name, no state."""
    lines = gateway.config.read_text().splitlines(keepends=True)
    start = lines.index("enrollment:\n")
    gateway.config.write_text("".join(lines[:start] + lines[start + 5 :]))
    assert "enrollment" not in gateway.config.read_text()
    return gateway
