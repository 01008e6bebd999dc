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
from itertools import product
from typing import TYPE_CHECKING

from agent.core.change.records import MAX_MANIFEST, decode_manifest, encode_manifest
from agent.core.jsonio import PlainError
from agent.core.values import CredentialSet, Generation, Handmade, Manifest, Salvaged, TrustBundle
from agent.crypto import keys, x509
from agent.errors import DamagedError, MaterialError, StoreError
from agent.store import disk, durable
from agent.system import clock

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
KEPT = 4  # readings: the current set, the one before, the one that is made, and one to compare with

# How long two changes of a file may bear the same time: a tick of the kernel's clock, or a second and what is lost in
# rounding, where a file system has whole seconds only (JFFS2, an ext4 that was made as ext3).
_TICK = 20_000_000  # nanoseconds
_SECOND = 1_000_000_000
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
    for name in disk.names(dir_fd):
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
    if disk.exists(dir_fd, name):
        durable.erase_directory(dir_fd, name)
    durable.make_directory(dir_fd, name, modes)
    with disk.directory(name, dir_fd) as fd, durable.part_of("stage the key"):
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
    if not disk.exists(dir_fd, name):
        raise DamagedError(f"The key staged for generation {number} is missing.")
    with disk.directory(name, dir_fd) as fd:
        try:
            key_pem = disk.read(fd, KEY, MAX_FILE)
            request_pem = disk.read(fd, REQUEST, MAX_FILE) if disk.exists(fd, REQUEST) else b""
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
    if disk.exists(dir_fd, final_name(manifest.number)):
        read(dir_fd, manifest.number)  # an earlier try got this far; what it left must be whole
        durable.sync(dir_fd, f"generation {manifest.number} was prepared")
        return
    if not disk.exists(dir_fd, name):
        durable.make_directory(dir_fd, name, modes)
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
        return _check(fd, number)


def read_manifest(dir_fd: int, number: int) -> Manifest:
    """Return what a generation's manifest says. It is sealed, so it counts whatever has become of the other files.

    Raises:
        DamagedError: The generation or its manifest is missing, or the manifest is not as it was written.
        StoreError: It cannot be read.
    """
    with _opened(dir_fd, number) as fd:
        return _manifest(fd, number)


@contextmanager
def _opened(dir_fd: int, number: int) -> Iterator[int]:
    """Open a generation's directory for the length of a block, and tell what is wrong in it as damage to it."""
    name = final_name(number)
    if not disk.exists(dir_fd, name):
        raise DamagedError(f"Generation {number} is missing.")
    with _owners(dir_fd, number), disk.directory(name, dir_fd) as fd:
        try:
            yield fd
        except FileNotFoundError as error:
            raise DamagedError(f"Generation {number} is damaged: {error.filename} is missing.") from error
        except (MaterialError, PlainError) as error:
            raise DamagedError(f"Generation {number} is damaged: {error}.") from error


def _manifest(dir_fd: int, number: int) -> Manifest:
    found = decode_manifest(disk.read(dir_fd, MANIFEST, MAX_MANIFEST), MANIFEST)
    if found.number != number:
        raise DamagedError(f"Generation {number} is damaged: its manifest is that of generation {found.number}.")
    return found


