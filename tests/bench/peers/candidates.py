"""What a user would pick instead, each set up as its own manual says.

A peer has one key and one certificate of the gateway in files, and something that renews both with a new key. All that
it keeps lies below one directory, so that it can be put back to what it was.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from abc import ABC, abstractmethod
from contextlib import ExitStack, contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

from bench import place
from bench.peers.usable import trusted_elsewhere
from bench.place import FLOORS, THING, BenchError, LinkWatch
from support.running import gateway

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from bench.place import Place

HERE = Path(__file__).parent
PATIENCE = 60.0  # seconds
LOOK = 0.02  # seconds
APART = 1.1  # seconds, since AWS takes one CONNECT of a client id in a second


class Peer(ABC):
    """One of them.

    Attributes:
        name: What it is called in the table.
        needs: The programs that must be there.
        root: All that it keeps.
        key: The private key.
        certificate: The certificate.
        apart: Seconds between two renewals.
    """

    name = ""
    needs: tuple[str, ...] = ()
    apart = 0.0
    key: Path
    certificate: Path

    def __init__(self, here: Place, folder: Path) -> None:
        self.here = here
        self.root = folder

    @property
    def missing(self) -> str:
        """Which programs are not there, or empty."""
        return ", ".join(name for name in self.needs if shutil.which(name) is None)

    @abstractmethod
    def set_up(self) -> None:
        """Have it get its first certificate."""

    @property
    @abstractmethod
    def command(self) -> Sequence[str]:
        """What renews both, as it is typed or as a timer runs it."""

    def account(self) -> AbstractContextManager[None]:
        """Run what stands outside the gateway, beside the cloud."""
        return nullcontext()

    def serving(self) -> AbstractContextManager[int | None]:
        """Run what runs all the time, and give its process id; None where nothing does."""
        return nullcontext()

    def renew(self) -> float:
        """Renew, and return the seconds that it takes."""
        start = monotonic()
        done = subprocess.run(self.command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        if done.returncode != 0:
            raise BenchError(f"{self.name}: {done.stderr.strip()[-200:] or done.returncode}")
        return monotonic() - start

    def follow(self, kill: int | None = None) -> dict[str, Any]:
        """Renew, and return what `bench.peers.follow` counted; with all of it killed at a call, if one is named."""
        done = subprocess.run(self.followed(kill), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                              timeout=PATIENCE, check=False)  # fmt: skip
        return _counted(done.stdout, self.name)

    def followed(self, kill: int | None, *options: str, command: Sequence[str] = ()) -> list[str]:
        """Return the command line that follows a renewal."""
        at = [] if kill is None else ["--kill", str(kill)]
        return [sys.executable, str(HERE / "follow.py"), *at, *options, str(self.root), *(command or self.command)]


def _counted(text: str, name: str) -> dict[str, Any]:
    lines = [line for line in text.splitlines() if line.startswith('{"calls"')]
    if not lines:
        raise BenchError(f"{name}: it could not be followed")
    found: dict[str, Any] = json.loads(lines[-1])
    return found


class Agent(Peer):
    """This agent, by its command; its daemon is what runs all the time."""

    name = "iot-cert-agent"
    apart = APART

    def set_up(self) -> None:
        """The place has enrolled it."""
        self.root = self.here.gateway.state
        self.key, self.certificate = self.root / "current/key.pem", self.root / "current/certificate.pem"

    @property
    def command(self) -> Sequence[str]:
        """See `Peer`."""
        return [gateway.COMMAND, "--config", str(self.here.gateway.config), "rotate", "--json", "--reason", "a visit"]

    @contextmanager
    def serving(self) -> Iterator[int | None]:
        """See `Peer`."""
        with place.daemon(self.here) as daemon:
            sleep(self.here.effort.settle)
            yield daemon.pid

    def renew(self) -> float:
        """Until the new set is in use; its probation is not waited for."""
        start = monotonic()
        with LinkWatch(self.root / "current") as watch:
            super().renew()
            return watch.seconds_since(start)


class Script(Peer):
    """A shell script with openssl and mosquitto's clients; cron runs it."""

    name = "script: openssl, mosquitto"
    needs: tuple[str, ...] = ("openssl", "mosquitto_rr")
    apart = APART

    def set_up(self) -> None:
        """Give it what the gateway enrolled with."""
        self.key, self.certificate = self.root / "key.pem", self.root / "certificate.pem"
        current = (self.here.gateway.state / "current").resolve()
        for name in ("key.pem", "certificate.pem"):
            shutil.copy(current / name, self.root)
        shutil.copy(self.here.gateway.directory / "roots.pem", self.root / "anchors.pem")

    @property
    def command(self) -> Sequence[str]:
        """See `Peer`."""
        return [str(HERE / "renew.sh"), str(self.root), "localhost", str(self.here.gateway.service.port), THING]


