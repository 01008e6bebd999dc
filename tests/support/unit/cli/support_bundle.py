"""A gateway whose support bundle is read, with secrets in places that must not reach it."""

from __future__ import annotations

import io
import os
import re
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from agent.core.values import KeyAlgorithm
from agent.crypto.keys import generate
from support.network.servers import closed_port
from support.suite import warm

if TYPE_CHECKING:
    import subprocess

    from support.simulated.rig import Rig

COMMAND = str(Path(sys.executable).with_name("iot-cert"))

ONE_TIME = "canary-one-time-token-0123"
IN_A_FILE = "canary-token-in-a-file-0123"
PASSWORD = "canary-password-of-a-pkcs12-file"  # noqa: S105 - so that it can be looked for
STORE_PASSWORD = "canary-password-of-a-copy"  # noqa: S105 - so that it can be looked for
SIGNATURE = "canary5ignature0123456789abcdef"
FOREIGN_KEY = generate(KeyAlgorithm.EC_P256).decode()

NAMES = {
    "versions.json", "configuration.yaml", "status.json", "check.jsonl", "history.jsonl", "change.json",
    "certificate.pem", "trust.pem", "manifest.json", "journal.txt", "unit.txt", "MISSING.txt",
}  # fmt: skip


class CanaryPlace:
    """A gateway's files, with a canary wherever a secret may lie; nothing runs, and the endpoint is dead.

    Attributes:
        apart: Whether the command is a process of its own, as people have it, and so is the check that it starts.
            Otherwise it runs here, and what the check says is known.
    """

    apart = False

    def __init__(self, directory: Path, here: Here, rig: Rig) -> None:
        self.directory = directory
        self._here = here
        self.rig = rig
        self.config = directory / "config.yaml"
        self.tools = directory / "tools"
        self.programs = {
            "systemctl": "echo Id=iot-cert-agent.service",
            "journal-reader": f"exec /bin/cat {directory}/journal",
        }
        self.journal = "2027-03-01T12:00:00+0000 gw iot-cert-agent[1]: Nothing is begun now.\n"
        self.parameters = f'{{SerialNumber: "0042", Token: "{ONE_TIME}", Key: {{file: {directory}/parameter}}}}'

    def furnish(self) -> None:
        """Write what a gateway has besides its state."""
        claim = self.directory / "claim"
        claim.mkdir(exist_ok=True)
        pair = self.rig.cloud.claim
        for path, data in (
            (claim / "certificate.pem", pair.certificate_pem),
            (claim / "key.pem", pair.key_pem),
            (self.directory / "roots.pem", self.rig.root.pem),
            (self.directory / "parameter", IN_A_FILE.encode()),
            (self.directory / "password", PASSWORD.encode()),
            (self.directory / "store-password", f"{STORE_PASSWORD}\nnoted by hand\n".encode()),
        ):
            path.write_bytes(data)
            path.chmod(0o600)
        (self.directory / "roots.pem").chmod(0o644)
        self.config.write_text(configuration(self))
        self.config.chmod(0o644)
        for name, script in self.programs.items():
            self.tool(name, script)

    def tool(self, name: str, script: str) -> None:
        """Put a program where the command finds it first."""
        self.tools.mkdir(exist_ok=True)
        path = self.tools / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    @property
    def secrets(self) -> set[str]:
        """Every secret of this gateway, keys line by line and in one piece."""
        keys = [path for path in self.directory.rglob("key.pem") if path.is_file()]
        lines = {line for key in keys for line in key_lines(key.read_text())}
        tokens = {entry.token for entry in self.rig.cloud.registry.values() if entry.token}
        return lines | tokens | {ONE_TIME, IN_A_FILE, PASSWORD, STORE_PASSWORD, SIGNATURE} | set(key_lines(FOREIGN_KEY))

    def collect(
        self, *arguments: str, user: int | None = None, expect: int = 0, target: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the command; the journal is what this place says it is."""
        self.furnish()
        (self.directory / "journal").write_text(self.journal)
        (self.directory / "journal").chmod(0o644)
        target = target or self.directory / "support.tar"
        command = ["--config", str(self.config), "support-bundle", "--output", str(target), *arguments]
        environment = {**os.environ, "PATH": str(self.tools)}
        if self.apart:
            done = warm.run(command, cwd=target.parent, env=environment, timeout=90, user=user)
        else:
            done = self._here(command, environment)
        assert done.returncode == expect, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        assert not [secret for secret in self.secrets if secret in done.stdout + done.stderr]
        return done

    def archive(self, *arguments: str, user: int | None = None, target: Path | None = None) -> dict[str, str]:
        """Collect, look for every secret in every file, and return the files."""
        self.collect(*arguments, user=user, target=target)
        return self.opened(target)

    def opened(self, target: Path | None = None) -> dict[str, str]:
        """Return the files of an archive that holds no secret."""
        target = target or self.directory / "support.tar"
        files = read(target)
        leaked = [(name, secret[:8]) for name, data in files.items() for secret in self.secrets if secret in data]
        assert leaked == []
        assert not re.search("PRIVATE KEY", "".join(files.values()))
        return files


Here = Callable[[list[str], dict[str, str]], "subprocess.CompletedProcess[str]"]


def read(target: Path) -> dict[str, str]:
    """Return the files of an archive, without the folder that they lie in."""
    with tarfile.open(fileobj=io.BytesIO(target.read_bytes())) as archive:
        found = {member.name: archive.extractfile(member) for member in archive.getmembers()}
    assert all(name.startswith("iot-cert-support/") for name in found)
    return {
        name.removeprefix("iot-cert-support/"): file.read().decode(errors="replace")
        for name, file in found.items()
        if file is not None
    }


def key_lines(pem: str) -> list[str]:
    """Return the lines of a PEM text that would tell something of a key."""
    return [line for line in pem.splitlines() if not line.startswith("-----") and len(line) > 12]


def configuration(place: CanaryPlace) -> str:
    """Return a configuration with a one-time token among its parameters."""
    at = place.directory
    return f"""\
endpoint: localhost
port: {closed_port()}
state_dir: {at}/state
runtime_dir: {at}/run
trust: {{anchors: {at}/roots.pem}}
enrollment:
  template: gateway
  parameters: {place.parameters}
  claim: {{certificate: {at}/claim/certificate.pem, key: {at}/claim/key.pem}}
rotation:
  template: gateway-rotation
  parameters: {{Token: "{ONE_TIME}"}}
  daily_limit: 7
deploy_dir: {at}/deploy
copies:
  - {{to: {at}/app.p12, content: key+certificate, format: pkcs12, password_file: {at}/store-password}}
dependants:
  - {{unit: app.service, verify: {{command: [/usr/bin/curl, -H, "Authorization: {ONE_TIME}"]}}}}
"""


def missing(files: dict[str, str]) -> dict[str, str]:
    """Return what an archive says it lacks, with the reason."""
    return dict(line.split(": ", 1) for line in files["MISSING.txt"].splitlines())
