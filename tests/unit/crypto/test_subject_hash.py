"""The names under which OpenSSL looks anchors up in a directory: those that OpenSSL itself gives them."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from agent.crypto.subject_hash import subject_hash
from agent.crypto.x509 import split

ROOTS = Path(__file__).parents[2] / "data" / "roots"
KEY = ec.generate_private_key(ec.SECP256R1())
SINCE = datetime(2026, 1, 1, tzinfo=UTC)


def by_openssl(pem: bytes) -> str:
    """Return the name that OpenSSL's own command gives a certificate."""
    done = subprocess.run(["openssl", "x509", "-noout", "-hash"], input=pem, capture_output=True, check=True)
    return done.stdout.decode().strip()


def named(name: x509.Name) -> x509.Certificate:
    """Return a certificate of a name."""
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(KEY.public_key())
    builder = builder.serial_number(1).not_valid_before(SINCE).not_valid_after(SINCE + timedelta(days=1))
    return builder.sign(KEY, hashes.SHA256())


def test_each_root_of_a_public_store_is_found_where_openssl_looks(tmp_path: Path) -> None:
    """Amazon's, and those of Mozilla's oldest store of ours, which has the oddest names."""
    pems = [pem for path in sorted(ROOTS.glob("*.pem")) if "202" not in path.name for pem in split(path.read_bytes())]
    pems += split((ROOTS / "mozilla-2020-06-20.pem").read_bytes())
    ours: dict[str, str] = {}
    for pem in dict.fromkeys(pems):
        file = tmp_path / f"{len(ours):03}.pem"
        file.write_bytes(pem)
        ours[file.name] = subject_hash(pem)
    subprocess.run(["openssl", "rehash", str(tmp_path)], check=True)
    theirs = {str(link.readlink()): link.stem for link in tmp_path.iterdir() if link.is_symlink()}
    assert len(theirs) > 100
    assert ours == theirs


CN, O = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME  # noqa: E741 - that is its name


@pytest.mark.parametrize(
    "name",
    [
        x509.Name([]),
        x509.Name([x509.NameAttribute(CN, "  Root \t of\n  ALL  ")]),
        x509.Name([x509.NameAttribute(CN, "Zürich\u00a0Ä", _ASN1Type.UTF8String)]),
        x509.Name([x509.NameAttribute(CN, "Zürich Ä", _ASN1Type.BMPString)]),
        x509.Name([x509.NameAttribute(CN, "Root", _ASN1Type.T61String), x509.NameAttribute(O, "N" * 60)]),
        x509.Name([x509.NameAttribute(NameOID.DOMAIN_COMPONENT, "Example", _ASN1Type.IA5String)]),
        x509.Name([x509.NameAttribute(NameOID.X500_UNIQUE_IDENTIFIER, b"\0A b", _ASN1Type.BitString)]),
        x509.Name([
            x509.RelativeDistinguishedName([x509.NameAttribute(O, "BB"), x509.NameAttribute(CN, "A")]),
            x509.RelativeDistinguishedName([x509.NameAttribute(CN, "x" * 64)]),
        ]),
    ],
    ids=["empty", "blanks", "utf-8", "bmp", "t61", "ia5", "no text", "several values"],
)  # fmt: skip
def test_a_name_is_brought_into_openssls_own_form(name: x509.Name) -> None:
    """Whatever kinds of text it has, and in whatever order."""
    made = named(name).public_bytes(Encoding.PEM)
    assert subject_hash(made) == by_openssl(made)
