from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from agent.sandbox.account.registry import CertificateRegistry
from agent.sandbox.cloud import Cloud, Entry, Status

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)


class GuardedRegistry(CertificateRegistry):
    """A registry that is used by the holder of the cloud's lock, and by no other thread."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(lambda: NOW, cloud.registry.documents)
        self.update(cloud.registry)
        self._held: Callable[[], bool] = cloud._lock._is_owned  # type: ignore[attr-defined]

    def __getitem__(self, certificate_id: str) -> Entry:
        """Return an entry."""
        assert self._held()
        return super().__getitem__(certificate_id)

    def __setitem__(self, certificate_id: str, entry: Entry) -> None:
        """Take an entry in."""
        assert self._held()
        super().__setitem__(certificate_id, entry)

    def get(self, certificate_id: str, default: Any = None) -> Any:
        """Return an entry, or what is said for none."""
        assert self._held()
        return super().get(certificate_id, default)

    def values(self) -> Any:
        """Return the entries."""
        assert self._held()
        return super().values()


@pytest.mark.parametrize(
    "act",
    [
        lambda cloud, name: cloud.set_status(name, Status.INACTIVE),
        lambda cloud, _: cloud.certificates_of("gw-0042"),
        lambda cloud, name: cloud.authenticate(name),
        lambda cloud, _: cloud.entries(),
        lambda cloud, _: cloud.add_claim(),
    ],
    ids=["set_status", "certificates_of", "authenticate", "entries", "add_claim"],
)
def test_certificates_are_behind_the_clouds_lock(act: Callable[[Cloud, str], object]) -> None:
    """The console's thread, the endpoint's and the vending machine's use the same ones."""
    cloud = Cloud(lambda: NOW)
    (entry,) = cloud.entries()
    cloud.registry = GuardedRegistry(cloud)
    act(cloud, entry.certificate_id)
