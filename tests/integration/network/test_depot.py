"""The stand-in for a bucket with root bundles, met by real clients: it serves, misbehaves as told, and ends in time."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from agent.sandbox.account.authority import Authority
from support.network.depot import MAX_CONNECTIONS, Depot, DepotFault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ROOT = Authority("depot root", datetime.now(UTC))
BUNDLE = ROOT.pem * 20
PATIENCE = 60.0  # what should happen has happened by then
SHORT = 5.0  # what a hasty depot waits for a client: enough to shake hands and to ask


@contextmanager
def serving(folder: Path, authority: Authority = ROOT, *, patience: float = PATIENCE) -> Iterator[Depot]:
    """Run a depot, and see that it ends soon and leaves nothing behind."""
    before = set(threading.enumerate())
    with Depot(folder, authority, patience=patience) as running:
        yield running
        began = time.monotonic()
    assert time.monotonic() - began < PATIENCE, "it waits for its clients"
    assert set(threading.enumerate()) == before
    assert running._server._open == set()
    assert running.defects == []
    with pytest.raises(ConnectionRefusedError):
        dial(running)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a bundle and a short file; a file that no client may have is beside it."""
    (tmp_path / "secret").write_text("s")
    made = tmp_path / "depot"
    made.mkdir()
    (made / "roots.pem").write_bytes(BUNDLE)
    (made / "short").write_bytes(b"short")
    (made / "with blank").write_bytes(b"blank")
    return made


@pytest.fixture
def depot(folder: Path) -> Iterator[Depot]:
    """Run a depot."""
    with serving(folder) as running:
        yield running


def dial(depot: Depot) -> socket.socket:
    """Open a connection without TLS."""
    return socket.create_connection(("127.0.0.1", urlsplit(depot.url).port or 0), timeout=PATIENCE)


def shake(depot: Depot, root: Authority = ROOT) -> ssl.SSLSocket:
    """Open a connection and shake hands."""
    context = ssl.create_default_context(cadata=root.pem.decode())
    raw = dial(depot)
    try:
        return context.wrap_socket(raw, server_hostname="localhost")
    except BaseException:
        raw.close()
        raise


