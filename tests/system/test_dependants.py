"""Other programs of a gateway that use the certificate: real ones, under systemd, served by the helper that is root."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import mqtt5

from agent.sandbox.authority import Authority
from support import campaigns
from support.boot.installed import CONFIG, THING
from support.boot.machine import PATIENCE, SERVICE, STATE, Machine, listens_to_inbox, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.boot.installed import Installed

HELPER = "iot-cert-agent-deploy.service"
DOOR = "/run/iot-cert-agent-deploy.sock"
REPORT = "/var/lib/iot-cert-agent-deploy/report.json"
NGINX, MOSQUITTO = "nginx.service", "mosquitto.service"
CERTS = "/etc/mosquitto/certs"
UNITS = "/etc/systemd/system"
HOOKS = "/etc/iot-cert-agent/hooks.d"
AT_ONCE = 10.0  # seconds; far less than the daemon waits before it tries a dependant again
HTTPS, MQTT = 8443, 1883  # of the examples


# -- what is put on the gateway ----------------------------------------------------------------------------------------


def enable(machine: Machine, unit: str, folder: str = "/lib/systemd/system") -> None:
    """Have a unit started at each boot; the machine is down."""
    link = machine.path(f"/etc/systemd/system/multi-user.target.wants/{unit}")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(f"{folder}/{unit}")


def with_unit(machine: Machine, name: str, *lines: str) -> None:
    """Put a unit of the gateway's owner on it, which only waits; the machine is down."""
    machine.write(f"{UNITS}/{name}", "\n".join(("[Service]", "ExecStart=/usr/bin/sleep infinity", *lines)))
    enable(machine, name, UNITS)


def with_nginx(gateway: Installed) -> None:
    """Put nginx on it as in the example; Debian's own site would want a port that everybody has."""
    gateway.place("nginx/gateway.conf")
    gateway.machine.write("/etc/nginx/sites-available/default", "")
    enable(gateway.machine, NGINX)


def with_mosquitto(gateway: Installed) -> None:
    """Put mosquitto on it as in the example."""
    gateway.place("mosquitto-bridge/bridge.conf")
    enable(gateway.machine, MOSQUITTO)


def with_both(gateway: Installed) -> None:
    """Put nginx and mosquitto on it as in the examples, and have the agent serve both."""
    with_nginx(gateway)
    with_mosquitto(gateway)
    gateway.configure(probation="0s")
    gateway.add(*(sooner(gateway.example(f"{name}/agent.yaml")) for name in ("nginx", "mosquitto-bridge")))


def sooner(example: str) -> str:
    """Return an example whose unit is believed to be up as soon as it is; for a test that is all that changes."""
    text = re.sub(r"\n    healthy: .*", "", example)
    return re.sub(r"(\n    timeout: .*)", r"\1\n    healthy: 0s", text)


# -- what can be seen from outside -------------------------------------------------------------------------------------


@contextmanager
def tls(gateway: Installed) -> Iterator[ssl.SSLSocket]:
    """Connect to the gateway's nginx."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((gateway.loopback, HTTPS), PATIENCE) as raw,
        context.wrap_socket(raw) as connection,
    ):
        yield connection


def shown(gateway: Installed) -> str:
    """Return the id of the certificate that nginx shows."""
    with tls(gateway) as connection:
        return hashlib.sha256(connection.getpeercert(binary_form=True) or b"").hexdigest()


def given(gateway: Installed) -> list[str]:
    """Return the ids of the certificates that the cloud gave this gateway, in their order."""
    return [entry.certificate_id for entry in gateway.certificates()]


def connected(gateway: Installed) -> set[str]:
    """Return the certificates with which the gateway's other program is connected to the cloud."""
    return {item.certificate_id for item in gateway.service.front.live if item.client_id == THING}


