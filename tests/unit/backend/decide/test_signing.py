from __future__ import annotations

import subprocess
from base64 import encodebytes
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import ExtensionPolicy, PolicyBuilder, Store
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.backend.decide import signing
from agent.backend.decide.signing import Refused, Signed, Unsigned
from agent.fleet.decide import issued_ca
from agent.sandbox.account.own_ca import SandboxKeys, make_ca
from support.aws.account import DAY, HOUR, MINUTE, NOW
from support.aws.rsa_keys import known_key

if TYPE_CHECKING:
    from pathlib import Path

    from agent.backend.values import SigningCa

our_ca = cache(partial(make_ca, NOW - DAY))  # made once it is asked for
YEAR = timedelta(days=365)
CALLER = "c1" * 32 + " gw-0042-cert-agent"


@cache
def key_of(kind: str) -> Any:
    """Return a key of a kind that has a name here."""
    match kind:
        case "P-224" | "P-256" | "P-384" | "P-521" | "secp256k1":
            curves = {"P-224": ec.SECP224R1(), "P-256": ec.SECP256R1(), "P-384": ec.SECP384R1()}
            curves |= {"P-521": ec.SECP521R1(), "secp256k1": ec.SECP256K1()}
            return ec.generate_private_key(curves[kind])
        case "Ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case "DSA":
            return dsa.generate_private_key(1024)  # noqa: S505 - a longer one takes half a second to find
        case _:
            return known_key(int(kind.removeprefix("RSA ")))


def subject_of(**names: str) -> x509.Name:
    """Return a name of attributes by their short names."""
    kinds = {"CN": NameOID.COMMON_NAME, "O": NameOID.ORGANIZATION_NAME, "serial": NameOID.SERIAL_NUMBER}
    return x509.Name([x509.NameAttribute(kinds[kind], value) for kind, value in names.items()])


GATEWAY = subject_of(CN="gw-0042")


def request(kind: str = "P-256", subject: x509.Name | None = None, *asked: tuple[x509.ExtensionType, bool]) -> str:
    """Return a request in PEM, which asks for extensions."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(GATEWAY if subject is None else subject)
    for extension, critical in asked:
        builder = builder.add_extension(extension, critical=critical)
    made = builder.sign(key_of(kind), None if kind == "Ed25519" else hashes.SHA256())
    return made.public_bytes(Encoding.PEM).decode()


def signed(
    csr: str, ca: SigningCa | None = None, lifetime: timedelta = DAY, now: datetime = NOW, caller: str = CALLER
) -> Signed:
    """Return what is signed for a request."""
    ca = ca or our_ca()
    unsigned = signing.certificate(csr, ca.pem, lifetime, now, caller)
    assert isinstance(unsigned, Unsigned), unsigned
    made = unsigned.signed(SandboxKeys().sign(ca.key, unsigned.digest))
    assert made is not None
    return made


def refusal(csr: str, **given: Any) -> str:
    """Return why a request is not signed."""
    found = signing.certificate(csr, **{"ca_pem": our_ca().pem, "lifetime": DAY, "now": NOW, "caller": CALLER, **given})
    assert isinstance(found, Refused)
    return found.why


def read(pem: str) -> x509.Certificate:
    """Return a certificate."""
    return x509.load_pem_x509_certificate(pem.encode())


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=16)  # of 64 bytes


@settings(deadline=None, max_examples=40)
@given(
    kind=st.sampled_from(["P-256", "P-384", "P-521", "RSA 2048", "RSA 3072"]),
    common_name=NAMES,
    organisation=NAMES,
    hours=st.integers(24, 10 * 365 * 24),
    seconds=st.integers(0, 86400),
)
def test_another_library_takes_what_is_signed(
    kind: str, common_name: str, organisation: str, hours: int, seconds: int
) -> None:
    """`cryptography`'s verifier, for a client, over kinds of keys, subjects, lifetimes and times."""
    now, lifetime = NOW + timedelta(seconds=seconds), timedelta(hours=hours)
    subject = subject_of(O=organisation, CN=common_name)
    made = read(signed(request(kind, subject), lifetime=lifetime, now=now).pem)
    ca = read(our_ca().pem)
    policies = PolicyBuilder().store(Store([ca])).time(now).max_chain_depth(0)
    policies = policies.extension_policies(
        ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=ExtensionPolicy.permit_all()
    )
    policies.build_client_verifier().verify(made, [])
    assert made.subject.public_bytes() == subject.public_bytes()
    assert made.public_key() == key_of(kind).public_key()
    ends = min(now + lifetime, ca.not_valid_after_utc)
    assert ends <= made.not_valid_after_utc <= min(ends + MINUTE, ca.not_valid_after_utc)
    assert now - 6 * MINUTE <= made.not_valid_before_utc <= now - 5 * MINUTE
    assert 0 < made.serial_number < 2**159


