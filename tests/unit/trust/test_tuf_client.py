"""What signers of another make publish, and what an attacker in the way makes of it, as one gateway reads it."""

from __future__ import annotations

import hashlib
import resource
import tempfile
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tuf.api import exceptions
from tuf.api.metadata import Metadata, Root, Timestamp
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater

from agent.core.timekeeping import ClockState, Reading
from agent.errors import BundleError
from agent.trust.download import MissingError
from agent.trust.tuf_client import LIMITS, MAX_TARGET, MAX_VERSION, BundleReader, Files, SignedBundle, judge_by
from support import signing
from support.signing import Habits, Publisher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from securesystemslib.signer import CryptoSigner

    from agent.trust.tuf_client import Source

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SURE = Reading(now=NOW, state=ClockState.SYNCHRONISED, floor=NOW)
UNSURE = replace(SURE, state=ClockState.UNSYNCHRONISED)
WRONG = Reading(now=datetime(1970, 1, 1, tzinfo=UTC), state=ClockState.IMPLAUSIBLE, floor=NOW)

OLD_HINT = "Ship the newest one; this gateway never goes back."
FEW_HINT = "It must be signed by keys that the root.json on this gateway leads to."
PARTS_HINT = "Ship all files of one publication."
LATE_HINT = "Ship a copy that was signed again since; an attacker may be holding back newer ones."


@dataclass
class Gateway:
    """What one gateway keeps from one bundle to the next; each is read by a process of its own."""

    root: bytes
    clock: Reading = SURE
    memory: dict[str, bytes] = field(default_factory=dict)

    def read(self, source: Source | Mapping[str, bytes], target: str = signing.TARGET) -> SignedBundle:
        """Read a repository, and keep what was learnt whatever becomes of it."""
        reader = BundleReader(self.root, self.memory, self.clock)
        try:
            return reader.read(Files(source) if isinstance(source, dict) else source, target)  # type: ignore[arg-type]
        finally:
            self.memory = reader.memory

    def refuses(self, source: Source | Mapping[str, bytes], target: str = signing.TARGET) -> BundleError:
        """Return why a repository is refused."""
        with pytest.raises(BundleError) as caught:
            self.read(source, target)
        return caught.value

    def version(self, role: str) -> int:
        """Return the version of a role that is remembered."""
        return int(Metadata[Any].from_bytes(self.memory[f"{role}.json"]).signed.version)

    @property
    def roots(self) -> list[str]:
        """The names of the roots that are remembered."""
        return [name for name in self.memory if name.startswith("root_history/")]


def published(**habits: Any) -> tuple[Publisher, Gateway]:
    """Return a publisher with one publication, and a gateway that has its root and nothing else."""
    publisher = Publisher(NOW, Habits(**habits))
    publisher.publish(b"first")
    return publisher, Gateway(publisher.first_root)


def seen(publications: int = 1, **habits: Any) -> tuple[Publisher, Gateway, list[dict[str, bytes]]]:
    """Return the same after the gateway has read that many publications, and each of them as it was."""
    publisher, gateway = published(**habits)
    kept = [dict(publisher.files)]
    kept += [publisher.publish(b"publication %d" % (number + 2)) for number in range(publications - 1)]
    for files in kept:
        gateway.read(files)
    return publisher, gateway, kept


def told(error: BundleError) -> tuple[str, str, str]:
    """Return what is told of a refusal."""
    assert not error.passing
    return error.code, str(error), error.hint


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
    bundle = Gateway(publisher.first_root).read(files)
    assert bundle.issued_at == datetime(2027, 2, 28, tzinfo=UTC)
    assert bundle.compatible == ("gw-2", "gw-1")


def test_two_of_three_signatures_are_enough() -> None:
    """Of any two keys, for every role."""
    publisher = Publisher(NOW, Habits(keys=3, threshold=2))
    for role in signing.ROLES:
        del publisher.signers[role][1]
    publisher.write("root")
    gateway = Gateway(publisher.first_root)
    assert gateway.read(publisher.publish(b"x")).version == 1


def test_the_same_publication_is_accepted_again() -> None:
    """From the memory, and from none."""
    publisher, gateway, _ = seen(2)
    before = gateway.memory
    assert gateway.read(publisher.files).version == 2
    assert gateway.memory == before
    assert Gateway(publisher.first_root).read(publisher.files).version == 2


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
    newer = Gateway(publisher.files["metadata/2.root.json"], memory=gateway.memory)
    assert newer.read(files).version == 2
    older = Gateway(publisher.first_root, memory=newer.memory)
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


# -- refused: the target -----------------------------------------------------------------------------------------------


def target_name(publisher: Publisher) -> str:
    """Return the name of the one target file."""
    return next(name for name in publisher.files if name.startswith("targets/"))