@contextmanager
def cloud_hears(gateway: Installed) -> Iterator[Callable[[], mqtt5.PublishPacket]]:
    """Give a function that returns what gateways publish next, as a subscriber behind the cloud's broker has it."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(gateway.service.broker.socket_path))
        connection.sendall(mqtt5.ConnectPacket("behind", clean_start=True).write())
        connection.sendall(mqtt5.SubscribePacket(1, [mqtt5.TopicFilter("gateways/#")]).write())
        packets = read_packets(connection)
        until(lambda: isinstance(next(packets), mqtt5.SubAckPacket), "it is subscribed")

        def following() -> mqtt5.PublishPacket:
            return next(packet for packet in packets if isinstance(packet, mqtt5.PublishPacket))

        yield following


def read_packets(connection: socket.socket) -> Iterator[mqtt5.Packet]:
    """Return packets as they come."""
    data = b""
    while True:
        try:
            packet, size = mqtt5.read(memoryview(data))
        except IndexError:
            part = connection.recv(4096)
            assert part, "the broker hung up"
            data += part
        else:
            data = data[size:]
            yield packet


def publish(gateway: Installed, topic: str, payload: bytes) -> None:
    """Publish to the gateway's own mosquitto, as a program on it does."""
    with socket.create_connection((gateway.loopback, MQTT), PATIENCE) as connection:
        connection.sendall(mqtt5.ConnectPacket("local", clean_start=True).write())
        connection.sendall(mqtt5.PublishPacket(topic, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=1).write())
        packets = read_packets(connection)
        until(lambda: isinstance(next(packets), mqtt5.PubAckPacket), "it is published")


def report(machine: Machine) -> dict[str, Any]:
    """Return what the helper wrote down."""
    text = machine.read(REPORT)
    found: dict[str, Any] = json.loads(text) if text else {}
    return found


def steps(machine: Machine) -> dict[str, str]:
    """Return each dependant's problem."""
    return {step["name"]: step.get("problem") or "" for step in report(machine).get("steps", [])}


def served(machine: Machine, generation: int) -> bool:
    """Whether all dependants use a generation, as the helper says."""
    found = steps(machine)
    return report(machine).get("generation") == generation and bool(found) and not any(found.values())


def invocation(machine: Machine, unit: str) -> str:
    """Return what is another one after each start of a unit."""
    return machine.show("InvocationID", unit)


def dressed(machine: Machine, path: str) -> str:
    """Return a file's owner, group and mode."""
    return machine.run("stat", "--format=%U:%G %a", path).out.strip()


# -- stories -----------------------------------------------------------------------------------------------------------


def test_nginx_and_mosquitto_run_on_the_set_as_the_examples_say(gateway: Installed) -> None:
    """From a boot without a certificate over a rotation to a rollback: both show the set in use, and no other."""
    with_both(gateway)
    gateway.service.take_down()
    machine = gateway.machine.boot()
    assert machine.show("ActiveState", NGINX) == "failed"
    assert connected(gateway) == set()
    gateway.service.bring_up()
    machine.run("systemctl", "reload", SERVICE)
    gateway.until_up(1)
    until(lambda: served(machine, 1), "the first certificate is served")
    using(gateway, 1, 1)

    rotation(gateway)
    screen = machine.run("iot-cert", "status").out
    assert "5 of 5 use generation 2" in screen
    told = machine.run("iot-cert", "check", "--json", expect=None).out.splitlines()
    verdicts = {line["check"]: line["verdict"] for line in map(json.loads, told) if "check" in line}
    assert verdicts["dependants"] == "ok"

    machine.run("iot-cert", "rollback")
    assert gateway.until_up() == 1
    using(gateway, 1, 1)


def rotation(gateway: Installed) -> None:
    """Rotate: nginx reloads, which ends no request that is under way, and mosquitto is restarted."""
    machine = gateway.machine
    process, start = machine.show("MainPID", NGINX), invocation(machine, MOSQUITTO)
    with tls(gateway) as before:
        before.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n")  # more is to come
        machine.run("iot-cert", "rotate")
        assert gateway.until_up() == 2
        using(gateway, 2, 2)
        before.sendall(b"Host: gateway\r\n\r\n")
        assert before.recv(4096).startswith(b"HTTP/1.1 ")
    assert machine.show("MainPID", NGINX) == process
    assert invocation(machine, MOSQUITTO) != start


