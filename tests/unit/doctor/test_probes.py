"""Names, servers and clocks that are not as they should be: every look ends, in time and without an error."""

from __future__ import annotations

import socket
import ssl
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from agent.core.aws.endpoints import ALPN_MQTT, Endpoint, Proxy
from agent.crypto import x509
from agent.doctor import probes
from agent.errors import CloudError
from agent.iotcore import path
from agent.sandbox.account.authority import Authority
from support.network.depot import Depot
from support.network.servers import drips, hangs_up, pieces, says, says_nothing, server, speaks, tls_context

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
ROOT = Authority("Root A", NOW)
HOST = "localhost"
SHORT = 5.0  # seconds that the tests grant a look that finds nothing: enough to connect and to shake hands
GENEROUS = 60.0  # seconds by which a look must have ended on the busiest machine
HTTP = says(b"HTTP/1.1 400 Bad Request\r\n\r\n")  # what a web server answers that was not spoken to in HTTP


def context(*versions: ssl.TLSVersion, authority: Authority = ROOT) -> ssl.SSLContext:
    """Return a server's TLS settings, with other versions if given."""
    return tls_context(authority.issue_server(HOST, NOW - DAY, NOW + DAY), *versions)


def at(port: int) -> Endpoint:
    """Return the endpoint on a port of this machine."""
    return Endpoint(host=HOST, port=port)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every look be short, so that no test waits for the real patience."""
    monkeypatch.setattr(probes, "PATIENCE", SHORT)


# -- names -------------------------------------------------------------------------------------------------------------


def test_a_name_has_addresses() -> None:
    """Each of them once, also for a name that is an address."""
    assert "127.0.0.1" in probes.resolve(HOST)
    assert probes.resolve("127.0.0.1") == ("127.0.0.1",)
    assert len(set(probes.resolve(HOST))) == len(probes.resolve(HOST))


@pytest.mark.parametrize("name", ["256.256.256.256.", "no such name", "a" * 64 + ".example"])
def test_a_name_without_addresses_is_a_failure_of_names(name: str) -> None:
    """Whatever the library says about it."""
    with pytest.raises(CloudError) as caught:
        probes.resolve(name)
    assert caught.value.failure.code == "dns"
    assert name in caught.value.failure.message


def test_a_name_is_not_waited_for_beyond_the_callers_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The C library may hang for a minute; the caller has been told long before."""
    free, answered = threading.Event(), threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        free.wait(GENEROUS)
        answered.set()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with pytest.raises(CloudError):
        probes.resolve("slow.example", patience=0.05)
    assert not answered.is_set()
    free.set()


# -- ports -------------------------------------------------------------------------------------------------------------


def test_a_port_is_open_or_not() -> None:
    """A refused connection is an answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert probes.reaches(Endpoint(host=HOST), port)
    assert not probes.reaches(Endpoint(host=HOST), port)


def test_all_addresses_of_a_name_together_get_the_timeout_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS gives eight; on a dead network that would be eight times the patience."""
    full, clients = full_listener()
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", full.getsockname())] * 8
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    try:
        began = monotonic()
        with pytest.raises(CloudError) as caught:
            path.connect(Endpoint(host="many.example", timeout=1.0))
        assert monotonic() - began < 8.0
        assert "no answer in time" in caught.value.failure.message
    finally:
        for connection in (*clients, full):
            connection.close()


