"""What the tests of the sandbox share."""

from __future__ import annotations

import pytest

from support.unit.sandbox.sandbox_jobs import JobGateway


@pytest.fixture
def gateway() -> JobGateway:
    """Return a gateway without jobs."""
    return JobGateway()
