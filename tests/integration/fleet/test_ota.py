"""The OTA pipeline's story: the endpoint moves from one root to another, and no gateway loses the connection.

The real daemon over real TLS. A bundle with both roots is shipped first, by each of the four ways; then the endpoint
moves; then a bundle with the new root alone follows. In the wrong order the gateway refuses, and works on.
"""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from agent.sandbox.account.authority import Authority
from agent.sandbox.services.jobs import JobStatus
from agent.store.store import Store
from support.network.depot import Depot
from support.running.fleet import THING, Site, until
from support.running.gateway import Gateway
from support.suite import campaigns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WHY = "a custom domain of this test's own"


@dataclass
class Pipeline:
    """A signer who also ships bundles to one gateway."""

    site: Site
    depot: Depot
    directory: Path
    shipped: int = field(default=0)

    @property
    def gateway(self) -> Gateway:
        """The gateway that is shipped to."""
        return self.site.gateway

    def sign(self, *roots: Authority) -> Path:
        """Publish these roots as a bundle, with the command, and return its archive."""
        self.shipped += 1
        anchors, archive = self.directory / "anchors.pem", self.directory / "depot" / f"bundle-{self.shipped}.tar"
        anchors.write_bytes(b"".join(root.pem for root in roots))
        key = f"file2:{self.directory}/key.pem"
        self.gateway.run(
            "trust", "publish", str(self.directory / "repository"), "--anchors", str(anchors), "--archive",
            str(archive), "--key", f"root,targets,snapshot,timestamp={key}", "--without-amazon", WHY, expect=0,
        )  # fmt: skip
        return archive

    # -- the four ways -----------------------------------------------------------------------------------------------

    def drop(self, archive: Path) -> str:
        """Drop it into the inbox, as a pipeline that copies files does, and return what came of it."""
        inbox = self.gateway.state / "inbox"
        until(inbox.exists, "the inbox is there")
        shutil.copy(archive, inbox / archive.name)
        outcome = inbox / f"{archive.name}.outcome.json"

        def ended() -> dict[str, Any] | None:
            told: dict[str, Any] = json.loads(outcome.read_bytes()) if outcome.exists() else {}
            return told if told.get("outcome") not in {None, "in-progress"} else None

        told = until(ended, "the inbox says how it ended")
        assert not (inbox / archive.name).exists()
        return str(told["outcome"])

    def command(self, archive: Path) -> str:
        """Have a technician install it, from a stick."""
        ran = self.gateway.run("trust", "install", str(archive), "--json")
        return {"committed": "installed", "rejected": "refused"}[ran.outcome["change"]["phase"]]

    def job(self, archive: Path) -> str:
        """Ship it by a job with a presigned URL."""
        url = f"{self.depot.url}{archive.name}?X-Amz-Signature=0123456789abcdef"
        document = {"operation": "install-trust-bundle", "url": url}
        job_id = self.site.cloud.create_job(THING, document)

        def ended() -> JobStatus | None:
            status = self.site.cloud.job(THING, job_id).status
            return status if status in {JobStatus.SUCCEEDED, JobStatus.FAILED} else None

        return {JobStatus.SUCCEEDED: "installed", JobStatus.FAILED: "refused"}[until(ended, "the job ends")]

    def image(self, archive: Path) -> str:
        """Have an OS image bring it as the baked copy."""
        known = len(self.gateway.history())
        baked = self.gateway.directory / "roots.pem"
        baked.write_bytes((self.directory / "anchors.pem").read_bytes())
        self.site.reload()
        until(lambda: len(self.gateway.history()) > known, f"{archive.name} is taken up")
        return {"committed": "installed", "rejected": "refused"}[self.gateway.history()[-1].phase]


WAYS: dict[str, Callable[[Pipeline, Path], str]] = {
    "drop": Pipeline.drop,
    "command": Pipeline.command,
    "job": Pipeline.job,
    "image": Pipeline.image,
}


