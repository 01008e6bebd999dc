"""What signers of another make publish, and what an attacker in the way makes of it, as one gateway reads it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from tuf.api.metadata import Metadata

from agent.trust.tuf_client import SignedBundle
from support.publishing import signing
from support.publishing.signing import Habits, Publisher

if TYPE_CHECKING:
    from collections.abc import Callable

    from securesystemslib.signer import CryptoSigner


from support.publishing.tuf_gateway import DAY, FEW_HINT, NOW, SURE, BundleGateway, published, seen, told

OLD_HINT = "Ship the newest one; this gateway never goes back."
PARTS_HINT = "Ship all files of one publication."
LATE_HINT = "Ship a copy that was signed again since; an attacker may be holding back newer ones."


# -- accepted ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [signing.ed25519, signing.ecdsa, signing.rsa])
@pytest.mark.parametrize("consistent", [False, True])
@pytest.mark.parametrize("hashed", [False, True])
def test_what_another_signer_publishes_is_accepted(
    kind: Callable[[], CryptoSigner], *, consistent: bool, hashed: bool
) -> None:
    """Whatever the kind of its keys, whether names carry versions, and whether lists carry hashes."""
    publisher, gateway = published(kind=kind, consistent=consistent, hashed=hashed)
    assert gateway.read(publisher.files) == SignedBundle(data=b"first", version=1, issued_at=None, compatible=())
    assert gateway.read(publisher.publish(b"second")).data == b"second"


def test_what_the_publisher_says_about_it_is_handed_on() -> None:
    """The day of issue, in UTC, and the products, in order."""
    publisher = Publisher(NOW)
    custom = {"issued": "2027-02-28T02:00:00+02:00", "compatible": ["gw-2", "gw-1"], "more": [1]}
    files = publisher.publish(b"x", custom=custom)
    bundle = BundleGateway(publisher.first_root).read(files)
    assert bundle.issued_at == datetime(2027, 2, 28, tzinfo=UTC)
    assert bundle.compatible == ("gw-2", "gw-1")


def test_two_of_three_signatures_are_enough() -> None:
    """Of any two keys, for every role."""
    publisher = Publisher(NOW, Habits(keys=3, threshold=2))
    for role in signing.ROLES:
        del publisher.signers[role][1]
    publisher.write("root")
    gateway = BundleGateway(publisher.first_root)
    assert gateway.read(publisher.publish(b"x")).version == 1


def test_the_same_publication_is_accepted_again() -> None:
    """From the memory, and from none."""
    publisher, gateway, _ = seen(2)
    before = gateway.memory
    assert gateway.read(publisher.files).version == 2
    assert gateway.memory == before
    assert BundleGateway(publisher.first_root).read(publisher.files).version == 2


@pytest.mark.parametrize("rotations", [1, 5, 64])
def test_a_gateway_follows_the_root_through_rotations_at_once(rotations: int) -> None:
    """Each root is signed by the keys before it and by its own, however long the gateway slept."""
    publisher, gateway = published()
    for _ in range(rotations):
        publisher.rotate("root")
    assert gateway.read(publisher.files).version == 1
    assert len(gateway.roots) == rotations + 1


def test_roots_that_were_followed_need_not_be_shipped_again() -> None:
    """The gateway remembers them, so a bundle may lack those that it has seen."""
    publisher, gateway, _ = seen()
    publisher.rotate("root", "timestamp", "snapshot", "targets")
    gateway.read(publisher.resign("targets"))
    publisher.files = {name: data for name, data in publisher.files.items() if not name.endswith(".root.json")}
    assert gateway.read(publisher.publish(b"x")).version == 3


def test_a_root_that_has_expired_meanwhile_is_only_a_step() -> None:
    """Only the last root counts."""
    publisher, gateway = published()
    publisher.expire("root", NOW - DAY)
    publisher.expire("root", NOW + DAY)
    assert gateway.read(publisher.files).version == 1


def test_a_newer_root_of_an_os_image_joins_what_is_remembered() -> None:
    """And an older one after that, when the image was rolled back, loses nothing."""
    publisher, gateway, kept = seen()
    publisher.rotate("root")
    files = publisher.publish(b"x")
    newer = BundleGateway(publisher.files["metadata/2.root.json"], memory=gateway.memory)
    assert newer.read(files).version == 2
    older = BundleGateway(publisher.first_root, memory=newer.memory)
    assert older.read(publisher.publish(b"y")).version == 3
    assert older.refuses(kept[0]).code == "rollback"


def test_delegated_targets_are_followed() -> None:
    """Another make of publisher may have a role below `targets` sign for the bundle."""
    publisher, gateway = published()
    files = delegated(publisher, "partner/roots?")
    assert gateway.read(files, "roots/partner.pem").data == b"theirs"
    assert gateway.read(files, "roots/partner.pem").data == b"theirs"


def delegated(publisher: Publisher, role: str) -> dict[str, bytes]:
    """Publish a target that is listed by a role below `targets`."""
    from urllib.parse import quote  # noqa: PLC0415

    from tuf.api.metadata import DelegatedRole, Delegations, MetaFile, TargetFile, Targets  # noqa: PLC0415

    signer = signing.ed25519()
    key = signer.public_key
    theirs = Targets(1, None, NOW + DAY, {"roots/partner.pem": TargetFile.from_data("roots/partner.pem", b"theirs")})
    below = DelegatedRole(role, [key.keyid], 1, terminating=False, paths=["roots/*"])
    publisher.targets.delegations = Delegations({key.keyid: key}, {role: below})
    metadata: Metadata[Targets] = Metadata(theirs)
    metadata.sign(signer)
    publisher.files[f"metadata/1.{quote(role, '')}.json"] = metadata.to_bytes()
    publisher.put(b"theirs", "roots/partner.pem")
    publisher.snapshot.meta[f"{role}.json"] = MetaFile(1)
    return publisher.publish(b"ours")


# -- refused: older, or out of date ------------------------------------------------------------------------------------


def test_an_older_timestamp_is_refused() -> None:
    """The whole of an older publication is caught by its timestamp."""
    _, gateway, kept = seen(2)
    message = "The bundle is older than one that was seen here: New timestamp version 1 must be >= 2."
    assert told(gateway.refuses(kept[0])) == ("rollback", message, OLD_HINT)


def test_an_older_snapshot_in_a_newer_timestamp_is_refused() -> None:
    """Also when the holder of the timestamp's key signs it anew."""
    publisher, gateway, _ = seen(2)
    publisher.snapshot.version = 1
    message = "The bundle is older than one that was seen here: New snapshot version must be >= 2, got version 1."
    assert told(gateway.refuses(publisher.restamp())) == ("rollback", message, OLD_HINT)


