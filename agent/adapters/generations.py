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
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agent.adapters import durable, keys, x509
from agent.core.plain import PlainError
from agent.core.records import MAX_MANIFEST, decode_manifest, encode_manifest
from agent.core.values import CredentialSet, Generation, Manifest, TrustBundle
from agent.errors import DamagedError, MaterialError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
    with _owners(dir_fd, number), durable.directory(name, dir_fd) as fd:
        try:
            return _check(fd, number)
        except FileNotFoundError as error:
            raise DamagedError(f"Generation {number} is damaged: {error.filename} is missing.") from error
        except (MaterialError, PlainError) as error:
            raise DamagedError(f"Generation {number} is damaged: {error}.") from error


@contextmanager
def _owners(dir_fd: int, number: int) -> Iterator[None]:
    """Call it damage when not even the owner may read a generation: nobody will, before a person has acted.

    That another user may not is no news.
    """
    try:
        yield
    except DamagedError:
        raise
    except StoreError as error:
        if isinstance(error.__cause__, PermissionError) and os.fstat(dir_fd).st_uid == os.geteuid():
            hint = "Give its files back to the owner of the state directory, readable: see `iot-cert check files`."
            raise DamagedError(f"Generation {number} is damaged: {error}", hint=hint) from error
        raise


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


@dataclass(frozen=True, kw_only=True)
class Handmade:
    """A key and certificate that somebody put into a generation by hand.

    Attributes:
        number: The generation, which is not whole any more.
        credential: Key and certificate, which fit each other.
        thing_name: The thing the generation was made for.
        trust: The generation's own anchors when they are untouched, else None.
        replaced: The id of the certificate that was there before.
    """

    number: int
    credential: CredentialSet
    thing_name: str
    trust: TrustBundle | None
    replaced: str


def handmade(dir_fd: int, number: int) -> Handmade | None:
    """Return what was put into a damaged generation by hand, when it is another certificate with the key that fits it.

    Raises:
        StoreError: It cannot be read.
    """
    try:
        with _owners(dir_fd, number), durable.directory(final_name(number), dir_fd) as fd:
            manifest = decode_manifest(durable.read(fd, MANIFEST, MAX_MANIFEST), MANIFEST)
            content = keys.credential_set(durable.read(fd, KEY, MAX_FILE), durable.read(fd, CERTIFICATE, MAX_FILE))
            trust_pem = durable.read(fd, TRUST, MAX_FILE)
    except (FileNotFoundError, MaterialError, PlainError, DamagedError):
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


def half_replaced(dir_fd: int, number: int) -> bool:
    """Whether one of key and certificate is another sound one, and the other still the generation's own.

    Raises:
        StoreError: It cannot be read.
    """
    try:
        with _owners(dir_fd, number), durable.directory(final_name(number), dir_fd) as fd:
            manifest = decode_manifest(durable.read(fd, MANIFEST, MAX_MANIFEST), MANIFEST)
            pair = {name: durable.read(fd, name, MAX_FILE) for name in (KEY, CERTIFICATE)}
            keys.public_key_sha256(pair[KEY])
            x509.read_chain(pair[CERTIFICATE])
    except (FileNotFoundError, MaterialError, PlainError, DamagedError):
        return False
    return sum(hashlib.sha256(data).hexdigest() != manifest.files.get(name) for name, data in pair.items()) == 1


def _join(names: Iterable[str]) -> str:
    return " and ".join(names)
