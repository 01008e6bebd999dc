"""A repository of signed metadata as files in memory, read from a tar archive or a directory, all of it bounded.

Where a repository comes from is under other hands, so nothing is unpacked to disk: names are only keys here, links and
devices are refused, and the bytes that were read are the bytes that are verified. It knows nothing of what they mean.
"""

from __future__ import annotations

import io
import re
import tarfile
import zlib
from typing import TYPE_CHECKING

from agent.adapters import durable
from agent.core.updates import MAX_ARCHIVE
from agent.errors import BundleError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MAX_FILES = 1_000
MAX_DEPTH = 8

_NAME = re.compile(r"[A-Za-z0-9_%][A-Za-z0-9._%+-]{0,200}")
_GZIP = b"\x1f\x8b"
_GZIP_FORMAT = 31  # zlib: expect a gzip header
_SMALLEST_HINT = "Pack `metadata/` and `targets/` with `tar -cf bundle.tar -C REPOSITORY metadata targets`."


def read_archive(data: bytes) -> Mapping[str, bytes]:
    """Return the files of a tar archive, which may be gzipped, by their names within the repository.

    Raises:
        BundleError: It is no archive, or holds anything but plain files and directories with plain names.
    """
    if len(data) > MAX_ARCHIVE:
        raise _too_large()
    try:
        with tarfile.open(fileobj=io.BytesIO(_unpacked(data)), mode="r:") as archive:
            return _checked(dict(_members(archive)))
    except (tarfile.TarError, ValueError, OverflowError, EOFError, RecursionError, UnicodeError) as error:
        raise _malformed(str(error)[:100] or type(error).__name__) from None


def _unpacked(data: bytes) -> bytes:
    if not data.startswith(_GZIP):
        return data
    unpacker = zlib.decompressobj(_GZIP_FORMAT)
    try:
        plain = unpacker.decompress(data, MAX_ARCHIVE + 1)
    except zlib.error as error:
        raise _malformed(str(error)) from None
    if len(plain) > MAX_ARCHIVE or unpacker.unconsumed_tail:
        raise _too_large()
    return plain


def _members(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    total = 0
    for count, member in enumerate(archive):
        total += member.size
        if count > MAX_FILES or total > MAX_ARCHIVE:
            raise _too_large()
        if member.isdir():
            continue
        if not member.isreg() or member.issparse():
            raise BundleError(
                "archive", f"The archive holds {member.name[:80]!r}, which is no plain file.", hint=_SMALLEST_HINT
            )
        file = archive.extractfile(member)
        content = file.read(member.size) if file else b""
        if len(content) != member.size:
            raise _malformed(f"{member.name[:80]!r} is cut off")
        yield member.name, content


def _checked(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return the files with their names made plain; two that become the same are refused."""
    plain: dict[str, bytes] = {}
    for name, content in files.items():
        parts = name.removeprefix("./").split("/")
        sound = len(parts) <= MAX_DEPTH and all(_NAME.fullmatch(part) for part in parts)
        key = "/".join(parts)
        if not sound or key in plain:
            raise BundleError("archive", f"The archive holds the name {name[:80]!r}, which is not plain, or twice.")
        plain[key] = content
    return plain


def _too_large() -> BundleError:
    return BundleError(
        "too-large", f"The bundle is larger than the {MAX_ARCHIVE >> 20} MiB or {MAX_FILES} files that are looked at."
    )


def _malformed(why: str) -> BundleError:
    return BundleError("archive", f"It is not a sound tar archive ({why}).", hint=_SMALLEST_HINT)


def read_directory(path: Path) -> Mapping[str, bytes]:
    """Return the files below a directory, by their names within it; no link is followed.

    Raises:
        BundleError: It is too large, or cannot be read.
    """
    files: dict[str, bytes] = {}
    try:
        with durable.directory(str(path.resolve())) as fd:
            _collect(fd, "", files, MAX_ARCHIVE)
    except StoreError as error:
        raise BundleError("unreadable", str(error), hint=error.hint) from None
    return _checked(files)


def _collect(dir_fd: int, prefix: str, files: dict[str, bytes], left: int) -> int:
    for name in durable.names(dir_fd):
        if name.startswith("."):
            continue
        if len(files) > MAX_FILES or prefix.count("/") > MAX_DEPTH:
            raise _too_large()
        if durable.is_directory(dir_fd, name):
            with durable.directory(name, dir_fd) as fd:
                left = _collect(fd, f"{prefix}{name}/", files, left)
        else:
            files[f"{prefix}{name}"] = content = durable.read(dir_fd, name, max(left, 0))
            left -= len(content)
    return left


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return files as a tar archive that depends on nothing but them: no times, no owners, sorted by name."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(files[name]), 0o644
            archive.addfile(member, io.BytesIO(files[name]))
    return target.getvalue()


def read_file(path: Path) -> bytes:
    """Return the content of a regular file that may be an archive.

    Raises:
        BundleError: It cannot be read, is no regular file, or too large.
    """
    try:
        with durable.directory(str(path.parent.resolve())) as fd:
            return durable.read(fd, path.name, MAX_ARCHIVE)
    except FileNotFoundError:
        raise BundleError("unreadable", f"{path}: there is no such file.") from None
    except StoreError as error:
        raise BundleError("unreadable", f"{path}: {error}", hint=error.hint) from None