def using(gateway: Installed, generation: int, certificate: int) -> None:
    """Hold everybody to a generation with the n-th certificate: on the wire, in the copies, and in the report."""
    machine = gateway.machine
    wanted = given(gateway)[certificate - 1]
    assert served(machine, generation), report(machine)
    assert shown(gateway) == wanted
    until(lambda: connected(gateway) == {wanted}, "the bridge is connected with that certificate")
    for name, source, mode in (
        ("gateway.key", "key", 600),
        ("gateway.pem", "certificate", 644),
        ("amazon-roots.pem", "trust", 644),
    ):
        copied = machine.read(f"{CERTS}/{name}")
        assert "-----BEGIN" in copied
        assert copied == machine.read(f"{STATE}/current/{source}.pem")
        assert dressed(machine, f"{CERTS}/{name}") == f"mosquitto:mosquitto {mode}"
    with cloud_hears(gateway) as following:
        publish(gateway, f"gateways/{THING}/temperature", str(generation).encode())
        heard = following()
        assert (heard.topic, heard.payload) == (f"gateways/{THING}/temperature", str(generation).encode())


def test_an_application_with_the_sdk_runs_on_the_set_as_the_example_says(gateway: Installed) -> None:
    """It waits for the first certificate, is started by the agent, and connects anew with the second."""
    machine, telemetry = gateway.machine, "telemetry.service"
    program = "ExecStart=/usr/lib/iot-cert-agent/bin/python3 "  # the one here that has the SDK
    unit = gateway.example(f"sdk-application/{telemetry}")
    machine.write(f"{UNITS}/{telemetry}", unit.replace("ExecStart=/usr/bin/python3 ", program))
    machine.write("/opt/telemetry/telemetry.py", gateway.example("sdk-application/telemetry.py"))
    enable(machine, telemetry, UNITS)
    gateway.configure(probation="0s")
    gateway.add(sooner(gateway.example("sdk-application/agent.yaml")))
    gateway.service.take_down()
    machine.boot()
    assert (machine.show("ConditionResult", telemetry), machine.show("ActiveState", telemetry)) == ("no", "inactive")
    gateway.service.bring_up()
    with cloud_hears(gateway) as following:
        machine.run("systemctl", "reload", SERVICE)
        gateway.until_up(1)
        assert connected(gateway) == set(given(gateway)[:1])
        assert json.loads(following().payload)["count"] == 1
        process = machine.show("MainPID", telemetry)

        machine.run("iot-cert", "rotate")
        assert gateway.until_up() == 2
        assert served(machine, 2), report(machine)
        assert connected(gateway) == set(given(gateway)[1:])
        assert json.loads(following().payload)["count"] == 2
        assert machine.show("MainPID", telemetry) == process


# A unit that takes up no other set than the one that stands in a file, if there is such a file.
PICKY = "picky.service"
LIKES = "/etc/picky"
RELOADS = f"[ ! -e {LIKES} ] || [ $$(readlink {STATE}/current) = $$(cat {LIKES}) ]"

PHASES = "/var/log/phases"
NOTE = f"""\
#!/bin/sh -eu
echo "$(id -un) $IOT_CERT_PHASE $IOT_CERT_GENERATION $IOT_CERT_THING $IOT_CERT_CERTIFICATE_ID" >>{PHASES}
"""


