"""PKCS #12 files as other programs take them. It refuses to know where a password comes from and where a file goes."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key, pkcs12


def key_store(name: str, key_pem: bytes, chain_pem: bytes, password: bytes) -> bytes:
    """Return a file that holds a key and its chain.

    Args:
        name: What the entry is called.
        key_pem: The private key, RSA or elliptic-curve.
        chain_pem: The key's certificate, then those above it.
        password: UTF-8 text that is not empty.
    """
    leaf, *others = x509.load_pem_x509_certificates(chain_pem)
    key = load_pem_private_key(key_pem, None, unsafe_skip_rsa_key_validation=True)  # looked at when it came
    lock = BestAvailableEncryption(password)
    return pkcs12.serialize_key_and_certificates(name.encode(), key, leaf, others, lock)  # type: ignore[arg-type]


def trust_store(anchors_pem: bytes, password: bytes) -> bytes:
    """Return a file of trust anchors, with the attribute by which a Java program knows them.

    Args:
        anchors_pem: The anchors.
        password: UTF-8 text that is not empty.
    """
    entries = [pkcs12.PKCS12Certificate(anchor, None) for anchor in x509.load_pem_x509_certificates(anchors_pem)]
    return pkcs12.serialize_java_truststore(entries, BestAvailableEncryption(password))