@contextmanager
def ask(
    depot: Depot, target: str, method: str = "GET", *, timeout: float = PATIENCE
) -> Iterator[http.client.HTTPResponse]:
    """Send one request and give its answer."""
    with shake(depot) as secure:
        secure.settimeout(timeout)
        secure.sendall(f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        response = http.client.HTTPResponse(secure, method=method)
        try:
            response.begin()
            yield response
        finally:
            response.close()


def fetch(depot: Depot, target: str = "/roots.pem", method: str = "GET") -> tuple[int, bytes]:
    """Return the status and the body of an answer."""
    with ask(depot, target, method) as response:
        return response.status, response.read()


def until(condition: Callable[[], bool]) -> None:
    """Return once something holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# -- what is served ----------------------------------------------------------------------------------------------------


def test_a_file_is_served_with_its_length_and_the_query_is_noted(depot: Depot) -> None:
    """As a presigned URL is: what follows the question mark is not part of the name."""
    target = "/roots.pem?X-Amz-Expires=60&X-Amz-Signature=%2e%2e"
    with ask(depot, target) as response:
        assert response.status == 200
        assert response.getheader("Content-Length") == str(len(BUNDLE))
        assert response.read() == BUNDLE
    assert fetch(depot, f"{depot.url}short") == (200, b"short")
    assert fetch(depot, "/with%20blank") == (200, b"blank")
    assert depot.requests == [f"GET {target}", f"GET {depot.url}short", "GET /with%20blank"]


@pytest.mark.parametrize("target", ["/short", "/none"])
def test_a_connection_has_one_answer(depot: Depot, target: str) -> None:
    """What else was asked on it is lost, and the client is told so."""
    with shake(depot) as secure:
        secure.sendall(f"GET {target} HTTP/1.1\r\n\r\n".encode() * 2)
        with suppress(ConnectionError):  # it closed before it had read everything
            answer = b"".join(iter(lambda: secure.recv(65_536), b""))
            assert answer.count(b"HTTP/1.1 ") == answer.count(b"Connection: close\r\n") == 1
    assert depot.requests == [f"GET {target}"]


@pytest.mark.parametrize("target", ["/", "/none", "/../secret", "/%2e%2e/secret", "/..%2fsecret", "/roots.pem%00"])
def test_nothing_else_is_served(depot: Depot, target: str) -> None:
    """No listing and no way out, however it is written."""
    status, body = fetch(depot, target)
    assert status == 404
    assert b"roots.pem" not in body


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_other_methods_are_refused_and_noted(depot: Depot, folder: Path, method: str) -> None:
    """The folder stays as it is."""
    assert fetch(depot, method=method)[0] == 501
    assert depot.requests == [f"{method} /roots.pem"]
    assert (folder / "roots.pem").read_bytes() == BUNDLE


@pytest.mark.parametrize("offset", [timedelta(), timedelta(days=-400), timedelta(minutes=7)])
def test_the_date_can_be_shifted(depot: Depot, offset: timedelta) -> None:
    """Every answer has one, also one that is a fault."""
    depot.date_offset = offset
    depot.faults["/short"] = DepotFault.parse("status:503")
    for target in ("/roots.pem", "/none", "/short"):
        before = datetime.now(UTC).replace(microsecond=0)
        with ask(depot, target) as response:
            date = parsedate_to_datetime(response.headers["Date"])
        assert before <= date - offset <= datetime.now(UTC)


def test_a_client_that_trusts_another_root_gets_nothing(depot: Depot) -> None:
    """The certificate is of the authority that was given, and noted is nothing."""
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(depot, Authority("another", datetime.now(UTC)))
    assert depot.requests == []


def test_an_authority_below_a_root_will_do(folder: Path) -> None:
    """Its certificate is sent along."""
    with serving(folder, ROOT.intermediate("below", datetime.now(UTC))) as depot:
        assert fetch(depot) == (200, BUNDLE)


# -- faults ------------------------------------------------------------------------------------------------------------


def test_a_fault_strikes_its_path_until_it_is_taken_out(depot: Depot) -> None:
    """Whatever the query is."""
    depot.faults["/roots.pem"] = DepotFault.parse("status:503")
    assert [fetch(depot, "/roots.pem?a=b")[0], fetch(depot, "/short")[0], fetch(depot)[0]] == [503, 200, 503]
    depot.faults.clear()
    assert fetch(depot) == (200, BUNDLE)


def test_a_redirection_names_its_target(depot: Depot) -> None:
    """It may lead anywhere, to what is not HTTPS too."""
    depot.faults["/roots.pem"] = DepotFault.parse("redirect:http://localhost:1/x")
    with ask(depot, "/roots.pem") as response:
        assert (response.status, response.getheader("Location"), response.read()) == (307, "http://localhost:1/x", b"")


def test_a_truncated_answer_declares_all_and_sends_half(depot: Depot) -> None:
    """The client can tell."""
    depot.faults["/roots.pem"] = DepotFault.parse("truncated")
    with pytest.raises(http.client.IncompleteRead) as caught:
        fetch(depot)
    assert caught.value.partial == BUNDLE[: len(BUNDLE) // 2]


def test_a_wrong_length_declares_half_and_sends_all(depot: Depot) -> None:
    """A client that believes it takes half a file for whole."""
    depot.faults["/roots.pem"] = DepotFault.parse("wrong-length")
    assert fetch(depot) == (200, BUNDLE[: len(BUNDLE) // 2])


def test_a_slow_answer_comes_byte_by_byte(depot: Depot) -> None:
    """No byte is missing in the end."""
    depot.faults["/short"] = DepotFault.parse("slow")
    began = time.monotonic()
    assert fetch(depot, "/short") == (200, b"short")
    assert time.monotonic() - began >= 4 * 0.2


def test_an_endless_answer_declares_no_length(depot: Depot) -> None:
    """It begins as the file does and goes on for as long as the client reads."""
    depot.faults["/roots.pem"] = DepotFault.parse("endless")
    with ask(depot, "/roots.pem") as response:
        assert response.getheader("Content-Length") is None
        assert response.read(len(BUNDLE)) == BUNDLE
        for _ in range(50):
            assert len(response.read(100_000)) == 100_000
    until(lambda: not depot._server._open)


def test_a_hanging_request_is_taken_and_not_answered(folder: Path) -> None:
    """Until the client leaves, however long that takes."""
    with serving(folder, patience=SHORT) as depot:
        depot.faults["/roots.pem"] = DepotFault.parse("hang")
        with pytest.raises(TimeoutError), ask(depot, "/roots.pem", timeout=2 * SHORT):
            pass
        assert depot.requests == ["GET /roots.pem"]
        until(lambda: not depot._server._open)


@pytest.mark.parametrize("fault", ["endless", "slow", "truncated", "wrong-length"])
def test_what_does_not_exist_is_missing_under_a_fault_of_its_body_too(depot: Depot, fault: str) -> None:
    """There is no body to spoil."""
    depot.faults["/none"] = DepotFault.parse(fault)
    assert fetch(depot, "/none")[0] == 404


# -- bad clients and the end -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["endless", "slow", "hang"])
def test_it_ends_soon_in_the_middle_of_a_fault(folder: Path, fault: str) -> None:
    """A client that neither reads nor leaves cannot keep it."""
    with ExitStack() as clients:
        with serving(folder) as depot:
            depot.faults["/roots.pem"] = DepotFault.parse(fault)
            deaf = clients.enter_context(shake(depot))
            deaf.sendall(b"GET /roots.pem HTTP/1.1\r\n\r\n")
            until(lambda: bool(depot.requests))
        with suppress(OSError):  # the end of it reaches the client
            while deaf.recv(1_000_000):
                pass


@pytest.mark.parametrize("beginning", [None, b"", b"GET /roots", b"GET / HTTP/1.1\r\nX: "])
def test_it_ends_soon_before_a_whole_request(folder: Path, beginning: bytes | None) -> None:
    """Before the handshake, after it, and in the middle of a request."""
    with ExitStack() as clients, serving(folder) as depot:
        if beginning is None:
            clients.enter_context(dial(depot))
        else:
            clients.enter_context(shake(depot)).sendall(beginning)
        until(lambda: len(depot._server._open) == 1)


@pytest.mark.parametrize("beginning", [None, b"", b"GET /roots", b"GET /roots.pem HTTP/1.1\r\n\r\n"])
def test_a_client_that_sends_nothing_or_does_not_read_is_dropped(folder: Path, beginning: bytes | None) -> None:
    """After a bounded time, while others are served."""
    with ExitStack() as clients, serving(folder, patience=SHORT) as depot:
        depot.faults["/roots.pem"] = DepotFault.parse("endless")
        if beginning is None:
            clients.enter_context(dial(depot))
        else:
            clients.enter_context(shake(depot)).sendall(beginning)
        assert fetch(depot, "/short") == (200, b"short")
        until(lambda: not depot._server._open)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\r\n",
        b"\xff" * 100 + b"\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\n\r\n",
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\r\n",
    ],
)
def test_garbage_harms_its_own_connection_alone(
    depot: Depot, garbage: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing is printed, and the next client is served."""
    with shake(depot) as bad, suppress(OSError):
        bad.sendall(garbage)
        bad.shutdown(socket.SHUT_WR)
        while bad.recv(65_536):
            pass
    with dial(depot) as plain:
        plain.sendall(garbage)
    with shake(depot) as hasty:
        hasty.sendall(b"GET /roots.pem HTTP/1.1\r\n\r\n")
    assert fetch(depot) == (200, BUNDLE)
    assert capfd.readouterr() == ("", "")


def test_only_so_many_clients_are_served_at_once(depot: Depot) -> None:
    """One more is hung up on, and taken when another has left."""
    with ExitStack() as clients:
        held = [clients.enter_context(dial(depot)) for _ in range(MAX_CONNECTIONS)]
        until(lambda: len(depot._server._open) == MAX_CONNECTIONS)
        with dial(depot) as late:
            assert late.recv(1) == b""
        held[0].close()
        until(lambda: len(depot._server._open) < MAX_CONNECTIONS)
        assert fetch(depot) == (200, BUNDLE)


def test_to_close_twice_is_harmless(folder: Path) -> None:
    """The block closes it once more."""
    with serving(folder) as depot:
        assert fetch(depot) == (200, BUNDLE)
        depot.close()
