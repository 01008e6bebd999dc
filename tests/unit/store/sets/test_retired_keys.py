"""The keys of retired certificates: none is left, no other is touched, and there is always a set to connect with."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from agent.errors import StoreError
from agent.store.files import directories
from agent.store.store import Store
from support.crashkit import stepper
from support.crashkit.material import NOW, material
from support.crashkit.scenarios import rotated
from support.crashkit.tree import materialise
from support.suite import campaigns

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def certificate(number: int) -> str:
    """Return the id of a generation's certificate."""
    return material(number).content.leaf.sha256


def holders(path: Path, number: int) -> list[str]:
    """Return the files that hold the key of a generation, whatever they are called."""
    key = material(number).key_pem.strip()
    found = (file for file in path.rglob("*") if file.is_file() and not file.is_symlink())
    return sorted(str(file.relative_to(path)) for file in found if key in file.read_bytes())


def test_what_is_no_directory_keeps_no_key_from_being_destroyed(path: Path, store: Store) -> None:
    """It holds none."""
    for name in ("000009", "000008.rejected"):
        (path / "generations" / name).symlink_to("elsewhere")
    store.retired_keys.destroy({certificate(2)})

    assert holders(path, 2) == []


def test_the_key_of_the_previous_set_goes_and_the_next_best_is_previous(path: Path, store: Store) -> None:
    """A program that has the file open reads zeros."""
    with (path / "generations/000002/key.pem").open("rb") as left:
        store.retired_keys.destroy({certificate(2)})
        assert left.read() == bytes(len(material(2).key_pem))
    assert holders(path, 2) == []
    assert (store.current(), store.previous(), store.numbers().final) == (3, 1, (1, 3))
    assert store.recover(NOW).notes == ()


def test_without_another_set_there_is_no_previous(path: Path, store: Store) -> None:
    """No link leads nowhere."""
    for number in (1, 2):
        store.retired_keys.destroy({certificate(number)})
    assert not os.path.lexists(path / "previous")
    assert (store.current(), store.numbers().final) == (3, (3,))


def test_every_generation_with_the_certificate_loses_its_key(path: Path, store: Store) -> None:
    """Also one that was set aside, and a copy that a restored backup left in the place of a link."""
    rejected, backup = path / "generations/000007.rejected", path / "current.damaged.2"
    for copy in (rejected, backup):
        shutil.copytree(path / "generations/000001", copy)
    store.retired_keys.destroy({certificate(1)})
    assert holders(path, 1) == []
    assert (rejected / "certificate.pem").read_bytes() == material(1).content.certificate_pem
    assert (rejected / "manifest.json").exists()
    assert (store.current(), store.previous()) == (3, 2)


@pytest.mark.parametrize("name", ["generations/000007.rejected", "current.damaged"])
def test_another_certificates_key_stays_where_it_is(path: Path, store: Store, name: str) -> None:
    """Whatever stands beside it."""
    shutil.copytree(path / "generations/000001", path / name)
    store.retired_keys.destroy({certificate(2)})
    assert holders(path, 1) == sorted(f"{place}/{file}" for place in ("generations/000001", name)
                                      for file in ("credential.pem", "key.pem"))  # fmt: skip


def test_a_damaged_generation_loses_its_key_too(path: Path, store: Store) -> None:
    """Its certificate says whose key it is, else its manifest does."""
    (path / "generations/000001/manifest.json").write_bytes(b"")
    (path / "generations/000002/certificate.pem").unlink()
    for number in (1, 2):
        store.retired_keys.destroy({certificate(number)})
    assert holders(path, 1) + holders(path, 2) == []


def test_a_set_that_was_put_there_by_hand_stays(path: Path, store: Store) -> None:
    """The manifest is that of the retired one still; the key is not."""
    for file in ("key.pem", "certificate.pem"):
        shutil.copy(path / "generations/000001" / file, path / "generations/000002" / file)
    store.retired_keys.destroy({certificate(2)})
    assert "generations/000002/key.pem" in holders(path, 1)


