"""One path for all bundles: where they come from, what is looked at, and what their pipeline is told."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from agent.config.reader import parse
from agent.core import timekeeping
from agent.core.trust.updates import MAX_ARCHIVE, drop_of
from agent.core.values import Kind, Origin, TrustSource
from agent.crypto.x509 import read_bundle
from agent.errors import BundleError, DamagedError, RefusedError, StoreError
from agent.operations.wiring import load_anchors
from agent.sandbox.authority import Authority
from agent.trust import install, tuf_state
from agent.trust.install import Receiver, files_at, make_inbox, remote_at
from agent.trust.tuf_client import BundleReader
from support import signing
from support.depot import Depot
from support.rig import START, Rig
from support.signing import Publisher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from agent.config.values import Config
    from agent.operations.wiring import Parts
    from agent.trust.tuf_client import Source

DAY = timedelta(days=1)
NOW = datetime.now(UTC)  # TLS judges by the real clock
OTHER = Authority("Sandbox endpoint root B", START)
SERVER = Authority("depot root", NOW)
SECRET = "X-Amz-Signature=5ec2e7"  # noqa: S105 - what must not be told
CLOCK = timekeeping.Reading(now=START, state=timekeeping.ClockState.SYNCHRONISED, floor=START)


class Site:
    """An enrolled gateway with an inbox, and a publisher that it trusts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rig = Rig(path / "state")
        self.rig.enroll()
        self.publisher = Publisher(START)
        (path / "root.json").write_bytes(self.publisher.first_root)
        (path / "baked.pem").write_bytes(self.rig.root.pem)
        (path / "inbox").mkdir()
        self.configure()

    def configure(self, **trust: str) -> None:
        """Configure the gateway, with these settings of the section `trust` besides."""
        path = self.path
        section = {"root": f"{path}/root.json", "inbox": f"{path}/inbox", "anchors": f"{path}/baked.pem"} | trust
        self.config = configured(path, section)

    def close(self) -> None:
        """End the gateway's process."""
        self.rig.close()

    @property
    def receiver(self) -> Receiver:
        """What takes bundles in."""
        return Receiver(self.config, cast("Parts", self.rig))

    @property
    def union(self) -> bytes:
        """The root in use and another."""
        return self.rig.root.pem + OTHER.pem

    def drop(self, data: bytes, name: str = "x.tar") -> None:
        """Put something into the inbox."""
        (self.config.inbox / name).write_bytes(data)

    def dropped(self, **custom: Any) -> None:
        """Publish anchors and put the bundle into the inbox."""
        self.drop(signing.archive(self.publisher.publish(self.union, custom=custom or None)))

    def told(self, name: str = "x.tar") -> dict[str, Any]:
        """Return what stands beside a drop."""
        found: dict[str, Any] = json.loads((self.config.inbox / f"{name}.outcome.json").read_bytes())
        return found

    def conclude(self) -> dict[str, Any]:
        """Write into the inbox how changes ended, and return what stands there."""
        install.conclude(self.config, self.rig.store.history())
        return self.told()

    @property
    def inbox(self) -> list[str]:
        """The names in the inbox."""
        return sorted(path.name for path in self.config.inbox.iterdir())

    def bake(self, pem: bytes, issued: str | None = None) -> None:
        """Let an OS image bring other baked anchors."""
        line = f"# Issued: {issued}\n".encode() if issued else b""
        (self.path / "baked.pem").write_bytes(line + pem)


