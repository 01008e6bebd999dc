"""What is left of a damaged generation, and what a person has put into it: found, and never repaired in place."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from agent.core.jsonio import PlainError
from agent.core.values import Handmade, Salvaged
from agent.crypto import keys, x509
from agent.errors import DamagedError, MaterialError, StoreError
from agent.store.files import disk
from agent.store.names import CERTIFICATE, CREDENTIAL, KEY, TRUST, final_name
from agent.store.sets import generations
from agent.store.sets.generations import MAX_FILE, as_damage, manifest_in

if TYPE_CHECKING:
    from agent.core.values import CredentialSet, Manifest, TrustBundle


def handmade(dir_fd: int, number: int) -> Handmade | None:
    """Return what was put into a damaged generation by hand, when it is another certificate with the key that fits it.

    Raises:
        StoreError: It cannot be read.
    """
    try:
        with as_damage(dir_fd, number), disk.directory(final_name(number), dir_fd) as fd:
            manifest = manifest_in(fd)
            content = keys.credential_set(disk.read(fd, KEY, MAX_FILE), disk.read(fd, CERTIFICATE, MAX_FILE))
            trust_pem = disk.read(fd, TRUST, MAX_FILE)
    except (FileNotFoundError, MaterialError, PlainError, DamagedError):
        return None  # damage, and nothing that a person could have meant
    if content.leaf.sha256 == manifest.certificate_id:
        return None
    untouched = hashlib.sha256(trust_pem).hexdigest() == manifest.files.get(TRUST)
    trust = replace(x509.read_bundle(trust_pem), provenance=manifest.trust) if untouched else None
    return Handmade(
        number=number,
        credential=content,
        thing_name=manifest.thing_name,
        trust=trust,
        replaced=manifest.certificate_id,
    )


def half_replaced(dir_fd: int, number: int) -> bool:
    """Whether one of key and certificate is another sound one, and the other still the generation's own.

    Raises:
        StoreError: It cannot be read.
    """
    try:
        with as_damage(dir_fd, number), disk.directory(final_name(number), dir_fd) as fd:
            manifest = manifest_in(fd)
            pair = {name: disk.read(fd, name, MAX_FILE) for name in (KEY, CERTIFICATE)}
            keys.public_key_sha256(pair[KEY])
            x509.read_chain(pair[CERTIFICATE])
    except (FileNotFoundError, MaterialError, PlainError, DamagedError):
        return False
    return sum(hashlib.sha256(data).hexdigest() != manifest.files.get(name) for name, data in pair.items()) == 1


def salvage(dir_fd: int, number: int) -> Salvaged | None:
    """Return what can be saved from a generation, or None when no key and certificate in it belong together.

    Raises:
        StoreError: It cannot be read.
    """
    try:
        whole = generations.read(dir_fd, number)
    except DamagedError as error:
        return _salvage(dir_fd, number, str(error))
    return Salvaged(
        number=number,
        credential=whole.credential,
        thing_name=whole.manifest.thing_name,
        trust=whole.trust,
        damage="",
    )


def trust_of(dir_fd: int, number: int) -> TrustBundle | None:
    """Return a generation's anchors, or None where they are not as they were written."""
    try:
        with disk.directory(final_name(number), dir_fd) as fd:
            sealed = _sealed(fd)
            return _untouched_trust(fd, sealed) if sealed else None
    except StoreError:
        return None  # it is gone, or something else in its place


def _salvage(dir_fd: int, number: int, damage: str) -> Salvaged | None:
    try:
        with disk.directory(final_name(number), dir_fd) as fd:
            content, sealed = _pair(fd), _sealed(fd)
            trust = _untouched_trust(fd, sealed) if sealed else None
    except StoreError:
        return None  # it is gone, or something else in its place
    if content is None:
        return None
    thing_name = sealed.thing_name if sealed else ""
    return Salvaged(number=number, credential=content, thing_name=thing_name, trust=trust, damage=damage)


def _pair(dir_fd: int) -> CredentialSet | None:
    """Return a key and certificate that belong together: from their own files, else from the file that has both."""
    for key, certificate in product((KEY, CREDENTIAL), (CERTIFICATE, CREDENTIAL)):
        key_pem = _legible(dir_fd, key).partition(_BEGIN_CERTIFICATE)[0]
        chain = _legible(dir_fd, certificate).partition(_BEGIN_CERTIFICATE)[2]
        try:
            return keys.credential_set(key_pem, _BEGIN_CERTIFICATE + chain)
        except MaterialError:
            continue
    return None


_BEGIN_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"


def _legible(dir_fd: int, name: str) -> bytes:
    """Return a file's content, or nothing when it is not there or cannot be read."""
    try:
        return disk.read(dir_fd, name, MAX_FILE)
    except (FileNotFoundError, StoreError):
        return b""


def _sealed(dir_fd: int) -> Manifest | None:
    try:
        return manifest_in(dir_fd)
    except (FileNotFoundError, StoreError, PlainError):
        return None


def _untouched_trust(dir_fd: int, manifest: Manifest) -> TrustBundle | None:
    """Return the anchors if they are those that the manifest was written with: whom to trust is not guessed."""
    data = _legible(dir_fd, TRUST)
    if hashlib.sha256(data).hexdigest() != manifest.files.get(TRUST):
        return None
    return replace(x509.read_bundle(data), provenance=manifest.trust)
