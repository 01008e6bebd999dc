"""The last rung: a damaged generation whose key and certificate belong together is better than none."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.change.ladder import Rung
from agent.core.change.lifecycle import Phase
from agent.core.values import Kind, Origin
from agent.core.when.retirement import outstanding
from agent.sandbox.faults import Operation
from support.rig import PowerCut

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.rig import Rig


def locked_out_but_for(gateway: Rig, number: int) -> None:
    """Leave the gateway nothing that is accepted but the certificate of one generation."""
    gateway.revoke(*({1, 2} - {number}))
    gateway.claim_present = False


def directory(gateway: Rig, number: int) -> Path:
    """Return where a generation lies."""
    return gateway.path / "generations" / f"{number:06d}"


DAMAGE: dict[str, Callable[[Path], object]] = {
    "manifest.json flipped": lambda path: flip(path / "manifest.json"),
    "manifest.json cut short": lambda path: cut(path / "manifest.json"),
    "manifest.json gone": lambda path: (path / "manifest.json").unlink(),
    "key.pem flipped": lambda path: flip(path / "key.pem"),
    "key.pem gone": lambda path: (path / "key.pem").unlink(),
    "certificate.pem cut short": lambda path: cut(path / "certificate.pem"),
    "credential.pem gone": lambda path: (path / "credential.pem").unlink(),
    "trust.pem cut short": lambda path: cut(path / "trust.pem"),
    "trust.pem gone": lambda path: (path / "trust.pem").unlink(),
}


def flip(path: Path) -> None:
    """Flip one bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    """Keep the first half."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize("case", DAMAGE)
def test_what_is_left_of_the_only_accepted_set_is_used(gateway: Rig, case: str) -> None:
    """It becomes a generation of its own by a change like any other, and is told as what it is."""
    locked_out_but_for(gateway, 2)
    certificate, creates = gateway.certificate(2), gateway.asked(Operation.CREATE)
    DAMAGE[case](directory(gateway, 2))
    gateway.restart()
    done = gateway.operations.climb("there is no usable set")

    assert done.rung is Rung.SALVAGED
    assert done.outcome is not None
    record = done.outcome.record
    assert (record.kind, record.origin, record.phase) == (Kind.IMPORT, Origin.LADDER, Phase.COMMITTED)
    assert "Generation 2 is damaged" in record.reason
    assert gateway.current == 3
    assert gateway.certificate(3) == certificate
    assert gateway.asked(Operation.CREATE) == creates
    assert gateway.connects()


def test_the_certificate_that_was_salvaged_is_not_left_behind(gateway: Rig) -> None:
    """It is in use again, so it is never asked to be retired."""
    locked_out_but_for(gateway, 2)
    flip(directory(gateway, 2) / "manifest.json")
    gateway.restart()
    gateway.operations.climb("there is no usable set")
    in_use = gateway.certificate(3)

    assert in_use not in {item.certificate_id for item in outstanding(gateway.store.history(), [in_use], timedelta())}


def test_a_new_certificate_is_preferred_to_a_salvaged_one(gateway: Rig) -> None:
    """The claim comes before what is left of a damaged set."""
    gateway.revoke(1)
    flip(directory(gateway, 2) / "manifest.json")
    gateway.restart()

    assert gateway.operations.climb("there is no usable set").rung is Rung.CLAIM


def test_a_damaged_set_that_is_refused_is_nothing_to_salvage(gateway: Rig) -> None:
    """It is tried, and the ladder ends with what helps."""
    gateway.revoke(1, 2)
    gateway.claim_present = False
    flip(directory(gateway, 2) / "manifest.json")
    gateway.restart()
    done = gateway.operations.climb("there is no usable set")

    assert done.locked_out is not None
    assert gateway.connections_of("what is left of generation 2")
    assert gateway.at_rest


def test_a_key_of_another_certificate_is_nothing_to_salvage(gateway: Rig) -> None:
    """Only what belongs together is shown to the cloud."""
    locked_out_but_for(gateway, 2)
    key = (directory(gateway, 1) / "key.pem").read_bytes()
    (directory(gateway, 2) / "key.pem").write_bytes(key)
    (directory(gateway, 2) / "credential.pem").write_bytes(
        key + (directory(gateway, 2) / "certificate.pem").read_bytes()
    )
    gateway.restart()
    gateway.operations.climb("there is no usable set")

    assert gateway.current is not None
    assert not gateway.connections_of("what is left of generation 2")


def test_whom_to_trust_is_not_taken_from_a_damaged_set(gateway: Rig) -> None:
    """Anchors that are not those the manifest was written with are replaced by the configured ones."""
    locked_out_but_for(gateway, 2)
    trust = directory(gateway, 2) / "trust.pem"
    trust.write_bytes(trust.read_bytes() + gateway.second_root.pem)
    gateway.restart()
    gateway.operations.climb("there is no usable set")

    assert gateway.store.generation(3).trust.fingerprints == gateway.anchors().fingerprints


def test_a_damaged_set_without_anchors_is_tried_with_all_that_there_are(gateway: Rig) -> None:
    """Those of the package do not know the endpoint any more; those of the set before do."""
    gateway.install(gateway.bundle(gateway.root, gateway.second_root))
    gateway.rotate()
    gateway.move_endpoint(gateway.second_root)
    gateway.claim_present = False
    gateway.revoke(3)
    cut(directory(gateway, 4) / "trust.pem")
    gateway.restart()
    done = gateway.operations.climb("there is no usable set")

    assert done.rung is Rung.SALVAGED
    assert gateway.store.generation(5).trust.fingerprints == gateway.store.generation(3).trust.fingerprints
    assert gateway.connects()


def test_a_thing_that_only_the_manifest_knew_is_found_elsewhere(gateway: Rig) -> None:
    """The history says which thing the generation was made for."""
    locked_out_but_for(gateway, 2)
    (directory(gateway, 2) / "manifest.json").write_text(json.dumps({"thing_name": "another"}))
    gateway.restart()
    gateway.operations.climb("there is no usable set")

    assert gateway.store.generation(3).manifest.thing_name == "gw-0042"


@pytest.mark.parametrize("phase", [Phase.PREPARED, Phase.PROVEN, Phase.ACTIVE, Phase.DEPLOYED, Phase.COMMITTED])
@pytest.mark.parametrize("saved", [True, False])
def test_a_power_cut_on_the_way_loses_nothing(gateway: Rig, phase: Phase, *, saved: bool) -> None:
    """The gateway is connected in the end, with the certificate that was salvaged."""
    locked_out_but_for(gateway, 2)
    certificate = gateway.certificate(2)
    flip(directory(gateway, 2) / "manifest.json")
    gateway.restart()
    gateway.disk.cut_power(phase, saved=saved)
    with pytest.raises(PowerCut):
        gateway.operations.climb("there is no usable set")
    gateway.restart()
    if gateway.engine.change is None:
        gateway.operations.climb("there is no usable set")
    gateway.operations.go_on()

    assert gateway.at_rest
    assert gateway.current is not None
    assert gateway.certificate(gateway.current) == certificate
    assert gateway.connects()


def test_a_claim_that_does_not_know_the_endpoint_keeps_nothing_away_that_does(gateway: Rig) -> None:
    """Newer anchors came as a bundle and lie beside a damaged key; the claim is tried with those of the package."""
    gateway.install(gateway.bundle(gateway.root, gateway.second_root))
    gateway.move_endpoint(gateway.second_root)
    certificate = gateway.certificate(3)
    for number in (1, 2, 3):
        flip(directory(gateway, number) / "key.pem")
    gateway.restart()
    done = gateway.operations.climb("damaged")

    assert done.rung is Rung.SALVAGED
    assert gateway.current is not None
    assert gateway.certificate(gateway.current) == certificate
    assert gateway.connects()
