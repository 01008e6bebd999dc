"""A local IoT Core, and connections to it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from agent.sandbox.cloud import Cloud
from agent.sandbox.service import LocalCloud
from support.running.front import Identity, Wire, client_context, device, now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def cloud() -> Cloud:
    """Return an account with a claim certificate."""
    return Cloud(now)


@pytest.fixture
def local(cloud: Cloud, tmp_path: Path) -> Iterator[LocalCloud]:
    """Run the local IoT Core."""
    with LocalCloud(cloud, tmp_path) as running:
        yield running
        assert running.front.log.defects == []


@pytest.fixture
def wire(local: LocalCloud, cloud: Cloud, tmp_path: Path) -> Iterator[Callable[..., Wire]]:
    """Return a function that opens TLS connections and closes them after the test."""
    with ExitStack() as stack:

        def open_wire(identity: Identity | None = None, **options: Any) -> Wire:
            context = client_context(local, identity or device(cloud), tmp_path)
            return stack.enter_context(Wire(local, context, **options))

        yield open_wire
