"""The control socket: every request has its answer, and no client costs more than its share."""

from __future__ import annotations

import gc
import json
import os
import random
import resource
import socket
import stat
import tempfile
import tracemalloc
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest

from agent.core.change.progress import Progress
from agent.core.control_protocol import AcceptedMessage, ControlRequest, ErrorMessage, NothingMessage, ResumedMessage
from agent.daemon.control.client import Client, ClientLimits
from agent.daemon.control.server import ControlSocket
from agent.daemon.loop import Loop
from agent.errors import AgentError, RefusedError
from agent.system.peers import Role, role_of
from support import campaigns
from support.make import NOW
from support.surroundings import need_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.system.peers import Peer

NOBODY = 65534
READERS, ADMINS = frozenset({4001}), frozenset({4002})

STATUS = b'{"verb":"status"}\n'
END = ResumedMessage()
DONE = {"event": "resumed", "exit": 0}
MORE = {"event": "accepted"}

LIMITS = ClientLimits()
SMALL = ClientLimits(request_bytes=1000, output_bytes=4096)

SEED = 20270301
HOSTILE_REQUESTS = 10_000


@contextmanager
def acting(uid: int, gid: int, *groups: int) -> Iterator[None]:
    """Be another user: the kernel notes it for connections that are made meanwhile."""
    need_root()
    before = os.getgroups()
    os.setgroups(groups)
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(before)


def descriptors() -> set[str]:
    """Return what this process has open, with one for looking."""
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def who_may(peer: Peer) -> Role:
    """Return the role that the daemon would give."""
    return role_of(peer, readers=READERS, admins=ADMINS, owner_uid=os.geteuid())


def error(message: str, code: int, hint: str = "") -> dict[str, Any]:
    """Return the line that refuses."""
    return {"event": "error", "message": message, "hint": hint, "exit": code}


class Daemon:
    """A loop with a control socket, turned by hand; what it is asked is kept."""

    def __init__(self, folder: Path) -> None:
        self.loop = Loop()
        self.path = folder / "control.sock"
        self.asked: list[tuple[Client, ControlRequest]] = []
        self.answer: Callable[[Client, ControlRequest], None] = self.say_done
        self.control: ControlSocket

    def start(self, limits: ClientLimits = LIMITS) -> ControlSocket:
        """Make the control socket and listen."""
        self.control = ControlSocket(self.loop, self._handle, who_may, limits)
        self.control.listen(str(self.path))
        return self.control

    def _handle(self, client: Client, request: ControlRequest) -> None:
        self.asked.append((client, request))
        self.answer(client, request)

    def say_done(self, client: Client, _request: ControlRequest) -> None:
        """Answer with one line."""
        client.end(END)

    def say_nothing(self, client: Client, request: ControlRequest) -> None:
        """Let the client wait."""

    def turn(self) -> None:
        """Turn once without waiting."""
        self.loop.post(lambda: None)
        self.loop.turn()

    def until(self, condition: Callable[[], object]) -> None:
        """Turn until something is so."""
        late = self.loop.later(30, partial(pytest.fail, "it never came to that"))
        while not condition():
            self.loop.turn()
        late.cancel()

    def connect(self) -> socket.socket:
        """Return a new connection; it is accepted in a later turn."""
        caller = socket.socket(socket.AF_UNIX)
        caller.connect(str(self.path))
        caller.settimeout(0)
        return caller

    def asks(self, request: bytes) -> socket.socket:
        """Return a connection whose request is on its way."""
        caller = self.connect()
        with suppress(BrokenPipeError):
            caller.send(request)
        return caller

    def waiting_client(self, request: bytes = STATUS) -> tuple[Client, socket.socket]:
        """Return both ends of a connection whose request was taken and is not answered."""
        self.answer = self.say_nothing
        caller = self.asks(request)
        before = len(self.asked)
        self.until(lambda: len(self.asked) > before)
        return self.asked[-1][0], caller

    def heard(self, caller: socket.socket) -> list[dict[str, Any]]:
        """Return all that a caller is told until the other end closes; then close this end."""
        data = bytearray()
        late = self.loop.later(30, partial(pytest.fail, "the connection is not closed"))
        with caller:
            while (piece := _received(caller)) != b"":
                if piece is None:
                    self.loop.turn()
                else:
                    data += piece
        late.cancel()
        assert data.endswith(b"\n") or not data
        return [json.loads(line) for line in data.splitlines()]

    def answers(self, request: bytes) -> list[dict[str, Any]]:
        """Ask, and return what comes back."""
        return self.heard(self.asks(request))

    def close(self) -> None:
        """Close everything."""
        self.control.close()
        self.loop.close()