def configured(path: Path, trust: dict[str, str], more: str = "") -> Config:
    """Return a configuration with this section."""
    section = ", ".join(f"{name}: {value}" for name, value in trust.items())
    text = f"endpoint: a-ats.iot.eu-west-1.amazonaws.com\nstate_dir: {path}/state\n{more}trust: {{{section}}}\n"
    return parse(text, path / "config.yaml")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Return a gateway."""
    with closing(Site(tmp_path)) as made:
        yield made


def first(source: Source, name: str) -> bytes:
    """Return a file of a repository."""
    return b"".join(source.pieces(name))


def code_of(act: Callable[[], object]) -> tuple[str, str]:
    """Return code and sentence of a refusal."""
    with pytest.raises(BundleError) as caught:
        act()
    return caught.value.code, str(caught.value)


# -- files that a person names -----------------------------------------------------------------------------------------


FILES = {"metadata/timestamp.json": b"{}", "targets/00.anchors.pem": b"pem"}


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_an_archive_is_read_whatever_its_name(mode: str, tmp_path: Path) -> None:
    """Packed or not, with `./` before its names or not."""
    (tmp_path / "bundle").write_bytes(signing.archive(FILES, mode=mode))
    (tmp_path / "dotted").write_bytes(signing.archive({f"./{name}": data for name, data in FILES.items()}, mode=mode))
    for name in ("bundle", "dotted"):
        source = files_at(tmp_path / name)
        assert {part: first(source, part) for part in FILES} == FILES


def test_a_directory_is_read_as_it_stands(tmp_path: Path) -> None:
    """Also through a link that a person named; what is hidden is left out."""
    repository = tmp_path / "repository"
    for name, data in {**FILES, ".git/config": b"x"}.items():
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_bytes(data)
    (tmp_path / "link").symlink_to(repository)
    for path in (repository, tmp_path / "link"):
        source = files_at(path)
        assert {part: first(source, part) for part in FILES} == FILES
        assert code_of(lambda: first(source, ".git/config"))[0] == "missing"  # noqa: B023 - called at once


@pytest.mark.parametrize("content", [OTHER.pem, b"\n# Amazon\n" + OTHER.pem, b"  " + OTHER.pem])
def test_certificates_without_a_signature_are_told_from_other_garbage(content: bytes, tmp_path: Path) -> None:
    """The likeliest mistake has a sentence of its own, with what to do."""
    (tmp_path / "roots.pem").write_bytes(content)
    with pytest.raises(BundleError, match=r"roots\.pem holds certificates that no signer vouches for\.") as caught:
        files_at(tmp_path / "roots.pem")
    assert caught.value.code == "unsigned"
    assert "iot-cert trust publish" in caught.value.hint


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing, too large, no plain file, no archive."""
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", MAX_ARCHIVE + 1)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "garbage").write_bytes(b"garbage")
    (tmp_path / "packed").write_bytes(b"\x1f\x8bgarbage")
    found = {name: code_of(lambda: files_at(tmp_path / name)) for name in ("none", "large", "pipe", "garbage")}  # noqa: B023
    assert found["none"] == ("unreadable", f"{tmp_path}/none: there is no such file.")
    assert found["large"] == ("unreadable", f"{tmp_path}/large: large is larger than the {MAX_ARCHIVE} bytes allowed.")
    assert found["pipe"] == ("unreadable", f"{tmp_path}/pipe: pipe is not a regular file.")
    assert found["garbage"][0] == code_of(lambda: files_at(tmp_path / "packed"))[0] == "archive"
    assert code_of(lambda: files_at(tmp_path / "none" / "none"))[0] == "unreadable"


@pytest.mark.parametrize("odd", ["link", "pipe", "odd name", "depth"])
def test_a_directory_with_what_is_no_plain_file_is_refused(odd: str, tmp_path: Path) -> None:
    """A link in it could lead anywhere."""
    repository = tmp_path / "repository"
    repository.mkdir()
    match odd:
        case "link":
            (repository / "x").symlink_to("/etc/hostname")
        case "pipe":
            os.mkfifo(repository / "x")
        case "odd name":
            (repository / "a b").touch()
        case _:
            (repository / "/".join("abcdefghijk")).mkdir(parents=True)
            (repository / "/".join("abcdefghijk") / "x").touch()
    assert code_of(lambda: files_at(repository))[0] in {"unreadable", "archive", "too-large"}


