"""Who is at the other end of a Unix socket, by the kernel's word, and what they may do.

The kernel noted the peer's user and groups when it connected; nothing that the peer sends can change them. A group that
cannot be learned is a group that the peer is not in.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path

from agent.core.values import User

READERS, ADMINS = "iot-cert-agent", "iot-cert-admin"

_SO_PEERGROUPS = 59  # <asm-generic/socket.h>; the socket module has no name for it

_CREDENTIALS = struct.Struct("iII")  # struct ucred
_GID = struct.Struct("I")

_LOGIN = Path("/proc/self/loginuid")
_NO_LOGIN = 2**32 - 1  # of what the machine started itself
_LONGEST_NAME = 128  # characters, as a record takes them
_LARGEST = 1024  # bytes; the socket module fetches no option that is larger


class Role(IntEnum):
    """What a user may do; a higher one may do all that a lower one may."""

    NOBODY = 0
    READER = 1  # look
    ADMIN = 2  # change


@dataclass(frozen=True)
class Peer:
    """The process at the other end, as it was when it connected.

    Attributes:
        pid: Its process, for the journal only: it may have ended, and its number may be another's by now.
        uid: Its effective user.
        gid: Its effective group.
        groups: All of its groups, the effective one too.
    """

    pid: int
    uid: int
    gid: int
    groups: frozenset[int]


def peer_of(connection: socket.socket) -> Peer:
    """Return who is at the other end of a connected Unix socket."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(data)
    return Peer(pid=pid, uid=uid, gid=gid, groups=_groups(connection) | {gid})


def role_of(peer: Peer, *, readers: frozenset[int], admins: frozenset[int], owner_uid: int) -> Role:
    """Return what a peer may do.

    Args:
        peer: Who.
        readers: Groups that may look.
        admins: Groups that may change things.
        owner_uid: The daemon's own user, who may do anything, as root may.
    """
    if peer.uid in {0, owner_uid} or peer.groups & admins:
        return Role.ADMIN
    return Role.READER if peer.groups & readers else Role.NOBODY


def group_ids(*names: str) -> frozenset[int]:
    """Return the ids of the groups that exist on this machine; no user is in one that does not."""
    found = set()
    for name in names:
        with suppress(KeyError):
            found.add(grp.getgrnam(name).gr_gid)
    return frozenset(found)


def user_of(uid: int) -> User:
    """Return a user by the number; one whose name cannot be learned is the number alone."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except (KeyError, OSError):
        name = ""
    return User(uid=uid, name=name.encode(errors="replace").decode()[:_LONGEST_NAME])


def behind(uid: int, login_uid: int | None) -> User:
    """Return a user; of root also under which number the session says that it was logged in, which root may forge."""
    user = user_of(uid)
    if uid != 0 or login_uid in {None, 0}:
        return user
    login = user_of(login_uid)
    return replace(user, login_uid=login.uid, login=login.name)


def login_uid() -> int | None:
    """Return under which number this process was logged in: the kernel's word, sudo's where it has none; or None."""
    with suppress(OSError, ValueError):
        found = int(_LOGIN.read_text(encoding="ascii"))
        if found != _NO_LOGIN:
            return found
    said = os.environ.get("SUDO_UID", "")
    return int(said) if said.isdecimal() and int(said) < _NO_LOGIN else None


def this_user() -> User:
    """Return the user who runs this process, before it becomes another."""
    return behind(os.getuid(), login_uid())


def _groups(connection: socket.socket) -> frozenset[int]:
    try:
        data = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _LARGEST)
    except OSError as error:
        if error.errno != errno.ERANGE:
            return frozenset()  # a kernel before 4.13
        data = _many_groups(connection)
    return frozenset(gid for (gid,) in _GID.iter_unpack(data))


def _many_groups(connection: socket.socket) -> bytes:
    """Ask the C library: the peer is in more groups than the socket module can fetch."""
    import ctypes  # noqa: PLC0415 - few users are in that many

    getsockopt = ctypes.CDLL(None).getsockopt
    size = ctypes.c_uint(0)
    where = (connection.fileno(), socket.SOL_SOCKET, _SO_PEERGROUPS)
    getsockopt(*where, None, ctypes.byref(size))  # has no room, and says how much it needs
    room = ctypes.create_string_buffer(size.value)
    return room.raw if getsockopt(*where, room, ctypes.byref(size)) == 0 else b""
