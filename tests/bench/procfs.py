"""What the kernel tells of a process: memory, processor time, wake-ups, and what it had written to a disk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Sizes in MiB.

    Attributes:
        pss: The proportional set size: a page counts for 1/n where n processes have it.
        private: What no other process has, clean and dirty.
        dirty: The part of it that is no file's.
        rss: All that is in memory, which does not depend on who else runs.
        alone: The proportional set size where no other program runs Python or the SDK, as on most gateways.
    """

    pss: float
    private: float
    dirty: float
    rss: float
    alone: float


def memory(pid: int) -> Memory | None:
    """Return the sizes of a process; None where this user may not look.

    Raises:
        FileNotFoundError: It is gone.
    """
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except PermissionError:
        return None
    sizes: dict[str, float] = {}
    for line in lines[1:]:
        name, size, _ = line.split()
        sizes[name.rstrip(":")] = int(size) / 1024
    private = sizes["Private_Clean"] + sizes["Private_Dirty"]
    alone = sizes["Pss"] + _shared_by_chance(pid)
    return Memory(pss=sizes["Pss"], private=private, dirty=sizes["Private_Dirty"], rss=sizes["Rss"], alone=alone)


def _shared_by_chance(pid: int) -> float:
    """Return how much smaller a process counts because others run Python, too."""
    found, ours = 0, False
    for line in (PROC / str(pid) / "smaps").read_text().splitlines():
        name, *rest = line.split()
        if not name.endswith(":"):
            ours = "python" in line
        elif ours and name in {"Rss:", "Pss:"}:
            found += int(rest[0]) * (1 if name == "Rss:" else -1)
    return found / 1024


@dataclass(frozen=True, kw_only=True)
class Activity:
    """What the threads of a process have done so far.

    Attributes:
        cpu: Milliseconds on a processor.
        wakeups: How often one gave the processor up by itself, which is how often one woke.
        threads: Wake-ups by thread.
    """

    cpu: float
    wakeups: int
    threads: dict[str, int]

    def since(self, before: Activity) -> Activity:
        """Return what was done after `before`."""
        threads = {name: number - before.threads.get(name, 0) for name, number in self.threads.items()}
        return Activity(cpu=self.cpu - before.cpu, wakeups=self.wakeups - before.wakeups, threads=threads)

    def __str__(self) -> str:
        return ", ".join(f"{name.split('/')[1]} {number}" for name, number in self.threads.items() if number)


def activity(pid: int) -> Activity:
    """Return what a process has done; ticks of /proc/PID/stat would be too coarse.

    Raises:
        OSError: It is gone.
    """
    cpu, threads = 0, {}
    for task in (PROC / str(pid) / "task").iterdir():
        cpu += int((task / "schedstat").read_text().split()[0])
        status = (task / "status").read_text()
        name = f"{task.name}/{(task / 'comm').read_text().strip()}"
        threads[name] = int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])
    return Activity(cpu=cpu / 1e6, wakeups=sum(threads.values()), threads=threads)


def disk_bytes(pid: int) -> int | None:
    """Return the bytes that a process and its children that ended had written to a disk, in whole pages.

    None where this user may not look, or the kernel does not count.

    Raises:
        FileNotFoundError: It is gone.
    """
    try:
        numbers = dict(line.split(": ") for line in (PROC / str(pid) / "io").read_text().splitlines())
    except PermissionError:
        return None
    return int(numbers["write_bytes"]) if "write_bytes" in numbers else None


def users(library: str, besides: set[int]) -> int:
    """Return how many other processes have a library in memory, as far as this user may look."""
    number = 0
    for process in PROC.iterdir():
        if not process.name.isdecimal() or int(process.name) in besides:
            continue
        try:
            number += library in (process / "maps").read_text()
        except OSError:
            continue  # it has just ended, or is another user's
    return number


def file_system(path: Path) -> str:
    """Return the type of the file system that a file is on."""
    device = os.stat(path).st_dev  # noqa: PTH116 - what mountinfo names
    wanted, found = f"{os.major(device)}:{os.minor(device)}", "unknown"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place, rest = line.split(" - ", 1)
        if place.split()[2] == wanted:
            found = rest.split()[0]
    return found


def signature(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return what changes when anything below a folder is written."""
    found: dict[str, tuple[int, ...]] = {}
    for path in sorted([folder, *folder.rglob("*")]):
        status = path.lstat()
        found[str(path)] = (status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return found
