"""Refused for what it says: no metadata, a role, a version or a text that cannot be, and how that is told."""

from __future__ import annotations

from typing import Any

import pytest

from agent.trust.tuf_client import MAX_VERSION
from support.publishing import signing
from support.publishing.signing import Habits, Publisher
from support.publishing.tuf_gateway import NOW, BundleGateway, published, told


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
@pytest.mark.parametrize(
    "garbage", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"{}", b'{"signed":1,"signatures":[]}', b"[" * 8_000]
)
def test_what_is_no_metadata_is_malformed(role: str, garbage: bytes) -> None:
    """Whatever it is, it is one sentence."""
    publisher, gateway = published()
    publisher.files[publisher.name_of(role)] = garbage
    code, message, _ = told(gateway.refuses(publisher.files))
    assert code == "malformed"
    assert message.startswith("The bundle's metadata ")
    assert message.endswith(".")
    assert "\n" not in message


def test_metadata_of_one_role_does_not_stand_for_another() -> None:
    """Though its signature be sound."""
    publisher, gateway = published()
    publisher.replace_keys("timestamp", publisher.signers["targets"])
    gateway.root = publisher.write("root")
    publisher.files["metadata/timestamp.json"] = publisher.files["metadata/1.targets.json"]
    message = "The bundle's metadata is not sound: Expected 'timestamp', got 'targets'."
    assert told(gateway.refuses(publisher.files)) == ("malformed", message, "")


@pytest.mark.parametrize("version", [MAX_VERSION + 1, 2**63, 10**4_000])
def test_a_version_beyond_reason_is_refused(version: int) -> None:
    """Its number is shown in part."""
    publisher, gateway = published()
    publisher.targets.version = version
    publisher.habits = Habits(consistent=False)
    publisher.root.consistent_snapshot = False
    gateway.root = publisher.write("root")
    publisher.write("targets")
    message = f"The bundle's version, {str(version)[:40]}, is beyond what is allowed."
    assert told(gateway.refuses(publisher.relist())) == ("version", message, "")


@pytest.mark.parametrize("version", [0, -1, "2", 1.5, None])
def test_a_version_that_is_none_is_malformed(version: object) -> None:
    """Also when it is signed."""
    publisher, gateway = published()
    plain = publisher.timestamp.to_dict()
    plain["version"] = version
    if isinstance(version, float):
        publisher.files["metadata/timestamp.json"] = signing.edited(
            publisher.files["metadata/timestamp.json"], lambda whole: whole["signed"].update(version=version)
        )
    else:
        publisher.files["metadata/timestamp.json"] = signing.sign_plain(plain, publisher.signers["timestamp"])
    assert gateway.refuses(publisher.files).code in {"malformed", "threshold"}


def test_a_number_of_five_thousand_digits_is_malformed() -> None:
    """The parser gives up on it, and that is a sentence like any other."""
    publisher, gateway = published()
    publisher.files["metadata/timestamp.json"] = b'{"signatures":[],"signed":{"version":' + b"9" * 5_000 + b"}}"
    assert gateway.refuses(publisher.files).code == "malformed"


@pytest.mark.parametrize(
    "custom",
    [
        [1],
        "ab",
        7,
        [["compatible", ["gw"]]],
        {"compatible": "gw-1"},
        {"compatible": {"gw-1": 1}},
        {"compatible": [1]},
        {"compatible": ["gw"] * 101},
        {"issued": "yesterday"},
        {"issued": "2027-03-01"},
        {"issued": 1},
        {"issued": "0001-01-01T00:00:00+14:00"},
    ],
)
def test_what_a_publisher_says_about_a_bundle_in_another_way_is_malformed(custom: object) -> None:
    """It is signed, so it is a mistake and not an attack; still nothing is guessed."""
    publisher = Publisher(NOW)
    files = publisher.publish(b"x", custom=custom)
    code, message, _ = told(BundleGateway(publisher.first_root).refuses(files))
    assert code == "malformed"
    assert message.endswith(".")


@pytest.mark.parametrize("custom", [None, {}, {"compatible": []}, {"issued": None}])
def test_a_publisher_need_not_say_anything(custom: object) -> None:
    """Another make of signer does not know what ours writes."""
    publisher = Publisher(NOW)
    files = publisher.publish(b"x", custom=custom)
    bundle = BundleGateway(publisher.first_root).read(files)
    assert (bundle.issued_at, bundle.compatible) == (None, ())


def test_what_an_attacker_wrote_is_told_on_one_printable_line() -> None:
    """A message may quote what a stranger wrote, so it is cut and cleaned."""
    publisher, gateway = published()

    def colour(plain: dict[str, Any]) -> None:
        plain["signed"]["_type"] = "\x1b[31m\nred" + "x" * 1_000

    publisher.files["metadata/timestamp.json"] = signing.edited(publisher.files["metadata/timestamp.json"], colour)
    message = str(gateway.refuses(publisher.files))
    assert message.isprintable()
    assert len(message) < 300


@pytest.mark.parametrize("digest", ["\0\x1b[31m", "x" * 5_000])
def test_the_name_of_a_file_that_is_missing_is_told_on_one_printable_line(digest: str) -> None:
    """It is made of what a list calls a hash, which may be any text."""
    publisher, gateway = published()
    plain = publisher.targets.to_dict()
    plain["targets"][signing.TARGET]["hashes"]["sha256"] = digest
    publisher.files["metadata/1.targets.json"] = signing.sign_plain(plain, publisher.signers["targets"])
    message = str(gateway.refuses(publisher.files))
    assert message.isprintable()
    assert len(message) < 300


@pytest.mark.parametrize("root", [b"", b"{}", b"-----BEGIN CERTIFICATE-----"])
def test_a_trusted_root_that_is_none_is_said_so(root: bytes) -> None:
    """The gateway's own file is wrong, not the bundle."""
    publisher, _ = published()
    code, message, hint = told(BundleGateway(root).refuses(publisher.files))
    assert code == "trusted-root"
    assert message.startswith("The trusted root.json is not usable: ")
    assert hint == "`trust.root` must name the root.json that the bundles' signers gave out."


def test_a_trusted_root_that_does_not_sign_itself_is_said_so() -> None:
    """It was changed since."""
    publisher, _ = published()
    root = signing.edited(publisher.first_root, lambda plain: plain["signed"].update(expires="2099-01-01T00:00:00Z"))
    assert BundleGateway(root).refuses(publisher.files).code == "trusted-root"
