"""Attacks B14 to B20 on new trust anchors: around the bundle."""

from __future__ import annotations

import base64
import json
import os
import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from cryptography import x509 as library
from cryptography.hazmat.primitives.serialization import Encoding

from agent.core.change.lifecycle import Phase
from agent.core.failure.failures import silent
from agent.crypto.x509 import read_bundle
from agent.errors import StoreError
from agent.sandbox.account.authority import Authority
from agent.trust import install
from support.simulated.outside import START
from support.simulated.troubled import PowerCut
from support.suite.pace import bounded_work
from support.unit.trust.attacks import DAY, OTHER, THIRD, Target, meanwhile, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def test_b14_a_clock_set_back(target: Target) -> None:
    """Below what was certainly in the past nothing is judged; above it versions are a floor that no clock moves."""
    old = target.publisher.publish(OTHER.pem)
    target.install(target.union)
    late = target.publisher.expire("timestamp", target.rig.clock.now() - DAY)
    target.rig.clock.time = datetime(2001, 1, 1, tzinfo=UTC)
    before = target.in_use, target.disk
    told = target.drop(late)
    assert (told["outcome"], told["code"]) == ("waiting", "clock")
    assert (target.in_use, target.disk) == before
    target.rig.clock.time = START + DAY
    refused(target, old, "rollback")


def test_b14_a_clock_set_forward(target: Target) -> None:
    """A clock that is not synchronised refuses nothing; one that is is believed, and the set stays."""
    files = target.publisher.publish(target.union)
    target.rig.clock.time = datetime(2040, 1, 1, tzinfo=UTC)
    target.rig.clock.is_synchronised = False
    refused(target, files, "clock", outcome="waiting")
    target.rig.clock.is_synchronised = True
    refused(target, files, "expired")


def carry(target: Target, files: Mapping[str, bytes]) -> None:
    """Drop a bundle and carry its change to the end."""
    target.drop(files)
    target.rig.follow()


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("phase", [Phase.PREPARED, Phase.PROVEN, Phase.ACTIVE, Phase.DEPLOYED, Phase.COMMITTED])
def test_b15_a_power_cut(target: Target, phase: Phase, *, saved: bool) -> None:
    """Around each phase: the old set or the new one, and in the end the new one."""
    before = target.in_use
    target.rig.disk.cut_power(phase, saved=saved)
    files = target.publisher.publish(target.union)
    with pytest.raises(PowerCut):
        carry(target, files)
    after = target.rig.restart()
    assert target.in_use in {before, read_bundle(target.union).fingerprints}
    if after is None and target.in_use == before:
        assert target.receive()["outcome"] == "in-progress"  # the drop is still there
    if target.rig.engine.change is not None:
        target.rig.follow()
    assert target.in_use == read_bundle(target.union).fingerprints


@pytest.mark.parametrize("method", ["preflight", "prepare", "save_change", "activate", "finish"])
def test_b15_a_disk_that_fails(target: Target, method: str) -> None:
    """At each call of the store: the anchors in use hold, and when the disk is well again the change ends well."""
    before = target.in_use
    target.rig.disk.fail(method)
    files = target.publisher.publish(target.union)
    try:
        carry(target, files)
    except StoreError:
        assert target.in_use in {before, read_bundle(target.union).fingerprints}
    target.rig.disk.heal()
    target.rig.restart()
    if target.rig.engine.change is None and target.in_use == before:
        target.receive()
    if target.rig.engine.change is not None:
        target.rig.follow()
    assert target.in_use == read_bundle(target.union).fingerprints


def test_b16_a_bundle_for_others(target: Target) -> None:
    """Signed, and for another product; and for this one among others."""
    publisher = target.publisher
    refused(target, publisher.publish(target.union, custom={"compatible": ["gw-2"]}), "incompatible")
    told = target.drop(publisher.publish(target.union, custom={"compatible": ["gw-2", "gw-1"]}))
    assert told["outcome"] == "in-progress"


def test_b17_cross_signed_in_a_circle(target: Target) -> None:
    """Twelve roots that all sign each other are read; their paths are not walked, of which there are many millions."""
    made = [Authority(f"root {number}", START) for number in range(12)]
    circle = b"".join(
        signer.cross_sign(other, START).public_bytes(Encoding.PEM)
        for signer in made for other in made if signer is not other
    )  # fmt: skip
    with bounded_work():
        read_bundle(circle)
    told = target.drop(target.publisher.publish(target.rig.root.pem + circle))
    assert told["outcome"] == "in-progress"
    assert len(told["added"]) == 132


