"""A generation is whole or it is not used: every kind of damage is seen."""

from __future__ import annotations

import hashlib
import os
import socket
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.core.change.records import decode_manifest, encode_manifest
from agent.core.values import Generation, Provenance, TrustBundle, TrustSource
from agent.errors import DamagedError, StoreError
from agent.store.files.durable import Modes
from agent.store.names import CREDENTIAL, KEY, MANIFEST, TRUST
from agent.store.sets import generations, remains
from agent.store.store import Store
from support.crashkit.material import NOW, THING, material
from support.crashkit.scenarios import rotated
from support.crashkit.tree import materialise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MODES = Modes()
EVERY_FILE = (*generations.FILES, MANIFEST)


def _prepare(folder: int, number: int = 1) -> None:
    ours = material(number)
    generations.prepare(folder, ours.manifest("change-1"), ours.content, ours.trust, MODES)


def _link(path: Path) -> None:
    path.symlink_to("elsewhere")


def _bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def _is_damaged(folder: int, number: int = 1) -> str:
    with pytest.raises(DamagedError) as caught:
        generations.read(folder, number)
    return str(caught.value)


# -- whole ---------------------------------------------------------------------------------------------------------


def test_a_prepared_generation_is_read_back(folder: int) -> None:
    """What was put in comes out, checked."""
    _prepare(folder)
    found: Generation = generations.read(folder, 1)
    assert found.credential == material(1).content
    assert (found.number, found.manifest.thing_name) == (1, THING)


