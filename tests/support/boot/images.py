"""The package and the images that system tests start from, each made once and shared by all processes of a run.

::

    IOT_CERT_TEST_CACHE or /var/tmp/iot-cert-agent-tests/
        debian-KEY/     Debian 12 with systemd and what gateways run beside the agent; made again when its list changes
        SUITE-KEY/      another release with systemd alone
    the run's own folder/
        packages/       the package of this tree, and a later one
        builder-SUITE/  the package for another release, which was built there
        factory/        on top of Debian: the package, installed while nothing of it ran, as an image is built
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import py_compile
import re
import shutil
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from support.boot.machine import Machine
from support.suite import campaigns
from support.suite.surroundings import lacks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

ROOT = Path(__file__).parents[3]
CACHE = Path(os.environ.get("IOT_CERT_TEST_CACHE", "/var/tmp/iot-cert-agent-tests"))  # noqa: S108 - survives a reboot

SUITE = "bookworm"
PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "python3", "python3-systemd", "procps", "mosquitto", "nginx", "openssl",
    "login", "mount", "passwd", "usr-is-merged",
)  # fmt: skip
BUILT_THERE = ("systemd", "systemd-sysv", "dbus", "python3", "python3-systemd", "python3-venv", "procps", "openssl")


@dataclass(frozen=True, kw_only=True)
class Release:
    """Another release than Debian 12, with a Python of its own.

    Attributes:
        suite: Its name in the archive.
        mirror: The archive; empty for Debian's.
        components: Which parts of it.
        keyring: The path and the SHA-256 of the package in it that holds its keys; empty where this machine has them.
    """

    suite: str
    mirror: str = ""
    components: str = "main"
    keyring: tuple[str, str] = ("", "")


RELEASES = (
    Release(suite="trixie"),
    Release(
        suite="noble",
        mirror="http://archive.ubuntu.com/ubuntu",
        components="main,universe",
        keyring=(
            "pool/main/u/ubuntu-keyring/ubuntu-keyring_2023.11.28.1_all.deb",
            "36de43b15853ccae0028e9a767613770c704833f82586f28eb262f0311adb8a8",
        ),
    ),
)
LATER = "1000.0.0"
BUILDING = 900.0  # seconds for a package that is built elsewhere, with the tools for it fetched anew
QUICKLY = {"COMPRESSION": "-Zzstd -z1"}

_DEBIAN = "http://deb.debian.org/debian"

# Nothing of Debian's own is to run on the ports of the machine that tests run on, nor to look for updates. And systemd
# looks for no disks, consoles and scripts, which no such machine has: a third of a boot, and half of a reload.
_QUIET = """\
cd "$1"
printf '127.0.0.1 localhost\\n' >etc/hosts
: >etc/machine-id
cd etc/systemd/system
rm -f multi-user.target.wants/mosquitto.service multi-user.target.wants/nginx.service timers.target.wants/*
rm -f multi-user.target.wants/e2scrub_reap.service
mkdir -p ../system-generators
for kind in cryptsetup debug getty gpt-auto hibernate-resume integritysetup rc-local run system-update sysv veritysetup
do ln -sf /dev/null "../system-generators/systemd-$kind-generator"; done
cd ../../..
rm -f etc/resolv.conf
ln -sf /dev/null etc/systemd/system/systemd-resolved.service
"""

# What makes it small, and so quick to make: apt beside what is essential; /usr merged from the start, or a program that
# merges it later brings all of Perl; no pages, and no log of what apt thought. dpkg is told by a file, since mmdebstrap
# has a filter of its own for --dpkgopt, which takes longer than what it leaves out; the agent's package has its pages.
_UNREAD = "path-exclude=/usr/share/man/* path-exclude=/usr/share/doc/* path-exclude=/usr/share/locale/*"
_LEAN = (
    "--variant=apt", "--setup-hook=/usr/share/mmdebstrap/hooks/merged-usr/setup00.sh", '--aptopt=Dir::Log::Planner ""',
    f'--extract-hook=set -f; printf "%s\\n" force-unsafe-io {_UNREAD} >"$1/etc/dpkg/dpkg.cfg.d/unread"',
    '--customize-hook=rm "$1/etc/dpkg/dpkg.cfg.d/unread"',
)  # fmt: skip

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


def later_package(run: Path) -> Path:
    """Return the package of this tree that says it is a later version; what it holds is the same otherwise."""
    return _once(run / "packages" / "later", lambda: _dated(package(run), run / "packages" / "unpacked"))


def _dated(deb: Path, folder: Path) -> Path:
    """Pack a package again with a later version in it, which takes a tenth of what building another does."""
    subprocess.run(["dpkg-deb", "--raw-extract", deb, folder], check=True)
    (source,) = folder.glob("usr/lib/iot-cert-agent/lib/python*/site-packages/agent/__init__.py")
    for path, line in ((folder / "DEBIAN/control", r"^(Version: ).*"), (source, r'^(__version__ = ").*(?=")')):
        text, found = re.subn(line, rf"\g<1>{LATER}", path.read_text(), flags=re.MULTILINE)
        assert found == 1, path
        path.write_text(text)
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH  # as packaging/build-deb has it
    py_compile.compile(str(source), dfile=f"/{source.relative_to(folder)}", doraise=True, invalidation_mode=unchecked)
    (folder / "DEBIAN/md5sums").unlink()
    later = deb.with_name(f"iot-cert-agent_{LATER}.deb")
    packing = [*QUICKLY["COMPRESSION"].split(), "--root-owner-group"]
    subprocess.run(["dpkg-deb", *packing, "--build", folder, later], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(folder)
    return later


def field(deb: Path, name: str) -> str:
    """Return a field of a package."""
    return subprocess.run(["dpkg-deb", "--field", deb, name], capture_output=True, text=True, check=True).stdout.strip()


def debian() -> Path:
    """Return a root file system of Debian 12, which no test may write to."""
    key = hashlib.sha256("\n".join((SUITE, *PACKAGES, _QUIET, *_LEAN)).encode()).hexdigest()[:12]
    at = CACHE / f"debian-{key}"
    return _once(CACHE / f"{at.name}.made", lambda: _bootstrap(at, PACKAGES, SUITE, _sources(), *_LEAN))


def other(release: Release) -> Path:
    """Return a root file system of another release; where its archive cannot be reached there is none, nor a test."""
    key = hashlib.sha256("\n".join((*BUILT_THERE, _QUIET)).encode()).hexdigest()[:12]
    at, mirror = CACHE / f"{release.suite}-{key}", release.mirror or _DEBIAN

    def make() -> Path:
        try:
            _fetch(f"{mirror}/dists/{release.suite}/Release")
            options = ["--variant=minbase", f"--components={release.components}", *_keyring(release)]
        except OSError as error:
            lacks(f"the archive with {release.suite} cannot be reached from here ({error})")
        return _bootstrap(at, BUILT_THERE, release.suite, [mirror], *options)

    return _once(CACHE / f"{at.name}.made", make)


def _bootstrap(root: Path, packages: Sequence[str], suite: str, sources: Iterable[Path | str], *options: str) -> Path:
    shutil.rmtree(root, ignore_errors=True)
    hook = CACHE / f"{root.name}.hook"
    hook.write_text(f"set -e\n{_QUIET}")
    log = CACHE / f"{root.name}.log"
    command = ["mmdebstrap", "--quiet", f"--include={','.join(packages)}", *options]
    hooks = [f'--customize-hook=sh {hook} "$1"']
    with log.open("wb") as output:
        done = subprocess.run([*command, *hooks, suite, root, *sources], stdout=output, stderr=output, check=False)
    assert done.returncode == 0, log.read_text()
    return root


def arm64() -> Path:
    """Return the files of Debian 12 that the agent needs on arm64; nothing of them has run."""
    packages = ("python3", "python3-systemd", "libsystemd0", "zlib1g")
    at = CACHE / f"arm64-{hashlib.sha256(' '.join(packages).encode()).hexdigest()[:12]}"
    options = ("--arch=arm64", "--variant=extract")
    return _once(CACHE / f"{at.name}.made", lambda: _bootstrap(at, packages, SUITE, [_DEBIAN], *options))


def _fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - one of this file's
        data: bytes = answer.read()
    return data


def _keyring(release: Release) -> list[str]:
    """Return the option that names a release's keys, from a package of its archive that is known by its hash."""
    path, digest = release.keyring
    if not path:
        return []
    data = _fetch(f"{release.mirror}/{path}")
    assert hashlib.sha256(data).hexdigest() == digest, path
    deb = CACHE / f"{release.suite}-keys.deb"
    deb.write_bytes(data)
    subprocess.run(["dpkg-deb", "--extract", deb, CACHE / deb.stem], check=True)
    return [f"--keyring={CACHE / deb.stem}/usr/share/keyrings"]


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


# As packaging/README.md has it.
_BUILD = """\
set -eu
python3 -m venv /root/v
/root/v/bin/pip install --quiet --require-hashes -r /source/requirements/build.txt
PYTHON=/root/v/bin/python /source/packaging/build-deb /root
"""


def other_factory(run: Path, release: Release) -> list[Path]:
    """Return the layers of an image of another release with the package in it, which was built there."""
    base = other(release)
    deb = _once(run / f"{release.suite}.built", lambda: _built_on(run / f"builder-{release.suite}", base))
    layer = _once(run / f"{release.suite}.made", lambda: _install(run / f"factory-{release.suite}", base, deb))
    return [layer, base]


def _built_on(disk: Path, base: Path) -> Path:
    made = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    epoch = subprocess.run(["git", "-C", ROOT, "log", "-1", "--format=%ct"], capture_output=True, text=True, check=True)
    made |= QUICKLY | {"SOURCE_DATE_EPOCH": epoch.stdout.strip()}
    done = Machine(disk, [base]).once(
        f"--bind-ro={ROOT}:/source", "--bind-ro=/etc/resolv.conf", "--bind-ro=/etc/ssl/certs",
        *(f"--setenv={name}={value}" for name, value in made.items()), "sh", "-c", _BUILD, patience=BUILDING,
    )  # fmt: skip
    assert done.code == 0, done.out
    (deb,) = (disk / "upper/root").glob("*.deb")
    return deb


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
