"""The files on disk, drawn from a state directory in which a gateway enrolled and rotated, against the simulator."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from agent.core.change.reserve import BYTES
from agent.core.values import Kind, Origin
from pictures.svg import Picture
from support.simulated.rig import Rig

STATE = "/var/lib/iot-cert-agent"
LINE, TELLS = 24, 330  # pixels: from line to line, and where the meaning of a file begins

# What is told of each, by its name or path.
TOLD = {
    "generations/": "sets, each in a directory that never changes once it has its name",
    "generations/000001/": "the set before; the one that a rollback goes to",
    "generations/000002/": "the set in use",
    "key.pem": "the private key; made here, and it never leaves",
    "certificate.pem": "what the cloud issued for it",
    "credential.pem": "both in one file, for programs that want that",
    "trust.pem": "the anchors that this set was proven with",
    "manifest.json": "whose it is, until when, and a hash of each file above",
    "current": "the one commit point: a change takes effect by one rename of this link",
    "previous": "the way back",
    "change.json": "the change in flight: written, and synced, before each step",
    "history.jsonl": "a line for each change that has ended; nothing secret",
    "reserve/": f"{BYTES >> 10} KiB set aside, so that a full disk does not keep a bad set in use",
    "lock": "one process at a time",
}


class StateEntry(NamedTuple):
    """One entry of the state directory: its path there, its name with what it points at, and its rights."""

    path: str
    name: str
    mode: str


def listed(state: Path) -> list[StateEntry]:
    """Return what is in a state directory, each directory before what is in it; what is in the reserve is left out."""
    found: list[StateEntry] = []
    for path in sorted(state.rglob("*")):
        relative = path.relative_to(state)
        if relative.parts[0] == "reserve" and len(relative.parts) > 1:
            continue
        name = path.name + ("/" if path.is_dir() and not path.is_symlink() else "")
        shown = f"{name} \u2192 {path.readlink()}" if path.is_symlink() else name
        mode = "" if path.is_symlink() else f"{path.stat().st_mode & 0o777:04o}"
        found.append(StateEntry(f"{relative}{'/' if name.endswith('/') else ''}", shown, mode))
    return found


def told_of(entry: StateEntry) -> str:
    """Return what an entry is."""
    return TOLD.get(entry.path) or TOLD[_name(entry)]


def _name(entry: StateEntry) -> str:
    return re.sub(r"^.*/(?=.)", "", entry.path)


def state_directory(path: Path) -> list[StateEntry]:
    """Return what is in the state directory of a gateway that has rotated and begins again."""
    rig = Rig(path)
    try:
        rig.enroll()
        rig.rotate()
        rig.planner.begin(Kind.ROTATE, Origin.TECHNICIAN, "a visit")
        return listed(path)
    finally:
        rig.close()


def draw() -> str:
    """Return the picture."""
    with TemporaryDirectory() as folder:
        entries = state_directory(Path(folder) / "state")
    picture = Picture(
        960,
        "The files on disk",
        f"The directory {STATE}: generations with key, certificate, anchors and a manifest, the links current and "
        "previous, the record of the change in flight, the history and the reserve.",
    )
    picture.text(24, 38, f"{STATE}/", "mono bold")
    for number, entry in enumerate(entries):
        _line(picture, 38 + LINE * (number + 1), entry)
    return picture.svg(38 + LINE * len(entries) + 30)


def _line(picture: Picture, y: float, entry: StateEntry) -> None:
    depth = entry.path.rstrip("/").count("/")
    name = _name(entry)
    kind = " good" if entry.path in {"current", "generations/000002/"} else " wary" if name == "key.pem" else ""
    with picture.group(path=entry.path):
        picture.text(48 + 28 * depth, y, entry.name, f"mono{kind}")
        picture.text(TELLS, y, entry.mode, "mono quiet")
        picture.text(TELLS + 52, y, told_of(entry), "small quiet")
