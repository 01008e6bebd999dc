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

import base64
import json
import os
import ssl
import tarfile
import threading
import tracemalloc
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest
from cryptography import x509 as library
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from agent.config.reader import parse
from agent.core.change.lifecycle import Phase
from agent.core.failure.failures import silent
from agent.crypto.x509 import read_bundle
from agent.errors import BundleError, RefusedError, StoreError
from agent.sandbox.authority import Authority, name
from agent.trust import install
from agent.trust.install import Receiver
from support import signing
from support.pace import bounded_work
from support.rig import START, PowerCut, Rig
from support.signing import Habits, Publisher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from agent.config.values import Config
    from agent.operations.wiring import Parts

DAY = timedelta(days=1)
DROP = "bundle.tar"
OTHER = Authority("Sandbox endpoint root B", START)
THIRD = Authority("Sandbox endpoint root C", START)


@dataclass
class Target:
    """A gateway that is enrolled, its inbox, and the publisher that it trusts."""

    rig: Rig
    config: Config
    publisher: Publisher

    @property
    def union(self) -> bytes:
        """Anchors that hold the root in use and another."""
        return self.rig.root.pem + OTHER.pem

    def receive(self, drop: str = DROP) -> dict[str, Any]:
        """Let the agent take a drop in, and return what the pipeline is told."""
        message = ""
        try:
            Receiver(self.config, cast("Parts", self.rig)).take_drop(drop)
        except (BundleError, RefusedError) as error:
            message = str(error)
        told = self.outcome(drop)
        assert message in {"", told["message"]}
        return told

    def outcome(self, drop: str = DROP) -> dict[str, Any]:
        """Return what stands beside a drop."""
        told: dict[str, Any] = json.loads((self.config.inbox / f"{drop}.outcome.json").read_bytes())
        return told

    def drop(self, files: Mapping[str, bytes] | bytes) -> dict[str, Any]:
        """Drop a bundle, let the agent take it in, and return what the pipeline is told."""
        data = files if isinstance(files, bytes) else signing.archive(files)
        (self.config.inbox / DROP).write_bytes(data)
        return self.receive()

    def install(self, anchors: bytes) -> dict[str, Any]:
        """Publish anchors, drop them, carry the change to its end, and return what the pipeline is told of that."""
        assert self.drop(self.publisher.publish(anchors))["outcome"] == "in-progress"
        return self.follow()

    def follow(self) -> dict[str, Any]:
        """Carry the change on to its end, and return what the pipeline is told of that."""
        self.rig.follow(patience=timedelta(days=3))
        install.conclude(self.config, self.rig.store.history())
        return self.outcome()

    @property
    def in_use(self) -> frozenset[str]:
        """The anchors in use."""
        found = self.rig.sets.usable()
        assert found is not None
        return found.trust.fingerprints

    @property
    def disk(self) -> dict[str, bytes]:
        """Everything in the state directory but what is known of signers."""
        root, found = self.config.state_dir, {}
        for path in root.rglob("*"):
            if path.parts[len(root.parts)] != "trust" and not path.is_dir():
                found[str(path)] = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        return found


@pytest.fixture
def habits() -> Habits:
    """Return how its publisher signs; a test says so as a parameter where it matters."""
    return Habits()


@pytest.fixture
def target(tmp_path: Path, habits: Habits) -> Iterator[Target]:
    """Return a gateway that has read one publication, which holds what it had already."""
    with closing(Rig(tmp_path / "state")) as rig:
        yield make(tmp_path, rig, Publisher(START, habits))


def make(tmp_path: Path, rig: Rig, publisher: Publisher) -> Target:
    """Return a gateway that trusts a publisher."""
    rig.enroll()
    (tmp_path / "root.json").write_bytes(publisher.first_root)
    (tmp_path / "inbox").mkdir()
    text = (
        f"endpoint: a-ats.iot.eu-west-1.amazonaws.com\nstate_dir: {rig.path}\n"
        f"trust: {{root: {tmp_path}/root.json, inbox: {tmp_path}/inbox, compatible: gw-1}}\n"
    )
    made = Target(rig, parse(text, tmp_path / "config.yaml"), publisher)
    assert made.drop(publisher.publish(rig.root.pem))["outcome"] == "unchanged"
    return made


def refused(target: Target, attack: Mapping[str, bytes] | bytes, code: str, *, outcome: str = "refused") -> None:
    """Drop an attack, and see that it is told with its code and has changed nothing."""
    before = target.in_use, target.disk
    told = target.drop(attack)
    assert (told["outcome"], told["code"]) == (outcome, code)
    assert told["message"].endswith(".")
    unharmed(target, *before)
    assert (target.config.inbox / DROP).exists() == (outcome == "waiting")


def unharmed(target: Target, in_use: frozenset[str], disk: Mapping[str, bytes]) -> None:
    """See that anchors and files are what they were, and that the gateway still connects."""
    assert target.in_use == in_use
    assert target.disk == disk
    assert target.rig.connects()
    assert target.rig.at_rest


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


def target_names(target: Target) -> list[str]:
    """Return the names of the target files."""
    return [path for path in target.publisher.files if path.startswith("targets/")]


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


# -- B10 to B13: what is in it, and who put it there -------------------------------------------------------------------


def test_b10_a_bundle_without_the_root_in_use(target: Target) -> None:
    """It is signed and sound, and would cut the gateway off: the trial against the live endpoint refuses it."""
    before, current = target.in_use, target.rig.in_use()
    told = target.install(OTHER.pem)
    assert (told["outcome"], told["class"]) == ("refused", "server-trust")
    assert target.in_use == before
    assert target.rig.in_use() == current
    assert target.rig.connects()
    assert target.rig.history[-1][:2] == ("trust", "rejected")


