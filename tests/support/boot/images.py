"""The package and the images that system tests start from, each made once and shared by all processes of a run.

::

    IOT_CERT_TEST_CACHE or /var/tmp/iot-cert-agent-tests/
        debian-KEY/     Debian 12 with systemd and what gateways run beside the agent; made again when its list changes
    the run's own folder/
        packages/       the package of this tree, and an earlier one
        factory/        on top of Debian: the package, installed while nothing of it ran, as an image is built
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from support import campaigns
from support.boot.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[3]
CACHE = Path(os.environ.get("IOT_CERT_TEST_CACHE", "/var/tmp/iot-cert-agent-tests"))  # noqa: S108 - survives a reboot

SUITE = "bookworm"
PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "python3", "python3-systemd", "procps", "mosquitto", "nginx-light", "openssl",
)  # fmt: skip
EARLIER = "0.0.1"
QUICKLY = {"COMPRESSION": "-Zgzip -z1"}

# Nothing of Debian's own is to run on the ports of the machine that tests run on, nor to look for updates.
_QUIET = """\
cd "$1"
printf '127.0.0.1 localhost\\n' >etc/hosts
: >etc/machine-id
cd etc/systemd/system
rm -f multi-user.target.wants/mosquitto.service multi-user.target.wants/nginx.service timers.target.wants/*
cd ../../..
rm -f etc/resolv.conf
ln -sf /dev/null etc/systemd/system/systemd-resolved.service
"""

TOOLS = ("mmdebstrap", "systemd-nspawn", "nsenter", "unshare", "dpkg-deb")


def build(outdir: Path, **environment: str) -> Path:
    """Build the package and return it."""
    done = subprocess.run(
        [ROOT / "packaging" / "build-deb", outdir],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHON": sys.executable, **environment},
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def packing() -> dict[str, str]:
    """Return how the package is packed: as it is shipped in a run of the whole, which takes half a minute more."""
    return {} if campaigns.chosen().whole else QUICKLY


def package(run: Path) -> Path:
    """Return the package of this tree."""
    return _once(run / "packages" / "current", lambda: build(run / "packages", **packing()))


def earlier_package(run: Path) -> Path:
    """Return a package of this tree that says it is an earlier version; what it holds is the same otherwise."""
    return _once(run / "packages" / "earlier", lambda: build(run / "packages", VERSION=EARLIER, **QUICKLY))


def debian() -> Path:
    """Return a root file system of Debian 12, which no test may write to."""
    key = hashlib.sha256("\n".join((SUITE, *PACKAGES, _QUIET)).encode()).hexdigest()[:12]
    return _once(CACHE / f"debian-{key}.made", lambda: _bootstrap(CACHE / f"debian-{key}"))


def _bootstrap(root: Path) -> Path:
    shutil.rmtree(root, ignore_errors=True)
    hook = CACHE / f"{root.name}.hook"
    hook.write_text(f"set -e\n{_QUIET}")
    log = CACHE / f"{root.name}.log"
    # No file with sources is named: mmdebstrap takes those of this machine.
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
    hooks = [f'--customize-hook=sh {hook} "$1"']
    with log.open("wb") as output:
        done = subprocess.run([*command, *hooks, SUITE, root, *_sources()], stdout=output, stderr=output, check=False)
    assert done.returncode == 0, log.read_text()
    return root


def _sources() -> list[Path]:
    """Return this machine's lists of sources when it has Debian 12 itself; mmdebstrap knows where others look."""
    release = Path("/etc/os-release").read_text()
    places = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*.sources"))]
    return [place for place in places if place.is_file()] if f"VERSION_CODENAME={SUITE}" in release else []


def factory(run: Path) -> list[Path]:
    """Return the layers of an image with the package in it, as a factory writes them to gateways."""
    base = debian()
    layer = _once(run / "factory.made", lambda: _install(run / "factory", base, package(run)))
    return [layer, base]


def _install(disk: Path, base: Path, deb: Path) -> Path:
    machine = Machine(disk, [base])
    machine.write("/package.deb", deb.read_bytes())
    done = machine.once("dpkg", "--install", "/package.deb")
    assert done.code == 0, done.out
    machine.path("/package.deb").unlink()
    return disk / "upper"


def _once(stamp: Path, make: Callable[[], Path]) -> Path:
    """Return what was made, making it if no process has done so before."""
    stamp.parent.mkdir(parents=True, exist_ok=True)
    with _locked(stamp.with_suffix(".lock")):
        if not stamp.exists():
            stamp.write_text(str(make()))
    return Path(stamp.read_text())


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