def test_a_unit_that_does_not_take_the_new_set_up_decides_what_becomes_of_it(gateway: Installed) -> None:
    """With `rollback` everybody is served the old set again; with `degrade` it goes on, and is put right by hand."""
    with_nginx(gateway)
    machine = gateway.machine
    with_unit(machine, PICKY, f"ExecReload=/bin/sh -c '{RELOADS}'")
    machine.write(f"{HOOKS}/10-note", NOTE, 0o755)
    machine.write(PHASES, "", 0o666)
    fussy(gateway, "rollback", patience="1s")
    machine.boot()
    gateway.until_up(1)
    until(lambda: served(machine, 1), "the first certificate is served")
    machine.write(LIKES, machine.path(f"{STATE}/current").readlink().as_posix())

    goes_back(gateway)
    fussy(gateway, "degrade", patience="0s")
    machine.run("systemctl", "reload", SERVICE)
    goes_on(gateway)


def goes_back(gateway: Installed) -> None:
    """Rotate in vain."""
    machine = gateway.machine
    assert PICKY in machine.run("iot-cert", "rotate", expect=1).out
    assert gateway.until_up() == 1
    first, second = given(gateway)
    ended = machine.history()[-1]
    assert (ended["phase"], ended["failure"]["kind"]) == ("rolled-back", "dependant")
    assert PICKY in ended["failure"]["message"]
    assert served(machine, 1), report(machine)
    assert shown(gateway) == first
    assert machine.read(PHASES).splitlines() == [
        f"www-data activated 1 {THING} {first}",
        f"www-data activated 2 {THING} {second}",
        f"www-data rolled-back 1 {THING} {first}",
    ]


def goes_on(gateway: Installed) -> None:
    """Rotate without one of them, and put that right."""
    machine = gateway.machine
    machine.run("iot-cert", "rotate", expect=1)
    assert gateway.until_up() == 3
    third = given(gateway)[-1]
    ended = machine.history()[-1]
    assert (ended["phase"], ended["degraded"]["kind"]) == ("committed", "dependant")
    assert shown(gateway) == third
    assert PICKY in until(lambda: degraded(machine), "the status is degraded")
    phases = machine.read(PHASES).splitlines()
    assert phases[3:] == [f"www-data activated 3 {THING} {third}"]

    machine.path(LIKES).unlink()
    workers = nginx_workers(machine)
    told = machine.run("iot-cert", "deploy").out
    assert [line.split() for line in told.splitlines()] == [["ok", "hook", "10-note"], ["ok", NGINX], ["ok", PICKY]]
    until(lambda: not degraded(machine), "the status is healthy", AT_ONCE)
    assert machine.read(PHASES).splitlines() == phases
    assert nginx_workers(machine) == workers


def nginx_workers(machine: Machine) -> str:
    """Return the processes of nginx, which are others after each reload."""
    return machine.run("pgrep", "--parent", machine.show("MainPID", NGINX)).out


def fussy(gateway: Installed, on_failure: str, *, patience: str) -> None:
    """Configure nginx, and a unit that decides what becomes of a change."""
    gateway.configure(dependants_patience=patience, probation="0s")
    picky = {"unit": PICKY, "action": "reload", "healthy": "0s", "on_failure": on_failure}
    gateway.add(
        sooner(gateway.example("nginx/agent.yaml")), json.dumps({"dependants": [picky], "hooks": {"user": "www-data"}})
    )


def degraded(machine: Machine) -> str:
    """Return what `iot-cert status` says while the gateway is degraded, and nothing when it is healthy."""
    told = machine.run("iot-cert", "status", expect=None)
    assert told.code in {0, 1}
    return told.out if told.code else ""


# A hook that holds the helper up, before it comes to units, while there is a file; no boot brings that back.
HOLD, HELD = "/run/hold", "/run/held"
WAIT = f"#!/bin/sh\ntouch {HELD}\nwhile [ -e {HOLD} ]; do sleep 0.05; done\n"


