"""Bundles that are downloaded, and the copy that is baked into an image."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.values import Origin
from agent.crypto.x509 import read_bundle
from agent.errors import BundleError
from agent.operations.wiring import load_anchors
from agent.trust.install import remote_at
from support.network.depot import Depot
from support.publishing import signing
from support.unit.trust.install import FILES, OTHER, SERVER, InstallSite, code_of, configured, first

if TYPE_CHECKING:
    from collections.abc import Iterator


SECRET = "X-Amz-Signature=5ec2e7"  # noqa: S105 - what must not be told


# -- downloads ---------------------------------------------------------------------------------------------------------


@contextmanager
def depot(site: InstallSite, files: dict[str, bytes]) -> Iterator[Depot]:
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


def test_an_archive_is_downloaded_and_its_query_is_told_nowhere(site: InstallSite) -> None:
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


def test_an_archive_with_another_hash_is_refused(site: InstallSite) -> None:
    """Before it is even unpacked."""
    with depot(site, {"b.tar": b"garbage"}) as running:
        found = code_of(lambda: remote_at(f"{running.url}b.tar?{SECRET}", site.config, trusting_server(), "00" * 32))
    assert found == ("wrong-hash", f"{running.url}b.tar does not have the hash that was named.")


def test_a_repository_is_read_file_by_file(site: InstallSite) -> None:
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


def test_a_repository_with_a_query_is_asked_for_with_it_or_refused(site: InstallSite) -> None:
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
def test_only_https_is_downloaded(url: str, site: InstallSite) -> None:
    """Nothing else is even tried."""
    assert code_of(lambda: remote_at(url, site.config, None)) == (
        "url", "The bundle's URL is not one that begins with https:// and names a host.",
    )  # fmt: skip


@pytest.mark.parametrize("path", ["none.tar", "roots.pem", "garbage.tar", "none/"])
def test_what_is_wrong_with_a_download_is_told_without_its_query(path: str, site: InstallSite) -> None:
    """By host and path."""
    with depot(site, {"roots.pem": OTHER.pem, "garbage.tar": b"garbage"}) as running:

        def ask() -> None:
            source = remote_at(f"{running.url}{path}?{SECRET}", site.config, trusting_server())
            first(source, "metadata/timestamp.json")

        _, message = code_of(ask)
    assert SECRET not in message
    assert message.endswith(".")


def test_the_anchors_in_use_vouch_for_a_server_besides_the_systems(site: InstallSite) -> None:
    """Without them a server of one's own is a stranger, and that may pass."""
    with depot(site, {"b.tar": signing.archive(FILES)}) as running:
        with pytest.raises(BundleError, match="its certificate is not trusted") as caught:
            remote_at(f"{running.url}b.tar?{SECRET}", site.config, None)
        assert (caught.value.code, caught.value.passing) == ("download-trust", True)
        assert SECRET not in str(caught.value)
        remote_at(f"{running.url}b.tar", site.config, trusting_server())


def test_the_way_out_is_the_one_that_the_configuration_names(site: InstallSite) -> None:
    """A proxy that is not there is not gone around."""
    with depot(site, {"b.tar": signing.archive(FILES)}) as running:
        proxied = configured(site.path, {}, "proxy: {host: localhost, port: 1}\n")
        assert code_of(lambda: remote_at(f"{running.url}b.tar", proxied, trusting_server()))[0] == "unavailable"
        assert running.requests == []


# -- the baked copy ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("issued", [None, "2027-02-01"])
def test_other_baked_anchors_replace_baked_ones(issued: str | None, site: InstallSite) -> None:
    """An OS image ships anchors so; each copy is tried once."""
    site.bake(site.union, issued)
    change = site.receiver.take_baked()
    assert change is not None
    assert change.origin is Origin.IMAGE
    site.rig.follow()
    assert site.rig.sets.usable().trust.fingerprints == load_anchors(site.config).fingerprints  # type: ignore[union-attr]
    assert site.receiver.take_baked() is None


def test_a_baked_copy_that_did_not_hold_is_not_tried_again(site: InstallSite) -> None:
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
    site: InstallSite,
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
def test_a_baked_copy_that_is_of_no_use_is_no_trouble(odd: str, site: InstallSite) -> None:
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
