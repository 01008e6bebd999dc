"""Private keys and requests: each is for its own certificate, and none is quoted."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from cryptography import x509 as library
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from agent.core.aws.endpoints import Endpoint
from agent.core.values import KeyAlgorithm
from agent.crypto import keys, x509
from agent.errors import MaterialError
from agent.iotcore.client_options import Connector, Timeouts
from agent.sandbox.account.authority import Authority, name
from support.aws.rsa_keys import known_key
from support.unit.crypto.der import mersenne_key

NOW = datetime(2027, 3, 1, tzinfo=UTC)
AUTHORITY = Authority("test root", NOW)

made = cache(keys.generate)  # one of a kind serves tests that do not ask whether it is new


@pytest.mark.parametrize("algorithm", list(KeyAlgorithm))
def test_every_key_makes_a_request_that_verifies(algorithm: KeyAlgorithm) -> None:
    """A request is signed by the key it is for."""
    key = made(algorithm)
    request = library.load_pem_x509_csr(keys.make_request(key, name("gw-0042")))
    assert request.is_signature_valid
    assert x509.spki_sha256(request.public_key()) == keys.public_key_sha256(key)


@pytest.mark.parametrize("algorithm", KeyAlgorithm)
def test_a_request_is_the_same_when_it_is_made_again(algorithm: KeyAlgorithm) -> None:
    """Only the key is kept on the disk; a cloud that knows a request by its hash knows it again after a crash."""
    key = made(algorithm)
    assert keys.make_request(key, name("gw-0042")) == keys.make_request(key, name("gw-0042"))
    assert keys.make_request(key, name("gw-0042")) != keys.make_request(key, name("gw-0043"))


def test_the_subject_is_kept_unless_it_says_nothing() -> None:
    """Policies may rely on a subject; AWS's own and the agent's makeshift carry no meaning."""
    key = ec.generate_private_key(ec.SECP256R1())

    def current(common_name: str) -> bytes:
        certificate = AUTHORITY.issue_client(name(common_name), key.public_key(), NOW, NOW + timedelta(days=1))
        return certificate.public_bytes(Encoding.PEM)

    def subject(configured: str | None, current_pem: bytes | None) -> str:
        return keys.request_subject(configured, current_pem, "gw-0042").rfc4514_string()

    assert subject(None, None) == "CN=gw-0042"
    assert subject(None, current("factory-7")) == "CN=factory-7"
    assert subject(None, current("AWS IoT Certificate")) == "CN=gw-0042"
    assert subject(None, current("iot-cert-agent")) == "CN=gw-0042"
    assert subject("CN=x,O=Example", current("factory-7")) == "CN=x,O=Example"
    with pytest.raises(MaterialError, match="no RFC 4514 name"):
        subject("nonsense", None)


def test_a_key_that_is_not_the_certificates_is_refused() -> None:
    """Key and certificate are never apart, and never mixed."""
    key, other = ec.generate_private_key(ec.SECP256R1()), keys.generate(KeyAlgorithm.EC_P256)
    certificate = AUTHORITY.issue_client(name("gw-0042"), key.public_key(), NOW, NOW + timedelta(days=1))
    with pytest.raises(MaterialError, match="does not belong"):
        keys.credential_set(other, certificate.public_bytes(Encoding.PEM))


@pytest.mark.parametrize("text", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", b"\xff" * 99])
def test_a_bad_key_is_refused_without_quoting_it(text: bytes) -> None:
    """What is wrong with a key is said without a byte of it."""
    with pytest.raises(MaterialError, match="the private key cannot be parsed") as caught:
        keys.public_key_sha256(text)
    assert "AAAA" not in str(caught.value)


@cache
def sound() -> rsa.RSAPrivateNumbers:
    """Return the numbers of a key."""
    return known_key(2048).private_numbers()


def rsa_pem(numbers: rsa.RSAPrivateNumbers) -> bytes:
    """Return a key of any numbers."""
    key = numbers.private_key(unsafe_skip_rsa_key_validation=True)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize("number", ["p", "q", "d", "dmp1", "dmq1", "iqmp"])
def test_a_key_of_which_one_number_is_damaged_is_refused(number: str) -> None:
    """OpenSSL signs with some of them all the same, and the SDK does not load them."""
    assert keys.algorithm_of(rsa_pem(sound())) == "rsa-2048"
    whole = rsa_pem(sound())
    der = base64.b64decode(b"".join(whole.splitlines()[1:-1]))
    right = getattr(sound(), number)
    size = (right.bit_length() + 7) // 8
    assert der.count(right.to_bytes(size, "big")) == 1
    damaged = der.replace(right.to_bytes(size, "big"), (right ^ 4).to_bytes(size, "big"))
    with pytest.raises(MaterialError, match="the private key cannot be parsed"):
        keys.public_key_sha256(keys.armoured(damaged))


def test_no_primes_are_looked_for_in_a_key() -> None:
    """OpenSSL takes seconds for that at 8192 bits, at each reading; a number that is none shows in the proof."""
    other = known_key(2048, 20).private_numbers()
    p, q, e = sound().p, other.p * other.q, 65537
    d = pow(e, -1, (p - 1) * (q - 1))
    parts = {"dmp1": d % (p - 1), "dmq1": d % (q - 1), "iqmp": pow(q, -1, p)}
    odd = rsa.RSAPrivateNumbers(p=p, q=q, d=d, public_numbers=rsa.RSAPublicNumbers(e, p * q), **parts)
    assert keys.algorithm_of(rsa_pem(odd)) == f"rsa-{(p * q).bit_length()}"


# -- what else is in a key's file --------------------------------------------------------------------------------------

KEY = ec.generate_private_key(ec.SECP256R1())
PLAIN = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
SEC1 = KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
PUBLIC = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
PARAMETERS = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
BETWEEN = AUTHORITY.intermediate("between", NOW)
LEAF = BETWEEN.issue_client(name("gw"), KEY.public_key(), NOW, NOW + timedelta(days=9)).public_bytes(Encoding.PEM)


@pytest.mark.parametrize("key", [PLAIN, SEC1], ids=["pkcs8", "sec1"])
@pytest.mark.parametrize("before", [b"", LEAF, PUBLIC, PARAMETERS, b"Bag Attributes\n  x: y\n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("after", [b"", LEAF, b"\0"])
def test_what_stands_beside_a_key_is_left_out(key: bytes, before: bytes, after: bytes) -> None:
    """The SDK reads a file's first block alone; what passes here works there."""
    found = keys.credential_set(before + key + after, LEAF)
    assert found.key_pem == key
    connector = Connector(Endpoint(host="localhost"), Timeouts())
    connector.tls_context("set", found.key_pem, found.certificate_pem, AUTHORITY.pem)


