"""The test device: the agent's own command in a directory on the operator's machine, with a claim of its own.

It is `iot-cert` as a gateway has it, in processes of its own, so what it meets on AWS is what a gateway meets.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import ssl
import subprocess
import sys
from typing import TYPE_CHECKING

from agent.backend.decide.verdict import is_certificate_id
from agent.backend.names import SERIAL_PARAMETER, TOKEN_PARAMETER
from agent.core.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_LONGEST = 600.0  # seconds, of one command
_PRIVATE = 0o600


@frozen
class TrialPlace:
    """Where gateways connect to.

    Attributes:
        endpoint: The host's name.
        port: Its port.
        anchors: A file of trust anchors; None for the baked copy.
    """

    endpoint: str
    port: int
    anchors: Path | None = None


@frozen
class Ran:
    """What a command did.

    Attributes:
        code: Its exit code.
        said: What it printed.
    """

    code: int
    said: str


class TrialDevice:
    """A directory that is a gateway.

    Attributes:
        directory: The directory, for its owner alone.
        transcript: What was seen; the one file of it that may be committed.
    """

    def __init__(self, directory: Path) -> None:
        """Open the directory, which need not exist yet."""
        self.directory, self.transcript = directory, directory / "transcript.md"
        self._known, self._token = directory / "device.json", directory / "token"
        self._noted = directory / "certificates"

    @property
    def known(self) -> dict[str, str]:
        """What it is: `serial`, `thing`, and `claim`, the id of its claim certificate; nothing before it was made."""
        return dict(json.loads(self._known.read_text())) if self._known.exists() else {}

    @property
    def noted(self) -> frozenset[str]:
        """The certificates that may be on its thing no more, and are to be removed with it."""
        lines = self._noted.read_text().splitlines() if self._noted.exists() else []
        return frozenset(filter(is_certificate_id, lines))  # the last line may be half a one

    def note(self, certificates: Iterable[str]) -> None:
        """Keep the ids of certificates that are about to be taken off its thing, beside those of before."""
        with self._noted.open("a", encoding="utf-8") as file:
            file.writelines(f"\n{name}" for name in sorted({*certificates} - self.noted))

    def make(
        self, known: dict[str, str], claim: tuple[str, str], place: TrialPlace, templates: tuple[str, str]
    ) -> None:
        """Make it.

        Args:
            known: What it is.
            claim: Its claim certificate and the key, as PEM.
            place: Where it connects to.
            templates: For enrolment, and for rotation.
        """
        for name, text in zip(("claim.pem", "claim.key"), claim, strict=True):
            self._write(self.directory / name, text)
        self._write(self.directory / "config.yaml", self._configuration(known["serial"], place, templates))
        self._write(self._known, json.dumps(known))

    def show_token(self, token: str) -> None:
        """Write the token where the device reads it."""
        self._write(self._token, token)

    @property
    def secrets(self) -> list[str]:
        """The texts that must be in no transcript."""
        return [self._token.read_text()] if self._token.exists() else []

    def run(self, *words: str) -> Ran:
        """Run `iot-cert` with words."""
        command = [sys.executable, "-m", "agent", "--config", str(self.directory / "config.yaml"), *words]
        try:
            done = subprocess.run(  # noqa: S603 - itself
                command, capture_output=True, text=True, timeout=_LONGEST, cwd=self.directory, check=False
            )
        except subprocess.TimeoutExpired:
            return Ran(code=-1, said=f"It did not end within {_LONGEST:g} seconds.")
        return Ran(code=done.returncode, said=done.stdout + done.stderr)

    def certificate_id(self) -> str:
        """Return the id of the certificate in use, as AWS has it; nothing when there is none."""
        path = self.directory / "state" / "current" / "certificate.pem"
        if not path.exists():
            return ""
        first = path.read_text().partition("-----END CERTIFICATE-----")
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert("".join(first[:2]))).hexdigest()

    def remove(self) -> None:
        """Remove all of it but the transcript."""
        for path in self.directory.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path != self.transcript:
                path.unlink()

    def _write(self, path: Path, text: str) -> None:
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE), "w") as file:
            file.write(text)

    def _configuration(self, serial: str, place: TrialPlace, templates: tuple[str, str]) -> str:
        here = self.directory
        anchors = f"trust: {{anchors: {json.dumps(str(place.anchors))}}}\n" if place.anchors else ""
        return f"""\
endpoint: {place.endpoint}
port: {place.port}
state_dir: {json.dumps(str(here / "state"))}
runtime_dir: {json.dumps(str(here / "run"))}
{anchors}vouched_clock: true
timeouts: {{connect: 30s, request: 15s}}
enrollment:
  method: fleet-provisioning
  template: {templates[0]}
  parameters:
    {SERIAL_PARAMETER}: "{serial}"
    {TOKEN_PARAMETER}: {{file: {json.dumps(str(self._token))}}}
  claim: {{certificate: {json.dumps(str(here / "claim.pem"))}, key: {json.dumps(str(here / "claim.key"))}}}
rotation:
  template: {templates[1]}
  probation: 1s
  refusal_patience: 1s
  policy_patience: 2s
  daily_limit: 100
"""
