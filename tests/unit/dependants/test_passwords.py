"""Passwords of PKCS #12 files: read once, from files that their owner alone may read and turn elsewhere."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from agent.core.dependants import Content, Copy, Format
from agent.dependants.copies import MAX_PASSWORD, passwords
from support.shorthand.copies import OTHER_USER
from support.suite.surroundings import NOBODY, descriptors


def locked(file: Path | None) -> Copy:
    """Return a copy with a password file."""
    return Copy(to=Path("/x"), content=Content.PAIR, format=Format.PKCS12, password_file=file)


def password_file(path: Path, content: bytes = b"secret\n", mode: int = 0o600) -> Path:
    """Write a password file."""
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_passwords_are_read_once_for_each_file(tmp_path: Path) -> None:
    """No more of it than a password may have, and of copies without one nothing."""
    first, second = password_file(tmp_path / "a"), password_file(tmp_path / "b", b"x" * (MAX_PASSWORD + 100))

    found = passwords([locked(first), locked(second), locked(first), locked(None)])
    assert found == {first: b"secret\n", second: b"x" * MAX_PASSWORD}


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
def test_a_password_that_its_owner_alone_may_read_is_taken(tmp_path: Path, mode: int) -> None:
    """As a secret should lie."""
    assert passwords([locked(password_file(tmp_path / "a", mode=mode))]) == {tmp_path / "a": b"secret\n"}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o644, 0o666])
def test_a_password_that_others_may_read_is_none(tmp_path: Path, mode: int) -> None:
    """The copy then says how it should be."""
    assert passwords([locked(password_file(tmp_path / "a", mode=mode))]) == {}


@pytest.mark.parametrize("kind", ["missing", "link", "directory", "pipe"])
def test_a_password_file_that_is_none_is_missing(tmp_path: Path, kind: str) -> None:
    """It is not followed, not waited for and not left open."""
    path = tmp_path / "password"
    if kind == "link":
        path.symlink_to(password_file(tmp_path / "real"))
    elif kind == "directory":
        path.mkdir(mode=0o700)
    elif kind == "pipe":
        os.mkfifo(path, 0o600)

    before = descriptors()
    assert passwords([locked(path)]) == {}
    assert descriptors() - before == set()


@pytest.mark.parametrize("where", ["conf", "conf/below"])
def test_a_password_is_not_read_through_a_link(place: Path, where: str) -> None:
    """The owner of the directory that it is in would have root use a password which is another's."""
    (place / "real" / "below").mkdir(parents=True)
    password_file(place / "real" / "below" / "password")
    if where == "conf":
        (place / "conf").symlink_to(place / "real")
    else:
        (place / "conf").mkdir()
        (place / "conf" / "below").symlink_to(place / "real" / "below")

    real, through = (place / top / "below" / "password" for top in ("real", "conf"))
    assert passwords([locked(through), locked(real)]) == {real: b"secret\n"}


@pytest.mark.root
@pytest.mark.parametrize("how", ["a stranger's", "all may write"])
def test_a_password_is_not_read_where_others_may_put_one(place: Path, how: str) -> None:
    """In a directory that is neither root's nor the copy's owner's, or that any user may write."""
    (place / "conf").mkdir()
    file = password_file(place / "conf" / "password")
    os.chown(place / "conf", NOBODY, NOBODY) if how == "a stranger's" else (place / "conf").chmod(0o777)
    wanted = locked(file)
    assert passwords([wanted]) == {}

    theirs = replace(wanted, owner=OTHER_USER)
    assert passwords([theirs]) == ({file: b"secret\n"} if how == "a stranger's" else {})


def test_of_an_unknown_owner_no_password_is_read(tmp_path: Path) -> None:
    """And the others' are."""
    first, second = password_file(tmp_path / "a"), password_file(tmp_path / "b")
    assert passwords([replace(locked(first), owner="no-such-body"), locked(second)]) == {second: b"secret\n"}
