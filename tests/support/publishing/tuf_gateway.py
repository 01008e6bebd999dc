"""A gateway that is shown publications, and what it says of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tuf.api.metadata import Metadata

from agent.core.timekeeping import ClockState, Reading
from agent.errors import BundleError
from agent.trust.tuf_client import BundleReader, Files, SignedBundle
from support.publishing import signing
from support.publishing.signing import Habits, Publisher

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.trust.tuf_client import Source


NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SURE = Reading(now=NOW, state=ClockState.SYNCHRONISED, floor=NOW)
FEW_HINT = "It must be signed by keys that the root.json on this gateway leads to."


@dataclass
class BundleGateway:
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


def published(**habits: Any) -> tuple[Publisher, BundleGateway]:
    """Return a publisher with one publication, and a gateway that has its root and nothing else."""
    publisher = Publisher(NOW, Habits(**habits))
    publisher.publish(b"first")
    return publisher, BundleGateway(publisher.first_root)


def seen(publications: int = 1, **habits: Any) -> tuple[Publisher, BundleGateway, list[dict[str, bytes]]]:
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