def test_the_plug_is_pulled_while_they_are_served_and_anchors_come(gateway: Installed) -> None:
    """After the boot all of them agree; later a signed bundle in the inbox reaches mosquitto's own copy."""
    with_both(gateway)
    machine = gateway.machine
    machine.write(f"{HOOKS}/50-wait", WAIT, 0o755)
    machine.boot()
    gateway.until_up(1)
    until(lambda: connected(gateway) == set(given(gateway)), "the bridge is connected")
    machine.write(HOLD, "")
    machine.path(HELD).unlink()
    machine.run("iot-cert", "rotate", "--no-wait")
    until(lambda: machine.path(HELD).exists(), "the hook is run")
    first, second = given(gateway)
    key = machine.read(f"{STATE}/current/key.pem")
    assert machine.change()["phase"] == "active"
    assert machine.read(f"{CERTS}/gateway.key") == key
    assert (shown(gateway), connected(gateway)) == (first, {first})

    machine.cut()
    machine.boot()
    assert gateway.until_up() == 2
    assert machine.history()[-1]["phase"] == "committed"
    assert machine.read(f"{STATE}/current/key.pem") == key
    using(gateway, 2, 2)
    assert given(gateway) == [first, second]

    new_anchors(gateway)


def new_anchors(gateway: Installed) -> None:
    """Have another root accepted, which is about mosquitto too: it reads its anchors at its start alone."""
    machine = gateway.machine
    start = invocation(machine, MOSQUITTO)
    other = Authority("Sandbox endpoint root B", gateway.cloud.now)
    drop(gateway, gateway.service.root_pem + other.pem)
    gateway.until_up(3)
    until(lambda: served(machine, 3), "the anchors are served")
    assert invocation(machine, MOSQUITTO) != start
    assert other.pem.decode() in machine.read(f"{CERTS}/amazon-roots.pem")
    using(gateway, 3, 2)


def drop(gateway: Installed, anchors: bytes) -> None:
    """Sign a bundle of anchors, and put it into the inbox as a pipeline does."""
    machine = gateway.machine
    gateway.sign(anchors)
    line = "  target: anchors.pem"
    text = machine.read(CONFIG)
    assert line in text
    machine.write(CONFIG, text.replace(line, f"  root: /etc/iot-cert-agent/trust/root.json\n{line}"))
    machine.run("systemctl", "reload", SERVICE)
    until(lambda: listens_to_inbox(machine), "the daemon listens to the inbox")
    machine.run("cp", "/root/b.tar", f"{STATE}/inbox/")


# -- attacks -----------------------------------------------------------------------------------------------------------

AGENT = "iot-cert-agent"
BYSTANDER = "bystander.service"
SECRET = "Joshua-5-silo"  # noqa: S105 - what no user may learn

# Says to the helper what its first argument is the name of a file with, so many times at once, and prints each answer.
ASK = f"""\
import socket, sys
said = open(sys.argv[1], "rb").read()
doors = []
for _ in range(int(sys.argv[2])):
    door = socket.socket(socket.AF_UNIX)
    door.connect("{DOOR}")
    doors.append(door)
for door in doors:
    try:
        door.sendall(said)
    except (BrokenPipeError, ConnectionResetError):
        pass
for door in doors:
    try:
        print(door.makefile().read(), end="")
    except ConnectionResetError:
        print('{{"error": "it hung up"}}')
"""


def ask(machine: Machine, said: bytes, *, user: str = AGENT, times: int = 1, code: int = 0) -> list[dict[str, Any]]:
    """Say something to the helper, and return its answers."""
    machine.write("/srv/said", said)
    told = machine.run("runuser", "-u", user, "--", "python3", "-c", ASK, "/srv/said", str(times), expect=code)
    if code:
        assert "PermissionError" in told.err
    return [json.loads(line) for line in told.out.splitlines()]


