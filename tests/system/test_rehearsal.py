"""The rehearsal of docs/start.md, typed on a Debian 12 that has the sources and nothing of them installed."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.boot import images
from support.boot.machine import Machine, until
from support.documents.pages import ROOT, blocks, lines, section
from support.running.rehearsal import rehearse

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES, CLOUD = "/root/sources", "/tmp/cloud"  # noqa: S108 - the page's own
# What this machine's network is reached by; Debian's own list of authorities comes with the packages.
RESOLVER, AUTHORITIES, AUTHORITIES_THERE = "/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt", "/root/ca.pem"


class Stranger:
    """A person at a machine that has just been installed, in the project's sources."""

    def __init__(self, machine: Machine) -> None:
        self._machine, self._started = machine, 0

    def types(self, line: str, expect: int | None = 0) -> str:
        """Type a line, hold it to its exit code, and return what is printed."""
        pip = [f"{name}={value}" for name, value in os.environ.items() if name.startswith("PIP_")]
        pip.append(f"PIP_CERT={AUTHORITIES_THERE}")
        done = self._machine.run("env", *pip, "sh", "-c", f"cd {SOURCES}\n{line}", expect=expect, patience=900)
        print(f"$ {line}\n{done.out}{done.err}  (exit code {done.code})")
        assert "Traceback" not in done.out + done.err
        return done.out + done.err

    @contextmanager
    def beside(self, line: str) -> Iterator[None]:
        """Let a line run in another terminal, until Ctrl-C."""
        self._started += 1
        unit = f"terminal-{self._started}"
        self._machine.run(
            "systemd-run", f"--unit={unit}", f"--working-directory={SOURCES}", "--property=KillSignal=SIGINT",
            "sh", "-c", f"exec {line}",
        )  # fmt: skip
        try:
            yield
        finally:
            self._machine.run("systemctl", "stop", unit)

    def until_up(self, *, after: str = "") -> str:
        """Return the certificate in use once the daemon is at rest and connected with it."""

        def there() -> str:
            told = json.loads(self._machine.read(f"{CLOUD}/run/status.json") or "{}")
            up = bool(told) and told["connection"]["state"] == "up" and told["change"] is None
            used: str = told["current"]["certificate"]["sha256"] if up else after
            return used if used != after else ""

        return until(there, f"connected, and not with {after or 'none'}")


@pytest.mark.whole
def test_the_rehearsal_of_a_stranger(tmp_path: Path) -> None:
    """With the packages of Debian's archive and of the package index, as they come there."""
    prepare, in_one, in_another = blocks(section("docs/start.md", "A first gateway, rehearsed"))
    with Machine(tmp_path / "disk", [images.debian()]) as machine:
        carry_over(machine)
        stranger = Stranger(machine.boot())
        for file, there in ((RESOLVER, RESOLVER), (AUTHORITIES, AUTHORITIES_THERE)):
            machine.write(there, Path(file).read_bytes())
        (line,) = lines(prepare)
        stranger.types(line)
        rehearse(stranger, in_one, in_another, machine.path(CLOUD))


def carry_over(machine: Machine) -> None:
    """Put the sources on it, as a clone has them."""
    (sources := machine.path(SOURCES)).mkdir(parents=True)
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], check=True, capture_output=True).stdout
    packed = subprocess.run(
        ["tar", "-C", ROOT, "--null", "--files-from=-", "-c"], input=listed, check=True, capture_output=True
    )
    subprocess.run(["tar", "-C", sources, "-x"], input=packed.stdout, check=True)
