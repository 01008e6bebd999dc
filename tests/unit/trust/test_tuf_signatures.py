"""Refused for its signatures: too few, of the wrong keys, or the same one twice."""

from __future__ import annotations

from typing import Any

import pytest

from support.publishing import signing
from support.publishing.signing import Habits, Publisher
from support.publishing.tuf_gateway import FEW_HINT, NOW, BundleGateway, published, seen, told


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_one_signature_of_two_is_not_enough(role: str) -> None:
    """For any role."""
    publisher, gateway = published(keys=3, threshold=2)
    publisher.write(role, signers=publisher.signers[role][:1])
    message = f"The bundle is not signed by enough of its keys: {role} was signed by 1/2 keys."
    assert told(gateway.refuses(publisher.files)) == ("threshold", message, FEW_HINT)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_a_key_that_signs_twice_counts_once(role: str) -> None:
    """Under its own id and under that of another key, and also when the root names it twice."""
    publisher, gateway = published(keys=2, threshold=2)
    publisher.write(role, signers=publisher.signers[role][:1])
    name = publisher.name_of(role)
    other = publisher.signers[role][1].public_key.keyid

    def repeat(plain: dict[str, Any]) -> None:
        plain["signatures"].append({**plain["signatures"][0], "keyid": other})

    publisher.files[name] = signing.edited(publisher.files[name], repeat)
    assert gateway.refuses(publisher.files).code == "threshold"


def test_a_root_that_lists_one_key_twice_counts_it_once() -> None:
    """Two ids for the same key do not make two signers, though the root's own signers wrote so by mistake."""
    publisher = Publisher(NOW, Habits(keys=2, threshold=2))
    first, second = publisher.signers["timestamp"]
    plain = publisher.root.to_dict()
    plain["keys"][second.public_key.keyid] = plain["keys"][first.public_key.keyid]
    root = signing.sign_plain(plain, publisher.signers["root"])
    files = publisher.publish(b"x")
    timestamp = publisher.write("timestamp", signers=[first])

    def repeat(plain: dict[str, Any]) -> None:
        plain["signatures"].append({**plain["signatures"][0], "keyid": second.public_key.keyid})

    files["metadata/timestamp.json"] = signing.edited(timestamp, repeat)
    assert BundleGateway(root).refuses(files).code in {"threshold", "trusted-root", "malformed"}


def test_the_same_signature_twice_makes_it_malformed() -> None:
    """A list of signatures has each key once."""
    publisher, gateway = published()

    def repeat(plain: dict[str, Any]) -> None:
        plain["signatures"] *= 2

    publisher.files["metadata/timestamp.json"] = signing.edited(publisher.files["metadata/timestamp.json"], repeat)
    code, message, _ = told(gateway.refuses(publisher.files))
    assert code == "malformed"
    assert message.startswith("The bundle's metadata is not sound: ")


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_a_signer_that_the_root_does_not_name_does_not_count(role: str) -> None:
    """However sound its signature."""
    publisher, gateway = published()
    publisher.write(role, signers=[signing.ed25519()])
    message = f"The bundle is not signed by enough of its keys: {role} was signed by 0/1 keys."
    assert told(gateway.refuses(publisher.files)) == ("threshold", message, FEW_HINT)


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_the_key_of_another_role_does_not_sign_for_this_one(role: str) -> None:
    """The timestamp's key is online and may be stolen; it vouches for the timestamp alone."""
    publisher, gateway = published()
    publisher.write(role, signers=publisher.signers["timestamp"])
    assert gateway.refuses(publisher.files).code == "threshold"


def test_a_signer_that_shares_nothing_is_refused_whole() -> None:
    """A complete repository of another signer's."""
    stranger, _ = published()
    _, gateway = published()
    assert gateway.refuses(stranger.files).code == "threshold"
    assert gateway.roots == ["root_history/1.root.json"]


@pytest.mark.parametrize("kept", ["old", "new"])
def test_the_next_root_needs_the_old_keys_and_its_own(kept: str) -> None:
    """Either alone is a forgery, and is not remembered."""
    publisher, gateway, _ = seen()
    before = publisher.signers["root"]
    publisher.rotate("root")
    publisher.write("root", signers=before if kept == "old" else publisher.signers["root"])
    message = "The bundle is not signed by enough of its keys: root was signed by 0/1 keys."
    assert told(gateway.refuses(publisher.files)) == ("threshold", message, FEW_HINT)
    assert gateway.roots == ["root_history/1.root.json"]


def test_a_key_that_was_replaced_does_not_sign_any_more() -> None:
    """The next root takes it away."""
    publisher, gateway, _ = seen()
    stolen = publisher.signers["targets"]
    publisher.rotate("targets")
    gateway.read(publisher.resign("targets"))
    publisher.targets.version += 1
    publisher.write("targets", signers=stolen)
    assert gateway.refuses(publisher.relist()).code == "threshold"
