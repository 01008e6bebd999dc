"""Broken gateways, each broken for real: how it is done, and what the doctor has to say of it.

``PYTHONPATH=tests python -m support.broken`` writes what it says to `tests/data/doctor.json`, from which the page for
technicians is written; `tests/integration/test_doctor.py` compares.

Every situation starts from a gateway that works. What only root can break (networks, mounts, owners) is broken in a
namespace of the command's own, so nothing of it is left on the machine.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import warnings
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from agent.core.aws.endpoints import ALPN_MQTT
from agent.sandbox.authority import Authority
from agent.sandbox.cloud import Status
from agent.sandbox.policies import GATEWAY
from support import warm
from support.crashkit import smalldisk
from support.gateway import COMMAND, Gateway, Ran
from support.surroundings import lacks, need_root
from support.told import REMEDIES
from support.tunnels import pour

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.sandbox.authority import KeyPair
    from agent.sandbox.cloud import Entry

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
NOBODY = 65534
LEGACY = "abc123.iot.eu-west-1.amazonaws.com"
ATS = "abc123-ats.iot.eu-west-1.amazonaws.com"
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
    if within:
        command = (*within, COMMAND, *words)
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False, cwd=place)
    else:
        done = warm.run(words, timeout=LONGEST, cwd=place, env=os.environ, user=user)
    ran = Ran(arguments=arguments, code=done.returncode, out=done.stdout, err=done.stderr)
    gateway.remember(ran)
    assert ran.err == ""
    assert "defect" not in ran.out
    return ran


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


# -- servers that are not what they should be --------------------------------------------------------------------------


@contextmanager
def serving(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """Listen on loopback, let `talk` deal with one connection after the other, and give the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=deal, args=(connection,)).start()

        def deal(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                connection.settimeout(LONGEST)
                talk(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def speaks(pair: KeyPair, *versions: ssl.TLSVersion) -> Callable[[socket.socket], None]:
    """Return what a TLS server with this certificate does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pair.load_into(context)
    context.set_alpn_protocols([ALPN_MQTT])
    if versions:
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # what is too old is the point
            context.minimum_version, context.maximum_version = versions

    def talk(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(1)

    return talk


def captive_portal(connection: socket.socket) -> None:
    """Answer anything as a web server does that expected HTTP."""
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\nConnection: close\r\n\r\n")


def says_nothing(connection: socket.socket) -> None:
    """Take what comes and never answer."""
    while connection.recv(4096):
        pass


def drips(connection: socket.socket) -> None:
    """Begin a TLS record and send it a byte at a time, for ever."""
    connection.recv(4096)
    connection.sendall(b"\x16\x03\x03\x40\x00")
    while not select.select([connection], [], [], 0.5)[0]:  # until the other side leaves
        connection.sendall(b"\x02")


def hangs_up(connection: socket.socket) -> None:
    """Take the first message and leave, as a broker without TLS does."""
    connection.recv(4096)


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

    with serving(talk) as own:
        yield own


# -- the table ---------------------------------------------------------------------------------------------------------


@dataclass
class Place:
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
        self.port(self.stack.enter_context(serving(talk)))

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


@dataclass(frozen=True)
class Situation:
    """How a gateway is broken, and what has to come first.

    Attributes:
        name: For people.
        broken: Breaks it.
        first: The check that has to fail first, and its code.
        words: What its sentence has to say.
        remedy: What its remedy has to say; `DIR` stands for the gateway's directory.
        exit: The exit code.
    """

    name: str
    broken: Callable[[Place], object]
    first: tuple[str, str]
    words: str
    remedy: str
    exit: int = 1


def _legacy(place: Place) -> None:
    place.nowhere(LEGACY)


def _intercepted(place: Place) -> None:
    proxy = Authority("Inspection CA", NOW, organisation="Corporate Proxy Inc.")
    place.endpoint(ATS)
    port = place.stack.enter_context(serving(speaks(proxy.issue_server(ATS, NOW - DAY, NOW + DAY))))
    place.append(f"proxy: {{host: localhost, port: {place.stack.enter_context(proxy_to(port))}}}\n")


def _another_root(place: Place) -> None:
    place.gateway.service.use_root(Authority("Root B", NOW), intermediate=True)


def _old_root(place: Place) -> None:
    """The server is sound; what has expired is the anchor that would verify it."""
    root = Authority("Root D", NOW, not_after=NOW - DAY)
    place.gateway.service.use_root(root)
    _anchors(place, root.pem)


def _baked_copy_only(place: Place) -> None:
    baked = Authority("Root C", NOW)
    with (place.gateway.directory / "roots.pem").open("ab") as file:
        file.write(baked.pem)
    place.gateway.service.use_root(baked, intermediate=True)


def _verisign(place: Place) -> None:
    stand_in = Authority("VeriSign Class 3 Public Primary CA - G5", NOW, organisation="VeriSign, Inc.")
    place.gateway.service.use_root(stand_in, intermediate=True)


def _old_tls(place: Place) -> None:
    pair = place.gateway.service.issue_server()
    place.serve(speaks(pair, ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1))


def _server(place: Place, *, host: str = "localhost", since: timedelta, until: timedelta) -> None:
    service = place.gateway.service
    service.change_server(service.issuer.issue_server(host, NOW + since, NOW + until))


def _damaged(place: Place) -> None:
    """The key of another certificate, as when a technician copies files by hand."""
    place.key.write_bytes(place.gateway.cloud.add_claim().key_pem)


def _may(place: Place, **patterns: tuple[str, ...]) -> None:
    documents = place.gateway.cloud.registry.documents
    documents[GATEWAY] = replace(documents[GATEWAY], **patterns)


def _may_not(place: Place, action: str, word: str) -> None:
    patterns = getattr(place.gateway.cloud.registry.documents[GATEWAY], action)
    left = tuple(pattern for pattern in patterns if word not in pattern)
    assert left != patterns
    _may(place, **{action: left})


def _wrong_owner(place: Place) -> None:
    need_root()
    os.chown(place.key, NOBODY, NOBODY)


def _full(place: Place) -> None:
    place.stack.enter_context(smalldisk.only_blocks(place.disk(), 100))


def _no_inodes(place: Place) -> None:
    place.stack.enter_context(smalldisk.only_inodes(place.disk(), 10))


def _read_only(place: Place) -> None:
    smalldisk.remount(place.disk(), "ro")


def _in_memory(place: Place) -> None:
    memory = place.stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm"))
    shutil.copytree(place.gateway.state, f"{memory}/state", symlinks=True)
    place.gateway.configure({f"state_dir: {place.gateway.state}": f"state_dir: {memory}/state"})


def _not_enrolled(place: Place) -> None:
    shutil.rmtree(place.gateway.state)


def _open_claim_key(place: Place) -> None:
    """Let everybody read the key that the whole fleet shares."""
    (place.gateway.directory / "claim" / "key.pem").chmod(0o644)


def _claim_open(place: Place) -> None:
    _not_enrolled(place)
    (place.gateway.directory / "claim" / "key.pem").chmod(0o644)


def _claim_gone(place: Place) -> None:
    _not_enrolled(place)
    (place.gateway.directory / "claim" / "certificate.pem").unlink()


def _nothing_configured(place: Place) -> None:
    _not_enrolled(place)
    text = place.gateway.config.read_text()
    kept = text[: text.index("enrollment:")] + text[text.index("rotation:") :]
    place.gateway.config.write_text(kept)


def _anchors(place: Place, content: bytes | None) -> None:
    _not_enrolled(place)
    path = place.gateway.directory / "roots.pem"
    path.unlink() if content is None else path.write_bytes(content)


MISSPELT = ("endpoint", "misspelt-endpoint")
DESCRIBE = "aws iot describe-endpoint --endpoint-type iot:Data-ATS"

SITUATIONS = [
    Situation("no configuration", lambda place: place.gateway.config.unlink(), ("configuration", "configuration"),
              "the configuration file cannot be read: No such file or directory", "`iot-cert config check`", 2),
    Situation("broken YAML", lambda place: place.append("a: [\n"), ("configuration", "configuration"),
              "it is not sound YAML", "`iot-cert config check`", 2),
    Situation("two unknown keys", lambda place: place.append("endpiont: x\nprot: 1\n"),
              ("configuration", "configuration"), "`endpoint` was probably meant (and 1 more).",
              "`iot-cert config check` lists all complaints", 2),
    Situation("disk full", _full, ("disk", "no-space"), "too little for a change", "Free some space"),
    Situation("inodes used up", _no_inodes, ("disk", "no-space"), "10 inodes free", "or inodes"),
    Situation("disk read-only", _read_only, ("disk", "read-only"), "is mounted read-only", "sudo mount -o remount,rw"),
    Situation("state in memory", _in_memory, ("disk", "volatile"), "lies on tmpfs", "a file system that lasts"),
    Situation("key open to others", lambda place: place.key.chmod(0o644), ("files", "mode"),
              "may be read by others (mode 0644)", "sudo chmod g-w,o-rwx DIR/state/generations/000001/key.pem"),
    Situation("claim key open, though enrolled", _open_claim_key, ("files", "mode"),
              "claim/key.pem may be read by others (mode 0644)", "sudo chmod go-rwx DIR/claim/key.pem"),
    Situation("state directory open", lambda place: place.gateway.state.chmod(0o755), ("files", "mode"),
              "is open to others (mode 0755)", "sudo chmod g-w,o-rwx DIR/state"),
    Situation("wrong owner", _wrong_owner, ("files", "owner"), f"belongs to user {NOBODY}",
              "sudo chown --reference=DIR/state DIR/state/generations/000001/key.pem"),
    Situation("not enrolled", _not_enrolled, ("set", "not-enrolled"), "the claim certificate is ready",
              "Run `iot-cert enroll`", 3),
    Situation("not enrolled, claim key open", _claim_open, ("set", "claim-unusable"),
              "may be read by others (mode 0644)", "sudo chmod 600 DIR/claim/key.pem", 3),
    Situation("not enrolled, claim gone", _claim_gone, ("set", "claim-unusable"),
              "the claim certificate cannot be read", "Put the claim certificate and its key in place", 3),
    Situation("not enrolled, nothing configured", _nothing_configured, ("set", "not-enrolled"),
              "No claim certificate is configured", "Add `enrollment:`", 3),
    Situation("key of another certificate", _damaged, ("set", "damaged"), "key.pem changed since it was written",
              "`iot-cert rotate` puts this right.", 3),
    Situation("anchors file missing", lambda place: _anchors(place, None), ("anchors", "anchors-unusable"),
              "the trust anchors file cannot be read: No such file", "Put the baked copy back", 3),
    Situation("anchors file garbage", lambda place: _anchors(place, b"garbage"), ("anchors", "anchors-unusable"),
              "there is no PEM certificate in it", "Put the baked copy back", 3),
    Situation("root whose copy here has expired", _old_root, ("server", "anchor-expired"),
              "chain ends in Root D, and the copy among the anchors expired on", "`iot-cert trust restore`"),
    Situation("legacy endpoint", _legacy, ("endpoint", "legacy-endpoint"), "VeriSign root", f"`endpoint: {ATS}`", 2),
    Situation("legacy endpoint in Beijing", lambda place: place.nowhere("abc123.iot.cn-north-1.amazonaws.com.cn"),
              ("endpoint", "legacy-endpoint"), "is the legacy endpoint",
              "`endpoint: abc123.ats.iot.cn-north-1.amazonaws.com.cn`", 2),
    Situation("region misspelt", lambda place: place.nowhere("abc123-ats.iot.eu-wset-1.amazonaws.com"), MISSPELT,
              "no AWS region eu-wset-1 that has AWS IoT Core; eu-west-1 was probably meant.", DESCRIBE, 2),
    Situation("suffix of China missing", lambda place: place.nowhere("abc123.ats.iot.cn-north-1.amazonaws.com"),
              MISSPELT, "Endpoints in cn-north-1 end in amazonaws.com.cn.", DESCRIBE, 2),
    Situation("suffix misspelt", lambda place: place.nowhere("abc123-ats.iot.eu-west-1.amazonaws.co"), MISSPELT,
              "has not its form, <prefix>-ats.iot.<region>.amazonaws.com.", DESCRIBE, 2),
    Situation("another form of AWS", lambda place: place.nowhere("abc123.iot-ats.eu-west-1.amazonaws.com"), MISSPELT,
              "looks like an endpoint of AWS and has not its form", DESCRIBE, 2),
    Situation("name unknown", lambda place: place.nowhere("gateways.example"), ("dns", "dns"),
              "The name gateways.example cannot be resolved", "Check the gateway's DNS", 5),
    Situation("port refused", lambda place: place.port(9), ("tcp", "unreachable"),
              "does not take connections on port 9 (Connection refused)", "Check the uplink and the firewall", 5),
]  # fmt: skip


def _blocked(place: Place) -> None:
    place.port(8883)
    place.within = https_only()


SITUATIONS += [
    Situation("8883 blocked, 443 open", _blocked, ("tcp", "port-blocked"), "does not take connections on port 8883",
              "Port 443 is open: set `port: 443`", 5),
    Situation("captive portal speaks HTTP", lambda place: place.serve(captive_portal), ("tls", "not-tls"),
              "does not speak TLS but plain HTTP", "captive portal that wants a log-in", 5),
    Situation("server hangs up", lambda place: place.serve(hangs_up), ("tls", "tls-interrupted"), "was cut off",
              "A firewall or proxy in between", 5),
    Situation("server says nothing", lambda place: place.serve(says_nothing), ("tls", "tls-interrupted"),
              "no answer in time", "A firewall or proxy in between", 5),
    Situation("server drips", lambda place: place.serve(drips), ("tls", "tls-interrupted"),
              "no answer in time", "A firewall or proxy in between", 5),
    Situation("TLS too old", _old_tls, ("tls", "tls-too-old"), "nothing newer than TLS 1.1",
              "Have TLS 1.2 enabled at the endpoint"),
    Situation("proxy intercepts TLS", _intercepted, ("server", "intercepted"), "was issued by Corporate Proxy Inc.",
              "have the proxy let this host through unopened"),
    Situation("server certificate expired", lambda place: _server(place, since=-9 * DAY, until=-DAY),
              ("server", "server-expired"), "The server's certificate localhost expired at", "must renew it"),
    Situation("server certificate too early", lambda place: _server(place, since=DAY, until=9 * DAY),
              ("server", "server-not-yet-valid"), "is not valid yet", "The endpoint's owner must act"),
    Situation("server certificate for another name",
              lambda place: _server(place, host="other.example", since=-DAY, until=DAY), ("server", "wrong-host"),
              "is for other.example, and not for localhost", "Check the spelling of `endpoint`"),
    Situation("root that no file here has", _another_root, ("server", "unknown-root"),
              "chain ends in Root B, which is not among the anchors in use", "`iot-cert trust install`"),
    Situation("root of the baked copy only", _baked_copy_only, ("server", "anchor-missing"),
              "chain ends in Root C, which the anchors in use lack and the baked copy has", "`iot-cert trust restore`"),
    Situation("root that no client trusts", _verisign, ("server", "distrusted-root"),
              "withdrew trust from Symantec's CAs", "on AWS that is the ATS endpoint"),
    Situation("certificate not active", lambda place: setattr(entry_of(place.gateway), "status", Status.INACTIVE),
              ("connect", "certificate-refused"), "The broker hangs up on this certificate", "`iot-cert rotate`"),
    Situation("connecting not allowed", lambda place: _may(place, connect=()), ("connect", "connect-denied"),
              "does not authorise this certificate to connect as gw-0042-cert-agent",
              '{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:REGION:ACCOUNT:client/gw-0042-cert-agent"}'),
    Situation("jobs not allowed", lambda place: _may_not(place, "subscribe", "/jobs/"),
              ("permissions", "permission-missing"),
              "lacks iot:Subscribe on topicfilter/$aws/things/gw-0042/jobs/get/accepted and 2 more",
              '"Action":"iot:Subscribe","Resource":"arn:aws:iot:REGION:ACCOUNT:topicfilter/$aws/things/gw-0042/jobs/notify"'),
    Situation("answers of the shadow not allowed", lambda place: _may_not(place, "subscribe", "/shadow/"),
              ("permissions", "permission-missing"),
              "lacks iot:Subscribe on topicfilter/$aws/things/gw-0042/shadow/name/certificate/get/accepted and 4 more",
              "certificate/update/documents"),
    Situation("asking for the shadow not allowed", lambda place: _may_not(place, "publish", "/shadow/"),
              ("permissions", "permission-missing"),
              "lacks iot:Publish on topic/$aws/things/gw-0042/shadow/name/certificate/get.", '"Action":"iot:Publish"'),
    Situation("no daemon", lambda _: None, ("daemon", "no-daemon"), "nothing is renewed by itself",
              "`sudo systemctl start iot-cert-agent`"),
]  # fmt: skip


# -- what is said of them ----------------------------------------------------------------------------------------------

TABLE = Path(__file__).parents[1] / "data" / "doctor.json"
NO_DAEMON = ("daemon", "no-daemon")


def visited(gateway: Gateway, situation: Situation) -> tuple[Ran, dict[str, list[str]]]:
    """Break a gateway; return what the doctor did, and what it said as the table has it (see `support.told`)."""
    with ExitStack() as stack:
        place = Place(gateway, stack)
        situation.broken(place)
        ran = check(gateway, "--json", within=place.within)
    wrong = [line for line in lines_of(ran).values() if line["verdict"] in {"warning", "failure"}]
    own = {NO_DAEMON} - {situation.first}  # of all that are broken, none has a daemon
    wrong = [line for line in wrong if (line["check"], line["code"]) not in own]
    said = {
        "check": [f"{line['verdict']} {line['check']} {line['code']}: {line['text']}" for line in wrong],
        REMEDIES: [line.get("remedy", "") for line in wrong],
        "exit codes": [f"check {ran.code}"],
    }
    return ran, {name: [_plain(text, gateway) for text in texts] for name, texts in said.items()}


def _plain(text: str, gateway: Gateway) -> str:
    """Return a text without what differs from one time to the next: places, ports, times, room."""
    config = gateway.config.read_text() if gateway.config.exists() else ""
    state = re.search(r"^state_dir: (\S+)", config, flags=re.MULTILINE)
    for place, name in ((state and state[1], "DIR/state"), (state and str(Path(state[1]).parent), "DISK")):
        text = text.replace(place, name) if place and not place.startswith(str(gateway.directory)) else text
    text = text.replace(str(gateway.directory), "DIR")
    text = re.sub(r"\d{4}-\d\d-\d\d( \d\d:\d\d(:\d\d)? UTC)?", "TIME", text)
    text = re.sub(r"\d+ (KiB|MiB|inodes)", r"N \1", text)
    return re.sub(r"(localhost:|on port )(?!(?:9|443|8883)\b)\d+", r"\1PORT", text)


if __name__ == "__main__":
    with sound() as house:
        found = {}
        for each in SITUATIONS:
            with twin_of(house) as twin:
                found[each.name] = visited(twin, each)[1]
    TABLE.write_text(json.dumps(found, indent=1) + "\n")
