"""The way out: a strict proxy, one that asks who one is, and what is said of each that opens none."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from agent.core.aws.endpoints import Endpoint, Proxy
from agent.core.failure.failure import FailureClass
from agent.errors import CloudError
from agent.iotcore import path
from agent.iotcore.client_options import Connector, Timeouts
from agent.sandbox.account.authority import Authority
from support.network.tunnels import tunnelling_proxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent.core.failure.failure import Failure

NOW = datetime.now(UTC)
HOST = "localhost"
SECRET = "s3cr3t: with ümlaut"  # noqa: S105 - what must not be told


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """Run what answers the first connection with the same, whatever it is asked, and give its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(20)
                    connection.recv(65_536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(30)


def password(tmp_path: Path, text: bytes, mode: int = 0o640) -> Path:
    """Write a password's file."""
    file = tmp_path / "proxy-password"
    file.write_bytes(text)
    file.chmod(mode)
    return file


def refused(proxy: Proxy, *, port: int = 8883) -> Failure:
    """Return why there is no way."""
    with pytest.raises(CloudError) as caught:
        path.connect(Endpoint(host=HOST, port=port, proxy=proxy, timeout=5.0)).close()
    return caught.value.failure


def test_a_tunnel_is_asked_for_as_the_standard_says() -> None:
    """HTTP/1.1 with the Host field of the target; a proxy may refuse everything else."""
    with tunnelling_proxy() as (port, asked), socket.create_server((HOST, 0)) as endpoint:
        target = endpoint.getsockname()[1]
        path.connect(Endpoint(host=HOST, port=target, proxy=Proxy(host=HOST, port=port), timeout=5.0)).close()
    assert asked == [f"CONNECT localhost:{target}"]


def test_what_the_endpoint_says_first_is_not_lost() -> None:
    """The proxy's answer is read to its end and no further."""
    with answering(b"HTTP/1.1 200 OK\r\nVia: site\r\n\r\nhello") as port:
        way = path.connect(Endpoint(host=HOST, proxy=Proxy(host=HOST, port=port), timeout=5.0))
        with way:
            assert way.recv(100) == b"hello"


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n", b"\r", b"\0", b"\n\0", b"\r\nnever read\n"])
def test_a_proxy_is_given_name_and_password(tmp_path: Path, ending: bytes) -> None:
    """Of the file the first line counts, however it ends."""
    file = password(tmp_path, SECRET.encode() + ending)
    with (
        tunnelling_proxy(credentials=f"gateway:{SECRET}") as (port, asked),
        socket.create_server((HOST, 0)) as endpoint,
    ):
        proxy = Proxy(host=HOST, port=port, user="gateway", password_file=file)
        path.connect(Endpoint(host=HOST, port=endpoint.getsockname()[1], proxy=proxy, timeout=5.0)).close()
    assert len(asked) == 1


def test_the_sdk_is_given_the_same(tmp_path: Path) -> None:
    """And so is a connector that is shown or logged nothing of it."""
    proxy = Proxy(host=HOST, port=1, user="gateway", password_file=password(tmp_path, SECRET.encode()))
    connector = Connector(Endpoint(host=HOST, proxy=proxy), Timeouts())
    authority = Authority("root A", NOW)
    claim = authority.issue_claim(NOW)
    context = connector.tls_context("set", claim.key_pem, claim.certificate_pem, authority.pem)
    options = connector.options("gw", context).http_proxy_options
    assert options is not None
    assert (options.host_name, options.port) == (HOST, 1)
    assert (options.auth_username, options.auth_password) == ("gateway", SECRET)
    assert SECRET not in repr((options, connector.endpoint))


def test_a_changed_password_counts_at_once(tmp_path: Path) -> None:
    """It is read for each connection; nothing has to be reloaded. A mark and UTF-16 of another system are no part."""
    proxy = Proxy(host=HOST, port=1, user="gateway", password_file=password(tmp_path, b"old"))
    assert path.credentials(proxy) == ("gateway", "old")
    password(tmp_path, b"new")
    assert path.credentials(proxy) == ("gateway", "new")
    for written in (b"\xef\xbb\xbfsecret\r\n", "\ufeffsecret\r\n".encode("utf-16-le"), "secret\n".encode("utf-16-be")):
        password(tmp_path, written)
        assert path.credentials(proxy) == ("gateway", "secret")


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [(b"x", 0o644, "may be read by others"), (b"\x01\x02", 0o600, "no plain text"), (b"x" * 5000, 0o600, "larger")],
)
def test_a_password_that_cannot_be_read_is_said(tmp_path: Path, text: bytes, mode: int, words: str) -> None:
    """Nothing is sent then, and the file is named."""
    file = password(tmp_path, text, mode)
    failure = refused(Proxy(host=HOST, port=1, user="gateway", password_file=file))
    assert (failure.kind, failure.code) == (FailureClass.NETWORK, "proxy")
    assert words in failure.message
    assert str(file) in failure.message
    assert failure.remedy


