"""Keys, certificates and anchors that a person brings along, in whatever files: PEM, DER, PKCS #12.

Everything that is found is sorted by what it is, not by its name. Exactly one private key may be among it, with the
certificate that belongs to it; certificates of authorities that signed themselves are anchors, other authorities the
chain. The authority above the certificate itself is no anchor, though it lies in every .p12: an authority that issues
gateways' certificates must not thereby be able to play the endpoint. What is returned is canonical: the agent's own
spelling of what was read.

It refuses to guess: two keys, a key without its certificate and a file that is nothing of this are said to be so. In a
directory, what does not even look like any of it lies beside: a readme, a script, a manifest of ours.
"""

from __future__ import annotations

import base64
import re
import resource
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_der_public_key,
    load_pem_private_key,
)
from cryptography.x509 import load_der_x509_crl, load_der_x509_csr, load_pem_x509_certificate

from agent.core.frozen import frozen
from agent.core.text_files import LOST, pem_of
from agent.core.trust.anchor_lint import VERSION_3
from agent.crypto import containers, keys, locked, x509
from agent.errors import MaterialError
from agent.system import files as named

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from agent.core.values import CertificateFacts, CredentialSet

_OPENS_WITH = "--password-file FILE holds a password."
MAX_FILES = 64
MAX_FILE = 1_048_576  # bytes
TOGETHER = 3 * locked.PATIENCE  # seconds of processor time for all that a password protects

_KEY = b"PRIVATE KEY-----"
_READ_KEY = re.compile(rb"-----BEGIN (RSA |EC |DSA |ENCRYPTED )?PRIVATE KEY-----")  # wherever it stands in a file
_FOR_PSS, _HEAD = bytes.fromhex("06092a864886f70d01010a"), 60  # id-RSASSA-PSS (RFC 8017), in the head of PKCS #8
# keyBag and pkcs8ShroudedKeyBag (RFC 7292, section 4.2), which stand in a part that is not encrypted as a whole.
_KEY_BAG = re.compile(rb"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01[\x01\x02]")
_ONE_OF_MANY = (
    "`keytool -importkeystore -srckeystore FILE -srcalias NAME -destkeystore NEW.p12 -deststoretype PKCS12` "
    "takes one out."
)
# What lies beside the others.
_PASSED_OVER = (b"-----BEGIN PUBLIC KEY-----", b"-----BEGIN CERTIFICATE REQUEST-----",
                b"-----BEGIN NEW CERTIFICATE REQUEST-----", b"-----BEGIN X509 CRL-----")  # fmt: skip
_SEQUENCE = b"\x30"  # with which each of these begins as DER
_PASSED_OVER_AS_DER = (load_der_public_key, load_der_x509_csr, load_der_x509_crl)


@frozen
class Brought:
    """What was brought along.

    Attributes:
        credential: Key and certificate, or None when there is no key among it.
        anchors_pem: Self-signed authorities; empty without any.
        issuer: The name of the self-signed authority above the certificate, which is no anchor; empty without one.
        beside: The subjects of certificates that are neither anchors nor above the certificate, and are not taken.
    """

    credential: CredentialSet | None
    anchors_pem: bytes
    issuer: str = ""
    beside: tuple[str, ...] = ()


_Certificate = tuple["CertificateFacts", bytes]  # what it says, and its PEM


@dataclass
class _Pile:
    """What was found so far, and how many seconds of processor time are left for what a password protects."""

    patience: float = TOGETHER
    keys: dict[bytes, bytes] = field(default_factory=dict)
    certificates: dict[str, _Certificate] = field(default_factory=dict)

    def add_key(self, key: PrivateKeyTypes, plain: bytes = b"") -> None:
        """Take a key; `plain` is its DER: the library forgets of one that it is for RSA-PSS alone."""
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.keys[pem] = keys.armoured(plain) if _FOR_PSS in plain[:_HEAD] else pem

    def add_certificate(self, data: bytes) -> None:
        facts, pem = x509.read_certificate(data)
        self.certificates[facts.sha256] = (facts, pem)


def bring(paths: Sequence[Path], password: bytes | None, patience: float = TOGETHER) -> Brought:
    """Read files, and the files directly in directories, and sort what is in them.

    Args:
        paths: Where to look.
        password: What a PKCS #12 file or a key is encrypted with, or None.
        patience: Seconds of processor time after which nothing more is opened with it.

    Raises:
        MaterialError: Something cannot be read, takes too long, or does not make a set.
    """
    pile = _Pile(patience)
    given = list(paths)
    contents = list(_contents(given))
    if not contents:
        names = ", ".join(map(str, given))
        raise MaterialError(f"there is neither a private key nor an anchor among it, and no file in {names}")
    for path, data in contents:
        plain = pem_of(data)
        try:
            _sort(pile, plain, password)
        except MaterialError as error:
            if path in given or not _is_unlike(plain):
                raise MaterialError(f"{path}: {error}", hint=error.hint) from None
    return _brought(pile)