def test_an_older_list_of_targets_in_a_newer_snapshot_is_refused() -> None:
    """Also when the holder of the keys of snapshot and timestamp signs them anew."""
    publisher, gateway, _ = seen(2)
    publisher.targets.version = 1
    code, message, hint = told(gateway.refuses(publisher.relist()))
    assert (code, hint) == ("rollback", OLD_HINT)
    assert message == "The bundle is older than one that was seen here: Expected targets.json version 1, got 2."


def test_a_list_of_targets_that_vanishes_from_the_snapshot_is_refused() -> None:
    """Else its floor would vanish with it."""
    publisher, gateway, _ = seen(2)
    delegating = delegated(publisher, "partner")
    gateway.read(delegating)
    del publisher.snapshot.meta["partner.json"]
    message = "The bundle's metadata is not sound: New snapshot is missing info for 'partner.json'."
    assert told(gateway.refuses(publisher.publish(b"x"))) == ("malformed", message, "")


def test_an_older_root_in_the_place_of_the_next_is_refused() -> None:
    """The next root must be the next one."""
    publisher, gateway, _ = seen()
    publisher.rotate()
    publisher.files["metadata/2.root.json"] = publisher.first_root
    error = gateway.refuses(publisher.publish(b"x"))
    assert (error.code, error.hint) == ("mix-and-match", PARTS_HINT)
    assert str(error) == (
        "The bundle's parts are of different versions: Expected root version 2 instead got version 1."
    )