def test_a_directory_that_is_too_large_is_refused(tmp_path: Path) -> None:
    """By the size of its files together, and by their number."""
    (tmp_path / "large").mkdir()
    (tmp_path / "many").mkdir()
    for number in range(3):
        (tmp_path / "large" / f"f{number}").touch()
        os.truncate(tmp_path / "large" / f"f{number}", MAX_ARCHIVE // 2)
    for number in range(1_002):
        (tmp_path / "many" / f"f{number}").touch()
    assert code_of(lambda: files_at(tmp_path / "large"))[0] == "unreadable"
    assert code_of(lambda: files_at(tmp_path / "many"))[0] == "too-large"


def test_a_name_twice_is_refused() -> None:
    """Which of the two is meant would be a guess."""
    doubled = signing.archive({"metadata/x": b"a"})[:1024] + signing.archive({"metadata/x": b"b"})
    dotted = signing.archive({"metadata/x": b"a", "./metadata/x": b"b"})
    assert code_of(lambda: install._archive(dotted, "x"))[0] == "archive"
    assert code_of(lambda: install._archive(doubled, "x"))[0] == "archive"


# -- downloads ---------------------------------------------------------------------------------------------------------


@contextmanager
def depot(site: Site, files: dict[str, bytes]) -> Iterator[Depot]:
    """Serve files over HTTPS."""
    root = site.path / "depot"
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    with Depot(root, SERVER) as running:
        yield running
    assert running.defects == []


def trusting_server() -> Any:
    """Return anchors that the depot's server chains to."""
    return read_bundle(SERVER.pem)


def test_an_archive_is_downloaded_and_its_query_is_told_nowhere(site: Site) -> None:
    """A presigned URL is asked for with its query, which stands nowhere afterwards."""
    data = signing.archive(site.publisher.publish(site.union))
    digest = hashlib.sha256(data).hexdigest()
    with depot(site, {"b.tar": data}) as running:
        url = f"{running.url}b.tar?{SECRET}"
        for expected in (None, digest, digest.upper()):
            source = remote_at(url, site.config, trusting_server(), expected)
            assert first(source, "metadata/1.root.json") == site.publisher.first_root
        receipt = site.receiver.take_in(source, Origin.JOB, "job 7", "job:7")
        assert running.requests == [f"GET /b.tar?{SECRET}"] * 3
    site.rig.follow()
    assert receipt.told.outcome == "in-progress"
    history = (site.rig.path / "history.jsonl").read_text(encoding="utf-8")
    assert "job:7" in history
    assert SECRET not in history + site.rig.log.text + json.dumps(receipt.told.plain())


def test_an_archive_with_another_hash_is_refused(site: Site) -> None:
    """Before it is even unpacked."""
    with depot(site, {"b.tar": b"garbage"}) as running:
        found = code_of(lambda: remote_at(f"{running.url}b.tar?{SECRET}", site.config, trusting_server(), "00" * 32))
    assert found == ("wrong-hash", f"{running.url}b.tar does not have the hash that was named.")


def test_a_repository_is_read_file_by_file(site: Site) -> None:
    """Below a URL that ends with a slash; each file once."""
    files = site.publisher.publish(site.union)
    with depot(site, {f"r/{name}": data for name, data in files.items()}) as running:
        source = remote_at(f"{running.url}r/", site.config, trusting_server())
        receipt = site.receiver.take_in(source, Origin.JOB, "job", "job:1")
        assert sorted(running.requests) == sorted(
            [f"GET /r/{name}" for name in files if name != "metadata/1.root.json"] + ["GET /r/metadata/2.root.json"]
        )
    assert receipt.told.outcome == "in-progress"
    assert code_of(lambda: remote_at(f"{running.url}r/", site.config, None, "00" * 32))[0] == "malformed-document"


def test_a_repository_with_a_query_is_asked_for_with_it_or_refused(site: Site) -> None:
    """A name that ends up within a query asks for nothing that a server has."""
    files = site.publisher.publish(site.union)
    with depot(site, {f"r/{name}": data for name, data in files.items()}) as running:
        try:
            source = remote_at(f"{running.url}r/?{SECRET}", site.config, trusting_server())
        except BundleError as error:
            assert error.code == "url"  # noqa: PT017 - either will do
            return
        assert first(source, "metadata/1.root.json") == site.publisher.first_root
        assert running.requests == [f"GET /r/metadata/1.root.json?{SECRET}"]


@pytest.mark.parametrize(
    "url", ["http://localhost/b.tar", "file:///etc/passwd", "https:///b.tar", "b.tar", "", "http://localhost/r/"]
)
def test_only_https_is_downloaded(url: str, site: Site) -> None:
    """Nothing else is even tried."""
    assert code_of(lambda: remote_at(url, site.config, None)) == (
        "url", "The bundle's URL is not one that begins with https:// and names a host.",
    )  # fmt: skip


@pytest.mark.parametrize("path", ["none.tar", "roots.pem", "garbage.tar", "none/"])
def test_what_is_wrong_with_a_download_is_told_without_its_query(path: str, site: Site) -> None:
    """By host and path."""
    with depot(site, {"roots.pem": OTHER.pem, "garbage.tar": b"garbage"}) as running:

        def ask() -> None:
            source = remote_at(f"{running.url}{path}?{SECRET}", site.config, trusting_server())
            first(source, "metadata/timestamp.json")

        _, message = code_of(ask)
    assert SECRET not in message
    assert message.endswith(".")


def test_the_anchors_in_use_vouch_for_a_server_besides_the_systems(site: Site) -> None:
    """Without them a server of one's own is a stranger, and that may pass."""
    with depot(site, {"b.tar": signing.archive(FILES)}) as running:
        with pytest.raises(BundleError, match="its certificate is not trusted") as caught:
            remote_at(f"{running.url}b.tar?{SECRET}", site.config, None)
        assert (caught.value.code, caught.value.passing) == ("download-trust", True)
        assert SECRET not in str(caught.value)
        remote_at(f"{running.url}b.tar", site.config, trusting_server())


def test_the_way_out_is_the_one_that_the_configuration_names(site: Site) -> None:
    """A proxy that is not there is not gone around."""
    with depot(site, {"b.tar": signing.archive(FILES)}) as running:
        proxied = configured(site.path, {}, "proxy: {host: localhost, port: 1}\n")
        assert code_of(lambda: remote_at(f"{running.url}b.tar", proxied, trusting_server()))[0] == "unavailable"
        assert running.requests == []


# -- what is verified --------------------------------------------------------------------------------------------------


def test_without_a_trusted_root_no_bundle_is_looked_at(site: Site) -> None:
    """It is said so, with what to do."""
    site.config = configured(site.path, {"inbox": f"{site.path}/inbox"})
    site.dropped()
    with pytest.raises(BundleError) as caught:
        site.receiver.take_drop("x.tar")
    assert str(caught.value) == "This gateway accepts no signed bundles: no `trust.root` is configured."
    assert site.told()["code"] == "no-root"
    assert not (site.rig.path / "trust").exists()


@pytest.mark.parametrize("odd", ["missing", "folder", "large"])
def test_a_trusted_root_that_cannot_be_read_is_said_so(odd: str, site: Site) -> None:
    """It is the gateway's own file."""
    path = site.path / "root.json"
    path.unlink()
    if odd == "folder":
        path.mkdir()
    elif odd == "large":
        path.touch()
        os.truncate(path, install.MAX_ROOT + 1)
    site.dropped()
    code, message = code_of(lambda: site.receiver.take_drop("x.tar"))
    assert code == "trusted-root"
    assert str(path) in message


def test_what_was_learnt_of_a_bundle_is_on_disk_before_it_is_told_that_it_is_refused(site: Site) -> None:
    """A power cut between the two must not let an older one in."""
    old = signing.archive(site.publisher.publish(OTHER.pem))
    files = site.publisher.publish(site.union)
    site.drop(signing.archive({name: data for name, data in files.items() if not name.startswith("targets/")}))
    assert code_of(lambda: site.receiver.take_drop("x.tar"))[0] == "missing"
    known = tuf_state.read(site.rig.path)
    assert json.loads(known["timestamp.json"])["signed"]["version"] == 2
    site.drop(old)
    assert code_of(lambda: site.receiver.take_drop("x.tar"))[0] == "rollback"
    assert tuf_state.read(site.rig.path) == known


def test_damage_to_what_is_known_of_signers_is_not_taken_for_nothing(site: Site) -> None:
    """The operator who must act reads which file to remove, and what that costs; the drop stays."""
    (site.rig.path / "trust").mkdir()
    (site.rig.path / "trust" / "metadata.json").write_bytes(b'{"format":1,"files":{"timestamp.json":7}}')
    site.dropped()
    with pytest.raises(DamagedError) as caught:
        site.receiver.take_drop("x.tar")
    assert "trust/metadata.json" in caught.value.hint
    assert site.inbox == ["x.tar"]


def test_what_is_remembered_can_be_read_again_however_much_it_is(site: Site) -> None:
    """Eight delegated lists of the largest size that is accepted, full of what takes room."""
    publisher = site.publisher
    fill(publisher, 8)
    publisher.publish(site.union)
    reader = BundleReader(publisher.first_root, {}, CLOCK)
    from agent.trust.tuf_client import Files  # noqa: PLC0415

    with pytest.raises(BundleError, match="list no"):
        reader.read(Files(publisher.files), "elsewhere.pem")
    tuf_state.write(site.rig.path, reader.memory)
    known = tuf_state.read(site.rig.path)
    floors = {f"{role}.json" for role in ("timestamp", "snapshot", "targets")} | {"root_history/1.root.json"}
    assert {name: known[name] for name in floors} == {name: reader.memory[name] for name in floors}


def fill(publisher: Publisher, number: int) -> None:
    """Delegate everything to so many roles, with as much in each list as there may be."""
    from tuf.api.metadata import DelegatedRole, Delegations, Metadata, MetaFile, Targets  # noqa: PLC0415

    signer = signing.ed25519()
    key = signer.public_key
    names = [f"role{index}" for index in range(number)]
    publisher.targets.delegations = Delegations(
        {key.keyid: key},
        {name: DelegatedRole(name, [key.keyid], 1, terminating=False, paths=["*"]) for name in names},
    )
    listed: Metadata[Targets] = Metadata(Targets(1, None, START + DAY, {}, None, {"note": '"' * 523_500}))
    listed.sign(signer)
    publisher.targets.unrecognized_fields["note"] = '"' * 523_000
    for name in names:
        publisher.files[f"metadata/1.{name}.json"] = listed.to_bytes()
        publisher.snapshot.meta[f"{name}.json"] = MetaFile(1)


# -- what is in it -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mine", "wanted", "words"),
    [
        ("gw-1", ["gw-2"], "The bundle is for gw-2, and this gateway is gw-1."),
        ("gw-1", ["gw-2", "gw-3"], "The bundle is for gw-2, gw-3, and this gateway is gw-1."),
        (
            None,
            ["gw-2"],
            "The bundle is for gw-2, and this gateway does not say what it is (`trust.compatible`).",
        ),
        ("gw-1", ["gw-1", "gw-2"], ""),
        ("gw-1", [], ""),
        (None, [], ""),
    ],
)
def test_a_bundle_is_for_the_products_that_it_names(
    mine: str | None, wanted: list[str], words: str, site: Site
) -> None:
    """And for all where it names none."""
    site.configure(**({"compatible": mine} if mine else {}))
    site.dropped(compatible=wanted)
    if words:
        assert code_of(lambda: site.receiver.take_drop("x.tar")) == ("incompatible", words)
    else:
        assert site.receiver.take_drop("x.tar") is not None


