"""Whether connections can go on: asked on a host whose addresses, routes and carrier the test takes away."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from agent.system.watches.own_connections import cut_off
from support.network.two_hosts import APART
from support.suite.surroundings import descriptors

PRELUDE = """\
import socket, subprocess, sys
from agent.system.watches.own_connections import cut_off
from support.network.two_hosts import CLOUD, DEVICE, GATEWAY, TwoHosts, run

ON_GATEWAY = '''
import socket, sys
from agent.system.watches.own_connections import cut_off
connection = socket.create_connection(({host!r}, 9))
for _ in sys.stdin:
    print(cut_off(), flush=True)
'''

class Asked:
    def __init__(self, hosts, host=CLOUD):
        script = ON_GATEWAY.format(host=host)
        self.process = subprocess.Popen(
            [*hosts.prefix, sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self):
        self.process.stdin.write("?\\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def until(self, answer):  # the kernel sees to a carrier when it has time
        while self() != answer:
            pass
        return answer
"""


def apart(script: str) -> list[str]:
    """Return what a script prints that has two hosts."""
    tests = str(Path(__file__).parents[3])
    environment = {**os.environ, "PYTHONPATH": tests}
    run = [*APART, sys.executable, "-c", PRELUDE + script]
    return subprocess.run(run, capture_output=True, text=True, check=True, env=environment).stdout.split()


def test_what_has_no_connection_is_not_cut_off() -> None:
    """Sockets that listen, that are of another kind, or that wait for a peer are none."""
    one, other = socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)), one, other, socket.socket():
        before = descriptors()
        assert cut_off() is False
        assert descriptors() - before == set()


def test_a_connection_within_this_machine_goes_on() -> None:
    """Its address and its route are there."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        assert cut_off() is False


@pytest.mark.root
@pytest.mark.parametrize(
    ("gone", "back"),
    [
        ("hosts.take_lease()", "hosts.plug_in()"),
        ('hosts.on_gateway("link", "set", DEVICE, "down")', 'hosts.on_gateway("link", "set", DEVICE, "up")'),
        ('run("ip", "link", "set", "cloud0", "down")', 'run("ip", "link", "set", "cloud0", "up")'),
    ],
    ids=["its address", "its interface", "its carrier"],
)
def test_a_connection_without_its_address_its_interface_or_a_carrier_cannot_go_on(gone: str, back: str) -> None:
    """Until that is back; what only does not answer can go on."""
    script = f"""
with socket.create_server(("0.0.0.0", 9)), TwoHosts() as hosts:
    asked = Asked(hosts)
    first = asked()
    hosts.mute()
    muted = asked()
    hosts.mute(ended=True)
    {gone}
    print(first, muted, asked.until("True"))
    {back}
    print(asked.until("False"))
"""
    assert apart(script) == ["False", "False", "True", "False"]


@pytest.mark.root
def test_a_connection_without_a_route_cannot_go_on() -> None:
    """A further address that was given to the cloud is reached by the default route alone."""
    script = """
with socket.create_server(("0.0.0.0", 9)), TwoHosts() as hosts:
    run("ip", "address", "add", "198.51.100.1/32", "dev", "lo")
    asked = Asked(hosts, "198.51.100.1")
    first = asked()
    hosts.on_gateway("route", "delete", "default")
    print(first, asked())
    hosts.on_gateway("route", "add", "unreachable", "default")
    print(asked())
"""
    assert apart(script) == ["False", "True", "True"]


@pytest.mark.root
def test_a_connection_by_ipv6_is_asked_about_too() -> None:
    """Its address and its route; of its carrier nothing is known."""
    script = """
with TwoHosts() as hosts:
    run("ip", "-6", "address", "add", "2001:db8::1/64", "dev", "cloud0", "nodad")
    hosts.on_gateway("-6", "address", "add", "2001:db8::2/64", "dev", DEVICE, "nodad")
    with socket.create_server(("2001:db8::1", 9), family=socket.AF_INET6):
        asked = Asked(hosts, "2001:db8::1")
        first = asked()
        hosts.on_gateway("-6", "address", "delete", "2001:db8::2/64", "dev", DEVICE)
        print(first, asked())
"""
    assert apart(script) == ["False", "True"]
