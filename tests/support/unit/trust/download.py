"""A server of bundles, and the downloader that reads it."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from agent.core.aws.endpoints import Proxy
from agent.errors import BundleError
from agent.sandbox.account.authority import Authority
from agent.trust.download import Downloader
from support.network.depot import Depot, DepotFault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOW = datetime.now(UTC)
ROOT = Authority("depot root", NOW)
CONTENT = b"0123456789" * 20
LIMIT = 1_000
SECRET = "X-Amz-Signature=5ec2e7"  # noqa: S105 - what must not be told


def downloader(anchors: Authority | None = ROOT, *, whole: float = 30.0, proxy: Proxy | None = None) -> Downloader:
    """Return one that trusts an authority besides the system's."""
    return Downloader(anchors.pem if anchors else b"", proxy, whole=whole)


def read(depot: Depot, path: str = "b.tar", *, whole: float = 30.0) -> bytes:
    """Download a file with a query that no reader may see."""
    return downloader(whole=whole).read(f"{depot.url}{path}?{SECRET}", LIMIT)


def refusal(act: Callable[[], object]) -> BundleError:
    """Return why a download failed, once its message is known to hold no secret."""
    with pytest.raises(BundleError) as caught:
        act()
    assert SECRET not in str(caught.value) + caught.value.hint
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value


def faulty(depot: Depot, fault: str, *, whole: float = 30.0) -> BundleError:
    """Return why a download fails while something is wrong with the server."""
    depot.faults["/b.tar"] = DepotFault.parse(fault)
    return refusal(lambda: read(depot, whole=whole))


# -- the way out -------------------------------------------------------------------------------------------------------


@contextmanager
def proxy(answer: bytes, *, forward: bool) -> Iterator[tuple[Proxy, list[bytes]]]:
    """Run a proxy for one connection, and give what it was asked."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                client, _ = listener.accept()
                client.settimeout(60)
                with client:
                    asked.append(client.recv(65_536))
                    client.sendall(answer)
                    if forward:
                        pass_on(client, int(asked[0].split()[1].rpartition(b":")[2]))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Proxy(host="127.0.0.1", port=listener.getsockname()[1]), asked
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(60)
            assert not thread.is_alive()


def pass_on(client: socket.socket, port: int) -> None:
    """Carry bytes both ways until one side ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as upstream:

        def back() -> None:
            with suppress(OSError):
                while data := upstream.recv(65_536):
                    client.sendall(data)
                client.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=back)
        thread.start()
        with suppress(OSError):
            while data := client.recv(65_536):
                upstream.sendall(data)
            upstream.shutdown(socket.SHUT_WR)
        thread.join(60)
