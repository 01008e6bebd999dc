"""What a person has put into a generation is told from damage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.errors import DamagedError
from agent.store.files.durable import Modes
from agent.store.sets import generations, remains
from support.crashkit.material import material

if TYPE_CHECKING:
    from pathlib import Path


def _prepare(folder: int) -> None:
    ours = material(1)
    generations.prepare(folder, ours.manifest("change-1"), ours.content, ours.trust, Modes())


def _put(path: Path, *names: str, of: int = 2) -> None:
    content = material(of).content
    data = {"key.pem": content.key_pem, "certificate.pem": content.certificate_pem}
    for name in names:
        (path / "000001" / name).write_bytes(data[name])


@pytest.mark.parametrize("name", ["key.pem", "certificate.pem"])
def test_half_of_a_pair_is_told_from_damage(tmp_path: Path, folder: int, name: str) -> None:
    """One file is another sound one, and the other still the generation's own: a person is at work."""
    _prepare(folder)
    assert not remains.half_replaced(folder, 1)
    _put(tmp_path, name)
    assert remains.half_replaced(folder, 1)
    assert remains.handmade(folder, 1) is None
    _put(tmp_path, "key.pem", "certificate.pem")
    assert not remains.half_replaced(folder, 1)
    assert remains.handmade(folder, 1) is not None


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
@pytest.mark.parametrize("name", ["key.pem", "certificate.pem"])
def test_damage_is_not_taken_for_half_of_a_pair(tmp_path: Path, folder: int, name: str, content: bytes | None) -> None:
    """What is no key or no certificate, or is gone, is not waited for."""
    _prepare(folder)
    path = tmp_path / "000001" / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert not remains.half_replaced(folder, 1)


def test_a_link_in_the_place_of_a_key_is_damage_and_no_handiwork(tmp_path: Path, folder: int) -> None:
    """It is not followed, and keeps nothing from being put right."""
    _prepare(folder)
    path = tmp_path / "000001" / "key.pem"
    path.rename(tmp_path / "key.pem")
    path.symlink_to(tmp_path / "key.pem")
    with pytest.raises(DamagedError, match="symbolic link"):
        generations.read(folder, 1)
    assert remains.handmade(folder, 1) is None
    assert not remains.half_replaced(folder, 1)
