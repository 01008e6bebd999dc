"""What the publisher signs, as two readers see it: python-tuf's own client on the directory, and a gateway."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from securesystemslib.signer import SIGNER_FOR_URI_SCHEME, CryptoSigner, Signer
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater

from agent.core.timekeeping import ClockState, Reading
from agent.errors import BundleError, ConfigError, RefusedError, StoreError
from agent.store import durable
from agent.trust import tuf_publisher
from agent.trust.archives import read_directory
from agent.trust.tuf_client import BundleReader, Files, SignedBundle, judge_by
from agent.trust.tuf_publisher import Publication, Published, publish, signer_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
TARGET = "anchors.pem"
ONLINE = ("targets", "snapshot", "timestamp")


def key(number: int) -> CryptoSigner:
    """Return a key that is the same in each run."""
    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


ROOT, SECOND_ROOT, LIVE = key(1), key(2), key(3)
KEYS: dict[str, list[Signer]] = {"root": [ROOT], **{role: [LIVE] for role in ONLINE}}
LIVE_KEYS: dict[str, list[Signer]] = {role: [LIVE] for role in ONLINE}


class Directory(FetcherInterface):
    """Fetches from a directory, as from a server that serves it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = self._directory / url.removeprefix("repository:///")
        if not path.is_file():
            raise DownloadHTTPError(url, 404)
        yield path.read_bytes()


@dataclass
class Shop:
    """A repository, and two readers that remember all they have seen of it."""

    path: Path
    now: datetime = NOW
    root: bytes = b""
    memory: dict[str, bytes] = field(default_factory=dict)

    @property
    def repository(self) -> Path:
        """Where it is."""
        return self.path / "repository"

    @property
    def files(self) -> dict[str, bytes]:
        """All that is published."""
        return dict(read_directory(self.repository)) if self.repository.exists() else {}

    def publish(self, anchors: bytes | None = None, **changes: Any) -> Published:
        """Publish; nothing that was published before may be changed, but for the timestamp."""
        before = self.files
        wanted: dict[str, Any] = {"target": TARGET, "now": self.now, "signers": LIVE_KEYS} | changes
        done = publish(self.repository, Publication(anchors=anchors, **wanted))
        kept = {name: data for name, data in self.files.items() if name in before}
        assert {name for name in before if kept[name] != before[name]} <= {"metadata/timestamp.json"}
        return done

    def first(self, anchors: bytes = b"first", **changes: Any) -> Published:
        """Publish for the first time, and give both readers the root."""
        done = self.publish(anchors, **({"signers": KEYS} | changes))
        self.root = self.files["metadata/1.root.json"]
        return done

    # -- readers -----------------------------------------------------------------------------------------------------

    def accepted(self, target: str = TARGET) -> bytes:
        """Return what both readers are given."""
        data = self.client(target)
        assert self.gateway(self.files, target).data == data
        return data

    def client(self, target: str) -> bytes:
        """Return what python-tuf's own client is given, from what it remembers on."""
        place = self.path / "client"
        (place / "targets").mkdir(parents=True, exist_ok=True)
        updater = Updater(
            str(place / "metadata"), "repository:///metadata/", str(place / "targets"), "repository:///targets/",
            fetcher=Directory(self.repository), bootstrap=self.root,
        )  # fmt: skip
        judge_by(updater, self.now)
        updater.refresh()
        info = updater.get_targetinfo(target)
        assert info is not None
        return Path(updater.download_target(info, str(place / "target"))).read_bytes()

    def gateway(self, files: Mapping[str, bytes], target: str = TARGET) -> SignedBundle:
        """Return what the agent reads, from what it remembers on."""
        clock = Reading(now=self.now, state=ClockState.SYNCHRONISED, floor=NOW)
        reader = BundleReader(self.root, self.memory, clock)
        try:
            return reader.read(Files(files), target)
        finally:
            self.memory = reader.memory

    def newcomer(self, files: Mapping[str, bytes], target: str = TARGET) -> SignedBundle:
        """Return what a gateway reads that has its first root and nothing else."""
        return Shop(self.path, self.now, self.root).gateway(files, target)

    def signed(self, name: str) -> Any:
        """Return what a file of metadata says."""
        return Metadata[Any].from_bytes(self.files[f"metadata/{name}.json"]).signed


