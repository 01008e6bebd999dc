"""What a person brings along: every spelling of keys and certificates, and all that must not pass for a set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography import x509 as c509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat, pkcs12

from agent.crypto import import_files
from agent.errors import MaterialError
from agent.sandbox.account.authority import Authority, fingerprint, name
from support.unit.crypto.der import stirred
from support.unit.crypto.import_files import (
    BETWEEN,
    DAY,
    EC,
    ENCRYPTED,
    NOW,
    OTHER,
    PASSWORD,
    PKCS8,
    ROOT,
    TRADITIONAL,
    Stick,
    issued,
    packed,
    pem,
    rsa_key,
    spelt,
)

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

SERVER = Authority("Root of the endpoint", NOW)


# -- spellings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [PKCS8, TRADITIONAL], ids=["pkcs8", "traditional"])
@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER], ids=["pem", "der"])
def test_a_plain_key_in_any_spelling_becomes_the_agents_own(
    stick: Stick, key: Key, form: PrivateFormat, encoding: Encoding
) -> None:
    """Whatever was read, the set holds PKCS #8 and the certificate's canonical PEM."""
    certificate = issued(key)
    found = stick.put(a=spelt(key, encoding, form), b=pem(certificate)).credential()
    assert found.key_pem == spelt(key)
    assert found.certificate_pem == pem(certificate)
    assert found.leaf.sha256 == fingerprint(certificate)


@pytest.mark.parametrize("form", [PKCS8, TRADITIONAL], ids=["pkcs8", "traditional"])
def test_an_encrypted_key_needs_its_password(stick: Stick, key: Key, form: PrivateFormat) -> None:
    """With it the key is used; without it, or with another, the option that is needed is named."""
    stick.put(key=spelt(key, form=form, encryption=ENCRYPTED), certificate=pem(issued(key)))
    assert stick.credential(password=PASSWORD).key_pem == spelt(key)
    without = stick.complaint()
    assert "needs its password" in without
    assert "--password-file" in without
    assert str(stick.path / "key") in without
    for wrong in (b"wrong", b""):
        told = stick.complaint(password=wrong)
        assert "does not open with the password that was given" in told
        assert "--password-file" in told


def test_an_encrypted_key_in_der_needs_its_password_too(stick: Stick) -> None:
    """The command promises that its password decrypts a key."""
    stick.put(key=spelt(EC, Encoding.DER, PKCS8, ENCRYPTED), certificate=pem(issued()))
    assert "another password is needed" in stick.complaint()
    assert "another password is needed" in stick.complaint(password=b"wrong")
    assert stick.credential(password=PASSWORD).key_pem == spelt(EC)


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER], ids=["pem", "der"])
def test_a_password_that_a_key_does_not_need_does_no_harm(stick: Stick, encoding: Encoding) -> None:
    """It may be for something else."""
    stick.put(key=spelt(EC, encoding), certificate=pem(issued()))
    assert stick.credential(password=PASSWORD).key_pem == spelt(EC)


def test_a_certificate_may_be_der(stick: Stick) -> None:
    """It is the same afterwards."""
    certificate = issued()
    stick.put(key_pem=spelt(EC), gw_cer=certificate.public_bytes(Encoding.DER))
    assert stick.credential().certificate_pem == pem(certificate)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b"\r\n"),
        (b"\xef\xbb\xbf", b""),
        (b"Bag Attributes\n    localKeyID: 01 02\nsubject=CN = gw\n", b"Bag Attributes: <Empty Attributes>\n"),
        (b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n", b"\n\n"),
    ],
    ids=["crlf", "byte-order-mark", "openssl-text", "ec-parameters"],
)
def test_text_around_the_blocks_is_passed_over(stick: Stick, before: bytes, after: bytes) -> None:
    """OpenSSL writes it, editors leave it."""
    certificate = issued()
    blocks = [spelt(EC, form=TRADITIONAL), pem(certificate)]
    data = b"".join(before + block + after for block in blocks)
    found = stick.put(all_pem=data.replace(b"\n", b"\r\n") if after == b"\r\n" else data).credential()
    assert (found.key_pem, found.certificate_pem) == (spelt(EC), pem(certificate))


# -- PKCS #12 ----------------------------------------------------------------------------------------------------------


def test_a_pkcs12_file_is_a_set_with_its_chain_and_its_root(stick: Stick) -> None:
    """The root above it is no part of the chain and no anchor, and is named: it issues gateways' certificates."""
    leaf = issued(by=BETWEEN)
    stick.put(gw_p12=packed(EC, leaf, SERVER.certificate, ROOT.certificate, BETWEEN.certificate))
    found = stick.bring(password=PASSWORD)
    assert found.credential is not None
    assert found.credential.key_pem == spelt(EC)
    assert found.credential.certificate_pem == pem(leaf) + BETWEEN.pem
    assert (found.anchors_pem, found.issuer) == (SERVER.pem, "CN=Test root")