def test_line_ends_of_windows_are_not_kept() -> None:
    """The bytes that were looked at are the bytes that the SDK is given."""
    assert keys.credential_set(PLAIN.replace(b"\n", b"\r\n"), LEAF).key_pem == PLAIN


def test_two_keys_in_a_file_are_not_chosen_from() -> None:
    """Which of them is read would be chance."""
    other = keys.generate(KeyAlgorithm.EC_P256)
    for data in (PLAIN + other, other + PLAIN):
        with pytest.raises(MaterialError, match="several private keys"):
            keys.credential_set(data, LEAF)
    assert keys.credential_set(PLAIN + PLAIN, LEAF).key_pem == PLAIN


@pytest.mark.parametrize(
    "above",
    [BETWEEN.pem + LEAF, AUTHORITY.pem + BETWEEN.pem + LEAF, AUTHORITY.pem + LEAF + BETWEEN.pem],
)
def test_the_certificate_of_the_key_comes_first(above: bytes) -> None:
    """In whatever order a file has them: TLS wants it so, and each step above it after."""
    found = keys.credential_set(PLAIN, above)
    assert found.certificate_pem == LEAF + BETWEEN.pem + (AUTHORITY.pem if AUTHORITY.pem in above else b"")
    assert found.leaf.sha256 == x509.read_certificate(LEAF)[0].sha256


def test_a_file_of_certificates_of_others_is_said_to_be_one() -> None:
    """And not only of the first."""
    with pytest.raises(MaterialError, match="does not belong to any of the 2 certificates"):
        keys.credential_set(keys.generate(KeyAlgorithm.EC_P256), BETWEEN.pem + LEAF)


# -- the same to each loader -------------------------------------------------------------------------------------------

BODY = PLAIN.split(b"-----")[2].strip()
LINES = PLAIN.splitlines(keepends=True)


@pytest.mark.parametrize(
    "odd",
    [
        PLAIN.replace(b"\n", b"\xc2\xa0\n"),  # out of a web page
        PLAIN.replace(b"\n", b"\r\r\n"),  # made for Windows twice
        b"".join(b"    " + line for line in LINES),  # out of YAML
        LINES[0] + b"X-Comment: gateway 42\n\n" + b"".join(LINES[1:]),
        LINES[0] + BODY.replace(b"\n", b"") + b"\n" + LINES[-1],
        PLAIN.decode().encode("utf-16"),
        PLAIN.replace(b"\n", b"\r"),
        b'"' + PLAIN.replace(b"\n", b"\\n") + b'"',
    ],
)
def test_a_key_that_one_loader_reads_is_what_the_other_is_given(odd: bytes) -> None:
    """`cryptography` passes over what the SDK stumbles on, after `config check` has said that all is well."""
    found = keys.credential_set(odd, LEAF.replace(b"\n", b"\n\n"))
    assert (found.key_pem, found.certificate_pem) == (PLAIN, LEAF)


@pytest.mark.parametrize("curve", [ec.SECP256K1(), ec.SECP224R1(), ec.BrainpoolP256R1(), ec.BrainpoolP384R1()])
def test_a_curve_that_aws_does_not_take_is_named(curve: ec.EllipticCurve) -> None:
    """Two have the size of P-256, and are no ec-p256; the SDK makes no connection with them."""
    pem = ec.generate_private_key(curve).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(
        MaterialError, match=f"on the curve {curve.name}, and AWS IoT Core takes P-256, P-384 and P-521"
    ):
        keys.public_key_sha256(pem)


def test_a_key_on_p521_is_taken() -> None:
    """None is made here, and AWS takes one that was made elsewhere."""
    key = ec.generate_private_key(ec.SECP521R1())
    assert keys.algorithm_of(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())) == "ec-p521"


def test_a_key_longer_than_tls_takes_is_named_before_it_is_looked_at() -> None:
    """Its numbers are compared in a time that grows with the square of their length."""
    longest, longer = (keys.armoured(mersenne_key(*sizes)) for sizes in ((9689, 4423), (9941, 9689)))
    assert keys.algorithm_of(longest) == "rsa-14112"
    with pytest.raises(MaterialError, match="RSA of 19630 bits, and TLS takes 16384 at most"):
        keys.algorithm_of(longer)