def full_listener() -> tuple[socket.socket, list[socket.socket]]:
    """Return a socket that takes no connection any more, and what fills its queue: the kernel drops all that knocks."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    clients = []
    for _ in range(4):
        client = socket.socket()
        client.setblocking(False)  # noqa: FBT003 - the standard library has no other way
        client.connect_ex(listener.getsockname())
        clients.append(client)
    return listener, clients


def test_the_next_address_is_tried_when_one_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead address costs half of the time and not the connection."""
    full, clients = full_listener()
    with server(speaks(context())) as port:
        family = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        found = [(*family, full.getsockname()), (*family, ("127.0.0.1", port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        with path.connect(Endpoint(host=HOST, timeout=2.0)) as connection:
            assert connection.getpeername()[1] == port
            assert connection.gettimeout() == 2.0
    for connection in (*clients, full):
        connection.close()


# -- what a server shows -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "expected"), [(ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")]
)
def test_a_server_shows_its_chain_without_being_trusted(version: ssl.TLSVersion, expected: str) -> None:
    """Its own certificate comes first, then those above it."""
    issuing = ROOT.intermediate("Issuing CA", NOW)
    with server(speaks(context(version, version, authority=issuing))) as port:
        shown = probes.look(at(port))
    assert shown.version == expected
    names = [x509.read_certificate(der)[0].subject for der in shown.chain]
    assert names == [f"CN={HOST}", "CN=Issuing CA"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_server_that_is_too_old_can_be_looked_at() -> None:
    """Only on request: by itself a look asks for what the agent speaks."""
    old = ssl.TLSVersion.TLSv1_1
    with server(speaks(context(ssl.TLSVersion.TLSv1, old))) as port:
        assert probes.look(at(port)).version == ""
        assert probes.look(at(port), old, old).version == "TLSv1.1"


def test_a_server_that_wants_a_client_certificate_is_shown_none() -> None:
    """What it shows before it refuses is enough."""
    shown_to_it: list[object] = []

    def talk(connection: socket.socket) -> None:
        made = context(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
        made.verify_mode = ssl.CERT_OPTIONAL
        made.load_verify_locations(cadata=ROOT.pem.decode())
        with made.wrap_socket(connection, server_side=True) as secured:
            shown_to_it.append(secured.getpeercert())

    with server(talk) as port:
        shown = probes.look(at(port))
    assert shown.version == "TLSv1.2"
    assert shown.chain
    assert shown_to_it == [None]


def test_a_server_that_insists_on_a_client_certificate_is_seen_all_the_same() -> None:
    """As AWS IoT Core does; in TLS 1.2 it ends the handshake before its end."""
    made = context(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_verify_locations(cadata=ROOT.pem.decode())
    with server(speaks(made)) as port:
        shown = probes.look(at(port))
    assert shown.version == "TLSv1.2"
    assert x509.read_certificate(shown.chain[0])[0].subject == f"CN={HOST}"


def test_alpn_is_offered_where_it_is_wanted() -> None:
    """On port 443 AWS takes a connection without it for HTTPS."""
    heard: list[str | None] = []

    def talk(connection: socket.socket) -> None:
        made = context(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
        made.set_alpn_protocols([ALPN_MQTT])
        with made.wrap_socket(connection, server_side=True) as secured:
            heard.append(secured.selected_alpn_protocol())

    with server(talk) as port:
        probes.look(at(port))
        probes.look(replace(at(port), alpn=True))
    assert heard == [None, ALPN_MQTT]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "talk",
    [
        HTTP,
        says(b"SSH-2.0-OpenSSH_9.2\r\n"),
        hangs_up,
        says_nothing,
        drips,
    ],
    ids=["http", "ssh", "leaves", "hangs", "drips"],
)
def test_what_is_no_server_shows_nothing(talk: Callable[[socket.socket], None]) -> None:
    """Every look ends, also before a server that sends a byte at a time."""
    with server(talk) as port:
        assert probes.look(at(port)) == probes.ServerLook()


def test_no_path_shows_nothing() -> None:
    """Nothing is raised; the path has a check of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert probes.look(at(port)) == probes.ServerLook()


def test_a_look_takes_the_proxy() -> None:
    """Where the gateway has no other way out, neither has the doctor."""
    asked: list[bytes] = []

    def tunnel(connection: socket.socket) -> None:
        asked.append(connection.recv(4096))
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        speaks(context())(connection)

    with server(tunnel) as port:
        through = Endpoint(host=HOST, port=8883, proxy=Proxy(host="127.0.0.1", port=port))
        assert probes.look(through).chain
    assert asked[0].startswith(b"CONNECT localhost:8883 ")


# -- the endpoint's clock ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [timedelta(), timedelta(days=20_000), timedelta(days=-20_000), timedelta(hours=3)])
def test_a_web_server_tells_the_time(tmp_path: Path, offset: timedelta) -> None:
    """Whatever its certificate is worth: the clock may be too wrong to judge that."""
    with Depot(tmp_path, ROOT) as depot:
        depot.date_offset = offset
        before = datetime.now(UTC).replace(microsecond=0)
        told = probes.date_of(at(8883), port=int(depot.url.split(":")[-1].rstrip("/")))
    assert told is not None
    assert before <= told - offset <= datetime.now(UTC)


HEAD = b"HTTP/1.1 403 Forbidden\r\n"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "answer",
    [
        b"",
        HEAD + b"\r\n",
        HEAD + b"Server: x\r\nContent-Length: 0\r\n\r\n",
        HEAD + b"Date: \r\n\r\n",
        HEAD + b"Date: yesterday\r\n\r\n",
        HEAD + b"Date: Mon, 99 Foo 2026 10:00:00 GMT\r\n\r\n",
        HEAD + b"Date: Mon, 01 Jan 99999999999999999999 10:00:00 GMT\r\n\r\n",
        HEAD + b"Date: Mon, 01 Jan " + b"9" * 5000 + b" 10:00:00 GMT\r\n\r\n",
        HEAD + b"Date: Mon, 01 Jan 2026 10:00:00 +99999999\r\n\r\n",
        HEAD + b"Date: Mon, 01 Jan 2026 10:00:00 -0000\r\n\r\n",
        HEAD + b"Date: \xff\xfe\x00\r\n\r\n",
        b"\x00" * 20_000,
        b"no http at all",
        HEAD + b"x" * 9_000 + b"\r\nDate: Mon, 01 Jan 2026 10:00:00 GMT\r\n\r\n",
    ],
)
def test_what_is_no_date_is_none(answer: bytes) -> None:
    """A hostile head is no defect of ours."""
    with server(speaks(context(), lambda connection: connection.sendall(answer))) as port:
        assert probes.date_of(Endpoint(host=HOST), port=port) is None


@pytest.mark.parametrize("name", [b"Date", b"date", b"DATE"])
def test_a_date_is_found_whatever_its_case(name: bytes) -> None:
    """Header names have none (RFC 9110, section 5.1)."""
    answer = HEAD + b"Server: x\r\n" + name + b":  Mon, 01 Mar 2027 12:00:00 GMT\r\n\r\n"
    with server(speaks(context(), lambda connection: connection.sendall(answer))) as port:
        assert probes.date_of(Endpoint(host=HOST), port=port) == datetime(2027, 3, 1, 12, tzinfo=UTC)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "talk",
    [
        says_nothing,
        hangs_up,
        HTTP,
        speaks(context(), says_nothing),
        speaks(context(), pieces(HEAD, b"x")),
        speaks(context(), pieces(HEAD, b"x" * 3_000)),
        drips,
    ],
    ids=["hangs", "leaves", "http", "hangs after the handshake", "drips", "no end", "drips in the handshake"],
)
def test_asking_for_the_time_ends(talk: Callable[[socket.socket], None]) -> None:
    """However the other side behaves, and before it does."""
    with server(talk) as port:
        assert probes.date_of(Endpoint(host=HOST), port=port) is None


def test_without_a_server_there_is_no_time() -> None:
    """Most endpoints of one's own have no web server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert probes.date_of(Endpoint(host=HOST), port=port) is None