@pytest.mark.parametrize("between", [True, False])
def test_the_authority_above_the_certificate_is_no_anchor_wherever_it_lies(stick: Stick, *, between: bool) -> None:
    """Whichever file it is in; brought without a key it is meant for servers."""
    leaf = issued(by=BETWEEN if between else ROOT)
    stick.put(key=spelt(EC), certificate=pem(leaf), chain=BETWEEN.pem, root=ROOT.pem)
    found = stick.bring()
    assert (found.anchors_pem, found.issuer) == (b"", "CN=Test root")
    alone = import_files.bring([stick.path / "root"], None)
    assert (alone.anchors_pem, alone.issuer) == (ROOT.pem, "")


@pytest.mark.parametrize("password", [None, b"", b"wrong"])
def test_a_pkcs12_file_with_another_password_is_told_from_nothing(stick: Stick, password: bytes | None) -> None:
    """It is told whether one was given, with the option and the file."""
    told = stick.put(gw_p12=packed(EC, issued())).complaint(password=password)
    needed = "a password is needed" if password is None else "the password that was given does not open it"
    assert needed in told
    assert "--password-file" in told
    assert str(stick.path / "gw.p12") in told


def test_a_file_that_is_made_to_be_slow_is_named(stick: Stick) -> None:
    """What to do instead follows."""
    told = stick.put(gw_p12=stirred(2**63)).complaint(password=PASSWORD)
    assert told.startswith(f"{stick.path / 'gw.p12'}: to open it takes more than 20 seconds of processor time")
    assert "openssl pkcs12 -nodes" in told


def test_a_pkcs12_file_may_have_no_password(stick: Stick) -> None:
    """Then none is asked for."""
    stick.put(gw_p12=packed(EC, issued(), encryption=NoEncryption()))
    assert stick.credential().key_pem == spelt(EC)


def test_old_encryption_of_pkcs12_is_read(stick: Stick) -> None:
    """Triple DES with SHA-1 is what old tools write."""
    old = PKCS12_OLD.hmac_hash(hashes.SHA1()).build(PASSWORD)  # noqa: S303 - it is what they write
    assert stick.put(gw_pfx=packed(EC, issued(), encryption=old)).credential(password=PASSWORD).key_pem == spelt(EC)


PKCS12_OLD = PrivateFormat.PKCS12.encryption_builder().key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC)


def test_a_pkcs12_file_may_hold_certificates_only(stick: Stick) -> None:
    """The key then lies beside it."""
    leaf = issued()
    stick.put(key_pem=spelt(EC), rest_p12=packed(None, None, leaf, ROOT.certificate, SERVER.certificate))
    found = stick.bring(password=PASSWORD)
    assert found.credential is not None
    assert found.credential.leaf.sha256 == fingerprint(leaf)
    assert found.anchors_pem == SERVER.pem


def test_a_pkcs12_key_without_its_certificate_is_no_set(stick: Stick) -> None:
    """As with any other key."""
    stick.put(gw_p12=packed(EC, None, BETWEEN.certificate))
    assert "the certificate that belongs to the private key is not among it" in stick.complaint(password=PASSWORD)


# -- places ------------------------------------------------------------------------------------------------------------


def test_what_a_file_is_called_does_not_matter(stick: Stick) -> None:
    """A key called certificate and a certificate called key are taken for what they are."""
    stick.put(certificate_pem=spelt(EC), key_pem=pem(issued()), x=SERVER.pem)
    found = stick.bring()
    assert found.credential is not None
    assert found.anchors_pem == SERVER.pem


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_what_lies_beside_a_set_is_passed_over_in_either_encoding(stick: Stick, encoding: Encoding) -> None:
    """Easy-rsa, step and Windows leave a request, a public key and a list of what was revoked, PEM or DER."""
    public = EC.public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
    request = c509.CertificateSigningRequestBuilder().subject_name(name("gw")).sign(EC, hashes.SHA256())
    revoked = c509.CertificateRevocationListBuilder().issuer_name(name("ca")).last_update(NOW).next_update(NOW + DAY)
    crl = revoked.sign(EC, hashes.SHA256()).public_bytes(encoding)
    stick.put(key=spelt(EC), leaf=pem(issued()), pub=public, req=request.public_bytes(encoding), crl=crl)
    assert stick.credential().key_pem == spelt(EC)


@pytest.mark.parametrize("together", [True, False], ids=["one file", "many"])
def test_the_time_for_what_a_password_protects_is_that_of_all_files(stick: Stick, *, together: bool) -> None:
    """Each may be slow to open by itself, and 64 of them, or thousands in one file, would take hours."""
    key, patience = spelt(EC, encryption=ENCRYPTED), 1e-6  # seconds, which the first one uses up
    assert import_files.bring([stick.put(a=key, b=pem(issued())).path], PASSWORD, patience).credential is not None
    stick.put(**({"a": 2 * key} if together else {"c": key}))

    with pytest.raises(MaterialError, match="took too much processor time before it") as caught:
        import_files.bring([stick.path], PASSWORD, patience)
    assert ("/a: " if together else "/c: ") in str(caught.value)
    assert "files of one set" in caught.value.hint


