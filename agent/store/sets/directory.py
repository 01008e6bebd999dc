"""The directory of generations: opened once, made by the first writer, and read through a memory of what was read."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from agent.errors import DamagedError
from agent.store.files import directories, disk, durable
from agent.store.names import GENERATIONS, final_name
from agent.store.sets import generations
from agent.store.sets.readings import Readings
from agent.system import descriptors

if TYPE_CHECKING:
    from agent.core.values import Generation, Manifest


class GenerationDirectory:
    """All generations of one state directory.

    Attributes:
        fd: The open directory; negative while there is none.
    """

    def __init__(self, root: int) -> None:
        """Open it, if it is there.

        Raises:
            StoreError: It is not permitted, or a link: what applications reach through that is not moved away.
        """
        self._root = root
        self._readings = Readings()
        self.fd = disk.open_directory(GENERATIONS, root) if self._may_hold_sets() else -1

    def close(self) -> None:
        """Let go of the directory."""
        if self.fd >= 0:
            descriptors.release(self.fd)
        self.fd = -1

    def make(self, modes: durable.Modes) -> None:
        """Have the directory, with these modes.

        Raises:
            StoreError: It could not be made.
        """
        if self.fd < 0:
            if not self._may_hold_sets():
                if disk.exists(self._root, GENERATIONS):
                    durable.put_away(self._root, GENERATIONS, f"{GENERATIONS}{durable.DAMAGED}")
                directories.make_directory(self._root, GENERATIONS, modes)
            self.fd = disk.open_directory(GENERATIONS, self._root)
        durable.set_mode(self.fd, modes.directory_mode, GENERATIONS)

    def _may_hold_sets(self) -> bool:
        """Whether the directory is there, or a link to it; anything else in its place holds nothing."""
        try:
            mode = disk.state(self._root, GENERATIONS).mode
        except FileNotFoundError:
            return False
        return stat.S_ISDIR(mode) or stat.S_ISLNK(mode)

    def listing(self) -> generations.Listing:
        """Return the numbers of all generations, whole or not.

        Raises:
            StoreError: They cannot be listed.
        """
        if self.fd < 0:
            return generations.Listing(final=(), staged=(), rejected=(), strange=())
        return generations.listing(self.fd)

    def generation(self, number: int) -> Generation:
        """Return a whole generation; it is not read again while its files look untouched, see `Readings`.

        Raises:
            DamagedError: It is missing or damaged.
            StoreError: It cannot be read.
        """
        fd = self._existing(number)
        look = self._readings.look(fd, number)
        if look.kept is not None:
            return look.kept
        found = generations.read(fd, number)
        self._readings.keep(look, found)
        return found

    def read(self, number: int) -> Generation:
        """Return a whole generation as it is on the disk now: for what decides where `current` and `previous` point.

        Raises:
            DamagedError: It is missing or damaged.
            StoreError: It cannot be read.
        """
        fd = self._existing(number)
        self._readings.forget(number)
        look = self._readings.look(fd, number)
        found = generations.read(fd, number)
        self._readings.keep(look, found)
        return found

    def is_whole(self, number: int) -> bool:
        """Whether a generation is whole as it is on the disk now.

        Raises:
            StoreError: It cannot be told; that says nothing about the generation and must not make it look damaged.
        """
        self._readings.forget(number)
        try:
            generations.read(self._existing(number), number)
        except DamagedError:
            return False
        return True

    def manifest(self, number: int) -> Manifest:
        """Return what a generation's manifest says, whatever has become of its other files.

        Raises:
            DamagedError: It is missing or damaged.
            StoreError: It cannot be read.
        """
        fd = self._existing(number)
        kept = self._readings.same(fd, number)
        return generations.read_manifest(fd, number) if kept is None else kept.manifest

    def erase(self, number: int) -> None:
        """Erase a generation; half erased, it does not bear the name of a whole one.

        Raises:
            StoreError: It could not be erased; what is left is erased by the next recovery.
        """
        durable.rename(self.fd, final_name(number), generations.stage_name(number))
        generations.erase(self.fd, generations.stage_name(number))

    def _existing(self, number: int) -> int:
        if self.fd < 0:
            raise DamagedError(f"Generation {number} is missing.")
        return self.fd