def test_names_of_products_are_told_on_one_printable_line(site: Site) -> None:
    """They come from a signer, and go to a terminal and into a log."""
    site.dropped(compatible=["\x1b[31mred\n"])
    assert code_of(lambda: site.receiver.take_drop("x.tar"))[1].isprintable()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "There is no usable certificate in the store, so no server could be verified with it."),
        (b"\x30\x03\x02\x01\x01", "The entry at line 1 cannot be used: "),
        (SERVER.certificate.public_bytes(Encoding.DER), "there is no PEM certificate in it."),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "it is a private key"),
    ],
)
def test_what_cannot_serve_as_anchors_is_refused(content: bytes, words: str, site: Site) -> None:
    """With the first of the errors that a check of a store would find."""
    site.drop(signing.archive(site.publisher.publish(content)))
    code, message = code_of(lambda: site.receiver.take_drop("x.tar"))
    assert code == "lint"
    assert message.startswith("The bundle cannot serve as trust anchors: ")
    assert words in message


def test_the_anchors_remember_where_they_came_from(site: Site) -> None:
    """In the generation, and in the reason of the change."""
    site.dropped(issued="2027-02-28T00:00:00Z")
    change = site.receiver.take_drop("x.tar")
    assert change is not None
    assert change.reason == "x.tar in the inbox: signed bundle 1 of 2027-02-28"
    assert (change.kind, change.origin, drop_of(change.order)) == (Kind.TRUST, Origin.INBOX, "x.tar")
    site.rig.follow()
    trust = site.rig.sets.usable()
    assert trust is not None
    found = trust.trust.provenance
    assert found is not None
    assert (found.source, found.version) == (TrustSource.BUNDLE, 1)


