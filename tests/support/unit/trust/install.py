"""A gateway that takes bundles in, with its inbox and its store."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import pytest

from agent.config.reader import parse
from agent.errors import BundleError
from agent.sandbox.account.authority import Authority
from agent.trust import install
from agent.trust.install import Receiver
from support.publishing import signing
from support.publishing.signing import Publisher
from support.simulated.outside import START
from support.simulated.rig import Rig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.config.values import Config
    from agent.operations.wiring import Parts
    from agent.trust.tuf_client import Source

NOW = datetime.now(UTC)  # TLS judges by the real clock
OTHER = Authority("Sandbox endpoint root B", START)
SERVER = Authority("depot root", NOW)


class InstallSite:
    """An enrolled gateway with an inbox, and a publisher that it trusts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rig = Rig(path / "state")
        self.rig.be_enrolled()
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
