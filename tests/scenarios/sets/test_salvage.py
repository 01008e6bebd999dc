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
from agent.sandbox.replies.faults import Operation
from support.shorthand.anchors import anchors, of
from support.simulated.outside import THING
from support.simulated.troubled import PowerCut

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.simulated.rig import Rig


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


@pytest.mark.parametrize("claim", [True, False])
def test_the_anchors_beside_damaged_keys_are_enough_to_enrol(gateway: Rig, *, claim: bool) -> None:
    """Newer anchors came as a bundle; no set is whole, and those of the package do not know the endpoint any more."""
    gateway.install(gateway.bundle(gateway.root, gateway.second_root))
    gateway.move_endpoint(gateway.second_root)
    certificate = gateway.certificate(3)
    for number in (1, 2, 3):
        flip(directory(gateway, number) / "key.pem")
    gateway.claim_present = claim
    gateway.restart()
    done = gateway.operations.climb("damaged")

    assert done.rung is (Rung.CLAIM if claim else Rung.SALVAGED)
    assert gateway.current is not None
    assert (gateway.certificate(gateway.current) == certificate) is not claim
    assert anchors(gateway) == of(gateway.root, gateway.second_root)
    assert gateway.connects()


@pytest.mark.parametrize("revoked", [False, True])
def test_the_anchors_of_a_newer_set_that_is_damaged_verify_the_server_for_an_older_one(
    gateway: Rig, *, revoked: bool
) -> None:
    """Neither key nor certificate of it is left; what is whole has the anchors of before the endpoint moved."""
    gateway.rotate()
    gateway.install(gateway.bundle(gateway.root, gateway.second_root))
    gateway.move_endpoint(gateway.second_root)
    for name in ("key.pem", "credential.pem"):
        cut(directory(gateway, 4) / name)
    if revoked:
        gateway.revoke(2, 3)
    gateway.restart()
    assert gateway.in_use() == (3, 2)
    since = len(gateway.endpoint.connections)
    done = gateway.operations.climb("lost")

    assert done.rung is (Rung.CLAIM if revoked else Rung.PREVIOUS_ANCHORS)
    assert anchors(gateway) == of(gateway.root, gateway.second_root)
    assert {item.outcome for item in gateway.endpoint.connections[since:]} <= {"accepted", "unknown-root", "hung-up"}
    assert gateway.connects()


def test_an_older_certificate_is_tried_by_the_anchors_that_came_since(gateway: Rig) -> None:
    """The one in use is revoked, and the endpoint has moved since the older one was left behind."""
    gateway.rotate()
    gateway.install(gateway.bundle(gateway.root, gateway.second_root))
    gateway.move_endpoint(gateway.second_root)
    gateway.revoke(1, 3)
    gateway.claim_present = False
    certificate = gateway.certificate(2)
    done = gateway.operations.climb("refused")

    assert (done.rung, gateway.current) == (Rung.SALVAGED, 5)
    assert gateway.certificate(5) == certificate
    assert anchors(gateway) == of(gateway.root, gateway.second_root)
    assert gateway.connects()


def test_the_previous_certificate_is_tried_by_the_anchors_that_came_since(gateway: Rig) -> None:
    """A technician brought a set with newer anchors, and it is revoked: the one before is accepted, by the new ones."""
    both = gateway.bundle(gateway.root, gateway.second_root)
    assert gateway.planner.bring_in(gateway.outside_set(), THING, both, "test") is not None
    gateway.follow()
    gateway.move_endpoint(gateway.second_root)
    gateway.revoke(1, 3)
    gateway.claim_present = False
    certificate = gateway.certificate(2)
    assert gateway.in_use() == (3, 2)
    done = gateway.operations.climb("refused")

    assert (done.rung, gateway.current) == (Rung.SALVAGED, 4)
    assert gateway.certificate(4) == certificate
    assert anchors(gateway) == of(gateway.root, gateway.second_root)
    assert gateway.connects()


@pytest.mark.parametrize("harm", ["trust.pem cut short", "manifest.json flipped"])
def test_anchors_that_are_not_as_they_were_written_verify_nothing(gateway: Rig, harm: str) -> None:
    """Whom to trust is not guessed, whatever else would be lost: the endpoint is waited for."""
    gateway.install(gateway.bundle(gateway.root, gateway.second_root))
    gateway.move_endpoint(gateway.second_root)
    cut(directory(gateway, 3) / "key.pem")
    DAMAGE[harm](directory(gateway, 3))
    gateway.restart()
    done = gateway.operations.climb("lost")

    assert (done.rung, done.locked_out) == (None, None)
    assert gateway.current == 2


def test_the_anchors_of_a_whole_set_are_no_damaged_one_s(gateway: Rig) -> None:
    """A newer one that is whole was left on purpose: by then it is the previous one, or none."""
    gateway.install(gateway.bundle(gateway.root, gateway.second_root))
    assert gateway.run(Kind.ROLLBACK).record.phase is Phase.COMMITTED
    assert gateway.in_use() == (2, 3)
    assert gateway.store.others.damaged_trusts(2) == ()
    cut(directory(gateway, 3) / "key.pem")
    assert [trust.fingerprints for trust in gateway.store.others.damaged_trusts(2)] == [
        of(gateway.root, gateway.second_root)
    ]
    assert gateway.store.others.damaged_trusts(3) == ()