@pytest.mark.parametrize("both", [True, False])
def test_a_drop_whose_change_a_power_cut_kept_from_being_told_is_not_tried_twice(site: Site, *, both: bool) -> None:
    """The change went on and ended; what became of it is told, and the drop goes."""
    archive = signing.archive(site.publisher.publish(site.union if both else OTHER.pem))
    site.drop(archive)
    site.receiver.take_drop("x.tar")
    site.rig.follow()
    (site.config.inbox / "x.tar.outcome.json").unlink()
    site.drop(archive)  # as if the power had failed before anything was said and the drop removed
    changes = len(site.rig.history)

    assert site.receiver.take_drop("x.tar") is None
    assert site.told()["outcome"] == ("installed" if both else "refused")
    assert site.inbox == ["x.tar.outcome.json"]
    assert len(site.rig.history) == changes


# -- what its pipeline is told ----------------------------------------------------------------------------------------


def test_a_good_drop_is_told_at_each_stage(site: Site) -> None:
    """Accepted, with what it changes; then installed. The drop itself is gone at once."""
    site.dropped()
    change = site.receiver.take_drop("x.tar")
    assert change is not None
    told = site.told()
    assert site.inbox == ["x.tar.outcome.json"]
    assert (told["outcome"], told["change"], told["phase"], told["version"]) == (
        "in-progress", change.id, "prepared", 1,
    )  # fmt: skip
    assert [anchor["name"] for anchor in told["added"]] == ["Sandbox endpoint root B"]
    assert told["removed"] == []
    assert any("Amazon Root CA 1 is missing" in words for words in told["warnings"])
    site.rig.follow()
    end = site.conclude()
    assert (end["outcome"], end["phase"]) == ("installed", "committed")
    assert end["message"] == "The anchors are in use, and held through probation."
    assert end["added"] == told["added"]
    assert site.conclude() == end


