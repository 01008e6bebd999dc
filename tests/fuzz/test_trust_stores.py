"""Real stores and archives with a few bytes wrong: entries and errors of the modules' own, in little room.

The same mutants in each run. What a mutant breaks is chosen where it hurts: lengths, tags, dashes, line ends, headers.
"""

from __future__ import annotations

import gzip
import io
import random
import tarfile
import tracemalloc
from base64 import b64decode, b64encode
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.core.trust.anchor_lint import KnownRoots, lint
from agent.core.trust.updates import MAX_ARCHIVE
from agent.crypto import x509
from agent.errors import BundleError, MaterialError
from agent.trust.archives import pack, read_archive
from support.crashkit import points
from support.suite import campaigns

if TYPE_CHECKING:
    from collections.abc import Callable

ROOTS = Path(__file__).parents[1] / "data" / "roots"
STORES = 60_000
ARCHIVES = 6_000
ONE_IN = 30
ROOM = 24 << 20  # bytes; three times the most that is unpacked

BEGIN, END = b"-----BEGIN CERTIFICATE-----\n", b"-----END CERTIFICATE-----\n"
TOKENS = (
    BEGIN, END, b"-----BEGIN ", b"-----", b"\r\n", b"\r", b"\0", b"=", b"====", b"\n\n", b"\xff\xfe", b"\xef\xbb\xbf",
    b"-----BEGIN TRUSTED CERTIFICATE-----\n", b"-----BEGIN PRIVATE KEY-----\n", b"0", b"\x30\x80", b"\x30\x84\xff\xff",
)  # fmt: skip
LENGTHS = (0x00, 0x7F, 0x80, 0x81, 0x82, 0x83, 0x84, 0x88, 0xFF)


def certificates() -> list[bytes]:
    """Return each certificate of the stores once, as a PEM block."""
    blocks: dict[bytes, None] = {}
    for path in sorted(ROOTS.glob("mozilla-*.pem")):
        for part in path.read_bytes().split(BEGIN)[1:]:
            blocks[BEGIN + part.partition(END)[0] + END] = None
    return list(blocks)


def pieces(chance: random.Random, blocks: list[bytes]) -> list[bytes]:
    """Return small stores: each certificate alone, and five at a time, as PEM and as DER."""
    fives = [b"# a store\n\n".join(chance.sample(blocks, 5)) for _ in range(60)]
    ders = [b"".join(binary(block) for block in chance.sample(blocks, 5)) for _ in range(30)]
    return [*blocks, *fives, *(binary(block) for block in blocks[:60]), *ders]


def binary(block: bytes) -> bytes:
    """Return a PEM block as DER."""
    return b64decode(block.removeprefix(BEGIN).removesuffix(END))


# -- mutations ---------------------------------------------------------------------------------------------------------


def flip(data: bytearray, chance: random.Random) -> None:
    """Change a few bytes anywhere."""
    for _ in range(chance.randint(1, 6)):
        data[chance.randrange(len(data))] = chance.randrange(256)


def bend(data: bytearray, chance: random.Random) -> None:
    """Change a length or a tag near the beginning, where those of the whole are."""
    data[chance.randrange(min(len(data), 60))] = chance.choice(LENGTHS)


def cut(data: bytearray, chance: random.Random) -> None:
    """Take a piece away."""
    start = chance.randrange(len(data))
    del data[start : start + chance.choice((1, 2, 30, len(data)))]


def insert(data: bytearray, chance: random.Random) -> None:
    """Put something in that means something."""
    place = chance.randrange(len(data))
    data[place:place] = chance.choice(TOKENS)


def repeat(data: bytearray, chance: random.Random) -> None:
    """Let a piece stand there many times."""
    start = chance.randrange(len(data))
    piece = data[start : start + chance.choice((1, 11, 64, 512))]
    data[start:start] = piece * chance.choice((1, 10, 100))


def swap(data: bytearray, chance: random.Random) -> None:
    """Let two halves change places."""
    place = chance.randrange(len(data))
    data[:] = data[place:] + data[:place]


MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (flip, bend, cut, insert, repeat, swap)