@pytest.fixture(name="shop")
def _shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture(name="opened")
def _opened(shop: Shop) -> Shop:
    shop.first()
    return shop


def versions(root: int, targets: int, snapshot: int, timestamp: int) -> dict[str, int]:
    """Return the version of each role."""
    return {"root": root, "targets": targets, "snapshot": snapshot, "timestamp": timestamp}


# -- the first publication -------------------------------------------------------------------------------------------


def test_the_first_publication_is_accepted(shop: Shop) -> None:
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
def test_the_first_publication_needs_a_key_for_each_role(shop: Shop, role: str) -> None:
    """The roles without one are named, and nothing is written."""
    with pytest.raises(RefusedError, match=f"there is none for {role}\\.") as caught:
        shop.publish(b"x", signers={name: signers for name, signers in KEYS.items() if name != role})
    assert "--key" in caught.value.hint
    assert not shop.repository.exists()


def test_a_first_publication_without_anchors_is_refused(shop: Shop) -> None:
    """There is nothing to sign."""
    with pytest.raises(RefusedError, match="nothing to publish") as caught:
        shop.publish(signers=KEYS)
    assert "--anchors" in caught.value.hint
    assert not shop.repository.exists()


def test_a_threshold_beyond_the_keys_is_refused(shop: Shop) -> None:
    """The same key named twice counts once."""
    with pytest.raises(RefusedError, match="root is to need 2 signatures and has 1 keys"):
        shop.publish(b"x", signers={**KEYS, "root": [ROOT, ROOT]}, thresholds={"root": 2})
    assert not shop.repository.exists()


@pytest.mark.parametrize("kind", [CryptoSigner.generate_ecdsa, CryptoSigner.generate_rsa])
def test_other_kinds_of_keys_are_accepted(shop: Shop, kind: Any) -> None:
    """For all roles."""
    signer = kind()
    keys = {role: [signer] for role in tuf_publisher.ROLES}
    shop.first(signers=keys)
    assert shop.accepted() == b"first"


# -- the same input, the same bytes ----------------------------------------------------------------------------------


def test_the_same_input_makes_the_same_bytes(tmp_path: Path) -> None:
    """In two directories, over several publications."""
    shops = [Shop(tmp_path / name) for name in "ab"]
    for shop in shops:
        shop.first(compatible=("gw-1", "gw-2"), notes={"withoutAmazon": "a test"})
        shop.now += DAY
        shop.publish(b"second")
        shop.publish(signers={**KEYS, "root": [SECOND_ROOT]}, old_root_signers=[ROOT], replace_keys=True)
    assert len(shops[0].files) > 8
    assert shops[0].files == shops[1].files


def test_files_may_be_read_by_a_web_server(opened: Shop) -> None:
    """They are public, whatever the umask of who publishes."""
    assert {path.stat().st_mode & 0o777 for path in opened.repository.rglob("*") if path.is_file()} == {0o644}


def test_directories_may_be_read_by_a_web_server(shop: Shop) -> None:
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


def test_new_anchors_are_the_next_version(opened: Shop) -> None:
    """Both readers go along, and the old bundle stays where it was."""
    assert opened.accepted() == b"first"
    opened.now += DAY
    done = opened.publish(b"second")
    assert done.versions == versions(1, 2, 2, 2)
    assert opened.accepted() == b"second"
    assert opened.gateway(done.files).issued_at == NOW + DAY
    assert not [name for name in done.files if name.startswith("metadata/1.") and "root" not in name]


def test_signing_again_touches_the_timestamp_alone(opened: Shop) -> None:
    """Its end moves on."""
    opened.accepted()
    opened.now += DAY
    assert opened.publish(signers={"timestamp": [LIVE]}).versions == versions(1, 1, 1, 2)
    assert opened.signed("timestamp").expires == NOW + 91 * DAY
    assert opened.accepted() == b"first"