def test_a_drop_whose_anchors_do_not_reach_the_endpoint_is_told_so(site: Site) -> None:
    """The live trial refused them."""
    site.drop(signing.archive(site.publisher.publish(OTHER.pem)))
    site.receiver.take_drop("x.tar")
    site.rig.follow()
    told = site.conclude()
    assert (told["outcome"], told["class"], told["phase"]) == ("refused", "server-trust", "rejected")
    assert told["message"].endswith(".")
    assert told["remedy"]
    assert [anchor["name"] for anchor in told["removed"]] == ["Sandbox endpoint root A"]


def test_a_drop_that_a_person_gave_up_is_told_so(site: Site) -> None:
    """Before it was used."""
    site.dropped()
    site.receiver.take_drop("x.tar")
    site.rig.engine.give_up("the wrong one")
    site.rig.follow()
    assert site.conclude()["outcome"] == "given-up"


def test_a_drop_whose_anchors_fail_in_probation_is_told_so(site: Site) -> None:
    """The anchors before are in use again."""
    site.dropped()
    site.receiver.take_drop("x.tar")
    site.rig.follow(patience=timedelta(minutes=2))
    assert site.conclude()["outcome"] == "in-progress"
    site.rig.endpoint.root_sha256 = "00" * 32
    site.rig.follow(patience=timedelta(days=1))
    before = site.conclude()["outcome"]
    site.rig.endpoint.root_sha256 = site.rig.anchors().anchors[0].sha256
    site.rig.follow(patience=timedelta(days=1))
    assert (before, site.conclude()["outcome"]) in {("in-progress", "installed"), ("rolled-back", "rolled-back")}


