"""Which of the files that are brought belong together, and what is refused."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509 as c509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption

from agent.crypto import import_files, keys, x509
from agent.errors import MaterialError
from agent.sandbox.account.authority import Authority, fingerprint
from support.aws.rsa_keys import known_key
from support.suite.surroundings import NOBODY
from support.unit.crypto.import_files import (
    BETWEEN,
    DAY,
    EC,
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
    spelt,
)

if TYPE_CHECKING:
    Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

OLD_ROOT = Authority("Test root of old", NOW)
CROSS = OLD_ROOT.cross_sign(ROOT, NOW).public_bytes(Encoding.PEM)


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


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_all_that_a_certificate_comes_from_is_no_anchor(stick: Stick, order: tuple[int, ...]) -> None:
    """An authority that several signed leads to several roots, one of them by a certificate that has ended.

    As of Let's Encrypt in September 2021; whichever way is found first, no root of the devices' is one of servers.
    """
    ended = OLD_ROOT._sign_authority(BETWEEN, NOW - 90 * DAY, NOW - DAY, path_length=0).public_bytes(Encoding.PEM)
    authorities = [ended, BETWEEN.pem, ROOT.pem, OLD_ROOT.pem]
    leaf = pem(issued(by=BETWEEN))
    found = stick.put(all_pem=b"".join(authorities[at] for at in order) + leaf + spelt(EC)).bring()
    assert found.credential is not None
    assert found.credential.certificate_pem == leaf + BETWEEN.pem
    assert (found.anchors_pem, found.beside) == (b"", ())
    assert found.issuer in {"CN=Test root", "CN=Test root of old"}


def test_two_keys_in_one_container_are_not_chosen_from(stick: Stick) -> None:
    """Java keeps several in one; the library returns the first, and the other's certificate became an anchor."""
    both = (Path(__file__).parents[2] / "data" / "two-keys.p12").read_bytes()  # made by keytool
    with pytest.raises(MaterialError, match="there are several private keys in it") as caught:
        stick.put(both=both).bring(password=b"geheim")
    assert "-srcalias NAME" in caught.value.hint


@pytest.mark.parametrize(("name", "several"), [("two-keys-in-one-lock", True), ("one-key-in-one-lock", False)])
def test_keys_that_are_encrypted_as_a_whole_are_counted_by_their_certificates(
    stick: Stick, name: str, *, several: bool
) -> None:
    """No key can be seen from outside then (RFC 7292, section 4.1); the files were made by hand, with a chain each."""
    container = (Path(__file__).parents[2] / "data" / f"{name}.p12").read_bytes()
    stick.put(container=container)
    if several:
        with pytest.raises(MaterialError, match="there are several private keys in it"):
            stick.bring(password=b"geheim")
    else:
        assert stick.bring(password=b"geheim").credential is not None


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


def test_a_root_of_version_1_is_an_anchor(stick: Stick, tmp_path: Path) -> None:
    """It cannot say that it is an authority (RFC 5280, 4.2.1.9); `trust check` warns of it and takes it."""
    (tmp_path / "k").write_bytes(spelt(OTHER))
    for made in ("req -new -key k -subj /CN=old -out r", "x509 -req -in r -signkey k -days 9 -out old"):
        subprocess.run(["openssl", *made.split()], check=True, capture_output=True, cwd=tmp_path)
    old = (tmp_path / "old").read_bytes()
    assert c509.load_pem_x509_certificate(old).version == c509.Version.v1
    assert stick.put(root=old).bring().anchors_pem == old
    beside = stick.put(key=spelt(EC), certificate=pem(issued())).bring()
    assert (beside.credential is None, beside.anchors_pem) == (False, old)
    own = Stick(tmp_path / "own")
    own.path.mkdir()
    found = own.put(key=spelt(OTHER), certificate=old).bring()
    assert (found.credential is None, found.anchors_pem, found.issuer) == (False, b"", "")


def test_no_anchor_is_made_up(stick: Stick) -> None:
    """A set without roots brings none."""
    assert stick.put(a=spelt(EC), b=pem(issued())).bring().anchors_pem == b""


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "empty"),
        (b"\r\n", "empty"),
        (b"hello", "no key, certificate or PKCS #12 file"),
        (b"\x30\x82\x01\x00" + b"x" * 256, "no key, certificate or PKCS #12 file"),
        (b"\0" * 4096, "empty"),
        (b"\xff" * 512, "empty"),
    ],
    ids=["empty", "blank", "text", "der-like", "noughts", "erased"],
)
def test_garbage_is_named(stick: Stick, data: bytes, what: str) -> None:
    """With its file, where it was named; where a copy left nothing, no other password helps."""
    stick.put(key=spelt(EC), certificate=pem(issued()), rubbish=data)
    told = stick.complaint("key", "certificate", "rubbish")
    assert f"{stick.path / 'rubbish'}: it is {what}" in told


def test_a_certificate_that_was_cut_off_is_said_to_be(stick: Stick) -> None:
    """In the words of `trust check`, and in none of Python's."""
    told = stick.put(key=spelt(EC), certificate=pem(issued())[:400]).complaint()
    assert "/certificate: a certificate cannot be parsed (it has no end)" in told


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
    assert f"{stick.path}/pipe: it is a pipe, where a file is expected" in stick.complaint("pipe")
    assert f"{stick.path}/pipe: it is a pipe, where a file is expected" in stick.complaint()
    with pytest.raises(MaterialError, match="/dev/zero: it is a device, where a file is expected"):
        import_files.bring([Path("/dev/zero")], None)


def test_a_socket_is_named(stick: Stick, monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot be opened at all, which the kernel words as a device that is not there."""
    monkeypatch.chdir(stick.path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        assert f"{stick.path}/socket: it is a socket, where a file is expected" in stick.complaint()


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
    key = known_key(2048)
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
