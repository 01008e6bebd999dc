"""The Debian package: what it is. What it does to a gateway is in test_first_day.py, and an upgrade in test_life.py."""

from __future__ import annotations

import ast
import hashlib
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from support.boot import images

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.whole
def test_two_builds_are_the_same_bytes(run_folder: Path, tmp_path: Path) -> None:
    """In another folder, under another mask, in another language and time zone."""
    odd = {"TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8", "TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    again = images.build(tmp_path, **odd, **images.packing())
    first = images.package(run_folder)
    assert first.name == again.name
    assert hashlib.sha256(first.read_bytes()).digest() == hashlib.sha256(again.read_bytes()).digest()


@pytest.mark.whole
def test_lintian_finds_no_error(run_folder: Path, record_property: Callable[[str, object], None]) -> None:
    """Overrides stand in the package, each with its reason."""
    deb = images.package(run_folder)
    linted = subprocess.run(
        ["lintian", "--allow-root", "--tag-display-limit=0", deb], capture_output=True, text=True, check=False
    )
    kinds = [line[0] for line in linted.stdout.splitlines()]
    assert linted.returncode == 0, linted.stdout
    assert "E" not in kinds, linted.stdout
    record_property("figure", f"lintian: {kinds.count('E')} errors, {kinds.count('W')} warnings")
    installed = images.field(deb, "Installed-Size")
    packed = "package, packed quickly" if images.packing() else "package"
    record_property(
        "figure", f"{deb.stat().st_size / 2**20:.1f} MiB {packed}, {int(installed) / 1024:.1f} MiB installed"
    )


def test_what_is_in_it_belongs_to_root_and_is_compiled(run_folder: Path, tmp_path: Path) -> None:
    """Nothing is writable for others, nothing names the place where it was built, and no source lacks its code."""
    deb = images.package(run_folder)
    listed = subprocess.run(["dpkg-deb", "--contents", deb], capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        mode, owner = line.split()[:2]
        assert owner == "root/root"
        assert mode.startswith("l") or (mode[5], mode[8]) == ("-", "-"), line
    subprocess.run(["dpkg-deb", "--extract", deb, tmp_path], check=True)
    private = tmp_path / "usr/lib/iot-cert-agent"
    for source in private.rglob("*.py"):
        compiled = source.parent / "__pycache__" / f"{source.stem}.cpython-311.pyc"
        assert compiled.read_bytes()[4] == 1, "unchecked, by its hash"
    assert str((private / "bin/python3").readlink()) == "../../../bin/python3"
    library = private / "lib/python3.11/site-packages/systemd"
    assert (library.parent / library.readlink()).resolve() == tmp_path / "usr/lib/python3/dist-packages/systemd"
    (command,) = private.rglob("agent/cli/__init__.py")
    lean = command.parent / "__pycache__/__init__.cpython-311.pyc"
    assert (ast.get_docstring(ast.parse(command.read_text())) or "").encode() not in lean.read_bytes()
    assert not list(private.rglob("agent/sandbox*"))
    assert not list(private.rglob("agent/backend*"))
    assert not list(private.rglob("agent/fleet*"))
    here = str(tmp_path).encode(), str(images.ROOT).encode()
    for path in private.rglob("*.pyc"):
        assert not any(place in path.read_bytes() for place in here)
    shutil.rmtree(tmp_path)


@pytest.mark.whole
def test_another_machines_package_is_built_here(tmp_path: Path) -> None:
    """By the same recipe for arm64: the same files but for libraries, every one of which is for that machine."""
    deb = images.build(tmp_path, ARCH="arm64", **images.QUICKLY)
    assert images.field(deb, "Architecture") == "arm64"
    subprocess.run(["dpkg-deb", "--extract", deb, tmp_path], check=True)
    libraries = [path for path in tmp_path.rglob("*.so") if path.is_file()]
    assert {"_awscrt.abi3.so", "_rust.abi3.so"} <= {path.name for path in libraries}
    assert {path.read_bytes()[18:20] for path in libraries} == {AARCH64}
    shutil.rmtree(tmp_path)


AARCH64 = (183).to_bytes(2, "little")  # <elf.h>: EM_AARCH64
