"""HTTPS: one request a connection, through the proxy of all others, with an end. Hostile servers: `test_download`."""

from __future__ import annotations

import http.client
import io
import ssl
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import urllib3
from urllib3.exceptions import HTTPError

from agent.core.aws.endpoints import Proxy
from agent.iotcore import https
from agent.sandbox.account.authority import Authority
from agent.sandbox.network.vending import VendingFront, said
from agent.system.clock import monotonic
from support.network.tunnels import tunnelling_proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime.now(UTC)
ROOT = Authority("a root", NOW)


@pytest.fixture(name="front")
def _front() -> Iterator[VendingFront]:
    server = ROOT.issue_server("localhost", NOW - timedelta(days=1), NOW + timedelta(days=1))
    with VendingFront(lambda _: said(200, "sold"), server) as front:
        yield front


def context(root: Authority = ROOT) -> ssl.SSLContext:
    """Return how the server is verified."""
    return ssl.create_default_context(cadata=root.pem.decode())


def test_a_request_goes_through_the_proxy(front: VendingFront) -> None:
    """By its name, which the proxy looks up."""
    with tunnelling_proxy() as (port, asked):
        pool = https.connections(context(), Proxy(host="127.0.0.1", port=port), monotonic() + 5)
        assert pool.request("POST", front.url, body=b"{}").status == 200
    assert asked == [f"CONNECT {front.url.split('/')[2]}"]


def test_reads_end_together(front: VendingFront) -> None:
    """Also where the server has much time left."""
    pool = https.connections(context(), None, monotonic())
    with pytest.raises((HTTPError, OSError)) as caught:
        pool.request("POST", front.url, body=b"{}")
    assert isinstance(https.reason(caught.value), TimeoutError)


def test_a_reason_is_what_an_error_was_made_from(front: VendingFront) -> None:
    """Not the library's word for it."""
    pool = https.connections(context(Authority("another root", NOW)), None, monotonic() + 5)
    with pytest.raises(HTTPError) as caught:
        pool.request("POST", front.url, body=b"{}")
    assert isinstance(https.reason(caught.value), ssl.SSLCertVerificationError)
    assert front.asked == 0


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"Content-Length: 99999999999999999999\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-1",
        b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFF",
    ],
)
def test_a_body_without_an_end_is_cut_off(head: bytes) -> None:
    """Whatever the server says of its length: a chunk of -1 bytes was read until memory was gone."""
    sent = io.BytesIO(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + b"x" * 10_000_000)
    connection: Any = SimpleNamespace(makefile=lambda _: io.BufferedReader(sent))
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    assert 1_000 < len(https.body(urllib3.HTTPResponse(answer, preload_content=False), 1_000)) < 200_000
