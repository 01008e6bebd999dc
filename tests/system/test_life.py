"""A gateway's life under systemd: first boot, technicians, rotations, an OTA pipeline, and what goes wrong."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from agent.sandbox.account.authority import Authority
from support.boot.installed import CONFIG
from support.boot.machine import SERVICE, STATE, Machine, listens_to_inbox, until
from support.suite import campaigns

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.boot.installed import Installed

NETWORK = "iot-cert-agent-network.socket"
EXPOSURE = 12  # ten times what `systemd-analyze security` may say at most
MIB = 1024


def status_of(machine: Machine, pid: int) -> dict[str, str]:
    """Return what the kernel says of a process."""
    lines = machine.read(f"/proc/{pid}/status").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def memory(machine: Machine) -> int:
    """Return the memory of the daemon's processes in KiB: each page they share counts for each in part."""
    pids = machine.run("systemctl", "show", "--value", "--property=MainPID", SERVICE).out.split()
    rollups = [machine.read(f"/proc/{pid}/smaps_rollup").splitlines() for pid in pids]
    return sum(int(line.split()[1]) for lines in rollups for line in lines if line.startswith("Pss:"))


def test_a_gateway_out_of_the_factory_enrols_at_its_first_boot(
    gateway: Installed, record_property: Callable[[str, object], None]
) -> None:
    """No person types anything. The daemon is an unprivileged user, holds no privilege, and its sandbox is tight."""
    machine = gateway.machine.boot()
    assert gateway.until_up() == 1
    assert machine.run("systemctl", "list-units", "--failed", "--no-legend").out == ""
    process = status_of(machine, machine.pid)
    assert "0" not in process["Uid"].split()
    assert {int(process[name], 16) for name in process if name.startswith("Cap")} == {0}
    assert (process["NoNewPrivs"], process["Seccomp"]) == ("1", "2")
    told = machine.run("systemd-analyze", "security", "--no-pager", f"--threshold={EXPOSURE}", SERVICE).out
    record_property("figure", told.splitlines()[-1].removeprefix("→ ").rstrip(" :-)"))
    verified = machine.run("systemd-analyze", "verify", "--man=no", SERVICE, "iot-cert-agent.socket")
    assert verified.out + verified.err == ""
    record_property("figure", "systemd-analyze verify finds nothing")
    record_property("figure", f"{memory(machine) / MIB:.1f} MiB of memory (PSS) for the daemon, connected")
    assert gateway.whole()
    the_doctor_finds_nothing_wrong(machine)

    machine.shut_down()
    machine.boot()
    assert gateway.until_up() == 1
    assert len(gateway.certificates()) == 1


def the_doctor_finds_nothing_wrong(machine: Machine) -> None:
    """Every check passes on an installed gateway; only the test's own disk is a matter of opinion."""
    lines = machine.run("iot-cert", "check", "--json", expect=None).out.splitlines()
    found = {line["check"]: line["verdict"] for line in map(json.loads, lines) if "verdict" in line}
    assert len(found) >= 16
    assert {name for name, verdict in found.items() if verdict != "ok"} <= {"disk"}


def test_the_daemon_hears_of_the_network_in_its_sandbox_and_works_without(enrolled: Installed) -> None:
    """By a socket that systemd opened, and that goes with the service: no news wakes a daemon that was stopped."""
    machine, before = enrolled.machine, enrolled.until_up()
    _, *lines = machine.read(f"/proc/{machine.pid}/net/netlink").splitlines()
    inodes = {line.split()[9] for line in lines if int(line.split()[3], 16) == 0x551}
    held = machine.run("ls", "-l", f"/proc/{machine.pid}/fd").out
    assert any(f"socket:[{inode}]" in held for inode in inodes)
    machine.run("systemctl", "restart", SERVICE)
    assert enrolled.until_up() == before
    assert machine.run("systemctl", "is-active", NETWORK).out == "active\n"
    machine.run("systemctl", "stop", SERVICE)
    assert machine.run("systemctl", "is-active", NETWORK, expect=3).out == "inactive\n"
    without_its_socket_it_works_as_before(enrolled, before)
    machine.run("systemctl", "restart", SERVICE)
    assert enrolled.until_up() == before + 1
    assert machine.run("systemctl", "is-active", NETWORK).out == "active\n"


def without_its_socket_it_works_as_before(enrolled: Installed, before: int) -> None:
    """Masked by a person, or not in an image's recipe: it is up all the same, complains of nothing, and rotates."""
    machine = enrolled.machine
    machine.run("systemctl", "mask", "--now", NETWORK)
    machine.run("systemctl", "start", SERVICE)
    assert enrolled.until_up() == before
    assert machine.run("systemctl", "list-units", "--failed", "--no-legend").out == ""
    machine.run("systemctl", "unmask", NETWORK)
    machine.run("mv", f"/lib/systemd/system/{NETWORK}", "/root")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", SERVICE)
    assert enrolled.until_up() == before
    machine.run("iot-cert", "rotate", "--reason", "without the unit")
    assert enrolled.until_up() == before + 1
    machine.run("mv", f"/root/{NETWORK}", "/lib/systemd/system")
    machine.run("systemctl", "daemon-reload")