def test_another_target_of_the_same_length_is_refused() -> None:
    """One changed byte."""
    publisher, gateway = published()
    publisher.files[target_name(publisher)] = b"fir5t"
    expected, got = hashlib.sha256(b"first").hexdigest(), hashlib.sha256(b"fir5t").hexdigest()
    message = (
        "A file of the bundle is not the one that was signed: "
        f"Observed hash {got} does not match expected hash {expected}."
    )
    assert told(gateway.refuses(publisher.files)) == ("wrong-hash", message, "")


def test_a_target_that_is_cut_off_is_refused() -> None:
    """Shorter than was signed."""
    publisher, gateway = published()
    publisher.files[target_name(publisher)] = b"firs"
    message = (
        "A file of the bundle has another length than was signed: Observed length 4 does not match expected length 5."
    )
    assert told(gateway.refuses(publisher.files)) == ("wrong-length", message, "")


class Endless:
    """A repository that never stops sending one of its files."""

    def __init__(self, files: Mapping[str, bytes], name: str) -> None:
        self._files = files
        self._name = name
        self.sent = 0

    def pieces(self, name: str) -> Iterator[bytes]:
        """Give a file, and more of it and more."""
        yield from Files(self._files).pieces(name)
        while name == self._name:
            self.sent += 65_536
            yield bytes(65_536)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "anchors"])
def test_a_file_without_an_end_is_given_up(role: str) -> None:
    """After what it may have, and no later."""
    publisher, gateway = published()
    name = target_name(publisher) if role == "anchors" else publisher.name_of(role)
    source = Endless(publisher.files, name)
    code, message, _ = told(gateway.refuses(source))
    assert code == "endless"
    assert message.startswith("A file of the bundle does not end where it should: Downloaded ")
    assert source.sent <= LIMITS.targets_max_length + 65_536


def test_a_root_without_an_end_is_given_up() -> None:
    """The next root is asked for before anything is known of it."""
    publisher, gateway = published()
    publisher.rotate()
    source = Endless(publisher.files, "metadata/2.root.json")
    assert gateway.refuses(source).code == "endless"
    assert source.sent <= LIMITS.root_max_length + 65_536


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_metadata_may_have_its_limit_and_not_a_byte_more(role: str) -> None:
    """A list that says no length may not be of any."""
    publisher, gateway = published()
    name, limit = publisher.name_of(role), int(getattr(LIMITS, f"{role}_max_length"))
    publisher.files[name] = publisher.files[name].ljust(limit)
    assert gateway.read(publisher.files).version == 1
    publisher.files[name] += b" "
    message = (
        "A file of the bundle does not end where it should: "
        f"Downloaded {limit + 1} bytes exceeding the maximum allowed length of {limit}."
    )
    assert told(Gateway(publisher.first_root).refuses(publisher.files)) == ("endless", message, "")


def test_a_target_may_have_its_limit_and_not_a_byte_more() -> None:
    """What is too large is refused by its signed length, and not asked for."""
    publisher, gateway = published()
    assert len(gateway.read(publisher.publish(bytes(MAX_TARGET))).data) == MAX_TARGET
    files = publisher.publish(bytes(MAX_TARGET + 1))
    without = {name: data for name, data in files.items() if not name.startswith("targets/")}
    message = f"anchors.pem has {MAX_TARGET + 1} bytes and {MAX_TARGET} are allowed."
    assert told(gateway.refuses(without)) == ("too-large", message, "")


def test_a_target_that_is_not_listed_is_refused() -> None:
    """Though the repository be sound."""
    publisher, gateway = published()
    message = "The bundle's signers list no 'roots.pem'."
    assert told(gateway.refuses(publisher.files, "roots.pem")) == ("no-target", message, "")


@pytest.mark.parametrize("part", ["metadata/timestamp.json", "metadata/1.snapshot.json", "metadata/1.targets.json"])
def test_a_part_that_is_missing_is_named(part: str) -> None:
    """The packer of the bundle reads what to add."""
    publisher, gateway = published()
    del publisher.files[part]
    assert told(gateway.refuses(publisher.files)) == ("missing", f"The bundle lacks {part}.", "")


def test_a_target_that_is_listed_and_missing_is_named() -> None:
    """By the name that it must have in the bundle."""
    publisher, gateway = published()
    name = target_name(publisher)
    del publisher.files[name]
    assert told(gateway.refuses(publisher.files)) == ("missing", f"The bundle lacks {name}.", "")


# -- refused: signatures -----------------------------------------------------------------------------------------------


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
    assert Gateway(root).refuses(files).code in {"threshold", "trusted-root", "malformed"}


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


# -- refused: what it says ---------------------------------------------------------------------------------------------


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
    code, message, _ = told(Gateway(publisher.first_root).refuses(files))
    assert code == "malformed"
    assert message.endswith(".")


