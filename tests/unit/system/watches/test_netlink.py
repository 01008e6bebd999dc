from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.system.watches.netlink import adopted_uplink, came_up, open_uplink, routes

RUNNING, NEW_LINK, DELETED_LINK, NEW_ADDRESS, NEW_ROUTE, DELETED_ROUTE = 0x40, 16, 17, 20, 24, 25


def message(kind: int, payload: bytes = b"") -> bytes:
    """Return one announcement as the kernel lays it out."""
    length = 16 + len(payload)
    return struct.pack("=IHHII", length, kind, 0, 0, 0) + payload + b"\0" * (-length % 4)


def link(flags: int, rest: bytes = b"") -> bytes:
    """Return what a link announcement holds."""
    return struct.pack("=BxHiII", 0, 1, 2, flags, 0) + rest


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (message(NEW_ADDRESS, b"\0" * 8), True),
        (message(NEW_ROUTE, b"\0" * 12), True),
        (message(NEW_LINK, link(RUNNING | 1)), True),
        (message(NEW_LINK, link(1)), False),
        (message(NEW_LINK, b"\xff" * 8), False),
        (message(DELETED_LINK, link(RUNNING)), False),
        (message(DELETED_ROUTE, b"\0" * 12), False),
        (message(DELETED_ROUTE, b"\0" * 13) + message(NEW_ROUTE), True),
        (message(NEW_LINK, link(1, b"\0" * 40)) + message(NEW_LINK, link(RUNNING)), True),
        (message(DELETED_ROUTE) + message(NEW_ROUTE)[:15], False),
        (message(NEW_LINK, link(RUNNING, b"\0" * 9000))[:8192], True),
        (struct.pack("=IHHII", 0, NEW_ROUTE, 0, 0, 0), False),
        (struct.pack("=IHHII", 15, DELETED_ROUTE, 0, 0, 0) + message(NEW_ROUTE), False),
        (b"", False),
    ],
)
def test_new_addresses_new_routes_and_running_links_come_up(data: bytes, expected: bool) -> None:  # noqa: FBT001
    """What goes down, what is cut off and what makes no sense does not."""
    assert came_up(data) is expected


@given(st.binary(max_size=200))
def test_garbage_is_survived(data: bytes) -> None:
    """Any bytes are read to an answer, in bounded time."""
    assert came_up(data) in {True, False}


def test_reading_when_nothing_was_announced_returns_at_once() -> None:
    """A spurious wake-up holds nothing up, and any user may listen."""
    opened = open_uplink()
    assert opened is not None
    opened._socket.close()  # this machine's own network may change meanwhile, so a quiet socket takes its place
    opened._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
    assert opened.read() is False
    assert opened.fileno() >= 0
    opened.close()
    assert opened.fileno() < 0


def test_where_no_socket_is_to_be_had_the_agent_goes_without() -> None:
    """A process that may open nothing more gets None, and no error."""
    script = (
        "import resource\n"
        "from agent.system.watches.netlink import open_uplink\n"
        "before = open_uplink() is None\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        "print(before, open_uplink())\n"
    )
    shown = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown == "False None\n"


def test_a_socket_that_systemd_opened_is_listened_to() -> None:
    """It need not be one that does not block; what is something else is left to its owner."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    adopted = adopted_uplink(opened.detach())
    assert adopted is not None
    assert adopted.read() is False
    adopted.close()
    with socket.socket(socket.AF_UNIX) as other, Path(__file__).open() as file:
        assert adopted_uplink(other.fileno()) is None
        assert adopted_uplink(file.fileno()) is None
        assert other.fileno() >= 0
        assert os.fstat(file.fileno())


def test_links_addresses_and_routes_of_both_families_are_listened_for() -> None:
    """The kernel itself lists who listens for what: links, and addresses and routes of IPv4 and IPv6."""
    opened = open_uplink()
    assert opened is not None
    inode = str(os.fstat(opened.fileno()).st_ino)
    _, *lines = Path("/proc/self/net/netlink").read_text().splitlines()
    groups = {line.split()[9]: int(line.split()[3], 16) for line in lines}[inode]
    opened.close()
    assert groups == 0x1 | 0x10 | 0x40 | 0x100 | 0x400


PRELUDE = """\
import select, socket, struct, subprocess
from agent.system.watches.netlink import open_uplink, routes