@contextmanager
def pipeline(directory: Path) -> Iterator[Pipeline]:
    """Run a gateway that trusts a pipeline, its daemon, and the pipeline's server."""
    with Gateway(directory) as gateway:
        gateway.enroll()
        place = directory / "pipeline"
        (place / "depot").mkdir(parents=True)
        root = f"trust:\n  root: {place}/repository/metadata/1.root.json\n"
        gateway.configure({"trust:\n": root})
        make_key(place / "key.pem")
        with Depot(place / "depot", gateway.service.endpoint_authority) as depot, Site(gateway) as site:
            yield Pipeline(site, depot, place)
        said, secrets = gateway.everything_said(), gateway.secrets()
        assert not [secret[:6] for secret in secrets if secret in said]
        assert "X-Amz-Signature" not in site.log
        assert "X-Amz-Signature" not in (gateway.state / "history.jsonl").read_text()


def make_key(path: Path) -> None:
    """Write a signing key."""
    from securesystemslib.signer import CryptoSigner  # noqa: PLC0415 - only here

    path.write_bytes(CryptoSigner.generate_ed25519().private_bytes)


def anchors(gateway: Gateway) -> set[str]:
    """Return the names of the anchors in use."""
    with Store(gateway.state) as store:
        trust = store.generation(store.current() or 0).trust
    return {anchor.subject.removeprefix("CN=") for anchor in trust.anchors}


def connected_throughout(site: Site, *, since: int) -> bool:
    """Whether the daemon is connected, and never failed to be since its log had so many characters."""
    until(lambda: site.up, "the daemon is connected")
    return "Not connected:" not in site.log[since:] and "server-trust" not in site.log[since:]


# In a sample each way brings one of the two bundles that a move takes; in the whole it brings both.
MOVES = [("drop", "command"), ("image", "job")] if campaigns.chosen().sampled else [(way, way) for way in WAYS]


@pytest.mark.parametrize(("first_way", "second_way"), MOVES)
def test_the_endpoint_moves_to_another_root_and_no_connection_is_lost(
    tmp_path: Path, first_way: str, second_way: str
) -> None:
    """Both roots, then the move, then the new root alone: not one connection of the daemon's fails."""
    with pipeline(tmp_path) as ota:
        the_wrong_order_is_refused_and_everything_works_on(ota, second_way)
        known, said = len(ota.gateway.history()), len(ota.site.log)
        service = ota.gateway.service
        first, second = service.endpoint_authority, Authority("Sandbox endpoint root B", service.cloud.now)
        assert WAYS[first_way](ota, ota.sign(first, second)) == "installed"
        assert anchors(ota.gateway) == {"Sandbox endpoint root A", "Sandbox endpoint root B"}

        service.use_root(second, intermediate=True)
        ota.gateway.run("rotate", expect=0)  # which connects anew several times, as does the daemon after it
        assert WAYS[second_way](ota, ota.sign(second)) == "installed"
        assert anchors(ota.gateway) == {"Sandbox endpoint root B"}
        assert [record.kind for record in ota.gateway.history()[known:]] == ["trust", "rotate", "trust"]
        assert connected_throughout(ota.site, since=said)


def the_wrong_order_is_refused_and_everything_works_on(ota: Pipeline, way: str) -> None:
    """The new root alone, before the endpoint has moved, is never used; a rotation works as before."""
    before = ota.gateway.generations()
    second = Authority("Sandbox endpoint root B", ota.gateway.cloud.now)
    assert WAYS[way](ota, ota.sign(second)) == "refused"

    assert (ota.gateway.generations(), anchors(ota.gateway)) == (before, {"Sandbox endpoint root A"})
    failure = ota.gateway.history()[-1].failure
    assert failure is not None
    assert (failure.kind, failure.code) == ("server-trust", "unknown-root")
    until(lambda: ota.site.up, "the daemon has its session back")
    ota.gateway.run("rotate", expect=0)
    until(lambda: ota.site.up, "the daemon has its session with the next one")
