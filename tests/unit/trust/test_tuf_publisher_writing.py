"""A repository that is written, interrupted, and found damaged."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from agent.errors import RefusedError, StoreError
from agent.store.files import durable
from agent.trust.tuf_publisher import Publication, publish
from support.unit.trust.publisher import KEYS, LIVE_KEYS, NOW, ONLINE, ROOT, TARGET, ReadRepository, key, versions

# -- writing -----------------------------------------------------------------------------------------------------------


class _Stop(BaseException):
    """The process ends here."""


def stopped_at(monkeypatch: pytest.MonkeyPatch, number: int, stop: BaseException) -> list[str]:
    """Let writing end at a file, and return the list that takes the names written before."""
    written: list[str] = []
    real = durable.replace

    def write(fd: int, name: str, *rest: Any) -> None:
        if len(written) == number:
            raise stop
        real(fd, name, *rest)
        written.append(name)

    monkeypatch.setattr(durable, "replace", write)
    return written


def test_the_timestamp_is_written_last(opened: ReadRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the bundle before all metadata."""
    written = stopped_at(monkeypatch, 99, _Stop())
    opened.publish(b"second", signers=KEYS, renew=frozenset({"root"}))
    assert written[0].endswith(".anchors.pem")
    assert written[-1] == "timestamp.json"
    assert len(written) == 5


@pytest.mark.parametrize("stop", [_Stop(), StoreError("Cannot write there: No space left on device.")])
@pytest.mark.parametrize("number", range(4))
def test_what_was_there_is_accepted_whenever_publishing_ends(
    opened: ReadRepository, monkeypatch: pytest.MonkeyPatch, number: int, stop: BaseException
) -> None:
    """And the next attempt does all of it."""
    opened.accepted()
    with monkeypatch.context() as patched:
        stopped_at(patched, number, stop)
        with pytest.raises(type(stop)):
            opened.publish(b"second")
    assert opened.accepted() == b"first"
    publish(opened.repository, Publication(anchors=b"third", target=TARGET, now=NOW, signers=LIVE_KEYS))
    assert opened.accepted() == b"third"
    assert opened.newcomer(opened.files).data == b"third"


@pytest.mark.parametrize("number", range(3))
def test_replacing_online_keys_that_ends_early_shuts_no_gateway_out(
    opened: ReadRepository, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A root that withdraws the key of the timestamp in force comes right before the new timestamp."""
    opened.accepted()
    wanted: dict[str, Any] = {
        "signers": {role: [key(9)] for role in ONLINE}, "old_root_signers": [ROOT], "replace_keys": True,
    }  # fmt: skip
    with monkeypatch.context() as patched:
        stopped_at(patched, number, _Stop())
        with pytest.raises(_Stop):
            opened.publish(b"second", **wanted)
    assert opened.accepted() == b"first"


def test_a_first_publication_that_ended_early_is_done_again(
    shop: ReadRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The root that was written is kept."""
    with monkeypatch.context() as patched:
        stopped_at(patched, 3, _Stop())
        with pytest.raises(_Stop):
            shop.first()
    publish(shop.repository, Publication(anchors=b"x", target=TARGET, now=NOW, signers=KEYS))
    shop.root = shop.files["metadata/1.root.json"]
    assert shop.accepted() == b"x"


def test_litter_of_an_interrupted_write_is_passed_over(opened: ReadRepository) -> None:
    """A hidden name is no version."""
    litter = opened.repository / "metadata" / ".new-9.root.json"
    litter.write_bytes(b"{")
    done = opened.publish(b"second")
    assert done.versions == versions(1, 2, 2, 2)
    assert not [name for name in done.files if ".new-" in name]


# -- a damaged repository ----------------------------------------------------------------------------------------------


METADATA = ("1.root", "1.targets", "1.snapshot", "timestamp")


def refused(shop: ReadRepository, anchors: bytes | None = None) -> None:
    """See a publication refused with a sentence, and nothing changed by it."""
    before = shop.files
    with pytest.raises(RefusedError) as caught:
        shop.publish(anchors, signers=KEYS)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)
    assert shop.files == before


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"signatures": [], "signed": {}}', b"\xff\xfe"])
@pytest.mark.parametrize("name", METADATA)
def test_metadata_that_cannot_be_read_is_refused(opened: ReadRepository, name: str, content: bytes) -> None:
    """With a sentence that names the repository."""
    (opened.repository / "metadata" / f"{name}.json").write_bytes(content)
    refused(opened)
    refused(opened, b"second")


@pytest.mark.parametrize("name", METADATA)
@pytest.mark.parametrize("other", METADATA)
def test_metadata_in_the_wrong_place_is_refused(opened: ReadRepository, name: str, other: str) -> None:
    """Such as a root where the timestamp belongs."""
    if name != other:
        place = opened.repository / "metadata"
        (place / f"{name}.json").write_bytes((place / f"{other}.json").read_bytes())
        refused(opened)


@pytest.mark.parametrize("name", ["1.targets", "1.snapshot"])
def test_missing_metadata_is_refused(opened: ReadRepository, name: str) -> None:
    """A version that was published cannot be known without it."""
    (opened.repository / "metadata" / f"{name}.json").unlink()
    refused(opened)
    refused(opened, b"second")


def forged(shop: ReadRepository, name: str, change: dict[str, Any]) -> None:
    """Change what metadata says, after it was signed."""
    path = shop.repository / "metadata" / f"{name}.json"
    plain = json.loads(path.read_bytes())
    plain["signed"].update(change)
    path.write_text(json.dumps(plain))


def test_what_an_attacker_wrote_into_the_repository_is_never_signed(opened: ReadRepository) -> None:
    """An attacker who may write there, and has no key, gets no bundle signed by the one who signs again."""
    evil = b"an attacker's anchors"
    digest = hashlib.sha256(evil).hexdigest()
    (opened.repository / "targets" / f"{digest}.{TARGET}").write_bytes(evil)
    forged(opened, "1.targets", {"targets": {TARGET: {"length": len(evil), "hashes": {"sha256": digest}}}})
    refused(opened)


@pytest.mark.parametrize("name", ["1.root", "1.snapshot", "timestamp"])
def test_metadata_that_was_changed_is_refused(opened: ReadRepository, name: str) -> None:
    """Its signature does not hold any more, under any root."""
    forged(opened, name, {"expires": "2099-01-01T00:00:00Z"})
    refused(opened)


def test_a_bundle_that_lies_there_damaged_is_not_signed_again(opened: ReadRepository) -> None:
    """No gateway would accept the archive."""
    (path,) = (opened.repository / "targets").iterdir()
    path.write_bytes(b"f1rst")
    refused(opened)


def test_a_bundle_that_is_missing_is_not_signed_again(opened: ReadRepository) -> None:
    """An archive without it would be of no use."""
    (path,) = (opened.repository / "targets").iterdir()
    path.unlink()
    refused(opened)


def test_a_missing_root_is_refused(opened: ReadRepository) -> None:
    """A gateway that has the first could not follow to the third."""
    for _ in range(2):
        opened.publish(signers=KEYS, renew=frozenset({"root"}))
    (opened.repository / "metadata" / "2.root.json").unlink()
    refused(opened)
