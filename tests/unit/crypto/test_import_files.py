"""What a person brings along: every spelling of keys and certificates, and all that must not pass for a set."""

from __future__ import annotations

import base64
import os
import socket
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509 as c509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs12,
)

from agent.crypto import import_files, keys, x509
from agent.errors import MaterialError
from agent.sandbox.authority import Authority, fingerprint, name

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.serialization import KeySerializationEncryption

    from agent.core.values import CredentialSet

    Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

NOW = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
NOBODY = 65534
PASSWORD = b"correct horse"

EC: Key = ec.generate_private_key(ec.SECP256R1())
OTHER: Key = ec.generate_private_key(ec.SECP256R1())
ROOT = Authority("Test root", NOW)
OLD_ROOT = Authority("Test root of old", NOW)
SERVER = Authority("Root of the endpoint", NOW)
BETWEEN = ROOT.intermediate("Test authority", NOW)
CROSS = OLD_ROOT.cross_sign(ROOT, NOW).public_bytes(Encoding.PEM)

PKCS8, TRADITIONAL = PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL
ENCRYPTED = BestAvailableEncryption(PASSWORD)


def issued(key: Key = EC, by: Authority = ROOT, begins: datetime = NOW) -> c509.Certificate:
    """Return a gateway's certificate."""
    return by.issue_client(name("gw-0042"), key.public_key(), begins, NOW + 365 * DAY)


def pem(certificate: c509.Certificate) -> bytes:
    """Return a certificate as PEM."""
    return certificate.public_bytes(Encoding.PEM)


def spelt(
    key: Key,
    encoding: Encoding = Encoding.PEM,
    form: PrivateFormat = PKCS8,
    encryption: KeySerializationEncryption | None = None,
) -> bytes:
    """Return a key in one of its spellings."""
    return key.private_bytes(encoding, form, encryption or NoEncryption())


def packed(
    key: Key | None,
    certificate: c509.Certificate | None,
    *others: c509.Certificate,
    encryption: KeySerializationEncryption = ENCRYPTED,
) -> bytes:
    """Return a PKCS #12 file."""
    return pkcs12.serialize_key_and_certificates(b"gw", key, certificate, list(others) or None, encryption)


class Stick:
    """A directory to bring things along in."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, **files: bytes) -> Stick:
        """Put files onto it; in a name ``_`` stands for a dot."""
        for file, data in files.items():
            (self.path / file.replace("_", ".")).write_bytes(data)
        return self

    def bring(self, *names: str, password: bytes | None = None) -> import_files.Brought:
        """Read files of it, or all of it."""
        return import_files.bring([self.path / item for item in names] or [self.path], password)

    def credential(self, *names: str, password: bytes | None = None) -> CredentialSet:
        """Return the set that is made of them."""
        found = self.bring(*names, password=password).credential
        assert found is not None
        return found

    def complaint(self, *names: str, password: bytes | None = None) -> str:
        """Return why they are refused, in words that hold nothing of any key or password."""
        with pytest.raises(MaterialError) as caught:
            self.bring(*names, password=password)
        told = f"{caught.value} {caught.value.hint} {caught.value.__cause__ or ''}"
        assert not [piece for piece in pieces(self.path) if piece in told]
        return told


def pieces(path: Path) -> set[str]:
    """Return every stretch of the files' bytes, and of every key here, that would give something of a key away."""
    texts = [file.read_bytes() for file in path.rglob("*") if file.is_file() and file.stat().st_size < 65_536]
    texts += [spelt(key) for key in (EC, rsa_key(), OTHER)]
    words = {text[at : at + 12].decode("ascii", "replace") for text in texts for at in range(0, len(text), 12)}
    numbers = {f"{key.private_numbers().private_value}" for key in (EC, OTHER) if isinstance(key, ec.EllipticCurvePrivateKey)}  # noqa: E501  # fmt: skip
    return {word for word in words | numbers | {PASSWORD.decode()} if "-----" not in word and word.strip()}


@cache
def rsa_key() -> Key:
    """Return an RSA key, which takes long to make: not where these tests are only collected."""
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(name="key", params=["ec", "rsa"])
def _key(request: pytest.FixtureRequest) -> Key:
    """Return a key of either kind."""
    return EC if request.param == "ec" else rsa_key()