def mutant(data: bytes, chance: random.Random) -> bytes:
    """Return data with one to three things wrong."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3))):
        if changed:
            chance.choice(MUTATIONS)(changed, chance)
    return bytes(changed)


def inside(block: bytes, chance: random.Random) -> bytes:
    """Return a PEM block whose DER is wrong, which mutations of the text hardly reach."""
    return BEGIN + b64encode(mutant(binary(block), chance)) + b"\n" + END


# -- judging -----------------------------------------------------------------------------------------------------------


def look_at_store(data: bytes) -> str:
    """Read a store and lint what is in it, and return what came of it."""
    try:
        entries = x509.read_store(data)
    except MaterialError:
        return "refused"
    for entry in entries:
        assert (entry.facts is None) == bool(entry.problem)
        assert 1 <= entry.line <= data.count(b"\n") + 1
        assert len(entry.problem) < 300
    for finding in lint(entries, KnownRoots(), None, soon=timedelta(days=30), amazon=False):
        assert finding.message
    return _kind(sum(entry.facts is not None for entry in entries), len(entries))


def _kind(sound: int, total: int) -> str:
    if not total:
        return "nothing"
    return "sound" if sound == total else ("mixed" if sound else "unreadable")


def stores() -> Callable[[random.Random], bytes]:
    """Return what makes mutants of small stores: every fourth has its DER changed within sound text."""
    blocks = certificates()
    small = pieces(seeded(), blocks)

    def make(chance: random.Random) -> bytes:
        return mutant(chance.choice(small), chance) if chance.randrange(4) else inside(chance.choice(blocks), chance)

    return make


def archives() -> Callable[[random.Random], bytes]:
    """Return what makes mutants of archives of several programs, and puts the sum of a header right in half of them."""
    sound = sound_archives(seeded())

    def make(chance: random.Random) -> bytes:
        data = mutant(chance.choice(sound), chance)
        return summed(data) if chance.randrange(2) else data

    return make


def seeded() -> random.Random:
    """Return chance that is the same in each run."""
    return random.Random(20261122)  # noqa: S311 - it picks mutations, not keys


def sound_archives(chance: random.Random) -> list[bytes]:
    """Return small archives in every form, plain and gzipped."""
    files = {f"metadata/{name}.json": chance.randbytes(chance.choice((0, 300, 2_000))) for name in "abc"}
    files["targets/" + "a" * 60 + "/" + "b" * 60] = b"x" * 700
    plain = [tar(files, form) for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)]
    return [*plain, pack(files), *(gzip.compress(data, mtime=0) for data in plain)]


def tar(files: dict[str, bytes], form: int) -> bytes:
    """Return an archive, with a time that has fractions, which the extended form tells."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=form) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), 1_700_000_000.5
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


def summed(data: bytes) -> bytes:
    """Return an archive in which the sum of the first header is right again, so that it is looked at further."""
    changed = bytearray(data)
    changed[148:156] = b" " * 8
    changed[148:156] = b"%06o\0 " % sum(changed[:512])
    return bytes(changed)


def look_at_archive(data: bytes) -> str:
    """Read an archive, and return what came of it."""
    try:
        files = read_archive(data)
    except BundleError as error:
        assert str(error).endswith(".")  # noqa: PT017 - whatever is refused is told in a sentence
        assert str(error).isprintable()  # noqa: PT017
        return error.code
    assert sum(map(len, files.values())) <= MAX_ARCHIVE
    assert all(name.isascii() and ".." not in name.split("/") for name in files)
    return "read"


def judged(total: int, make: Callable[[random.Random], bytes], look: Callable[[bytes], str], seed: int) -> Counter[str]:
    """Return what became of the mutants that are taken of so many."""
    outcomes: Counter[str] = Counter()
    campaigns.each(total, lambda chance: outcomes.update([look(make(chance))]), one_in=ONE_IN, seed=seed)
    return outcomes


def test_mutated_stores_are_entries_or_the_modules_own_error() -> None:
    """Sixty thousand, in text, in DER and in the DER within the text; each kind of outcome is met."""
    outcomes = judged(STORES, stores(), look_at_store, seed=20261122)
    points.visited("mutated stores read", outcomes.total(), at_least=(enough := campaigns.least(STORES, ONE_IN)))
    assert all(outcomes[kind] > enough // 100 for kind in ("sound", "mixed", "unreadable")) or enough == 1, outcomes


def test_mutated_archives_are_files_or_the_modules_own_error() -> None:
    """Six thousand, plain and gzipped, with headers whose sum is right again."""
    outcomes = judged(ARCHIVES, archives(), look_at_archive, seed=20261123)
    points.visited("mutated archives read", outcomes.total(), at_least=(enough := campaigns.least(ARCHIVES, ONE_IN)))
    assert all(outcomes[kind] > enough // 100 for kind in ("read", "archive")) or enough == 1, outcomes


@pytest.mark.parametrize("kind", ["stores", "archives"])
def test_no_mutant_needs_much_room(kind: str) -> None:
    """Whatever sizes it claims: a few times its own, and what the library keeps."""
    make, look, number = (stores(), look_at_store, 2_000) if kind == "stores" else (archives(), look_at_archive, 1_000)
    mutants: list[bytes] = []
    campaigns.each(number, lambda chance: mutants.append(make(chance)), one_in=8, seed=20261124)
    tracemalloc.start()
    try:
        for data in mutants:
            look(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < ROOM
