"""The two files of a claim, as a person has named them: a set, or what was named in the place of what.

It reads PEM alone, as everything does that the agent reads unattended; what else there is it names, with the command
that makes PEM of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.text import in_shell
from agent.core.text_files import pem_of
from agent.crypto import containers, keys
from agent.errors import MaterialError

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.values import CredentialSet

_CERTIFICATE, _KEY = b"-----BEGIN CERTIFICATE-----", b"PRIVATE KEY-----"
_DER = b"\x30"  # SEQUENCE, with which certificates, keys and containers begin


def credential_of(certificate: tuple[Path, bytes], key: tuple[Path, bytes]) -> CredentialSet:
    """Return what two files hold, each with its path.

    Raises:
        MaterialError: They make no set; where one holds something else than it was named for, it is named.
    """
    try:
        return keys.credential_set(key[1], certificate[1])
    except MaterialError as error:
        as_it_is = MaterialError(f"{certificate[0]} and {key[0]}: {error}", hint=error.hint)
        raise _named_wrong(certificate, key) or as_it_is from None


def _named_wrong(certificate: tuple[Path, bytes], key: tuple[Path, bytes]) -> MaterialError | None:
    in_certificate, in_key = pem_of(certificate[1]), pem_of(key[1])
    if _CERTIFICATE not in in_certificate and _KEY in in_certificate and _CERTIFICATE in in_key and _KEY not in in_key:
        text = f"{certificate[0]} holds a private key and {key[0]} a certificate: the two are swapped"
        return MaterialError(text, hint="Exchange them in `enrollment.claim`.")
    if b"ENCRYPTED" in in_key:
        text = f"{key[0]}: the private key is encrypted, and the agent uses it where no person can give a password"
        return MaterialError(text, hint=f"`openssl pkey -in {in_shell(key[0])} -out NEW` writes it without one.")
    if _KEY in in_certificate:
        text = f"{certificate[0]}: a private key is in it, where the certificate alone belongs"
        way = f"`openssl x509 -in {in_shell(certificate[0])} -out NEW` writes the certificate alone."
        return MaterialError(text, hint=way)
    if _CERTIFICATE not in in_certificate:
        return _no_pem(*certificate, "certificate", "x509", "-nokeys")
    usual = _KEY in in_key and b"OPENSSH" not in in_key
    return None if usual else _no_pem(*key, "private key", "pkey", "-nocerts -nodes")


def _no_pem(path: Path, data: bytes, what: str, command: str, options: str) -> MaterialError:
    """Return what a file is in which there is no PEM of the kind that is meant."""
    name = containers.known(data)
    if name is containers.PKCS12:
        hint = f"`openssl pkcs12 -in {in_shell(path)} {options} -out NEW` takes it out."
        return MaterialError(f"{path}: it is a PKCS #12 container, and a {what} as PEM is expected", hint=hint)
    if name is not None:
        return MaterialError(f"{path}: it is {name.text}", hint=name.hint)
    der = f"`openssl {command} -inform DER -in {in_shell(path)} -out NEW` makes PEM of DER."
    hint = der if data.startswith(_DER) else ""
    return MaterialError(f"{path}: there is no {what} in it as PEM", hint=hint)