def _exit_of(error: AgentError) -> int:
    return 4 if isinstance(error, RefusedError) else 1


def _received(caller: socket.socket) -> bytes | None:
    try:
        return caller.recv(65_536)
    except BlockingIOError:
        return None
    except ConnectionResetError:
        return b""  # it closed without having read everything


@pytest.fixture(name="folder")
def _folder() -> Iterator[Path]:
    """Be where every user may look."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(name="idle")
def _idle(folder: Path) -> Iterator[Daemon]:
    """Return a daemon that the test starts."""
    with closing(Daemon(folder)) as daemon:
        yield daemon


@pytest.fixture(name="daemon")
def _daemon(idle: Daemon) -> Daemon:
    idle.start()
    return idle


# -- the name ------------------------------------------------------------------------------------------------------


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
    assert descriptors() == before


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
    assert descriptors() == before


# -- sockets from systemd ------------------------------------------------------------------------------------------


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


# -- a request and its answer --------------------------------------------------------------------------------------


def test_a_request_is_handed_over_whole(daemon: Daemon) -> None:
    """With its verb, its arguments, and who asks."""
    assert daemon.answers(b'{"verb":"rotate","reason":"\xc3\xa4","no_wait":true}\n') == [DONE]
    ((client, request),) = daemon.asked
    assert (request.verb, request.reason, request.no_wait) == ("rotate", "ä", True)
    assert (client.role, client.peer.pid, client.peer.uid) == (Role.ADMIN, os.getpid(), os.geteuid())
    assert daemon.control.clients == 0


def test_progress_comes_before_the_end_and_in_order(daemon: Daemon) -> None:
    """Each message is a line of its own."""
    client, caller = daemon.waiting_client()
    for number in range(100):
        assert client.send(Progress(at=NOW, code=str(number), text="two\nlines"))
    client.end(END)
    *progress, last = daemon.heard(caller)
    assert [item["code"] for item in progress] == list(map(str, range(100)))
    assert last == DONE


def test_a_request_may_come_in_pieces(daemon: Daemon) -> None:
    """A byte at a time, if the client likes."""
    caller = daemon.connect()
    for byte in STATUS:
        caller.send(bytes([byte]))
        daemon.loop.turn()
    assert daemon.heard(caller) == [DONE]


@pytest.mark.parametrize("more", [b"", STATUS, b"x" * LIMITS.request_bytes])
def test_what_follows_the_request_is_ignored(daemon: Daemon, more: bytes) -> None:
    """One connection, one request."""
    assert daemon.answers(STATUS + more) == [DONE]
    assert len(daemon.asked) == 1


def test_a_client_that_goes_on_sending_is_dropped(daemon: Daemon) -> None:
    """It may send a little nonsense after its request, not any amount."""
    client, caller = daemon.waiting_client()
    gone: list[str] = []
    client.on_gone(lambda: gone.append("gone"))
    sent = 0
    while not gone:
        with suppress(BlockingIOError, BrokenPipeError):
            sent += caller.send(b"x" * 4096)
        assert sent < 100 * LIMITS.request_bytes
        daemon.loop.turn()
    caller.close()
    assert LIMITS.request_bytes < sent <= LIMITS.request_bytes + 3 * 4096


def test_a_client_that_has_said_all_it_will_say_is_answered(daemon: Daemon) -> None:
    """`socat` and `nc -N` shut their sending side after the request."""
    caller = daemon.asks(STATUS)
    caller.shutdown(socket.SHUT_WR)
    assert daemon.heard(caller) == [DONE]


def test_a_half_closed_client_may_follow(daemon: Daemon) -> None:
    """It is told what happens later, too."""
    client, caller = daemon.waiting_client()
    caller.shutdown(socket.SHUT_WR)
    daemon.loop.turn()
    assert client.send(AcceptedMessage())
    daemon.loop.turn()
    client.end(END)
    assert daemon.heard(caller) == [MORE, DONE]


def test_a_half_closed_client_costs_nothing_while_it_waits(daemon: Daemon) -> None:
    """The end of what it sends is told once and not for ever."""
    _, caller = daemon.waiting_client()
    caller.shutdown(socket.SHUT_WR)
    daemon.loop.turn()
    turns, over = 0, daemon.loop.later(0.05, lambda: None)
    while over.pending:
        daemon.loop.turn()
        turns += 1
    assert turns <= 2
    assert daemon.control.clients == 1
    caller.close()


@pytest.mark.parametrize("half_closed", [False, True])
def test_a_client_that_follows_and_leaves_is_missed_at_once(daemon: Daemon, *, half_closed: bool) -> None:
    """Ctrl-C frees the place, also when the sending side was shut long before."""
    client, caller = daemon.waiting_client()
    gone: list[str] = []
    client.on_gone(lambda: gone.append("gone"))
    if half_closed:
        caller.shutdown(socket.SHUT_WR)
        daemon.loop.turn()
    caller.close()
    daemon.until(lambda: gone)
    assert daemon.control.clients == 0
    assert not client.send(END)


def test_a_program_that_is_just_being_started_keeps_no_client_alive(daemon: Daemon) -> None:
    """Until it is another program, a child shares every descriptor, and the kernel goes on reporting them."""
    client, caller = daemon.waiting_client()
    caller.shutdown(socket.SHUT_WR)
    daemon.loop.turn()
    shared = os.dup(client._fd)
    caller.close()
    daemon.until(lambda: not daemon.control.clients)
    daemon.turn()
    os.close(shared)
    daemon.answer = daemon.say_done
    assert daemon.answers(STATUS) == [DONE]


@pytest.mark.parametrize("messages", [0, 1])
def test_waiting_for_an_answer_has_no_limit(idle: Daemon, messages: int) -> None:
    """The time for the request is over with the request; a rotation may take long."""
    idle.start(ClientLimits(request_seconds=3.0, idle_output_seconds=3.0))
    client, caller = idle.waiting_client()
    for _ in range(messages):
        client.send(AcceptedMessage())
    over = idle.loop.later(3.2, lambda: None)
    idle.until(lambda: not over.pending)
    client.end(END)
    assert idle.heard(caller) == [MORE] * messages + [DONE]


def test_on_gone_is_called_after_the_end_and_when_asked_too_late(daemon: Daemon) -> None:
    """However it ended; and never from inside another call."""
    client, caller = daemon.waiting_client()
    gone: list[str] = []
    client.on_gone(lambda: gone.append("first"))
    client.on_gone(lambda: gone.append("second"))
    client.end(END)
    daemon.heard(caller)
    client.on_gone(lambda: gone.append("late"))
    assert "late" not in gone
    daemon.until(lambda: len(gone) == 3)
    assert gone == ["first", "second", "late"]


def test_after_the_last_line_nothing_is_said(daemon: Daemon) -> None:
    """A client that still follows the change for it learns that it need not."""
    client, caller = daemon.waiting_client()
    client.end(END)
    assert not client.send(AcceptedMessage())
    client.end(ErrorMessage(message="Again.", exit=1))
    assert daemon.heard(caller) == [DONE]


def test_closing_sends_what_is_still_to_be_sent(daemon: Daemon) -> None:
    """The last words of a daemon that stops."""
    client, caller = daemon.waiting_client()
    client.end(END)
    daemon.control.close()
    assert daemon.heard(caller) == [DONE]


# -- requests that are refused -------------------------------------------------------------------------------------


def test_an_error_is_the_last_line(daemon: Daemon) -> None:
    """With the exit code that the command would have ended with."""

    def refuse(_client: Client, _request: ControlRequest) -> None:
        raise RefusedError("Not now.", hint="Later.")

    daemon.answer = refuse
    assert daemon.answers(STATUS) == [error("Not now.", 4, "Later.")]


def test_a_wrong_argument_is_the_last_line(daemon: Daemon) -> None:
    """It never reaches the handler."""
    daemon.answer = lambda client, _: client.end(END)
    assert daemon.answers(b'{"verb":"rotate","reason":5}\n') == [
        error("The request: reason: text of at most 500 characters is expected.", 2)
    ]


def test_a_defect_in_the_handler_comes_out(daemon: Daemon) -> None:
    """It is not hidden behind an answer."""

    def burst(_client: Client, _request: ControlRequest) -> None:
        raise ZeroDivisionError

    daemon.answer = burst
    caller = daemon.asks(STATUS)
    with caller, pytest.raises(ZeroDivisionError):
        daemon.until(lambda: False)


@pytest.mark.parametrize(
    "request_line",
    [
        b"\n",
        b"status\n",
        b"[]\n",
        b"5\n",
        b"null\n",
        b'"status"\n',
        b"{}\n",
        b'{"verb":5}\n',
        b'{"verb":null}\n',
        b'{"verb":["status"]}\n',
        b'{"verb":"' + b"x" * 65 + b'"}\n',
        b'{"verb":"\\ud800"}\n',
        b'{"verb":"status","verb":"rotate"}\n',
        b'{"verb":"status","x":NaN}\n',
        b'{"verb":"status"\n',
        b'\xff{"verb":"status"}\n',
        b"\x00\n",
        b"[" * 16_000 + b"\n",
        b'{"verb":"status","x":' + b"9" * 5000 + b"}\n",
        b'{"verb":' * 2000 + b"\n",
    ],
    ids=lambda line: line[:24].decode(errors="replace").strip() or "empty",
)
def test_a_malformed_request_is_told_in_one_line(daemon: Daemon, request_line: bytes) -> None:
    """It never reaches the handler."""
    (line,) = daemon.answers(request_line)
    assert line == error(line["message"], 2)
    assert line["message"].startswith("The request: ")
    assert line["message"].endswith(".")
    assert daemon.asked == []
    assert daemon.control.clients == 0


def test_the_longest_request_is_taken_and_a_longer_one_is_not(idle: Daemon) -> None:
    """One byte makes the difference."""
    idle.start(SMALL)
    frame = b'{"verb":"status","x":""}'
    fits = frame[:-2] + b"x" * (SMALL.request_bytes - len(frame)) + frame[-2:]
    assert idle.answers(fits + b"\n") == [DONE]
    too_long = [error("The request is longer than the 1000 bytes allowed.", 2)]
    assert idle.answers(b" " + fits + b"\n") == too_long
    caller = idle.asks(b" " + fits[:-10])
    idle.until(lambda: idle.control.clients)
    idle.turn()
    caller.send(fits[-10:] + b"\n")
    assert idle.heard(caller) == too_long


def test_an_unfinished_request_is_told(daemon: Daemon) -> None:
    """The newline is what ends it; a cut-off request is not carried out."""
    caller = daemon.asks(STATUS.rstrip())
    caller.shutdown(socket.SHUT_WR)
    assert daemon.heard(caller) == [error("The request ended before its newline.", 2)]
    assert daemon.asked == []


def test_a_client_that_connects_and_leaves_is_forgotten(daemon: Daemon) -> None:
    """It looked whether a daemon listens."""
    caller = daemon.connect()
    daemon.until(lambda: daemon.control.clients)
    caller.close()
    daemon.until(lambda: not daemon.control.clients)
    assert daemon.asked == []


@pytest.mark.parametrize("begun", [b"", b'{"verb":'])
def test_a_slow_request_is_told_and_its_client_dropped(idle: Daemon, begun: bytes) -> None:
    """The time counts from the connection, so that a byte now and then does not help."""
    idle.start(ClientLimits(request_seconds=0.05))
    assert idle.answers(begun) == [error("No whole request came within 0.05 s.", 2)]
    assert idle.control.clients == 0


def test_a_trickling_request_has_no_more_time_than_a_silent_one(idle: Daemon) -> None:
    """Each turn of the loop brings another byte."""
    idle.start(ClientLimits(request_seconds=0.05))
    caller = idle.connect()
    idle.until(lambda: idle.control.clients)
    while idle.control.clients:
        with suppress(BrokenPipeError):
            caller.send(b" ")
        idle.loop.turn()
    assert idle.heard(caller)[0]["message"] == "No whole request came within 0.05 s."


# -- who may -------------------------------------------------------------------------------------------------------


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


# -- too many ------------------------------------------------------------------------------------------------------


FULL = error("The agent is talking to too many others.", 4, "Try again in a few seconds.")


def test_one_user_gets_no_more_than_its_share(daemon: Daemon) -> None:
    """The others still get theirs."""
    with ExitStack() as stack:
        with acting(NOBODY, 4001):
            for _ in range(LIMITS.per_uid):
                stack.enter_context(daemon.connect())
            one_more = daemon.asks(STATUS)
        assert daemon.heard(one_more) == [FULL]
        with acting(NOBODY - 1, 4001):
            other = daemon.asks(STATUS)
        assert daemon.heard(other) == [DONE]


def test_no_number_of_users_can_lock_root_out(daemon: Daemon) -> None:
    """Some places are kept for root and the daemon's own user."""
    with ExitStack() as stack:
        for uid in range(5000, 5004):
            with acting(uid, 4002):
                for _ in range(10):
                    stack.enter_context(daemon.connect())
        assert daemon.answers(STATUS) == [DONE]
        daemon.until(lambda: daemon.control.clients == LIMITS.clients - LIMITS.reserved)
        for _ in range(LIMITS.reserved):
            stack.enter_context(daemon.connect())
        assert daemon.answers(STATUS) == [FULL]


