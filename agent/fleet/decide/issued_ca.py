"""Whether a certificate that a root of the operator's has made for a CA of this stack may be taken in.

It refuses what would have the CA sign certificates that no server verifies, or that can be taken for another CA's. Who
has signed it is not looked at: AWS IoT asks for no chain (RegisterCACertificate takes an intermediate CA), and what
verifies gateways by that root has it.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import NameOID

from agent.core.change.acceptance import ALLOWED_SIGNATURES
from agent.core.frozen import frozen
from agent.core.text_files import pem_of
from agent.crypto.x509 import read_certificate, split

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from agent.core.values import CertificateFacts


@frozen
class IssuedCa:
    """A CA's certificate.

    Attributes:
        facts: What it says.
        pem: It, in PEM.
    """

    facts: CertificateFacts
    pem: str


def of_key(content: bytes, public_key: bytes) -> IssuedCa | None:
    """Return the certificate of a key, or None where a file has none.

    Args:
        content: The file: PEM, in which those of the CAs above may be as well, or DER.
        public_key: The key, as SubjectPublicKeyInfo in DER.

    Raises:
        MaterialError: It cannot be read, or holds a private key.
    """
    data = pem_of(content)
    found = (read_certificate(block) for block in split(data) or [data])
    key = sha256(public_key).hexdigest()
    mine = (IssuedCa(facts=facts, pem=pem.decode()) for facts, pem in found if facts.spki_sha256 == key)
    return next(mine, None)


def not_taken(issued: IssuedCa, name: str, signs_from: datetime, lifetime: timedelta, now: datetime) -> str:
    """Return why a certificate is not taken in, as a sentence, or nothing.

    Args:
        issued: The certificate.
        name: The common name that was asked for, by which it is no other CA's.
        signs_from: From when the CA is to sign.
        lifetime: How long what it signs lives.
        now: The present time.
    """
    made = x509.load_pem_x509_certificate(issued.pem.encode())
    return _of_names(made, name) or _of_use(made, issued.facts) or _of_dates(issued.facts, signs_from, lifetime, now)


def _of_names(made: x509.Certificate, name: str) -> str:
    """A root may add an organisation and the like: it is the common name that has the stack and the CA's number."""
    names = [item.value for item in made.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [name]:
        return f"Its subject is {made.subject.rfc4514_string() or 'empty'}, and its common name has to be {name}."
    if made.subject == made.issuer:
        return f"Its issuer is called as itself, {made.issuer.rfc4514_string()}: no verifier could tell the two apart."
    return ""


def _of_use(made: x509.Certificate, facts: CertificateFacts) -> str:
    found = {type(item.value): item.value for item in made.extensions}
    limits, usage = found.get(x509.BasicConstraints), found.get(x509.KeyUsage)
    if not isinstance(limits, x509.BasicConstraints) or not limits.ca:
        return "It is not a CA's: its basic constraints have to say CA:TRUE."
    if limits.path_length != 0:
        return "It lets the CA make further CAs: its basic constraints have to say pathlen:0."
    if not isinstance(usage, x509.KeyUsage) or not usage.key_cert_sign:
        return "It lets the CA sign no certificates: its key usage has to have keyCertSign."
    if facts.client_auth is False:
        return "Its extended key usage leaves out TLS clients, and so would gateways' certificates."
    if not {x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier} <= set(found):
        return "It lacks its subject or authority key identifier, which strict verifiers ask for (RFC 5280, 4.2.1)."
    if facts.signature not in ALLOWED_SIGNATURES:
        return f"It is signed with {facts.signature}, which AWS IoT does not take."
    return ""


def _of_dates(facts: CertificateFacts, signs_from: datetime, lifetime: timedelta, now: datetime) -> str:
    if facts.not_before > now:
        return f"It begins at {facts.not_before:%Y-%m-%d %H:%M} UTC. Give it to this command after that."
    if facts.not_after < signs_from + lifetime:
        return (
            f"It ends at {facts.not_after:%Y-%m-%d %H:%M} UTC, before what it signs from "
            f"{signs_from:%Y-%m-%d %H:%M} UTC on would."
        )
    return ""
