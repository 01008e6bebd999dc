"""One bad bundle to a whole fleet: no gateway loses the connection, and all say the same."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import pytest
from securesystemslib.signer import CryptoSigner

from agent.config.reader import parse
from agent.sandbox.account.authority import Authority
from agent.trust import inbox
from agent.trust.archives import pack
from agent.trust.install import Receiver, conclude
from agent.trust.tuf_publisher import ROLES, Publication, publish
from support.simulated.rig import Rig
from support.suite import campaigns

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent.change.parts import ChangeParts
    from agent.config.values import Config
    from agent.operations.wiring import Parts
    from agent.store.store import Store
    from support.simulated.simulator import SimulatedClock

FLEET = len(campaigns.places(200, 16))
DROP = "fleet-2027-03.tar"


@dataclass
class _Parts:
    """What a receiver works on."""

    change: ChangeParts
    store: Store
    clock: SimulatedClock


@dataclass
class BundlePipeline:
    """The pipeline that ships bundles to the fleet."""

    directory: Path

    def __post_init__(self) -> None:
        self._signer = CryptoSigner.generate_ed25519()

    def ship(self, rig: Rig, pem: bytes) -> bytes:
        """Sign anchors and return the archive."""
        signers = {role: [self._signer] for role in ROLES}
        wanted = Publication(anchors=pem, target="anchors.pem", now=rig.clock.now(), signers=signers)  # type: ignore[arg-type] # a CryptoSigner is a Signer
        return pack(publish(self.directory, wanted).files)

    def configuration(self, rig: Rig) -> Config:
        """Return the configuration of a gateway that trusts this pipeline."""
        text = (
            f"endpoint: localhost\nstate_dir: {rig.path}\n"
            f"trust:\n  root: {self.directory}/metadata/1.root.json\n  inbox: {rig.path}/inbox\n"
        )
        return parse(text, self.directory / "config.yaml")


def gateways(directory: Path) -> list[Rig]:
    """Return a fleet that is enrolled."""
    fleet = []
    for number in range(FLEET):
        rig = Rig(directory / f"gw-{number:04d}")
        rig.enroll()
        (rig.path / "inbox").mkdir()
        fleet.append(rig)
    return fleet


def take(rig: Rig, config: Config) -> dict[str, Any]:
    """Take the drop in as a worker does, follow what comes of it, and return what the pipeline is told."""
    parts = cast("Parts", _Parts(change=rig.change, store=rig.store, clock=rig.clock))
    if Receiver(config, parts).take_drop(DROP) is not None:
        rig.follow()
    conclude(config, rig.store.history())
    told: dict[str, Any] = json.loads((rig.path / "inbox" / f"{DROP}{inbox.OUTCOME}").read_text())
    return told


def identical(told: dict[str, Any], rig: Rig) -> str:
    """Return an outcome without what differs from gateway to gateway."""
    names = {anchor["sha256"] for anchor in told["removed"]}
    assert names == {rig.anchors().anchors[0].sha256}
    return json.dumps({key: told[key] for key in ("outcome", "class", "code", "message", "remedy", "version")})


@pytest.fixture(name="fleet", scope="module")
def _fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Rig]]:
    fleet = gateways(tmp_path_factory.mktemp("fleet"))
    yield fleet
    for rig in fleet:
        rig.close()


def test_a_bundle_that_drops_the_root_in_use_cuts_no_gateway_off(fleet: list[Rig], tmp_path: Path) -> None:
    """Every gateway refuses it for the same reason, keeps its generation, and connects with it as before."""
    pipeline = BundlePipeline(tmp_path / "repository")
    archive = pipeline.ship(fleet[0], Authority("Another root", fleet[0].clock.now()).pem)
    said: Counter[str] = Counter()
    for rig in fleet:
        (rig.path / "inbox" / DROP).write_bytes(archive)
        said[identical(take(rig, pipeline.configuration(rig)), rig)] += 1

    assert list(said.values()) == [FLEET]
    told = json.loads(next(iter(said)))
    assert (told["outcome"], told["class"], told["code"]) == ("refused", "server-trust", "unknown-root")
    assert all(rig.in_use() == (1, None) and rig.at_rest and rig.connects() for rig in fleet)
    assert all(connection.outcome == "accepted" for rig in fleet for connection in rig.connections_of("generation 1"))
