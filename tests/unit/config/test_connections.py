"""How a gateway connects, as a configuration says it: proxies, and the time for a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.config import reader
from agent.core.aws.endpoints import Proxy
from support.unit.reader import MINIMUM, complaint

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("host: http://proxy.example, port: 1", "proxy.host: a host name or an address, without scheme, port or path,"),
        ("host: 'proxy.example:3128', port: 1", "proxy.host: a host name or an address, without scheme"),
        ("host: bücher.example, port: 1", "proxy.host: xn--bcher-kva.example, the same in ASCII, is expected"),
        ("host: 'fd00::1::2', port: 1", "proxy.host: a host name or an address, without scheme"),
        ("host: p, port: 1, username: x", "proxy.username: there is no such key"),
        ("host: p, port: 1, user: 'a:b'", "proxy.user: a name without a colon is expected"),
        ("host: p, port: 1, password_file: /x", "proxy.user: it is required and missing"),
        ("host: p, port: 1, user: x, password_file: x", "proxy.password_file: an absolute path is expected"),
    ],
)
def test_a_proxy_that_cannot_be_meant_is_complained_of(tmp_path: Path, text: str, expected: str) -> None:
    """And not looked up as a name, or asked without its password."""
    assert f": {expected}" in complaint(tmp_path, f"{MINIMUM}proxy: {{{text}}}\n")


@pytest.mark.parametrize(
    ("host", "bare"),
    [("fd00::1", "fd00::1"), ("[fd00::1]", "fd00::1"), ("192.0.2.1", "192.0.2.1"), ("proxy", "proxy")],
)
def test_a_proxy_may_be_an_address(tmp_path: Path, host: str, bare: str) -> None:
    """Of either family."""
    loaded = reader.parse(f"{MINIMUM}proxy: {{host: '{host}', port: 3128, user: x}}\n", tmp_path / "config.yaml")
    assert loaded.proxy == Proxy(host=bare, port=3128, user="x")


@pytest.mark.parametrize("text", ["0s", "9999999d", "2h"])
@pytest.mark.parametrize("name", ["connect", "request"])
def test_a_timeout_that_no_connection_could_have_is_complained_of(tmp_path: Path, name: str, text: str) -> None:
    """The SDK counts in milliseconds of 32 bits, and an attempt that may take days is none."""
    said = complaint(tmp_path, f"{MINIMUM}timeouts: {{{name}: {text}}}\n")
    assert f": timeouts.{name}: a duration from 1s to 1h is expected, not '{text}'" in said


@pytest.mark.parametrize(("connect", "step"), [("5s", 5.0), ("10s", 10.0), ("60s", 10.0)])
def test_the_time_for_a_connection_bounds_each_step_of_it(tmp_path: Path, connect: str, step: float) -> None:
    """And all of them together."""
    target = reader.parse(f"{MINIMUM}timeouts: {{connect: {connect}}}\n", tmp_path / "config.yaml").target
    assert (target.timeout, target.whole) == (step, float(connect[:-1]))
