"""Metadata gone wrong, thousands of it, also with sound signatures: one kind of error comes out."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from securesystemslib.exceptions import FormatError

from agent.core.timekeeping import ClockState, Reading
from agent.errors import BundleError
from agent.trust.archives import read_archive
from agent.trust.tuf_client import BundleReader, Files
from support.publishing import signing
from support.publishing.signing import Habits, Publisher
from support.suite import campaigns

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
CLOCK = Reading(now=NOW, state=ClockState.SYNCHRONISED, floor=NOW)
ROUNDS = len(campaigns.places(400, 7))  # of each kind; about 5 ms each
LONGEST = 600  # characters of a message; what is quoted of a name may be escaped

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, "", "a", "0", "\0", "\ud800", "../..", "/", "%00", "x" * 5_000,
    "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "2027-13-01T00:00:00Z", "1.0.31", "99.0", "sha256", [], [[]], {},
    [None], {"": {}}, {"x": None}, ["targets"], {"sha256": ""}, {"keyids": [], "threshold": 0}, 1.5, float("inf"),
]  # fmt: skip


@dataclass(frozen=True)
class Seed:
    """What is mutated."""

    publisher: Publisher
    files: dict[str, bytes]
    memory: dict[str, bytes]

    @property
    def read(self) -> list[str]:
        """The names of the files that are read of it."""
        asked: list[str] = []

        class Watched(Files):
            def pieces(self, name: str) -> Iterator[bytes]:
                yield from super().pieces(name)
                asked.append(name)

        BundleReader(self.publisher.first_root, self.memory, CLOCK).read(Watched(self.files), signing.TARGET)
        return sorted(asked)

    @property
    def signed(self) -> list[str]:
        """The names of those that are signed."""
        return [name for name in self.read if name.startswith("metadata/")]


@pytest.fixture(scope="module", params=[Habits(), Habits(keys=2, threshold=2, consistent=False, hashed=True)])
def seed(request: pytest.FixtureRequest) -> Seed:
    """Return two publications, the second after a rotation, and what a gateway learnt of the first."""
    publisher = Publisher(NOW, request.param)
    first = publisher.publish(b"first", custom={"issued": "2027-03-01T00:00:00Z", "compatible": ["gw-1"]})
    reader = BundleReader(publisher.first_root, {}, CLOCK)
    reader.read(Files(first), signing.TARGET)
    publisher.rotate("root")
    files = publisher.publish(b"second", custom={"issued": "2027-03-01T00:00:00Z", "compatible": ["gw-1"]})
    return Seed(publisher, files, reader.memory)


@pytest.fixture(autouse=True)
def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the disk: each of thousands of readings makes a directory."""
    if Path("/dev/shm").is_dir():  # noqa: S108 - it is a place, not a name in it
        monkeypatch.setattr(tempfile, "tempdir", "/dev/shm")  # noqa: S108


def judged(
    seed: Seed, files: dict[str, bytes], root: bytes | None = None, memory: dict[str, bytes] | None = None
) -> str:
    """Return how a mutant is judged; whatever it is, it is a sentence."""
    kept = seed.memory if memory is None else memory
    reader = BundleReader(root or seed.publisher.first_root, kept, CLOCK)
    try:
        reader.read(Files(files), signing.TARGET)
    except BundleError as error:
        code, message = error.code, str(error)
    else:
        code, message = "accepted", "."
    finally:
        assert set(kept) <= set(reader.memory)
    assert is_sentence(message), message
    return code


def seeded(number: int) -> Random:
    """Return chance that is the same each time."""
    return Random(number)  # noqa: S311 - it picks mutations, not keys


def is_sentence(text: str) -> bool:
    """Whether a message is one that people can be shown."""
    return text.endswith(".") and text.isprintable() and len(text) < LONGEST


