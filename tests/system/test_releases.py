"""Other releases and another processor than those of `make test`: the package is built, booted and imported there."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from support.boot import images
from support.boot.installed import Installed
from support.boot.machine import SERVICE, Machine
from support.suite.surroundings import lacks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.boot.images import Release

pytestmark = pytest.mark.whole


@pytest.mark.parametrize("release", images.RELEASES, ids=lambda release: release.suite)
def test_a_gateway_lives_on_another_release(
    release: Release, run_folder: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """With its own Python and systemd: enrolled at first boot, rotated, rolled back, unplugged and booted again."""
    machine = Machine(tmp_path / "disk", images.other_factory(run_folder, release))
    with Installed(machine, tmp_path / "cloud") as gateway:
        gateway.configure()
        gateway.equip()
        machine.boot()
        assert gateway.until_up() == 1
        assert machine.run("systemctl", "list-units", "--failed", "--no-legend").out == ""
        assert machine.show("NRestarts") == "0"
        lines = machine.run("iot-cert", "check", "--json", expect=None).out.splitlines()
        found = {line["check"]: line["verdict"] for line in map(json.loads, lines) if "verdict" in line}
        assert {name for name, verdict in found.items() if verdict != "ok"} <= {"disk"}
        machine.run("iot-cert", "rotate")
        assert gateway.until_up() == 2
        machine.run("iot-cert", "rollback")
        assert gateway.until_up() == 1
        machine.cut()
        machine.boot()
        assert gateway.until_up() == 1
        assert gateway.whole()
        assert "Traceback" not in machine.journal()
        told = machine.run("systemd-analyze", "security", "--no-pager", SERVICE).out.splitlines()[-1]
        python = machine.run("python3", "--version").out.strip()
        record_property("figure", f"{release.suite}, {python}: {told.removeprefix('→ ').rstrip(' :-)')}")


EMULATOR = "qemu-aarch64-static"

# All modules, a thread of the SDK's own, a key, and the notification of systemd.
_TRIED = """
import importlib, pkgutil, platform
import agent, systemd.daemon
from agent.core.values import KeyAlgorithm
names = [module.name for module in pkgutil.walk_packages(agent.__path__, "agent.") if "__main__" not in module.name]
for name in names:
    importlib.import_module(name)
from awscrt import io
io.ClientBootstrap(group := io.EventLoopGroup(1), io.DefaultHostResolver(group))
from agent.crypto import keys
keys.public_key_sha256(keys.generate(KeyAlgorithm.EC_P256))
print(platform.machine(), len(names))
"""


def test_the_package_for_arm64_is_imported_there(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """On an emulated processor, with Debian's own Python for it: what is compiled for it loads and works."""
    emulator = shutil.which(EMULATOR)
    if emulator is None:
        lacks(f"{EMULATOR} is not installed: apt-get install qemu-user-static")
    root = tmp_path / "root"
    subprocess.run(["cp", "--archive", images.arm64(), root], check=True)
    deb = images.build(tmp_path, ARCH="arm64", **images.QUICKLY)
    subprocess.run(["dpkg-deb", "--extract", deb, root], check=True)
    shutil.copy(emulator, root / EMULATOR)
    command = ["chroot", str(root), f"/{EMULATOR}", "/usr/lib/iot-cert-agent/bin/python3", "-I", "-c", _TRIED]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    machine, modules = done.stdout.split()
    assert (machine, int(modules) > 200) == ("aarch64", True)
    record_property("figure", f"arm64, emulated: {modules} modules imported")
    shutil.rmtree(root)
