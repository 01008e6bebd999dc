"""The sockets that the daemon listens at: their place, those from systemd, and who is served."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pytest

from agent.daemon.control.server import ControlSocket
from agent.errors import AgentError
from agent.system.peers import Role
from support.shorthand import planted
from support.suite.surroundings import NOBODY, descriptors
from support.unit.daemon.server import DONE, STATUS, Daemon, acting, error, who_may

if TYPE_CHECKING:
    from collections.abc import Callable


# -- the name ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_everybody_may_connect_whatever_the_umask(idle: Daemon, umask: int) -> None:
    """Who is served is decided by who it is."""
    before = os.umask(umask)
    try:
        idle.start()
    finally:
        os.umask(before)
    assert stat.S_IMODE(idle.path.stat().st_mode) == 0o666
    assert [item.name for item in idle.path.parent.iterdir()] == ["control.sock"]


def test_a_stale_socket_is_replaced(idle: Daemon) -> None:
    """What a killed daemon left behind, and what one left that was killed while it began."""
    for name in ("control.sock", ".new-control.sock"):
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(idle.path.with_name(name)))
    idle.start()
    assert idle.answers(STATUS) == [DONE]
    assert [item.name for item in idle.path.parent.iterdir()] == ["control.sock"]


WRONG: dict[str, Callable[[Path], object]] = {
    "file": lambda path: path.write_text("precious"),
    "directory": lambda path: (path / "below").mkdir(parents=True),
    "pipe": os.mkfifo,
    "link": lambda path: path.symlink_to("/nowhere"),
}


@pytest.mark.parametrize("name", ["control.sock", ".new-control.sock"])
@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_socket_is_moved_out_of_the_way(idle: Daemon, name: str, kind: str) -> None:
    """A daemon that does not start renews nothing; a person's file is not removed because it has the wrong name."""
    WRONG[kind](idle.path.with_name(name))
    before = idle.path.with_name(name).lstat()
    idle.start()
    assert idle.answers(STATUS) == [DONE]
    assert sorted(item.name for item in idle.path.parent.iterdir()) == sorted(["control.sock", f"{name}.damaged"])
    kept = idle.path.with_name(f"{name}.damaged").lstat()
    assert (kept.st_ino, kept.st_mode, kept.st_size) == (before.st_ino, before.st_mode, before.st_size)


@pytest.mark.root
@pytest.mark.parametrize("kind", planted.MOVABLE)
def test_a_name_that_leads_elsewhere_by_now_is_taken_again(daemon: Daemon, kind: str) -> None:
    """A client of before is still served, what stood there is kept, and nothing is left open."""
    client = daemon.connect()
    daemon.until(lambda: daemon.control.clients)
    before = descriptors()
    daemon.path.unlink()
    with planted.at(daemon.path, kind) as plant:
        assert daemon.control.keep(str(daemon.path)) == ""
        assert daemon.answers(STATUS) == [DONE]
        client.send(STATUS)
        assert daemon.heard(client) == [DONE]
        left = {item.name for item in daemon.path.parent.iterdir()} - {"control.sock", plant.other.name}
        assert left == (set() if kind == "socket" else {"control.sock.damaged"})
        if kind != "socket":
            plant.require_kept(daemon.path.with_name("control.sock.damaged"))
    client.close()
    assert len(descriptors()) <= len(before)
    daemon.control.close()
    assert not daemon.path.exists()


@pytest.mark.root
def test_a_name_that_cannot_be_taken_again_is_told_and_tried_again(daemon: Daemon) -> None:
    """What stands there is as it was, and the sentence says where it is and what keeps it there."""
    daemon.path.unlink()
    with planted.at(daemon.path, "immutable") as plant:
        told = daemon.control.keep(str(daemon.path))
        assert told.startswith(f"The control socket {daemon.path} cannot be made: ")
        assert "Operation not permitted" in told
        assert "chattr -ia" in told
        plant.require_kept(daemon.path)
    assert daemon.control.keep(str(daemon.path)) == ""
    assert daemon.answers(STATUS) == [DONE]


def test_a_name_that_another_process_answers_at_is_left_to_it(daemon: Daemon) -> None:
    """Two that take it from each other would never end."""
    daemon.path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(daemon.path))
        other.listen()
        before = daemon.path.stat().st_ino
        assert "Another process listens at" in daemon.control.keep(str(daemon.path))
        assert daemon.path.stat().st_ino == before
    assert daemon.control.keep(str(daemon.path)) == ""
    assert daemon.answers(STATUS) == [DONE]


def test_a_missing_directory_is_told(idle: Daemon) -> None:
    """The daemon does not make up directories."""
    idle.path = idle.path.parent / "none" / "control.sock"
    with pytest.raises(AgentError, match=r"none/control.sock cannot be made: No such file or directory\.") as caught:
        idle.start()
    assert "RuntimeDirectory=" in caught.value.hint


def test_a_directory_of_another_user_is_told(daemon: Daemon) -> None:
    """The cause is kept, for the exit code."""
    with (
        acting(NOBODY, NOBODY),
        pytest.raises(AgentError, match=r"cannot be made: Permission denied\.") as caught,
    ):
        daemon.control.listen(str(daemon.path.with_name("second")))
    assert isinstance(caught.value.__cause__, PermissionError)
    assert "user who owns the directory" in caught.value.hint