def test_a_gap_in_the_roots_is_refused() -> None:
    """A root that skips a version is no successor, wherever it stands."""
    publisher, gateway, _ = seen()
    publisher.root.version = 2
    publisher.rotate()
    publisher.files["metadata/2.root.json"] = publisher.files["metadata/3.root.json"]
    message = "The bundle's parts are of different versions: Expected root version 2 instead got version 3."
    assert told(gateway.refuses(publisher.publish(b"x"))) == ("mix-and-match", message, PARTS_HINT)


def test_beyond_a_missing_root_nothing_is_followed() -> None:
    """What the keys of a root sign that nothing leads to is not signed."""
    publisher, gateway, _ = seen()
    publisher.rotate("root")
    publisher.rotate("timestamp")
    del publisher.files["metadata/2.root.json"]
    message = "The bundle is not signed by enough of its keys: timestamp was signed by 0/1 keys."
    assert told(gateway.refuses(publisher.publish(b"x"))) == ("threshold", message, FEW_HINT)


@pytest.mark.parametrize(
    ("role", "words"),
    [
        ("root", "Final root.json is expired"),
        ("timestamp", "timestamp.json is expired"),
        ("snapshot", "snapshot.json is expired"),
        ("targets", "New targets is expired"),
    ],
)
@pytest.mark.parametrize("habits", [{}, {"consistent": False}, {"hashed": True}])
def test_what_is_out_of_date_is_refused(role: str, words: str, habits: dict[str, bool]) -> None:
    """Any role of it; and the sound one that comes later is accepted."""
    publisher, gateway = published(**habits)
    files = publisher.expire(role, NOW - timedelta(seconds=1))
    assert told(gateway.refuses(files)) == ("expired", f"The bundle is out of date: {words}.", LATE_HINT)
    assert gateway.read(publisher.expire(role, NOW + DAY)).data == b"first"


def test_what_was_good_yesterday_is_out_of_date_today() -> None:
    """A repository that is held back stops being accepted, though its versions are the newest that were seen."""
    publisher, gateway, _ = seen()
    gateway.clock = replace(SURE, now=NOW + signing.MONTH + DAY)
    assert gateway.refuses(publisher.files).code == "expired"


# -- refused: put together from parts ----------------------------------------------------------------------------------


def test_a_snapshot_of_another_version_than_the_timestamp_says_is_refused() -> None:
    """Without consistent snapshots only the content tells."""
    publisher, gateway, kept = seen(2, consistent=False)
    files = publisher.publish(b"third") | {"metadata/snapshot.json": kept[1]["metadata/snapshot.json"]}
    message = "The bundle's parts are of different versions: Expected snapshot version 3, got 2."
    assert told(gateway.refuses(files)) == ("mix-and-match", message, PARTS_HINT)


def test_a_list_of_targets_of_another_version_than_the_snapshot_says_is_refused() -> None:
    """A new manifest with an old list."""
    publisher, gateway, kept = seen(2, consistent=False)
    files = publisher.publish(b"third") | {"metadata/targets.json": kept[1]["metadata/targets.json"]}
    message = "The bundle's parts are of different versions: Expected targets v3, got v2."
    assert told(gateway.refuses(files)) == ("mix-and-match", message, PARTS_HINT)


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_another_file_of_the_same_version_is_refused_where_hashes_are_listed(role: str) -> None:
    """Each list vouches for the next to the byte, also when the same keys signed something else."""
    publisher, gateway = published(hashed=True)
    publisher.signed[role].unrecognized_fields["note"] = "aa"
    publisher.write(role)
    publisher.relist()
    publisher.signed[role].unrecognized_fields["note"] = "bb"
    publisher.write(role)
    code, message, _ = told(gateway.refuses(publisher.files))
    assert code == "wrong-hash"
    assert message.startswith("A file of the bundle is not the one that was signed: Observed hash ")


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_a_shorter_file_than_listed_is_refused(role: str) -> None:
    """And told as such."""
    publisher, gateway = published(hashed=True)
    publisher.files[publisher.name_of(role)] = publisher.files[publisher.name_of(role)].rstrip(b"}\n")
    code, message, _ = told(gateway.refuses(publisher.files))
    assert code == "wrong-length"
    assert message.startswith("A file of the bundle has another length than was signed: Observed length ")