def run(command):
    subprocess.run(command.split(), check=True)

def drain():
    while uplink.read():
        pass

def silent():
    return not select.select([uplink], [], [], 0)[0]

uplink = open_uplink()
"""


def alone(script: str) -> str:
    """Return what a script prints in a network namespace of its own."""
    run = ["unshare", "--net", sys.executable, "-I", "-c", PRELUDE + script]
    return subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.root
def test_a_link_that_comes_up_is_heard() -> None:
    """The kernel announces it, the descriptor becomes readable, and it is told once."""
    script = """
before = (silent(), uplink.read())
run("ip link set lo up")
print(before, silent(), uplink.read(), silent(), uplink.read())
"""
    assert alone(script) == "(True, False) False True True False"


@pytest.mark.root
def test_a_link_that_goes_down_is_not_taken_for_one_that_comes_up() -> None:
    """The announcements are taken, and nothing is concluded from them."""
    script = """
run("ip link set lo up")
drain()
run("ip link set lo down")
print(silent(), uplink.read(), silent())
"""
    assert alone(script) == "False False True"


@pytest.mark.root
@pytest.mark.parametrize(
    "command",
    [
        "ip address add 192.0.2.7/24 dev lo",
        "ip -6 address add 2001:db8::7/64 dev lo",
        "ip route add 198.51.100.0/24 dev lo",
    ],
)
def test_an_address_or_a_route_that_appears_is_heard(command: str) -> None:
    """A lease that comes late is what a gateway waits for."""
    script = f"""
run("ip link set lo up")
drain()
run({command!r})
print(uplink.read())
"""
    assert alone(script) == "True"


@pytest.mark.root
def test_only_the_kernel_is_believed() -> None:
    """Another program can send to the socket; that it came up is not believed of it."""
    script = """
run("ip link set lo up")
drain()
forger = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
forger.bind((0, 0))
forger.sendto(struct.pack("=IHHII", 28, 24, 0, 0, 0) + bytes(12), (uplink._socket.getsockname()[0], 0))
print(silent(), uplink.read(), silent())
"""
    assert alone(script) == "False False True"


@pytest.mark.root
def test_announcements_that_were_lost_count_as_something_that_came_up() -> None:
    """When more happens than the socket can hold, what it was is unknown: one look is better than none."""
    script = """
def change():
    for _ in range(8):
        run("ip link set lo multicast on")
        run("ip link set lo multicast off")

run("ip link set lo up")
run("ip link set lo down")
drain()
change()
print(silent(), uplink.read(), silent())
uplink._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
change()
print(silent(), uplink.read(), silent())
"""
    assert alone(script) == "False False True\nFalse True True"


@pytest.mark.root
def test_one_reading_takes_a_bounded_number_and_leaves_the_rest() -> None:
    """A storm of announcements cannot hold the loop up: what is left wakes it again."""
    script = """
run("ip link set lo up")
drain()
routes = "".join(f"route add 198.51.100.{number}/32 dev lo\\n" for number in range(100))
subprocess.run(["ip", "-batch", "-"], input=routes, text=True, check=True)
print(uplink.read(), silent(), uplink.read(), silent())
"""
    assert alone(script) == "True False True True"


# -- without a socket --------------------------------------------------------------------------------------------------


def test_routes_differ_when_a_route_comes_or_goes_and_not_when_one_is_used(tmp_path: Path) -> None:
    """The counters of references and uses change all the time and say nothing."""
    line = "00000000000000000000000000000001 80 00 00 00 00000000 0000000{} 00000000 80200001 lo\n"
    (tmp_path / "ipv6_route").write_text(line.format(2))
    before = routes(tmp_path)
    (tmp_path / "ipv6_route").write_text(line.format(7))
    assert routes(tmp_path) == before
    (tmp_path / "route").write_text("eth0 00000000 010200C0 0003 0 0 0 00000000 0 0 0\n")
    assert routes(tmp_path) != before


def test_where_the_kernel_does_not_say_there_are_no_routes(tmp_path: Path) -> None:
    """A gateway without these files waits its delays out."""
    assert routes(tmp_path) == b""
    assert routes() != b""
