"""The Debian package: what it is, and what installing, upgrading, removing and purging it do to a gateway."""

from __future__ import annotations

import ast
import hashlib
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from agent.sandbox.replies.faults import Effect, Fault, Operation
from support.boot import images
from support.boot.machine import SERVICE, STATE, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.boot.installed import Installed

UNITS = ("iot-cert-agent.service", "iot-cert-agent.socket")
INSTALL = ("apt-get", "install", "--yes", "--quiet", "-o", "Dpkg::Use-Pty=0", "/package.deb")


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
    installed = field(deb, "Installed-Size")
    packed = "package, packed quickly" if images.packing() else "package"
    record_property(
        "figure", f"{deb.stat().st_size / 2**20:.1f} MiB {packed}, {int(installed) / 1024:.1f} MiB installed"
    )


def field(deb: Path, name: str) -> str:
    """Return a field of a package."""
    return subprocess.run(["dpkg-deb", "--field", deb, name], capture_output=True, text=True, check=True).stdout.strip()


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
    assert field(deb, "Architecture") == "arm64"
    subprocess.run(["dpkg-deb", "--extract", deb, tmp_path], check=True)
    libraries = [path for path in tmp_path.rglob("*.so") if path.is_file()]
    assert {"_awscrt.abi3.so", "_rust.abi3.so"} <= {path.name for path in libraries}
    assert {path.read_bytes()[18:20] for path in libraries} == {AARCH64}
    shutil.rmtree(tmp_path)


AARCH64 = (183).to_bytes(2, "little")  # <elf.h>: EM_AARCH64


# Debian's env takes it, and so Ctrl-C cannot end the command before it can answer.
LAUNCHER = "#!/usr/bin/env -S --block-signal=INT /usr/lib/iot-cert-agent/bin/python3 -I\n"


def test_apt_installs_a_daemon_removes_it_with_its_state_kept_and_asks_before_keys_are_purged(
    bare: Installed, run_folder: Path
) -> None:
    """One machine's life with the package, from a daemon that waits for its configuration to nothing that is left."""
    bare.machine.boot()
    a_daemon_waits_for_its_configuration(bare, field(images.package(run_folder), "Version"))
    removing_keeps_the_state(bare)
    purging_asks(bare)


def a_daemon_waits_for_its_configuration(bare: Installed, version: str) -> None:
    """Enabled and running at once, whatever is configured; one file edited, a claim put in place, and it enrols."""
    machine = bare.machine
    machine.run(*INSTALL)
    assert machine.read("/usr/bin/iot-cert").startswith(LAUNCHER)
    assert machine.run("/usr/bin/iot-cert", "--version").out == f"iot-cert {version}\n"
    for unit in UNITS:
        assert machine.run("systemctl", "is-enabled", unit).out == "enabled\n"
        assert machine.run("systemctl", "is-active", unit).out == "active\n"
    assert machine.run("iot-cert", "status", expect=None).code in {1, 3}
    bare.equip()
    bare.configure()
    machine.run("iot-cert", "config", "check")
    machine.run("systemctl", "reload", SERVICE)
    assert bare.until_up() == 1
    machine.run("iot-cert", "support-bundle", "--output", "/root/support.tar")
    journal = machine.run(
        "tar", "--extract", "--to-stdout", "--file=/root/support.tar", "iot-cert-support/journal.txt"
    ).out
    assert re.search(r" iot-cert-agent\[\d+\]: Starting with /etc/iot-cert-agent/config.yaml\.$", journal, re.MULTILINE)
    assert "Systemd is told nothing" not in journal
    assert machine.run("dpkg", "--verify", "iot-cert-agent").out.split() == [
        "??5??????",
        "c",
        "/etc/iot-cert-agent/config.yaml",
    ]


def removing_keeps_the_state(bare: Installed) -> None:
    """After a remove the same generation goes on."""
    machine = bare.machine
    key = machine.read(f"{STATE}/current/key.pem")
    machine.run("apt-get", "remove", "--yes", "iot-cert-agent")
    assert machine.run("systemctl", "is-active", SERVICE, expect=None).out == "inactive\n"
    assert not machine.path("/usr/lib/iot-cert-agent").exists()
    machine.run(*INSTALL)
    assert bare.until_up() == 1
    assert machine.read(f"{STATE}/current/key.pem") == key


def purging_asks(bare: Installed) -> None:
    """A purge erases keys only when a file says so."""
    machine = bare.machine
    key = machine.read(f"{STATE}/current/key.pem")
    told = machine.run("apt-get", "purge", "--yes", "iot-cert-agent")
    assert f"kept in {STATE}" in told.out + told.err
    assert not machine.path("/etc/iot-cert-agent/config.yaml").exists()
    assert machine.read(f"{STATE}/current/key.pem") == key

    machine.run(*INSTALL)
    machine.write("/etc/iot-cert-agent/purge-state", "")
    machine.run("apt-get", "purge", "--yes", "iot-cert-agent")
    assert not machine.path(STATE).exists()
    assert not machine.path("/etc/iot-cert-agent").exists()
    assert machine.run("systemctl", "list-units", "--failed", "--no-legend").out == ""


def test_an_upgrade_in_mid_change_goes_on_with_it(bare: Installed, run_folder: Path) -> None:
    """The worker ends between two steps, the new daemon resumes the same change, and one certificate is asked for."""
    machine = bare.machine
    machine.write("/earlier.deb", images.earlier_package(run_folder).read_bytes())
    machine.boot()
    machine.run("dpkg", "--install", "/earlier.deb")
    bare.equip()
    bare.configure(request="5s")  # the old daemon ends once the answer that never comes is missed
    machine.run("systemctl", "restart", SERVICE)
    bare.until_up()
    assert machine.run("iot-cert", "--version").out == f"iot-cert {images.EARLIER}\n"

    bare.cloud.faults.add(Fault(operation=Operation.REGISTER, effect=Effect.SILENCE))
    machine.run("iot-cert", "rotate", "--no-wait", "--reason", "before the upgrade", expect=None)
    change = until(lambda: machine.change() if machine.change().get("phase") == "issued" else None, "it waits")
    upgraded = machine.run(*INSTALL)
    assert re.search(rf"\({re.escape(images.EARLIER)}\)", upgraded.out), upgraded.out
    assert machine.run("iot-cert", "--version").out != f"iot-cert {images.EARLIER}\n"
    until(lambda: len(machine.history()) == 2, "the change ends")
    assert bare.until_up() == 2
    assert (machine.history()[-1]["id"], machine.history()[-1]["phase"]) == (change["id"], "committed")
    assert len(bare.certificates()) == 2