@pytest.mark.parametrize("kind", ["P-256", "P-384", "P-521", "RSA 2048", "RSA 3072"])
def test_openssl_takes_what_is_signed(kind: str, tmp_path: Path) -> None:
    """With its strict rules, as the certificate of a client and, as nginx on a gateway shows it, of a server."""
    for name, pem in (("ca", our_ca().pem), ("made", signed(request(kind)).pem)):
        (tmp_path / name).write_text(pem)
    for purpose in ("sslclient", "sslserver"):
        when = ["-attime", str(int(NOW.timestamp()))]
        command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, *when, "-CAfile", "ca", "made"]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert run.stdout == "made: OK\n", run.stderr


def test_what_is_in_a_certificate() -> None:
    """A leaf that signs handshakes, names its issuer's key, and says nothing else."""
    made = read(signed(request()).pem)
    assert {item.oid._name: item.critical for item in made.extensions} == {
        "subjectKeyIdentifier": False,
        "authorityKeyIdentifier": False,
        "basicConstraints": True,
        "keyUsage": True,
    }
    usage = made.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_cert_sign, usage.key_encipherment) == (True, False, False)
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False


def test_nothing_is_taken_over_that_a_request_asks_for() -> None:
    """To be a CA, to sign certificates, other names, code: the certificate is the same as without."""
    names = x509.SubjectAlternativeName([x509.DNSName("gw-0043"), x509.DNSName("*.example.com")])
    usage = x509.KeyUsage(True, True, True, True, True, True, True, False, False)  # noqa: FBT003 - all that there is
    made = read(
        signed(
            request(
                "P-256",
                None,
                (x509.BasicConstraints(ca=True, path_length=9), True),
                (usage, True),
                (names, True),
                (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), True),
                (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True),
            )
        ).pem
    )
    assert list(made.extensions) == list(read(signed(request()).pem).extensions)


def test_a_subject_of_several_names_stays_as_it_is() -> None:
    """Its order, its kinds of text, and more than one attribute of a kind, which AWS compares."""
    parts = [
        x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
        x509.NameAttribute(NameOID.COMMON_NAME, "gw-0042"),
        x509.NameAttribute(NameOID.COMMON_NAME, "gw-0042", x509.name._ASN1Type.PrintableString),
    ]
    subject = x509.Name([x509.RelativeDistinguishedName(parts[:2]), x509.RelativeDistinguishedName(parts[2:])])
    assert read(signed(request(subject=subject)).pem).subject.public_bytes() == subject.public_bytes()


@pytest.mark.parametrize("kind", ["RSA 1024", "P-224", "secp256k1", "Ed25519", "DSA"])
def test_a_kind_of_key_that_aws_does_not_take(kind: str) -> None:
    """It would be refused at the first connection, and is refused at once."""
    assert "P-256, P-384 or P-521" in refusal(request(kind)) or "kind of key" in refusal(request(kind))


def test_a_request_that_another_key_has_signed() -> None:
    """Who does not have the key gets no certificate for it."""
    der = bytearray(x509.load_pem_x509_csr(request("RSA 2048").encode()).public_bytes(Encoding.DER))
    der[-1] ^= 1
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM).decode()
    assert refusal(forged) == "It is not signed with the key that is in it."


def test_a_request_without_a_subject() -> None:
    """No certificate may lack one."""
    assert "no subject" in refusal(request(subject=x509.Name([])))


def test_a_huge_request() -> None:
    """AWS lets none through; the vending machine's are held to the same."""
    names = x509.SubjectAlternativeName([x509.DNSName(f"{number}.example.com") for number in range(400)])
    assert "AWS takes 4096" in refusal(request("P-256", None, (names, False)))


def enclosed(der: bytes) -> str:
    """Return bytes as a request in PEM."""
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{encodebytes(der).decode()}-----END CERTIFICATE REQUEST-----\n"


@given(st.text() | st.binary().map(enclosed))
def test_what_is_no_request(text: str) -> None:
    """Any text is refused, and raises nothing."""
    assert "no PKCS #10" in refusal(text)


@example(place=9, bit=0)  # of the version, for which the library has an error of its own
@given(place=st.integers(0, 3000), bit=st.integers(0, 7))
def test_a_request_in_which_a_bit_has_changed(place: int, bit: int) -> None:
    """Its signature does not hold any more, wherever it is."""
    der = bytearray(x509.load_pem_x509_csr(request("P-384").encode()).public_bytes(Encoding.DER))
    der[place % len(der)] ^= 1 << bit
    assert refusal(enclosed(bytes(der)))


