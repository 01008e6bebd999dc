"""Servers that send too much, too slowly, something else or nothing, and what is told of them."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.core.aws.endpoints import Proxy
from agent.errors import BundleError
from agent.sandbox.authority import Authority
from agent.trust.download import Downloader, MissingError, check_url, plain_url
from support.depot import Depot, DepotFault
from support.tunnels import tunnelling_proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
ROOT = Authority("depot root", NOW)
CONTENT = b"0123456789" * 20
LIMIT = 1_000
ENOUGH = 3.0  # seconds for everything: enough to shake hands and to ask, and what comes after takes for ever
SECRET = "X-Amz-Signature=5ec2e7"  # noqa: S105 - what must not be told


@pytest.fixture
def depot(tmp_path: Path) -> Iterator[Depot]:
    """Serve one file."""
    (tmp_path / "b.tar").write_bytes(CONTENT)
    with Depot(tmp_path, ROOT) as running:
        yield running
    assert running.defects == []


def downloader(anchors: Authority | None = ROOT, *, whole: float = 30.0, proxy: Proxy | None = None) -> Downloader:
    """Return one that trusts an authority besides the system's."""
    return Downloader(anchors.pem if anchors else b"", proxy, whole=whole)


def read(depot: Depot, path: str = "b.tar", *, whole: float = 30.0) -> bytes:
    """Download a file with a query that no reader may see."""
    return downloader(whole=whole).read(f"{depot.url}{path}?{SECRET}", LIMIT)


def refusal(act: Callable[[], object]) -> BundleError:
    """Return why a download failed, once its message is known to hold no secret."""
    with pytest.raises(BundleError) as caught:
        act()
    assert SECRET not in str(caught.value) + caught.value.hint
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value


def faulty(depot: Depot, fault: str, *, whole: float = 30.0) -> BundleError:
    """Return why a download fails while something is wrong with the server."""
    depot.faults["/b.tar"] = DepotFault.parse(fault)
    return refusal(lambda: read(depot, whole=whole))


# -- what comes --------------------------------------------------------------------------------------------------------


def test_a_file_comes_with_its_query_asked_for(depot: Depot) -> None:
    """Whole, and from no other place."""
    assert read(depot) == CONTENT
    assert depot.requests == [f"GET /b.tar?{SECRET}"]


def test_pieces_are_the_whole(depot: Depot, tmp_path: Path) -> None:
    """However many there are."""
    (tmp_path / "b.tar").write_bytes(CONTENT * 10_000)
    pieces = list(downloader().pieces(f"{depot.url}b.tar"))
    assert b"".join(pieces) == CONTENT * 10_000
    assert len(pieces) > 1


def test_one_downloader_gets_several_files(depot: Depot) -> None:
    """Each over a connection of its own."""
    one = downloader()
    assert [one.read(f"{depot.url}b.tar", LIMIT) for _ in range(3)] == [CONTENT] * 3


def test_an_empty_file_is_a_file(depot: Depot, tmp_path: Path) -> None:
    """What that means is for others to say."""
    (tmp_path / "b.tar").write_bytes(b"")
    assert read(depot) == b""


def test_the_limit_is_allowed_and_not_a_byte_more(depot: Depot, tmp_path: Path) -> None:
    """Whatever the server declares."""
    (tmp_path / "b.tar").write_bytes(bytes(LIMIT))
    assert len(read(depot)) == LIMIT
    (tmp_path / "b.tar").write_bytes(bytes(LIMIT + 1))
    error = refusal(lambda: read(depot))
    assert (error.code, error.passing) == ("too-large", False)
    assert str(error) == f"{depot.url}b.tar sends more than the {LIMIT} bytes allowed."


def test_what_never_ends_is_given_up_at_the_limit(depot: Depot) -> None:
    """And the connection is closed."""
    assert faulty(depot, "endless").code == "too-large"


def test_a_reader_that_stops_early_closes_the_connection(depot: Depot) -> None:
    """Nothing is left open; the depot would say so."""
    depot.faults["/b.tar"] = DepotFault.parse("endless")
    pieces = downloader().pieces(f"{depot.url}b.tar")
    assert next(pieces)
    pieces.close()  # type: ignore[attr-defined] # a generator's


# -- statuses and redirections -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [403, 404, 410])
def test_what_is_not_there_is_missing(status: int, depot: Depot) -> None:
    """A presigned URL that has ended is answered with 403."""
    error = faulty(depot, f"status:{status}")
    assert isinstance(error, MissingError)
    assert (error.code, error.passing) == ("missing", False)
    assert str(error) == f"{depot.url}b.tar is not there, or not any more ({status})."
    assert error.hint == "A presigned URL has an end; make a new one."


@pytest.mark.parametrize("status", [400, 401, 429, 500, 503])
def test_any_other_status_may_pass(status: int, depot: Depot) -> None:
    """It says nothing about the bundle."""
    error = faulty(depot, f"status:{status}")
    assert not isinstance(error, MissingError)
    assert (error.code, error.passing) == ("unavailable", True)
    assert str(error) == f"{depot.url}b.tar answers with status {status}."


