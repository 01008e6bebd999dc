"""What is remembered of publications: kept after a refusal, untouched by a forgery, and on disks that fail."""

from __future__ import annotations

import resource
import tempfile
from typing import TYPE_CHECKING

import pytest
from tuf.api.metadata import Metadata, Root, Timestamp

from agent.errors import BundleError
from agent.trust.download import MissingError
from agent.trust.tuf_client import MAX_VERSION, Files
from support.publishing import signing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


from support.publishing.tuf_gateway import published, seen


def test_what_was_learnt_is_kept_after_a_refusal() -> None:
    """A new timestamp was verified before its target was found missing, so the one before it is older now."""
    publisher, gateway, kept = seen()
    files = publisher.publish(b"second")
    without = {name: data for name, data in files.items() if not name.startswith("targets/")}
    assert gateway.refuses(without).code == "missing"
    assert gateway.version("timestamp") == 2
    assert gateway.refuses(kept[0]).code == "rollback"
    assert gateway.read(files).data == b"second"


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_a_new_timestamp_counts_although_what_it_lists_is_forged(role: str) -> None:
    """What its own key signed is true, whatever came with it."""
    publisher, gateway, kept = seen()
    publisher.publish(b"second")
    publisher.write(role, signers=[signing.ed25519()])
    assert gateway.refuses(publisher.files).code == "threshold"
    assert gateway.version(role) == 1
    assert gateway.refuses(kept[0]).code == "rollback"


def test_a_forgery_leaves_no_trace() -> None:
    """Nothing is remembered of what is not signed."""
    publisher, gateway, _ = seen()
    before = gateway.memory
    publisher.timestamp.version = 10**9
    publisher.write("timestamp", signers=[signing.ed25519()])
    gateway.refuses(publisher.files)
    assert gateway.memory == before


def test_a_fast_forward_ends_with_new_keys() -> None:
    """The thief of the keys numbered far ahead for a day; a root with other keys makes small numbers good again."""
    publisher, gateway, _ = seen()
    honest = {role: publisher.signed[role].version for role in ("timestamp", "snapshot", "targets")}
    for role in honest:
        publisher.signed[role].version = MAX_VERSION - 1
    publisher.write("targets")
    gateway.read(publisher.relist())
    for role, version in honest.items():
        publisher.signed[role].version = version
    assert gateway.refuses(publisher.publish(b"honest")).code == "rollback"
    publisher.rotate("timestamp", "snapshot", "targets")
    assert gateway.read(publisher.resign("targets")).data == b"honest"
    assert gateway.version("timestamp") < 10


@pytest.mark.parametrize("kept", ["timestamp", "snapshot", "targets"])
def test_memory_that_is_damaged_in_part_is_no_way_around_the_rest(kept: str) -> None:
    """One file that does not verify is as good as none; the others are floors still."""
    _, gateway, old = seen(2)
    gateway.memory[f"{kept}.json"] = b"{}"
    error = gateway.refuses(old[0])
    assert error.code == ("rollback" if kept != "timestamp" else error.code)


def test_a_directory_that_cannot_be_made_is_the_gateways_trouble_and_not_the_bundles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A temporary directory that is full or missing must not refuse a good bundle for good."""
    publisher, gateway = published()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(BundleError) as caught:
        gateway.read(publisher.files)
    assert caught.value.passing


def test_a_disk_that_is_full_is_the_gateways_trouble_and_not_the_bundles() -> None:
    """What cannot be written for lack of room can be once there is some."""
    publisher, gateway = published()
    files = publisher.publish(bytes(500_000))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        error = gateway.refuses(files)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert error.passing
    assert gateway.read(files).version == 2


def test_the_next_root_is_asked_for_until_there_is_none() -> None:
    """A server that has no answer to that is not taken for one that has none."""
    publisher, gateway = published()

    class Broken(Files):
        def pieces(self, name: str) -> Iterator[bytes]:
            if name == "metadata/2.root.json":
                raise BundleError("unavailable", "The depot is down.", passing=True)
            yield from super().pieces(name)

    error = gateway.refuses(Broken(publisher.files))
    assert (error.code, str(error), error.passing) == ("unavailable", "The depot is down.", True)


def test_a_missing_root_is_no_trouble_but_a_missing_timestamp_is() -> None:
    """The same answer of a server means two things."""
    publisher, gateway = published()

    class Gone(Files):
        def pieces(self, name: str) -> Iterator[bytes]:
            if name == "metadata/timestamp.json":
                raise MissingError("missing", "It is not there, or not any more (404).")
            yield from super().pieces(name)

    assert str(gateway.refuses(Gone(publisher.files))) == "It is not there, or not any more (404)."


def test_a_timestamp_is_what_it_says() -> None:
    """The helper of these tests writes what the library reads back, so that a test cannot pass for a broken bundle."""
    publisher, _ = published()
    assert Metadata[Timestamp].from_bytes(publisher.files["metadata/timestamp.json"]).signed == publisher.timestamp
    assert Metadata[Root].from_bytes(publisher.first_root).signed == publisher.root
