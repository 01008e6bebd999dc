"""What must hold in a state directory after any fault whatever, before recovery and after it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.crypto import keys
from agent.errors import AgentError
from agent.store.names import CERTIFICATE, KEY
from agent.store.sets import generations
from agent.store.store import Store
from support.crashkit.material import NOW
from support.crashkit.tree import Frozen, differences, frozen, snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.change.lifecycle import ChangeRecord
    from agent.ports import Recovery
    from support.crashkit.tree import Tree

OTHERS = 0o077

# What was sound after a recovery, with what is current there.
_SOUND: dict[tuple[Frozen, frozenset[int | None], bool, ChangeRecord | None], int | None] = {}


class InvariantError(AssertionError):
    """Something that must always hold does not."""


@dataclass(frozen=True, kw_only=True)
class FoundStore:
    """What a checked store holds after its recovery.

    Attributes:
        current: The current generation, or None.
        change: The change in flight, or None.
        notes: What the first recovery said.
    """

    current: int | None
    change: ChangeRecord | None
    notes: tuple[str, ...]


def check_store(path: Path, *, before: frozenset[int], after: frozenset[int], previous: bool = False) -> FoundStore:
    """Check a directory as a fault left it, recover it, and check it again.

    Args:
        path: The state directory.
        before: What `current` may have been before the change; empty when there was none.
        after: What it may be during and after it.
        previous: Whether there was a previous generation, which must not get lost.

    Raises:
        InvariantError: Something does not hold.
    """
    allowed = allowed_current(before, after, None)
    return check_recovered(path, recover_left(path, allowed), allowed, previous=previous)


def allowed_current(before: frozenset[int], after: frozenset[int], acknowledged: int | None) -> frozenset[int | None]:
    """Return what `current` may be; see `check_store`.

    Args:
        before: As there.
        after: As there.
        acknowledged: What a reader was told is current, and nothing later was tried; None otherwise.
    """
    if acknowledged is not None:
        return frozenset({acknowledged})
    return before | after if before else after | {None}


def recover_left(path: Path, allowed: frozenset[int | None]) -> Recovery:
    """Check a directory as a fault left it, and recover it."""
    check_privacy(path)
    check_consumer(path, allowed)
    return recover(path)


def check_recovered(path: Path, recovery: Recovery, allowed: frozenset[int | None], *, previous: bool) -> FoundStore:
    """Check a directory after its recovery: once, since what is found depends on what is in it and on these alone."""
    left = snapshot(path)
    key = frozen(left), allowed, previous, recovery.change
    if key not in _SOUND:
        current = check_consumer(path, allowed)
        _check_previous(path, required=previous, current=current, in_flight=recovery.change is not None)
        _check_litter(left, recovery.change)
        check_privacy(path)
        _check_quiet(path, left)
        _SOUND[key] = current
    return FoundStore(current=_SOUND[key], change=recovery.change, notes=recovery.notes)


def check_privacy(path: Path) -> None:
    """Check that no user but the owner can read anything, or even list it."""
    _require_private(str(path), os.lstat(path))
    waiting = [str(path)]
    while waiting:  # without a Path for each name, of which there are forty
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                _require_private(entry.path, entry.stat(follow_symlinks=False))
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)


def _require_private(name: str, status: os.stat_result) -> None:
    if not stat.S_ISLNK(status.st_mode) and status.st_mode & OTHERS:
        raise InvariantError(f"{name} has the mode {stat.S_IMODE(status.st_mode):o}")


def check_consumer(path: Path, allowed: frozenset[int | None]) -> int | None:
    """Check that a program which follows `current` gets a matching pair; return the generation."""
    link = path / "current"
    if not link.is_symlink():
        _require(None in allowed, f"there is no current generation, and {_names(allowed)} is expected")
        return None
    number = int(link.readlink().name)
    _require(number in allowed, f"generation {number} is current, and {_names(allowed)} is expected")
    try:
        keys.credential_set((link / KEY).read_bytes(), (link / CERTIFICATE).read_bytes())
        with Store(path) as store:
            store.generation(number)
    except (OSError, AgentError) as error:
        raise InvariantError(f"generation {number} is current and not whole: {error}") from error
    return number


def _names(allowed: frozenset[int | None]) -> str:
    return " or ".join(sorted(map(str, allowed)))


def _require(held: bool, message: str) -> None:  # noqa: FBT001 - like assert
    if not held:
        raise InvariantError(message)


def recover(path: Path) -> Recovery:
    """Recover a store as a starting agent does."""
    try:
        with Store(path) as store:
            store.lock()
            return store.recover(NOW)
    except AgentError as error:
        raise InvariantError(f"the store cannot be recovered: {error}") from error


def _check_previous(path: Path, *, required: bool, current: int | None, in_flight: bool) -> None:
    with Store(path) as store:
        number = store.previous()
        if number is None:
            _require(not required, "there was a previous generation and now there is none")
            return
        _require(number != current or in_flight, "the previous generation is the current one")
        try:
            store.generation(number)
        except AgentError as error:
            raise InvariantError(f"generation {number} is previous and not whole: {error}") from error


def _check_litter(left: Tree, change: ChangeRecord | None) -> None:
    ours = None if change is None else generations.stage_name(change.generation)
    for item in left:
        folder, _, name = item.rpartition("/")
        _require(not name.startswith(".new-"), f"{name} is left over")
        is_stage = folder.rpartition("/")[2] == "generations" and name.startswith(".")
        _require(not is_stage or name == ours, f"the stage {name} belongs to no change")


def _check_quiet(path: Path, once: Tree) -> None:
    notes = recover(path).notes
    _require(not notes, f"a second recovery says {notes}")
    changed = differences(once, snapshot(path))
    _require(not changed, f"a second recovery changed something: {changed}")


def check_outcome(path: Path, change: str) -> None:
    """Check that a change which was reported as finished is in the history once and no longer in flight."""
    with Store(path) as store:
        ids = [record.id for record in store.history()]
        _require(ids.count(change) == 1, f"{change} is {ids.count(change)} times in the history")
        _require(store.change() is None, f"{change} is over and still in flight")
