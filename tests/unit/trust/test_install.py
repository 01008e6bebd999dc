"""One path for all bundles: where they come from, what is looked at, and what their pipeline is told."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from agent.core import timekeeping
from agent.core.trust.updates import MAX_ARCHIVE, drop_of
from agent.core.values import Kind, Origin, TrustSource
from agent.errors import BundleError, DamagedError
from agent.trust import install, tuf_state
from agent.trust.install import files_at
from agent.trust.tuf_client import BundleReader
from support.publishing import signing
from support.simulated.outside import START
from support.unit.trust.install import FILES, OTHER, SERVER, InstallSite, code_of, configured, first

if TYPE_CHECKING:
    from pathlib import Path

    from support.publishing.signing import Publisher

DAY = timedelta(days=1)
CLOCK = timekeeping.Reading(now=START, state=timekeeping.ClockState.SYNCHRONISED, floor=START)


# -- files that a person names -----------------------------------------------------------------------------------------


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
    assert f"`sudo iot-cert import --from {tmp_path}/roots.pem` adds them" in caught.value.hint


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
    assert found["pipe"] == ("unreadable", f"{tmp_path}/pipe: pipe is a pipe, where a regular file is expected.")
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


# -- what is verified --------------------------------------------------------------------------------------------------


def test_without_a_trusted_root_no_bundle_is_looked_at(site: InstallSite) -> None:
    """It is said so, with what to do."""
    site.config = configured(site.path, {"inbox": f"{site.path}/inbox"})
    site.dropped()
    with pytest.raises(BundleError) as caught:
        site.receiver.take_drop("x.tar")
    assert str(caught.value) == "This gateway accepts no signed bundles: no `trust.root` is configured."
    assert site.told()["code"] == "no-root"
    assert not (site.rig.path / "trust").exists()


@pytest.mark.parametrize("odd", ["missing", "folder", "large"])
def test_a_trusted_root_that_cannot_be_read_is_said_so(odd: str, site: InstallSite) -> None:
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


def test_what_was_learnt_of_a_bundle_is_on_disk_before_it_is_told_that_it_is_refused(site: InstallSite) -> None:
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


def test_damage_to_what_is_known_of_signers_is_not_taken_for_nothing(site: InstallSite) -> None:
    """The operator who must act reads which file to remove, and what that costs; the drop stays."""
    (site.rig.path / "trust").mkdir()
    (site.rig.path / "trust" / "metadata.json").write_bytes(b'{"format":1,"files":{"timestamp.json":7}}')
    site.dropped()
    with pytest.raises(DamagedError) as caught:
        site.receiver.take_drop("x.tar")
    assert "trust/metadata.json" in caught.value.hint
    assert site.inbox == ["x.tar"]


def test_what_is_remembered_can_be_read_again_however_much_it_is(site: InstallSite) -> None:
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
    mine: str | None, wanted: list[str], words: str, site: InstallSite
) -> None:
    """And for all where it names none."""
    site.configure(**({"compatible": mine} if mine else {}))
    site.dropped(compatible=wanted)
    if words:
        assert code_of(lambda: site.receiver.take_drop("x.tar")) == ("incompatible", words)
    else:
        assert site.receiver.take_drop("x.tar") is not None


def test_names_of_products_are_told_on_one_printable_line(site: InstallSite) -> None:
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
def test_what_cannot_serve_as_anchors_is_refused(content: bytes, words: str, site: InstallSite) -> None:
    """With the first of the errors that a check of a store would find."""
    site.drop(signing.archive(site.publisher.publish(content)))
    code, message = code_of(lambda: site.receiver.take_drop("x.tar"))
    assert code == "lint"
    assert message.startswith("The bundle cannot serve as trust anchors: ")
    assert words in message


def test_the_anchors_remember_where_they_came_from(site: InstallSite) -> None:
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
def test_a_drop_whose_change_a_power_cut_kept_from_being_told_is_not_tried_twice(
    site: InstallSite, *, both: bool
) -> None:
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
