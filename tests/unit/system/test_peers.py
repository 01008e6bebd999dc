"""Who is at the other end: the kernel's word, and what follows from it."""

from __future__ import annotations

import grp
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.system.peers import Peer, Role, group_ids, peer_of, role_of
from support.suite.surroundings import NOBODY, need_root

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

READERS, ADMINS = frozenset({4001, 4002}), frozenset({4003})
OWNER = 990

CONNECT = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.recv(1)"


@pytest.fixture(name="listener")
def _listener() -> Iterator[socket.socket]:
    """Listen where every user may connect."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        Path(folder).chmod(0o755)
        path = Path(folder) / "s"
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen()
        listener.settimeout(60)
        yield listener


def met(listener: socket.socket, uid: int, gid: int, groups: Sequence[int] = ()) -> tuple[Peer, int]:
    """Let a process of another user connect; return what is known of it, and its real process id."""
    need_root()
    arguments = [sys.executable, "-I", "-S", "-c", CONNECT, listener.getsockname()]
    with subprocess.Popen(arguments, user=uid, group=gid, extra_groups=groups) as process:
        connection, _ = listener.accept()
        with connection:
            return peer_of(connection), process.pid


def peer(uid: int = 1000, *groups: int) -> Peer:
    """Return a peer of some groups."""
    return Peer(pid=1, uid=uid, gid=1000, groups=frozenset({1000, *groups}))


def test_a_process_knows_itself() -> None:
    """Both ends are this process."""
    here, there = socket.socketpair()
    with here, there:
        expected = Peer(
            pid=os.getpid(),
            uid=os.geteuid(),
            gid=os.getegid(),
            groups=frozenset({os.getegid(), *os.getgroups()}),
        )
        assert peer_of(here) == expected


def test_another_user_is_recognised(listener: socket.socket) -> None:
    """By process, user and group, without any other group."""
    known, pid = met(listener, NOBODY, NOBODY)
    assert known == Peer(pid=pid, uid=NOBODY, gid=NOBODY, groups=frozenset({NOBODY}))


def test_all_groups_of_a_peer_are_known(listener: socket.socket) -> None:
    """The effective one and the supplementary ones."""
    known, _ = met(listener, NOBODY, 4000, [4001, 4002])
    assert known.gid == 4000
    assert known.groups == {4000, 4001, 4002}


@pytest.mark.parametrize("count", [256, 257, 5000])
def test_a_peer_may_be_in_more_groups_than_one_look_shows(listener: socket.socket, count: int) -> None:
    """A directory service puts people into hundreds of them, and the one that matters may be the last."""
    known, _ = met(listener, NOBODY, NOBODY, range(10_000, 10_000 + count))
    assert known.groups == {NOBODY, *range(10_000, 10_000 + count)}


@pytest.mark.parametrize(
    ("who", "role"),
    [
        (peer(0), Role.ADMIN),
        (peer(OWNER), Role.ADMIN),
        (peer(1000, 4003), Role.ADMIN),
        (peer(1000, 4001, 4003), Role.ADMIN),
        (peer(1000, 4001), Role.READER),
        (peer(1000, 4002, 27), Role.READER),
        (peer(1000), Role.NOBODY),
        (peer(1000, 27), Role.NOBODY),
        (peer(NOBODY), Role.NOBODY),
        (peer(4001), Role.NOBODY),
        (peer(4003), Role.NOBODY),
    ],
)
def test_everybody_has_their_role(who: Peer, role: Role) -> None:
    """Root, the owner and the admins change, readers read, a user id that equals a group id means nothing."""
    assert role_of(who, readers=READERS, admins=ADMINS, owner_uid=OWNER) is role


def test_where_no_group_exists_only_root_and_the_owner_remain() -> None:
    """An installation without the groups opens nothing."""
    none: frozenset[int] = frozenset()
    assert role_of(peer(1000, 4001, 4003), readers=none, admins=none, owner_uid=OWNER) is Role.NOBODY
    assert role_of(peer(OWNER), readers=none, admins=none, owner_uid=OWNER) is Role.ADMIN


def test_roles_are_in_order() -> None:
    """A peer who may change may look."""
    assert Role.NOBODY < Role.READER < Role.ADMIN


def test_groups_are_found_by_their_names() -> None:
    """Those that do not exist are left out."""
    known = grp.getgrall()[:2]
    names = [group.gr_name for group in known]
    assert group_ids(*names, "no-such-group-anywhere") == {group.gr_gid for group in known}
    assert group_ids("no-such-group-anywhere") == frozenset()