def test_four_hundred_silent_clients_are_turned_away_or_dropped(idle: Daemon) -> None:
    """And then everything is as before."""
    idle.start(ClientLimits(request_seconds=0.5))
    before = descriptors()
    peak = 0
    with ExitStack() as stack:
        for _ in range(400):
            stack.enter_context(idle.connect())
            idle.turn()
            peak = max(peak, idle.control.clients)
        idle.until(lambda: idle.control.clients == 0)
        assert idle.answers(STATUS) == [DONE]
    assert peak == LIMITS.clients
    assert descriptors() == before


def test_a_flood_of_connections_leaves_time_for_the_rest(daemon: Daemon) -> None:
    """What else is due comes after a few of them."""
    with ExitStack() as stack:
        for _ in range(30):
            stack.enter_context(daemon.connect())
        daemon.loop.turn()
        assert daemon.control.clients == 16
        daemon.until(lambda: daemon.control.clients == 30)


@contextmanager
def no_more_descriptors() -> Iterator[None]:
    """Let this process open nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_running_out_of_descriptors_is_waited_out(idle: Daemon) -> None:
    """The loop does not spin meanwhile, and the caller is answered afterwards."""
    idle.start(ClientLimits(pause_seconds=0.05))
    caller = idle.asks(STATUS)
    turns, over = 0, idle.loop.later(0.12, lambda: None)
    with no_more_descriptors():
        while over.pending:
            idle.loop.turn()
            turns += 1
        assert idle.control.clients == 0
    assert turns <= 10
    assert idle.heard(caller) == [DONE]


def test_closing_while_nothing_is_accepted_is_harmless(idle: Daemon) -> None:
    """Nothing is watched afterwards that is closed."""
    idle.start(ClientLimits(pause_seconds=0.01))
    with idle.asks(STATUS):
        with no_more_descriptors():
            idle.loop.turn()
        idle.control.close()
        over = idle.loop.later(0.02, lambda: None)
        idle.until(lambda: not over.pending)
    assert len(idle.loop._selector.get_map()) == 1


# -- clients that do not read --------------------------------------------------------------------------------------


def test_a_client_that_never_reads_is_dropped_when_too_much_waits(daemon: Daemon) -> None:
    """It is told so by `send`, and by nothing from inside it."""
    client, caller = daemon.waiting_client()
    gone: list[str] = []
    client.on_gone(lambda: gone.append("gone"))
    sent = 0
    while client.send(NothingMessage(text="x" * 1000, exit=0)):
        sent += 1
        daemon.turn()
        assert len(client._output) <= LIMITS.output_bytes
    assert gone == []
    assert daemon.control.clients == 0
    assert sent * 1100 >= LIMITS.output_bytes
    daemon.until(lambda: gone)
    caller.close()


def test_one_message_may_not_be_larger_than_the_limit(idle: Daemon) -> None:
    """A daemon that answers with more must send it in parts."""
    idle.start(SMALL)
    client, caller = idle.waiting_client()
    client.end(NothingMessage(text="x" * SMALL.output_bytes, exit=0))
    assert idle.heard(caller) == []


def test_the_status_of_a_gateway_with_much_to_tell_is_one_message(idle: Daemon) -> None:
    """A store of every public authority has 150 anchors, and each stands in what is shown three times."""
    idle.start()
    client, caller = idle.waiting_client()
    client.end(NothingMessage(text="x" * 2_000_000, exit=0))
    assert len(idle.heard(caller)[0]["text"]) == 2_000_000


def full_pipe(daemon: Daemon, client: Client) -> None:
    """Send until much waits for the client to read."""
    while True:
        client.send(NothingMessage(text="x" * 100_000, exit=0))
        daemon.turn()
        if len(client._output) > 200_000:
            return


def test_a_client_that_never_reads_is_dropped_in_time(idle: Daemon) -> None:
    """Even when nothing more is said to it."""
    idle.start(ClientLimits(idle_output_seconds=0.05))
    client, caller = idle.waiting_client()
    full_pipe(idle, client)
    assert idle.control.clients == 1
    idle.until(lambda: not idle.control.clients)
    caller.close()


def test_a_client_that_reads_slowly_is_kept(daemon: Daemon) -> None:
    """Each piece that it takes gives it the whole time again."""
    client, caller = daemon.waiting_client()
    full_pipe(daemon, client)
    before, waiting = client._deadline, len(client._output)
    while len(client._output) == waiting:
        with suppress(BlockingIOError):
            caller.recv(50_000)
        daemon.turn()
    assert not before.pending
    assert client._deadline.pending
    assert client._deadline.due > before.due
    client.end(END)
    rest = bytearray()
    while (piece := _received(caller)) != b"":
        rest += piece or b""
        if piece is None:
            daemon.loop.turn()
    caller.close()
    assert json.loads(rest.splitlines()[-1]) == DONE


# -- hostile clients -----------------------------------------------------------------------------------------------


def pour(daemon: Daemon, callers: list[socket.socket], total: int) -> int:
    """Let every caller send `total` bytes without a newline; return how many the daemon's end took in all."""
    piece, taken = b"x" * 65_536, 0
    left = dict.fromkeys(callers, total)
    while left:
        for caller in list(left):
            try:
                sent = caller.send(piece)
            except BlockingIOError:
                continue
            except BrokenPipeError:
                del left[caller]
                continue
            taken += sent
            left[caller] -= sent
        daemon.turn()
    return taken


