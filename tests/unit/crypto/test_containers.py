"""What people bring from Windows, Java, OpenSSL and a console's JSON: taken, or named for what it is."""

from __future__ import annotations

import base64
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs7

from agent.crypto import containers, import_files
from agent.errors import MaterialError
from agent.sandbox.account.authority import Authority, key_to_pem, name

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime.now(UTC)
ROOT = Authority("root", NOW)
OWN = ec.generate_private_key(ec.SECP256R1())
KEY = key_to_pem(OWN)
LEAF = ROOT.issue_client(name("gw-0042"), OWN.public_key(), NOW, NOW + timedelta(days=9))
PEM, DER = LEAF.public_bytes(Encoding.PEM), LEAF.public_bytes(Encoding.DER)
PACKED = {form: pkcs7.serialize_certificates([LEAF], form) for form in (Encoding.PEM, Encoding.DER)}

SPELLINGS = {
    "UTF-16 of Windows": PEM.decode().encode("utf-16"),
    "UTF-16 without a mark": PEM.decode().encode("utf-16-le"),
    "UTF-16, the other way round": PEM.decode().encode("utf-16-be"),
    "UTF-8 with a mark": b"\xef\xbb\xbf" + PEM,
    "out of JSON": PEM.replace(b"\n", b"\\n"),
    "out of JSON with returns": PEM.replace(b"\n", b"\\r\\n"),
    "base64 alone": base64.encodebytes(DER),
    "base64 on one line": base64.b64encode(DER),
    "PKCS #7, PEM": PACKED[Encoding.PEM],
    "PKCS #7, DER": PACKED[Encoding.DER],
    "PKCS #7 as CMS": PACKED[Encoding.PEM].replace(b"PKCS7", b"CMS"),
    "PKCS #7 as Windows calls it": PACKED[Encoding.PEM].replace(b"PKCS7", b"CERTIFICATE"),
    "a label of old": PEM.replace(b" CERT", b" X509 CERT"),
    "returns at line ends": PEM.replace(b"\n", b"\r\n"),
    "a nought at the end": PEM + b"\0",
}


def bring(at: Path, *files: bytes) -> import_files.Brought:
    """Read files."""
    for number, data in enumerate(files):
        (at / f"{number}.x").write_bytes(data)
    return import_files.bring([at / f"{number}.x" for number in range(len(files))], None)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_certificate_in_any_spelling_is_taken(tmp_path: Path, spelling: str) -> None:
    """Beside its key, which is plain."""
    found = bring(tmp_path, KEY, SPELLINGS[spelling])
    assert found.credential is not None
    assert found.credential.certificate_pem == PEM


@pytest.mark.parametrize(
    "spelt",
    [KEY.decode().encode("utf-16"), KEY.replace(b"\n", b"\\n"), b"\xef\xbb\xbf" + KEY, base64.encodebytes(
        OWN.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))],
    ids=["utf-16", "json", "mark", "base64"],
)  # fmt: skip
def test_a_key_in_any_spelling_is_taken(tmp_path: Path, spelt: bytes) -> None:
    """As a certificate is."""
    found = bring(tmp_path, spelt, PEM)
    assert found.credential is not None
    assert found.credential.key_pem == KEY


def test_a_label_of_old_is_taken_beside_the_key_in_one_file(tmp_path: Path) -> None:
    """As OpenSSL does."""
    found = bring(tmp_path, KEY + PEM.replace(b" CERT", b" X509 CERT"))
    assert found.credential is not None
    assert found.credential.certificate_pem == PEM


def test_a_request_of_windows_is_passed_over(tmp_path: Path) -> None:
    """Certreq has another first line for the same."""
    request = b"-----BEGIN NEW CERTIFICATE REQUEST-----\nAAAA\n-----END NEW CERTIFICATE REQUEST-----\n"
    assert bring(tmp_path, KEY, PEM, request).credential is not None


@pytest.mark.parametrize(
    ("data", "words", "hint"),
    [
        (b"\xfe\xed\xfe\xed\0\0\0\2" + bytes(40), "a Java key store (JKS)", "keytool"),
        (b"\xce\xce\xce\xce\0\0\0\2" + bytes(40), "a Java key store (JCEKS)", "keytool"),
        (PEM.replace(b"BEGIN C", b"BEGIN TRUSTED C").replace(b"END C", b"END TRUSTED C"), "OpenSSL's own", "x509 -in"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nAA\n-----END OPENSSH PRIVATE KEY-----", "OpenSSH's own", "ssh-keygen"),
        (b"PuTTY-User-Key-File-3: x\n", "PuTTY's", "puttygen"),
        (b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n", "PGP", ""),
        (b"PK\x03\x04abc", "a ZIP archive", "Unpack it"),
        (b"\x1f\x8b\x08abc", "a compressed archive", "Unpack it"),
        (b"-----BEGIN PKCS7-----\nAAAA\n-----END PKCS7-----\n", "a PKCS #7 container that cannot be read", ""),
        (PACKED[Encoding.DER][:-3], "a PKCS #7 container that cannot be read", ""),
    ],
)  # fmt: skip
def test_what_is_not_read_is_named(tmp_path: Path, data: bytes, words: str, hint: str) -> None:
    """With the file, and with the command that makes what is read."""
    with pytest.raises(MaterialError) as caught:
        bring(tmp_path, KEY, data)
    assert str(caught.value).startswith(f"{tmp_path}/1.x: it is ")
    assert words in str(caught.value)
    assert hint in caught.value.hint


def test_a_pkcs12_container_is_told_from_what_is_nothing(tmp_path: Path) -> None:
    """It may come from another tool, whose password is not at hand."""
    (tmp_path / "k").write_bytes(KEY)
    (tmp_path / "c").write_bytes(PEM)
    packed = ["openssl", "pkcs12", "-export", "-inkey", "k", "-in", "c", "-passout", "pass:geheim", "-out", "p"]
    subprocess.run(packed, check=True, capture_output=True, cwd=tmp_path)
    with pytest.raises(
        MaterialError, match="it is a PKCS #12 container, and the password that was given does not open it"
    ):
        import_files.bring([tmp_path / "p"], b"wrong")
    assert import_files.bring([tmp_path / "p"], b"geheim").credential is not None


@pytest.mark.parametrize("data", [b"", b"x", b"hello world", b"\x30\x03\x02\x01\x05", bytes(300)])
def test_what_is_not_known_is_nothing(data: bytes) -> None:
    """And is left as it is."""
    assert containers.as_plain(data) == data
    assert containers.certificates_in(data) is None
    assert containers.known(data) is None
