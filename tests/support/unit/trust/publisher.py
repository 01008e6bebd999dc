"""A directory in which anchors are published, and its two readers: python-tuf's client and a gateway."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater

from agent.core.timekeeping import ClockState, Reading
from agent.trust.archives import read_directory
from agent.trust.tuf_client import BundleReader, Files, SignedBundle, judge_by
from agent.trust.tuf_publisher import Publication, Published, publish

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
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
class ReadRepository:
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
        return ReadRepository(self.path, self.now, self.root).gateway(files, target)

    def signed(self, name: str) -> Any:
        """Return what a file of metadata says."""
        return Metadata[Any].from_bytes(self.files[f"metadata/{name}.json"]).signed


def versions(root: int, targets: int, snapshot: int, timestamp: int) -> dict[str, int]:
    """Return the version of each role."""
    return {"root": root, "targets": targets, "snapshot": snapshot, "timestamp": timestamp}
