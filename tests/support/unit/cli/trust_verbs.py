"""A gateway at which the verbs about trust anchors are typed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agent import cli
from agent.core.values import Kind
from agent.crypto.x509 import read_bundle
from agent.sandbox.account.authority import Authority, fingerprint
from agent.store.store import Store
from support.network.servers import closed_port
from support.publishing import signing
from support.publishing.signing import Publisher
from support.simulated.rig import Rig
from support.suite.ran import Ran

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from agent.core.change.lifecycle import Phase

NOW = datetime.now(UTC).replace(microsecond=0)
OLD, NEW = Authority("Root A", NOW), Authority("Root B", NOW)


class TrustPlace:
    """A gateway whose endpoint is dead, and signers that it trusts."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path = path
        self.capsys = capsys
        self.settings = f"endpoint: localhost\nport: {closed_port()}\nvouched_clock: true\n"
        self.publisher = Publisher(NOW)
        (path / "root.json").write_bytes(self.publisher.first_root)
        (path / "baked.pem").write_bytes(b"# Issued: 2026-11-01\n" + OLD.pem)
        self.trust = f"anchors: {path}/baked.pem, root: {path}/root.json"

    def enrol(self, stop: Phase | None = None) -> None:
        """Enrol the gateway; with a phase, begin a rotation besides and let the power fail there."""
        rig = Rig(self.path / "state")
        rig.clock.time = NOW
        rig.baked, rig.endpoint.root_sha256 = read_bundle(OLD.pem), fingerprint(OLD.certificate)
        rig.be_enrolled()
        if stop is not None:
            rig.stop_at(Kind.ROTATE, stop)
        rig.close()

    def configure(self) -> Path:
        """Write the configuration."""
        config = self.path / "config.yaml"
        places = f"state_dir: {self.path}/state\nruntime_dir: {self.path}/run\n"
        rotation = "rotation: {template: gateway-rotation}\n"
        config.write_text(f"{self.settings}{places}{rotation}trust: {{{self.trust}}}\n")
        return config

    def run(self, *arguments: str, expect: int | None = None) -> Ran:
        """Run the command, and hold it to an exit code."""
        self.capsys.readouterr()
        config = self.configure()
        code = cli.main(["--config", str(config), "trust", *arguments])
        said = self.capsys.readouterr()
        assert "defect" not in said.out + said.err
        assert expect in {None, code}, said.out + said.err
        return Ran(code, said.out, said.err)

    def shipped(self, *roots: Authority, form: str = "tar") -> Path:
        """Publish these roots, and return the bundle as a file or a directory."""
        files = self.publisher.publish(b"".join(root.pem for root in roots))
        target = self.path / f"bundle.{form}"
        if form == "tar":
            target.write_bytes(signing.archive(files))
            return target
        for name, data in files.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(data)
        return target

    @property
    def change(self) -> tuple[str, str] | None:
        """Kind and phase of the change in flight."""
        with Store(self.path / "state") as store:
            record = store.change()
        return (record.kind, record.phase) if record else None

    def anchors(self, number: int) -> list[str]:
        """Return the names of a generation's anchors."""
        with Store(self.path / "state") as store:
            return [anchor.subject.removeprefix("CN=") for anchor in store.generation(number).trust.anchors]
