"""The uplink: wakes the loop when an address, a route or a link comes or goes, so that no delay is waited out in vain.

The kernel announces these on a NETLINK_ROUTE socket to any process. This listens and never asks: what came up, and
whether it leads to the cloud, only a connection can tell; what went away, `agent.system.watches.own_connections` asks
about. It refuses to believe any sender but the kernel, and to be held up: one `read` takes a bounded number of
messages, and the rest makes the descriptor readable again.

A sandboxed unit may not open such a socket: systemd opens it and hands it over. Where there is none, `open_uplink`
returns None and the caller compares `routes` from time to time while it has no connection.
"""

from __future__ import annotations

import errno
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# <linux/rtnetlink.h>: link, IPv4 address and route, IPv6 address and route
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
_RTM_NEWLINK = 16
_RTM_NEWADDR = 20
_RTM_NEWROUTE = 24
_IFF_RUNNING = 0x40  # <linux/if.h>

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_FLAGS = 3
_ALIGNMENT = 4

_KERNEL = 0
_MAX_MESSAGE = 8192  # bytes; a longer one is cut, after the part that counts
_MAX_READ = 64


class Uplink:
    """Listens. Use `open_uplink`; `fileno` can be read when there is something to `read`."""

    def __init__(self, listening: socket.socket) -> None:
        self._socket = listening

    def close(self) -> None:
        """Let go of the socket; its descriptor must not be watched any more."""
        self._socket.close()

    def fileno(self) -> int:
        """Return the descriptor to watch."""
        return self._socket.fileno()

    def read(self) -> bool:
        """Take what the kernel announced.

        Returns:
            Whether something came up, as far as can be told: also when announcements were lost.
        """
        found = False
        for _ in range(_MAX_READ):
            try:
                data, address = self._socket.recvfrom(_MAX_MESSAGE)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    return found  # nothing is left
                found = True  # too much happened to be told
            else:
                found = (address[0] == _KERNEL and came_up(data)) or found
        return found


def open_uplink() -> Uplink | None:
    """Return a listener, or None where there is none to be had."""
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    try:
        opened = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        opened.bind((0, _GROUPS))
        return Uplink(opened)
    except OSError:
        return None


def adopted_uplink(fd: int) -> Uplink | None:
    """Return a listener on a socket that systemd opened; None where the descriptor is another's, which stays open."""
    try:
        found = socket.socket(fileno=fd)
    except OSError:
        return None
    if found.family == socket.AF_NETLINK:
        found.settimeout(0)
        return Uplink(found)
    found.detach()
    return None


def came_up(data: bytes) -> bool:
    """Whether a datagram of announcements says that something came up; whatever cannot be understood does not."""
    return any(
        kind in {_RTM_NEWADDR, _RTM_NEWROUTE} or (kind == _RTM_NEWLINK and _is_running(payload))
        for kind, payload in _messages(data)
    )


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    while len(data) - start >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data, start)
        if length < _HEADER.size:
            return
        yield kind, data[start + _HEADER.size : start + length]
        start += -(-length // _ALIGNMENT) * _ALIGNMENT


def _is_running(payload: bytes) -> bool:
    return len(payload) >= _LINK.size and bool(_LINK.unpack_from(payload)[_FLAGS] & _IFF_RUNNING)


_TABLES = ("route", "if_inet6", "ipv6_route")  # of /proc/self/net, which a sandbox leaves to every process
_MAX_TABLE = 65_536  # bytes


def routes(directory: Path = Path("/proc/self/net")) -> bytes:
    """Return what changes when a route or an address does; empty where the kernel does not say."""
    found = b""
    for name in _TABLES:
        with suppress(OSError), (directory / name).open("rb") as table:
            found += b"\n".join(sorted(_steady(line) for line in table.read(_MAX_TABLE).splitlines()))
    return found


def _steady(line: bytes) -> bytes:
    """Return a line without its counters: in the routes of IPv6 the fields 7 and 8 count references and uses."""
    fields = line.split()
    return b" ".join(fields[:6] + fields[8:] if len(fields) == _IPV6_FIELDS else fields)


_IPV6_FIELDS = 10
