"""Generations on disk: staged, prepared, checked. What is inside one directory; where it points is the store's.

::

    generations/.000007/   being filled: key.pem and request.pem first, the rest once the certificate is registered
    generations/000007/    whole: key.pem certificate.pem credential.pem trust.pem manifest.json
    generations/000007.rejected/   set aside: never used again, kept for whoever asks why

A generation counts only when its manifest says what every file hashes to, the key is the certificate's, and the bundle
is not empty. It is never repaired in place.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agent.adapters import durable, keys, x509
from agent.core.plain import PlainError
from agent.core.records import MAX_MANIFEST, decode_manifest, encode_manifest
from agent.core.values import CredentialSet, Generation, Handmade, Manifest, Salvaged, TrustBundle
from agent.errors import DamagedError, MaterialError

if TYPE_CHECKING:
    from collections.abc import Iterable

KEY = "key.pem"
CERTIFICATE = "certificate.pem"
CREDENTIAL = "credential.pem"
TRUST = "trust.pem"
MANIFEST = "manifest.json"
REQUEST = "request.pem"

SECRET = frozenset({KEY, CREDENTIAL})
FILES = (KEY, CERTIFICATE, CREDENTIAL, TRUST)

MAX_FILE = x509.MAX_BUNDLE
_NAME = re.compile(r"(\.?)(\d{6,9})(\.rejected)?")


def final_name(number: int) -> str:
    """Return the name of a whole generation's directory."""
    return f"{number:06d}"


def stage_name(number: int) -> str:
    """Return the name of the directory in which a generation is filled."""
    return f".{number:06d}"


