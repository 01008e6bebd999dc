"""What the publisher signs, as two readers see it: python-tuf's own client on the directory, and a gateway."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from securesystemslib.signer import CryptoSigner

from agent.errors import BundleError, RefusedError
from agent.trust import tuf_publisher
from support.unit.trust.publisher import KEYS, LIVE, NOW, ROOT, SECOND_ROOT, TARGET, ReadRepository, versions

if TYPE_CHECKING:
    from pathlib import Path

DAY = timedelta(days=1)


# -- the first publication ---------------------------------------------------------------------------------------------


def test_the_first_publication_is_accepted(shop: ReadRepository) -> None:
    """It is version 1 of everything, and holds what a gateway needs and nothing else."""
    done = shop.first(b"anchors")
    assert done.versions == versions(1, 1, 1, 1)
    assert done.files == shop.files
    digest = hashlib.sha256(b"anchors").hexdigest()
    assert set(done.files) == {
        "metadata/1.root.json", "metadata/1.targets.json", "metadata/1.snapshot.json", "metadata/timestamp.json",
        f"targets/{digest}.anchors.pem",
    }  # fmt: skip
    assert shop.accepted() == b"anchors"


@pytest.mark.parametrize("role", tuf_publisher.ROLES)
def test_the_first_publication_needs_a_key_for_each_role(shop: ReadRepository, role: str) -> None:
    """The roles without one are named, and nothing is written."""
    with pytest.raises(RefusedError, match=f"there is none for {role}\\.") as caught:
        shop.publish(b"x", signers={name: signers for name, signers in KEYS.items() if name != role})
    assert "--key" in caught.value.hint
    assert not shop.repository.exists()


def test_a_first_publication_without_anchors_is_refused(shop: ReadRepository) -> None:
    """There is nothing to sign."""
    with pytest.raises(RefusedError, match="nothing to publish") as caught:
        shop.publish(signers=KEYS)
    assert "--anchors" in caught.value.hint
    assert not shop.repository.exists()


def test_a_threshold_beyond_the_keys_is_refused(shop: ReadRepository) -> None:
    """The same key named twice counts once."""
    with pytest.raises(RefusedError, match="root is to need 2 signatures and has 1 key"):
        shop.publish(b"x", signers={**KEYS, "root": [ROOT, ROOT]}, thresholds={"root": 2})
    assert not shop.repository.exists()


@pytest.mark.parametrize("kind", [CryptoSigner.generate_ecdsa, CryptoSigner.generate_rsa])
def test_other_kinds_of_keys_are_accepted(shop: ReadRepository, kind: Any) -> None:
    """For all roles."""
    signer = kind()
    keys = {role: [signer] for role in tuf_publisher.ROLES}
    shop.first(signers=keys)
    assert shop.accepted() == b"first"


# -- the same input, the same bytes ------------------------------------------------------------------------------------


def test_the_same_input_makes_the_same_bytes(tmp_path: Path) -> None:
    """In two directories, over several publications."""
    shops = [ReadRepository(tmp_path / name) for name in "ab"]
    for shop in shops:
        shop.first(compatible=("gw-1", "gw-2"), notes={"withoutAmazon": "a test"})
        shop.now += DAY
        shop.publish(b"second")
        shop.publish(signers={**KEYS, "root": [SECOND_ROOT]}, old_root_signers=[ROOT], replace_keys=True)
    assert len(shops[0].files) > 8
    assert shops[0].files == shops[1].files


def test_files_may_be_read_by_a_web_server(opened: ReadRepository) -> None:
    """They are public, whatever the umask of who publishes."""
    assert {path.stat().st_mode & 0o777 for path in opened.repository.rglob("*") if path.is_file()} == {0o644}


def test_directories_may_be_read_by_a_web_server(shop: ReadRepository) -> None:
    """As the files in them."""
    before = os.umask(0o077)
    try:
        shop.first(target="factory/anchors.pem")
    finally:
        os.umask(before)
    made = [path for path in shop.repository.rglob("*") if path.is_dir()]
    assert len(made) == 3
    assert {path.stat().st_mode & 0o777 for path in made} == {0o755}


# -- what follows ------------------------------------------------------------------------------------------------------


def test_new_anchors_are_the_next_version(opened: ReadRepository) -> None:
    """Both readers go along, and the old bundle stays where it was."""
    assert opened.accepted() == b"first"
    opened.now += DAY
    done = opened.publish(b"second")
    assert done.versions == versions(1, 2, 2, 2)
    assert opened.accepted() == b"second"
    assert opened.gateway(done.files).issued_at == NOW + DAY
    assert not [name for name in done.files if name.startswith("metadata/1.") and "root" not in name]


def test_signing_again_touches_the_timestamp_alone(opened: ReadRepository) -> None:
    """Its end moves on."""
    opened.accepted()
    opened.now += DAY
    assert opened.publish(signers={"timestamp": [LIVE]}).versions == versions(1, 1, 1, 2)
    assert opened.signed("timestamp").expires == NOW + 91 * DAY
    assert opened.accepted() == b"first"


def test_the_same_anchors_again_were_issued_when_they_were(opened: ReadRepository) -> None:
    """So that nothing but the timestamp changes, and no gateway takes them for newer."""
    opened.now += 30 * DAY
    assert opened.publish(b"first").versions == versions(1, 1, 1, 2)
    assert opened.gateway(opened.files).issued_at == NOW


def test_the_same_anchors_for_other_products_keep_their_day(opened: ReadRepository) -> None:
    """What is said about them is new, and they are not."""
    opened.now += DAY
    assert opened.publish(b"first", compatible=("gw-2",)).versions == versions(1, 2, 2, 2)
    bundle = opened.gateway(opened.files)
    assert (bundle.issued_at, bundle.compatible) == (NOW, ("gw-2",))


@pytest.mark.parametrize(
    ("role", "expected"),
    [("root", (2, 1, 1, 2)), ("targets", (1, 2, 2, 2)), ("snapshot", (1, 1, 2, 2)), ("timestamp", (1, 1, 1, 2))],
)
def test_a_role_is_renewed_when_asked_for(
    opened: ReadRepository, role: str, expected: tuple[int, int, int, int]
) -> None:
    """With whatever lists it, and nothing else."""
    opened.accepted()
    opened.now += DAY
    done = opened.publish(signers=KEYS, renew=frozenset({role}))
    assert done.versions == versions(*expected)
    assert opened.accepted() == b"first"
    assert opened.newcomer(done.files).data == b"first"
    name = role if role == "timestamp" else f"{done.versions[role]}.{role}"
    assert opened.signed(name).expires == opened.now + tuf_publisher.EXPIRES[role]


def test_renewing_the_root_needs_its_key(opened: ReadRepository) -> None:
    """Nothing is written without it."""
    before = opened.files
    with pytest.raises(RefusedError, match="The role root needs 1 signature and got 0; nothing was published"):
        opened.publish(renew=frozenset({"root"}))
    assert opened.files == before


def test_each_publication_has_versions_of_its_own(opened: ReadRepository) -> None:
    """Versions only grow, whatever is done in whatever order."""
    steps: list[dict[str, Any]] = [
        {"anchors": b"a"}, {}, {"anchors": b"a"}, {"renew": frozenset({"snapshot"})}, {"anchors": b"first"},
        {"renew": frozenset({"targets", "root"}), "signers": KEYS},
    ]  # fmt: skip
    before = versions(1, 1, 1, 1)
    for step in steps:
        done = opened.publish(**step)
        assert all(done.versions[role] >= before[role] for role in before)
        assert done.versions["timestamp"] == before["timestamp"] + 1
        before = dict(done.versions)
        assert opened.accepted() == (b"first" if step in steps[4:] else b"a")


def test_another_name_with_a_folder_is_accepted(shop: ReadRepository) -> None:
    """The hash stands before the last part of the name."""
    shop.first(target="factory/line-2/anchors.pem")
    assert shop.accepted("factory/line-2/anchors.pem") == b"first"
    assert [name for name in shop.files if "factory/line-2/" in name and name.endswith(".anchors.pem")]
    assert shop.publish().versions == versions(1, 1, 1, 2)
    assert shop.accepted("factory/line-2/anchors.pem") == b"first"


def test_what_is_said_about_a_bundle_is_signed(shop: ReadRepository) -> None:
    """Products, day and notes."""
    shop.first(compatible=("gw-1", "gw-2"), notes={"withoutAmazon": "ours alone"})
    assert shop.gateway(shop.files).compatible == ("gw-1", "gw-2")
    custom = shop.signed("1.targets").targets[TARGET].custom
    assert custom == {
        "issued": "2027-03-01T12:00:00+00:00",
        "compatible": ["gw-1", "gw-2"],
        "withoutAmazon": "ours alone",
    }


# -- time --------------------------------------------------------------------------------------------------------------


def test_expired_roles_are_signed_again(opened: ReadRepository) -> None:
    """Signing again is all that is needed after a long time."""
    opened.accepted()
    opened.now += 400 * DAY
    assert opened.publish().versions == versions(1, 2, 2, 2)
    assert opened.accepted() == b"first"


def test_signing_again_in_time_keeps_a_bundle_valid(opened: ReadRepository) -> None:
    """A publisher who signs again before the timestamp ends has no gateway that refuses the bundle as out of date."""
    for _ in range(10):
        opened.publish()
        opened.now += 85 * DAY
        assert opened.accepted() == b"first"


def test_an_expired_root_is_not_published_under(opened: ReadRepository) -> None:
    """No gateway would accept it: it is signed again where its key is there, else refused."""
    opened.now += 3700 * DAY
    before = opened.files
    with pytest.raises(RefusedError, match="root"):
        opened.publish()
    assert opened.files == before
    opened.publish(signers=KEYS)
    assert opened.accepted() == b"first"


def test_signatures_last_as_long_as_was_said(shop: ReadRepository) -> None:
    """Each role's, and the usual time for the others."""
    shop.first(expires={"timestamp": 7 * DAY, "targets": 30 * DAY})
    assert shop.signed("timestamp").expires == NOW + 7 * DAY
    assert shop.signed("1.targets").expires == NOW + 30 * DAY
    assert shop.signed("1.root").expires == NOW + 3650 * DAY
    shop.now += 8 * DAY
    with pytest.raises(BundleError) as caught:
        shop.gateway(shop.files)
    assert caught.value.code == "expired"


def test_a_time_beyond_the_calendar_is_refused(opened: ReadRepository) -> None:
    """With a sentence."""
    with pytest.raises(RefusedError):
        opened.publish(now=datetime(9999, 12, 31, tzinfo=UTC))
