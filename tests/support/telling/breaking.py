"""A gateway that works, twins of it to break, and the surroundings in which a doctor looks at them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent.sandbox.account.policies import GATEWAY
from agent.sandbox.cloud import Status
from support.crashkit import smalldisk
from support.network.servers import server
from support.network.tunnels import pour
from support.running.gateway import Gateway
from support.suite import warm
from support.suite.ran import Ran
from support.suite.surroundings import lacks, need_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.sandbox.cloud import Entry

LASTING = "/var/tmp"  # noqa: S108 - a directory with a random name is made in it; memory would be complained about
LONGEST = 180.0  # seconds in which a check has ended on the busiest machine, whatever the network does


# -- the gateway -------------------------------------------------------------------------------------------------------


@contextmanager
def sound() -> Iterator[Gateway]:
    """Give a gateway that works, of which twins are broken; what it and they said may hold no secret."""
    with tempfile.TemporaryDirectory(dir=LASTING, prefix="doctor-") as name, Gateway(Path(name)) as made:
        Path(name).chmod(0o755)
        made.enroll()
        yield made
        said, secrets = made.everything_said(), made.secrets()
        assert secrets
        assert [secret[:6] for secret in secrets if secret in said] == []


@contextmanager
def twin_of(house: Gateway) -> Iterator[Gateway]:
    """Give a gateway to break; the cloud is whole again afterwards."""
    twin = house.twin()
    for part in ("claim", "roots.pem"):
        copy = shutil.copytree if (house.directory / part).is_dir() else shutil.copy2
        copy(house.directory / part, twin.directory / part)
    twin.config.write_text(house.config.read_text().replace(f"{house.directory}/", f"{twin.directory}/"))
    root, entry = house.service.endpoint_authority, entry_of(house)
    policy = house.cloud.registry.documents[GATEWAY]
    yield twin
    house.cloud.registry.documents[GATEWAY], entry.status = policy, Status.ACTIVE
    house.service.host = "localhost"
    house.service.set_tls()
    house.service.use_root(root)
    shutil.rmtree(twin.directory)


def entry_of(gateway: Gateway) -> Entry:
    """Return the gateway's certificate as the cloud has it."""
    return next(entry for entry in gateway.cloud.registry.values() if entry.thing_name)


def check(gateway: Gateway, *arguments: str, within: tuple[str, ...] = (), user: int | None = None) -> Ran:
    """Run the command, in a namespace or as another user if said; it has to be done in time, and to tell no defect."""
    words, place = ("--config", str(gateway.config), "check", *arguments), Path("/")
    with inhabited(within) as beside:
        done = warm.run(words, timeout=LONGEST, cwd=place, env=os.environ, user=user, beside=beside)
    ran = Ran(arguments=arguments, code=done.returncode, out=done.stdout, err=done.stderr)
    gateway.remember(ran)
    assert ran.err == ""
    assert "defect" not in ran.out
    return ran


