"""What the tests of keys and certificates share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.unit.crypto.import_files import EC, Stick, rsa_key

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@pytest.fixture(name="key", params=["ec", "rsa"])
def _key(request: pytest.FixtureRequest) -> Key:
    """Return a key of either kind."""
    return EC if request.param == "ec" else rsa_key()


@pytest.fixture
def stick(tmp_path: Path) -> Stick:
    """Return an empty one."""
    (tmp_path / "stick").mkdir()
    return Stick(tmp_path / "stick")