@pytest.fixture
def stick(tmp_path: Path) -> Stick:
    """Return an empty one."""
    (tmp_path / "stick").mkdir()
    return Stick(tmp_path / "stick")


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
    """Which of the two it is cannot be seen, so both are said, with the option and the file."""
    told = stick.put(gw_p12=packed(EC, issued())).complaint(password=password)
    assert "another password is needed" in told
    assert "--password-file" in told
    assert str(stick.path / "gw.p12") in told


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


# -- what belongs together ---------------------------------------------------------------------------------------------


def test_two_keys_are_not_chosen_from(stick: Stick) -> None:
    """Whichever it was, the other might be meant."""
    stick.put(a=spelt(EC), b=spelt(OTHER), certificate=pem(issued()))
    assert "there are several private keys among it; name the files of one set" in stick.complaint()
    assert stick.credential("a", "certificate").key_pem == spelt(EC)


def test_one_key_in_several_spellings_is_one_key(stick: Stick, key: Key) -> None:
    """As in a PKCS #12 file beside what was taken out of it."""
    leaf = issued(key)
    stick.put(a=spelt(key), b=spelt(key, form=TRADITIONAL), c=spelt(key, Encoding.DER), d=packed(key, leaf))
    stick.put(e=pem(leaf), f=leaf.public_bytes(Encoding.DER))
    assert stick.credential(password=PASSWORD).certificate_pem == pem(leaf)


@pytest.mark.parametrize("with_another", [False, True])
def test_a_key_needs_its_own_certificate(stick: Stick, with_another: bool) -> None:  # noqa: FBT001 - a case
    """One of another key is none."""
    stick.put(key=spelt(EC), **({"certificate": pem(issued(OTHER))} if with_another else {}))
    assert "the certificate that belongs to the private key is not among it" in stick.complaint()


def test_a_certificate_needs_its_key(stick: Stick) -> None:
    """A person who forgot it must not be told that all is done because a root lay beside it."""
    stick.put(certificate=pem(issued()))
    assert "private key" in stick.complaint()
    stick.put(root=ROOT.pem)
    assert "private key" in stick.complaint()


def test_of_several_certificates_for_one_key_the_newest_is_taken(stick: Stick) -> None:
    """However they are ordered; others keep out of the chain."""
    old, new = issued(begins=NOW - 9 * DAY), issued(begins=NOW - DAY)
    stick.put(a=pem(new), b=pem(old), c=spelt(EC), d=pem(issued(OTHER)))
    assert stick.credential().certificate_pem == pem(new)
    stick.put(a=pem(old), b=pem(new))
    assert stick.credential().certificate_pem == pem(new)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (2, 0, 1)])
def test_the_chain_is_put_in_order(stick: Stick, order: tuple[int, ...]) -> None:
    """Each authority follows what it signed, whatever the order in the file; one that signed nothing is left out."""
    stray = OLD_ROOT.intermediate("Another authority", NOW)
    leaf = issued(by=BETWEEN)
    authorities = [BETWEEN.pem, CROSS, stray.pem]
    stick.put(all_pem=b"".join(authorities[at] for at in order) + pem(leaf) + spelt(EC), old=OLD_ROOT.pem)
    found = stick.bring()
    assert found.credential is not None
    assert found.credential.certificate_pem == pem(leaf) + BETWEEN.pem + CROSS
    assert (found.anchors_pem, found.issuer) == (b"", "CN=Test root of old")
    assert found.beside == ("CN=Another authority",)


def test_an_authority_that_only_has_the_name_is_no_link_of_the_chain(stick: Stick) -> None:
    """Its signature is looked at: a broker that is sent a chain which does not hold together refuses it all."""
    name = BETWEEN.certificate.subject.rfc4514_string()
    namesake = OLD_ROOT.intermediate(name.removeprefix("CN="), NOW)
    leaf = issued(by=BETWEEN)
    stick.put(key=spelt(EC), certificate=pem(leaf), chain=namesake.pem)
    found = stick.bring()
    assert found.credential is not None
    assert found.credential.certificate_pem == pem(leaf)
    assert found.beside == (name,)

    stick.put(chain=namesake.pem + BETWEEN.pem)
    whole = stick.bring()
    assert whole.credential is not None
    assert whole.credential.certificate_pem == pem(leaf) + BETWEEN.pem
    assert whole.beside == (name,)


