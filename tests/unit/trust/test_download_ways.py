"""Downloads that take too long, servers that are not trusted, and proxies."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.aws.endpoints import Proxy
from agent.errors import BundleError
from agent.sandbox.account.authority import Authority
from support.network.depot import Depot, DepotFault
from support.network.tunnels import tunnelling_proxy
from support.unit.trust.download import CONTENT, LIMIT, NOW, ROOT, SECRET, downloader, faulty, proxy, read, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DAY = timedelta(days=1)
ENOUGH = 1.5  # seconds for everything: enough to shake hands and to ask, and what comes after takes for ever


# -- time --------------------------------------------------------------------------------------------------------------


def test_a_slow_drip_is_given_up_when_the_time_for_everything_is_over(depot: Depot) -> None:
    """Each byte is in time, all of them are not."""
    error = faulty(depot, "slow", whole=ENOUGH)
    assert (error.code, error.passing) == ("slow", True)
    assert str(error).startswith(f"{depot.url}b.tar did not ")


def test_a_server_that_says_nothing_is_given_up(depot: Depot) -> None:
    """It took the request."""
    error = faulty(depot, "hang", whole=ENOUGH)
    assert (error.code, error.passing) == ("slow", True)
    assert str(error) == f"{depot.url}b.tar did not answer in time."


def test_the_time_is_for_all_files_together(depot: Depot) -> None:
    """What one used up another does not have; it is not even asked for."""
    one = downloader(whole=0.0)
    error = refusal(lambda: one.read(f"{depot.url}b.tar?{SECRET}", LIMIT))
    assert (error.code, error.passing) == ("slow", True)
    assert depot.requests == []


def test_what_is_cut_off_may_pass(depot: Depot) -> None:
    """Half of a bundle is none, and the rest may come next time."""
    error = faulty(depot, "truncated")
    assert (error.code, error.passing) == ("cut-off", True)
    assert str(error) == f"{depot.url}b.tar sent less than it announced."


def test_what_comes_beyond_the_declared_length_is_not_read(depot: Depot) -> None:
    """The server says how much there is; whether that is enough is for the signature to say."""
    depot.faults["/b.tar"] = DepotFault.parse("wrong-length")
    assert read(depot) == CONTENT[: len(CONTENT) // 2]


@contextmanager
def server(talk: Callable[[ssl.SSLSocket], None], root: Authority = ROOT) -> Iterator[str]:
    """Shake hands, read the request, and let `talk` answer; give the URL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    root.issue_server("localhost", NOW - DAY, NOW + DAY).load_into(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                raw, _ = listener.accept()
                raw.settimeout(20)
                with raw, context.wrap_socket(raw, server_side=True) as secure:
                    secure.recv(65_536)
                    talk(secure)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"https://localhost:{listener.getsockname()[1]}/b.tar?{SECRET}"
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(60)
            assert not thread.is_alive()


def drip(data: bytes) -> Callable[[ssl.SSLSocket], None]:
    """Return what sends an answer byte by byte, for a minute at most."""
    ended = threading.Event()

    def talk(secure: ssl.SSLSocket) -> None:
        for byte in data[:600]:
            secure.sendall(bytes([byte]))
            ended.wait(0.1)

    return talk


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 " + b"O" * 1_000, b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 1_000])
def test_a_slow_head_is_given_up_when_the_time_for_everything_is_over(head: bytes) -> None:
    """It is as long as a server likes, so the time must run before the body too."""
    with server(drip(head)) as url:
        error = refusal(lambda: downloader(whole=ENOUGH).read(url, LIMIT))
    assert (error.code, error.passing) == ("slow", True)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nab",
        b"HTTP/1.1 302 Found\r\nLocation: https://[::1/x?" + SECRET.encode() + b"\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: https://\xff\xfe/x?" + SECRET.encode() + b"\r\n\r\n",
        b"HTTP/1.1 302 Found\r\n\r\n",
        b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_an_answer_that_is_no_sound_http_is_one_sentence(answer: bytes) -> None:
    """Whatever it is, only one kind of error comes out."""
    with server(lambda secure: secure.sendall(answer)) as url:
        error = refusal(lambda: downloader(whole=5.0).read(url, LIMIT))
    assert str(error).endswith(".")
    assert str(error).isprintable()


def test_what_comes_is_not_unpacked() -> None:
    """A few bytes may stand for very many."""
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n"
    with server(lambda secure: secure.sendall(head + b"\x1f\x8b\x08x")) as url:
        assert downloader(whole=5.0).read(url, LIMIT) == b"\x1f\x8b\x08x"


@pytest.mark.parametrize("length", [b"-5", b"5, 5", b"x", b"9" * 30])
def test_a_length_that_is_none_does_not_decide(length: bytes) -> None:
    """What comes is what counts, as far as it is whole."""
    answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " + length + b"\r\n\r\nhello"
    with server(lambda secure: secure.sendall(answer)) as url:
        try:
            assert downloader(whole=5.0).read(url, LIMIT) in {b"hello", b""}
        except BundleError as error:
            assert error.passing  # noqa: PT017 - either will do


# -- whom it trusts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("anchors", [None, Authority("another root", NOW)])
def test_a_server_of_another_authority_is_a_stranger(anchors: Authority | None, depot: Depot) -> None:
    """The system's store and the gateway's own anchors, and nothing else; it may pass, for anchors may come."""
    error = refusal(lambda: downloader(anchors).read(f"{depot.url}b.tar?{SECRET}", LIMIT))
    assert (error.code, error.passing) == ("download-trust", True)
    assert str(error).startswith(f"{depot.url}b.tar cannot be read, its certificate is not trusted: ")
    assert str(error).endswith(".")
    assert depot.requests == []


def test_a_server_of_another_name_is_a_stranger(tmp_path: Path) -> None:
    """Whatever authority signed for it."""
    with Depot(tmp_path, ROOT, host="elsewhere.test") as running:
        port = running.url.rpartition(":")[2]
        error = refusal(lambda: downloader().read(f"https://localhost:{port}b.tar?{SECRET}", LIMIT))
    assert error.code == "download-trust"
    assert str(error).endswith("certificate is not valid for 'localhost'.")
    assert running.requests == []


def test_an_absent_server_may_pass() -> None:
    """The network comes and goes."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    error = refusal(lambda: downloader().read(f"https://localhost:{port}/b.tar?{SECRET}", LIMIT))
    assert (error.code, error.passing) == ("unavailable", True)
    assert str(error) == f"https://localhost:{port}/b.tar cannot be reached (Connection refused)."


def test_a_server_that_speaks_no_tls_may_pass(depot: Depot) -> None:
    """Something is in between."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def answer() -> None:
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        error = refusal(lambda: downloader().read(f"https://localhost:{port}/b.tar?{SECRET}", LIMIT))
        thread.join()
    assert (error.code, error.passing) == ("unavailable", True)
    assert depot.requests == []


# -- the way out -------------------------------------------------------------------------------------------------------


def test_a_proxy_is_asked_for_a_way_and_sees_no_secret(depot: Depot) -> None:
    """It hears host and port; the query goes through the tunnel."""
    with proxy(b"HTTP/1.1 200 OK\r\n\r\n", forward=True) as (way, asked):
        assert downloader(proxy=way).read(f"{depot.url}b.tar?{SECRET}", LIMIT) == CONTENT
    assert asked[0].startswith(b"CONNECT localhost:")
    assert SECRET.encode() not in asked[0]
    assert depot.requests == [f"GET /b.tar?{SECRET}"]


@pytest.mark.parametrize("answer", [b"HTTP/1.1 407 No\r\n\r\n", b"HTTP/1.1 503 No\r\n\r\n", b"garbage\r\n", b""])
def test_a_proxy_that_opens_no_way_may_pass(answer: bytes, depot: Depot) -> None:
    """And no download goes around it."""
    with proxy(answer, forward=False) as (way, _):
        error = refusal(lambda: downloader(proxy=way, whole=5.0).read(f"{depot.url}b.tar?{SECRET}", LIMIT))
    assert (error.code, error.passing) == ("unavailable", True)
    assert way.address in str(error)
    assert error.hint
    assert depot.requests == []


def test_a_proxy_is_given_name_and_password(depot: Depot, tmp_path: Path) -> None:
    """As the connections to the broker give them; a strict proxy opens a way for both."""
    file = tmp_path / "password"
    file.write_text("geheim")
    file.chmod(0o600)
    with tunnelling_proxy(credentials="gateway:geheim") as (port, asked):
        way = Proxy(host="127.0.0.1", port=port, user="gateway", password_file=file)
        assert downloader(proxy=way).read(f"{depot.url}b.tar?{SECRET}", LIMIT) == CONTENT
        assert "asks for a name" in str(refusal(lambda: downloader(proxy=replace(way, user=None)).read(depot.url, 1)))
    assert len(asked) == 1


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "all_proxy"])
def test_a_proxy_of_the_environment_is_not_used(name: str, depot: Depot, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration alone says which way out there is."""
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert read(depot) == CONTENT


def test_the_environment_does_not_lead_around_the_proxy(depot: Depot, monkeypatch: pytest.MonkeyPatch) -> None:
    """As above."""
    monkeypatch.setenv("no_proxy", "*")
    way = Proxy(host="127.0.0.1", port=1)
    assert refusal(lambda: downloader(proxy=way).read(f"{depot.url}b.tar?{SECRET}", LIMIT)).code == "unavailable"
    assert depot.requests == []