def _lose_current(path: Path) -> None:
    (path / "current").unlink()


def _damage_current(path: Path) -> None:
    (path / "generations/000003/key.pem").write_bytes(b"")


@pytest.mark.parametrize("damage", [_lose_current, _damage_current])
def test_nothing_goes_while_the_set_in_use_is_not_whole(
    path: Path, store: Store, damage: Callable[[Path], None]
) -> None:
    """What is left may have to serve: a person can have its certificate activated again."""
    damage(path)
    store.retired_keys.destroy({certificate(2)})
    assert holders(path, 2) == ["generations/000002/credential.pem", "generations/000002/key.pem"]


@pytest.mark.parametrize(("number", "spared"), [(3, ()), (2, (2,)), (2, (2, 9))])
def test_what_is_in_use_or_rested_on_stays(path: Path, store: Store, number: int, spared: tuple[int, ...]) -> None:
    """Whatever the caller was told."""
    store.retired_keys.destroy({certificate(number)}, spared)
    assert holders(path, number) == [f"generations/00000{number}/{file}" for file in ("credential.pem", "key.pem")]
    assert (store.current(), store.previous()) == (3, 2)


def test_of_many_certificates_those_in_use_stay(path: Path, store: Store) -> None:
    """As after a rollback to a set whose certificate was retired once, and activated again since."""
    store.retired_keys.destroy({certificate(number) for number in (1, 2, 3)}, (2,))
    assert (store.current(), store.previous(), store.numbers().final) == (3, 2, (2, 3))
    assert holders(path, 1) == []


def test_a_key_with_another_name_is_removed_and_not_written_to(path: Path, store: Store, tmp_path: Path) -> None:
    """In what was set aside, too: under its other name it may be in use."""
    shutil.copytree(path / "generations/000002", path / "generations/000007.rejected")
    os.link(path / "generations/000007.rejected/key.pem", tmp_path / "kept")
    store.retired_keys.destroy({certificate(2)})
    assert holders(path, 2) == []
    assert (tmp_path / "kept").read_bytes() == material(2).key_pem


def test_killed_at_any_call_it_goes_on(tmp_path: Path) -> None:
    """At each, the set in use is whole, `previous` leads somewhere, and asking again destroys what is left."""

    def ready(path: Path) -> Callable[[], Callable[[], None]]:
        def begin() -> Callable[[], None]:
            store = Store(path)
            store.lock()
            return lambda: store.retired_keys.destroy({certificate(2)})

        return begin

    def laid_out(name: str) -> Path:
        path = tmp_path / name
        materialise(rotated(3), path)
        shutil.copytree(path / "generations/000002", path / "generations/000007.rejected")
        return path

    total = len(stepper.dry(ready(laid_out("dry"))).calls)
    assert total > 20
    for at in campaigns.places(total, 10):
        path = laid_out(f"{at}")
        stepper.kill(ready(path), at)
        with Store(path) as store:
            store.lock()
            store.recover(NOW)
            assert (store.current(), store.previous() in {1, 2}) == (3, True)
            store.retired_keys.destroy({certificate(2)})
            assert (holders(path, 2), store.previous(), store.generation(3).number) == ([], 1, 3)


def test_a_disk_that_fails_is_told(path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a later call does the rest."""

    def fail(_directory: int, name: str, _public: frozenset[str]) -> None:
        raise StoreError(f"Cannot remove {name}: Input/output error.", hint="The disk reports an error.")

    with monkeypatch.context() as patch:
        patch.setattr(directories, "erase_directory", fail)
        with pytest.raises(StoreError, match="Input/output error"):
            store.retired_keys.destroy({certificate(2)})
    assert (store.current(), store.previous()) == (3, 1)
    store.prune(9, frozenset())
    assert holders(path, 2) == []
