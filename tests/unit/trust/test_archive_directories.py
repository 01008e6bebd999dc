"""Bundles that were laid out as files already: read like archives, and refused like them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from agent.core.trust.updates import MAX_ARCHIVE
from agent.errors import BundleError
from agent.trust.archives import MAX_FILES, read_directory, read_file
from support.suite.surroundings import NOBODY
from support.unit.trust.archives import FILES

if TYPE_CHECKING:
    from pathlib import Path


def laid_out(path: Path, files: dict[str, bytes]) -> Path:
    """Write files below a directory and return it."""
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def directory_refusal(path: Path) -> str:
    """Return the code with which a directory is refused."""
    with pytest.raises(BundleError) as error:
        read_directory(path)
    return error.value.code


def test_a_directory_is_read_like_an_archive(tmp_path: Path) -> None:
    """The same names and bytes; what is hidden does not count."""
    laid_out(tmp_path, {**FILES, ".git/config": b"x", "metadata/.swp": b"x"})

    assert read_directory(tmp_path) == FILES
    link = tmp_path.parent / "link"
    link.symlink_to(tmp_path)
    assert read_directory(link) == FILES


@pytest.mark.parametrize("name", ["metadata/a b", "a:b", "metadata/ä"])
def test_a_directory_with_a_name_that_is_not_plain_is_refused(tmp_path: Path, name: str) -> None:
    """A person sees which."""
    assert directory_refusal(laid_out(tmp_path, {name: b""})) == "archive"


def test_no_link_in_a_directory_is_followed(tmp_path: Path) -> None:
    """To a file, to a directory or to nowhere."""
    secret = laid_out(tmp_path / "outside", {"secret": b"x"}) / "secret"
    for target in (secret, secret.parent, tmp_path / "nowhere"):
        inside = tmp_path / f"inside-{target.name}"
        inside.mkdir()
        (inside / "a.json").symlink_to(target)
        assert directory_refusal(inside) == "unreadable"


def test_a_pipe_in_a_directory_keeps_no_reader_waiting(tmp_path: Path) -> None:
    """No process writes into it."""
    os.mkfifo(tmp_path / "a.json")

    assert directory_refusal(tmp_path) == "unreadable"


def test_a_directory_that_is_too_large_is_refused(tmp_path: Path) -> None:
    """In files, in bytes or in depth, before it is read."""
    for number in range(MAX_FILES + 2):
        (tmp_path / f"f{number}").touch()
    assert directory_refusal(tmp_path) == "too-large"
    with (tmp_path / "large").open("wb") as file:
        file.truncate(MAX_ARCHIVE + 1)
    (tmp_path / "deep" / "/".join("d" * 30)).mkdir(parents=True)
    laid_out(tmp_path / "deep" / "/".join("d" * 30), {"f": b""})
    (tmp_path / "only").mkdir()
    (tmp_path / "large").rename(tmp_path / "only" / "large")

    assert directory_refusal(tmp_path / "only") in {"too-large", "unreadable"}
    assert directory_refusal(tmp_path / "deep") == "too-large"


def test_a_directory_that_is_none_is_refused(tmp_path: Path) -> None:
    """Missing, or a file."""
    (tmp_path / "file").touch()

    assert directory_refusal(tmp_path / "missing") == directory_refusal(tmp_path / "file") == "unreadable"


def test_a_file_that_a_person_names_is_read_whole_or_refused(tmp_path: Path) -> None:
    """A plain one of bounded size."""
    (tmp_path / "bundle.tar").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "bundle.tar")
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(MAX_ARCHIVE + 1)

    assert read_file(tmp_path / "bundle.tar") == b"x"
    for name in ("missing", "missing/too", "link", "pipe", "large", "."):
        with pytest.raises(BundleError) as error:
            read_file(tmp_path / name)
        assert error.value.code == "unreadable"


def test_what_this_user_may_not_read_takes_sudo(tmp_path: Path) -> None:
    """A person brought it: neither the agent's user nor the agent's directories have a part in it."""
    (tmp_path / "file").touch(mode=0)
    (tmp_path / "directory").mkdir(mode=0)
    before = os.geteuid()
    os.seteuid(NOBODY if before == 0 else before)
    try:
        with pytest.raises(BundleError) as of_file:
            read_file(tmp_path / "file")
        with pytest.raises(BundleError) as of_directory:
            read_directory(tmp_path / "directory")
    finally:
        os.seteuid(before)
    assert [(caught.value.code, caught.value.hint) for caught in (of_file, of_directory)] == [
        ("unreadable", "Run it with sudo.")
    ] * 2
