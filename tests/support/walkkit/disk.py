"""What may happen to the disk in a story: damage, links that go, and room that is short."""

from __future__ import annotations

from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING

from support.walkkit.steps import Step

if TYPE_CHECKING:
    from pathlib import Path

    from support.walkkit.scene import Scene


class Harm(StrEnum):
    """What happens to a file."""

    FLIP = "has one byte flipped"
    CUT = "is cut short"
    DELETE = "is deleted"
    DIRECTORY = "is replaced by a directory"


def harm(path: Path, how: Harm, place: float = 0.5) -> str:
    """Do it; `place` says where in the file.

    Raises:
        OSError: It is not there, or there is no room.
    """
    data = bytearray(path.read_bytes())
    match how:
        case Harm.FLIP:
            at = min(int(len(data) * place), len(data) - 1)
            data[at] ^= 1
            path.write_bytes(data)
            return f"byte {at} of {len(data)}"
        case Harm.CUT:
            path.write_bytes(data[: int(len(data) * place)])
            return f"{int(len(data) * place)} of {len(data)} bytes are left"
        case Harm.DELETE:
            path.unlink()
        case Harm.DIRECTORY:
            path.unlink()
            path.mkdir()
    return ""


def damage(link: str, file: str, how: Harm, place: float = 0.5) -> Step:
    """Damage a file of the current or previous generation."""

    def do(scene: Scene) -> str:
        found = scene.linked(link)
        return f"{found.directory.name}: {harm(found.directory / file, how, place)}" if found else "there is none"

    return Step(f"{file} of {link} {how}", do)


def damage_record(file: str, how: Harm, place: float = 0.5) -> Step:
    """Damage the record of the change in flight, or the history."""

    def do(scene: Scene) -> str:
        came = harm(scene.state / file, how, place)
        scene.records_damaged += 1
        return came

    return Step(f"{file} {how}", do)


def unlink(link: str) -> Step:
    """Delete a link."""

    def do(scene: Scene) -> str:
        (scene.state / link).unlink()
        return ""

    return Step(f"the link {link} is deleted", do)


def swap_links() -> Step:
    """Let current and previous change places."""

    def do(scene: Scene) -> str:
        current, previous = ((scene.state / link).readlink() for link in ("current", "previous"))
        for link, target in (("current", previous), ("previous", current)):
            made = scene.state / f"{link}.swapped"
            with suppress(FileNotFoundError):
                made.unlink()
            made.symlink_to(target)
            made.rename(scene.state / link)
        return ""

    return Step("the links current and previous change places", do)


def full_disk(kibibytes: int) -> Step:
    """Let the state directory's disk be full."""

    def do(scene: Scene) -> str:
        if not scene.disk.mounted:
            return "it has no disk of its own"
        scene.disk.fill(kibibytes)
        return ""

    return Step(f"the disk has {kibibytes} KiB left", do)


def free_disk() -> Step:
    """Let it have room again."""

    def do(scene: Scene) -> str:
        if scene.disk.mounted:
            scene.disk.free()
        return ""

    return Step("the disk has room again", do)