def test_the_same_anchors_again_were_issued_when_they_were(opened: Shop) -> None:
    """So that nothing but the timestamp changes, and no gateway takes them for newer."""
    opened.now += 30 * DAY
    assert opened.publish(b"first").versions == versions(1, 1, 1, 2)
    assert opened.gateway(opened.files).issued_at == NOW


def test_the_same_anchors_for_other_products_keep_their_day(opened: Shop) -> None:
    """What is said about them is new, and they are not."""
    opened.now += DAY
    assert opened.publish(b"first", compatible=("gw-2",)).versions == versions(1, 2, 2, 2)
    bundle = opened.gateway(opened.files)
    assert (bundle.issued_at, bundle.compatible) == (NOW, ("gw-2",))


@pytest.mark.parametrize(
    ("role", "expected"),
    [("root", (2, 1, 1, 2)), ("targets", (1, 2, 2, 2)), ("snapshot", (1, 1, 2, 2)), ("timestamp", (1, 1, 1, 2))],
)
def test_a_role_is_renewed_when_asked_for(opened: Shop, role: str, expected: tuple[int, int, int, int]) -> None:
    """With whatever lists it, and nothing else."""
    opened.accepted()
    opened.now += DAY
    done = opened.publish(signers=KEYS, renew=frozenset({role}))
    assert done.versions == versions(*expected)
    assert opened.accepted() == b"first"
    assert opened.newcomer(done.files).data == b"first"
    name = role if role == "timestamp" else f"{done.versions[role]}.{role}"
    assert opened.signed(name).expires == opened.now + tuf_publisher.EXPIRES[role]


def test_renewing_the_root_needs_its_key(opened: Shop) -> None:
    """Nothing is written without it."""
    before = opened.files
    with pytest.raises(RefusedError, match="The role root needs 1 signatures and got 0; nothing was published"):
        opened.publish(renew=frozenset({"root"}))
    assert opened.files == before


def test_each_publication_has_versions_of_its_own(opened: Shop) -> None:
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


def test_another_name_with_a_folder_is_accepted(shop: Shop) -> None:
    """The hash stands before the last part of the name."""
    shop.first(target="factory/line-2/anchors.pem")
    assert shop.accepted("factory/line-2/anchors.pem") == b"first"
    assert [name for name in shop.files if "factory/line-2/" in name and name.endswith(".anchors.pem")]
    assert shop.publish().versions == versions(1, 1, 1, 2)
    assert shop.accepted("factory/line-2/anchors.pem") == b"first"


def test_what_is_said_about_a_bundle_is_signed(shop: Shop) -> None:
    """Products, day and notes."""
    shop.first(compatible=("gw-1", "gw-2"), notes={"withoutAmazon": "ours alone"})
    assert shop.gateway(shop.files).compatible == ("gw-1", "gw-2")
    custom = shop.signed("1.targets").targets[TARGET].custom
    assert custom == {
        "issued": "2027-03-01T12:00:00+00:00",
        "compatible": ["gw-1", "gw-2"],
        "withoutAmazon": "ours alone",
    }


# -- keys --------------------------------------------------------------------------------------------------------------


def test_online_keys_are_replaced(opened: Shop) -> None:
    """All that they sign is signed anew; the old ones are of no use any more."""
    opened.accepted()
    fresh = key(9)
    keys = {role: [fresh] for role in ONLINE}
    done = opened.publish(signers=keys, old_root_signers=[ROOT], replace_keys=True)
    assert done.versions == versions(2, 2, 2, 2)
    assert set(opened.signed("2.root").keys) == {ROOT.public_key.keyid, fresh.public_key.keyid}
    assert opened.accepted() == b"first"
    assert opened.newcomer(done.files).data == b"first"
    with pytest.raises(RefusedError, match="The role timestamp needs 1 signatures and got 0"):
        opened.publish()


def test_one_online_key_is_replaced(opened: Shop) -> None:
    """The roles that keep theirs are not signed again without need."""
    opened.accepted()
    done = opened.publish(signers={"timestamp": [key(9)]}, old_root_signers=[ROOT], replace_keys=True)
    assert done.versions == versions(2, 1, 1, 2)
    assert opened.accepted() == b"first"