def test_the_key_in_whose_place_another_signs_is_a_key() -> None:
    """OpenSSL looks at it here, once, and not in each function that starts."""
    assert signing.STAND_IN.private_numbers().private_key().key_size == 1128


# ---- asked twice ---------------------------------------------------------------------------------------------------


def test_the_same_request_is_the_same_certificate_within_a_minute() -> None:
    """Whichever function answers, and however the request's lines are broken."""
    csr = request()
    first = signed(csr)
    assert signed(csr, now=NOW + 59 * timedelta(seconds=1)) == first
    assert signed(csr.replace("\n", "\r\n")) == first


def test_the_same_request_later_is_another_certificate() -> None:
    """As with AWS's own: a gateway whose answer was lost is never told that it has been served."""
    csr = request()
    found = {signed(csr, now=NOW + number * MINUTE).certificate_id for number in range(60)}
    assert len(found) == 60


def test_the_same_request_of_another_caller_is_another_certificate() -> None:
    """Who has seen a request can get nothing registered that is another's."""
    csr = request()
    first, second = signed(csr), signed(csr, caller="c2" * 32 + " gw-0042-cert-agent")
    assert first.certificate_id != second.certificate_id
    assert read(first.pem).serial_number != read(second.pem).serial_number


def test_requests_are_told_apart_by_what_is_in_them() -> None:
    """Another subject, key or CA: another serial number."""
    other = make_ca(NOW - DAY, 2)
    made = [
        signed(request()),
        signed(request("RSA 2048")),
        signed(request(subject=subject_of(CN="gw-0043"))),
        signed(request(), ca=other),
    ]
    assert len({read(item.pem).serial_number for item in made}) == 4


@given(seconds=st.floats(1, 10 * 365 * 86400))
def test_a_grain_is_a_small_part_of_a_life(seconds: float) -> None:
    """A minute at most, and a second at least, which is what a certificate's times can say."""
    lifetime = timedelta(seconds=seconds)
    assert timedelta(seconds=1) <= signing.grain(lifetime) <= max(timedelta(seconds=1), min(MINUTE, lifetime / 1440))


# ---- the CA's end --------------------------------------------------------------------------------------------------


def test_no_certificate_outlives_its_ca() -> None:
    """It ends with it; a short life is better than a certificate that is worth nothing."""
    ends = read(our_ca().pem).not_valid_after_utc
    made = signed(request(), lifetime=2 * DAY, now=ends - HOUR)
    assert made.ends == ends


def test_a_ca_that_has_ended_signs_nothing() -> None:
    """Nor one that is not valid yet."""
    ca = read(our_ca().pem)
    assert "valid from" in refusal(request(), now=ca.not_valid_after_utc)
    assert "valid from" in refusal(request(), now=ca.not_valid_before_utc - MINUTE)


# ---- CAs -----------------------------------------------------------------------------------------------------------


def public_key(kind: str) -> bytes:
    """Return a public key as KMS gives it."""
    found: bytes = key_of(kind).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return found