def test_a_redirection_to_https_is_followed(depot: Depot, tmp_path: Path) -> None:
    """Also to another host, for the signature is what is trusted."""
    (tmp_path / "other.tar").write_bytes(b"other")
    depot.faults["/b.tar"] = DepotFault.parse(f"redirect:{depot.url}other.tar?{SECRET}")
    assert read(depot) == b"other"


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/x?" + SECRET,
        "https://localhost:99999/x?" + SECRET,
        "https://localhost:0/x?" + SECRET,
    ],
)
def test_a_redirection_to_anything_else_is_refused(url: str, depot: Depot) -> None:
    """Also when the first step was sound."""
    error = faulty(depot, f"redirect:{url}")
    assert (error.code, error.passing) == ("url", False)
    assert len(depot.requests) == 1


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://localhost/x", "gopher://localhost", "data:,x"])
def test_a_redirection_to_another_scheme_reads_nothing(url: str, depot: Depot) -> None:
    """Least of all a file of the gateway's."""
    assert faulty(depot, f"redirect:{url}").code == "url"
    assert len(depot.requests) == 1


def test_a_place_is_asked_for_as_the_server_spelt_it(depot: Depot, tmp_path: Path) -> None:
    """Many spell a space as a space, and a name in its own letters; a place without a host is on the same one."""
    (tmp_path / "Wurzeln für alle.tar").write_bytes(b"other")
    depot.faults["/b.tar"] = DepotFault.parse("redirect:/Wurzeln fÃ¼r alle.tar?" + SECRET)  # UTF-8, as ISO 8859-1
    assert read(depot) == b"other"
    assert depot.requests[1] == f"GET /Wurzeln%20f%C3%BCr%20alle.tar?{SECRET}"


def test_a_circle_of_redirections_has_an_end(depot: Depot) -> None:
    """After a few rounds."""
    error = faulty(depot, f"redirect:{depot.url}b.tar?{SECRET}")
    assert (error.code, error.passing) == ("unavailable", True)
    assert len(depot.requests) < 20


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


@contextmanager
def proxy(answer: bytes, *, forward: bool) -> Iterator[tuple[Proxy, list[bytes]]]:
    """Run a proxy for one connection, and give what it was asked."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                client, _ = listener.accept()
                client.settimeout(60)
                with client:
                    asked.append(client.recv(65_536))
                    client.sendall(answer)
                    if forward:
                        pass_on(client, int(asked[0].split()[1].rpartition(b":")[2]))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Proxy(host="127.0.0.1", port=listener.getsockname()[1]), asked
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(60)
            assert not thread.is_alive()


def pass_on(client: socket.socket, port: int) -> None:
    """Carry bytes both ways until one side ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as upstream:

        def back() -> None:
            with suppress(OSError):
                while data := upstream.recv(65_536):
                    client.sendall(data)
                client.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=back)
        thread.start()
        with suppress(OSError):
            while data := client.recv(65_536):
                upstream.sendall(data)
            upstream.shutdown(socket.SHUT_WR)
        thread.join(60)


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


# -- URLs --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://depot.test",
        "https://depot.test/",
        "https://depot.test:8443/a/b.tar?X-Amz-Expires=60&a=%20",
        "HTTPS://depot.test/x",
        "https://[::1]/x",
        "https://192.0.2.1/x",
    ],
)
def test_a_sound_url_passes(url: str) -> None:
    """Nothing is looked up. The same with a fragment does not pass, so it was the URL that was judged."""
    check_url(url)
    assert refusal(lambda: check_url(f"{url}#a")).code == "url"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "depot.test/x",
        "http://depot.test/x",
        "file:///etc/passwd",
        "ftp://depot.test/x",
        "https:",
        "https://",
        "https:///x",
        "https://:443/x",
        "https://depot.test:0/x",
        "https://depot.test:99999/x",
        "https://depot.test:port/x",
        "https://[::1/x",
        "https://depot.test/a b",
        "https://depot.test/a\r\nX: y",
        "https://depot.test/a\0",
        " https://depot.test/x",
    ],
)
def test_any_other_url_is_refused(url: str) -> None:
    """And not shown: what is no URL may be a secret in whole."""
    error = refusal(lambda: check_url(url))
    assert (error.code, error.passing) == ("url", False)
    assert str(error) == "The bundle's URL is not one that begins with https:// and names a host."


@pytest.mark.parametrize("url", ["https://localhost:1/bündel.tar", "https://user:word@localhost:1/x"])
def test_a_url_that_can_never_be_asked_for_is_refused(url: str) -> None:
    """What is not spelt in ASCII, or names a user, will not work later either."""
    error = refusal(lambda: downloader().read(url, LIMIT))
    assert (error.code, error.passing) == ("url", False)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"https://depot.test/a/b.tar?{SECRET}", "https://depot.test/a/b.tar"),
        (f"https://depot.test:8443/b.tar?{SECRET}#{SECRET}", "https://depot.test:8443/b.tar"),
        (f"https://{SECRET}:{SECRET}@depot.test/b.tar", "https://depot.test/b.tar"),
    ],
)
def test_a_url_is_shown_without_what_may_be_a_secret(url: str, shown: str) -> None:
    """Host and path, and a port where there is one."""
    assert plain_url(url) == shown


def test_nothing_is_left_open(depot: Depot) -> None:
    """Whatever became of a download, also as long as a caller holds the error."""
    before = descriptors()
    faults = ("status:503", "truncated", "redirect:http://localhost/", "redirect:ftp://x/", "redirect:https://[::1/")
    held = [faulty(depot, fault) for fault in (*faults, f"redirect:{depot.url}b.tar")]
    end = time.monotonic() + 60
    while descriptors() > before and time.monotonic() < end:  # the depot closes its own ends a little later
        threading.Event().wait(0.01)
    assert descriptors() <= before
    assert len(held) == len(faults) + 1


def descriptors() -> int:
    """Return how many files and sockets this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))
