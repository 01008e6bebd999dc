"""The control socket: every request has its answer, and no client costs more than its share."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

import pytest

from agent.core.change.progress import Progress
from agent.core.control_protocol import AcceptedMessage, ControlRequest, ErrorMessage
from agent.daemon.control.client import Client, ClientLimits
from agent.errors import RefusedError
from agent.system.peers import Role
from support.make import NOW
from support.unit.daemon.server import DONE, END, LIMITS, SMALL, STATUS, Daemon, error

MORE = {"event": "accepted"}


# -- a request and its answer ------------------------------------------------------------------------------------------


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


def test_waiting_for_an_answer_has_no_limit(idle: Daemon) -> None:
    """The time for the request is over with the request; a rotation may take long, with or without a message before."""
    idle.start(ClientLimits(request_seconds=3.0, idle_output_seconds=3.0))
    untold, told = idle.waiting_client(), idle.waiting_client()
    told[0].send(AcceptedMessage())
    over = idle.loop.later(3.2, lambda: None)
    idle.until(lambda: not over.pending)
    for (client, caller), before in ((untold, []), (told, [MORE])):
        client.end(END)
        assert idle.heard(caller) == [*before, DONE]


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


# -- requests that are refused -----------------------------------------------------------------------------------------


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
