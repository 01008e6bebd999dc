from __future__ import annotations

import tracemalloc
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509 as library
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from agent.core import timekeeping
from agent.core.change import acceptance
from agent.core.failure.failure import FailureClass
from agent.core.values import KeyAlgorithm
from agent.crypto import keys, x509
from agent.errors import MaterialError
from agent.sandbox.account.authority import Authority, name
from support.crashkit import points
from support.suite import campaigns

if TYPE_CHECKING:
    import random

NOW = datetime(2027, 3, 1, tzinfo=UTC)
AUTHORITY = Authority("test root", NOW)
MUTANTS = 100_000
ONE_IN = 40
EC = ec.generate_private_key(ec.SECP256R1())


def device_certificate(key: bytes | None = None) -> library.Certificate:
    """Return a certificate as AWS issues it."""
    request = library.load_pem_x509_csr(keys.make_request(key or keys.generate(KeyAlgorithm.EC_P256), name("gw-0042")))
    return AUTHORITY.issue_client(request.subject, request.public_key(), NOW, NOW + timedelta(days=30))


def pem(der: bytes) -> bytes:
    """Return DER as a PEM block, whatever it holds."""
    return b"-----BEGIN CERTIFICATE-----\n" + b64encode(der) + b"\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize("place", ["subject", "issuer"])
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (0x14, b"G\xe4r-42"), (0x0C, b"G\xe4r-42"), (0x16, b"G\xe4r-42"),  # T61, UTF-8, IA5
        (0x13, b"G\xe4r-42"), (0x13, b"gw*@42"), (0x1E, b"\xd8\0\xd8\0gw"), (0x1C, b"\xff\0\0\0gw"),
    ],
    ids=["T61", "UTF-8", "IA5", "printable", "printable with a star", "BMP", "universal"],
)  # fmt: skip
def test_a_text_that_its_kind_cannot_hold_is_named(place: str, kind: int, text: bytes) -> None:
    """OpenSSL lets each pass, so its maker does not know; the parser's own words say nothing to a person."""
    certificate = device_certificate()
    own = {"subject": certificate.subject, "issuer": certificate.issuer}[place].public_bytes()
    old = own[own.rindex(b"\x0c") :]
    filled = text.ljust(old[1], text[-1:])
    with pytest.raises(MaterialError, match="holds a text in an encoding that its kind does not have") as error:
        x509.read_certificate(certificate.public_bytes(Encoding.DER).replace(old, bytes([kind, old[1]]) + filled))
    assert "ParseError" not in str(error.value)


def judge(text: bytes) -> str:
    """Read and accept as the engine does, and return what came of it."""
    try:
        chain, _ = x509.read_chain(text)
        problem = ""
    except MaterialError as error:
        chain, problem = (), str(error)
    issuance = acceptance.Issuance(
        size=len(text),
        chain=chain,
        problem=problem,
        claimed_id="",
        token_size=100,
        key_sha256="0" * 64,
        known=frozenset(),
    )
    reading = timekeeping.read(NOW, synchronised=True, floors=())
    failure, _ = acceptance.accept(issuance, reading)
    assert failure is not None
    assert failure.kind is FailureClass.PROTOCOL
    return failure.message


def test_a_certificate_mutated_anywhere_is_refused_with_a_sentence() -> None:
    """A hundred thousand mutants: each ends in a numbered refusal, no other exception, in bounded memory."""
    seeds = [device_certificate().public_bytes(Encoding.DER), AUTHORITY.certificate.public_bytes(Encoding.DER)]
    numbers: set[str] = set()

    def refuse(chance: random.Random) -> None:
        der = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 3)):
            mutate(der, chance)
        numbers.add(judge(pem(bytes(der))).split("check ")[1][0])

    tracemalloc.start()
    number = campaigns.each(MUTANTS, refuse, one_in=ONE_IN, seed=20270301)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    points.visited("mutated certificates refused", number, at_least=campaigns.least(MUTANTS, ONE_IN))
    assert numbers >= {"2", "4"} or campaigns.chosen().case is not None
    assert peak < 32 * 1024 * 1024


