"""`current` and `previous`: where they point, and how they are moved. `current` is the only commit point."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agent.errors import DamagedError, StoreError
from agent.store.files import disk, durable
from agent.store.names import CURRENT, GENERATIONS, PREVIOUS, final_name
from agent.store.sets import generations

if TYPE_CHECKING:
    from collections.abc import Iterator

_TARGET = re.compile(rf"{GENERATIONS}/([0-9]{{6,9}})")
_MAX_TEXT = 4096  # bytes; what a file system without links writes in place of one is shorter


class Links:
    """The two links of one state directory."""

    def __init__(self, root: int) -> None:
        self._root = root

    def current(self) -> int | None:
        """Return the number `current` points at, or None.

        Raises:
            DamagedError: It is no link to a generation.
        """
        return self._pointed_at(CURRENT)

    def previous(self) -> int | None:
        """Return the number `previous` points at, or None.

        Raises:
            DamagedError: It is no link to a generation.
        """
        return self._pointed_at(PREVIOUS)

    def _pointed_at(self, link: str) -> int | None:
        target = disk.link_target(self._root, link)
        if target is None:
            return None
        match = _TARGET.fullmatch(target)
        if match is None:
            raise DamagedError(f"{link} points at {target[:80]!r}, which is no generation.")
        return int(match[1])

    def current_or_none(self) -> int | None:
        """Return the number `current` points at; None also when it is no link to a generation."""
        try:
            return self.current()
        except DamagedError:
            return None

    def previous_or_none(self) -> int | None:
        """Return the number `previous` points at; None also when it is no link to a generation."""
        try:
            return self.previous()
        except DamagedError:
            return None

    def move_current(self, number: int) -> None:
        """Point `current` at a generation.

        Raises:
            StoreInDoubtError: It points there, but a power cut may bring the old target back.
            StoreError: It still points where it did.
        """
        durable.point(self._root, CURRENT, _target(number))

    def move_previous(self, number: int) -> None:
        """Point `previous` at a generation; raises as `move_current` does."""
        durable.point(self._root, PREVIOUS, _target(number))

    def choose_previous(self, candidates: Iterator[int]) -> int | None:
        """Point `previous` at the first of the candidates, or remove it where there is none; return which it is.

        Raises:
            StoreError: It could not be set.
        """
        number = next(candidates, None)
        if number is not None:
            self.move_previous(number)
            return number
        durable.remove(self._root, PREVIOUS)
        durable.sync(self._root, f"{PREVIOUS} was removed")
        return None

    def meant(self, link: str) -> int | None:
        """Return the generation that a link leads to, or led to before it was copied; None where that cannot be told.

        A copy of a link is a folder where links were followed, a file with the target in it where there are none (a zip
        archive, a stick), and a link to a place that is gone where the path was made absolute.
        """
        try:
            return _number(disk.link_target(self._root, link) or "")
        except DamagedError:
            pass  # it is no link
        except StoreError:
            return None
        try:
            folder = generations.manifest_of(self._root, link)
            return folder.number if folder else _number(disk.read(self._root, link, _MAX_TEXT).decode("latin-1"))
        except (StoreError, FileNotFoundError):
            return None

    def clear_way(self, directory: int) -> str:
        """Move out of the way what is no link in a link's place, as a restored backup leaves it; return a note.

        A generation that came back under the name of the link alone gets its own name; anything else is moved away.

        Args:
            directory: The open directory of the generations.

        Raises:
            StoreError: It could not be moved.
        """
        moved = []
        for link in (CURRENT, PREVIOUS):
            try:
                disk.link_target(self._root, link)
            except DamagedError:
                moved.append(self._put_away(link, directory))
        return f"What stood in place of a link was moved to {' and '.join(moved)}." if moved else ""

    def _put_away(self, link: str, directory: int) -> str:
        number = self.meant(link)
        its_own = "" if number is None else _target(number)
        if its_own and disk.is_directory(self._root, link) and not disk.exists(self._root, its_own):
            durable.rename(self._root, link, its_own)
            durable.sync(directory, f"generation {number} got its name back")
            return its_own
        return durable.put_away(self._root, link, f"{link}.damaged")


def _number(text: str) -> int | None:
    found = _TARGET.findall(text)
    return int(found[-1]) if found else None


def _target(number: int) -> str:
    return f"{GENERATIONS}/{final_name(number)}"
