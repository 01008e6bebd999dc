"""Files that a person named: read, or told of with what stands there and what helps."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from agent.system import files
from support.shorthand import planted
from support.suite.surroundings import descriptors

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 4096
MOUNT_OR_PUT = "mount its file system, or put it in place."
OUT_OF_THE_WAY = "Move it out of the way, or put the file that is meant in its place."

# What is said of each, and what helps.
TOLD = {
    "directory": ("is a directory, where a file is expected",
                  "Name a file in it, or put the file that is meant in its place."),
    "pipe": ("is a pipe, where a file is expected", OUT_OF_THE_WAY),
    "socket": ("is a socket, where a file is expected", OUT_OF_THE_WAY),
    "device": ("is a device, where a file is expected", OUT_OF_THE_WAY),
    "null": ("is a device, where a file is expected", OUT_OF_THE_WAY),
    "loop": ("cannot be read: Too many levels of symbolic links",
             "The links there lead in a circle: put the file itself in their place."),
    "dangling": ("cannot be read: No such file or directory",
                 "PATH is a symbolic link to /nowhere/at/all, which is not there: " + MOUNT_OR_PUT),
    "sparse": ("is larger than the 4 KiB allowed", "It is not what is meant here: put the right file in its place."),
}  # fmt: skip


def told(path: Path) -> tuple[str, str]:
    """Return what is said of a file that cannot be read, and what helps, with PATH for its path."""
    with pytest.raises(files.UnreadableError) as caught:
        files.read(path, LIMIT)
    return str(caught.value).replace(str(path), "PATH"), caught.value.remedy.replace(str(path), "PATH")


@pytest.mark.root
@pytest.mark.parametrize("kind", TOLD)
def test_what_stands_in_a_files_place_is_told_with_what_helps(tmp_path: Path, kind: str) -> None:
    """None is waited for, left open or written into."""
    before = descriptors()
    with planted.at(tmp_path / "name", kind) as plant:
        assert told(plant.path) == TOLD[kind]
        plant.require_kept(plant.path)
    assert descriptors() == before


@pytest.mark.root
@pytest.mark.parametrize("kind", ["hard-link", "mode-0555", "stranger", "immutable", "mode-000"])
def test_a_file_is_a_file_whatever_its_owner_and_mode(tmp_path: Path, kind: str) -> None:
    """Root may read all of these, and nothing more is done with them."""
    with planted.at(tmp_path / "name", kind) as plant:
        assert files.read(plant.path, LIMIT) == (planted.WORDS.encode(), plant.made.st_mode & 0o7777)


def test_a_path_that_leads_nowhere_is_told_as_far_as_it_leads(tmp_path: Path) -> None:
    """The first step that is not there is what a person looks for: a stick, or a directory with a slip in its name."""
    assert told(tmp_path / "key.pem") == (
        "cannot be read: No such file or directory", "Put it in place, or correct the path."
    )  # fmt: skip
    assert told(tmp_path / "stick" / "new" / "key.pem")[1] == (
        f"Put it in place, or correct the path: there is no {tmp_path}/stick."
    )
    (tmp_path / "stick").symlink_to("/media/stick")
    assert told(tmp_path / "stick" / "key.pem")[1] == (
        f"{tmp_path}/stick is a symbolic link to /media/stick, which is not there: {MOUNT_OR_PUT}"
    )


def test_a_path_through_a_file_and_a_name_that_is_too_long_are_told(tmp_path: Path) -> None:
    """What stands above it is named as the cause, and nothing is raised that no caller knows."""
    (tmp_path / "file").write_text("")
    assert told(tmp_path / "file" / "key.pem") == (
        "cannot be read: Not a directory",
        "What stands above it in the path is no directory: move that out of the way.",
    )
    assert told(tmp_path / ("x" * 300)) == ("cannot be read: File name too long", "Choose a shorter name.")


def test_what_may_not_be_read_is_told_with_the_way_to_read_it(tmp_path: Path) -> None:
    """By the system's word, whatever the reason: mode, access list or a security module."""
    for number in (errno.EACCES, errno.EPERM):
        found = files.unreadable(tmp_path, OSError(number, os.strerror(number)))
        assert found.remedy.startswith("Run it with sudo; what the agent cannot read needs an owner and a mode")


def test_a_device_without_a_driver_is_told_as_what_it_is(tmp_path: Path) -> None:
    """The kernel says of it what it says of a socket: that there is no such device."""
    os.mkfifo(tmp_path / "name")  # stands for it
    for number in (errno.ENXIO, errno.ENODEV):
        found = files.unreadable(tmp_path / "name", OSError(number, os.strerror(number)))
        assert str(found) == "is a pipe, where a file is expected"
        assert "No such device" in str(files.unreadable(tmp_path / "gone", OSError(number, os.strerror(number))))


@pytest.mark.parametrize("name", ["loop", "x" * 300, "file/below", "gone", "dangling"])
def test_what_leads_nowhere_is_not_there_and_no_directory(tmp_path: Path, name: str) -> None:
    """No error is raised: `Path.exists` raises for a name that is too long, and for one that may not be looked at."""
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "file").write_text("")
    assert not files.is_there(tmp_path / name)
    assert not files.is_directory(tmp_path / name)
    assert files.is_there(tmp_path / "file")
    assert not files.is_directory(tmp_path / "file")
    assert files.is_directory(tmp_path)


def test_a_remedy_says_nothing_of_a_set_that_may_not_be_there() -> None:
    """A full disk meets a gateway before its first certificate, too: what is said to be safe is what was there."""
    for number in (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EIO):
        assert "what was there before" in files.remedy(number)
    assert not any("set in use" in files.remedy(number) for number in errno.errorcode)


@pytest.mark.parametrize(("name", "general"), [("gone", True), ("gone/below", False), ("dangling", False), ("", False)])
def test_a_remedy_is_general_where_nothing_is_known_but_that_nothing_is_there(
    tmp_path: Path, name: str, *, general: bool
) -> None:
    """A directory above that is missing, a link to nowhere and another kind are told, whatever belongs there."""
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(files.UnreadableError) as error:
        files.read(tmp_path / name, 1)
    assert error.value.remedy
    assert error.value.general is general