def test_a_drop_of_what_is_in_use_is_told_so(site: Site) -> None:
    """No change comes of it."""
    site.drop(signing.archive(site.publisher.publish(site.rig.root.pem)))
    assert site.receiver.take_drop("x.tar") is None
    told = site.told()
    assert (told["outcome"], told["message"]) == ("unchanged", "These anchors are in use already.")
    assert site.inbox == ["x.tar.outcome.json"]
    assert site.rig.at_rest


def test_a_drop_that_waits_for_the_clock_stays(site: Site) -> None:
    """It is judged again when the clock is set."""
    site.dropped()
    site.rig.clock.time = datetime(1970, 1, 1, tzinfo=UTC)
    assert code_of(lambda: site.receiver.take_drop("x.tar"))[0] == "clock"
    told = site.told()
    assert (told["outcome"], told["code"]) == ("waiting", "clock")
    assert "timedatectl" in told["remedy"]
    assert site.inbox == ["x.tar", "x.tar.outcome.json"]
    site.rig.clock.time = START
    assert site.receiver.take_drop("x.tar") is not None
    assert site.told()["outcome"] == "in-progress"


@pytest.mark.parametrize("busy", ["change", "nothing enrolled"])
def test_a_drop_that_comes_at_a_bad_time_stays(busy: str, site: Site) -> None:
    """What is in flight comes first, and without a set there is nothing to give anchors to."""
    if busy == "change":
        site.rig.to_probation()
    else:
        site.rig.damage(1)
    site.dropped()
    with pytest.raises(RefusedError):
        site.receiver.take_drop("x.tar")
    told = site.told()
    assert (told["outcome"], told["code"]) == ("waiting", "not-now")
    assert "x.tar" in site.inbox


@pytest.mark.parametrize("content", [b"", b"garbage", OTHER.pem])
def test_a_drop_that_is_refused_is_removed(content: bytes, site: Site) -> None:
    """What is told stays."""
    site.drop(content)
    with pytest.raises(BundleError) as caught:
        site.receiver.take_drop("x.tar")
    told = site.told()
    assert (told["outcome"], told["code"], told["message"]) == ("refused", caught.value.code, str(caught.value))
    assert site.inbox == ["x.tar.outcome.json"]


def test_a_drop_that_was_taken_away_again_is_nothing(site: Site) -> None:
    """Nothing is told of it."""
    assert site.receiver.take_drop("x.tar") is None
    assert site.inbox == []


def test_a_folder_in_the_inbox_is_left_alone(site: Site) -> None:
    """It is told that it is no bundle."""
    (site.config.inbox / "x.tar").mkdir()
    assert code_of(lambda: site.receiver.take_drop("x.tar"))[0] == "not-a-file"
    assert site.told()["outcome"] == "refused"
    assert (site.config.inbox / "x.tar").is_dir()


def test_only_the_drop_that_became_a_change_is_concluded(site: Site) -> None:
    """Another one under the same name since then has a story of its own; so has one that another program tells of."""
    site.dropped()
    site.receiver.take_drop("x.tar")
    site.rig.follow()
    assert site.conclude()["outcome"] == "installed"
    site.drop(b"garbage")
    assert code_of(lambda: site.receiver.take_drop("x.tar"))[0] == "archive"
    assert site.conclude()["code"] == "archive"
    (site.config.inbox / "x.tar.outcome.json").write_bytes(b"[]")
    install.conclude(site.config, site.rig.store.history())
    assert (site.config.inbox / "x.tar.outcome.json").read_bytes() == b"[]"