def test_fifty_clients_that_send_26_megabytes_each_cost_next_to_nothing(daemon: Daemon) -> None:
    """Each is told that its request is too long after the first few kilobytes."""
    with ExitStack() as stack:
        callers = [stack.enter_context(daemon.connect()) for _ in range(50)]
        tracemalloc.start()
        stack.callback(tracemalloc.stop)
        taken = pour(daemon, callers, 26_000_000)
        _, peak = tracemalloc.get_traced_memory()
        assert peak < 2 * 1024 * 1024
        assert taken < 50 * 1_000_000  # what the kernel's buffers hold
        assert daemon.control.clients == 0
        told = [daemon.heard(caller) for caller in callers]
    too_long = error(f"The request is longer than the {LIMITS.request_bytes} bytes allowed.", 2)
    assert all(lines in ([too_long], [FULL]) for lines in told)
    assert told.count([too_long]) >= LIMITS.clients
    assert daemon.answers(STATUS) == [DONE]


VALID = (
    STATUS,
    b'{"verb":"rotate","reason":"the key is old","wait":true}\n',
    b'{"verb":"pause","until":"2027-03-01T12:00:00+00:00","scope":{"changes":["rotate","enroll"],"n":3}}\n',
)
TOKENS = (b"{", b"[", b'"', b"}", b"\\ud800", b"NaN", b"1e999", b"\x00", b"\xff", b":", b",", b"\n", b'"verb":', b"-")


