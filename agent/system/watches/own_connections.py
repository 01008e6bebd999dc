"""Whether the TCP connections of this process can go on, as far as this machine's own network says.

A connection whose address or route was taken away is silent for as long as no packet is expected. What is asked here
costs none: whether its address is still this machine's, whether a route still leads to its peer, and whether the
interface of that route has a carrier. It owns these questions, and refuses to guess: what cannot be told can go on.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import struct
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.system import descriptors

if TYPE_CHECKING:
    from collections.abc import Iterator

_Address = tuple[Any, ...]  # as the module `socket` has it

_GONE = {errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN}

_SIOCGIFFLAGS = 0x8913  # <linux/sockios.h>
_UP, _RUNNING = 0x1, 0x40  # <linux/if.h>
_RTF_UP = 0x1  # <linux/route.h>
_ROUTES = Path("/proc/self/net/route")  # which a sandbox leaves to every process
_MAX_TABLE = 65_536  # bytes


def cut_off() -> bool:
    """Whether this process has TCP connections, and none of them can go on."""
    found = [_is_cut_off(*each) for each in _connections()]
    return bool(found) and all(found)


def _connections() -> Iterator[tuple[int, _Address, _Address]]:
    """Yield the family, the own address and the peer's of each."""
    for fd in descriptors.numbers():
        with suppress(OSError):  # there is none, or it has no peer
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                yield from _connection(fd)


def _connection(fd: int) -> Iterator[tuple[int, _Address, _Address]]:
    with socket.socket(fileno=os.dup(fd)) as found:
        if found.type == socket.SOCK_STREAM and found.family in {socket.AF_INET, socket.AF_INET6}:
            yield found.family, found.getsockname(), found.getpeername()


def _is_cut_off(family: int, here: _Address, there: _Address) -> bool:
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((here[0], 0, *here[2:]))
            probe.connect(there)  # which looks a route up and sends nothing
        except OSError as error:
            return error.errno in _GONE
        interface = _interface_to(there[0]) if family == socket.AF_INET else ""
        return bool(interface) and _lacks_carrier(probe, interface)


def _interface_to(address: str) -> str:
    """Return the interface of the route to an IPv4 address in the main table; empty where there is none."""
    wanted, found = struct.unpack("=I", socket.inet_pton(socket.AF_INET, address))[0], (-1, 0, "")
    with suppress(OSError, ValueError), _ROUTES.open("rb") as table:
        for line in table.read(_MAX_TABLE).decode("ascii", "replace").splitlines()[1:]:
            name, destination, _, flags, _, _, metric, mask, *_ = line.split()
            if int(flags, 16) & _RTF_UP and wanted & int(mask, 16) == int(destination, 16):
                found = max(found, (int(mask, 16).bit_count(), -int(metric), name))
    return found[2]


def _lacks_carrier(any_socket: socket.socket, interface: str) -> bool:
    request = struct.pack("=16sH22x", interface.encode(), 0)  # struct ifreq
    try:
        flags = struct.unpack_from("=H", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request), 16)[0]
    except OSError:
        return False
    return bool(flags & (_UP | _RUNNING) != _UP | _RUNNING)
