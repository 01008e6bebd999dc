"""The command's end of the control socket, against daemons that are sound, absent, hung, dying and mad."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.cli.carrying.client import LONGEST_LINE, call, listens
from agent.core.control_protocol import AcceptedMessage, ResumedMessage
from agent.daemon.control.server import ControlSocket
from agent.daemon.loop import Loop
from agent.errors import AgentError, RefusedError
from agent.system.peers import Role
from support.shorthand import planted
from support.suite.surroundings import another_user, descriptors

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from agent.core.control_protocol import ControlRequest
    from agent.daemon.control.client import Client

REQUEST = b'{"verb":"status"}\n'
DONE = {"event": "done", "exit": 0}


class Listener:
    """A daemon by hand: it does what a test tells it to, and the kernel keeps the rest waiting."""

    def __init__(self, path: Path, backlog: int = 8) -> None:
        self.path = str(path)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(backlog)
        self._listener.settimeout(60)

    def meet(self) -> socket.socket:
        """Return the next connection."""
        connection, _ = self._listener.accept()
        connection.settimeout(60)
        return connection

    def hears_and_says(self, said: bytes) -> bytes:
        """Take one request, answer, hang up, and return the request."""
        with self.meet() as connection:
            heard = connection.recv(65_536)
            connection.sendall(said)
        return heard

    def close(self) -> None:
        """Stop listening; the name stays, as after a crash."""
        self._listener.close()


@pytest.fixture(name="folder")
def _folder() -> Iterator[Path]:
    """Be where every user may look."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(name="daemon")
def _daemon(folder: Path) -> Iterator[Listener]:
    with closing(Listener(folder / "s")) as listener:
        yield listener


def begun(daemon: Listener, *, timeout: float = 20) -> Generator[dict[str, Any], None, None]:
    """Return the messages of a call that has found its daemon."""
    messages = call(daemon.path, REQUEST, timeout=timeout)
    assert messages is not None
    return messages


def lines(*messages: dict[str, Any]) -> bytes:
    """Return what a daemon sends."""
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


# -- a sound daemon ------------------------------------------------------------------------------------------------


def test_a_request_goes_out_and_messages_come_in(daemon: Listener) -> None:
    """The request is one line of JSON; the messages come in their order."""
    messages = begun(daemon)
    heard = daemon.hears_and_says(lines({"event": "progress", "text": "ä"}, DONE))
    assert heard == b'{"verb":"status"}\n'
    assert list(messages) == [{"event": "progress", "text": "ä"}, DONE]


def test_the_message_with_exit_is_the_last(daemon: Listener) -> None:
    """Nothing after it is waited for or believed."""
    messages = begun(daemon)
    with daemon.meet() as connection:
        connection.sendall(lines(DONE, {"event": "more"}))
        assert list(messages) == [DONE]


def test_a_message_may_come_in_pieces(daemon: Listener) -> None:
    """And with the beginning of the next."""
    data = lines({"event": "progress"}, DONE)
    messages = begun(daemon)
    with daemon.meet() as connection:
        connection.sendall(data[:5])
        rest = threading.Timer(0.01, connection.sendall, [data[5:-3]])
        rest.start()
        assert next(messages) == {"event": "progress"}
        rest.join()
        connection.sendall(data[-3:])
        assert list(messages) == [DONE]


def test_following_has_no_time_limit(daemon: Listener) -> None:
    """Only the first message must come in time."""
    messages = begun(daemon, timeout=2.0)
    with daemon.meet() as connection:
        connection.sendall(lines({"event": "progress"}))
        assert next(messages) == {"event": "progress"}
        rest = threading.Timer(2.5, connection.sendall, [lines(DONE)])
        rest.start()
        assert list(messages) == [DONE]
        rest.join()


def test_a_large_message_is_taken(daemon: Listener) -> None:
    """A history is longer than one piece of what the kernel hands over."""
    large = {"history": "x" * 150_000, "exit": 0}
    messages = begun(daemon)
    daemon.hears_and_says(lines(large))
    assert list(messages) == [large]


