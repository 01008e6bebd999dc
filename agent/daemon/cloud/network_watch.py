"""Hears that the network may be back while there is no connection, so that one is not waited for longer than needed.

The kernel announces an uplink that comes up. Where a sandbox refuses that socket, the routes are looked at every few
seconds instead, and only while news of them is wanted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.system.netlink import open_uplink, routes

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.daemon.loop import Loop, Timer

ROUTES_LOOK = 5.0  # seconds between two looks at the routes


class NetworkWatch:
    """The network of one gateway."""

    def __init__(self, loop: Loop, wanted: Callable[[], bool], news: Callable[[], None]) -> None:
        """Watch nothing yet.

        Args:
            loop: Where to wait.
            wanted: Returns whether there is any use in news.
            news: Called when the network may be back.
        """
        self._loop = loop
        self._wanted = wanted
        self._news = news
        self._uplink = open_uplink()
        self._routes = b""
        self._look: Timer | None = None

    def start(self) -> None:
        """Hear of an uplink that comes up."""
        if self._uplink is not None:
            self._loop.watch(self._uplink.fileno(), self._on_uplink)

    def connection_missing(self) -> None:
        """Look at the routes until news is not wanted any more, where no uplink is heard of."""
        if self._uplink is None and (self._look is None or not self._look.pending):
            self._routes = routes()
            self._look = self._loop.later(ROUTES_LOOK, self._look_at_routes)

    def close(self) -> None:
        """Hear nothing more."""
        if self._uplink is not None:
            self._uplink.close()

    def _on_uplink(self) -> None:
        if self._uplink is not None and self._uplink.read():
            self._news()

    def _look_at_routes(self) -> None:
        if not self._wanted():
            return
        if routes() != self._routes:
            self._news()
        self._look = None
        self.connection_missing()
