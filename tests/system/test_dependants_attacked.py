"""Programs under systemd that the helper which is root serves, and an attacker with the agent's rights at its door.

One booted gateway is asked both: as the examples have it, then what of root can be had there: no unit, file or secret.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from support.boot.dependants import (
    CERTS,
    HOOKS,
    MOSQUITTO,
    NGINX,
    REPORT,
    connected,
    invocation,
    served,
    tls,
    using,
    with_both,
    with_unit,
)
from support.boot.installed import CONFIG
from support.boot.machine import SERVICE, STATE, Machine, until
from support.suite import campaigns

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.boot.installed import Installed

HELPER = "iot-cert-agent-deploy.service"
DOOR = "/run/iot-cert-agent-deploy.sock"
AGENT = "iot-cert-agent"
BYSTANDER = "bystander.service"
SECRET = "Joshua-5-silo"  # noqa: S105 - what no user may learn

# Says to the helper what is in files, each through a door of its own, all of which are open before; prints each answer.
ASK = f"""\
import socket, sys
doors = []
for name in sys.argv[1:]:
    door = socket.socket(socket.AF_UNIX)
    door.connect("{DOOR}")
    doors.append((door, open(name, "rb").read()))
for door, said in doors:
    try:
        door.sendall(said)
    except (BrokenPipeError, ConnectionResetError):
        pass
for door, _ in doors:
    try:
        print(door.makefile().read(), end="")
    except ConnectionResetError:
        print('{{"error": "it hung up"}}')
"""


def ask(machine: Machine, *said: bytes, user: str = AGENT, code: int = 0) -> list[dict[str, Any]]:
    """Say some things to the helper at once, and return its answers."""
    files = {what: f"/srv/said-{number}" for number, what in enumerate(dict.fromkeys(said))}
    for what, file in files.items():
        machine.write(file, what)
    names = [files[what] for what in said]
    told = machine.run("runuser", "-u", user, "--", "python3", "-c", ASK, *names, expect=code)
    if code:
        assert "PermissionError" in told.err
    return [json.loads(line) for line in told.out.splitlines()]


def test_programs_run_on_the_set_as_the_examples_say_and_an_attacker_gets_no_more_of_root(
    gateway: Installed, record_property: Callable[[str, object], None]
) -> None:
    """From a boot without a certificate over a rotation, in the whole to a rollback, both show the set in use alone.

    From the agent's user no unit, no file and no secret can be had; a damaged copy is put back; the end is clean.
    """
    with_both(gateway)
    machine = gateway.machine
    with_unit(machine, BYSTANDER)
    machine.write("/root/secret", f"{SECRET}\n", 0o600)
    first_certificate(gateway)
    rotation_and_rollback(gateway)
    machine.run("usermod", "--password", SECRET, "nobody")
    machine.run("useradd", f"--groups={AGENT}", "viewer")
    words_and_floods(gateway)
    machine.run("systemctl", "stop", "iot-cert-agent.socket", SERVICE)  # which puts right what it finds
    links_to_secrets(gateway)
    what_it_may_not_write(gateway)
    a_damaged_copy(gateway)
    the_helper_ends(machine, record_property)


def first_certificate(gateway: Installed) -> None:
    """Boot where no cloud is yet: nginx cannot start, and is served with the rest once there is a certificate."""
    gateway.service.take_down()
    machine = gateway.machine.boot()
    assert machine.show("ActiveState", NGINX) == "failed"
    assert connected(gateway) == set()
    gateway.service.bring_up()
    machine.run("systemctl", "reload", SERVICE)
    gateway.until_up(1)
    until(lambda: served(machine, 1), "the first certificate is served")
    using(gateway, 1, 1)


def rotation_and_rollback(gateway: Installed) -> None:
    """All follow, and command and doctor say so."""
    machine = gateway.machine
    rotation(gateway)
    screen = machine.run("iot-cert", "status").out
    assert "5 of 5 use generation 2" in screen
    told = machine.run("iot-cert", "check", "dependants", "--json").out.splitlines()
    verdicts = {line["check"]: line["verdict"] for line in map(json.loads, told) if "check" in line}
    assert verdicts["dependants"] == "ok"

    if not campaigns.chosen().sampled:
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


def fingerprint(machine: Machine) -> dict[str, str]:
    """Return what is another one after each start or reload of a unit, and after each time a copy is written."""
    found = {unit: invocation(machine, unit) for unit in (NGINX, MOSQUITTO, BYSTANDER)}
    found["reloads"] = str(machine.run("journalctl", "--unit", NGINX, "--output=cat").out.count("Reloaded"))
    for path in sorted(machine.path(CERTS).iterdir()):
        found[path.name] = f"{path.stat().st_ino} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    return found


WORDS = (
    b"mosquitto.service\n", b"restart bystander.service\n", b"/etc/shadow\n", b"again\nbystander.service\n",
    b"again\0\n", b"AGAIN\n", b"\n", b"\xff\xfe\n", b"a" * 4_000_000, b"again " * 1_000_000 + b"\n",
)  # fmt: skip


def words_and_floods(gateway: Installed) -> None:
    """Who may ask, and what."""
    machine = gateway.machine
    before = fingerprint(machine)
    for user in ("nobody", "viewer"):
        ask(machine, b"again\n", user=user, code=1)
    for answer in ask(machine, *WORDS):
        assert set(answer) <= {"error", "hint"}
    few, many = (20, 240) if campaigns.chosen().whole else (2, 20)  # each is answered by a look at all copies
    flood = [b"again\n"] * few + [b"activated\n"] * few + [b"rolled-back\n"] * few + [b"again\n" * 2] * many
    assert len(ask(machine, *flood)) == len(flood)
    (answer,) = ask(machine, b"again\n")
    assert answer["generation"] == machine.generation()
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
    assert answer["generation"] == machine.generation()
    after = fingerprint(machine)
    assert after[BYSTANDER] == before[BYSTANDER]
    assert after[MOSQUITTO] != before[MOSQUITTO]
    assert machine.read(f"{CERTS}/gateway.pem") == machine.read(f"{STATE}/current/certificate.pem")


def a_damaged_copy(gateway: Installed) -> None:
    """The daemon looks at once when it is started, and has the copy and its program put right."""
    machine = gateway.machine
    before = fingerprint(machine)
    machine.write(f"{CERTS}/gateway.key", "not a key", 0o666)
    machine.run("systemctl", "start", "iot-cert-agent.socket", SERVICE)
    current = gateway.until_up()
    until(lambda: invocation(machine, MOSQUITTO) != before[MOSQUITTO], "mosquitto is restarted")
    until(lambda: served(machine, current), "all is as it should be")
    using(gateway, current, current)


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


def shell(machine: Machine, command: str, code: int = 0) -> None:
    """Run something as the agent's user."""
    machine.run("runuser", "-u", AGENT, "--", "sh", "-euc", command, expect=code)
