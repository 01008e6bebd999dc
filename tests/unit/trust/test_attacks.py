"""Attacks on the way new trust anchors take into a gateway, one test each, through the inbox and the real store.

The ids are those of the list of attacks on root bundles. All of B1 to B20 apply, these in part only:

* B1: a floor in the package is the trusted `root.json` alone, which says nothing of later versions; a state directory
  that is put back from a backup brings its own floor with it. An attacker who can do that owns the gateway.
* B5: there is no chain here, so there is no purpose to pin: a TUF key signs for the roles that the root names it for.
* B8: there is no CMS: signatures are over canonical JSON, and a key says with which one algorithm it signs.
* B11: a root that has expired, or that stands there twice, is told as a warning and installed; the live trial decides.
* B17: anchors are looked up and not searched for paths; what is left is the time that reading takes.
"""

from __future__ import annotations

import os
import tracemalloc
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from support.publishing import signing
from support.publishing.signing import Habits, Publisher
from support.simulated.outside import START
from support.suite.pace import bounded_work
from support.unit.trust.attacks import DROP, OTHER, THIRD, Target, refused, target_names

if TYPE_CHECKING:
    from collections.abc import Callable


# -- B1 to B7: what is signed, by whom, and when -----------------------------------------------------------------------


def test_b01_rollback(target: Target) -> None:
    """An older publication is refused, also after a restart and after newer ones were refused in turn."""
    old = target.publisher.publish(OTHER.pem)
    assert target.install(target.union)["outcome"] == "installed"
    refused(target, old, "rollback")
    target.rig.restart()
    refused(target, old, "rollback")
    target.publisher.publish(THIRD.pem)
    refused(target, {**target.publisher.files, **dict.fromkeys(target_names(target), b"")}, "wrong-length")
    refused(target, old, "rollback")


@pytest.mark.parametrize(
    "role",
    ["snapshot", "targets"],
)
def test_b01_rollback_below_a_newer_signature(target: Target, role: str) -> None:
    """An attacker with the online keys signs old lists anew: the versions in them have floors of their own."""
    target.install(target.union)
    target.publisher.signed[role].version = 1
    files = target.publisher.restamp() if role == "snapshot" else target.publisher.relist()
    refused(target, files, "rollback")


@pytest.mark.parametrize("habits", [Habits(consistent=False)])
def test_b01_the_same_version_with_other_content(target: Target) -> None:
    """A number means one content: another one under it is never looked at."""
    target.install(target.union)
    twin = dict(target.publisher.files)
    target.publisher.put(OTHER.pem)
    target.publisher.targets.targets[signing.TARGET].length = len(OTHER.pem)
    target.publisher.write("targets")
    refused(target, twin | {"targets/anchors.pem": OTHER.pem}, "wrong-length")
    refused(target, target.publisher.files, "wrong-length")


def test_b02_fast_forward(target: Target) -> None:
    """A version beyond reason is refused, and one within is undone by a root with other keys."""
    publisher = target.publisher
    honest = {role: publisher.signed[role].version for role in ("timestamp", "snapshot", "targets")}
    for version, code in ((2**63, "version"), (2**62, "rollback")):
        publisher.signed["timestamp"].version = publisher.signed["snapshot"].version = version
        publisher.targets.version = version
        publisher.write("targets")
        refused(target, publisher.relist(), code)
    for role, version in honest.items():
        publisher.signed[role].version = version
    refused(target, publisher.publish(target.union), "rollback")
    publisher.rotate("timestamp", "snapshot", "targets")
    assert target.drop(publisher.resign("targets"))["outcome"] == "in-progress"
    assert target.follow()["outcome"] == "installed"


@pytest.mark.parametrize("role", signing.ROLES)
def test_b03_freeze(target: Target, role: str) -> None:
    """What is out of date is refused; the anchors in use go on without an end."""
    target.publisher.publish(target.union)
    refused(target, target.publisher.expire(role, START - timedelta(seconds=1)), "expired")
    target.rig.clock.advance(days=400)
    assert target.rig.connects()


def test_b03_freeze_by_holding_back(target: Target) -> None:
    """The newest that a thief of the network lets through stops being accepted in time."""
    held = target.publisher.publish(target.union)
    target.rig.clock.advance(days=31)
    refused(target, held, "expired")


def test_b04_mix_and_match(target: Target) -> None:
    """An old file among new lists, under the name of the new one, and a new one among old lists."""
    publisher = target.publisher
    old = next(iter(target_names(target)))
    files = publisher.publish(target.union)
    new = next(path for path in target_names(target) if path != old)
    for role in ("snapshot", "targets"):
        refused(target, files | {publisher.name_of(role): files[f"metadata/1.{role}.json"]}, "mix-and-match")
    refused(target, files | {new: files[old]}, "wrong-length")


def test_b05_unknown_signer(target: Target) -> None:
    """A sound repository of a stranger, whole, and with each role of it in ours."""
    stranger = Publisher(START)
    stranger.publish(OTHER.pem)
    files = stranger.publish(OTHER.pem)
    refused(target, files, "threshold")
    for role in ("timestamp", "snapshot", "targets"):
        mixed = target.publisher.publish(target.union)
        path = target.publisher.name_of(role)
        target.publisher.write(role, signers=stranger.signers[role])
        refused(target, mixed | {path: target.publisher.files[path]}, "threshold")


def test_b05_metadata_without_a_signature(target: Target) -> None:
    """An empty list of signatures is none."""
    files = target.publisher.publish(target.union)
    for role in ("timestamp", "snapshot", "targets"):
        path = target.publisher.name_of(role)
        bare = signing.edited(files[path], lambda plain: plain.update(signatures=[]))
        refused(target, files | {path: bare}, "threshold")