BASIC = b'Proxy-Authenticate: Basic realm="site"\r\n'


@pytest.mark.parametrize(
    ("answer", "named", "port", "message", "remedy"),
    [
        (b"HTTP/1.1 407 Who\r\n" + BASIC, False, 8883, "asks for a name and a password", "`password_file`"),
        (b"HTTP/1.1 407 Who\r\n" + BASIC, True, 8883, "does not accept the name and the password", "`proxy.user`"),
        (b"HTTP/1.1 407 Who\r\nProxy-Authenticate: Negotiate\r\n", True, 8883, "by Negotiate", "Basic alone"),
        (b"HTTP/1.1 403 Forbidden\r\n", False, 8883, "opens no way to localhost, port 8883 (403", "set `port: 443`"),
        (b"HTTP/1.1 403 Forbidden\r\n", False, 443, "opens no way to localhost, port 443 (403", "allowed at the proxy"),
        (b"HTTP/1.0 400 Bad Request\r\n", False, 443, "(400 Bad Request)", "allowed at the proxy"),
        (b"HTTP/1.1 302 Found\r\n", False, 443, "(302 Found)", "allowed at the proxy"),
        (b"HTTP/1.1 502 Bad Gateway\r\n", False, 8883, "(502 Bad Gateway)", "the proxy's own uplink"),
        (b"HTTP/1.1 504 \r\n", False, 8883, "(504)", "the proxy's own uplink"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", False, 8883, "is no HTTP proxy", "`proxy.port`"),
        (b"\x15\x03\x03\x00\x02\x02\x0a", False, 8883, "is no HTTP proxy", "`proxy.port`"),
        (b"HTTP/1.1 2\r\n", False, 8883, "is no HTTP proxy", "`proxy.port`"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000, False, 8883, "is no HTTP proxy", "`proxy.port`"),
    ],
)  # fmt: skip
def test_a_proxy_that_opens_no_way_is_named(
    tmp_path: Path, answer: bytes, port: int, message: str, remedy: str, *, named: bool
) -> None:
    """With what it says, and what follows from it for the person who must act."""
    file = password(tmp_path, SECRET.encode())
    with answering(answer + b"\r\n") as at:
        proxy = Proxy(host="127.0.0.1", port=at)
        failure = refused(replace(proxy, user="gateway", password_file=file) if named else proxy, port=port)
    assert (failure.kind, failure.code, failure.decisive) == (FailureClass.NETWORK, "proxy", False)
    assert f"127.0.0.1:{at}" in failure.message
    assert message in failure.message
    assert remedy in failure.remedy
    assert SECRET not in str(failure) + failure.remedy


def test_a_proxy_that_is_not_there_is_named() -> None:
    """Nothing is said of the endpoint, which was never asked."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    gone, unknown = refused(Proxy(host="127.0.0.1", port=port)), refused(Proxy(host="proxy.invalid", port=3128))
    assert (gone.code, unknown.code) == ("unreachable", "dns")
    assert gone.message == f"The proxy 127.0.0.1:{port} does not take connections (Connection refused)."
    assert unknown.message == "The name of the proxy, proxy.invalid, cannot be resolved."
    assert "`proxy.host`" in unknown.remedy


def test_a_proxy_that_keeps_silent_costs_the_timeout() -> None:
    """Also one that sends a byte now and then gets no more than that."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = Proxy(host="127.0.0.1", port=listener.getsockname()[1])
        with pytest.raises(CloudError) as caught:
            path.connect(Endpoint(host=HOST, proxy=proxy, timeout=0.3))
    assert "did not answer the request for a way out (no answer in time)" in caught.value.failure.message


def test_an_address_of_ipv6_is_written_in_brackets() -> None:
    """In messages and in the request."""
    assert Proxy(host="fd00::1", port=3128).address == "[fd00::1]:3128"


def test_a_region_that_is_misspelt_is_told_where_its_name_has_no_address() -> None:
    """DNS is not to blame for it; of a region that is newer than this version it may be."""
    said = path.unresolved("a1b2c3-ats.iot.eu-wset-1.amazonaws.com")
    assert (said.code, said.message) == ("dns", "The name a1b2c3-ats.iot.eu-wset-1.amazonaws.com cannot be resolved.")
    assert said.remedy == (
        "This version knows no AWS region eu-wset-1 that has AWS IoT Core; eu-west-1 was probably meant. "
        "If `endpoint` is right, check the gateway's DNS."
    )
    sound = path.unresolved("a1b2c3-ats.iot.eu-west-1.amazonaws.com")
    assert sound.remedy == "Check the gateway's DNS and the spelling of `endpoint`."


def test_a_placeholder_is_told_as_one_by_every_verb() -> None:
    """And not as a name that DNS should know."""
    with pytest.raises(CloudError, match="`endpoint` is still the placeholder ") as caught:
        path.connect(Endpoint(host="change-me.invalid", port=8883, timeout=5))
    assert caught.value.hint == "Ask for it: `aws iot describe-endpoint --endpoint-type iot:Data-ATS`."
