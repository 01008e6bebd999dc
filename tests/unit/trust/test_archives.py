"""Archives from other hands: plain files with plain names, or one refusal, in bounded time and memory."""

from __future__ import annotations

import gzip
import io
import tarfile
import tracemalloc
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.trust.updates import MAX_ARCHIVE
from agent.errors import BundleError
from agent.trust.archives import MAX_DEPTH, MAX_FILES, pack, read_archive
from support.suite.pace import bounded_work
from support.unit.trust.archives import FILES

if TYPE_CHECKING:
    from collections.abc import Callable

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
BLOCK, END = 512, b"\0" * 1024


def member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, **changes: Any) -> tarfile.TarInfo:
    """Return the header of a member."""
    info = tarfile.TarInfo(name)
    info.size, info.type = len(content), kind
    for attribute, value in changes.items():
        setattr(info, attribute, value)
    return info


def raw(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, **changes: Any) -> bytes:
    """Return a member as its blocks, whatever it is."""
    header = member(name, content, kind, **changes).tobuf(tarfile.USTAR_FORMAT)
    return header + content + b"\0" * (-len(content) % BLOCK)


def tar(files: dict[str, bytes], form: int = tarfile.USTAR_FORMAT, **changes: Any) -> bytes:
    """Return an archive as other programs make it."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=form) as archive:
        for name, content in files.items():
            archive.addfile(member(name, content, **changes), io.BytesIO(content))
    return target.getvalue()


def refusal(data: bytes) -> str:
    """Return the code with which an archive is refused."""
    with pytest.raises(BundleError) as error:
        read_archive(data)
    assert str(error.value).endswith(".")
    assert str(error.value).isprintable()
    assert not error.value.passing
    return error.value.code


def forged(field: slice, value: bytes, name: str = "metadata/a.json", content: bytes = b"x" * 700) -> bytes:
    """Return an archive whose first header has a field changed and the sum of its bytes put right."""
    data = bytearray(raw(name, content) + raw("metadata/b.json", b"y") + END)
    data[field] = value.ljust(field.stop - field.start, b"\0")
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:BLOCK])
    return bytes(data)


SIZE, KIND = slice(124, 136), slice(156, 157)


# -- what is read ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("packed", [False, True])
def test_an_archive_of_any_usual_form_is_read(form: str, *, packed: bool) -> None:
    """As `tar`, Python and build systems write it, gzipped or not."""
    data = tar(FILES, FORMATS[form], mtime=1_700_000_000, mode=0o640, uname="builder")

    assert read_archive(gzip.compress(data) if packed else data) == FILES


def test_a_time_with_fractions_brings_an_extended_header_that_is_passed_over() -> None:
    """Python writes one for each file."""
    data = tar(FILES, tarfile.PAX_FORMAT, mtime=1_700_000_000.25)

    assert data.count(b"PaxHeader") == len(FILES)
    assert read_archive(data) == FILES


@pytest.mark.parametrize("form", FORMATS)
def test_a_long_name_is_read_in_every_form(form: str) -> None:
    """A product's directory and a hash are more than the old hundred characters."""
    files = {f"targets/{'product-' * 4}/{'0a' * 32}.{'anchors' * 4}.pem": b"x", "metadata/root.json": b"y"}
    assert max(len(name) for name in files) > 100

    assert read_archive(tar(files, FORMATS[form])) == files


def test_directories_and_a_dot_in_front_are_passed_over() -> None:
    """`tar -C REPOSITORY .` makes them."""
    data = raw("./", kind=tarfile.DIRTYPE) + raw("./metadata", kind=tarfile.DIRTYPE) + raw("./metadata/a.json", b"1")

    assert read_archive(data + END) == {"metadata/a.json": b"1"}


def test_an_archive_of_nothing_has_no_files() -> None:
    """That they are missing is for the reader of the metadata to say."""
    assert read_archive(END) == {}


def test_what_is_packed_reads_back_and_depends_on_nothing_else() -> None:
    """Neither on the order in which files were found, nor on the time, nor on who did it."""
    backwards = dict(reversed(FILES.items()))

    assert pack(FILES) == pack(backwards)
    assert read_archive(pack(FILES)) == FILES
    with tarfile.open(fileobj=io.BytesIO(pack(FILES))) as archive:
        members = archive.getmembers()
    assert [item.name for item in members] == sorted(FILES)
    assert {(item.mtime, item.uid, item.gid, item.uname, item.mode) for item in members} == {(0, 0, 0, "", 0o644)}