def test_an_attacker_in_the_agent_gets_no_more_of_root_than_three_words(
    gateway: Installed, record_property: Callable[[str, object], None]
) -> None:
    """From the agent's user no unit, no file and no secret can be had; a damaged copy is put back; the end is clean."""
    with_both(gateway)
    machine = gateway.machine
    with_unit(machine, BYSTANDER)
    machine.write("/root/secret", f"{SECRET}\n", 0o600)
    machine.boot()
    machine.run("usermod", "--password", SECRET, "nobody")
    machine.run("useradd", f"--groups={AGENT}", "viewer")
    gateway.until_up(1)
    until(lambda: served(machine, 1), "the first certificate is served")
    words_and_floods(gateway)
    machine.run("systemctl", "stop", "iot-cert-agent.socket", SERVICE)  # which puts right what it finds
    links_to_secrets(gateway)
    what_it_may_not_write(gateway)
    machine.run("systemctl", "start", "iot-cert-agent.socket", SERVICE)
    gateway.until_up(1)
    the_helper_ends(machine, record_property)
    damaged_copies(gateway)
    removal(machine)


def fingerprint(machine: Machine) -> dict[str, str]:
    """Return what is another one after each start or reload of a unit, and after each time a copy is written."""
    found = {unit: invocation(machine, unit) for unit in (NGINX, MOSQUITTO, BYSTANDER)}
    found["reloads"] = str(machine.run("journalctl", "--unit", NGINX, "--output=cat").out.count("Reloaded"))
    for path in sorted(machine.path(CERTS).iterdir()):
        found[path.name] = f"{path.stat().st_ino} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    return found


def words_and_floods(gateway: Installed) -> None:
    """Who may ask, and what."""
    machine = gateway.machine
    before = fingerprint(machine)
    for user in ("nobody", "viewer"):
        ask(machine, b"again\n", user=user, code=1)
    for said in (
        b"mosquitto.service\n", b"restart bystander.service\n", b"/etc/shadow\n", b"again\nbystander.service\n",
        b"again\0\n", b"AGAIN\n", b"\n", b"\xff\xfe\n", b"a" * 4_000_000, b"again " * 1_000_000 + b"\n",
    ):  # fmt: skip
        (answer,) = ask(machine, said)
        assert set(answer) <= {"error", "hint"}, said[:20]
    few, many = (20, 240) if campaigns.chosen().whole else (3, 30)  # each is answered by a look at all copies
    for said, times in ((b"again\n", few), (b"activated\n", few), (b"rolled-back\n", few), (b"again\n" * 2, many)):
        assert len(ask(machine, said, times=times)) == times
    (answer,) = ask(machine, b"again\n")
    assert answer["generation"] == 1
    assert machine.show("ActiveState", HELPER) != "failed"
    assert fingerprint(machine) == before


LINKS = "mkdir evil; cp current/manifest.json evil/; for n in key certificate trust; do ln -s $SECRET evil/$n.pem; done"
SWAPS = (
    f"{LINKS}; ln -sfn evil current",
    f"{LINKS}; rm -r $SET; ln -s ../evil $SET",
    "ln -sf $SECRET $SET/certificate.pem",
    "ln -sf $SECRET $SET/trust.pem; ln -sf $SECRET $SET/manifest.json",
    "ln -sfn $SECRET current",
)


def links_to_secrets(gateway: Installed) -> None:
    """The set in use is replaced by links to what root alone may read, and nothing of that can be had."""
    machine = gateway.machine
    before = fingerprint(machine)
    machine.run("cp", "--archive", STATE, "/srv/kept")
    for swap, secret in campaigns.pairs(SWAPS, ("/etc/shadow", "/root/secret")):
        assert SECRET in machine.read(secret)
        shell(machine, f"cd {STATE}; SECRET={secret}; SET=$(readlink current); {swap}")
        (answer,) = ask(machine, b"activated\n")
        assert set(answer) <= {"error", "hint"}, swap
        told = machine.run("journalctl", "--no-pager", f"--unit={HELPER}").out + machine.read(REPORT)
        assert SECRET not in json.dumps(answer) + told
        machine.run("sh", "-euc", f"cd {STATE}; rm -rf current generations evil; cp --archive /srv/kept/. .")
    # No link is needed to see whether root reads: what the agent may not read is not given away either.
    key = f"{STATE}/current/key.pem"
    machine.run("chown", "root:root", key)
    (answer,) = ask(machine, b"activated\n")
    assert "error" in answer
    machine.run("chown", f"{AGENT}:{AGENT}", key)
    assert fingerprint(machine) == before