def _contents(paths: Sequence[Path]) -> Iterator[tuple[Path, bytes]]:
    files = [file for path in paths for file in _files(path)]
    if len(files) > MAX_FILES:
        raise MaterialError(f"there are {len(files)} files and {MAX_FILES} are looked at; name the right ones")
    for file in files:
        try:
            yield file, named.read(file, MAX_FILE)[0]
        except named.UnreadableError as error:
            raise MaterialError(f"{file}: it {error}", hint=error.remedy) from error.__cause__


def _is_unlike(found: bytes) -> bool:
    """Whether something neither is nor ever was a key, a certificate or a container: what a slip has spoilt counts."""
    data = containers.as_plain(found)
    marked = any(mark in data for mark in (b"BEGIN", b"PRIVATE KEY", b"CERTIFICATE"))
    return bool(data.strip(LOST)) and data[:1] != _SEQUENCE and not marked and containers.known(data) is None


def _files(path: Path) -> list[Path]:
    """Return the file, or the files directly in the directory, without hidden ones and directories.

    Of a whole state directory, as a backup brings one, it is the set in use.
    """
    try:
        if not named.is_directory(path):
            return [path]
        if all(named.is_directory(path / own) for own in ("generations", "current")):
            return _files(path / "current")
        return sorted(item for item in path.iterdir() if not item.name.startswith(".") and not named.is_directory(item))
    except OSError as error:
        found = named.unreadable(path, error)
        raise MaterialError(f"{path}: it {found}", hint=found.remedy) from error


def _sort(pile: _Pile, found: bytes, password: bytes | None) -> None:
    data = containers.as_plain(found)
    if not data.strip(LOST):
        raise MaterialError("it is empty", hint="Copy it again.")
    packed, name = containers.certificates_in(data), containers.known(data)
    if packed is not None:
        for certificate in packed:
            pile.add_certificate(certificate)
    elif any(beginning in data for beginning in x509.BEGINNINGS) or _READ_KEY.search(data):
        _sort_pem(pile, data, password)
    elif data.lstrip().startswith(_PASSED_OVER):
        return
    elif not (
        _sort_certificate(pile, data)
        or _sort_key(pile, data)
        or _lies_beside(data)
        or _sort_opened(pile, data, password)
    ):
        if name is containers.PKCS12:
            needed = "a password is needed" if password is None else "the password that was given does not open it"
            raise MaterialError(f"it is {name.text}, and {needed}", hint=_OPENS_WITH)
        if name is not None:
            raise MaterialError(f"it is {name.text}", hint=name.hint)
        raise MaterialError("it is no key, certificate or PKCS #12 file, or another password is needed",
                            hint=f"Name the files themselves; {_OPENS_WITH}")  # fmt: skip


def _sort_pem(pile: _Pile, data: bytes, password: bytes | None) -> None:
    for block in _blocks(data):
        if block.startswith(x509.BEGINNINGS):
            pile.add_certificate(block)
        elif _KEY in block[:60]:
            encrypted = b"ENCRYPTED" in block
            if not (_sort_opened(pile, block, password) if encrypted else _sort_plain_key(pile, block)):
                raise _useless_key(encrypted=encrypted, given=password is not None)


def _sort_plain_key(pile: _Pile, block: bytes) -> bool:
    text = keys.key_alone(block)
    with suppress(Exception):  # several unrelated types, and their texts may quote the key
        key = load_pem_private_key(text, None, unsafe_skip_rsa_key_validation=True)  # `keys` looks at it
        pile.add_key(key, base64.b64decode(text.split(b"-----")[2]))
        return True
    return False


def _useless_key(*, encrypted: bool, given: bool) -> MaterialError:
    if not encrypted:
        return MaterialError("the private key in it cannot be used")
    why = "does not open with the password that was given, or is damaged" if given else "needs its password"
    return MaterialError(f"the private key in it {why}", hint=_OPENS_WITH)


def _blocks(data: bytes) -> Iterator[bytes]:
    start = data.find(b"-----BEGIN ")
    while start >= 0:
        following = data.find(b"-----BEGIN ", start + 1)
        yield data[start : following if following >= 0 else len(data)].strip() + b"\n"
        start = following


def _sort_certificate(pile: _Pile, data: bytes) -> bool:
    with suppress(MaterialError):
        pile.add_certificate(data)
        return True
    return False


def _sort_key(pile: _Pile, data: bytes) -> bool:
    with suppress(Exception):  # several unrelated types say that it is none, or encrypted
        pile.add_key(load_der_private_key(data, None, unsafe_skip_rsa_key_validation=True), data)
        return True
    return False


