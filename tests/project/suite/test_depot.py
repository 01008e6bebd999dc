"""The depot of the tests: faults as they are typed, and no file from outside its folder."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from agent.sandbox.account.authority import Authority
from support.network.depot import Depot, DepotFault, Kind

if TYPE_CHECKING:
    from pathlib import Path

ROOT = Authority("root", datetime.now(UTC))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("endless", DepotFault(Kind.ENDLESS)),
        ("wrong-length", DepotFault(Kind.WRONG_LENGTH)),
        ("status:503", DepotFault(Kind.STATUS, "503")),
        ("redirect:https://localhost:1/x?y:z", DepotFault(Kind.REDIRECT, "https://localhost:1/x?y:z")),
    ],
)
def test_a_fault_is_read_as_people_write_it(text: str, fault: DepotFault) -> None:
    """The kind, and after a colon what belongs to it."""
    assert DepotFault.parse(text) == fault


@pytest.mark.parametrize(
    "text", ["", "slower", "status", "status:", "status:many", "status:999", "redirect", "slow:2", "endless:x"]
)
def test_what_is_no_fault_is_refused(text: str) -> None:
    """Also a kind without its value, and a value without a use."""
    with pytest.raises(ValueError, match=r"."):
        DepotFault.parse(text)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/a.pem", b"a"),
        ("/deep/b.pem", b"b"),
        ("/deep/../a.pem", b"a"),
        ("/link.pem", b"a"),
        ("/", None),
        ("", None),
        ("/deep", None),
        ("/none.pem", None),
        ("/../secret", None),
        ("/deep/../../secret", None),
        ("//etc/hostname", None),
        ("/link-out", None),
        ("/folder-out/secret", None),
        ("/circle", None),
        ("/pipe", None),
        ("/a.pem\0", None),
        ("/" + "x" * 5000, None),
    ],
)
def test_only_regular_files_below_the_folder_are_found(path: str, found: bytes | None, tmp_path: Path) -> None:
    """Neither `..` nor a link leads out, and what would block is not opened."""
    (tmp_path / "secret").write_bytes(b"s")
    folder = tmp_path / "depot"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.pem").write_bytes(b"a")
    (folder / "deep" / "b.pem").write_bytes(b"b")
    for link, target in (("link.pem", "a.pem"), ("link-out", "../secret"), ("folder-out", ".."), ("circle", "circle")):
        (folder / link).symlink_to(target)
    os.mkfifo(folder / "pipe")
    assert Depot(folder, ROOT).find(path) == found