def test_technicians_are_told_apart(enrolled: Installed) -> None:
    """Over a login shell: admins rotate, the group of readers looks and uses the certificate, others learn nothing."""
    machine, before = enrolled.machine, enrolled.until_up()
    for user, groups in (("tech", "iot-cert-admin"), ("viewer", "iot-cert-agent"), ("other", "users")):
        machine.run("useradd", "--create-home", "--shell=/bin/bash", f"--groups={groups}", user)
    assert machine.run("iot-cert", "status", "--json").last["current"]["generation"] == before
    machine.run("iot-cert", "rotate", "--reason", "root's turn")
    machine.login("tech", "iot-cert", "rotate", "--reason", "an admin's turn")
    assert enrolled.until_up() == before + 2
    for verb in ("status", "history", "explain"):
        machine.login("viewer", "iot-cert", verb)
        machine.login("other", "iot-cert", verb, expect=4)
    for user in ("viewer", "other"):
        for command in (("rotate",), ("rollback",), ("pause", "1h"), ("retire",)):
            refused = machine.login(user, "iot-cert", *command, expect=4)
            assert "iot-cert-admin" in refused.err
    for name in ("key.pem", "certificate.pem", "credential.pem", "trust.pem"):
        assert "-----BEGIN" in machine.login("viewer", "cat", f"{STATE}/current/{name}").out
        assert machine.login("other", "cat", f"{STATE}/current/{name}", expect=1).out == ""
    for name in ("history.jsonl", "lock"):
        assert machine.login("viewer", "cat", f"{STATE}/{name}", expect=1).out == ""
    assert machine.login("other", "cat", "/etc/iot-cert-agent/claim/key.pem", expect=1).out == ""
    assert enrolled.until_up() == before + 2


# The one that is commented in the unit: the key stays root's, and the daemon is handed a copy.
CLAIM_KEY = "/etc/iot-cert-agent/factory-key.pem"
CREDENTIAL = f"/run/credentials/{SERVICE}/claim-key"


def test_it_enrols_by_a_credential_and_rotates_unattended_once_a_reload_says_so(gateway: Installed) -> None:
    """A maximum age that has passed makes it due; the certificates that were left behind are retired."""
    gateway.cloud.provisioning.lifetime = timedelta(minutes=2)
    the_claim_key_is_a_credential(gateway)
    gateway.configure(before_expiry="10s", window="1s", max_age="100s", key=CREDENTIAL)
    machine = gateway.machine.boot()
    assert gateway.until_up() == 1
    assert machine.path(CLAIM_KEY).stat().st_uid == 0
    pid = machine.pid
    gateway.reconfigure(before_expiry="10s", window="1s", max_age="1s", grace="1s", key=CREDENTIAL)
    until(lambda: len(machine.history()) >= 3, "two unattended rotations")
    gateway.cloud.provisioning.lifetime = None
    gateway.reconfigure(grace="1s", key=CREDENTIAL)
    machine.run("iot-cert", "rotate")
    current = gateway.until_up()
    assert {(change["kind"], change["origin"]) for change in machine.history()[1:3]} == {("rotate", "schedule")}
    until(lambda: sum(entry.status == "ACTIVE" for entry in gateway.certificates()) == 1, "the old ones are retired")
    assert (machine.pid, current) == (pid, len(machine.history()))

    machine.write(CONFIG, "endpoint: [")
    machine.run("systemctl", "reload", SERVICE)
    until(lambda: "stays in force" in machine.journal(), "the mistake is told of")
    assert gateway.until_up() == current


def the_claim_key_is_a_credential(gateway: Installed) -> None:
    """Where the unit alone says so, the claim's own file is gone; the machine is down."""
    gateway.machine.write(CLAIM_KEY, gateway.cloud.claim.key_pem, 0o600)
    drop_in = f"/etc/systemd/system/{SERVICE}.d/claim.conf"
    gateway.machine.write(drop_in, f"[Service]\nLoadCredential=claim-key:{CLAIM_KEY}\n")
    gateway.machine.path("/etc/iot-cert-agent/claim/key.pem").unlink()