def _sort_opened(pile: _Pile, data: bytes, password: bytes | None) -> bool:
    if pile.patience <= 0:
        raise MaterialError("it is not opened: what a password protects took too much processor time before it",
                            hint="Name the files of one set alone.")  # fmt: skip
    before = _spent_by_children()
    found = locked.opened(data, password)
    pile.patience -= _spent_by_children() - before
    if found and _is_of_several(data, found):  # the library returns the first alone
        raise MaterialError("there are several private keys in it, of which only one can be meant", hint=_ONE_OF_MANY)
    _sort_pem(pile, found, None)
    return bool(found)


def _is_of_several(data: bytes, found: bytes) -> bool:
    """Whether there is more than one key in a container.

    Where its parts are encrypted as a whole no key can be counted from outside, but each comes with its certificate.

    Args:
        data: The container.
        found: What the library has found in it: one key, and all certificates.
    """
    bags = len(_KEY_BAG.findall(data))
    if bags:
        return bags > 1
    facts = [entry.facts for entry in x509.read_store(found) if entry.facts] if b"CERTIFICATE-----" in found else []
    above = {item.issuer for item in facts if item.issuer != item.subject}
    leaves = (item for item in facts if not item.is_ca and item.version == VERSION_3 and item.subject not in above)
    return len({item.spki_sha256 for item in leaves}) > 1


def _spent_by_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _lies_beside(data: bytes) -> bool:
    """Whether it is DER of what is passed over as PEM."""
    for load in _PASSED_OVER_AS_DER:
        with suppress(Exception):  # several unrelated types say that it is none
            load(data)
            return True
    return False


def _brought(pile: _Pile) -> Brought:
    roots = [(facts, pem) for facts, pem in pile.certificates.values() if _is_root(facts)]
    if not pile.keys:
        for facts, _ in pile.certificates.values():
            if not facts.is_ca and not _is_root(facts):
                raise MaterialError(f"there is a certificate among it without its private key ({facts.subject})")
        if not roots:
            raise MaterialError("there is neither a private key nor an anchor among it")
        return Brought(credential=None, anchors_pem=b"".join(pem for _, pem in roots))
    if len(pile.keys) > 1:
        raise MaterialError("there are several private keys among it; name the files of one set")
    (key_pem,) = pile.keys.values()
    owner = keys.public_key_sha256(key_pem)
    leaves = [(facts, pem) for facts, pem in pile.certificates.values() if facts.spki_sha256 == owner]
    if not leaves:
        raise MaterialError("the certificate that belongs to the private key is not among it")
    leaf = max(leaves, key=lambda item: item[0].not_before)
    roots = [(facts, pem) for facts, pem in roots if facts.spki_sha256 != owner]
    above = _above(leaf, pile)
    chain = list(_chain(leaf, above))
    issuers = {facts.issuer for facts, _ in (leaf, *above)}
    anchors = [pem for facts, pem in roots if facts.subject not in issuers]
    used = {facts.sha256 for facts, _ in (*leaves, *above, *roots)}
    beside = tuple(facts.subject for facts, _ in pile.certificates.values() if facts.sha256 not in used)
    content = keys.credential_set(key_pem, leaf[1] + b"".join(pem for _, pem in chain))
    left_out = next((facts.subject for facts, _ in roots if facts.subject in issuers), "")
    return Brought(credential=content, anchors_pem=b"".join(anchors), issuer=left_out, beside=beside)


def _is_root(facts: CertificateFacts) -> bool:
    """Whether a certificate is an authority of its own; before version 3 none could say that it is an authority."""
    return facts.subject == facts.issuer and (facts.is_ca or facts.version < VERSION_3)


def _above(leaf: _Certificate, pile: _Pile) -> list[_Certificate]:
    """Return all authorities but roots that a certificate comes from, on whichever way: some are signed by several."""
    between = [item for item in pile.certificates.values() if item[0].is_ca and item[0].subject != item[0].issuer]
    found, below = list[_Certificate](), [leaf]
    while below:
        below = [item for item in between if any(_issued(item[1], lower[1]) for lower in below)]
        between = [item for item in between if item not in below]
        found += below
    return found


def _chain(leaf: _Certificate, above: list[_Certificate]) -> Iterator[_Certificate]:
    """Return the authorities between a certificate and its root, in order; of one's certificates that which lasts."""
    left, below = sorted(above, key=lambda item: item[0].not_after, reverse=True), leaf
    while (found := next((item for item in left if _issued(item[1], below[1])), None)) is not None:
        left.remove(found)
        yield found
        below = found


def _issued(authority: bytes, below: bytes) -> bool:
    """Whether an authority signed a certificate; its name alone proves nothing."""
    try:
        load_pem_x509_certificate(below).verify_directly_issued_by(load_pem_x509_certificate(authority))
    except (ValueError, TypeError, InvalidSignature):  # another's name, another kind of key, another's signature
        return False
    return True