def test_what_the_pipeline_took_away_is_not_told_again(site: Site) -> None:
    """And an inbox that is gone is no trouble of the change's."""
    site.dropped()
    site.receiver.take_drop("x.tar")
    site.rig.follow()
    (site.config.inbox / "x.tar.outcome.json").unlink()
    install.conclude(site.config, site.rig.store.history())
    assert site.inbox == []
    site.config.inbox.rmdir()
    install.conclude(site.config, site.rig.store.history())


def test_a_change_that_cannot_be_written_leaves_the_drop(site: Site) -> None:
    """It is tried again when the disk is well."""
    site.dropped()
    site.rig.disk.fail("prepare")
    with pytest.raises(StoreError):
        site.receiver.take_drop("x.tar")
    assert site.inbox == ["x.tar"]
    assert site.receiver.take_drop("x.tar") is not None


# -- the baked copy ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("issued", [None, "2027-02-01"])
def test_other_baked_anchors_replace_baked_ones(issued: str | None, site: Site) -> None:
    """An OS image ships anchors so; each copy is tried once."""
    site.bake(site.union, issued)
    change = site.receiver.take_baked()
    assert change is not None
    assert change.origin is Origin.IMAGE
    site.rig.follow()
    assert site.rig.sets.usable().trust.fingerprints == load_anchors(site.config).fingerprints  # type: ignore[union-attr]
    assert site.receiver.take_baked() is None


def test_a_baked_copy_that_did_not_hold_is_not_tried_again(site: Site) -> None:
    """Until the next image brings another."""
    site.bake(OTHER.pem)
    assert site.receiver.take_baked() is not None
    site.rig.follow()
    assert site.rig.history[-1][:2] == ("trust", "rejected")
    assert site.receiver.take_baked() is None
    site.bake(site.union)
    assert site.receiver.take_baked() is not None


@pytest.mark.parametrize(
    ("signed", "baked", "taken"),
    [
        ("2027-02-01T00:00:00Z", "2027-02-02", True),
        ("2027-02-01T00:00:00Z", "2027-02-01", False),
        ("2027-02-01T00:00:00Z", "2027-01-01", False),
        ("2027-02-01T00:00:00Z", None, False),
        (None, "2027-02-02", False),
        (None, None, False),
    ],
)
def test_a_signed_bundle_gives_way_to_a_newer_baked_copy_only(
    signed: str | None,
    baked: str | None,
    site: Site,
    *,
    taken: bool,
) -> None:
    """A copy that does not say that it is newer is not."""
    site.dropped(**({"issued": signed} if signed else {}))
    site.receiver.take_drop("x.tar")
    site.rig.follow()
    site.bake(site.rig.root.pem, baked)
    assert (site.receiver.take_baked() is not None) == taken


@pytest.mark.parametrize("odd", ["missing", "garbage", "same", "no set"])
def test_a_baked_copy_that_is_of_no_use_is_no_trouble(odd: str, site: Site) -> None:
    """The anchors in use do not depend on it."""
    match odd:
        case "missing":
            (site.path / "baked.pem").unlink()
        case "garbage":
            site.bake(b"garbage")
        case "no set":
            site.bake(site.union)
            site.rig.damage(1)
        case _:
            pass
    assert site.receiver.take_baked() is None
    assert site.rig.at_rest


# -- the inbox itself --------------------------------------------------------------------------------------------------


def test_an_inbox_in_the_state_directory_is_made_where_bundles_are_accepted(site: Site) -> None:
    """One elsewhere is its owner's, and a gateway that takes no bundles has none."""
    own = replace(site.config, trust=replace(site.config.trust, inbox=None))
    for config in (site.config, replace(own, trust=replace(own.trust, root=None))):
        make_inbox(config)
        assert not (site.rig.path / "inbox").exists()
    for _ in range(2):
        make_inbox(own)
        assert (site.rig.path / "inbox").stat().st_mode & 0o777 == 0o700
