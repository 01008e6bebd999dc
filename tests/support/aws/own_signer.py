"""A CA of the operator's own before moto, which knows KMS's keys but signs no digests, and runs no functions."""

from __future__ import annotations

import base64
import io
import json
from functools import cache, cached_property
from itertools import count
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import boto3
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from moto.iot.models import FakeCaCertificate
from moto.kms import kms_backends
from moto.kms.utils import RSAPrivateKey, generate_private_key

from agent.backend.aws.keys import AwsKeys
from agent.backend.decide import signing
from agent.backend.handlers.signing import sign
from agent.backend.values import Signer, SigningCa
from support.aws.account import DAY
from support.aws.rsa_keys import known_key

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    import pytest
    from cryptography.hazmat.primitives.asymmetric import rsa

    from agent.backend.handlers.account import Account
    from agent.backend.ports import Keys

SIGNS_NO_CA, SHA256 = x509.BasicConstraints(ca=True, path_length=0), hashes.SHA256()
REGION, NUMBER = "eu-west-1", "123456789012"


def sign_digests(kms: Any) -> None:
    """Have a client's Sign answered as KMS does for a digest."""
    kms.meta.events.register("before-call.kms.Sign", _signed)


def keep_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have KMS make the same keys for each account, in turn: the search for one takes up to a second."""
    turn = count()
    monkeypatch.setattr("moto.kms.models.generate_private_key", lambda kind: _kept(kind, next(turn)))


def name_cas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have moto know a CA by its fingerprint, as AWS IoT Core does."""
    monkeypatch.setattr(FakeCaCertificate, "compute_cert_id", FakeCaCertificate.compute_der_cert_id)


@cache
def _kept(kind: str, turn: int) -> object:
    if not kind.startswith("RSA_"):
        return generate_private_key(kind)
    made = RSAPrivateKey.__new__(RSAPrivateKey)
    made.key_size = int(kind.removeprefix("RSA_"))
    made.private_key = known_key(made.key_size, turn)
    return made


def _signed(params: dict[str, Any], **_: object) -> tuple[object, dict[str, Any]] | None:
    asked = json.loads(params["body"])
    assert (asked["MessageType"], asked["SigningAlgorithm"]) == ("DIGEST", "RSASSA_PKCS1_V1_5_SHA_256")
    name = asked["KeyId"].rpartition("/")[2]
    key = kms_backends[NUMBER][REGION].keys.get(name)
    if key is None:
        return None  # moto's own refusal
    if key.key_state != "Enabled":
        error = {"Code": "DisabledException", "Message": f"{name} is disabled."}
        return SimpleNamespace(status_code=409), {"Error": error, "ResponseMetadata": {"HTTPStatusCode": 409}}
    digest = base64.b64decode(asked["Message"])
    signature = key.private_key.private_key.sign(digest, PKCS1v15(), Prehashed(hashes.SHA256()))
    return SimpleNamespace(status_code=200), {"Signature": signature, "KeyId": name}


def make_ca(now: datetime) -> SigningCa:
    """Make a key in KMS and the certificate of its CA, which signs from now on."""
    kms = boto3.client("kms")
    sign_digests(kms)
    key = kms.create_key(KeyUsage="SIGN_VERIFY", KeySpec="RSA_2048")["KeyMetadata"]["KeyId"]
    unsigned = signing.root(kms.get_public_key(KeyId=key)["PublicKey"], "fleet gateway CA 1", now - DAY, 3650 * DAY)
    made = unsigned.signed(AwsKeys(kms).sign(key, unsigned.digest))
    assert made is not None
    return SigningCa(ca_id=made.certificate_id, pem=made.pem, key=key, signs_from=now, ends=made.ends)


def switched_on(own: SigningCa) -> Signer:
    """Return the row of a signer that AWS IoT Core asks."""
    return Signer(cas=(own,), on=True)


def usage(*, key_cert_sign: bool = True) -> x509.KeyUsage:
    """Return a CA's key usage."""
    no = (
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(digital_signature=True, crl_sign=True, key_cert_sign=key_cert_sign, **dict.fromkeys(no, False))


CA_USAGE = usage()


class Root:
    """A root of the operator's, which signs CAs.

    Attributes:
        name: Its subject.
    """

    def __init__(self, now: datetime, name: str = "Example Root") -> None:
        """Make it once it is asked for anything, valid since a day."""
        self._now = now
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    @cached_property
    def _key(self) -> rsa.RSAPrivateKey:
        return known_key(2048, 20)

    @cached_property
    def pem(self) -> bytes:
        """Its certificate."""
        return self.issue(self.name, self._key.public_key(), limits=x509.BasicConstraints(ca=True, path_length=1))

    def issue(
        self,
        subject: x509.Name,
        key: Any,
        digest: Any = SHA256,
        valid: tuple[timedelta, timedelta] = (-DAY, 1825 * DAY),
        **says: x509.ExtensionType | None,
    ) -> bytes:
        """Return a certificate in PEM; its extensions are as they should be, but for what is said."""
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now + valid[0])
            .not_valid_after(self._now + valid[1])
        )
        sound = {
            "limits": SIGNS_NO_CA,
            "usage": CA_USAGE,
            "name": x509.SubjectKeyIdentifier.from_public_key(key),
            "above": x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
        }
        for extension in {**sound, **says}.values():
            if extension is not None:
                critical = isinstance(extension, x509.BasicConstraints | x509.KeyUsage)
                builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self._key, digest).public_bytes(Encoding.PEM)

    def answers(self, csr: str) -> bytes:
        """Return what it makes of a request: what that asks for, as `openssl x509 -copy_extensions copy` does."""
        request = x509.load_pem_x509_csr(csr.encode())
        assert request.is_signature_valid
        limits, usage = (
            request.extensions.get_extension_for_class(kind).value for kind in (x509.BasicConstraints, x509.KeyUsage)
        )
        return self.issue(request.subject, request.public_key(), limits=limits, usage=usage)


class OwnSigner:
    """The signer's function, called as AWS Lambda calls it for another one: through a client's Invoke."""

    def __init__(self, account: Account, keys: Keys) -> None:
        """Sign in an account, with keys."""
        self._account, self._keys = account, keys

    def attend(self, functions: Any) -> None:
        """Answer a client of AWS Lambda."""
        functions.meta.events.register("before-call.lambda.Invoke", self._invoked)

    def _invoked(self, params: dict[str, Any], **_: object) -> tuple[object, dict[str, Any]]:
        status, answer = SimpleNamespace(status_code=200), dict[str, Any](StatusCode=200)
        try:
            told: Any = sign(json.loads(params["body"]), self._account, self._keys)
        except Exception as error:  # noqa: BLE001 - as Lambda has it
            told, answer = {"errorType": type(error).__name__, "errorMessage": str(error)}, {**answer, **_FAILED}
        return status, {**answer, "Payload": io.BytesIO(json.dumps(told).encode())}


_FAILED = {"FunctionError": "Unhandled"}
