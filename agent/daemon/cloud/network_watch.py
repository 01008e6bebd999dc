"""Hears that the network may be back while there is no connection, and that it is gone while there is one.

The kernel announces an uplink that comes up or goes. Where a sandbox refuses that socket and systemd has none to hand
over, the routes are looked at every few seconds instead, and only while news of them is wanted; that the network is
gone is known then when the broker gives no sign of life.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.daemon.loop import Alarm
from agent.system.watches.netlink import adopted_uplink, open_uplink, routes
from agent.system.watches.own_connections import cut_off

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.daemon.loop import Loop

ROUTES_LOOK = 5.0  # seconds between two looks at the routes
SETTLE = 0.5  # seconds in which an address that was taken away may come back, as some DHCP clients have it


class NetworkWatch:
    """The network of one gateway."""

    def __init__(
        self, loop: Loop, wanted: Callable[[], bool], news: Callable[[], None], lost: Callable[[], None]
    ) -> None:
        """Watch nothing yet.

        Args:
            loop: Where to wait.
            wanted: Returns whether there is any use in news.
            news: Called when the network may be back.
            lost: Called when what connections there are cannot go on.
        """
        self._loop = loop
        self._wanted = wanted
        self._news = news
        self._lost = lost
        self._uplink = open_uplink()
        self._routes = b""
        self._look = Alarm(loop, self._look_at_routes)
        self._doubt = Alarm(loop, self._look_at_connections)

    def adopt(self, fd: int) -> bool:
        """Hear of the network from a socket that systemd opened; return whether the descriptor is one."""
        uplink = adopted_uplink(fd)
        if uplink is not None:
            self.close()
            self._uplink = uplink
        return uplink is not None

    def start(self) -> None:
        """Hear of an uplink that comes up or goes."""
        if self._uplink is not None:
            self._loop.watch(self._uplink.fileno(), self._on_uplink)

    def connection_missing(self) -> None:
        """Look at the routes until news is not wanted any more, where no uplink is heard of."""
        if self._uplink is None and not self._look.pending:
            self._routes = routes()
            self._look.set(ROUTES_LOOK)

    def close(self) -> None:
        """Hear nothing more."""
        if self._uplink is not None:
            self._uplink.close()

    def _on_uplink(self) -> None:
        if self._uplink is not None and self._uplink.read():
            self._news()
        self._doubt.set(SETTLE)

    def _look_at_connections(self) -> None:
        if cut_off():
            self._lost()

    def _look_at_routes(self) -> None:
        if not self._wanted():
            return
        if routes() != self._routes:
            self._news()
        self.connection_missing()
