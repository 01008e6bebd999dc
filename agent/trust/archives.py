"""A repository of signed metadata as files in memory, read from a tar archive or a directory, all of it bounded.

Where a repository comes from is under other hands, so nothing is unpacked to disk: names are only keys here, links and
devices are refused, and the bytes that were read are the bytes that are verified. It knows nothing of what they mean.

Python's `tarfile` is not asked to read: it keeps a copy of all global headers for each member, which lets a megabyte
become gigabytes, and hostile headers have kept it busy for ever more than once (CVE-2024-6232, CVE-2025-8194).
"""

from __future__ import annotations

import io
import os
import re
import tarfile
import zlib
from typing import TYPE_CHECKING

from agent.core.trust.updates import MAX_ARCHIVE
from agent.errors import BundleError, StoreError
from agent.store.files import disk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

MAX_FILES = 1_000
MAX_DEPTH = 8

_NAME = re.compile(r"[A-Za-z0-9_%][A-Za-z0-9._%+-]{0,200}")
_GZIP = b"\x1f\x8b"
_GZIP_FORMAT = 31  # zlib: expect a gzip header
_BLOCK = 512
_OCTAL = re.compile(rb" *([0-7]{1,11})[ \0]*")
_RECORD = re.compile(rb"([0-9]{1,5}) ")
_FILES, _DIRECTORY = frozenset({b"0", b"\0", b"7"}), b"5"
_LONG_NAME, _EXTENDED, _PASSED_OVER = b"L", b"x", frozenset({b"g", b"K"})
_MAX_EXTENSION = 8_192  # bytes of a long name or an extended header
_SMALLEST_HINT = "Pack `metadata/` and `targets/` with `tar -cf bundle.tar -C REPOSITORY metadata targets`."


def read_archive(data: bytes) -> Mapping[str, bytes]:
    """Return the files of a tar archive, which may be gzipped, by their names within the repository.

    Raises:
        BundleError: It is no archive, or holds anything but plain files and directories with plain names.
    """
    if len(data) > MAX_ARCHIVE:
        raise _too_large()
    try:
        return _checked(_members(_unpacked(data)))
    except UnicodeDecodeError:
        raise _malformed("a name in it is not plain") from None


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
    if not unpacker.eof:
        raise _malformed("it is cut off")
    return plain


def _members(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Return the plain files of a tar archive (POSIX.1-2017, `pax`: ustar, extended headers), with GNU's long names."""
    longer = b""
    for kind, name, content in _headers(data):
        if kind == _LONG_NAME:
            longer = content.rstrip(b"\0")
        elif kind == _EXTENDED:
            longer = _path_of(content) or longer
        elif kind not in _PASSED_OVER:
            shown = (longer or name).decode("ascii")
            if kind in _FILES:
                yield shown, content
            elif kind != _DIRECTORY:
                raise BundleError(
                    "archive", f"The archive holds {shown[:80]!r}, which is no plain file.", hint=_SMALLEST_HINT
                )
            longer = b""


def _headers(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Return type, name and content of each member, extensions included."""
    position = count = 0
    while (header := data[position : position + _BLOCK]).strip(b"\0"):
        count += 1
        if count > 3 * MAX_FILES:  # each with two extensions
            raise _too_large()
        if len(header) < _BLOCK or _number(header[148:156]) != sum(header[:148] + b" " * 8 + header[156:]):
            raise _malformed("it is cut off, or no tar archive at all")
        kind, size = header[156:157], _number(header[124:136])
        content = data[position + _BLOCK : position + _BLOCK + size]
        is_file = kind in _FILES or kind == _DIRECTORY
        if len(content) != size or (not is_file and size > _MAX_EXTENSION):
            raise _malformed("it is cut off, or has a header that is too large")
        yield kind, _name(header), content
        position += _BLOCK + size + -size % _BLOCK
    if not header:
        raise _malformed("it is cut off")


def _number(field: bytes) -> int:
    found = _OCTAL.fullmatch(field)
    if found is None:
        raise _malformed("a number in it cannot be read")
    return int(found[1], 8)


def _name(header: bytes) -> bytes:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _path_of(records: bytes) -> bytes:
    """Return the name in an extended header of records such as ``20 path=a/long/name``, or nothing."""
    position, path = 0, b""
    while found := _RECORD.match(records, position):
        end = position + int(found[1])
        key, _, value = records[found.end() : end - 1].partition(b"=")
        if end <= found.end() or end > len(records):
            break
        if key.startswith(b"GNU.sparse"):
            raise BundleError("archive", "The archive holds a sparse file.", hint=_SMALLEST_HINT)
        path = value if key == b"path" else path
        position = end
    return path


def _checked(files: Iterable[tuple[str, bytes]]) -> dict[str, bytes]:
    """Return the files with their names made plain; two that become the same are refused."""
    plain: dict[str, bytes] = {}
    for name, content in files:
        if len(plain) == MAX_FILES:
            raise _too_large()
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
        with disk.directory(os.path.realpath(path)) as fd:
            _collect(fd, "", files, MAX_ARCHIVE)
    except StoreError as error:
        raise BundleError("unreadable", str(error), hint=_next_step(error)) from None
    return _checked(files.items())


def _collect(dir_fd: int, prefix: str, files: dict[str, bytes], left: int) -> int:
    for name in disk.names(dir_fd):
        if name.startswith("."):
            continue
        if len(files) > MAX_FILES or prefix.count("/") > MAX_DEPTH:
            raise _too_large()
        if disk.is_directory(dir_fd, name):
            with disk.directory(name, dir_fd) as fd:
                left = _collect(fd, f"{prefix}{name}/", files, left)
        else:
            files[f"{prefix}{name}"] = content = disk.read(dir_fd, name, max(left, 0))
            left -= len(content)
    return left


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return files as a tar archive that depends on nothing but them: no times, no owners, sorted by name."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as archive:  # ustar takes no long name
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
        with disk.directory(os.path.realpath(path.parent)) as fd:
            return disk.read(fd, path.name, MAX_ARCHIVE)
    except FileNotFoundError:
        raise BundleError("unreadable", f"{path}: there is no such file.") from None
    except StoreError as error:
        raise BundleError("unreadable", f"{path}: {error}", hint=_next_step(error)) from None


def _next_step(error: StoreError) -> str:
    """Return what to do about a file that a person brought, which is neither the agent's nor in its directories."""
    return "Run it with sudo." if error.denied else error.hint
