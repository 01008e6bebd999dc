"""What clients of the control socket may cost: too many, slow and hostile ones."""

from __future__ import annotations

import gc
import json
import os
import random
import resource
import socket
import tracemalloc
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.core.control_protocol import NothingMessage
from agent.daemon.control.client import Client, ClientLimits
from support.suite import campaigns
from support.suite.surroundings import NOBODY, descriptors
from support.unit.daemon.server import DONE, END, LIMITS, SMALL, STATUS, Daemon, acting, error, received

if TYPE_CHECKING:
    from collections.abc import Iterator


SEED = 20270301
HOSTILE_REQUESTS = 10_000


# -- too many ----------------------------------------------------------------------------------------------------------


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


def test_silent_clients_make_way_for_those_that_ask(idle: Daemon) -> None:
    """For those of the same user, and for root; not for another user."""
    idle.start(ClientLimits(sure_seconds=0.0, request_seconds=60.0))
    with ExitStack() as stack:
        silent = {}
        for uid in (5000, 5001):
            with acting(uid, 4002):
                silent[uid] = [stack.enter_context(idle.connect()) for _ in range(LIMITS.per_uid)]
            idle.until(lambda: idle.control.clients >= min(len(silent) * LIMITS.per_uid, 28))
        with acting(5000, 4002):
            same = idle.asks(STATUS)
        assert idle.heard(same) == [DONE]
        told = [error("No whole request came, and another client needs the place.", 2)]
        assert idle.heard(silent[5000][0]) == told
        with acting(5000, 4002):
            stack.enter_context(idle.connect())
        idle.until(lambda: idle.control.clients == LIMITS.clients - LIMITS.reserved)
        with acting(5002, 4002):
            other = idle.asks(STATUS)
        assert idle.heard(other) == [FULL]
        for _ in range(LIMITS.reserved):
            stack.enter_context(idle.connect())
        idle.until(lambda: idle.control.clients == LIMITS.clients)
        silent[5000][1].send(STATUS)  # unread as yet, so it is not silent
        assert idle.answers(STATUS) == [DONE]
        assert idle.heard(silent[5000][1]) == [DONE]
        assert idle.heard(silent[5000][2]) == told


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
    assert descriptors() - before == set()


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


# -- clients that do not read ------------------------------------------------------------------------------------------


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
    while (piece := received(caller)) != b"":
        rest += piece or b""
        if piece is None:
            daemon.loop.turn()
    caller.close()
    assert json.loads(rest.splitlines()[-1]) == DONE


# -- hostile clients ---------------------------------------------------------------------------------------------------


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
    for _ in range(250):
        ask(chance)
    before = descriptors()
    tracemalloc.start()
    number = campaigns.each(HOSTILE_REQUESTS, ask, one_in=25, seed=SEED)
    gc.collect()
    growth, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert growth < 512 * 1024
    assert descriptors() - before == set()
    assert daemon.control.clients == 0
    assert daemon.answers(STATUS) == [DONE]
    refused, answered = codes.count(2), codes.count(0)
    print(f"{refused} hostile requests refused, {answered} still valid")
    assert refused > 0.6 * number
    assert answered > 0.02 * number


def test_the_limits_are_those_of_the_design() -> None:
    """They are a promise, so a change must be meant."""
    assert replace(LIMITS) == ClientLimits(
        clients=32,
        reserved=4,
        per_uid=16,
        request_bytes=16_384,
        output_bytes=4_194_304,
        request_seconds=5.0,
        sure_seconds=1.0,
        idle_output_seconds=30.0,
        pause_seconds=1.0,
    )