def mutate(der: bytearray, chance: random.Random) -> None:
    """Change, flip, take away or put in one byte."""
    match chance.randrange(4):
        case 0:
            der[chance.randrange(len(der))] = chance.randrange(256)
        case 1:
            der[chance.randrange(len(der))] ^= 1 << chance.randrange(8)
        case 2:
            del der[chance.randrange(len(der))]
        case _:
            der.insert(chance.randrange(len(der)), chance.randrange(256))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"no certificate at all",
        b"-----BEGIN CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
        b"-----begin certificate-----\nAAAA\n-----end certificate-----\n",
        b"-----BEGIN TRUSTED CERTIFICATE-----\nAAAA\n-----END TRUSTED CERTIFICATE-----\n",
        b"\xef\xbb\xbf-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n" + b"A" * 1_000_000 + b"\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n" * 100_000,
        b"-----BEGIN CERTIFICATE-----AAAA-----END CERTIFICATE-----" * 1_000,
        b"\0" * 100_000,
    ],
)
def test_odd_pem_is_refused(text: bytes) -> None:
    """What is no well-formed certificate is a MaterialError, or a numbered refusal."""
    assert "check" in judge(text)


def test_a_private_key_among_certificates_is_named_as_such() -> None:
    """A file with a key in it must never be taken for a bundle."""
    text = pem(device_certificate().public_bytes(Encoding.DER)) + keys.generate(KeyAlgorithm.EC_P256)
    with pytest.raises(MaterialError, match="there is a private key among the certificates"):
        x509.read_bundle(text)


def test_an_empty_bundle_is_refused() -> None:
    """The SDK takes an empty bundle for the system's store, so there is none."""
    for text in (b"", b"# only a comment\n"):
        with pytest.raises(MaterialError):
            x509.read_bundle(text)


def test_a_bundle_is_written_canonically() -> None:
    """Comments, CRLF and text between blocks go; the anchors stay, in order."""
    text = b"# Amazon\r\n" + AUTHORITY.pem.replace(b"\n", b"\r\n") + b"\r\ntrailing\r\n" + AUTHORITY.pem
    bundle = x509.read_bundle(text)
    assert bundle.pem == AUTHORITY.pem * 2
    assert [anchor.subject for anchor in bundle.anchors] == ["CN=test root"] * 2


def test_a_certificate_says_what_it_is_for() -> None:
    """Facts are what the acceptance checks and people need."""
    key = keys.generate(KeyAlgorithm.EC_P256)
    facts, _ = x509.read_certificate(device_certificate(key).public_bytes(Encoding.DER))
    assert facts.subject == "CN=gw-0042"
    assert facts.key == "EC P-256"
    assert facts.signature == "ecdsa-sha256"
    assert facts.spki_sha256 == keys.public_key_sha256(key)
    assert (facts.is_ca, facts.digital_signature, facts.client_auth) == (False, True, None)


@pytest.mark.parametrize(
    ("common_name", "told"),
    [
        ("Gerät 42", "Gerät 42"),
        ("gw\nok   all is well", "gw\\0Aok   all is well"),
        ("gw\x1b[31m", "gw\\1B[31m"),
        ("gw\u202e24", "gw\\E2\\80\\AE24"),
        ("\\0A", "\\\\0A"),
        ("gw\0", "gw\\00"),
    ],
)
def test_a_name_is_one_line_that_can_be_printed(common_name: str, told: str) -> None:
    """Who names a certificate writes no line of a screen; the text is the same name to a parser."""
    subject = name(common_name)
    assert x509.name_text(subject) == f"CN={told}"
    assert library.Name.from_rfc4514_string(f"CN={told}") == subject
    assert keys.subject_text(f"CN={told}") == f"CN={told}"
    facts, _ = x509.read_certificate(Authority(common_name, NOW).pem)
    assert facts.subject == facts.issuer == f"CN={told}"


def test_the_names_of_a_server_are_one_line_too() -> None:
    """They are shown where the endpoint's is not among them."""
    alternative = library.SubjectAlternativeName([library.DNSName("a.example\nok   server")])
    made = library.CertificateBuilder(name("x"), name("x"), EC.public_key(), 1, NOW, NOW + timedelta(days=9))
    der = made.add_extension(alternative, critical=False).sign(EC, hashes.SHA256()).public_bytes(Encoding.DER)
    assert x509.server_names(der) == ("a.example ok   server",)
