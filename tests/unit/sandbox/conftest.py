"""What the tests of the sandbox share."""

from __future__ import annotations

import pytest

from support.unit.sandbox_jobs import Gateway


@pytest.fixture
def gateway() -> Gateway:
    """Return a gateway without jobs."""
    return Gateway()