@pytest.mark.parametrize("custom", [None, {}, {"compatible": []}, {"issued": None}])
def test_a_publisher_need_not_say_anything(custom: object) -> None:
    """Another make of signer does not know what ours writes."""
    publisher = Publisher(NOW)
    files = publisher.publish(b"x", custom=custom)
    bundle = Gateway(publisher.first_root).read(files)
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
    code, message, hint = told(Gateway(root).refuses(publisher.files))
    assert code == "trusted-root"
    assert message.startswith("The trusted root.json is not usable: ")
    assert hint == "`trust.root` must name the root.json that the bundles' signers gave out."


def test_a_trusted_root_that_does_not_sign_itself_is_said_so() -> None:
    """It was changed since."""
    publisher, _ = published()
    root = signing.edited(publisher.first_root, lambda plain: plain["signed"].update(expires="2099-01-01T00:00:00Z"))
    assert Gateway(root).refuses(publisher.files).code == "trusted-root"


# -- the clock ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", signing.ROLES)
def test_what_is_out_of_date_by_an_unsynchronised_clock_waits(role: str) -> None:
    """A clock that runs ahead must not refuse a good bundle."""
    publisher, gateway = published()
    gateway.clock = UNSURE
    error = gateway.refuses(publisher.expire(role, NOW - DAY))
    assert (error.code, error.passing) == ("clock", True)
    assert str(error).startswith("By the clock, which is not synchronised, ")
    assert str(error).endswith("is expired, so the bundle cannot be judged yet.")
    assert "timedatectl" in error.hint


def test_an_unsure_clock_is_enough_for_what_is_in_date() -> None:
    """It is at or after the floor."""
    publisher, gateway = published()
    gateway.clock = UNSURE
    assert gateway.read(publisher.files).version == 1


@pytest.mark.parametrize("attack", ["rollback", "forgery", "garbage"])
def test_an_unsure_clock_excuses_nothing_else(attack: str) -> None:
    """Only what is out of date has to wait."""
    publisher, gateway, kept = seen(2)
    gateway.clock = UNSURE
    bad = {"rollback": kept[0], "garbage": dict.fromkeys(publisher.files, b"{}")}
    publisher.write("timestamp", signers=[signing.ed25519()])
    assert not gateway.refuses(bad.get(attack, publisher.files)).passing


class Untouchable:
    """A repository that no user may look at."""

    def pieces(self, name: str) -> Iterator[bytes]:
        """Fail the test."""
        raise AssertionError(f"{name} was looked at")


def test_by_an_impossible_clock_nothing_is_looked_at() -> None:
    """Also not what would be refused for another reason."""
    _, gateway, _ = seen()
    before, gateway.clock = gateway.memory, WRONG
    error = gateway.refuses(Untouchable())
    assert (error.code, error.passing) == ("clock", True)
    assert str(error) == "The clock shows 1970-01-01, which cannot be, so the bundle cannot be judged yet."
    assert gateway.memory == before


def test_a_clock_that_was_set_back_does_not_revive_what_is_older() -> None:
    """Versions are a floor of their own, which no clock moves."""
    publisher, gateway, kept = seen(2)
    gateway.clock = replace(SURE, now=NOW - DAY)
    assert gateway.refuses(kept[0]).code == "rollback"
    assert gateway.read(publisher.files).version == 2


@pytest.mark.parametrize(("years", "expected"), [(-20, None), (0, None), (20, exceptions.ExpiredMetadataError)])
def test_the_locked_library_judges_by_the_instant_that_is_given(
    years: int, expected: type[Exception] | None, tmp_path: Path
) -> None:
    """And by no other clock: python-tuf has no argument for it, so a new version must pass here first."""
    publisher = Publisher(NOW)
    publisher.publish(b"x")
    urls = "https://depot.test/metadata/", str(tmp_path), "https://depot.test/targets/"
    fetcher = FromFiles(publisher.files)
    updater = Updater(str(tmp_path), *urls, fetcher=fetcher, bootstrap=publisher.first_root)
    judge_by(updater, NOW + timedelta(days=365 * years))
    if expected is None:
        updater.refresh()
    else:
        with pytest.raises(expected):
            updater.refresh()


class FromFiles(FetcherInterface):
    """The library's own way to files in memory."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            yield self._files[url.removeprefix("https://depot.test/")]
        except KeyError:
            raise exceptions.DownloadHTTPError("none", 404) from None


def test_a_library_that_keeps_its_time_elsewhere_is_an_error_and_not_ignored() -> None:
    """Else expiry would be judged by the system's clock unnoticed."""

    class Changed:
        _trusted_set = object()

    with pytest.raises(RuntimeError, match="reference time"):
        judge_by(Changed(), NOW)  # type: ignore[arg-type]


# -- what is remembered ------------------------------------------------------------------------------------------------


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
