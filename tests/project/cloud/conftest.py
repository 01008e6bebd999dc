"""What the tests of the project share."""

from __future__ import annotations

import pytest

from support.aws.stack import Stack


@pytest.fixture
def stack() -> Stack:
    """Return the stack with all that it can have."""
    return Stack(given={"Vending": "on", "Audits": "on", "Signer": "on"})