def test_the_roots_keys_are_replaced_with_the_old_one(opened: Shop) -> None:
    """Both sign, so a gateway of any age follows."""
    opened.accepted()
    signers = {**LIVE_KEYS, "root": [SECOND_ROOT]}
    done = opened.publish(signers=signers, old_root_signers=[ROOT], replace_keys=True)
    assert done.versions == versions(2, 1, 1, 2)
    assert opened.accepted() == b"first"
    assert opened.newcomer(done.files).data == b"first"
    assert opened.signed("2.root").roles["root"].keyids == [SECOND_ROOT.public_key.keyid]


def test_the_roots_keys_are_not_replaced_without_the_old_one(opened: Shop) -> None:
    """No gateway would follow, so nothing is written."""
    before = opened.files
    with pytest.raises(RefusedError, match="The role root needs 1 signatures and got 0; nothing was published"):
        opened.publish(signers={**LIVE_KEYS, "root": [SECOND_ROOT]}, replace_keys=True)
    assert opened.files == before


def test_archives_hold_all_roots(opened: Shop) -> None:
    """A gateway that slept through every change follows from its first."""
    old = ROOT
    for number in range(20, 25):
        new = key(number)
        signers = {**LIVE_KEYS, "root": [new]}
        done = opened.publish(signers=signers, old_root_signers=[old], replace_keys=True)
        old = new
    assert {f"metadata/{number}.root.json" for number in range(1, 7)} <= set(done.files)
    assert opened.newcomer(done.files).data == b"first"


BOTH: dict[str, list[Signer]] = {**LIVE_KEYS, "root": [ROOT, SECOND_ROOT]}


def test_two_signatures_are_needed_where_it_was_said(shop: Shop) -> None:
    """Both keys sign the root, and one alone is not enough for the next."""
    shop.first(signers=BOTH, thresholds={"root": 2})
    assert shop.accepted() == b"first"
    assert len(json.loads(shop.root)["signatures"]) == 2
    before = shop.files
    with pytest.raises(RefusedError, match="The role root needs 2 signatures and got 1; nothing was published"):
        shop.publish(signers=KEYS, renew=frozenset({"root"}))
    assert shop.files == before
    assert shop.publish(signers=BOTH, renew=frozenset({"root"})).versions == versions(2, 1, 1, 2)
    assert shop.accepted() == b"first"


def test_replacing_keys_does_not_lower_a_threshold(shop: Shop) -> None:
    """A role needs as many signatures as before unless something else is said."""
    shop.first(signers=BOTH, thresholds={"root": 2})
    third = key(9)
    shop.publish(signers={**LIVE_KEYS, "root": [ROOT, third]}, old_root_signers=[SECOND_ROOT], replace_keys=True)
    assert shop.signed("2.root").roles["root"].threshold == 2
    assert shop.accepted() == b"first"


def test_a_threshold_for_a_role_whose_keys_stay_is_not_passed_over(shop: Shop) -> None:
    """A publisher who asks for two signatures gets them or is told."""
    shop.first(signers=BOTH)
    with pytest.raises(RefusedError):
        shop.publish(signers=BOTH, thresholds={"root": 2})


# -- time --------------------------------------------------------------------------------------------------------------


def test_expired_roles_are_signed_again(opened: Shop) -> None:
    """Signing again is all that is needed after a long time."""
    opened.accepted()
    opened.now += 400 * DAY
    assert opened.publish().versions == versions(1, 2, 2, 2)
    assert opened.accepted() == b"first"


def test_signing_again_in_time_keeps_a_bundle_valid(opened: Shop) -> None:
    """A publisher who signs again before the timestamp ends has no gateway that refuses the bundle as out of date."""
    for _ in range(10):
        opened.publish()
        opened.now += 85 * DAY
        assert opened.accepted() == b"first"