def rejected_name(number: int) -> str:
    """Return the name of a generation that was set aside."""
    return f"{number:06d}.rejected"


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The numbers found in the directory of generations, ascending, by what their names say."""

    final: tuple[int, ...]
    staged: tuple[int, ...]
    rejected: tuple[int, ...]
    strange: tuple[str, ...]

    @property
    def highest(self) -> int:
        """The highest number ever seen here, or 0."""
        return max((*self.final, *self.staged, *self.rejected, 0))


def listing(dir_fd: int) -> Listing:
    """Return what is in the directory of generations.

    Raises:
        StoreError: It cannot be listed.
    """
    final: list[int] = []
    staged: list[int] = []
    rejected: list[int] = []
    strange: list[str] = []
    for name in durable.names(dir_fd):
        match = _NAME.fullmatch(name)
        if match is None or (match[1] and match[3]):
            strange.append(name)
        elif match[3]:
            rejected.append(int(match[2]))
        else:
            (staged if match[1] else final).append(int(match[2]))
    return Listing(final=tuple(final), staged=tuple(staged), rejected=tuple(rejected), strange=tuple(strange))


def stage_key(dir_fd: int, number: int, key_pem: bytes, request_pem: bytes, modes: durable.Modes) -> None:
    """Make a new key and its request durable in the stage of generation `number`; an earlier stage is erased.

    Raises:
        StoreError: It could not be done; the stage may be left half-filled and is erased by the next call.
    """
    name = stage_name(number)
    if durable.exists(dir_fd, name):
        durable.erase_directory(dir_fd, name)
    durable.make_directory(dir_fd, name, modes)
    with durable.directory(name, dir_fd) as fd, durable.part_of("stage the key"):
        durable.write_new(fd, KEY, key_pem, modes, secret=True)
        durable.write_new(fd, REQUEST, request_pem, modes)
        durable.sync(fd, "the key was written")


def staged_key(dir_fd: int, number: int) -> tuple[bytes, bytes]:
    """Return the staged key and its request.

    Raises:
        DamagedError: One of them is missing or cannot be used.
        StoreError: They cannot be read.
    """
    name = stage_name(number)
    if not durable.exists(dir_fd, name):
        raise DamagedError(f"The key staged for generation {number} is missing.")
    with durable.directory(name, dir_fd) as fd:
        try:
            key_pem = durable.read(fd, KEY, MAX_FILE)
            request_pem = durable.read(fd, REQUEST, MAX_FILE) if durable.exists(fd, REQUEST) else b""
            keys.public_key_sha256(key_pem)
        except FileNotFoundError as error:
            raise DamagedError(f"The key staged for generation {number} is missing.") from error
        except MaterialError as error:
            raise DamagedError(f"The key staged for generation {number} is damaged: {error}.") from error
    return key_pem, request_pem


def prepare(dir_fd: int, manifest: Manifest, content: CredentialSet, trust: TrustBundle, modes: durable.Modes) -> None:
    """Fill the stage and give it its final name; doing it again after a crash is safe.

    Args:
        dir_fd: The directory of generations.
        manifest: The manifest; its `files` are filled in here.
        content: Key and chain.
        trust: The anchors it is to be proven with.
        modes: The modes of what is written.

    Raises:
        StoreInDoubtError: It is whole, but a power cut may undo the last step.
        StoreError: It could not be written; nothing that was whole has changed.
    """
    name = stage_name(manifest.number)
    if durable.exists(dir_fd, final_name(manifest.number)):
        read(dir_fd, manifest.number)  # an earlier try got this far; what it left must be whole
        durable.sync(dir_fd, f"generation {manifest.number} was prepared")
        return
    if not durable.exists(dir_fd, name):
        durable.make_directory(dir_fd, name, modes)
    files = {
        KEY: content.key_pem,
        CERTIFICATE: content.certificate_pem,
        CREDENTIAL: content.key_pem.rstrip(b"\n") + b"\n" + content.certificate_pem,
        TRUST: trust.pem,
    }
    hashes = {file: hashlib.sha256(data).hexdigest() for file, data in files.items()}
    files[MANIFEST] = encode_manifest(replace(manifest, files=hashes, trust=trust.provenance))
    with durable.directory(name, dir_fd) as fd, durable.part_of(f"prepare generation {manifest.number}"):
        _fill(fd, files, modes)
        durable.sync(fd, "the generation was written")
    durable.rename(dir_fd, name, final_name(manifest.number))


def _fill(dir_fd: int, files: dict[str, bytes], modes: durable.Modes) -> None:
    present = set(durable.names(dir_fd))
    # The staged key was synced before its request left; all else is written anew, since a file whose sync failed once
    # must not be trusted again.
    keep = {KEY} if KEY in present and durable.read(dir_fd, KEY, MAX_FILE) == files[KEY] else set[str]()
    for name in present - keep:
        durable.remove(dir_fd, name)
    for name, data in files.items():
        if name not in keep:
            durable.write_new(dir_fd, name, data, modes, secret=name in SECRET)


def read(dir_fd: int, number: int) -> Generation:
    """Return a generation after checking that it is whole.

    Raises:
        DamagedError: It is missing, or anything about it is wrong.
        StoreError: It cannot be read.
    """
    name = final_name(number)
    if not durable.exists(dir_fd, name):
        raise DamagedError(f"Generation {number} is missing.")
    with durable.directory(name, dir_fd) as fd:
        try:
            return _check(fd, number)
        except FileNotFoundError as error:
            raise DamagedError(f"Generation {number} is damaged: {error.filename} is missing.") from error
        except (MaterialError, PlainError) as error:
            raise DamagedError(f"Generation {number} is damaged: {error}.") from error


def _check(dir_fd: int, number: int) -> Generation:
    manifest = decode_manifest(durable.read(dir_fd, MANIFEST, MAX_MANIFEST), MANIFEST)
    if manifest.number != number:
        raise DamagedError(f"Generation {number} is damaged: its manifest is that of generation {manifest.number}.")
    if set(manifest.files) != set(FILES):
        raise DamagedError(f"Generation {number} is damaged: its manifest does not name the right files.")
    data = {file: durable.read(dir_fd, file, MAX_FILE) for file in FILES}
    wrong = [file for file in FILES if hashlib.sha256(data[file]).hexdigest() != manifest.files[file]]
    if wrong:
        raise DamagedError(f"Generation {number} is damaged: {_join(wrong)} changed since it was written.")
    if data[CREDENTIAL] != data[KEY].rstrip(b"\n") + b"\n" + data[CERTIFICATE]:
        raise DamagedError(f"Generation {number} is damaged: {CREDENTIAL} is not its key and certificate.")
    content = keys.credential_set(data[KEY], data[CERTIFICATE])
    if content.leaf.sha256 != manifest.certificate_id:
        raise DamagedError(f"Generation {number} is damaged: its manifest is for another certificate.")
    trust = replace(x509.read_bundle(data[TRUST]), provenance=manifest.trust)
    return Generation(manifest=manifest, credential=content, trust=trust)


def handmade(dir_fd: int, number: int) -> Handmade | None:
    """Return what was put into a damaged generation by hand, when it is another certificate with the key that fits it.

    Raises:
        StoreError: It cannot be read.
    """
    with durable.directory(final_name(number), dir_fd) as fd:
        try:
            manifest = decode_manifest(durable.read(fd, MANIFEST, MAX_MANIFEST), MANIFEST)
            content = keys.credential_set(durable.read(fd, KEY, MAX_FILE), durable.read(fd, CERTIFICATE, MAX_FILE))
            trust_pem = durable.read(fd, TRUST, MAX_FILE)
        except (FileNotFoundError, MaterialError, PlainError):
            return None  # damage, and nothing that anybody could have meant
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


def salvage(dir_fd: int, number: int) -> Salvaged | None:
    """Return what can be saved from a generation, or None when no key and certificate in it belong together.

    Raises:
        StoreError: It cannot be read.
    """
    try:
        whole = read(dir_fd, number)
    except DamagedError as error:
        damage = str(error)
    else:
        manifest = whole.manifest
        return Salvaged(
            number=number, credential=whole.credential, thing_name=manifest.thing_name, trust=whole.trust, damage=""
        )
    if not durable.exists(dir_fd, final_name(number)) or not durable.is_directory(dir_fd, final_name(number)):
        return None
    with durable.directory(final_name(number), dir_fd) as fd:
        content = _pair(fd)
        if content is None:
            return None
        sealed = _sealed(fd)
        trust = _untouched_trust(fd, sealed) if sealed else None
    thing = sealed.thing_name if sealed else ""
    return Salvaged(number=number, credential=content, thing_name=thing, trust=trust, damage=damage)


def _pair(dir_fd: int) -> CredentialSet | None:
    """Return a key and certificate that belong together: from their own files, else from the file that has both."""
    for key, certificate in (
        (KEY, CERTIFICATE),
        (CREDENTIAL, CREDENTIAL),
        (KEY, CREDENTIAL),
        (CREDENTIAL, CERTIFICATE),
    ):
        key_pem, _, chain = _legible(dir_fd, key).partition(_BEGIN_CERTIFICATE)
        if certificate != key or not chain:
            _, _, chain = _legible(dir_fd, certificate).partition(_BEGIN_CERTIFICATE)
        try:
            return keys.credential_set(key_pem, _BEGIN_CERTIFICATE + chain)
        except MaterialError:
            continue
    return None


_BEGIN_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"


def _legible(dir_fd: int, name: str) -> bytes:
    """Return a file's content, or nothing when it is not there or is no file that can be read."""
    try:
        return durable.read(dir_fd, name, MAX_FILE)
    except (FileNotFoundError, DamagedError):
        return b""


def _sealed(dir_fd: int) -> Manifest | None:
    try:
        return decode_manifest(_legible(dir_fd, MANIFEST), MANIFEST)
    except PlainError:
        return None


def _untouched_trust(dir_fd: int, manifest: Manifest) -> TrustBundle | None:
    """Return the anchors if they are those that the manifest was written with: whom to trust is not guessed."""
    data = _legible(dir_fd, TRUST)
    if hashlib.sha256(data).hexdigest() != manifest.files.get(TRUST):
        return None
    return replace(x509.read_bundle(data), provenance=manifest.trust)


def _join(names: Iterable[str]) -> str:
    return " and ".join(names)