def scrambled(data: bytes, random: Random) -> bytes:
    """Return bytes with a few of them changed, gone, doubled or moved."""
    for _ in range(random.randint(1, 4)):
        at, end = sorted(random.randrange(len(data) + 1) for _ in range(2))
        match random.randrange(5):
            case 0:
                data = data[:at] + random.randbytes(random.randint(1, 3)) + data[at + 1 :]
            case 1:
                data = data[:at] + data[end:] if random.random() < 0.1 else data[:at] + data[at + 1 :]
            case 2:
                data = data[:end] + data[at:]
            case 3:
                data = (
                    data[:at]
                    + random.choice([b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\u0000", b"9" * 400])
                    + data[at:]
                )
            case _:
                data = data[: max(at, 1)] if random.random() < 0.1 else data.replace(b"1", b"-1", 1)
        data = data or b"\0"
    return data


def places(plain: Any) -> list[tuple[Any, Any]]:
    """Return every place in JSON data: what holds it, and under which name or number."""
    found: list[tuple[Any, Any]] = []
    if isinstance(plain, dict):
        found += [(plain, name) for name in plain]
    elif isinstance(plain, list):
        found += [(plain, number) for number in range(len(plain))]
    for holder, place in list(found):
        found += places(holder[place])
    return found


def bent(plain: Any, random: Random) -> Any:
    """Return JSON data with one to three of its places odd, renamed, gone, or holding what another one holds."""
    plain = json.loads(json.dumps(plain))
    for _ in range(random.randint(1, 3)):
        found = places(plain)
        if not found:
            break
        holder, place = random.choice(found)
        match random.randrange(4):
            case 0:
                del holder[place]
            case 1 if isinstance(holder, dict):
                holder[str(random.choice(ODD))[:300]] = holder.pop(place)
            case 2:
                other, there = random.choice(found)
                holder[place] = json.loads(json.dumps(other.get(there) if isinstance(other, dict) else None))
            case _:
                holder[place] = random.choice(ODD)
    return plain


def role_of(name: str) -> str:
    """Return the role whose file this is."""
    return name.removesuffix(".json").rpartition("/")[2].rpartition(".")[2]


def signed_again(seed: Seed, name: str, plain: Any) -> bytes | None:
    """Sign JSON for a role, by its own keys, or None when it cannot be signed at all."""
    try:
        return signing.sign_plain(plain, seed.publisher.signers[role_of(name)])
    except (FormatError, UnicodeEncodeError, TypeError, ValueError):
        return None


def test_scrambled_files_are_refused_or_make_no_difference(seed: Seed) -> None:
    """Without a signature, any change is one that is not signed."""
    random, codes, names = seeded(1), Counter[str](), seed.read
    for _ in range(ROUNDS):
        name = random.choice(names)
        codes[judged(seed, seed.files | {name: scrambled(seed.files[name], random)})] += 1
    assert {"malformed", "threshold"} <= set(codes)
    assert codes["accepted"] < ROUNDS // 3, codes  # the first root, which is not read again, and white space


def test_bent_metadata_without_a_signature_is_refused(seed: Seed) -> None:
    """Whatever of it was changed, also among the signatures."""
    random, codes = seeded(2), Counter[str]()
    names = seed.signed
    for _ in range(ROUNDS):
        name = random.choice(names)
        plain = bent(json.loads(seed.files[name]), random)
        codes[judged(seed, seed.files | {name: json.dumps(plain).encode()})] += 1
    assert {"malformed", "threshold"} <= set(codes)


def test_bent_metadata_with_a_sound_signature_is_one_sentence(seed: Seed) -> None:
    """Another make of signer may write anything; what it signs is no excuse for falling over."""
    random, codes = seeded(3), Counter[str]()
    names = seed.signed
    while codes.total() < ROUNDS:
        name = random.choice(names)
        data = signed_again(seed, name, bent(json.loads(seed.files[name])["signed"], random))
        if data is not None:
            codes[judged(seed, seed.files | {name: data})] += 1
    assert len(codes) > 2, codes


def test_bent_custom_data_with_sound_signatures_is_one_sentence() -> None:
    """What is read of it was signed by a key that may sign, in whatever form."""
    random, codes, publisher = seeded(4), Counter[str](), Publisher(NOW)
    files = publisher.publish(b"x", custom={"issued": "2027-03-01T00:00:00Z", "compatible": ["gw-1"]})
    seed = Seed(publisher, files, {})
    while codes.total() < ROUNDS:
        plain = publisher.targets.to_dict()
        plain["targets"][signing.TARGET] = bent(plain["targets"][signing.TARGET], random)
        data = signed_again(seed, "metadata/1.targets.json", plain)
        if data is not None:
            codes[judged(seed, files | {"metadata/1.targets.json": data})] += 1
    assert {"accepted", "malformed"} <= set(codes), codes


def test_a_bent_trusted_root_is_one_sentence(seed: Seed) -> None:
    """Signed or not; it lies on the gateway and may be a mistake."""
    random, codes = seeded(5), Counter[str]()
    signers = Publisher(NOW).signers["root"]
    for round_ in range(ROUNDS // 2):
        plain = json.loads(seed.publisher.first_root)
        try:
            data = signing.sign_plain(bent(plain["signed"], random), signers)
        except (FormatError, UnicodeEncodeError, TypeError, ValueError):
            data = scrambled(seed.publisher.first_root, random)
        codes[judged(seed, seed.files, scrambled(data, random) if round_ % 2 else data)] += 1
    assert codes["trusted-root"] > ROUNDS // 4, codes


def test_a_damaged_memory_is_one_sentence_or_as_good_as_none(seed: Seed) -> None:
    """It is verified again, like what comes."""
    random, codes = seeded(6), Counter[str]()
    for _ in range(ROUNDS // 2):
        name = random.choice(sorted(seed.memory))
        codes[judged(seed, seed.files, memory=seed.memory | {name: scrambled(seed.memory[name], random)})] += 1
    assert codes["accepted"], codes


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_scrambled_archives_are_refused_or_files(mode: str, seed: Seed) -> None:
    """Before any signature is looked at, so all of it is the attacker's."""
    random, outcomes = seeded(7), Counter[str]()
    data = signing.archive(seed.files, mode=mode)
    for _ in range(ROUNDS):
        try:
            files = read_archive(headers_scrambled(data, random) if mode == "w" else scrambled(data, random))
        except BundleError as error:
            outcomes["refused" if is_sentence(str(error)) else str(error)] += 1
        else:
            assert all(isinstance(content, bytes) for content in files.values())
            outcomes["files"] += 1
    assert "refused" in outcomes
    assert set(outcomes) <= {"refused", "files"}


def headers_scrambled(data: bytes, random: Random) -> bytes:
    """Return a tar archive with a field of one of its headers changed, and the checksum right again."""
    changed = bytearray(data)
    at = random.choice([at for at in range(0, len(data), 512) if data[at + 257 : at + 262] == b"ustar"])
    field, length = random.choice(
        [(0, 100), (100, 8), (124, 12), (136, 12), (156, 1), (157, 100), (257, 8), (345, 155)]
    )
    value = random.choice(
        [
            random.randbytes(length),
            b"\x80" + b"\xff" * (length - 1),
            b"\xff" * length,
            b"7" * length,
            b"x",
            b"g",
            b"S",
            b"L",
        ]
    )
    changed[at + field : at + field + length] = value[:length].ljust(length, b"\0")
    changed[at + 148 : at + 156] = b" " * 8
    changed[at + 148 : at + 156] = b"%06o\0 " % sum(changed[at : at + 512])
    return bytes(changed)


def test_what_the_signer_of_these_tests_writes_is_accepted(seed: Seed) -> None:
    """Unchanged, and signed again unchanged: else the tests above would refuse for nothing."""
    assert judged(seed, seed.files) == "accepted"
    assert {role_of(name) for name in seed.signed} == set(signing.ROLES)
    for name in seed.signed:
        data = signed_again(seed, name, json.loads(seed.files[name])["signed"])
        assert data is not None
        listed = seed.publisher.habits.hashed and role_of(name) in {"snapshot", "targets"}
        root = role_of(name) == "root"  # which needs the old keys too
        expected = "threshold" if root else ("wrong-length" if listed else "accepted")
        assert judged(seed, seed.files | {name: data}) == expected