def mutant(chance: random.Random) -> bytes:
    """Return a valid request with a few things wrong, which may leave it valid."""
    data = bytearray(chance.choice(VALID))
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(data) + 1)
        until = min(len(data), at + chance.randint(1, 8))
        match chance.randrange(6):
            case 0:
                data[at:at] = chance.choice(TOKENS)
            case 1:
                del data[at:until]
            case 2:
                data[at:until] = chance.randbytes(until - at)
            case 3:
                data[at:at] = data[at:until]
            case 4:
                data[at:at] = chance.choice(TOKENS) * chance.choice((10, 1000, 9000))
            case _:
                data[at:at] = chance.choice(VALID)
    return bytes(data)


def provoke(daemon: Daemon, chance: random.Random) -> int | None:
    """Make one hostile request; return the exit code of the answer, or None when there was nothing to answer."""
    line = mutant(chance)
    caller = daemon.asks(line)
    if b"\n" not in line or chance.random() < 0.2:
        caller.shutdown(socket.SHUT_WR)
    told = daemon.heard(caller)
    assert [("exit" in item) for item in told] in ([], [True])
    assert told or not line or len(line) > LIMITS.request_bytes
    return told[0]["exit"] if told else None


def test_ten_thousand_hostile_requests_change_nothing(daemon: Daemon) -> None:
    """Each has one answer; afterwards there are as many descriptors as before, and as much memory."""
    daemon.answer = lambda client, _: client.end(END)
    codes: list[int | None] = []

    def ask(chance: random.Random) -> None:
        codes.append(provoke(daemon, chance))
        daemon.asked.clear()

    chance = random.Random(SEED)  # noqa: S311 - the same mutants every time
    for _ in range(500):
        ask(chance)
    gc.collect()
    before = descriptors()
    tracemalloc.start()
    number = campaigns.each(HOSTILE_REQUESTS, ask, one_in=10, seed=SEED)
    gc.collect()
    growth, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert growth < 512 * 1024
    assert descriptors() == before
    assert daemon.control.clients == 0
    assert daemon.answers(STATUS) == [DONE]
    refused, answered = codes.count(2), codes.count(0)
    print(f"{refused} hostile requests refused, {answered} still valid")
    assert refused > 0.6 * number
    assert answered > 50


def test_the_limits_are_those_of_the_design() -> None:
    """They are a promise, so a change must be meant."""
    assert replace(LIMITS) == ClientLimits(
        clients=32,
        reserved=4,
        per_uid=16,
        request_bytes=16_384,
        output_bytes=4_194_304,
        request_seconds=5.0,
        idle_output_seconds=30.0,
        pause_seconds=1.0,
    )
