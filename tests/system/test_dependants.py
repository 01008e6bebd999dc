"""Other programs of a gateway that use the certificate: real ones, under systemd, served by the helper that is root."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from agent.sandbox.account.authority import Authority
from support.boot.dependants import (
    CERTS,
    HOOKS,
    MOSQUITTO,
    NGINX,
    connected,
    given,
    invocation,
    report,
    served,
    shown,
    sooner,
    using,
    with_both,
    with_nginx,
    with_unit,
)
from support.boot.installed import CONFIG, THING
from support.boot.machine import SERVICE, STATE, Machine, listens_to_inbox, until

if TYPE_CHECKING:
    from support.boot.installed import Installed

AT_ONCE = 10.0  # seconds; far less than the daemon waits before it tries a dependant again


# A unit that takes up no other set than the one that stands in a file, if there is such a file.
PICKY = "picky.service"
LIKES = "/etc/picky"
RELOADS = f"[ ! -e {LIKES} ] || [ $$(readlink {STATE}/current) = $$(cat {LIKES}) ]"

PHASES = "/var/log/phases"
NOTE = f"""\
#!/bin/sh -eu
echo "$(id -un) $IOT_CERT_PHASE $IOT_CERT_GENERATION $IOT_CERT_THING $IOT_CERT_CERTIFICATE_ID" >>{PHASES}
"""


@pytest.mark.whole
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


@pytest.mark.whole
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