def what_it_may_not_write(gateway: Installed) -> None:
    """What the helper goes by is root's; where it is not, nothing is done."""
    machine = gateway.machine
    for path in (CONFIG, f"{HOOKS}/evil", REPORT, "/var/lib/iot-cert-agent-deploy/evil", f"{CERTS}/gateway.pem", DOOR):
        shell(machine, f": >{path}", code=2)
    before = fingerprint(machine)
    machine.run("chgrp", AGENT, CONFIG)
    machine.run("chmod", "g+w", CONFIG)
    machine.run("rm", f"{CERTS}/gateway.pem")
    (answer,) = ask(machine, b"activated\n")
    assert CONFIG in answer["error"]
    assert not machine.path(f"{CERTS}/gateway.pem").exists()
    machine.run("chmod", "g-w", CONFIG)
    (answer,) = ask(machine, b"activated\n")
    assert answer["generation"] == 1
    after = fingerprint(machine)
    assert after[BYSTANDER] == before[BYSTANDER]
    assert after[MOSQUITTO] != before[MOSQUITTO]
    assert machine.read(f"{CERTS}/gateway.pem") == machine.read(f"{STATE}/current/certificate.pem")


def damaged_copies(gateway: Installed) -> None:
    """The daemon looks at once when it is told to reload, and has the copy and its program put right."""
    machine = gateway.machine
    before = fingerprint(machine)
    machine.write(f"{CERTS}/gateway.key", "not a key", 0o666)
    machine.run("systemctl", "reload", SERVICE)
    until(lambda: invocation(machine, MOSQUITTO) != before[MOSQUITTO], "mosquitto is restarted")
    until(lambda: served(machine, 1), "all is as it should be")
    using(gateway, 1, 1)


def the_helper_ends(machine: Machine, record_property: Callable[[str, object], None]) -> None:
    """Nothing of it is there while no peer asks, and systemd finds nothing wrong with its units."""
    resting = {"ActiveState=inactive", "MainPID=0", "MemoryCurrent=[not set]", "Result=success"}
    wanted = ",".join(sorted(line.partition("=")[0] for line in resting))

    def rests() -> bool:  # by one look: a peer may ask again before a second one
        return set(machine.run("systemctl", "show", f"--property={wanted}", HELPER).out.splitlines()) == resting

    until(rests, "the helper has ended by itself")
    verified = machine.run("systemd-analyze", "verify", "--man=no", HELPER, "iot-cert-agent-deploy.socket")
    assert verified.out + verified.err == ""
    told = machine.run("systemd-analyze", "security", "--no-pager", HELPER).out
    record_property("figure", f"helper: {told.splitlines()[-1].removeprefix('→ ').rstrip(' :-)')}")
    assert machine.run("systemctl", "list-units", "--failed", "--no-legend").out == ""


def removal(machine: Machine) -> None:
    """A remove takes the socket away, and a purge what the helper wrote down."""
    machine.run("dpkg", "--remove", AGENT)
    assert machine.run("systemctl", "is-active", "iot-cert-agent-deploy.socket", expect=None).out == "inactive\n"
    assert not machine.path(DOOR).exists()
    assert machine.path(REPORT).exists()
    machine.run("dpkg", "--purge", AGENT)
    assert not machine.path(REPORT).parent.exists()
    assert machine.read(f"{CERTS}/gateway.key").startswith("-----BEGIN")


def shell(machine: Machine, command: str, code: int = 0) -> None:
    """Run something as the agent's user."""
    machine.run("runuser", "-u", AGENT, "--", "sh", "-euc", command, expect=code)