class BareSdk(Script):
    """The two calls of AWS's SDK as its fleet provisioning sample makes them, a proof, and a link that is moved."""

    name = "script: bare AWS SDK"
    needs = ()

    def set_up(self) -> None:
        """See `bench.rotation`, whose floor this is."""
        super().set_up()
        first = self.root / "first"
        first.mkdir()
        for name in ("key.pem", "certificate.pem"):
            (self.root / name).rename(first / name)
        (self.root / "current").symlink_to(first)
        self.key, self.certificate = self.root / "current/key.pem", self.root / "current/certificate.pem"

    @property
    def command(self) -> Sequence[str]:
        """See `Peer`."""
        port, anchors = str(self.here.gateway.service.port), str(self.root / "anchors.pem")
        program = str(FLOORS / "rotation.py")
        return [self.here.python, "-I", program, port, THING, anchors, str(self.root / "current"), "1.0"]


class Certmonger(Peer):
    """certmonger with its own local authority, on a socket of its own, so that the system's bus is left alone."""

    name = "certmonger, local CA"
    needs = ("certmonger", "getcert")

    def set_up(self) -> None:
        """Request one certificate and have it tracked (getcert-request(1))."""
        for name in ("requests", "cas", "tmp", "local", "certs"):
            (self.root / name).mkdir()
        self.key, self.certificate = self.root / "certs/key.pem", self.root / "certs/certificate.pem"
        with self.serving():
            files = ["-k", str(self.key), "-f", str(self.certificate)]
            names = ["-N", f"CN={THING}", "-G", "EC", "-g", "256"]
            self._getcert("request", "-w", "-c", "local", "-I", "gateway", *files, *names)
        trusted_elsewhere(self.here, self._authority())

    def _authority(self) -> bytes:
        command = ["openssl", "pkcs12", "-in", str(self.root / "local/creds"), "-passin", "pass:", "-nokeys"]
        return subprocess.run(command, capture_output=True, check=True).stdout

    @cached_property
    def _environment(self) -> dict[str, str]:
        places = {
            "REQUESTS_DIR": "requests",
            "CAS_DIR": "cas",
            "TMPDIR": "tmp",
            "LOCAL_CA_DIR": "local",
            "CONFIG_DIR": ".",
        }
        named = {f"CERTMONGER_{name}": str(self.root / below) for name, below in places.items()}
        return {**os.environ, **named, "CERTMONGER_PVT_ADDRESS": f"unix:path={self._socket}"}

    @property
    def _socket(self) -> Path:
        return self.here.memory / "certmonger.sock"

    @property
    def command(self) -> Sequence[str]:
        """See `Peer`."""
        return ["getcert", "rekey", "-w", "-i", "gateway"]

    def _getcert(self, *arguments: str, check: bool = True) -> None:
        done = subprocess.run(["getcert", *arguments], env=self._environment, capture_output=True, text=True,
                              timeout=PATIENCE, check=False)  # fmt: skip
        if check and done.returncode != 0:
            raise BenchError(f"getcert {arguments[0]} ended with {done.returncode}: {done.stdout.strip()[-200:]}")

    @contextmanager
    def serving(self) -> Iterator[int | None]:
        """Run the daemon (certmonger(8))."""
        with self._daemon([]) as process:
            yield process.pid

    @contextmanager
    def _daemon(self, before: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
        self._socket.unlink(missing_ok=True)
        command = [*before, "certmonger", "-n", "-L", "-P", str(self._socket)]
        with subprocess.Popen(command, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              text=True) as process:  # fmt: skip
            try:
                until(lambda: self._socket.exists() or process.poll() is not None, "certmonger listens")
                if process.poll() is not None:
                    raise BenchError(f"certmonger ended at its start with {process.returncode}")
                yield process
            finally:
                process.terminate()

    def renew(self) -> float:
        """With its daemon, which is there all the time."""
        with self.serving():
            self._getcert("list")
            start = monotonic()
            self._getcert(*self.command[1:])
            return monotonic() - start

    def follow(self, kill: int | None = None) -> dict[str, Any]:
        """Follow the daemon, from the request on."""
        before = self.followed(kill, "--idle", command=["certmonger"])[:-1]
        with self._daemon(before) as process:
            self._getcert("list")
            process.send_signal(signal.SIGUSR1)
            self._getcert(*self.command[1:], check=kill is None)
            sleep(0.2 if kill is None else 0.0)  # it writes its own record a moment after it has answered
            process.terminate()
            assert process.stdout is not None
            return _counted(process.stdout.read(), self.name)


class Lego(Peer):
    """lego, run by a timer, with pebble for an ACME server, which holds each name to be proven."""

    name = "lego, ACME"
    needs = ("lego", "pebble", "openssl")
    host = f"{THING}.example.com"

    @contextmanager
    def account(self) -> Iterator[None]:
        """Run the ACME server."""
        outside = self.here.memory / "pebble"
        outside.mkdir()
        self._tls = outside / "tls.pem"
        subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        command = [
            "openssl",
            "req",
            "-x509",
            *kind,
            *subject,
            "-keyout",
            str(outside / "tls.key"),
            "-out",
            str(self._tls),
        ]
        subprocess.run(command, check=True, capture_output=True)
        self._port, self._management = _free_ports(2)
        told = {
            "listenAddress": f"127.0.0.1:{self._port}",
            "managementListenAddress": f"127.0.0.1:{self._management}",
            "certificate": str(self._tls),
            "privateKey": str(outside / "tls.key"),
        }
        (outside / "config.json").write_text(json.dumps({"pebble": told}))
        environment = {
            **os.environ,
            "PEBBLE_VA_NOSLEEP": "1",
            "PEBBLE_VA_ALWAYS_VALID": "1",
            "PEBBLE_WFE_NONCEREJECT": "0",
        }
        with subprocess.Popen(["pebble", "-config", str(outside / "config.json")], env=environment,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:  # fmt: skip
            try:
                until(lambda: _listens(self._port) and _listens(self._management), "pebble listens")
                yield
            finally:
                server.terminate()

    def set_up(self) -> None:
        """Make an account, and get the first certificate (`lego run`)."""
        certificates = self.root / "certificates"
        self.key, self.certificate = certificates / f"{self.host}.key", certificates / f"{self.host}.crt"
        context = ssl.create_default_context(cafile=str(self._tls))
        with urlopen(f"https://localhost:{self._management}/roots/0", context=context) as answer:
            trusted_elsewhere(self.here, answer.read())
        subprocess.run([*self._lego, "--accept-tos", "run"], capture_output=True, check=True)

    @property
    def _lego(self) -> list[str]:
        server = ["-s", f"https://localhost:{self._port}/dir", "-m", "operator@example.com", "-d", self.host]
        trust = ["env", f"LEGO_CA_CERTIFICATES={self._tls}"]
        return [*trust, "lego", *server, "--http", "--http.port", "127.0.0.1:5002", "--path", str(self.root)]

    @property
    def command(self) -> Sequence[str]:
        """See `Peer`; its certificate is due at once."""
        return [*self._lego, "renew", "--days", "36500", "--no-random-sleep"]


PEERS: tuple[Callable[[Place, Path], Peer], ...] = (Agent, Certmonger, Script, BareSdk, Lego)


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in found]


def _listens(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for something.

    Raises:
        BenchError: It does not come.
    """
    deadline = monotonic() + PATIENCE
    while not true():
        if monotonic() > deadline:
            raise BenchError(f"in vain: {what}")
        sleep(LOOK)
