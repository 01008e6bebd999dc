"""PKCS #12 files, read back by the library that wrote them and by another one."""

from __future__ import annotations

import base64
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.hazmat.primitives.serialization import pkcs12 as library
from cryptography.x509 import load_pem_x509_certificates

from agent.crypto import pkcs12
from support.running.systemd import THING, lay

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from support.running.systemd import Laid

PASSWORD = b"correct horse 42"


@pytest.fixture(name="laid")
def _laid(tmp_path: Path) -> Laid:
    return lay(tmp_path / "state", 1)


def public(key: PrivateKeyTypes | None) -> bytes:
    """Return what tells a key from another."""
    assert key is not None
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def key_store(laid: Laid) -> bytes:
    """Return the pair of a set as a file."""
    return pkcs12.key_store(THING, laid.key_pem, laid.chain_pem, PASSWORD)


def test_it_holds_the_pair_behind_the_password(laid: Laid) -> None:
    """The key, the certificate under the thing's name, and the rest of the chain; nothing without the password."""
    made = key_store(laid)
    key, leaf, others = library.load_key_and_certificates(made, PASSWORD)

    assert public(key) == public(load_pem_private_key(laid.key_pem, None))
    assert [leaf, *others] == load_pem_x509_certificates(laid.chain_pem)
    assert library.load_pkcs12(made, PASSWORD).cert.friendly_name == THING.encode()  # type: ignore[union-attr]
    for wrong in (b"", b"another", PASSWORD + b"\n"):
        with pytest.raises(ValueError, match="password"):
            library.load_key_and_certificates(made, wrong)
    assert b"".join(laid.key_pem.splitlines()[1:-1]) not in base64.b64encode(made)


def test_it_holds_anchors_and_no_key(laid: Laid) -> None:
    """All of them, and nothing else."""
    key, leaf, anchors = library.load_key_and_certificates(pkcs12.trust_store(laid.trust_pem, PASSWORD), PASSWORD)

    assert (key, leaf) == (None, None)
    assert set(anchors) == set(load_pem_x509_certificates(laid.trust_pem))


@pytest.mark.parametrize("of_anchors", [False, True])
def test_it_is_read_by_openssl(laid: Laid, tmp_path: Path, *, of_anchors: bool) -> None:
    """By another implementation than the one that wrote it."""
    made = pkcs12.trust_store(laid.trust_pem, PASSWORD) if of_anchors else key_store(laid)
    (tmp_path / "made.p12").write_bytes(made)
    command = ["openssl", "pkcs12", "-in", str(tmp_path / "made.p12"), "-nodes", "-passin", f"pass:{PASSWORD.decode()}"]
    shown = subprocess.run(command, capture_output=True, check=True).stdout

    assert shown.count(b"BEGIN CERTIFICATE") == 2
    assert (b"PRIVATE KEY" in shown) is not of_anchors
    # The truststore's attribute, which Java looks for: trustedKeyUsage, 2.16.840.1.113894.746875.1.1.
    assert (b"2.16.840.1.113894.746875.1.1" in shown) is of_anchors
