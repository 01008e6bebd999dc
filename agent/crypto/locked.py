"""Opens what a password may protect: PKCS #12 files and encrypted keys, in a process of its own with bounds.

Such a file says itself how often its password is to be stirred and in how much memory (RFC 8018, RFC 7914), also within
what is encrypted, and OpenSSL looks for the primes of an RSA key in a PKCS #12 file: 10 seconds of a fast processor for
8192 bits, a minute and a half for 20,000. No look at the file tells beforehand, so a limit of the kernel ends it.

It refuses to say why something does not open: a wrong password and another kind of file look alike.
"""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import InternalError
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
    pkcs12,
)

from agent.errors import MaterialError
from agent.system import files
from agent.system.processes import forks

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

PATIENCE = 20  # seconds of processor time, many times what a common file takes on a slow gateway
MOST = 256 << 20  # bytes of memory, beyond what the process has
STATM = Path("/proc/self/statm")
_UNTOLD = 3 * MOST


def opened(data: bytes, password: bytes | None, patience: int = PATIENCE) -> bytes:
    """Return the key and the certificates in a file as PEM without a password; empty where it does not open.

    Args:
        data: A PEM block of an encrypted key, or DER of one or of PKCS #12.
        password: The password, or None.
        patience: Seconds of processor time.

    Raises:
        MaterialError: It takes more time or memory than it may, or this machine has no process for it.
    """
    try:
        child, read_end = forks.fork(lambda pipe: _child(pipe, data, password, patience))
    except OSError as error:
        why = f"it is not opened, since no process can be started for it: {os.strerror(error.errno or 0)}"
        raise MaterialError(why, hint=files.remedy(error.errno)) from error
    with os.fdopen(read_end, "rb") as pipe:
        found = pipe.read()
    if os.waitpid(child, 0)[1] != 0:
        room = _left_by_the_user()
        if room < MOST:
            text = f"to open it takes more than the {room >> 20} MiB of memory that a limit of this user's leaves"
            raise MaterialError(text, hint="Raise that limit: `ulimit -v` shows it.")
        raise MaterialError(
            f"to open it takes more than {patience} seconds of processor time or {MOST >> 20} MiB of memory: its RSA "
            "key is very long, or it was made to be slow to open",
            hint="`openssl pkcs12 -nodes -in FILE -out NEW`, or `openssl pkey -in FILE -out NEW` of a key alone, takes "
            "out what is in it. That is not protected: remove it once it is imported.",
        )
    return found


def _child(pipe: int, data: bytes, password: bytes | None, patience: int) -> None:
    _bound(resource.RLIMIT_AS, _size() + MOST)
    _bound(resource.RLIMIT_CORE, 0)
    _bound(resource.RLIMIT_CPU, patience)
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the library's own words of what it cannot count or hold
    with os.fdopen(pipe, "wb") as file:
        file.write(_open(data, password))


def _left_by_the_user() -> int:
    _, limit = resource.getrlimit(resource.RLIMIT_AS)
    return MOST if limit == resource.RLIM_INFINITY else max(min(MOST, limit - _size()), 0)


def _size() -> int:
    """Return the bytes of memory that this process has; where the kernel does not tell, more than it will be."""
    try:
        return int(STATM.read_text("ascii").split()[0]) * resource.getpagesize()
    except OSError:  # without /proc, as in some containers and early in a start
        return _UNTOLD


def _bound(what: int, most: int) -> None:
    """Set a limit, unless there is a tighter one: not every user may raise that."""
    _, before = resource.getrlimit(what)
    most = most if before == resource.RLIM_INFINITY else min(most, before)
    resource.setrlimit(what, (most, most))


def _open(data: bytes, password: bytes | None) -> bytes:
    for read in (_key, _container):
        try:
            return read(data, password)
        except (MemoryError, InternalError):  # what OpenSSL says of a key that wants more than there is
            raise
        except Exception:  # noqa: BLE001, S112 - several unrelated types, and their texts may quote the key
            continue
    return b""


def _key(data: bytes, password: bytes | None) -> bytes:
    load = load_pem_private_key if data.startswith(b"-----BEGIN ") else load_der_private_key
    return _pem(load(data, password, unsafe_skip_rsa_key_validation=True))


def _container(data: bytes, password: bytes | None) -> bytes:
    key, leaf, others = pkcs12.load_key_and_certificates(data, password)
    certificates = [*([leaf] if leaf else []), *others]
    pem = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
    return (_pem(key) if key else b"") + pem


def _pem(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