def test_directories_and_files_may_be_mixed(stick: Stick, tmp_path: Path) -> None:
    """All that is named counts."""
    stick.put(key=spelt(EC))
    (tmp_path / "gw.crt").write_bytes(pem(issued()))
    found = import_files.bring([tmp_path / "gw.crt", stick.path], None)
    assert found.credential is not None


def test_hidden_files_in_a_directory_are_ignored_and_named_ones_are_not(stick: Stick) -> None:
    """File managers leave them; a person who names one means it."""
    stick.put(key=spelt(EC), certificate=pem(issued()), _hidden=spelt(OTHER))
    assert stick.credential().key_pem == spelt(EC)
    assert "several private keys" in stick.complaint("key", "certificate", ".hidden")


def test_directories_in_a_directory_are_passed_over(stick: Stick) -> None:
    """Every stick has some: `lost+found`, `System Volume Information`."""
    stick.put(key=spelt(EC), certificate=pem(issued()))
    (stick.path / "System Volume Information").mkdir()
    assert stick.credential().key_pem == spelt(EC)


@pytest.mark.parametrize(
    "beside",
    [
        b"read me\n",
        b"#!/bin/sh\npython3 basicPubSub.py\n",
        b'{"Version": "2012-10-17"}',
        b"\x89PNG\r\n",
        b"\0\0\0\1Bud1",
    ],
    ids=["text", "script", "policy", "picture", "folder of a Mac"],
)
def test_what_looks_like_none_of_it_lies_beside_in_a_directory_and_is_named_when_it_is_meant(
    stick: Stick, beside: bytes
) -> None:
    """As in the kit that AWS IoT has a person download, and in a generation that comes back from a backup."""
    stick.put(key=spelt(EC), certificate=pem(issued()), other=beside)
    assert stick.credential().key_pem == spelt(EC)
    assert "it is no key, certificate or PKCS #12 file" in stick.complaint("key", "certificate", "other")


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        (b"", "it is empty"),
        (b"----BEGIN CERTIFICATE----\nMIIB\n", "it has no end"),
        ("—BEGIN PRIVATE KEY—\n".encode(), "it is no key"),
        (b"\x30\x82\x04\x00cut off", "it is no key"),
        (b"\xfe\xed\xfe\xed\0\0", "JKS"),
        (b"PK\x03\x04", "a ZIP archive"),
    ],
    ids=["empty", "a dash short", "long dashes", "cut off", "Java's", "packed"],
)
def test_what_a_person_may_have_meant_is_named_in_a_directory_too(stick: Stick, spoilt: bytes, said: str) -> None:
    """Else a set of before would be taken, and nothing said of the new one."""
    stick.put(key=spelt(EC), certificate=pem(issued()), other=spoilt)
    assert said in stick.complaint()


def test_of_a_whole_state_directory_the_set_in_use_is_taken(tmp_path: Path) -> None:
    """As a backup of it lies there, with an empty lock and sets of before."""
    for number, key in (("000001", OTHER), ("000002", EC)):
        (tmp_path / "generations" / number).mkdir(parents=True)
        (tmp_path / "generations" / number / "key.pem").write_bytes(spelt(key))
        (tmp_path / "generations" / number / "certificate.pem").write_bytes(pem(issued(key)))
    (tmp_path / "current").symlink_to("generations/000002")
    (tmp_path / "lock").touch()
    brought = import_files.bring([tmp_path], None)
    assert brought.credential is not None
    assert brought.credential.key_pem == spelt(EC)


def test_everything_that_the_console_offers_may_lie_there(stick: Stick) -> None:
    """AWS IoT has the public key downloaded beside the private one; a request is left over from `openssl req`."""
    public = EC.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    request = c509.CertificateSigningRequestBuilder().subject_name(name("gw")).sign(EC, hashes.SHA256())
    stick.put(x_private_pem_key=spelt(rsa_key(), form=TRADITIONAL), x_certificate_pem_crt=pem(issued(rsa_key())))
    stick.put(x_public_pem_key=public, gw_csr=request.public_bytes(Encoding.PEM), AmazonRootCA1_pem=SERVER.pem)
    found = stick.bring()
    assert found.credential is not None
    assert found.anchors_pem == SERVER.pem


def test_a_link_is_followed(stick: Stick, tmp_path: Path) -> None:
    """Other agents keep their sets behind links."""
    (tmp_path / "elsewhere").write_bytes(spelt(EC))
    (stick.path / "key").symlink_to(tmp_path / "elsewhere")
    assert stick.put(certificate=pem(issued())).credential().key_pem == spelt(EC)
