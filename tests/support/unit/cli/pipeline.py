"""A pipeline that types the verbs by which anchors are published."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from tuf.api.metadata import Metadata

from agent import cli
from agent.core.timekeeping import ClockState, Reading
from agent.sandbox.account.authority import Authority
from agent.trust.archives import read_directory
from agent.trust.tuf_client import BundleReader, Files, SignedBundle
from support.suite.ran import Ran

if TYPE_CHECKING:
    import pytest

ROOTS = Path(__file__).parents[3] / "data" / "roots"
AMAZON = [*sorted(ROOTS.glob("amazon-root-ca-*.pem")), ROOTS / "starfield-services-root-ca-g2.pem"]
WHOLE = b"".join(path.read_bytes() for path in AMAZON)
NOW = datetime.now(UTC).replace(microsecond=0)
OWN = Authority("Our own root", NOW)


@dataclass
class TypedPipeline:
    """A machine that signs; its command line, and what a gateway makes of what it publishes."""

    path: Path
    capsys: pytest.CaptureFixture[str]
    keys: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for number, name in enumerate(("root", "online"), 1):
            self.key(name, number)
        self.keys = ["--key", f"root=file2:{self.path}/root.pem", "--key", self.online]
        (self.path / "roots.pem").write_bytes(WHOLE)

    @property
    def online(self) -> str:
        """The keys that sign each time, as an argument."""
        return f"targets,snapshot,timestamp=file2:{self.path}/online.pem"

    @property
    def repository(self) -> Path:
        """Where it publishes."""
        return self.path / "repository"

    @property
    def files(self) -> dict[str, bytes]:
        """What is published."""
        return dict(read_directory(self.repository)) if self.repository.exists() else {}

    def key(self, name: str, seed: int) -> bytes:
        """Write a private key, and return its public part."""
        private = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        (self.path / f"{name}.pem").write_bytes(
            private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def bundle(self, *parts: bytes, name: str = "roots.pem") -> None:
        """Let these be the bundle."""
        (self.path / name).write_bytes(b"".join(parts))

    def run(self, *arguments: str) -> Ran:
        """Run the command, with a configuration that is not there."""
        self.capsys.readouterr()
        try:
            code = cli.main(["--config", f"{self.path}/no/config.yaml", "trust", *arguments])
        except SystemExit as ended:
            code = int(str(ended.code))
        said = self.capsys.readouterr()
        assert "defect" not in said.out + said.err
        return Ran(code, said.out, said.err)

    def publish(self, *arguments: str, expect: int = 0) -> Ran:
        """Publish the bundle with both keys, and hold the command to an exit code."""
        ran = self.run("publish", str(self.repository), "--anchors", f"{self.path}/roots.pem", *self.keys, *arguments)
        assert ran.code == expect, ran.out + ran.err
        return ran

    def refused(self, *arguments: str, code: int = 4) -> str:
        """Return why nothing was published; nothing was written, either."""
        before = self.files
        ran = self.publish(*arguments, expect=code)
        assert self.files == before
        return ran.err

    def again(self, *arguments: str) -> Ran:
        """Sign again what is there."""
        ran = self.run("publish", str(self.repository), "--key", self.online, *arguments)
        assert ran.code == 0, ran.err
        return ran

    def read(self, files: dict[str, bytes] | None = None, target: str = "anchors.pem") -> SignedBundle:
        """Return what a gateway reads that has the first root and nothing else."""
        files = self.files if files is None else files
        clock = Reading(now=NOW, state=ClockState.SYNCHRONISED, floor=NOW)
        return BundleReader(self.files["metadata/1.root.json"], {}, clock).read(Files(files), target)

    def custom(self, version: int = 1) -> dict[str, Any]:
        """Return what is said about the bundle."""
        signed = Metadata[Any].from_bytes(self.files[f"metadata/{version}.targets.json"]).signed
        found: dict[str, Any] = signed.targets["anchors.pem"].custom
        return found