def test_the_certificate_of_another_gateway_beside_is_named(stick: Stick) -> None:
    """One for another key is not taken; an older one for the same key is no stranger."""
    stick.put(key=spelt(EC), certificate=pem(issued()), other=pem(issued(OTHER)))
    assert stick.bring().beside == (issued(OTHER).subject.rfc4514_string(),)


def test_authorities_that_signed_each_other_make_no_endless_chain(stick: Stick) -> None:
    """Two roots that are cross-signed both ways."""
    back = ROOT.cross_sign(OLD_ROOT, NOW).public_bytes(Encoding.PEM)
    stick.put(all=spelt(EC) + pem(issued()) + CROSS + back)
    assert stick.credential().certificate_pem.count(b"BEGIN") == 3


def test_anchors_alone_are_something(stick: Stick) -> None:
    """Each once, with no set."""
    found = stick.put(a=ROOT.pem + OLD_ROOT.pem, b=ROOT.pem).bring()
    assert found.credential is None
    assert x509.read_bundle(found.anchors_pem).fingerprints == {
        fingerprint(root.certificate) for root in (ROOT, OLD_ROOT)
    }
    assert found.anchors_pem.count(b"BEGIN") == 2


def test_an_authority_below_a_root_is_no_anchor(stick: Stick) -> None:
    """To trust one that no other program does would be a surprise."""
    assert "neither a private key nor an anchor" in stick.put(a=BETWEEN.pem).complaint()


def test_no_anchor_is_made_up(stick: Stick) -> None:
    """A set without roots brings none."""
    assert stick.put(a=spelt(EC), b=pem(issued())).bring().anchors_pem == b""


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [b"", b"\n", b"hello", b"\x30\x82\x01\x00" + b"x" * 256, b"\0" * 4096],
    ids=["empty", "blank", "text", "der-like", "noughts"],
)
def test_garbage_is_named(stick: Stick, data: bytes) -> None:
    """With its file."""
    stick.put(key=spelt(EC), certificate=pem(issued()), rubbish=data)
    told = stick.complaint()
    assert str(stick.path / "rubbish") in told
    assert "it is no key, certificate or PKCS #12 file" in told


def test_a_damaged_certificate_is_named(stick: Stick) -> None:
    """What stands between its lines cannot be read."""
    told = stick.put(key=spelt(EC), certificate=pem(issued()).replace(b"MII", b"MIX")).complaint()
    assert told.startswith(f"{stick.path}/certificate: a certificate cannot be parsed")


