"""What is taken for a reason to look: any touch of the set in use, its links, or a file that the gateway rests on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from agent.store.files import fingerprints

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(name="state")
def _state(tmp_path: Path) -> Path:
    state = tmp_path / "state"
    for number in (1, 2):
        directory = state / "generations" / f"{number:06d}"
        directory.mkdir(parents=True)
        for name in fingerprints.FILES:
            (directory / name).write_text(name)
    (state / "current").symlink_to("generations/000002")
    (state / "previous").symlink_to("generations/000001")
    (tmp_path / "roots.pem").write_text("roots")
    return state


def of(state: Path) -> str:
    """Return the traces."""
    return fingerprints.of(state, (state.parent / "roots.pem",))


def _same_size_and_time(state: Path) -> None:
    path = state / "current" / "key.pem"
    before = path.stat()
    path.write_text("yek.pem")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _flip(state: Path) -> None:
    (state / "current").unlink()
    (state / "current").symlink_to("generations/000001")


TOUCHES: dict[str, Callable[[Path], object]] = {
    "written": lambda state: (state / "current" / "trust.pem").write_text("other"),
    "written to the same size, with its old time": _same_size_and_time,
    "removed": lambda state: (state / "current" / "manifest.json").unlink(),
    "given another mode": lambda state: (state / "current" / "key.pem").chmod(0),
    "the key before given another mode": lambda state: (state / "previous" / "key.pem").chmod(0),
    "the generations opened": lambda state: (state / "generations").chmod(0o777),
    "the generation opened": lambda state: (state / "generations" / "000002").chmod(0o777),
    "current flipped": _flip,
    "current removed": lambda state: (state / "current").unlink(),
    "previous removed": lambda state: (state / "previous").unlink(),
    "the generation renamed": lambda state: (state / "generations" / "000002").rename(state / "aside"),
    "another's file written": lambda state: (state.parent / "roots.pem").write_text("others"),
    "another's file removed": lambda state: (state.parent / "roots.pem").unlink(),
}


@pytest.mark.parametrize("touch", TOUCHES.values(), ids=TOUCHES)
def test_a_touch_leaves_a_trace(state: Path, touch: Callable[[Path], object]) -> None:
    """Each of them is a reason to look."""
    before = of(state)
    touch(state)
    assert of(state) != before


def test_reading_leaves_none(state: Path) -> None:
    """Nor does anything beside the set, such as a record that is written."""
    before = of(state)
    for name in fingerprints.FILES:
        (state / "current" / name).read_bytes()
    (state / "change.json").write_text("{}")
    (state / "generations" / "000003").mkdir()
    (state / "generations" / "000003" / "key.pem").write_text("another")
    assert of(state) == before


def test_before_there_is_a_state_directory_there_are_traces_too(tmp_path: Path) -> None:
    """Its coming changes them."""
    before = fingerprints.of(tmp_path / "state", ())
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "current").symlink_to("x")
    assert fingerprints.of(tmp_path / "state", ()) != before
