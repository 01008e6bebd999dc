"""`iot-cert trust` against a real endpoint: what a bundle brings is proven, used, listed, and put back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from securesystemslib.signer import CryptoSigner

from agent.sandbox.account.authority import Authority
from agent.store.store import Store
from support.running.daemon import RunningDaemon

if TYPE_CHECKING:
    from pathlib import Path

    from support.running.gateway import Gateway


@dataclass
class Signers:
    """The signer of bundles for one gateway."""

    gateway: Gateway

    def __post_init__(self) -> None:
        (self.place / "keys").mkdir(parents=True)
        (self.place / "keys" / "signer").write_bytes(CryptoSigner.generate_ed25519().private_bytes)
        self.gateway.configure({"trust:\n": f"trust:\n  root: {self.place}/repository/metadata/1.root.json\n"})

    @property
    def place(self) -> Path:
        """Where they work."""
        return self.gateway.directory / "signers"

    def ship(self, *roots: Authority) -> Path:
        """Publish these roots and return the repository; an archive lies beside it."""
        (self.place / "anchors.pem").write_bytes(b"".join(root.pem for root in roots))
        self.gateway.run(
            "trust", "publish", f"{self.place}/repository", "--anchors", f"{self.place}/anchors.pem", "--archive",
            f"{self.place}/bundle.tar", "--key", f"root,targets,snapshot,timestamp=file2:{self.place}/keys/signer",
            "--without-amazon", "a rehearsal", expect=0,
        )  # fmt: skip
        return self.place / "repository"

    def ship_both(self) -> tuple[Path, Path]:
        """Publish the endpoint's root and another, and return the repository and its archive."""
        service = self.gateway.service
        repository = self.ship(service.endpoint_authority, Authority("Root B", service.cloud.now))
        return repository, self.place / "bundle.tar"


@pytest.fixture(name="signers")
def _signers(enrolled: Gateway) -> Signers:
    return Signers(enrolled)


def anchors(gateway: Gateway) -> int:
    """Return how many anchors are in use."""
    with Store(gateway.state) as store:
        return len(store.generation(store.current() or 0).trust.anchors)


def test_a_bundle_is_installed_listed_and_taken_back(signers: Signers) -> None:
    """From a directory or an archive; then it is nothing to do; the baked copy comes back when it is asked for."""
    gateway = signers.gateway
    for bundle in signers.ship_both():
        gateway.run("trust", "install", str(bundle), expect=0)
        assert anchors(gateway) == 2
        assert "Root B" in gateway.run("trust", "list", expect=0).out
        assert gateway.run("trust", "install", str(bundle), expect=0).out == "These anchors are in use already.\n"
        gateway.run("trust", "restore", expect=0)
        assert anchors(gateway) == 1
    assert [record.kind for record in gateway.history()] == ["enroll", *["trust"] * 4]


def test_anchors_that_the_endpoint_does_not_chain_to_are_never_used(signers: Signers) -> None:
    """Exit code 1, and the gateway works on."""
    gateway = signers.gateway
    signers.ship(Authority("Root B", gateway.cloud.now))
    gateway.run("trust", "install", f"{signers.place}/bundle.tar", expect=1)
    assert anchors(gateway) == 1
    gateway.run("rotate", expect=0)


def test_a_daemon_carries_on_what_the_command_planned(signers: Signers) -> None:
    """With and without waiting for it."""
    gateway, bundle = signers.gateway, str(signers.ship_both()[1])
    with RunningDaemon(gateway) as daemon:
        daemon.until_up()
        assert "goes on in the daemon" in gateway.run("trust", "install", bundle, "--no-wait", expect=0).out
        daemon.until_finished(2)
        daemon.until_up(2)
        assert "Root B" in gateway.run("trust", "list", expect=0).out
        gateway.run("trust", "restore", expect=0)
        assert anchors(gateway) == 1