@pytest.mark.whole
def test_a_bundle_of_anchors_is_installed_from_the_inbox(gateway: Installed) -> None:
    """The package's own command signs it, a copy into the inbox is all a pipeline does, and the endpoint may move."""
    machine = gateway.machine.boot()
    gateway.until_up()
    other = Authority("Sandbox endpoint root B", gateway.cloud.now)
    gateway.sign(gateway.service.root_pem + other.pem)
    gateway.reconfigure(root="/etc/iot-cert-agent/trust/root.json")
    until(lambda: listens_to_inbox(machine), "the daemon has made the inbox, and listens to it")
    machine.run("cp", "/root/b.tar", f"{STATE}/inbox/")
    told = until(lambda: outcome(machine, "b.tar"), "the drop has an outcome")
    assert (told["outcome"], told["generation"]) == ("installed", 2)

    gateway.service.use_root(other, intermediate=True)
    machine.run("iot-cert", "rotate")
    assert gateway.until_up() == 3


def outcome(machine: Machine, name: str) -> dict[str, Any] | None:
    """Return what stands beside a drop once it has ended."""
    text = machine.read(f"{STATE}/inbox/{name}.outcome.json")
    told: dict[str, Any] = json.loads(text) if text else {}
    return told if told.get("outcome") not in {None, "in-progress"} else None


def test_a_killed_daemon_is_back(enrolled: Installed) -> None:
    """`kill -9`, by the unit's own settings: a new process, the same generation, and no certificate asked for."""
    machine, generation = enrolled.machine, enrolled.until_up()
    before, asked = machine.pid, len(enrolled.certificates())
    machine.run("systemctl", "kill", "--signal=KILL", SERVICE)
    until(lambda: machine.pid not in {0, before}, "systemd starts it again")
    assert enrolled.until_up() == generation
    assert len(enrolled.certificates()) == asked


def test_a_daemon_that_hangs_is_killed_and_started_again(enrolled: Installed) -> None:
    """The watchdog ends what does not turn any more."""
    machine, drop_in = enrolled.machine, f"/etc/systemd/system/{SERVICE}.d/test.conf"
    machine.write(drop_in, "[Service]\nWatchdogSec=2s\nRestartSec=100ms\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", SERVICE)
    generation = enrolled.until_up()
    before = machine.pid
    machine.run("kill", "-STOP", str(before))
    until(lambda: machine.pid not in {0, before}, "the watchdog has it started again")
    assert "watchdog" in machine.show("Result") or "Watchdog timeout" in machine.journal()
    assert enrolled.until_up() == generation
    machine.path(drop_in).unlink()
    machine.run("systemctl", "daemon-reload")


PHASES = ("planned", "key-ready", "requested", "issued", "registered", "prepared", "proven", "active", "deployed")


def test_the_plug_is_pulled_in_the_middle_of_rotations(gateway: Installed) -> None:
    """Early, in the middle and late: it boots again and ends the same change well.

    No certificate is asked for twice, unless the answer was on its way when the power went. Each moment at which a plug
    may be pulled is in tests/crash.
    """
    machine = gateway.machine.boot()
    gateway.until_up()
    for phase in campaigns.take(("key-ready", "issued", "proven", "deployed"), 2):
        asked = len(gateway.certificates())
        machine.run("systemd-run", "--quiet", "iot-cert", "rotate", "--no-wait", "--reason", f"cut at {phase}")
        begun = until(lambda phase=phase: reached(machine, phase), f"phase {phase}")  # type: ignore[misc]
        machine.cut()
        machine.boot()
        gateway.until_up()
        ended = machine.history()[-1]
        assert (ended["id"], ended["phase"]) == (begun["id"], "committed")
        lost = begun["phase"] in {"key-ready", "requested"}
        assert len(gateway.certificates()) - asked in ({1, 2} if lost else {1})
        assert gateway.whole()


def reached(machine: Machine, phase: str) -> dict[str, Any] | None:
    """Return the change in flight once it has come as far as a phase."""
    change = machine.change()
    return change if change and PHASES.index(change["phase"]) >= PHASES.index(phase) else None


def test_whatever_keeps_the_clock_is_seen_from_the_sandbox(enrolled: Installed) -> None:
    """The kernel may not be asked there, and no timesyncd runs; timedated has the last word."""
    machine = enrolled.machine
    enrolled.configure(vouched_clock="false")
    machine.run("mv", "/usr/bin/timedatectl", "/root")
    machine.write("/usr/bin/timedatectl", "#!/bin/sh\necho no\n", 0o755)
    machine.run("systemctl", "restart", SERVICE)
    until(lambda: machine.status().get("clock", {}).get("state") == "unsynchronised", "no program vouches")
    machine.write("/usr/bin/timedatectl", "#!/bin/sh\necho yes\n", 0o755)
    machine.run("systemctl", "restart", SERVICE)
    until(lambda: machine.status().get("clock", {}).get("state") == "synchronised", "timedated vouches")
    machine.run("mv", "/root/timedatectl", "/usr/bin")
    enrolled.reconfigure()