def test_b18_a_reader_during_swaps(target: Target) -> None:
    """A reader that opens the current set has all of one set, at each of 200 swaps."""
    target.install(target.union)
    new, old = target.rig.in_use()
    assert new is not None
    assert old is not None
    seen: set[tuple[int, bytes]] = set()

    def read() -> None:
        fd = os.open(target.rig.path / "current", os.O_RDONLY | os.O_DIRECTORY)
        try:
            seen.add((manifest(fd), whole(fd, "trust.pem")))
        finally:
            os.close(fd)

    with meanwhile(read):
        for _ in range(100):
            target.rig.store.activate(old)
            target.rig.store.activate(new)
    assert seen == {(old, target.rig.root.pem), (new, target.union)}


def manifest(directory: int) -> int:
    """Return the number that a set says it has."""
    return int(json.loads(whole(directory, "manifest.json"))["number"])


def whole(directory: int, file: str) -> bytes:
    """Return the content of a file in an open directory."""
    with os.fdopen(os.open(file, os.O_RDONLY, dir_fd=directory), "rb") as opened:
        return opened.read()


def test_b19_a_network_that_is_cut(target: Target) -> None:
    """No attacker can make the gateway go back for good by blocking it: the change waits, and the floor stays."""
    old = target.publisher.publish(THIRD.pem)
    files = target.publisher.publish(target.union)
    target.rig.endpoint.down = silent()
    target.drop(files)
    target.rig.follow(patience=DAY)
    install.conclude(target.config, target.rig.store.history())
    assert target.outcome()["outcome"] == "in-progress"
    assert target.in_use == read_bundle(target.rig.root.pem).fingerprints
    target.rig.endpoint.down = None
    assert target.follow()["outcome"] == "installed"
    refused(target, old, "rollback")


def one_block(*pems: bytes) -> bytes:
    """Return one PEM block that holds several certificates."""
    ders = b"".join(library.load_pem_x509_certificate(pem).public_bytes(Encoding.DER) for pem in pems)
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(ders) + b"-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("change", "taken"),
    [
        (lambda pem: pem.replace(b"\n", b"\r\n"), 3),
        (lambda pem: pem.replace(b"\n", b"\r"), 3),
        (lambda pem: b"\xef\xbb\xbf" + pem, 3),
        (lambda pem: pem.replace(b"-----BEGIN", b"text\n-----BEGIN"), 3),
        (lambda pem: pem.replace(b"-----BEGIN", b"text -----BEGIN"), 3),
        (lambda pem: pem + THIRD.pem.lower(), 0),
        (lambda pem: pem.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE"), 0),
        (lambda pem: pem.replace(b"CERTIFICATE", b"X509 CERTIFICATE"), 3),
        (lambda pem: pem.replace(b"\nMII", b"\n\0MII", 1), 0),
        (lambda pem: pem + b"\0", 3),
        (lambda pem: pem + one_block(THIRD.pem, OTHER.pem), 0),
        (lambda pem: pem.replace(b"-----END CERTIFICATE-----", b"", 1), 0),
        (lambda pem: pem.replace(b"-----END CERTIFICATE-----\n", b"-----END CERTIFICATE-----"), 3),
        (lambda pem: pem.replace(b"MII", b"=MII", 1), 0),
        (lambda pem: pem + b"-----BEGIN", 3),
        (lambda pem: pem + b"-----BEGIN ", 0),
    ],
)
def test_b20_confused_encoding(target: Target, change: Callable[[bytes], bytes], taken: int) -> None:
    """What is counted as anchors is what OpenSSL loads of what is stored, or all of it is refused."""
    pem = target.union + THIRD.pem
    files = target.publisher.publish(change(pem))
    if not taken:
        refused(target, files, "lint")
        return
    assert target.drop(files)["outcome"] == "in-progress"
    target.follow()
    found = target.rig.sets.usable()
    assert found is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=found.trust.pem.decode())
    assert len(found.trust.anchors) == context.cert_store_stats()["x509_ca"] == taken