def test_an_expired_root_is_not_published_under(opened: Shop) -> None:
    """No gateway would accept it: it is signed again where its key is there, else refused."""
    opened.now += 3700 * DAY
    before = opened.files
    with pytest.raises(RefusedError, match="root"):
        opened.publish()
    assert opened.files == before
    opened.publish(signers=KEYS)
    assert opened.accepted() == b"first"


def test_signatures_last_as_long_as_was_said(shop: Shop) -> None:
    """Each role's, and the usual time for the others."""
    shop.first(expires={"timestamp": 7 * DAY, "targets": 30 * DAY})
    assert shop.signed("timestamp").expires == NOW + 7 * DAY
    assert shop.signed("1.targets").expires == NOW + 30 * DAY
    assert shop.signed("1.root").expires == NOW + 3650 * DAY
    shop.now += 8 * DAY
    with pytest.raises(BundleError) as caught:
        shop.gateway(shop.files)
    assert caught.value.code == "expired"


def test_a_time_beyond_the_calendar_is_refused(opened: Shop) -> None:
    """With a sentence."""
    with pytest.raises(RefusedError):
        opened.publish(now=datetime(9999, 12, 31, tzinfo=UTC))


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


def test_the_timestamp_is_written_last(opened: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the bundle before all metadata."""
    written = stopped_at(monkeypatch, 99, _Stop())
    opened.publish(b"second", signers=KEYS, renew=frozenset({"root"}))
    assert written[0].endswith(".anchors.pem")
    assert written[-1] == "timestamp.json"
    assert len(written) == 5


@pytest.mark.parametrize("stop", [_Stop(), StoreError("Cannot write there: No space left on device.")])
@pytest.mark.parametrize("number", range(4))
def test_what_was_there_is_accepted_whenever_publishing_ends(
    opened: Shop, monkeypatch: pytest.MonkeyPatch, number: int, stop: BaseException
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
    opened: Shop, monkeypatch: pytest.MonkeyPatch, number: int
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


def test_a_first_publication_that_ended_early_is_done_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The root that was written is kept."""
    with monkeypatch.context() as patched:
        stopped_at(patched, 3, _Stop())
        with pytest.raises(_Stop):
            shop.first()
    publish(shop.repository, Publication(anchors=b"x", target=TARGET, now=NOW, signers=KEYS))
    shop.root = shop.files["metadata/1.root.json"]
    assert shop.accepted() == b"x"


def test_litter_of_an_interrupted_write_is_passed_over(opened: Shop) -> None:
    """A hidden name is no version."""
    litter = opened.repository / "metadata" / ".new-9.root.json"
    litter.write_bytes(b"{")
    done = opened.publish(b"second")
    assert done.versions == versions(1, 2, 2, 2)
    assert not [name for name in done.files if ".new-" in name]


# -- a damaged repository ----------------------------------------------------------------------------------------------

METADATA = ("1.root", "1.targets", "1.snapshot", "timestamp")


def refused(shop: Shop, anchors: bytes | None = None) -> None:
    """See a publication refused with a sentence, and nothing changed by it."""
    before = shop.files
    with pytest.raises(RefusedError) as caught:
        shop.publish(anchors, signers=KEYS)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)
    assert shop.files == before


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"signatures": [], "signed": {}}', b"\xff\xfe"])
@pytest.mark.parametrize("name", METADATA)
def test_metadata_that_cannot_be_read_is_refused(opened: Shop, name: str, content: bytes) -> None:
    """With a sentence that names the repository."""
    (opened.repository / "metadata" / f"{name}.json").write_bytes(content)
    refused(opened)
    refused(opened, b"second")


@pytest.mark.parametrize("name", METADATA)
@pytest.mark.parametrize("other", METADATA)
def test_metadata_in_the_wrong_place_is_refused(opened: Shop, name: str, other: str) -> None:
    """Such as a root where the timestamp belongs."""
    if name != other:
        place = opened.repository / "metadata"
        (place / f"{name}.json").write_bytes((place / f"{other}.json").read_bytes())
        refused(opened)