@pytest.mark.parametrize("habits", [Habits(keys=2, threshold=2)])
@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_b06_one_key_for_two(target: Target, role: str) -> None:
    """A threshold counts keys: the same one again, under another's id, is one."""
    files = target.publisher.publish(target.union)
    first, second = target.publisher.signers[role]
    path = target.publisher.name_of(role)
    data = target.publisher.write(role, signers=[first])

    def repeat(plain: dict[str, Any]) -> None:
        plain["signatures"].append({**plain["signatures"][0], "keyid": second.public_key.keyid})

    refused(target, files | {path: data}, "threshold")
    refused(target, files | {path: signing.edited(data, repeat)}, "threshold")


def test_b07_forged_root(target: Target) -> None:
    """A root that its predecessor's keys did not sign, or its own did not, leads nowhere."""
    publisher = target.publisher
    thief, owner = publisher.new_keys(), publisher.signers["root"]
    publisher.publish(target.union)
    publisher.root.version = 2
    publisher.replace_keys("root", thief)
    for signers in (thief, owner, []):
        publisher.write("root", signers=signers)
        refused(target, publisher.files, "threshold")


def test_b07_skipped_root(target: Target) -> None:
    """Without the root between them a later one is not signed, whatever number it is given."""
    publisher = target.publisher
    publisher.rotate("root")
    publisher.rotate("timestamp")
    files = publisher.publish(target.union)
    third = files.pop("metadata/3.root.json")
    del files["metadata/2.root.json"]
    refused(target, files, "threshold")
    refused(target, files | {"metadata/2.root.json": third}, "threshold")


# -- B8, B9: how it is signed, and how much of it there is -------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"scheme": "none"}, "trusted-root"),
        ({"scheme": "ecdsa-sha2-nistp256"}, "trusted-root"),
        ({"keytype": "none", "scheme": "none"}, "trusted-root"),
        ({"keytype": "rsa", "scheme": "rsa-pkcs1v15-md5"}, "trusted-root"),
        ({"keytype": "rsa", "scheme": "rsa-pkcs1v15-sha256"}, "threshold"),
        ({"keyval": {}}, "trusted-root"),
    ],
)
def test_b08_algorithm_confusion(target: Target, change: dict[str, Any], code: str) -> None:
    """A signature counts by the algorithm that the root names for its key, and by no other; an unknown one never."""
    publisher = target.publisher
    files = publisher.publish(target.union)
    plain = publisher.root.to_dict()
    keyid = publisher.signers["timestamp"][0].public_key.keyid
    plain["keys"][keyid] |= change
    assert target.config.trust.root is not None
    target.config.trust.root.write_bytes(signing.sign_plain(plain, publisher.signers["root"]))
    refused(target, files, code)


@pytest.mark.parametrize("where", ["signed", "signatures"])
def test_b08_what_is_added_after_signing(target: Target, where: str) -> None:
    """Inside of what is signed it breaks the signature; a signature more, of a stranger's, changes nothing."""
    files = target.publisher.publish(target.union)
    path = "metadata/timestamp.json"

    def add(plain: dict[str, Any]) -> None:
        if where == "signed":
            plain["signed"]["note"] = "x"
        else:
            plain["signatures"].append({"keyid": "00" * 32, "sig": "00" * 64})

    changed = files | {path: signing.edited(files[path], add)}
    if where == "signed":
        refused(target, changed, "threshold")
    else:
        assert target.drop(changed)["outcome"] == "in-progress"


@pytest.mark.parametrize("bomb", ["sparse", "gzip", "members", "header"])
def test_b09_endless_data(target: Target, bomb: str) -> None:
    """It is refused, with little work, and never held in memory."""
    path = target.config.inbox / DROP
    path.write_bytes(_BOMBS[bomb]())
    if bomb == "sparse":
        os.truncate(path, 10 * 2**30)
    with bounded_work():
        target.receive()
    tracemalloc.start()
    try:
        told = target.receive()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (told["outcome"], told["code"]) in {("refused", "too-large"), ("refused", "archive")}
    assert peak < 64 * 2**20


def _gzip_bomb() -> bytes:
    return signing.archive({"targets/x": bytes(2**26)}, mode="w:gz")


def _many_members() -> bytes:
    return signing.archive({f"targets/{number}": b"" for number in range(10_000)})


def _lying_header() -> bytes:
    member = bytearray(signing.archive({"targets/x": b"x"}))
    member[124:136] = b"\x80" + b"\xff" * 11  # 2^88 bytes, in the base-256 form
    member[148:156] = b" " * 8
    member[148:156] = b"%06o\0 " % sum(member[:512])
    return bytes(member)


_BOMBS: dict[str, Callable[[], bytes]] = {
    "sparse": bytes, "gzip": _gzip_bomb, "members": _many_members, "header": _lying_header,
}  # fmt: skip


def test_b09_a_hundred_thousand_certificates(target: Target) -> None:
    """A signed bundle of any number of them is counted and not parsed."""
    block = b"-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
    attack = target.publisher.publish(block * (2**20 // len(block)))
    refused(target, attack, "lint")
    with bounded_work():
        target.drop(attack)


def test_b09_metadata_without_an_end(target: Target) -> None:
    """Each list has a limit of its own."""
    files = target.publisher.publish(target.union)
    refused(target, files | {"metadata/timestamp.json": b" " * 2**20}, "endless")