def test_a_long_name_is_packed_as_well() -> None:
    """A hash and a target's name are more than the old hundred characters together."""
    files = {"targets/" + "0a" * 32 + "." + "n" * 100: b"x", "metadata/1.root.json": b"y"}

    assert read_archive(pack(files)) == files
    assert pack(files) == pack(dict(reversed(files.items())))


# -- what is not -------------------------------------------------------------------------------------------------------


KINDS = {
    "symbolic link": tarfile.SYMTYPE, "hard link": tarfile.LNKTYPE, "character device": tarfile.CHRTYPE,
    "block device": tarfile.BLKTYPE, "pipe": tarfile.FIFOTYPE, "sparse": tarfile.GNUTYPE_SPARSE, "unknown": b"Z",
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_plain_file_is_refused(kind: str) -> None:
    """Wherever it stands, and whatever it points at."""
    odd = raw("metadata/odd.json", kind=KINDS[kind], linkname="../../etc/passwd")
    for data in (odd + raw("a.json", b"1"), raw("a.json", b"1") + odd):
        assert refusal(data + END) == "archive"


def test_a_sparse_file_of_the_extended_form_is_refused() -> None:
    """A few bytes that stand for a terabyte."""
    records = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n30 GNU.sparse.realsize=1000000\n"
    data = raw("x", records, kind=tarfile.XHDTYPE) + raw("metadata/a.json", b"1\n0\n0\n".ljust(BLOCK, b"\0")) + END

    assert refusal(data) == "archive"


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd", "../a.json", "metadata/../../a.json", "metadata/..", "..", ".", "./.", "metadata//a.json",
        "metadata/.hidden", "metadata/a b", "metadata/a\\b", "metadata/a\nb", "metadata/\x1b[31m", "C:/a.json", "-rf",
        "metadata/" + "x" * 202, "/".join("a" * (MAX_DEPTH + 1)), "././a.json", "metadata/a:b", "~/a.json", "a/",
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_a_name_that_is_not_plain_is_refused(name: str, form: str) -> None:
    """Nothing is unpacked, and still nothing is read that another tool would write elsewhere."""
    assert refusal(tar({"metadata/a.json": b"", name: b"1"}, FORMATS[form])) == "archive"


@pytest.mark.parametrize("name", ["metadata/ä.json", "metadata/\u202ea.json"])
@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_a_name_beyond_ascii_is_refused(name: str, form: str) -> None:
    """In whatever encoding."""
    assert refusal(tar({name: b"1"}, FORMATS[form])) == "archive"


@pytest.mark.parametrize("second", ["metadata/a.json", "./metadata/a.json"])
def test_two_files_of_one_name_are_refused(second: str) -> None:
    """Which of them is meant depends on the tool, so neither is."""
    assert refusal(raw("metadata/a.json", b"1") + raw(second, b"2") + END) == "archive"


@pytest.mark.parametrize("data", [b"", b"x", b"x" * 10_000, b"{}", b"-----BEGIN CERTIFICATE-----\n" * 100])
def test_what_is_no_archive_is_refused(data: bytes) -> None:
    """With one word for all of it."""
    assert refusal(data) == "archive"


def test_a_truncated_archive_is_refused() -> None:
    """Wherever it was cut off before its end: in a header, in a file, between two."""
    data = tar(FILES)
    whole = sum(BLOCK + len(content) + -len(content) % BLOCK for content in FILES.values())

    for length in (*range(1, whole, 97), *range(BLOCK, whole + 1, BLOCK)):
        assert refusal(data[:length]) == "archive", length
    assert read_archive(data[: whole + BLOCK]) == FILES


def test_a_truncated_gzip_is_refused() -> None:
    """Also where all of the files are in what came: what else would have is unknown."""
    data = gzip.compress(tar(FILES))
    for length in range(2, len(data), 7):
        assert refusal(data[:length]) == "archive", length


def test_a_gzip_with_a_wrong_sum_is_refused() -> None:
    """It was damaged on the way."""
    data = bytearray(gzip.compress(tar(FILES)))
    data[-5] ^= 1

    assert refusal(bytes(data)) == "archive"


@pytest.mark.parametrize("at", [0, 100, 125, 149, 257])
def test_a_header_that_was_changed_is_refused(at: int) -> None:
    """Its sum does not fit any more."""
    data = bytearray(tar(FILES))
    data[at] ^= 1

    assert refusal(bytes(data)) == "archive"


@pytest.mark.parametrize(
    "size",
    [
        b"\xff" * 11 + b"\x00",
        b"\xff" * 10 + b"\xfe\x00",
        b"\x80" + b"\0" * 6 + b"\x7f" + b"\xff" * 4,
        b"77777777777",
        b"-0000000512",
        b"1_000",
        b"0x10",
        b"abc",
        b"",
    ],
)
def test_a_size_that_lies_is_refused(size: bytes) -> None:
    """Negative, beyond everything, or no number: it neither loops nor reserves anything."""
    assert refusal(forged(SIZE, size)) in {"archive", "too-large"}


def test_a_file_that_hides_others_is_read_as_what_it_says() -> None:
    """The size decides; what looks like a header within a file is its content."""
    inner = raw("metadata/evil.json", b"1")

    assert read_archive(raw("targets/a", inner) + END) == {"targets/a": inner}


# -- too much ----------------------------------------------------------------------------------------------------------


def bounded(data: bytes) -> str:
    """Return the code of a refusal that took neither much work nor much memory."""
    with bounded_work():
        refusal(data)
    tracemalloc.start()
    code = refusal(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 * MAX_ARCHIVE
    return code


def test_an_archive_at_the_limit_is_read_and_one_beyond_is_not() -> None:
    """To the byte, padding included; packed it may not become more either."""
    content = b"x" * (MAX_ARCHIVE - 4 * BLOCK)
    data = raw("targets/a", content) + END
    assert len(data) <= MAX_ARCHIVE
    data = data.ljust(MAX_ARCHIVE, b"\0")

    assert read_archive(data) == read_archive(gzip.compress(data, 1)) == {"targets/a": content}
    assert bounded(data + b"\0") == bounded(gzip.compress(data + b"\0", 1)) == "too-large"


def test_a_gzip_bomb_is_refused() -> None:
    """Ten megabytes of nothing, and a gigabyte of it, are a few bytes packed."""
    packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    first, again = (packer.compress(b"\0" * 5_000_000) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    for times in (1, 200):
        bomb = first + again * times
        assert len(bomb) < MAX_ARCHIVE
        assert bounded(bomb) == "too-large"


def test_many_members_are_refused() -> None:
    """A hundred thousand of them, empty or directories, packed or as far as they fit; as many as allowed are read."""
    one = [raw("a", kind=tarfile.DIRTYPE), raw("metadata/x", b"")]
    most = b"".join(raw(f"metadata/{number}", b"") for number in range(MAX_FILES))

    assert len(read_archive(most + END)) == MAX_FILES
    assert bounded(most + raw("metadata/more") + END) == "too-large"
    for header in one:
        assert bounded(gzip.compress(header * 16_000 + END, 1)) in {"too-large", "archive"}
        assert bounded(gzip.compress(header * 100_000 + END, 1)) == "too-large"


def records(number: int, size: int) -> bytes:
    """Return so many records of an extended header, each with a name of its own."""
    found = []
    for key in range(number):
        text = b"%08x=%s\n" % (key, b"v" * size)
        length = len(text) + 3
        found.append(b"%d %s" % (length, text))
        assert len(found[-1]) == length
    return b"".join(found)


@pytest.mark.parametrize(
    "head",
    [
        lambda: raw("g", records(30_000, 70), kind=tarfile.XGLTYPE),
        lambda: raw("g", records(300, 1), kind=tarfile.XGLTYPE) * 300,
        lambda: raw("x", records(30_000, 70), kind=tarfile.XHDTYPE),
        lambda: raw("x", b"1" * 3_000_000, kind=tarfile.XHDTYPE),
        lambda: raw("x", b"9 " + b"1" * 3_000_000, kind=tarfile.XHDTYPE),
        lambda: raw("x", b"5 a=\n" * 600_000, kind=tarfile.XHDTYPE),
        lambda: raw("L", b"a" * 3_000_000, kind=tarfile.GNUTYPE_LONGNAME),
        lambda: raw("L", b"a", kind=tarfile.GNUTYPE_LONGNAME) * 5_000,
        lambda: raw("K", b"a", kind=tarfile.GNUTYPE_LONGLINK) * 5_000,
        lambda: raw("x", b"", kind=tarfile.XHDTYPE) * 5_000,
    ],
    ids=["global", "globals", "extended", "digits", "length", "small", "name", "names", "links", "nothing"],
)
def test_headers_made_to_be_expensive_are_not(head: Callable[[], bytes]) -> None:
    """A thousand members after them cost no more than without them."""
    members = b"".join(raw(f"d{number}", kind=tarfile.DIRTYPE) for number in range(1_000))
    data = head() + members + raw("metadata/..") + END

    assert bounded(data) in {"too-large", "archive"}