@pytest.mark.parametrize("name", ["1.targets", "1.snapshot"])
def test_missing_metadata_is_refused(opened: Shop, name: str) -> None:
    """A version that was published cannot be known without it."""
    (opened.repository / "metadata" / f"{name}.json").unlink()
    refused(opened)
    refused(opened, b"second")


def forged(shop: Shop, name: str, change: dict[str, Any]) -> None:
    """Change what metadata says, after it was signed."""
    path = shop.repository / "metadata" / f"{name}.json"
    plain = json.loads(path.read_bytes())
    plain["signed"].update(change)
    path.write_text(json.dumps(plain))


def test_what_an_attacker_wrote_into_the_repository_is_never_signed(opened: Shop) -> None:
    """An attacker who may write there, and has no key, gets no bundle signed by the one who signs again."""
    evil = b"an attacker's anchors"
    digest = hashlib.sha256(evil).hexdigest()
    (opened.repository / "targets" / f"{digest}.{TARGET}").write_bytes(evil)
    forged(opened, "1.targets", {"targets": {TARGET: {"length": len(evil), "hashes": {"sha256": digest}}}})
    refused(opened)


@pytest.mark.parametrize("name", ["1.root", "1.snapshot", "timestamp"])
def test_metadata_that_was_changed_is_refused(opened: Shop, name: str) -> None:
    """Its signature does not hold any more, under any root."""
    forged(opened, name, {"expires": "2099-01-01T00:00:00Z"})
    refused(opened)


def test_a_bundle_that_lies_there_damaged_is_not_signed_again(opened: Shop) -> None:
    """No gateway would accept the archive."""
    (path,) = (opened.repository / "targets").iterdir()
    path.write_bytes(b"f1rst")
    refused(opened)


def test_a_bundle_that_is_missing_is_not_signed_again(opened: Shop) -> None:
    """An archive without it would be of no use."""
    (path,) = (opened.repository / "targets").iterdir()
    path.unlink()
    refused(opened)


def test_a_missing_root_is_refused(opened: Shop) -> None:
    """A gateway that has the first could not follow to the third."""
    for _ in range(2):
        opened.publish(signers=KEYS, renew=frozenset({"root"}))
    (opened.repository / "metadata" / "2.root.json").unlink()
    refused(opened)


# -- signers -----------------------------------------------------------------------------------------------------------

SECRET = "5ecret-of-a-signer"  # noqa: S105 - looked for in messages


class Unwilling(Signer):
    """A signer that fails, and says too much."""

    def __init__(self, public: Any) -> None:
        self._public = public

    @property
    def public_key(self) -> Any:
        """Its public key."""
        return self._public

    @classmethod
    def from_priv_key_uri(cls, priv_key_uri: str, public_key: Any, secrets_handler: Any = None) -> Unwilling:
        """Return one."""
        del secrets_handler
        if "closed" in priv_key_uri:
            raise PermissionError(f"{SECRET} is wrong")
        return cls(public_key)

    def sign(self, payload: bytes) -> Any:
        """Fail."""
        raise ValueError(f"{SECRET}: {payload!r}")


class Elsewhere(Unwilling):
    """A signer whose key is not in a file."""

    def sign(self, payload: bytes) -> Any:
        """Sign."""
        return LIVE.sign(payload)


@pytest.fixture(name="schemes")
def _schemes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIGNER_FOR_URI_SCHEME, "unwilling", Unwilling)
    monkeypatch.setitem(SIGNER_FOR_URI_SCHEME, "elsewhere", Elsewhere)


def public_pem(signer: CryptoSigner) -> bytes:
    """Return the public part of a key."""
    public = Ed25519PrivateKey.from_private_bytes(_seed(signer)).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _seed(signer: CryptoSigner) -> bytes:
    for number in range(1, 30):
        if key(number).public_key == signer.public_key:
            return bytes([number]) * 32
    raise AssertionError(signer)


def test_a_signer_that_fails_says_nothing_of_its_key(opened: Shop) -> None:
    """Its own words may hold anything; nothing is published."""
    before = opened.files
    with pytest.raises(RefusedError, match=r"could not sign \(\w+\); nothing was published\.") as caught:
        opened.publish(signers={role: [Unwilling(LIVE.public_key)] for role in ONLINE})
    assert SECRET not in f"{caught.value}{caught.value.hint}{caught.value.__cause__}"
    assert opened.files == before


