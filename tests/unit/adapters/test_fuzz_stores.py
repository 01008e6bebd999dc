"""Real stores and archives with a few bytes wrong: entries and errors of the modules' own, in little room.

The same mutants in each run. What a mutant breaks is chosen where it hurts: lengths, tags, dashes, line ends, headers.
"""

from __future__ import annotations

import gzip
import io
import random
import tarfile
import time
import tracemalloc
from base64 import b64decode, b64encode
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from crashkit import points

from agent.adapters import x509
from agent.adapters.archives import pack, read_archive
from agent.core.lint import Known, lint
from agent.core.updates import MAX_ARCHIVE
from agent.errors import BundleError, MaterialError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOTS = Path(__file__).parents[2] / "data" / "roots"
STORES = 60_000
ARCHIVES = 6_000
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


@dataclass
class Tally:
    """What became of the mutants, and what they cost."""

    outcomes: Counter[str] = field(default_factory=Counter)
    worst: float = 0.0

    def time(self, look: Callable[[], str]) -> None:
        """Judge one mutant."""
        start = time.process_time()
        outcome = look()
        self.worst = max(self.worst, time.process_time() - start)
        self.outcomes[outcome] += 1


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
    for finding in lint(entries, Known(), None, soon=timedelta(days=30), amazon=False):
        assert finding.message
    return _kind(sum(entry.facts is not None for entry in entries), len(entries))


def _kind(sound: int, total: int) -> str:
    if not total:
        return "nothing"
    return "sound" if sound == total else ("mixed" if sound else "unreadable")


def stores(number: int, seed: int) -> Iterator[bytes]:
    """Return mutants of small stores: every fourth has its DER changed within sound text."""
    chance = random.Random(seed)  # noqa: S311 - the same mutants in each run
    blocks = certificates()
    small = pieces(chance, blocks)
    for place in range(number):
        yield inside(chance.choice(blocks), chance) if place % 4 == 0 else mutant(chance.choice(small), chance)


def archives(number: int, seed: int) -> Iterator[bytes]:
    """Return mutants of archives as several programs make them, and half of them with the sum of a header put right."""
    chance = random.Random(seed)  # noqa: S311 - the same mutants in each run
    sound = sound_archives(chance)
    for place in range(number):
        data = mutant(chance.choice(sound), chance)
        yield summed(data) if place % 2 else data


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


def test_mutated_stores_are_entries_or_the_modules_own_error() -> None:
    """Sixty thousand, in text, in DER and in the DER within the text; each kind of outcome is met."""
    tally = Tally()
    for data in stores(STORES, seed=20261122):
        tally.time(partial(look_at_store, data))
    points.visited(f"mutated stores read, worst {tally.worst * 1000:.1f} ms", tally.outcomes.total(), at_least=STORES)

    assert all(tally.outcomes[kind] > STORES // 100 for kind in ("sound", "mixed", "unreadable")), tally.outcomes


def test_mutated_archives_are_files_or_the_modules_own_error() -> None:
    """Six thousand, plain and gzipped, with headers whose sum is right again."""
    tally = Tally()
    for data in archives(ARCHIVES, seed=20261123):
        tally.time(partial(look_at_archive, data))
    number = tally.outcomes.total()
    points.visited(f"mutated archives read, worst {tally.worst * 1000:.1f} ms", number, at_least=ARCHIVES)

    assert all(tally.outcomes[kind] > ARCHIVES // 100 for kind in ("read", "archive")), tally.outcomes


@pytest.mark.parametrize("kind", ["stores", "archives"])
def test_no_mutant_needs_much_room(kind: str) -> None:
    """Whatever sizes it claims: a few times its own, and what the library keeps."""
    mutants = list(stores(1_000, seed=3) if kind == "stores" else archives(500, seed=4))
    look = look_at_store if kind == "stores" else look_at_archive
    tracemalloc.start()
    try:
        for data in mutants:
            look(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < ROOM
