"""Stores that others made: each certificate is read or said to be unreadable, and none hides another."""

from __future__ import annotations

import hashlib
import tracemalloc
from base64 import b64decode, b64encode
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, pkcs7, pkcs12

from agent.crypto import x509
from agent.errors import MaterialError
from agent.sandbox.account.authority import Authority, key_to_pem
from support.suite.pace import bounded_work

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2027, 3, 1, tzinfo=UTC)
FIRST, SECOND, THIRD = (Authority(f"Root {number}", NOW) for number in "123")
ROOTS = Path(__file__).parents[2] / "data" / "roots"
BEGIN, END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"


def der(authority: Authority) -> bytes:
    """Return an authority's certificate as DER."""
    return b64decode(b"".join(authority.pem.splitlines()[1:-1]))


def digest(authority: Authority) -> str:
    """Return its fingerprint."""
    return hashlib.sha256(der(authority)).hexdigest()


def armoured(data: bytes, label: bytes = b"CERTIFICATE") -> bytes:
    """Return data as a PEM block, whatever it is."""
    return b"-----BEGIN " + label + b"-----\n" + b64encode(data) + b"\n-----END " + label + b"-----\n"


def read(data: bytes) -> list[str]:
    """Return each entry of a store: the fingerprint of what can be read, else why it cannot."""
    entries = x509.read_store(data)
    assert all((entry.facts is None) == bool(entry.problem) for entry in entries)
    return [entry.facts.sha256 if entry.facts else entry.problem for entry in entries]


def lines(data: bytes) -> list[int]:
    """Return where the entries begin."""
    return [entry.line for entry in x509.read_store(data)]


BOTH = [digest(FIRST), digest(SECOND)]
STORE = FIRST.pem + SECOND.pem

# -- what is read ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        STORE,
        b"# Roots\n\n" + FIRST.pem + b"\nSecond\n======\n" + SECOND.pem + b"\nEnd of file",
        STORE.replace(b"\n", b"\r\n"),
        STORE.replace(b"\n", b"\r"),
        b"\xef\xbb\xbf" + STORE,
        FIRST.pem + b"\xff\x00\x80\n" + SECOND.pem,
        FIRST.pem.rstrip() + SECOND.pem.rstrip(),
        FIRST.pem.replace(b"-----\n", b"-----") + SECOND.pem,
        STORE.replace(b"\n", b"\n  "),
        STORE.replace(b"\n", b" \t\n"),
        b"MIIBszCCAVmgAwIBAgIU\n" + STORE,
        FIRST.pem + b"-----END CERTIFICATE-----\n" + SECOND.pem,
        der(FIRST) + der(SECOND),
        armoured(der(FIRST), b"X509 CERTIFICATE") + SECOND.pem,
    ],
    ids=[
        "plain", "text between", "CRLF", "CR", "BOM", "binary between", "no line ends", "on the first line", "indented",
        "trailing blanks", "base64 before", "an end too many", "DER", "a label of old",
    ],
)  # fmt: skip
def test_certificates_are_read_whatever_stands_around_them(data: bytes) -> None:
    """In order, each once."""
    assert read(data) == BOTH


def test_one_der_certificate_is_a_store() -> None:
    """As `.cer` and `.crt` files often are."""
    assert read(der(FIRST)) == BOTH[:1]
    assert lines(der(FIRST)) == [1]


@pytest.mark.parametrize("text", [b"0\n", b"0 s:CN = Root 1\n", b"01: Root 1\n", b"0" * 200 + b"\n"])
def test_a_text_that_begins_with_a_nought_is_a_text(text: bytes) -> None:
    """A nought is the first byte of DER as well, and what follows it in DER is not a letter."""
    assert read(text + STORE) == BOTH


@pytest.mark.parametrize("data", [b"", b"\n", b"# nothing here\n", END, b"----BEGIN CERTIFICATE----\n", b"\x00" * 100])
def test_where_there_is_no_certificate_there_is_no_entry(data: bytes) -> None:
    """That a store is empty is for the linter to say."""
    assert read(data) == []