@pytest.mark.usefixtures("schemes")
def test_any_scheme_of_the_library_signs_with_its_public_key(shop: Shop) -> None:
    """A key service or a security module."""
    signer = signer_of("elsewhere:slot/1", public_pem(LIVE))
    assert signer.public_key.keyid == LIVE.public_key.keyid
    shop.first(signers={role: [signer] for role in tuf_publisher.ROLES})
    assert shop.accepted() == b"first"


@pytest.mark.usefixtures("schemes")
def test_a_key_that_is_not_in_a_file_needs_its_public_part() -> None:
    """The option is named."""
    with pytest.raises(ConfigError, match="--public-key URI=FILE"):
        signer_of("elsewhere:slot/1", None)


@pytest.mark.usefixtures("schemes")
@pytest.mark.parametrize("uri", ["unwilling:closed", "nothing:like-it", "no-scheme"])
def test_a_signer_that_cannot_be_had_is_one_sentence(uri: str) -> None:
    """With the URI, and without the signer's own words."""
    with pytest.raises(ConfigError) as caught:
        signer_of(uri, public_pem(LIVE))
    assert str(caught.value).startswith(f"{uri}: the signing key cannot be used (")
    assert SECRET not in f"{caught.value}{caught.value.hint}{caught.value.__cause__}"


def pkcs8(seed: int, password: bytes = b"") -> bytes:
    """Return a private key as a file holds it."""
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    private = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


@pytest.mark.parametrize("public", [None, public_pem(ROOT)])
def test_a_key_in_a_file_signs(tmp_path: Path, public: bytes | None) -> None:
    """Its public part need not be told, and may be."""
    (tmp_path / "key.pem").write_bytes(pkcs8(1))
    assert signer_of(f"file2:{tmp_path}/key.pem", public).public_key == ROOT.public_key


UNUSABLE = {
    "encrypted": pkcs8(1, b"password"),
    "garbage": b"\x00\x01garbage",
    "empty": b"",
    "public": public_pem(ROOT),
    "cut off": pkcs8(1)[:60],
}


@pytest.mark.parametrize("kind", UNUSABLE)
@pytest.mark.parametrize("public", [None, public_pem(ROOT)])
def test_a_file_that_holds_no_usable_key_is_one_sentence(tmp_path: Path, kind: str, public: bytes | None) -> None:
    """The file is named, its content is not shown, and the hint says what is expected."""
    path = tmp_path / "key.pem"
    path.write_bytes(UNUSABLE[kind])
    with pytest.raises(ConfigError) as caught:
        signer_of(f"file2:{path}", public)
    assert str(path) in str(caught.value)
    assert "unencrypted PEM key" in caught.value.hint
    assert "garbage" not in str(caught.value)
    assert "BEGIN" not in str(caught.value)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    """In the system's words."""
    with pytest.raises(ConfigError, match="No such file or directory"):
        signer_of(f"file2:{tmp_path}/none.pem", None)


def test_a_public_part_that_is_not_the_keys_own_is_refused(tmp_path: Path) -> None:
    """What it signs could not be verified."""
    (tmp_path / "key.pem").write_bytes(pkcs8(1))
    with pytest.raises(ConfigError, match="cannot be used"):
        signer_of(f"file2:{tmp_path}/key.pem", public_pem(LIVE))


def test_no_private_key_is_written(opened: Shop) -> None:
    """Only public ones stand in the root."""
    written = b"".join(opened.files.values())
    assert b"PRIVATE" not in written
    assert not [seed for seed in (1, 3) if (bytes([seed]) * 32).hex().encode() in written]


def test_what_a_gateway_would_not_take_in_is_not_published(shop: Shop) -> None:
    """A list of products that is none, for one."""
    with pytest.raises(RefusedError):
        shop.first(compatible=("gateway 2",))
    assert not shop.repository.exists()