def test_preparing_keeps_the_staged_key_and_drops_the_rest(tmp_path: Path, folder: int) -> None:
    """The request is gone, and nothing but the five files is left."""
    ours = material(1)
    generations.stage_key(folder, 1, ours.key_pem, MODES)
    _prepare(folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000001"]
    assert sorted(path.name for path in (tmp_path / "000001").iterdir()) == sorted(EVERY_FILE)


def test_preparing_keeps_no_staged_key_that_is_another(tmp_path: Path, folder: int) -> None:
    """As one that rotted since: it is overwritten, the certificate's own is written, and the generation is whole."""
    other = material(2)
    generations.stage_key(folder, 1, other.key_pem, MODES)
    with (tmp_path / ".000001" / KEY).open("rb") as staged:
        _prepare(folder)
        assert staged.read() == bytes(len(other.key_pem))
    assert generations.read(folder, 1).credential == material(1).content


def test_preparing_twice_changes_nothing(tmp_path: Path, folder: int) -> None:
    """A crash after the rename is repeated without harm."""
    _prepare(folder)
    before = (tmp_path / "000001").stat().st_ino
    _prepare(folder)
    assert (tmp_path / "000001").stat().st_ino == before


def test_a_generation_is_not_prepared_over_a_damaged_one(tmp_path: Path, folder: int) -> None:
    """Nothing is repaired in place."""
    _prepare(folder)
    (tmp_path / "000001" / TRUST).write_bytes(b"x")
    with pytest.raises(DamagedError):
        _prepare(folder)


def test_one_file_holds_key_and_certificate(tmp_path: Path, folder: int) -> None:
    """Programs that must read both in one open get a matching pair."""
    _prepare(folder)
    both = (tmp_path / "000001" / CREDENTIAL).read_bytes()
    assert both == material(1).key_pem + material(1).content.certificate_pem


# -- damaged -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [Path.touch, os.mkfifo, _link, _bind])
def test_what_is_no_directory_in_place_of_a_generation_is_damage(
    tmp_path: Path, folder: int, make: Callable[[Path], object]
) -> None:
    """So the ladder is climbed. Nothing of it is salvaged, and it can be erased: it must not stop each change."""
    make(tmp_path / "000001")

    assert "where a directory is expected" in _is_damaged(folder)
    assert generations.manifest_of(folder, "000001") is None
    assert remains.handmade(folder, 1) is None
    assert remains.salvage(folder, 1) is None
    assert not remains.half_replaced(folder, 1)
    generations.erase(folder, "000001")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", EVERY_FILE)
def test_one_flipped_bit_anywhere_is_seen(tmp_path: Path, folder: int, file: str) -> None:
    """In every file, the manifest with its seal included, at 101 places from the first byte to the last."""
    _prepare(folder)
    path = tmp_path / "000001" / file
    whole = path.read_bytes()
    for step in range(101):
        place = step * (len(whole) - 1) // 100
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        _is_damaged(folder)


@pytest.mark.parametrize("file", EVERY_FILE)
def test_an_empty_file_is_seen(tmp_path: Path, folder: int, file: str) -> None:
    """As a power cut may leave it on a careless file system."""
    _prepare(folder)
    (tmp_path / "000001" / file).write_bytes(b"")
    assert "Generation 1 is damaged" in _is_damaged(folder)


@pytest.mark.parametrize("file", EVERY_FILE)
def test_a_missing_file_is_seen_and_named(tmp_path: Path, folder: int, file: str) -> None:
    """The sentence says which."""
    _prepare(folder)
    (tmp_path / "000001" / file).unlink()
    assert f"{file} is missing" in _is_damaged(folder)


@pytest.mark.parametrize("file", EVERY_FILE)
def test_a_link_in_place_of_a_file_is_seen(tmp_path: Path, folder: int, file: str) -> None:
    """Even when it leads to the very same bytes."""
    _prepare(folder)
    path = tmp_path / "000001" / file
    path.rename(tmp_path / "elsewhere")
    path.symlink_to("../elsewhere")
    assert "symbolic link" in _is_damaged(folder)


@pytest.mark.parametrize("file", EVERY_FILE)
def test_a_fifo_in_place_of_a_file_is_seen_and_does_not_hang(tmp_path: Path, folder: int, file: str) -> None:
    """No process will ever write to it."""
    _prepare(folder)
    path = tmp_path / "000001" / file
    path.unlink()
    os.mkfifo(path)
    assert "is a pipe, where a regular file is expected" in _is_damaged(folder)


@pytest.mark.parametrize("file", EVERY_FILE)
def test_a_directory_in_place_of_a_file_is_seen(tmp_path: Path, folder: int, file: str) -> None:
    """It is damage like any other, not an error of another kind."""
    _prepare(folder)
    path = tmp_path / "000001" / file
    path.unlink()
    path.mkdir()
    assert "is a directory, where a regular file is expected" in _is_damaged(folder)


def test_an_oversize_file_is_seen(tmp_path: Path, folder: int) -> None:
    """It is not read beyond its bound."""
    _prepare(folder)
    (tmp_path / "000001" / TRUST).write_bytes(b"x" * (generations.MAX_FILE + 1))
    assert "larger than" in _is_damaged(folder)


def test_the_key_of_another_certificate_is_seen_under_a_consistent_manifest(tmp_path: Path, folder: int) -> None:
    """Hashes that fit prove nothing about a pair that does not."""
    _prepare(folder)
    foreign = material(2).key_pem
    _forge(tmp_path, {"key.pem": foreign, "credential.pem": foreign + material(1).content.certificate_pem})
    assert "the private key does not belong to the certificate" in _is_damaged(folder)


def test_a_credential_file_that_is_not_the_pair_is_seen(tmp_path: Path, folder: int) -> None:
    """All copies of a key must be the same."""
    _prepare(folder)
    _forge(tmp_path, {"credential.pem": material(2).key_pem + material(1).content.certificate_pem})
    assert "credential.pem is not its key and certificate" in _is_damaged(folder)


def test_another_certificate_than_the_manifest_says_is_seen(tmp_path: Path, folder: int) -> None:
    """A whole pair of another generation does not pass."""
    _prepare(folder)
    other = material(2)
    both = other.key_pem + other.content.certificate_pem
    _forge(
        tmp_path,
        {"key.pem": other.key_pem, "certificate.pem": other.content.certificate_pem, "credential.pem": both},
    )
    assert "its manifest is for another certificate" in _is_damaged(folder)


def test_an_empty_trust_bundle_is_seen(tmp_path: Path, folder: int) -> None:
    """The SDK would take it for "trust what the system trusts"."""
    _prepare(folder)
    _forge(tmp_path, {"trust.pem": b""})
    assert "there is no PEM certificate in it" in _is_damaged(folder)


def _forge(path: Path, files: dict[str, bytes]) -> None:
    """Put files into generation 1 and make its manifest fit."""
    home = path / "000001"
    for name, data in files.items():
        (home / name).write_bytes(data)
    manifest = decode_manifest((home / "manifest.json").read_bytes(), "manifest.json")
    hashes = dict(manifest.files) | {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    (home / "manifest.json").write_bytes(encode_manifest(replace(manifest, files=hashes)))


def test_a_generation_under_another_number_is_seen(tmp_path: Path, folder: int) -> None:
    """A copied directory is not another generation."""
    _prepare(folder)
    (tmp_path / "000001").rename(tmp_path / "000002")
    assert "its manifest is that of generation 1" in _is_damaged(folder, 2)


def test_a_manifest_that_names_other_files_is_seen(tmp_path: Path, folder: int) -> None:
    """Every file must be covered, and no other."""
    _prepare(folder)
    path = tmp_path / "000001" / MANIFEST
    manifest = decode_manifest(path.read_bytes(), "manifest.json")
    path.write_bytes(encode_manifest(replace(manifest, files={"key.pem": "0" * 64})))
    assert "does not name the right files" in _is_damaged(folder)


def test_a_missing_generation_is_said_to_be_missing(folder: int) -> None:
    """Nothing is there under its number."""
    assert _is_damaged(folder, 9) == "Generation 9 is missing."


def test_a_trust_bundle_is_never_empty_when_it_is_prepared(folder: int) -> None:
    """What is prepared can be read back, or it is refused then."""
    ours = material(1)
    generations.prepare(folder, ours.manifest("c"), ours.content, TrustBundle(pem=b"", anchors=()), MODES)
    _is_damaged(folder)


# -- stages --------------------------------------------------------------------------------------------------------


def test_a_staged_key_is_read_back(folder: int) -> None:
    """It survives a restart."""
    ours = material(1)
    generations.stage_key(folder, 1, ours.key_pem, MODES)
    assert generations.staged_key(folder, 1) == ours.key_pem


def test_staging_again_begins_anew(folder: int) -> None:
    """An earlier key of the same number is erased."""
    generations.stage_key(folder, 1, b"junk", MODES)
    ours = material(1)
    generations.stage_key(folder, 1, ours.key_pem, MODES)
    assert generations.staged_key(folder, 1) == ours.key_pem


def test_a_staged_key_that_is_gone_or_damaged_is_said_to_be(tmp_path: Path, folder: int) -> None:
    """A certificate for it is worthless, so it must be noticed."""
    with pytest.raises(DamagedError, match="is missing"):
        generations.staged_key(folder, 1)
    generations.stage_key(folder, 1, b"junk", MODES)
    with pytest.raises(DamagedError, match="is damaged"):
        generations.staged_key(folder, 1)
    (tmp_path / ".000001" / KEY).unlink()
    with pytest.raises(DamagedError, match="is missing"):
        generations.staged_key(folder, 1)


def test_names_tell_what_is_what(tmp_path: Path, folder: int) -> None:
    """Final, staged, rejected and strange names are told apart, and the highest number counts them all."""
    for name in ("000002", ".000003", "000004.rejected", ".000005.rejected", "lost+found"):
        (tmp_path / name).mkdir()
    listing = generations.listing(folder)
    assert (listing.final, listing.staged, listing.rejected) == ((2,), (3,), (4,))
    assert listing.strange == (".000005.rejected", "lost+found")
    assert max(listing.taken) == 4


# -- never used ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", EVERY_FILE)
def test_a_damaged_generation_never_becomes_current(tmp_path: Path, file: str) -> None:
    """Activating it and going back to it are both refused, and recovery leaves it for a whole one."""
    path = tmp_path / "state"
    materialise(rotated(3), path)
    (path / "generations" / "000003" / file).write_bytes(b"\xa5")
    with Store(path) as store:
        store.lock()
        for move in (store.activate, lambda number: store.roll_back(number, 2)):
            with pytest.raises(StoreError):
                move(3)
        assert "Generation 2 is whole and is current now." in store.recover(NOW).notes[0]
        assert (store.current(), store.previous()) == (2, 1)


# -- where the anchors came from ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "provenance",
    [
        None,
        Provenance(source=TrustSource.BAKED),
        Provenance(source=TrustSource.BUNDLE, version=7, issued_at=datetime(2026, 11, 1, tzinfo=UTC)),
    ],
    ids=str,
)
def test_a_generation_keeps_where_its_anchors_came_from(folder: int, provenance: Provenance | None) -> None:
    """What the bundle says counts, not what the manifest it was made from said of older anchors."""
    ours = material(1)
    stale = replace(ours.manifest("c"), trust=Provenance(source=TrustSource.BUNDLE, version=1))
    generations.prepare(folder, stale, ours.content, replace(ours.trust, provenance=provenance), MODES)
    found = generations.read(folder, 1)

    assert found.trust.provenance == found.manifest.trust == provenance


# -- what the owner may not read ---------------------------------------------------------------------------------------

OWNER, OTHER = 4101, 4102  # which no account has


@contextmanager
def acting(uid: int) -> Iterator[None]:
    """Be another user, for whom modes count."""
    if os.geteuid() != 0:
        assert os.environ.get("CI") != "true", "these tests run as root in continuous integration"
        pytest.skip("needs root")
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


def _given_to_owner(path: Path) -> None:
    for item in (path, *path.rglob("*")):
        os.chown(item, OWNER, OWNER)


@pytest.mark.parametrize("which", ["key.pem", "trust.pem", "."])
@pytest.mark.parametrize("way", ["mode", "owner"])
def test_what_not_even_its_owner_may_read_is_damaged(tmp_path: Path, folder: int, which: str, way: str) -> None:
    """No program will, before a person has acted; so the gateway goes on with another set meanwhile."""
    _prepare(folder)
    _given_to_owner(tmp_path)
    target = tmp_path / "000001" / which
    target.chmod(0) if way == "mode" else os.chown(target, 0, 0)
    with acting(OWNER):
        assert "Permission denied" in _is_damaged(folder)
        assert remains.handmade(folder, 1) is None
        assert not remains.half_replaced(folder, 1)


def test_what_another_user_may_not_read_says_nothing_about_it(tmp_path: Path, folder: int) -> None:
    """A technician without sudo must not be told that the set is damaged."""
    _prepare(folder)
    _given_to_owner(tmp_path)
    with acting(OTHER), pytest.raises(StoreError) as caught:
        generations.read(folder, 1)
    assert not isinstance(caught.value, DamagedError)
    with acting(OWNER):
        assert generations.read(folder, 1).number == 1
