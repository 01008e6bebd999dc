"""Generations on disk: staged, prepared, checked. What is inside one directory; where it points is the store's.

::

    generations/.000007/   being filled: key.pem first, the rest once the certificate is registered
    generations/000007/    whole: key.pem certificate.pem credential.pem trust.pem manifest.json
    generations/000007.rejected/   set aside: never used again, kept for a person who asks why

A generation counts only when its manifest says what every file hashes to, the key is the certificate's, and the bundle
is not empty. It is never repaired in place.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.core.change.records import MAX_MANIFEST, decode_manifest, encode_manifest
from agent.core.frozen import frozen
from agent.core.jsonio import PlainError
from agent.core.values import CredentialSet, Generation, Manifest, TrustBundle
from agent.crypto import keys, x509
from agent.errors import DamagedError, MaterialError, StoreError
from agent.store.files import directories, disk, durable
from agent.store.names import CERTIFICATE, CREDENTIAL, KEY, MANIFEST, TRUST, final_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

REQUEST = "request.pem"  # beside the key in stages of version 0.1.0

SECRET = frozenset({KEY, CREDENTIAL})
PUBLIC = frozenset({CERTIFICATE, TRUST, MANIFEST, REQUEST})
FILES = (KEY, CERTIFICATE, CREDENTIAL, TRUST)

MAX_FILE = x509.MAX_BUNDLE
LAST = 999_999_999
_NAME = re.compile(r"(\.?)(\d{6}|[1-9]\d{6,8})(\.rejected)?", re.ASCII)  # as the functions below write them


def stage_name(number: int) -> str:
    """Return the name of the directory in which a generation is filled."""
    return f".{final_name(number)}"


def rejected_name(number: int) -> str:
    """Return the name of a generation that was set aside."""
    return f"{final_name(number)}.rejected"


@frozen
class Listing:
    """The numbers found in the directory of generations, ascending, by what their names say."""

    final: tuple[int, ...]
    staged: tuple[int, ...]
    rejected: tuple[int, ...]
    strange: tuple[str, ...]

    @property
    def taken(self) -> frozenset[int]:
        """The numbers of all that is here."""
        return frozenset((*self.final, *self.staged, *self.rejected))


def listing(dir_fd: int) -> Listing:
    """Return what is in the directory of generations.

    Raises:
        StoreError: It cannot be listed.
    """
    final: list[int] = []
    staged: list[int] = []
    rejected: list[int] = []
    strange: list[str] = []
    for name in disk.names(dir_fd):
        match = _NAME.fullmatch(name)
        if match is None or (match[1] and match[3]):
            strange.append(name)
        elif match[3]:
            rejected.append(int(match[2]))
        else:
            (staged if match[1] else final).append(int(match[2]))
    return Listing(final=tuple(final), staged=tuple(staged), rejected=tuple(rejected), strange=tuple(strange))


def erase(dir_fd: int, name: str) -> None:
    """Erase a generation's directory, whatever it is called, or what stands in its place.

    Raises:
        StoreError: Something could not be erased; calling again goes on.
    """
    if disk.is_directory(dir_fd, name):
        directories.erase_directory(dir_fd, name, PUBLIC)
        return
    durable.overwrite(dir_fd, name)
    durable.remove(dir_fd, name)


def stage_key(dir_fd: int, number: int, key_pem: bytes, modes: durable.Modes) -> None:
    """Make a new key durable in the stage of generation `number`; an earlier stage is erased.

    Raises:
        StoreError: It could not be done; the stage may be left half-filled and is erased by the next call.
    """
    name = stage_name(number)
    if disk.exists(dir_fd, name):
        erase(dir_fd, name)
    directories.begin_directory(dir_fd, name, modes)
    with disk.directory(name, dir_fd) as fd, durable.part_of("stage the key"):
        durable.write_new(fd, KEY, key_pem, modes, secret=True)
        durable.sync(fd, "the key was written")
        durable.sync(dir_fd, "the key was staged")


def staged_key(dir_fd: int, number: int) -> bytes:
    """Return the staged key.

    Raises:
        DamagedError: It is missing or cannot be used.
        StoreError: It cannot be read.
    """
    name = stage_name(number)
    if not disk.exists(dir_fd, name):
        raise DamagedError(f"The key staged for generation {number} is missing.")
    with disk.directory(name, dir_fd) as fd:
        try:
            key_pem = disk.read(fd, KEY, MAX_FILE)
            keys.public_key_sha256(key_pem)
        except FileNotFoundError as error:
            raise DamagedError(f"The key staged for generation {number} is missing.") from error
        except MaterialError as error:
            raise DamagedError(f"The key staged for generation {number} is damaged: {error}.") from error
    return key_pem


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
    if disk.exists(dir_fd, final_name(manifest.number)):
        read(dir_fd, manifest.number)  # an earlier try got this far; what it left must be whole
        durable.sync(dir_fd, f"generation {manifest.number} was prepared")
        return
    if not disk.exists(dir_fd, name):
        directories.begin_directory(dir_fd, name, modes)
    files = {
        KEY: content.key_pem,
        CERTIFICATE: content.certificate_pem,
        CREDENTIAL: content.key_pem.rstrip(b"\n") + b"\n" + content.certificate_pem,
        TRUST: trust.pem,
    }
    hashes = {file: hashlib.sha256(data).hexdigest() for file, data in files.items()}
    files[MANIFEST] = encode_manifest(replace(manifest, files=hashes, trust=trust.provenance))
    with disk.directory(name, dir_fd) as fd, durable.part_of(f"prepare generation {manifest.number}"):
        _fill(fd, files, modes)
        durable.sync(fd, "the generation was written")
    durable.rename(dir_fd, name, final_name(manifest.number))


def _fill(dir_fd: int, files: dict[str, bytes], modes: durable.Modes) -> None:
    present = set(disk.names(dir_fd))
    # The staged key was synced before its request left; all else is written anew, since a file whose sync failed once
    # must not be trusted again.
    keep = {KEY} if KEY in present and disk.read(dir_fd, KEY, MAX_FILE) == files[KEY] else set[str]()
    for name in present - keep:
        if name not in PUBLIC:
            durable.overwrite(dir_fd, name)  # it may hold a key
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
    with _opened(dir_fd, number) as fd:
        manifest = _numbered(manifest_in(fd), number)
        if set(manifest.files) != set(FILES):
            raise DamagedError(f"Generation {number} is damaged: its manifest does not name the right files.")
        data = {file: disk.read(fd, file, MAX_FILE) for file in FILES}
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


def read_manifest(dir_fd: int, number: int) -> Manifest:
    """Return what a generation's manifest says. It is sealed, so it counts whatever has become of the other files.

    Raises:
        DamagedError: The generation or its manifest is missing, or the manifest is not as it was written.
        StoreError: It cannot be read.
    """
    with _opened(dir_fd, number) as fd:
        return _numbered(manifest_in(fd), number)


@contextmanager
def _opened(dir_fd: int, number: int) -> Iterator[int]:
    """Open a generation's directory for the length of a block, and tell what is wrong in it as damage to it."""
    name = final_name(number)
    if not disk.exists(dir_fd, name):
        raise DamagedError(f"Generation {number} is missing.")
    with as_damage(dir_fd, number), disk.directory(name, dir_fd) as fd:
        try:
            yield fd
        except FileNotFoundError as error:
            raise DamagedError(f"Generation {number} is damaged: {error.filename} is missing.") from error
        except (MaterialError, PlainError) as error:
            raise DamagedError(f"Generation {number} is damaged: {error}.") from error


