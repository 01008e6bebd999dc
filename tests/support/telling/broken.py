"""Broken gateways, each broken for real: how it is done, and what the doctor has to say of it.

``PYTHONPATH=tests python -m support.telling.broken`` writes what it says to `tests/data/doctor.json`, from which the
page for technicians is written; `tests/integration/command/test_doctor.py` compares.

Every situation starts from a gateway that works. What only root can break (networks, mounts, owners) is broken in a
namespace of the command's own, so nothing of it is left on the machine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from agent.sandbox.account.authority import Authority, key_to_pem
from agent.sandbox.account.authority import name as subject
from agent.sandbox.account.policies import GATEWAY
from agent.sandbox.cloud import Status
from support.crashkit import smalldisk
from support.network.servers import drips, hangs_up, says, says_nothing, server, speaks, tls_context
from support.suite.surroundings import NOBODY, need_root
from support.telling.breaking import BrokenGateway, check, entry_of, https_only, lines_of, proxy_to, sound, twin_of
from support.telling.told import REMEDIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.running.gateway import Gateway
    from support.suite.ran import Ran

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
CAPTIVE_PORTAL = b"HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\nConnection: close\r\n\r\n"
LEGACY = "abc123.iot.eu-west-1.amazonaws.com"
ATS = "abc123-ats.iot.eu-west-1.amazonaws.com"


@dataclass(frozen=True)
class Breakage:
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
    broken: Callable[[BrokenGateway], object]
    first: tuple[str, str]
    words: str
    remedy: str
    exit: int = 1


def _legacy(place: BrokenGateway) -> None:
    place.nowhere(LEGACY)


def _intercepted(place: BrokenGateway) -> None:
    proxy = Authority("Inspection CA", NOW, organisation="Corporate Proxy Inc.")
    place.endpoint(ATS)
    port = place.stack.enter_context(server(speaks(tls_context(proxy.issue_server(ATS, NOW - DAY, NOW + DAY)))))
    place.append(f"proxy: {{host: localhost, port: {place.stack.enter_context(proxy_to(port))}}}\n")


def _another_root(place: BrokenGateway) -> None:
    place.gateway.service.use_root(Authority("Root B", NOW), intermediate=True)


def _old_root(place: BrokenGateway) -> None:
    """The server is sound; what has expired is the anchor that would verify it."""
    root = Authority("Root D", NOW, not_after=NOW - DAY)
    place.gateway.service.use_root(root)
    _anchors(place, root.pem)


def _baked_copy_only(place: BrokenGateway) -> None:
    baked = Authority("Root C", NOW)
    with (place.gateway.directory / "roots.pem").open("ab") as file:
        file.write(baked.pem)
    place.gateway.service.use_root(baked, intermediate=True)


def _verisign(place: BrokenGateway) -> None:
    stand_in = Authority("VeriSign Class 3 Public Primary CA - G5", NOW, organisation="VeriSign, Inc.")
    place.gateway.service.use_root(stand_in, intermediate=True)


def _old_tls(place: BrokenGateway) -> None:
    old = tls_context(place.gateway.service.issue_server(), ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)
    place.serve(speaks(old))


def _server(place: BrokenGateway, *, host: str = "localhost", since: timedelta, until: timedelta) -> None:
    service = place.gateway.service
    service.change_server(service.issuer.issue_server(host, NOW + since, NOW + until))


def _damaged(place: BrokenGateway) -> None:
    """The key of another certificate, as when a technician copies files by hand."""
    place.key.write_bytes(place.gateway.cloud.add_claim().key_pem)


def _may(place: BrokenGateway, **patterns: tuple[str, ...]) -> None:
    documents = place.gateway.cloud.registry.documents
    documents[GATEWAY] = replace(documents[GATEWAY], **patterns)


def _may_not(place: BrokenGateway, action: str, word: str) -> None:
    patterns = getattr(place.gateway.cloud.registry.documents[GATEWAY], action)
    left = tuple(pattern for pattern in patterns if word not in pattern)
    assert left != patterns
    _may(place, **{action: left})


def _wrong_owner(place: BrokenGateway) -> None:
    need_root()
    os.chown(place.key, NOBODY, NOBODY)


def _full(place: BrokenGateway) -> None:
    place.stack.enter_context(smalldisk.only_blocks(place.disk(), 100))


def _no_inodes(place: BrokenGateway) -> None:
    place.stack.enter_context(smalldisk.only_inodes(place.disk(), 10))


def _read_only(place: BrokenGateway) -> None:
    smalldisk.remount(place.disk(), "ro")


def _in_memory(place: BrokenGateway) -> None:
    memory = place.stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm"))
    shutil.copytree(place.gateway.state, f"{memory}/state", symlinks=True)
    place.gateway.configure({f"state_dir: {place.gateway.state}": f"state_dir: {memory}/state"})


def _not_enrolled(place: BrokenGateway) -> None:
    shutil.rmtree(place.gateway.state)


def _open_claim_key(place: BrokenGateway) -> None:
    """Let everybody read the key that the whole fleet shares."""
    (place.gateway.directory / "claim" / "key.pem").chmod(0o644)


def _claim_halved(place: BrokenGateway) -> None:
    (place.gateway.directory / "claim" / "key.pem").unlink()


def _claim_open(place: BrokenGateway) -> None:
    _not_enrolled(place)
    (place.gateway.directory / "claim" / "key.pem").chmod(0o644)


def _claim_expired(place: BrokenGateway) -> None:
    _not_enrolled(place)
    claim = place.gateway.directory / "claim"
    key = ec.generate_private_key(ec.SECP256R1())
    begins, ends = datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
    certificate = Authority("Claims", begins).issue_client(subject("claim"), key.public_key(), begins, ends)
    (claim / "certificate.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (claim / "key.pem").write_bytes(key_to_pem(key))


def _claim_gone(place: BrokenGateway) -> None:
    _not_enrolled(place)
    (place.gateway.directory / "claim" / "certificate.pem").unlink()


def _nothing_configured(place: BrokenGateway) -> None:
    _not_enrolled(place)
    text = place.gateway.config.read_text()
    kept = text[: text.index("enrollment:")] + text[text.index("rotation:") :]
    place.gateway.config.write_text(kept)


def _anchors(place: BrokenGateway, content: bytes | None) -> None:
    _not_enrolled(place)
    path = place.gateway.directory / "roots.pem"
    path.unlink() if content is None else path.write_bytes(content)


MISSPELT = ("endpoint", "misspelt-endpoint")
PUT_BACK = "Put back what the package or the OS image came with."
DESCRIBE = "aws iot describe-endpoint --endpoint-type iot:Data-ATS"

SITUATIONS = [
    Breakage("no configuration", lambda place: place.gateway.config.unlink(), ("configuration", "configuration"),
              "the configuration file cannot be read: No such file or directory", "Name it with `--config FILE`", 2),
    Breakage("broken YAML", lambda place: place.append("a: [\n"), ("configuration", "configuration"),
              "it is not sound YAML", "A line is `key: value`", 2),
    Breakage("two unknown keys", lambda place: place.append("endpiont: x\nprot: 1\n"),
              ("configuration", "configuration"), "`endpoint` was probably meant (and 1 more).",
              "`iot-cert config check` lists all complaints", 2),
    Breakage("disk full", _full, ("disk", "no-space"), "too little for a change", "Free some space"),
    Breakage("inodes used up", _no_inodes, ("disk", "no-space"), "10 inodes free", "or inodes"),
    Breakage("disk read-only", _read_only, ("disk", "read-only"), "is mounted read-only", "sudo mount -o remount,rw"),
    Breakage("state in memory", _in_memory, ("disk", "volatile"), "lies on tmpfs", "a file system that lasts"),
    Breakage("key open to others", lambda place: place.key.chmod(0o644), ("files", "mode"),
              "may be read by others (mode 0644)", "sudo chmod g-w,o-rwx DIR/state/generations/000001/key.pem"),
    Breakage("claim key open, though enrolled", _open_claim_key, ("files", "mode"),
              "claim/key.pem may be read by others (mode 0644)", "sudo chmod go-rwx DIR/claim/key.pem"),
    Breakage("claim half there, though enrolled", _claim_halved, ("daemon", "no-daemon"),  # a warning comes before it
              "No daemon runs", "sudo systemctl start iot-cert-agent", 1),
    Breakage("state directory open", lambda place: place.gateway.state.chmod(0o755), ("files", "mode"),
              "is open to others (mode 0755)", "sudo chmod g-w,o-rwx DIR/state"),
    Breakage("wrong owner", _wrong_owner, ("files", "owner"), f"belongs to user {NOBODY}",
              "sudo chown --reference=DIR/state DIR/state/generations/000001/key.pem"),
    Breakage("not enrolled", _not_enrolled, ("set", "not-enrolled"), "the claim certificate is ready",
              "Run `iot-cert enroll`", 3),
    Breakage("not enrolled, claim key open", _claim_open, ("set", "claim-unusable"),
              "may be read by others (mode 0644)", "sudo chmod 600 DIR/claim/key.pem", 3),
    Breakage("not enrolled, claim gone", _claim_gone, ("set", "claim-unusable"),
              "the claim certificate cannot be read", "Put the claim certificate and its key in place", 3),
    Breakage("not enrolled, claim expired", _claim_expired, ("set", "claim-unusable"),
              "expired at 2025-01-01 00:00:00 UTC", "Put the claim certificate and its key in place", 3),
    Breakage("not enrolled, nothing configured", _nothing_configured, ("set", "not-enrolled"),
              "No claim certificate is configured", "Add `enrollment:`", 3),
    Breakage("key of another certificate", _damaged, ("set", "damaged"), "key.pem changed since it was written",
              "`iot-cert rotate` puts this right.", 3),
    Breakage("anchors file missing", lambda place: _anchors(place, None), ("anchors", "anchors-unusable"),
              "the trust anchors file cannot be read: No such file", PUT_BACK, 3),
    Breakage("anchors file garbage", lambda place: _anchors(place, b"garbage"), ("anchors", "anchors-unusable"),
              "there is no PEM certificate in it", PUT_BACK, 3),
    Breakage("root whose copy here has expired", _old_root, ("server", "anchor-expired"),
              "chain ends in Root D, and the copy among the anchors expired on", "`iot-cert trust restore`"),
    Breakage("legacy endpoint", _legacy, ("endpoint", "legacy-endpoint"), "VeriSign root", f"`endpoint: {ATS}`", 2),
    Breakage("legacy endpoint in Beijing", lambda place: place.nowhere("abc123.iot.cn-north-1.amazonaws.com.cn"),
              ("endpoint", "legacy-endpoint"), "is the legacy endpoint",
              "`endpoint: abc123.ats.iot.cn-north-1.amazonaws.com.cn`", 2),
    Breakage("region misspelt", lambda place: place.nowhere("abc123-ats.iot.eu-wset-1.amazonaws.com"), MISSPELT,
              "no AWS region eu-wset-1 that has AWS IoT Core; eu-west-1 was probably meant.", DESCRIBE, 2),
    Breakage("suffix of China missing", lambda place: place.nowhere("abc123.ats.iot.cn-north-1.amazonaws.com"),
              MISSPELT, "Endpoints in cn-north-1 end in amazonaws.com.cn.", DESCRIBE, 2),
    Breakage("suffix misspelt", lambda place: place.nowhere("abc123-ats.iot.eu-west-1.amazonaws.co"), MISSPELT,
              "has not its form, <prefix>-ats.iot.<region>.amazonaws.com.", DESCRIBE, 2),
    Breakage("another form of AWS", lambda place: place.nowhere("abc123.iot-ats.eu-west-1.amazonaws.com"), MISSPELT,
              "looks like an endpoint of AWS and has not its form", DESCRIBE, 2),
    Breakage("name unknown", lambda place: place.nowhere("gateways.example"), ("dns", "dns"),
              "The name gateways.example cannot be resolved", "Check the gateway's DNS", 5),
    Breakage("port refused", lambda place: place.port(9), ("tcp", "unreachable"),
              "does not take connections on port 9 (Connection refused)", "A firewall refuses it", 5),
]  # fmt: skip


def _blocked(place: BrokenGateway) -> None:
    place.port(8883)
    place.within = https_only()


SITUATIONS += [
    Breakage("8883 blocked, 443 open", _blocked, ("tcp", "port-blocked"), "does not take connections on port 8883",
              "Port 443 is open: set `port: 443`", 5),
    Breakage("captive portal speaks HTTP", lambda place: place.serve(says(CAPTIVE_PORTAL)), ("tls", "not-tls"),
              "does not speak TLS but plain HTTP", "captive portal that wants a log-in", 5),
    Breakage("server hangs up", lambda place: place.serve(hangs_up), ("tls", "tls-interrupted"), "was cut off",
              "A firewall or proxy in between", 5),
    Breakage("server says nothing", lambda place: place.serve(says_nothing), ("tls", "tls-interrupted"),
              "no answer in time", "A firewall or proxy in between", 5),
    Breakage("server drips", lambda place: place.serve(drips), ("tls", "tls-interrupted"),
              "no answer in time", "A firewall or proxy in between", 5),
    Breakage("TLS too old", _old_tls, ("tls", "tls-too-old"), "nothing newer than TLS 1.1",
              "Have TLS 1.2 enabled at the endpoint"),
    Breakage("proxy intercepts TLS", _intercepted, ("server", "intercepted"), "was issued by Corporate Proxy Inc.",
              "have the proxy let this host through unopened"),
    Breakage("server certificate expired", lambda place: _server(place, since=-9 * DAY, until=-DAY),
              ("server", "server-expired"), "The server's certificate localhost expired at", "must renew it"),
    Breakage("server certificate too early", lambda place: _server(place, since=DAY, until=9 * DAY),
              ("server", "server-not-yet-valid"), "is not valid yet", "The endpoint's owner must act"),
    Breakage("server certificate for another name",
              lambda place: _server(place, host="other.example", since=-DAY, until=DAY), ("server", "wrong-host"),
              "is for other.example, and not for localhost", "Check the spelling of `endpoint`"),
    Breakage("root that no file here has", _another_root, ("server", "unknown-root"),
              "chain ends in Root B, which is not among the anchors in use", "`iot-cert trust install`"),
    Breakage("root of the package's copy only", _baked_copy_only, ("server", "anchor-missing"),
              "which the anchors in use lack and the copy of the package or OS image has", "`iot-cert trust restore`"),
    Breakage("root that no client trusts", _verisign, ("server", "distrusted-root"),
              "withdrew trust from Symantec's CAs", "on AWS that is the ATS endpoint"),
    Breakage("certificate not active", lambda place: setattr(entry_of(place.gateway), "status", Status.INACTIVE),
              ("connect", "certificate-refused"), "The broker hangs up on this certificate", "`iot-cert rotate`"),
    Breakage("connecting not allowed", lambda place: _may(place, connect=()), ("connect", "connect-denied"),
              "does not authorise this certificate to connect as gw-0042-cert-agent",
              '{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:REGION:ACCOUNT:client/gw-0042-cert-agent"}'),
    Breakage("jobs not allowed", lambda place: _may_not(place, "subscribe", "/jobs/"),
              ("permissions", "permission-missing"),
              "lacks iot:Subscribe on topicfilter/$aws/things/gw-0042/jobs/get/accepted and 2 more",
              '"Action":"iot:Subscribe","Resource":"arn:aws:iot:REGION:ACCOUNT:topicfilter/$aws/things/gw-0042/jobs/notify"'),
    Breakage("answers of the shadow not allowed", lambda place: _may_not(place, "subscribe", "/shadow/"),
              ("permissions", "permission-missing"),
              "lacks iot:Subscribe on topicfilter/$aws/things/gw-0042/shadow/name/certificate/get/accepted and 4 more",
              "certificate/update/documents"),
    Breakage("asking for the shadow not allowed", lambda place: _may_not(place, "publish", "/shadow/"),
              ("permissions", "permission-missing"),
              "lacks iot:Publish on topic/$aws/things/gw-0042/shadow/name/certificate/get.", '"Action":"iot:Publish"'),
    Breakage("no daemon", lambda _: None, ("daemon", "no-daemon"), "nothing is renewed by itself",
              "`sudo systemctl start iot-cert-agent`"),
]  # fmt: skip


# -- what is said of them ----------------------------------------------------------------------------------------------

TABLE = Path(__file__).parents[2] / "data" / "doctor.json"
NO_DAEMON = ("daemon", "no-daemon")


def visited(gateway: Gateway, situation: Breakage) -> tuple[Ran, dict[str, list[str]]]:
    """Break a gateway; return what the doctor did, and what it said as the table has it (`support.telling.told`)."""
    with ExitStack() as stack:
        place = BrokenGateway(gateway, stack)
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
