"""The metadata that was verified is a floor for all to come: it is kept whole, or said to be damaged."""

from __future__ import annotations

import errno
import json
import stat
from functools import partial
from typing import TYPE_CHECKING

import pytest

from agent.errors import DamagedError, StoreError
from agent.trust import tuf_state
from support.crashkit import stepper
from support.crashkit.stepper import Failing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MEMORY = {
    "root.json": b'{"signed": {"version": 3}}',
    "root_history/1.root.json": b'{"signed": {"version": 1}}',
    "timestamp.json": '{"comment": "Zürich\\n"}'.encode(),
    "a%20role.json": b"{}",
}


def file_of(state: Path) -> Path:
    """Return where it lies."""
    return state / "trust" / "metadata.json"


def written(state: Path, content: object) -> Path:
    """Put something in its place, and return the state directory."""
    file_of(state).parent.mkdir(mode=0o700)
    file_of(state).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return state


def test_before_the_first_bundle_nothing_is_known(tmp_path: Path) -> None:
    """Without a directory, and with an empty one."""
    assert tuf_state.read(tmp_path) == {}
    (tmp_path / "trust").mkdir()
    assert tuf_state.read(tmp_path) == {}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """To the byte, and in place of what was known before."""
    tuf_state.write(tmp_path, {"root.json": b"{}"})
    tuf_state.write(tmp_path, MEMORY)

    assert tuf_state.read(tmp_path) == MEMORY
    assert [path.name for path in (tmp_path / "trust").iterdir()] == ["metadata.json"]


def test_it_is_for_its_owner_alone(tmp_path: Path) -> None:
    """No other user has a say in what is trusted."""
    tuf_state.write(tmp_path, MEMORY)

    assert stat.S_IMODE((tmp_path / "trust").stat().st_mode) == 0o700
    assert stat.S_IMODE(file_of(tmp_path).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"\xff", b"[]", b"null", {}, {"format": 1}, {"files": []}, {"files": {"root.json": 7}},
        {"files": {"root.json": None}},
    ],
)  # fmt: skip
def test_what_is_damaged_is_said_to_be_so(tmp_path: Path, content: object) -> None:
    """It is neither taken for nothing nor repaired; a person decides."""
    with pytest.raises(DamagedError, match=r"^What was known of signed bundles is damaged: .+\.$") as error:
        tuf_state.read(written(tmp_path, content))

    assert str(file_of(tmp_path)) in error.value.hint
    assert file_of(tmp_path).exists()


def test_a_name_that_is_none_of_metadata_is_passed_over(tmp_path: Path) -> None:
    """Another program wrote it."""
    names = ["../x.json", "/etc/x.json", "root_history/x.json", "a/b.json", "x", "", "x" * 200 + ".json"]
    files = dict.fromkeys([*names, "root.json"], "{}")

    assert tuf_state.read(written(tmp_path, {"format": 1, "files": files})) == {"root.json": b"{}"}


def test_a_file_that_is_too_large_or_no_file_is_refused(tmp_path: Path) -> None:
    """A link, a directory, or more than could ever be."""
    written(tmp_path, b"")
    with file_of(tmp_path).open("wb") as file:
        file.truncate(tuf_state.MAX + 1)
    with pytest.raises(DamagedError):
        tuf_state.read(tmp_path)
    file_of(tmp_path).unlink()
    file_of(tmp_path).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DamagedError):
        tuf_state.read(tmp_path)
    file_of(tmp_path).unlink()
    file_of(tmp_path).mkdir()
    with pytest.raises(StoreError):
        tuf_state.read(tmp_path)


def test_a_directory_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    """Neither to read nor to write."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "trust").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError):
        tuf_state.read(tmp_path)
    with pytest.raises(StoreError):
        tuf_state.write(tmp_path, MEMORY)

    assert list((tmp_path / "elsewhere").iterdir()) == []


NEWER = {"root.json": b'{"signed": {"version": 4}}'}


def prepared(state: Path) -> Callable[[], object]:
    """Return the work of writing newer metadata where some is already."""
    state.mkdir()
    tuf_state.write(state, MEMORY)
    return partial(tuf_state.write, state, NEWER)


def write_in(state: Path) -> Callable[[], Callable[[], object]]:
    """Return the same for a child."""
    return partial(prepared, state)


def test_a_kill_at_any_call_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    """Never a part, and never nothing; the next write is not kept from happening."""
    calls = len(stepper.dry(write_in(tmp_path / "dry")).calls)
    seen = set()
    for at in range(calls):
        state = tmp_path / f"killed-{at}"
        stepper.kill(write_in(state), at)
        found = tuf_state.read(state)
        assert found in (MEMORY, NEWER), at
        seen.add(len(found))
        tuf_state.write(state, NEWER)
        assert tuf_state.read(state) == NEWER
    assert seen == {len(MEMORY), len(NEWER)}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_call_that_fails_is_the_stores_own_error(tmp_path: Path, number: int) -> None:
    """What is known then is the old or the new."""
    calls = stepper.dry(write_in(tmp_path / "dry")).calls
    places = [place for place, name in enumerate(calls) if name in {"write", "fsync", "rename", "renameat"}]
    assert len(places) > 2
    for at in places:
        state = tmp_path / f"failed-{at}"
        result = stepper.fail(write_in(state), Failing(at=at, number=number)).result
        assert isinstance(result, stepper.Raised)
        assert "StoreError" in result.kinds
        assert tuf_state.read(state) in (MEMORY, NEWER)