@contextmanager
def inhabited(within: tuple[str, ...]) -> Iterator[int | None]:
    """Make surroundings and give a process that is in them for a while; none where there are no others."""
    if not within:
        yield None
        return
    with subprocess.Popen([*within, "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("made\n")
        process.stdin.flush()
        assert process.stdout.readline() == "made\n", within
        yield process.pid


def lines_of(ran: Ran) -> dict[str, dict[str, str]]:
    """Return the lines by check."""
    return {event["check"]: event for event in ran.events if event["event"] == "line"}


def first_failure(ran: Ran) -> dict[str, str]:
    """Return the line that the command takes for the cause."""
    line = next(event for event in ran.events if event.get("verdict") == "failure")
    assert (ran.outcome["event"], ran.outcome["cause"]) == ("check", line["check"])
    assert ran.outcome["exit"] == ran.code == line["exit"]
    found: dict[str, str] = line
    return found


# -- surroundings that only root can have ------------------------------------------------------------------------------

NO_NETWORK = ("unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")

# What is sent to 192.0.2.0/24 (TEST-NET-1, RFC 5737) comes in again, is for no process, and is dropped without a word.
_HOLE = "ip link set lo up && ip addr add 192.0.2.2/32 dev lo && ip route add 192.0.2.0/24 dev lo"

_HTTPS_ONLY = (
    "import socket, subprocess, sys\n"
    "with socket.create_server(('127.0.0.1', 443)):\n"
    "    sys.exit(subprocess.call(sys.argv[1:]))"
)


def black_hole(gateway: Gateway, hosts: str = "") -> tuple[str, ...]:
    """Return a network in which nothing is ever answered, a name server least of all."""
    need_root()
    (gateway.directory / "hosts").write_text(hosts)
    (gateway.directory / "resolv.conf").write_text("nameserver 192.0.2.53\n")
    binds = [f"mount --bind {gateway.directory}/{name} /etc/{name}" for name in ("hosts", "resolv.conf")]
    return ("unshare", "-n", "-m", "sh", "-c", " && ".join([_HOLE, *binds, 'exec "$@"']), "sh")


def with_hosts(gateway: Gateway, *names: str) -> tuple[str, ...]:
    """Return surroundings in which these names are this machine's."""
    need_root()
    path = gateway.directory / "hosts"
    path.write_text("".join(f"127.0.0.1 {name}\n" for name in names))
    return ("unshare", "-m", "sh", "-c", f'mount --bind {path} /etc/hosts && exec "$@"', "sh")


def https_only() -> tuple[str, ...]:
    """Return a network in which this machine's port 443 is open, and no other."""
    need_root()
    return (*NO_NETWORK, "/usr/bin/env", "python3", "-c", _HTTPS_ONLY)


# -- what may stand in the way of a connection -------------------------------------------------------------------------


@contextmanager
def proxy_to(port: int) -> Iterator[int]:
    """Run an HTTP proxy that connects everybody to one port of this machine, whatever was asked for."""

    def talk(connection: socket.socket) -> None:
        while b"\r\n\r\n" not in connection.recv(65_536):
            pass
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with socket.create_connection(("127.0.0.1", port)) as onward:
            back = threading.Thread(target=pour, args=(onward, connection))
            back.start()
            pour(connection, onward)
            back.join()

    with server(talk) as own:
        yield own


@dataclass
class BrokenGateway:
    """The gateway that is being broken, what lasts as long as the test, and where the command is to run."""

    gateway: Gateway
    stack: ExitStack
    within: tuple[str, ...] = ()

    def endpoint(self, name: str) -> None:
        """Change the endpoint's name."""
        self.gateway.configure({"endpoint: localhost": f"endpoint: {name}"})

    def nowhere(self, name: str) -> None:
        """Change the endpoint's name where there is no network to look it up in."""
        need_root()
        self.endpoint(name)
        self.within = NO_NETWORK

    def port(self, port: int) -> None:
        """Change the endpoint's port."""
        self.gateway.configure({f"port: {self.gateway.service.port} ": f"port: {port} "})

    def serve(self, talk: Callable[[socket.socket], None]) -> None:
        """Put another server in the endpoint's place."""
        self.port(self.stack.enter_context(server(talk)))

    def append(self, text: str) -> None:
        """Add to the configuration."""
        self.gateway.config.write_text(text + self.gateway.config.read_text())

    def disk(self) -> Path:
        """Move the state directory to a small disk of its own."""
        try:
            mount = self.stack.enter_context(smalldisk.small_ext4(kibibytes=1024, inodes=96))
        except smalldisk.CannotMountError as error:
            lacks(f"a small disk ({error})")
        shutil.copytree(self.gateway.state, mount / "state", symlinks=True)
        self.gateway.configure({f"state_dir: {self.gateway.state}": f"state_dir: {mount}/state"})
        return mount

    @property
    def key(self) -> Path:
        """The key in use."""
        return self.gateway.state / "generations" / "000001" / "key.pem"