def test_the_same_certificate_twice_is_two_entries() -> None:
    """They are what is there; that one is too many is for the linter to say."""
    assert read(FIRST.pem * 2) == [digest(FIRST)] * 2


# -- what is not -------------------------------------------------------------------------------------------------------

KEY = key_to_pem(FIRST._key)
BAD: dict[str, tuple[bytes, str]] = {
    "trusted": (
        armoured(der(THIRD), b"TRUSTED CERTIFICATE"),
        "it is a certificate in OpenSSL's own format, with what OpenSSL trusts it for",
    ),
    "pkcs7": (armoured(b"0\x00", b"PKCS7"), "it is a PKCS #7 container"),
    "key": (KEY, "it is a private key, which has no place among certificates"),
    "rsa key": (armoured(b"0\x00", b"RSA PRIVATE KEY"), "it is a private key, which has no place among certificates"),
    "old label, new end": (
        armoured(der(THIRD), b"X509 CERTIFICATE").replace(b"END X509 ", b"END "),
        "it has no end",
    ),
    "request": (armoured(b"0\x00", b"CERTIFICATE REQUEST"), "it is no certificate"),
    "lower case": (THIRD.pem.replace(b"CERTIFICATE", b"certificate"), "its first line is malformed"),
    "small letters": (THIRD.pem.replace(b"BEGIN CERTIFICATE", b"begin certificate"), "its first line is malformed"),
    "no dashes": (THIRD.pem.replace(b"CERTIFICATE-----", b"CERTIFICATE", 1), "its first line is malformed"),
    "no end": (THIRD.pem.replace(END, b""), "it has no end"),
    "cut end": (THIRD.pem[:-10], "it has no end"),
    "other end": (THIRD.pem.replace(END, b"-----END CERT-----"), "it has no end"),
    "letters": (THIRD.pem.replace(b"M", b"!"), "it is not base64 text"),
    "nul": (THIRD.pem.replace(b"M", b"\0"), "it is not base64 text"),
    "header": (THIRD.pem.replace(BEGIN + b"\n", BEGIN + b"\nProc-Type: 4\n\n"), "it is not base64 text"),
    "padding": (THIRD.pem.replace(b"M", b"=", 1), "it is not base64 text"),
    "nothing": (armoured(b""), "a certificate cannot be parsed"),
    "no DER": (armoured(b"\xff" * 300), "a certificate cannot be parsed"),
    "cut DER": (armoured(der(THIRD)[:-1]), "a certificate cannot be parsed"),
    "more than DER": (armoured(der(THIRD) + b"\x00"), "a certificate cannot be parsed"),
    "two in one": (armoured(der(THIRD) + der(THIRD)), "a certificate cannot be parsed"),
    "PEM in PEM": (armoured(THIRD.pem), "a certificate cannot be parsed"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_entry_is_told_and_hides_nothing(name: str) -> None:
    """At the beginning, in the middle or at the end, the other certificates are read."""
    block, problem = BAD[name]
    block += b"\n"
    for data in (block + STORE, FIRST.pem + block + SECOND.pem, STORE + block):
        found = read(data)
        assert [item for item in found if len(item) == len(BOTH[0])] == BOTH
        (told,) = [item for item in found if item not in BOTH]
        assert told == problem or told.startswith(f"{problem} (")


PACKED = pkcs7.serialize_certificates([FIRST.certificate, SECOND.certificate], Encoding.DER)
WHOLE: dict[str, tuple[bytes, str, str]] = {
    "PKCS #7": (PACKED, "it is a PKCS #7 container", "`openssl pkcs7 -inform DER -print_certs"),
    "PKCS #7 of Windows": (armoured(PACKED), "it is a PKCS #7 container", "`openssl pkcs7 -print_certs"),
    "PKCS #7 as CMS": (armoured(PACKED, b"CMS"), "it is a PKCS #7 container", "`openssl pkcs7 -print_certs"),
    "PKCS #12": (
        pkcs12.serialize_key_and_certificates(None, None, None, [FIRST.certificate], BestAvailableEncryption(b"x")),
        "it is a PKCS #12 container",
        "`openssl pkcs12 -nokeys",
    ),
    "JKS": (b"\xfe\xed\xfe\xed\0\0\0\2" + bytes(40), "it is a Java key store (JKS)", "`keytool -importkeystore"),
    "Windows": (b"\0\0\0\0CERT" + bytes(40), "it is a store of certificates as Windows serialises it", "Base-64"),
    "NSS": (b"SQLite format 3\0" + bytes(40), "it is a database, as NSS keeps certificates in", "`certutil -L"),
    "a portal's page": (b"\n<!DOCTYPE html><p>Log in", "it is a web page or XML, as a", "Fetch the file anew."),
    "ZIP": (b"PK\x03\x04" + bytes(40), "it is a ZIP archive", "Unpack it"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_another_system_keeps_certificates_in_is_named(name: str) -> None:
    """Wherever it is read as a store, with the command that makes one of it."""
    data, words, command = WHOLE[name]
    (entry,) = x509.read_store(data)
    assert entry.problem.startswith(words)
    assert command in entry.hint
    with pytest.raises(MaterialError) as caught:
        x509.read_bundle(data)
    assert (str(caught.value), caught.value.hint) == (entry.problem, entry.hint)


def test_all_bad_entries_of_a_store_are_told() -> None:
    """Each where it stands."""
    data = FIRST.pem.join(block + b"\n" for block, _ in BAD.values())
    found = [item for item in read(data) if item != BOTH[0]]

    assert len(found) == len(BAD)
    assert [item.split(" (")[0] for item in found] == [problem for _, problem in BAD.values()]


def test_an_entry_says_on_which_line_it_begins() -> None:
    """Counted as an editor does, with either kind of line end."""
    text = b"# one\n# two\n" + FIRST.pem + b"\n\n" + BAD["no end"][0] + SECOND.pem
    numbers = [number for number, line in enumerate(text.splitlines(), 1) if BEGIN in line]

    assert lines(text) == lines(text.replace(b"\n", b"\r\n")) == numbers
    assert len(numbers) == 3
    assert lines(b"x" + FIRST.pem + b"  " + SECOND.pem) == [1, FIRST.pem.count(b"\n") + 1]


# -- DER ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 4, 100])
def test_a_der_file_that_was_cut_off_is_read_as_far_as_it_goes(cut: int) -> None:
    """Where the rest begins is said in bytes."""
    found = read(der(FIRST) + der(SECOND)[:-cut])

    assert found == [digest(FIRST), f"what follows byte {len(der(FIRST))} is no DER certificate"]


@pytest.mark.parametrize("tail", [b"\n", b"\x00", b"\x30", b"\x30\x80", b"\x30\x85\x01\x01\x01\x01\x01", FIRST.pem])
def test_what_follows_der_and_is_none_is_told(tail: bytes) -> None:
    """Where the next one would begin is not known any more."""
    assert read(der(FIRST) + tail) == [BOTH[0], f"what follows byte {len(der(FIRST))} is no DER certificate"]


def test_a_der_certificate_that_cannot_be_parsed_hides_nothing() -> None:
    """It says how long it is, so the next one is found."""
    broken = bytearray(der(THIRD))
    broken[4] = 0x31
    found = read(der(FIRST) + bytes(broken) + der(SECOND))

    assert (found[0], found[2]) == (digest(FIRST), digest(SECOND))
    assert found[1].startswith("a certificate cannot be parsed (")


@pytest.mark.parametrize(
    "length", [b"\x84\xff\xff\xff\xff", b"\x83\xff\xff\xff", b"\x82\xff\xff", b"\x88" + b"\xff" * 8]
)
def test_a_length_that_lies_is_not_believed(length: bytes) -> None:
    """Nothing is reserved for it."""
    tracemalloc.start()
    found = read(b"\x30" + length + b"\x30" * 100)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert found == ["what follows byte 0 is no DER certificate"]
    assert peak < 1_000_000


# -- too much ----------------------------------------------------------------------------------------------------------


def test_a_store_beyond_all_size_is_not_looked_at() -> None:
    """To the byte; what is at the limit is."""
    padding = b"#" * (x509.MAX_STORE - len(STORE) - 1) + b"\n"

    assert read(padding + STORE) == BOTH
    with pytest.raises(MaterialError, match="8388609 bytes and 8388608 are looked at"):
        x509.read_store(b"#" + padding + STORE)


@pytest.mark.parametrize("one", [b"-----BEGIN ", armoured(b""), b"\x30\x81\x00", b"-----BEGIN A-----"])
def test_a_store_of_too_many_entries_is_refused(one: bytes) -> None:
    """Whatever they are; as many as are allowed are read."""
    assert len(x509.read_store(one * x509.MAX_ENTRIES)) == x509.MAX_ENTRIES
    with pytest.raises(MaterialError, match="more than the 5000 entries that are looked at"):
        x509.read_store(one * (x509.MAX_ENTRIES + 1))


@pytest.mark.parametrize(
    "store",
    [
        lambda size: b"-----BEGIN " * (size // 11),
        lambda size: BEGIN + b"A" * size + END,
        lambda size: BEGIN + b"A" * size,
        lambda size: BEGIN + b"\n" * size + END,
        lambda size: b"-" * size,
        lambda size: b"\n" * size + FIRST.pem,
        lambda size: b"\x30\x81\x00" * (size // 3),
        lambda size: b"-----BEGIN " + b"A" * size,
        lambda size: END * (size // len(END)),
    ],
    ids=["begins", "letters", "no end", "lines", "dashes", "late", "noughts", "label", "ends"],
)
def test_a_store_made_to_be_slow_is_not(store: Callable[[int], bytes]) -> None:
    """Eight million bytes of anything are read in seconds, not in hours; and with a few copies of them in memory."""
    large = store(8_000_000)

    def look(data: bytes) -> None:
        with suppress(MaterialError):
            x509.read_store(data)

    with bounded_work():
        look(large)
    tracemalloc.start()
    look(large)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * len(large)


def test_a_bundle_that_is_used_holds_what_the_store_showed() -> None:
    """What was linted as readable is what the anchors are made of, or it is refused; DER and old labels are, too."""
    public = [(ROOTS / name).read_bytes() for name in ("amazon-root-ca-1.pem", "mozilla-2026-10-18.pem")]
    for data in (*public, der(FIRST), der(FIRST) + der(SECOND), armoured(der(FIRST), b"X509 CERTIFICATE")):
        shown = {entry.facts.sha256 for entry in x509.read_store(data) if entry.facts}
        assert shown
        assert x509.read_anchors(data).fingerprints == shown


def test_what_many_stores_hold_is_parsed_once() -> None:
    """A gateway watches the stores of several programs, each with the same public roots, and looks at them often."""
    data = (ROOTS / "mozilla-2026-10-18.pem").read_bytes()
    first, again = x509.read_store(data), x509.read_store(data + FIRST.pem)
    assert len(first) > 100
    assert all(before.facts is after.facts for before, after in zip(first, again, strict=False))
    anchors = x509.read_bundle(data).anchors
    assert all(before is after for before, after in zip(anchors, x509.read_bundle(data).anchors, strict=True))


@pytest.mark.parametrize("tail", [b"\0", b"\n", der(SECOND)[:-1], b"\x30\x82"])
def test_der_with_something_after_it_makes_no_bundle(tail: bytes) -> None:
    """Nothing of it is used, as with one bad block; what is signed is PEM in any case."""
    with pytest.raises(MaterialError, match="a certificate cannot be parsed"):
        x509.read_anchors(der(FIRST) + tail)
    with pytest.raises(MaterialError, match="no PEM certificate"):
        x509.read_bundle(der(FIRST))
