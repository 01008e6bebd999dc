"""Nginx and mosquitto on an installed gateway, as in the examples, and what can be seen of them from outside."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import mqtt5

from support.boot.installed import THING
from support.boot.machine import PATIENCE, STATE, Machine, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.boot.installed import Installed

REPORT = "/var/lib/iot-cert-agent-deploy/report.json"
NGINX, MOSQUITTO = "nginx.service", "mosquitto.service"
CERTS = "/etc/mosquitto/certs"
UNITS = "/etc/systemd/system"
HOOKS = "/etc/iot-cert-agent/hooks.d"
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
