"""Every byte that one rotation writes, and every sync: the real engine and store, stopped at each system call.

It uses the stepper of the crash tests, which needs a process with one thread: the cloud is the simulator, with the same
engine, the same store and the same number of steps. `python -m bench.traces` prints it as JSON.

What reaches the flash is more, since each sync makes the file system write to its journal. That is counted on a small
ext4 of its own, where no other process writes; making one needs root.
"""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import tempfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.core.change.decide import Limits
from agent.core.values import Kind
from agent.store.files import disk, durable
from agent.store.store import Store
from support.crashkit import gateway, stepper, syscalls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EARLIER = 6  # changes before; from then on each rotation erases the oldest generation

_CALL = 24  # where the kernel puts number and arguments of a call
_SECTOR, _SECTORS_WRITTEN = 512, 6  # bytes; the place in /sys/dev/block/*/stat
_DISK = 64 << 20  # bytes, of which ext4 takes 4 MiB for its journal


@dataclass(kw_only=True)
class Weight:
    """What a rotation costs a disk.

    Attributes:
        written: Bytes by kind of file.
        synced: Syncs by kind of file.
        renamed: Names that were moved, made or removed.
        generation: The bytes of the new generation's files.
    """

    written: Counter[str] = field(default_factory=Counter)
    synced: Counter[str] = field(default_factory=Counter)
    renamed: int = 0
    generation: int = 0

    def plain(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "bytes": sum(self.written.values()),
            "syncs": sum(self.synced.values()),
            "names": self.renamed,
            "generation": self.generation,
            "written": dict(self.written.most_common()),
            "synced": dict(self.synced.most_common()),
        }


class Scales(stepper._Tracer):
    """The stepper, looking at how much is written and where to."""

    def __init__(self, work: Callable[[], Callable[[], object]], new: int) -> None:
        self.weight = Weight()
        self._new = new
        super().__init__(work)

    def _at_call(self) -> None:
        super()._at_call()
        number, fd, _, size = struct.unpack_from("=4Q", self._info, _CALL)
        name = syscalls.NAMES.get(number, "")
        if self._ended:
            return
        if name == "write":
            self.weight.written[self._kind(fd)] += size
        elif name in {"fsync", "fdatasync"}:
            self.weight.synced[self._kind(fd)] += 1
        elif name in syscalls.CHANGING - {"fchmod", "fchown", "ftruncate"}:
            self.weight.renamed += 1

    def _kind(self, fd: int) -> str:
        """Return what a file is to the store."""
        path = Path(os.readlink(f"/proc/{self._pid}/fd/{fd}"))  # noqa: PTH115 - it is no path when it was removed
        if ".new-preflight" in str(path):
            return "the trial before a request"
        if path.is_dir():
            return "directories"
        found = re.search(r"generations/\.?(\d+)", str(path))
        if found is None:
            return path.name.removeprefix(".new-")
        return "the new generation" if int(found[1]) == self._new else "erasing the oldest generation"


def _prepare(path: Path, limits: Limits) -> Callable[[], gateway.ChangeEnding]:
    """Bring a gateway to where each rotation erases the oldest generation, and return what rotates once more."""
    gateway.LIMITS = limits
    site = gateway.MirroredGateway()
    for place in range(1, EARLIER + 1):
        site.carry_out(path, Kind.ENROLL if place == 1 else Kind.ROTATE, f"change-{place}")
    return partial(site.carry_out, path, Kind.ROTATE, f"change-{EARLIER + 1}")


def _check(path: Path, ending: object) -> None:
    assert isinstance(ending, gateway.ChangeEnding), ending
    assert ending.phase == "committed", ending
    with Store(path) as store:
        assert store.current() == EARLIER + 1


def weigh(limits: Limits) -> Weight:
    """Rotate once and count.

    Raises:
        AssertionError: The rotation failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        rotate = _prepare(path, limits)
        scales = Scales(lambda: rotate, EARLIER + 1)
        _check(path, scales.run().result)
        scales.weight.generation = sum(item.stat().st_size for item in (path / "current").resolve().iterdir())
    return scales.weight


@contextmanager
def small_disk() -> Iterator[Path]:
    """Mount a new ext4 with its journal for the length of a block.

    Raises:
        OSError: It cannot be done here.
        subprocess.CalledProcessError: Nor so.
    """
    if os.geteuid() != 0:
        raise PermissionError("a file system of one's own needs root")
    with tempfile.TemporaryDirectory(prefix="iot-cert-bench-") as folder:
        image, mount = Path(folder, "image"), Path(folder, "mount")
        mount.mkdir()
        with image.open("wb") as file:
            file.truncate(_DISK)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-b", "4096", str(image)], check=True, capture_output=True)
        subprocess.run(["mount", "-o", "loop", str(image), str(mount)], check=True, capture_output=True)
        try:
            yield mount
        finally:
            subprocess.run(["umount", str(mount)], check=True)


def written_to(mount: Path) -> int:
    """Return the bytes that a disk was given so far, once all that was written has got there."""
    subprocess.run(["sync", "-f", str(mount)], check=True)
    device = os.stat(mount).st_dev  # noqa: PTH116 - the device's number
    numbers = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text().split()
    return int(numbers[_SECTORS_WRITTEN]) * _SECTOR


def _synced(folder: Path, times: int) -> None:
    """Replace an empty file so many times, each time confirmed: what the file system's journal takes for that alone."""
    folder.mkdir()
    with disk.directory(str(folder)) as fd:
        for _ in range(times // 2):  # the file, then its name
            durable.replace(fd, "file", b"", durable.Modes())


def on_disk(limits: Limits, syncs: int) -> dict[str, int]:
    """Return what a disk is given for one rotation, for its files written once and synced at the end, and for syncs."""
    with small_disk() as mount:
        path = mount / "state"
        path.mkdir()
        rotate = _prepare(path, limits)
        before = written_to(mount)
        ending = rotate()
        after = written_to(mount)
        _check(path, ending)
        (mount / "floor").mkdir()
        for file in (path / "current").resolve().iterdir():
            (mount / "floor" / file.name).write_bytes(file.read_bytes())
        (mount / "current").symlink_to("floor")
        plain = written_to(mount)
        _synced(mount / "bare", syncs)
        return {"rotation": after - before, "floor": plain - after, "syncs": written_to(mount) - plain}


def main() -> None:
    """Print what a rotation costs as it is configured by default, and what is left without the proofs on probation."""
    usual = Limits()
    single = Limits(check_every=usual.probation)
    told: dict[str, Any] = {"usual": weigh(usual).plain(), "single": weigh(single).plain()}
    try:
        told["disk"] = on_disk(usual, told["usual"]["syncs"])
    except (OSError, subprocess.CalledProcessError) as error:
        told["no_disk"] = f"{error}"
    print(json.dumps(told))


if __name__ == "__main__":
    main()