def test_a_caller_who_stops_listening_hangs_up(daemon: Listener) -> None:
    """Ctrl-C frees the daemon's end at once."""
    messages = begun(daemon)
    with daemon.meet() as connection:
        connection.sendall(lines({"event": "progress"}))
        assert next(messages) == {"event": "progress"}
        messages.close()
        connection.recv(100)
        assert connection.recv(100) == b""


def test_a_deep_directory_is_no_obstacle(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel takes 107 bytes, and directories may be deeper than that."""
    deep = folder.joinpath(*["d" * 50] * 4)
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    with closing(Listener(Path("s"))) as daemon:
        messages = call(str(deep / "s"), REQUEST)
        assert messages is not None
        daemon.hears_and_says(lines(DONE))
        assert list(messages) == [DONE]


def test_the_command_and_the_daemon_understand_each_other(folder: Path) -> None:
    """Both ends of the product: progress, the end, and a refusal with its hint."""

    def handle(client: Client, request: ControlRequest) -> None:
        if request.verb == "rotate":
            raise RefusedError("Not now.", hint="Later.")
        client.send(AcceptedMessage())
        client.end(ResumedMessage())

    path = str(folder / "control.sock")
    with ExitStack() as stack:
        loop = stack.enter_context(closing(Loop()))
        control = stack.enter_context(closing(ControlSocket(loop, handle, lambda _: Role.ADMIN)))
        control.listen(path)
        thread = threading.Thread(target=loop.run)
        stack.callback(thread.join)
        stack.callback(loop.post, loop.stop)
        thread.start()
        assert list(call(path, REQUEST) or ()) == [{"event": "accepted"}, {"event": "resumed", "exit": 0}]
        refusal = {"event": "error", "message": "Not now.", "hint": "Later.", "exit": 4}
        assert list(call(path, b'{"verb":"rotate"}\n') or ()) == [refusal]


def test_an_answer_that_comes_before_the_request_is_heard(daemon: Listener) -> None:
    """A user who may not talk to the daemon is told so at once, perhaps before they have sent anything."""
    refusal = {"event": "error", "message": "No.", "exit": 4}

    def turn_away() -> None:
        for _ in range(200):
            with daemon.meet() as connection:
                connection.sendall(lines(refusal))

    thread = threading.Thread(target=turn_away)
    thread.start()
    told = [list(begun(daemon)) for _ in range(200)]
    thread.join()
    assert told == [[refusal]] * 200


# -- no daemon -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["missing", "none/s", "file/s", "file", "stale"])
def test_where_no_daemon_listens_there_is_none(folder: Path, name: str) -> None:
    """The command then does the work itself, where it can."""
    (folder / "file").touch()
    Listener(folder / "stale").close()
    assert call(str(folder / name), REQUEST) is None


@pytest.mark.parametrize("what", ["socket", "directory"])
def test_who_may_not_connect_is_told_what_to_do(folder: Path, what: str) -> None:
    """A refusal is not the same as no daemon: the command must not go on by itself."""
    with closing(Listener(folder / "s")) as daemon:
        (folder / "s" if what == "socket" else folder).chmod(0o600)
        with another_user(), pytest.raises(RefusedError, match="You may not talk to the agent's daemon") as caught:
            call(daemon.path, REQUEST)
        assert "iot-cert-admin" in caught.value.hint


@pytest.mark.root
@pytest.mark.parametrize("kind", sorted(planted.KINDS.keys() - {"socket"}))
def test_where_something_else_stands_no_daemon_listens(folder: Path, kind: str) -> None:
    """Whatever the kernel says of it: that it refuses a connection is no refusal of the daemon's."""
    with planted.at(folder / "s", kind):
        assert call(str(folder / "s"), REQUEST) is None
        assert not listens(str(folder / "s"))


def test_a_name_that_cannot_be_an_address_is_told(folder: Path) -> None:
    """Whatever else the system says is passed on."""
    with pytest.raises(AgentError, match="cannot be used: AF_UNIX path too long"):
        call(str(folder / ("n" * 200)), REQUEST)


# -- daemons in trouble --------------------------------------------------------------------------------------------


def test_a_daemon_that_hangs_is_not_waited_for(daemon: Listener) -> None:
    """It neither meets nor answers a peer."""
    with pytest.raises(AgentError, match=r"^The agent's daemon does not answer\.$") as caught:
        list(begun(daemon, timeout=0.05))
    assert "systemctl status" in caught.value.hint


@contextmanager
def crowd(path: str) -> Iterator[None]:
    """Call until the kernel keeps no more waiting."""
    with ExitStack() as stack:
        with suppress(BlockingIOError):
            while True:
                caller = stack.enter_context(socket.socket(socket.AF_UNIX))
                caller.settimeout(0)
                caller.connect(path)
        yield


def test_a_daemon_with_more_callers_than_the_kernel_keeps_is_given_up(folder: Path) -> None:
    """A hung daemon and a crowd before it."""
    with (
        closing(Listener(folder / "s", backlog=1)) as daemon,
        crowd(daemon.path),
        pytest.raises(AgentError, match="does not answer"),
    ):
        call(daemon.path, REQUEST, timeout=0.05)


def test_a_crowd_that_gets_smaller_is_waited_for(folder: Path) -> None:
    """A daemon that is merely busy is found."""
    with closing(Listener(folder / "s", backlog=1)) as daemon, crowd(daemon.path), ExitStack() as stack:
        later = threading.Timer(0.05, lambda: stack.enter_context(daemon.meet()))
        later.start()
        messages = begun(daemon)
        later.join()
        messages.close()
    assert not later.is_alive()


@pytest.mark.parametrize("said", [b"", b'{"event":"progress"}\n', b'{"event":"progress"}\n{"ev', b'{"exit":0}'])
def test_a_daemon_that_dies_is_told(daemon: Listener, said: bytes) -> None:
    """Without a last message it is unknown how it ended, and half a line is none."""
    messages = begun(daemon)
    daemon.hears_and_says(said)
    with pytest.raises(AgentError, match="ended the conversation without a last word") as caught:
        list(messages)
    assert "iot-cert status" in caught.value.hint


def test_a_daemon_that_dies_with_the_request_unread_is_told(daemon: Listener) -> None:
    """The kernel reports that as a reset."""
    messages = begun(daemon)
    daemon.meet().close()
    with pytest.raises(AgentError, match="ended the conversation without a last word"):
        list(messages)


@pytest.mark.parametrize(
    "said", [b"\n", b"hello\n", b"[]\n", b"5\n", b"\xff\n", b"[" * 100_000 + b"\n", b'{"exit":0\n']
)
def test_nonsense_is_told(daemon: Listener, said: bytes) -> None:
    """Perhaps something else listens there."""
    messages = begun(daemon)
    daemon.hears_and_says(said)
    with pytest.raises(AgentError, match="Invalid reply from the daemon: a line that is no JSON object"):
        list(messages)


def test_a_line_without_an_end_is_told(daemon: Listener) -> None:
    """It is not kept until memory is full."""
    messages = begun(daemon)
    poured = 0

    def pour() -> None:
        nonlocal poured
        with daemon.meet() as connection, suppress(BrokenPipeError, ConnectionResetError):
            while poured < 64 * LONGEST_LINE:
                poured += connection.send(b"x" * 65_536)

    thread = threading.Thread(target=pour)
    thread.start()
    with pytest.raises(AgentError, match="Invalid reply from the daemon: a line without an end"):
        list(messages)
    thread.join()
    assert poured < 3 * LONGEST_LINE


def test_no_descriptor_is_left_open(daemon: Listener, folder: Path) -> None:
    """Whether it goes well or not."""
    before = descriptors()
    for said in (lines(DONE), b"", b"hello\n"):
        messages = begun(daemon)
        daemon.hears_and_says(said)
        with suppress(AgentError):
            list(messages)
    assert call(str(folder / "missing"), REQUEST) is None
    with pytest.raises(AgentError):
        call(str(folder / ("n" * 200)), REQUEST)
    assert descriptors() - before == set()


def test_asking_the_daemon_loads_next_to_nothing() -> None:
    """It is what `status` does on a slow gateway, every time."""
    script = (
        "import sys\nimport agent.cli, agent.core.jsonio, agent.errors\nbefore = set(sys.modules)\n"
        "import agent.cli.carrying.client\nprint(sorted(set(sys.modules) - before))"
    )
    shown = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown == "['_socket', 'agent.cli.carrying', 'agent.cli.carrying.client']\n"