@contextmanager
def _owners(dir_fd: int, number: int) -> Iterator[None]:
    """Call it damage when not even the owner may read a generation: no program can use it before a person has acted.

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


def manifest_of(dir_fd: int, name: str) -> Manifest | None:
    """Return the manifest in a directory, whatever is beside it; None when it is missing or not sound.

    Raises:
        StoreError: The disk does not let it be read.
    """
    try:
        with disk.directory(name, dir_fd) as fd:
            return decode_manifest(disk.read(fd, MANIFEST, MAX_MANIFEST), MANIFEST)
    except (FileNotFoundError, DamagedError, PlainError):
        return None


def _check(dir_fd: int, number: int) -> Generation:
    manifest = _manifest(dir_fd, number)
    if set(manifest.files) != set(FILES):
        raise DamagedError(f"Generation {number} is damaged: its manifest does not name the right files.")
    data = {file: disk.read(dir_fd, file, MAX_FILE) for file in FILES}
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


class Readings:
    """The generations that were read last, each good for as long as its files look from outside as they did then.

    One rotation asks for the same two or three generations some forty times, and to read one is to hash its files and
    to parse its private key. What must hold for that not to be done again:

    * Any write, rename or change of mode gives a file another inode, size or time of change, and a program can set the
      time of writing but not that one. All files and the directory are compared with how they were before the reading.
    * A file that has just changed may change again within the same tick of the clock that stamps it and look the
      same (git calls that "racily clean"), so a reading of such a file is not kept.
    * A block that rots changes nothing of that. So the store reads for itself what it is about to rely on for good:
      what is to be `current` or `previous`, and what a start finds there. It forgets the reading here as it does so.
    """

    def __init__(self) -> None:
        self._kept: dict[int, tuple[tuple[disk.State, ...], Generation]] = {}

    def get(self, dir_fd: int, number: int) -> Generation:
        """Return a generation that is whole, or was so when its files were last changed.

        Raises:
            DamagedError: It is missing, or anything about it is wrong.
            StoreError: It cannot be read.
        """
        states, now = _states(dir_fd, number), clock.stamp()
        kept = self._looks_as_it_did(number, states)
        if kept is not None:
            return kept
        self.forget(number)
        found = read(dir_fd, number)
        if states is not None and _settled(states, now):
            if len(self._kept) == KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[number] = states, found
        return found

    def manifest(self, dir_fd: int, number: int) -> Manifest:
        """Return what a generation's manifest says; see `read_manifest` for what it raises, and what it does not."""
        kept = self._looks_as_it_did(number, _states(dir_fd, number)) if number in self._kept else None
        return read_manifest(dir_fd, number) if kept is None else kept.manifest

    def _looks_as_it_did(self, number: int, states: tuple[disk.State, ...] | None) -> Generation | None:
        kept = self._kept.get(number)
        return kept[1] if kept is not None and kept[0] == states else None

    def forget(self, number: int) -> None:
        """Have a generation read from the disk when it is asked for next."""
        self._kept.pop(number, None)


def _states(dir_fd: int, number: int) -> tuple[disk.State, ...] | None:
    """Return how a generation looks from outside, or None where that cannot be told: reading it says why."""
    try:
        with disk.directory(final_name(number), dir_fd) as fd:
            return (disk.state(fd), *(disk.state(fd, name) for name in (MANIFEST, *FILES)))
    except (StoreError, FileNotFoundError):
        return None


def _settled(states: tuple[disk.State, ...], now: int) -> bool:
    """Whether a further change would show: the last one is not of this moment, nor of one that is still to come."""
    last = max(state.changed for state in states)
    whole_seconds = all(state.changed % _SECOND == 0 for state in states)
    return last + (2 * _SECOND if whole_seconds else _TICK) < now


def handmade(dir_fd: int, number: int) -> Handmade | None:
    """Return what was put into a damaged generation by hand, when it is another certificate with the key that fits it.

    Raises:
        StoreError: It cannot be read.
    """
    try:
        with _owners(dir_fd, number), disk.directory(final_name(number), dir_fd) as fd:
            manifest = decode_manifest(disk.read(fd, MANIFEST, MAX_MANIFEST), MANIFEST)
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
        with _owners(dir_fd, number), disk.directory(final_name(number), dir_fd) as fd:
            manifest = decode_manifest(disk.read(fd, MANIFEST, MAX_MANIFEST), MANIFEST)
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
        whole = read(dir_fd, number)
    except DamagedError as error:
        return _salvage(dir_fd, number, str(error))
    return Salvaged(
        number=number,
        credential=whole.credential,
        thing_name=whole.manifest.thing_name,
        trust=whole.trust,
        damage="",
    )


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