def test_a_root_signs_certificates_and_no_other_ca(tmp_path: Path) -> None:
    """And verifies by itself, for openssl too; made again, it is the same."""
    unsigned = signing.root(public_key("RSA 3072"), "iot-cert gateway CA 1", NOW, 10 * YEAR)
    signature = key_of("RSA 3072").sign(unsigned.tbs, padding.PKCS1v15(), hashes.SHA256())
    made = unsigned.signed(signature)
    assert made is not None
    assert signing.root(public_key("RSA 3072"), "iot-cert gateway CA 1", NOW, 10 * YEAR) == unsigned
    ca = read(made.pem)
    limits = ca.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (limits.ca, limits.path_length) == (True, 0)
    assert (ca.not_valid_before_utc, made.ends) == (NOW, NOW + 10 * YEAR)
    (tmp_path / "ca").write_text(made.pem)
    when = str(int((NOW + DAY).timestamp()))
    command = ["openssl", "verify", "-x509_strict", "-check_ss_sig", "-attime", when, "-CAfile", "ca", "ca"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout == "ca: OK\n"


def run_openssl(directory: Path, command: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run openssl in a directory."""
    parts = ["openssl", *command.split(), *words]
    return subprocess.run(parts, cwd=directory, capture_output=True, text=True, check=False)


def test_a_root_above_the_ca_verifies_gateways(tmp_path: Path) -> None:
    """As the page says: with the CA beside it, and not the CA alone. The names' spelling is the root's."""
    unsigned = signing.request(public_key("RSA 3072"), "iot-cert gateway CA 1")
    csr = unsigned.signed(key_of("RSA 3072").sign(unsigned.tbs, padding.PKCS1v15(), hashes.SHA256()))
    (tmp_path / "ca-1.csr").write_text(f"A line of text before it.\n{csr}")
    new = "req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root.pem -addext keyUsage=critical,keyCertSign -subj"
    assert run_openssl(tmp_path, new, "/C=DE/O=Example/CN=Example Root").returncode == 0
    (tmp_path / "ca.ext").write_text("authorityKeyIdentifier=keyid")
    sign = "x509 -req -in ca-1.csr -out ca-1.pem -days 1825 -CA root.pem -CAkey root.key -CAcreateserial"
    assert run_openssl(tmp_path, f"{sign} -copy_extensions copy -extfile ca.ext").returncode == 0
    ca = (tmp_path / "ca-1.pem").read_text()
    now = datetime.now(UTC)
    leaf = signing.certificate(request(), ca, DAY, now, CALLER)
    assert isinstance(leaf, Unsigned)
    made = leaf.signed(key_of("RSA 3072").sign(leaf.tbs, padding.PKCS1v15(), hashes.SHA256()))
    assert made is not None
    (tmp_path / "made").write_text(made.pem)
    (tmp_path / "both").write_text(ca + (tmp_path / "root.pem").read_text())
    verify = "verify -x509_strict -purpose sslclient"
    assert run_openssl(tmp_path, f"{verify} -CAfile both made").stdout == "made: OK\n"
    assert run_openssl(tmp_path, f"{verify} -CAfile ca-1.pem made").returncode != 0
    assert run_openssl(tmp_path, f"{verify} -CAfile root.pem made").returncode != 0
    assert run_openssl(tmp_path, f"{verify} -CAfile root.pem -untrusted ca-1.pem made").stdout == "made: OK\n"
    found = issued_ca.of_key(ca.encode(), public_key("RSA 3072"))
    assert found is not None
    assert issued_ca.not_taken(found, "iot-cert gateway CA 1", now, DAY, now + MINUTE) == ""


@pytest.mark.parametrize("kind", ["RSA 2048", "RSA 3072"])
def test_a_request_asks_for_such_a_ca(kind: str, tmp_path: Path) -> None:
    """By the CA's own key, for openssl too; asked again, it is the same."""
    unsigned = signing.request(public_key(kind), "iot-cert gateway CA 1")
    pem = unsigned.signed(key_of(kind).sign(unsigned.tbs, padding.PKCS1v15(), hashes.SHA256()))
    assert pem is not None
    assert signing.request(public_key(kind), "iot-cert gateway CA 1") == unsigned
    asked = x509.load_pem_x509_csr(pem.encode())
    assert asked.public_key() == key_of(kind).public_key()
    assert asked.subject.rfc4514_string() == "CN=iot-cert gateway CA 1"
    limits = asked.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (limits.ca, limits.path_length) == (True, 0)
    assert asked.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    (tmp_path / "csr").write_text(pem)
    run = run_openssl(tmp_path, "req -verify -noout -in csr")
    assert "verify OK" in run.stdout + run.stderr
    other = key_of("RSA 3072" if kind == "RSA 2048" else "RSA 2048")
    assert unsigned.signed(other.sign(unsigned.tbs, padding.PKCS1v15(), hashes.SHA256())) is None


def test_a_ca_has_a_key_of_rsa() -> None:
    """Another's signatures differ each time, and its algorithm is not what the bytes say."""
    with pytest.raises(TypeError, match="RSA"):
        signing.root(public_key("P-256"), "iot-cert gateway CA 1", NOW, YEAR)
    with pytest.raises(TypeError, match="RSA"):
        signing.request(public_key("P-256"), "iot-cert gateway CA 1")


def test_a_signature_of_another_key_makes_no_certificate() -> None:
    """A gateway would have been handed what verifies nowhere."""
    unsigned = signing.certificate(request(), our_ca().pem, DAY, NOW, CALLER)
    assert isinstance(unsigned, Unsigned)
    assert unsigned.signed(SandboxKeys().sign("another key", unsigned.digest)) is None
    assert unsigned.signed(b"") is None


def test_the_proof_names_the_code() -> None:
    """What AWS asks for before it registers a CA."""
    unsigned = signing.proof("66cf" * 16, our_ca().pem, NOW)
    made = unsigned.signed(SandboxKeys().sign(our_ca().key, unsigned.digest))
    assert made is not None
    (name,) = read(made.pem).subject
    assert (name.oid, name.value) == (NameOID.COMMON_NAME, "66cf" * 16)
    assert made.ends == NOW.astimezone(UTC) + DAY
