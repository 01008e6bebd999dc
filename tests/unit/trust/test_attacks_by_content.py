"""Attacks B10 to B13 on new trust anchors: what is in a bundle, and who put it there."""

from __future__ import annotations

import os
import tarfile
from typing import TYPE_CHECKING

import pytest
from cryptography import x509 as library
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from agent.crypto.x509 import read_bundle
from agent.sandbox.account.authority import Authority, name
from support.publishing import signing
from support.simulated.outside import START
from support.unit.trust.attacks import DAY, DROP, OTHER, Target, meanwhile, refused, target_names, unharmed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


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