@pytest.mark.parametrize("label", ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY"])
def test_a_damaged_key_is_named_and_not_quoted(stick: Stick, label: str) -> None:
    """Nothing of what stands in it may reach a log."""
    body = base64.b64encode(b"A canary that no reader may ever see again in a message").decode()
    stick.put(key=f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n".encode(), certificate=pem(issued()))
    for password in (None, PASSWORD):
        told = stick.complaint(password=password)
        assert str(stick.path / "key") in told
        assert "canary" not in told


def test_a_key_that_is_cut_off_is_not_quoted(stick: Stick) -> None:
    """As after a stick that was pulled out too early."""
    told = stick.put(key=spelt(EC)[:150], certificate=pem(issued())).complaint()
    assert "the private key in it cannot be used" in told


def test_keys_that_aws_does_not_take_are_refused(stick: Stick) -> None:
    """Ed25519 above all."""
    key = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PKCS8, NoEncryption())
    assert "neither RSA nor elliptic-curve" in stick.put(key=key, certificate=pem(issued())).complaint()


def test_a_file_is_read_up_to_a_limit(stick: Stick) -> None:
    """A film that lies on the stick is not taken into memory."""
    stick.put(key=spelt(EC), certificate=pem(issued()) + b"\n" * (import_files.MAX_FILE - len(pem(issued())) - 9))
    assert stick.credential().key_pem == spelt(EC)
    with (stick.path / "film").open("wb") as film:
        film.truncate(1 << 40)
    told = stick.complaint()
    assert str(stick.path / "film") in told
    assert "larger than the 1024 KiB" in told


def test_files_are_counted_over_all_places(stick: Stick, tmp_path: Path) -> None:
    """Sixty-four are looked at, a sixty-fifth is one too many, and none of them is read then."""
    stick.put(key=spelt(EC), certificate=pem(issued()), **{f"root{number}": ROOT.pem for number in range(62)})
    assert stick.credential().key_pem == spelt(EC)
    extra = tmp_path / "extra"
    os.mkfifo(extra)
    with pytest.raises(MaterialError, match="there are 65 files and 64 are looked at; name the right ones"):
        import_files.bring([stick.path, extra], None)


def test_what_is_no_plain_file_is_named_and_not_waited_for(stick: Stick) -> None:
    """A pipe without a writer would be waited for until tomorrow; a device never ends."""
    os.mkfifo(stick.path / "pipe")
    assert f"{stick.path}/pipe: it is no plain file" in stick.complaint("pipe")
    assert f"{stick.path}/pipe: it is no plain file" in stick.complaint()
    with pytest.raises(MaterialError, match="/dev/zero: it is no plain file"):
        import_files.bring([Path("/dev/zero")], None)


def test_a_socket_is_named(stick: Stick, monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot be opened at all."""
    monkeypatch.chdir(stick.path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        assert f"{stick.path}/socket: it cannot be read" in stick.complaint()


def test_what_is_missing_is_named(stick: Stick) -> None:
    """A slip of the pen is seen at once."""
    (stick.path / "loop").symlink_to("loop")
    assert f"{stick.path}/kye: it cannot be read: No such file or directory" in stick.complaint("kye")
    assert f"{stick.path}/loop: it cannot be read" in stick.complaint("loop")


def test_what_may_not_be_read_is_named(stick: Stick) -> None:
    """File or directory."""
    stick.put(key=spelt(EC))
    (stick.path / "key").chmod(0)
    stick.path.chmod(0o711)
    stick.path.parent.chmod(0o711)
    with _without_rights():
        told = [_complaint(path) for path in (stick.path / "key", stick.path)]
    stick.path.chmod(0o700)
    assert [text.endswith("it cannot be read: Permission denied") for text in told] == [True, True]
    assert str(stick.path) in told[1]


def _complaint(path: Path) -> str:
    with pytest.raises(MaterialError) as caught:
        import_files.bring([path], None)
    return str(caught.value)


class _without_rights:  # noqa: N801 - used as a function
    """Do without root's rights, where this is root."""

    def __enter__(self) -> None:
        self._root = os.geteuid() == 0
        if self._root:
            os.seteuid(NOBODY)

    def __exit__(self, *_: object) -> None:
        if self._root:
            os.seteuid(0)


def test_a_failing_medium_is_named() -> None:
    """The file can be opened and reading it fails, as with old sticks; here nothing is mapped at its start."""
    with pytest.raises(MaterialError, match="/proc/self/mem: it cannot be read: Input/output error"):
        import_files.bring([Path("/proc/self/mem")], None)


def test_nothing_is_nothing(stick: Stick) -> None:
    """An empty directory is no set."""
    assert "neither a private key nor an anchor" in stick.complaint()


PSS_ALONE = bytes.fromhex("300b06092a864886f70d01010a")  # the algorithm id-RSASSA-PSS, without parameters
ANY_RSA = bytes.fromhex("300d06092a864886f70d0101010500")


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_a_key_for_rsa_pss_alone_stays_one(stick: Stick, encoding: Encoding) -> None:
    """Its certificate says the same; the SDK refuses a pair of which one half has forgotten it."""
    key = rsa.generate_private_key(65537, 2048)
    plain = spelt(key, Encoding.DER)
    assert plain.count(ANY_RSA) == 1
    inner = plain[4:].replace(ANY_RSA, PSS_ALONE)
    der = b"\x30\x82" + len(inner).to_bytes(2) + inner
    data = der if encoding is Encoding.DER else keys.armoured(der)
    stick.put(key=data, certificate=pem(issued(key)))
    assert stick.credential().key_pem == keys.armoured(der)


@pytest.mark.parametrize("kind", [b"EC", b"DH"])
def test_parameters_before_a_key_are_passed_over(stick: Stick, kind: bytes) -> None:
    """`openssl ecparam -genkey` writes them into one file, the parameters first."""
    before = b"-----BEGIN %b PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END %b PARAMETERS-----\n" % (kind, kind)
    stick.put(key=before + spelt(EC, form=TRADITIONAL), certificate=pem(issued()))
    assert stick.credential().key_pem == spelt(EC)
    stick.put(alone=before)
    assert "a file of parameters, with no key in it" in stick.complaint()