def _numbered(found: Manifest, number: int) -> Manifest:
    if found.number != number:
        raise DamagedError(f"Generation {number} is damaged: its manifest is that of generation {found.number}.")
    return found


@contextmanager
def as_damage(dir_fd: int, number: int) -> Iterator[None]:
    """Call it damage when not even the owner may read a generation: no program can use it before a person has acted.

    That another user may not is no news. It is damage, too, when its name is that of something else than a directory.
    """
    try:
        yield
    except DamagedError:
        raise
    except StoreError as error:
        if isinstance(error.__cause__, NotADirectoryError):
            raise DamagedError(f"Generation {number} is damaged: {error}", hint=error.hint) from error
        if isinstance(error.__cause__, PermissionError) and _is_own(dir_fd):
            hint = "Give its files back to the owner of the state directory, readable: see `iot-cert check files`."
            raise DamagedError(f"Generation {number} is damaged: {error}", hint=hint) from error
        raise


def _is_own(dir_fd: int) -> bool:
    with disk.explained("look at the state directory"):
        return os.fstat(dir_fd).st_uid == os.geteuid()


def manifest_in(fd: int) -> Manifest:
    """Return the manifest in an open directory.

    Raises:
        PlainError: It is not as it was written.
        DamagedError: It is no file of its size.
        StoreError: It cannot be read.
        FileNotFoundError: It is not there.
    """
    return decode_manifest(disk.read(fd, MANIFEST, MAX_MANIFEST), MANIFEST)


def manifest_of(dir_fd: int, name: str) -> Manifest | None:
    """Return the manifest in a directory, whatever is beside it; None when it is missing or not sound.

    Raises:
        StoreError: The disk does not let it be read.
    """
    try:
        with disk.directory(name, dir_fd) as fd:
            return manifest_in(fd)
    except (FileNotFoundError, DamagedError, PlainError):
        return None
    except StoreError as error:
        if isinstance(error.__cause__, NotADirectoryError):
            return None
        raise


def _join(names: Iterable[str]) -> str:
    return " and ".join(names)
