"""The links: where they may lead, and how they move."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.errors import DamagedError
from agent.store.store import Store
from support.crashkit.material import material
from support.crashkit.scenarios import rotated
from support.crashkit.tree import materialise

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("target", ["generations/3", "../generations/000003", "/etc", "generations/000003/", ""])
def test_a_link_that_leads_elsewhere_is_damage(path: Path, target: str) -> None:
    """Only the one form of target is believed."""
    (path / "current").unlink()
    if target:
        (path / "current").symlink_to(target)
    else:
        (path / "current").write_bytes(b"a file")
    with Store(path) as store, pytest.raises(DamagedError):
        store.current()


def test_activating_moves_both_links(store: Store) -> None:
    """The one that was current is previous."""
    ours = material(4)
    store.prepare(ours.manifest("c"), ours.content, ours.trust)
    store.activate(4)
    assert (store.current(), store.previous()) == (4, 3)


def test_a_damaged_generation_does_not_become_previous(store: Store, path: Path) -> None:
    """It is nothing to go back to; the one that is, stays."""
    (path / "generations" / "000003" / "trust.pem").write_bytes(b"x")
    store.activate(1)
    assert (store.current(), store.previous()) == (1, 2)


def test_activating_again_keeps_the_previous_generation(store: Store) -> None:
    """A step that is repeated after a crash does not lose the way back."""
    store.activate(3)
    assert (store.current(), store.previous()) == (3, 2)


def test_a_missing_generation_is_not_activated(store: Store) -> None:
    """Nothing moves."""
    with pytest.raises(DamagedError):
        store.activate(9)
    assert (store.current(), store.previous()) == (3, 2)


def test_rolling_back_finds_the_next_best_way_back(store: Store) -> None:
    """The condemned generation is not it."""
    store.roll_back(2, 3)
    assert (store.current(), store.previous()) == (2, 1)


def test_rolling_back_to_the_only_other_generation_leaves_no_previous(tmp_path: Path) -> None:
    """There is none to go back to, and the link does not pretend otherwise."""
    path = tmp_path / "state"
    materialise(rotated(2), path)
    with Store(path) as store:
        store.lock()
        store.roll_back(1, 2)
        assert (store.current(), store.previous()) == (1, None)