def test_a_failed_start_leaves_nothing_open(idle: Daemon) -> None:
    """Neither the socket nor the directory."""
    control = idle.start()
    before = descriptors()
    for path in ("/no/such/place/s", str(idle.path.parent / ("x" * 300)), "/proc/self/s"):
        with pytest.raises(AgentError):
            control.listen(path)
    assert descriptors() - before == set()


def test_a_deep_directory_is_no_obstacle(idle: Daemon) -> None:
    """The kernel takes 107 bytes, and directories may be deeper than that."""
    deep = idle.path.parent.joinpath(*["d" * 50] * 4)
    deep.mkdir(parents=True)
    idle.path = deep / "control.sock"
    idle.start()
    fd = os.open(deep, os.O_PATH)
    caller = socket.socket(socket.AF_UNIX)
    caller.connect(f"/proc/self/fd/{fd}/control.sock")
    os.close(fd)
    caller.settimeout(0)
    caller.send(STATUS)
    assert idle.heard(caller) == [DONE]


def test_closing_takes_the_name_away(daemon: Daemon) -> None:
    """The command then sees at once that no daemon runs."""
    daemon.control.close()
    assert not daemon.path.exists()


def test_closing_leaves_the_successor_alone(daemon: Daemon) -> None:
    """A second daemon may have taken the name already."""
    daemon.path.unlink()
    with socket.socket(socket.AF_UNIX) as successor:
        successor.bind(str(daemon.path))
        daemon.control.close()
        assert daemon.path.exists()


def test_closing_gives_back_every_descriptor(folder: Path) -> None:
    """With a client in each state."""
    before = descriptors()
    daemon = Daemon(folder)
    daemon.start()
    with ExitStack() as stack:
        stack.enter_context(daemon.connect())
        half = stack.enter_context(daemon.waiting_client()[1])
        half.shutdown(socket.SHUT_WR)
        stack.enter_context(daemon.waiting_client()[1])
        assert daemon.control.clients == 3
        daemon.close()
    assert descriptors() - before == set()


# -- sockets from systemd ----------------------------------------------------------------------------------------------


def test_an_inherited_socket_is_served_and_its_name_stays(idle: Daemon) -> None:
    """The name is systemd's, which may start the daemon again through it."""
    idle.control = ControlSocket(idle.loop, idle._handle, who_may)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(idle.path))
        made.listen()
        idle.control.adopt(os.dup(made.fileno()))
    assert idle.answers(STATUS) == [DONE]
    idle.control.close()
    assert idle.path.exists()


def test_an_inherited_socket_that_lost_its_name_has_one_of_the_daemons_beside_it(idle: Daemon) -> None:
    """Whether it was lost before or while the daemon ran; what systemd makes there anew is left to it."""
    idle.control = ControlSocket(idle.loop, idle._handle, who_may)
    with socket.socket(socket.AF_UNIX) as made, socket.socket(socket.AF_UNIX) as anew:
        made.bind(str(idle.path))
        made.listen()
        idle.control.adopt(os.dup(made.fileno()))
        assert idle.control.keep(str(idle.path)) == ""
        for _ in range(2):
            idle.path.unlink()
            assert idle.control.keep(str(idle.path)) == ""
            assert idle.answers(STATUS) == [DONE]
        idle.path.unlink()
        anew.bind(str(idle.path))
        idle.control.close()
    assert idle.path.exists()


def test_an_inherited_descriptor_of_another_kind_is_refused_and_not_closed(daemon: Daemon) -> None:
    """A unit that says ListenStream=8080 or Accept=yes must not open the daemon to the network."""
    with ExitStack() as stack:
        packets = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        packets.bind(str(daemon.path.with_name("packets")))
        packets.listen()
        others: list[socket.socket | BinaryIO] = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))),
            stack.enter_context(socket.socket(socket.AF_UNIX)),
            packets,
            *(stack.enter_context(end) for end in socket.socketpair()),
            stack.enter_context(Path(os.devnull).open("rb")),
        ]
        for other in others:
            with pytest.raises(AgentError, match="is no Unix stream socket that listens") as caught:
                daemon.control.adopt(other.fileno())
            assert "ListenStream=" in caught.value.hint
            os.fstat(other.fileno())
        closed = others[0].fileno()
    with pytest.raises(AgentError):
        daemon.control.adopt(closed)


# -- who may -----------------------------------------------------------------------------------------------------------


def test_a_caller_without_a_role_is_refused_with_a_sentence(daemon: Daemon) -> None:
    """Their request is not even read."""
    with acting(NOBODY, NOBODY, 27):
        caller = daemon.asks(STATUS)
    hint = "Members of the group iot-cert-agent may read; members of iot-cert-admin and root may change things."
    assert daemon.heard(caller) == [error("You may not talk to the agent.", 4, hint)]
    assert daemon.asked == []


@pytest.mark.parametrize(
    ("uid", "gid", "groups", "role"),
    [
        (NOBODY, NOBODY, (4001,), Role.READER),
        (NOBODY, 4001, (), Role.READER),
        (NOBODY, NOBODY, (4001, 4002), Role.ADMIN),
        (NOBODY, 4002, (), Role.ADMIN),
        (0, 0, (), Role.ADMIN),
    ],
)
def test_the_handler_learns_what_a_client_may(
    daemon: Daemon, uid: int, gid: int, groups: tuple[int, ...], role: Role
) -> None:
    """By the user and the groups that it had when it connected."""
    with acting(uid, gid, *groups):
        caller = daemon.asks(STATUS)
    assert daemon.heard(caller) == [DONE]
    assert [(client.role, client.peer.uid) for client, _ in daemon.asked] == [(role, uid)]