UNPARSABLE = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def leaf() -> bytes:
    """Return a certificate that is no authority's."""
    return OTHER.issue_server("localhost", START - DAY, START + DAY).certificate_pem


def weak() -> bytes:
    """Return a root with a key of 1024 bits."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - that is the point
    builder = library.CertificateBuilder(name("weak"), name("weak"), key.public_key(), 1, START - DAY, START + DAY)
    builder = builder.add_extension(library.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    "content",
    [bytes, lambda: b"\n# nothing\n", lambda: UNPARSABLE, leaf, weak],
    ids=["empty", "comment", "unparsable", "leaf", "weak"],
)
def test_b11_content_that_is_no_anchor(target: Target, content: Callable[[], bytes]) -> None:
    """Signed or not, and whatever sound roots stand beside it."""
    made = content()
    refused(target, target.publisher.publish(made), "lint")
    if made.strip().startswith(b"-"):
        refused(target, target.publisher.publish(target.union + made), "lint")


def test_b11_content_that_is_only_untidy(target: Target) -> None:
    """A root twice and one that has expired are told, and the rest is used."""
    dead = Authority("dead", START, not_after=START - DAY)
    told = target.drop(target.publisher.publish(target.union + OTHER.pem + dead.pem))
    assert told["outcome"] == "in-progress"
    words = " ".join(told["warnings"])
    assert "dead expired on 2027-02-28." in words
    assert "stands in the store 2 times." in words


def test_b12_a_poisoned_root_without_a_signature(target: Target) -> None:
    """A program that may write to the inbox cannot make anchors, and what comes and goes is told of those who can."""
    inbox = target.config.inbox
    inbox.chmod(0o777)
    for attack, code in ((OTHER.pem, "unsigned"), (b"# roots\n" + OTHER.pem, "unsigned"), (b"roots", "archive")):
        refused(target, attack, code)
    files = target.publisher.publish(target.union)
    refused(target, {path.replace("targets/", "other/"): data for path, data in files.items()}, "missing")
    told = target.drop(files)
    assert [anchor["sha256"] for anchor in told["added"]] == [read_bundle(OTHER.pem).anchors[0].sha256]
    assert told["removed"] == []


@pytest.mark.parametrize("kind", ["link", "link to a device", "dangling", "pipe", "folder", "hard link to a pipe"])
def test_b13_what_is_no_plain_file(target: Target, tmp_path: Path, kind: str) -> None:
    """It is refused unread and without blocking, and what a link leads to is untouched."""
    good = tmp_path / "outside.tar"
    good.write_bytes(signing.archive(target.publisher.publish(target.union)))
    path, before = target.config.inbox / DROP, (target.in_use, target.disk)
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "hard link to a pipe":
            os.mkfifo(tmp_path / "pipe")
            path.hardlink_to(tmp_path / "pipe")
        case "folder":
            path.mkdir()
        case _:
            path.symlink_to({"link": str(good), "link to a device": "/dev/zero", "dangling": "none"}[kind])
    told = target.receive()
    assert (told["outcome"], told["code"]) == ("refused", "not-a-file")
    unharmed(target, *before)
    assert path.exists() == (kind == "folder")
    assert good.exists()


def test_b13_names_that_lead_out(target: Target) -> None:
    """An archive's names are keys, and those that look like a way out are refused."""
    files = target.publisher.publish(target.union)
    for path in ("../../etc/passwd", "/etc/passwd", "metadata/../x", "a\nb", ".hidden", "a/" * 9 + "b"):
        refused(target, files | {path: b"x"}, "archive")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_b13_what_is_no_plain_file_in_an_archive(target: Target, kind: bytes) -> None:
    """It is refused whatever else there is, though nothing is ever unpacked to disk."""
    odd = tarfile.TarInfo("targets/x")
    odd.type, odd.linkname = kind, "/etc/passwd"
    files = signing.archive(target.publisher.publish(target.union))
    refused(target, odd.tobuf() + files, "archive")


def test_b13_a_link_in_the_place_of_the_outcome(target: Target, tmp_path: Path) -> None:
    """What is told replaces the link, and not what it leads to."""
    (tmp_path / "victim").write_bytes(b"victim")
    (target.config.inbox / f"{DROP}.outcome.json").unlink()
    (target.config.inbox / f"{DROP}.outcome.json").symlink_to(tmp_path / "victim")
    refused(target, b"x", "archive")
    assert (tmp_path / "victim").read_bytes() == b"victim"


@contextmanager
def meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """Do something over and over in another thread until the block has ended."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.is_set():
            work()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_b13_a_drop_that_is_swapped_all_the_time(target: Target) -> None:
    """The bytes that are verified are the bytes that are used: sound, refused, or told to change; nothing else."""
    good = signing.archive(target.publisher.publish(target.union))
    evil = signing.archive(target.publisher.files | dict.fromkeys(target_names(target), OTHER.pem))
    inbox = target.config.inbox

    def swap() -> None:
        for data in (good, evil):
            (inbox / ".half").write_bytes(data)
            (inbox / ".half").replace(inbox / DROP)

    swap()
    codes = set()
    with meanwhile(swap):
        for _ in range(40):
            told = target.receive()
            codes.add(told.get("code"))
            if target.rig.engine.change is not None:
                target.rig.engine.give_up("test")
                target.rig.follow()
    assert codes <= {"wrong-hash", "wrong-length", "endless", "changing", "given-up", None}
    found = [target.rig.store.generation(number).trust.fingerprints for number in target.rig.store.numbers().final]
    assert {read_bundle(OTHER.pem).fingerprints}.isdisjoint(found)


# -- B14 to B20: around it ---------------------------------------------------------------------------------------------


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
        (lambda pem: pem.replace(b"CERTIFICATE", b"X509 CERTIFICATE"), 0),
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
