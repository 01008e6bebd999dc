"""A gateway's life under systemd: first boot, technicians, rotations, an OTA pipeline, and what goes wrong."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from agent.sandbox.account.authority import Authority
from agent.sandbox.replies.faults import Effect, Fault, Operation
from support.boot import images
from support.boot.machine import SERVICE, STATE, Machine, listens_to_inbox, until
from support.suite import campaigns

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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
    fresh: Installed, record_property: Callable[[str, object], None]
) -> None:
    """No person types anything. The daemon is an unprivileged user, holds no privilege, and its sandbox is tight."""
    gateway, machine = fresh, fresh.machine.boot()
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
    assert len(gateway.certificates()) == 1
    if not campaigns.chosen().sampled:
        the_doctor_finds_nothing_wrong(machine)


def the_doctor_finds_nothing_wrong(machine: Machine) -> None:
    """Every check passes, as on the first day; only the test's own disk is a matter of opinion."""
    lines = machine.run("iot-cert", "check", "--json", expect=None).out.splitlines()
    found = {line["check"]: line["verdict"] for line in map(json.loads, lines) if "verdict" in line}
    assert len(found) >= 16
    assert {name for name, verdict in found.items() if verdict != "ok"} <= {"disk"}


def test_the_daemon_hears_of_the_network_and_of_the_clock_in_its_sandbox(enrolled: Installed) -> None:
    """Of the network by a socket that systemd opened, and that goes with the service: no news wakes a stopped daemon.

    Without that socket, since an image's recipe has it not, it is up all the same. The kernel may not be asked about
    the clock there, and no timesyncd runs; timedated has the last word.
    """
    machine, before = enrolled.machine, enrolled.until_up()
    assert_it_holds_the_socket(machine)
    machine.run("systemctl", "stop", SERVICE)
    until(lambda: active(machine, NETWORK) == "inactive", "the socket goes after the service")
    enrolled.configure(vouched_clock="false")
    machine.run("mv", "/usr/bin/timedatectl", f"/lib/systemd/system/{NETWORK}", "/root")
    machine.run("systemctl", "daemon-reload")
    timedated_says(machine, "yes")
    machine.run("systemctl", "start", SERVICE)
    assert enrolled.until_up() == before
    until(lambda: clock(machine) == "synchronised", "timedated vouches")
    assert machine.run("systemctl", "list-units", "--failed", "--no-legend").out == ""
    machine.run("mv", f"/root/{NETWORK}", "/lib/systemd/system")
    machine.run("systemctl", "daemon-reload")
    timedated_says(machine, "no")
    machine.run("systemctl", "restart", SERVICE)
    until(lambda: clock(machine) == "unsynchronised", "no program vouches")
    assert active(machine, NETWORK) == "active"
    machine.run("mv", "/root/timedatectl", "/usr/bin")
    enrolled.reconfigure()
    assert enrolled.until_up() == before


def assert_it_holds_the_socket(machine: Machine) -> None:
    """The kernel's list of sockets for news of the network has one of the daemon's."""
    _, *lines = machine.read(f"/proc/{machine.pid}/net/netlink").splitlines()
    inodes = {line.split()[9] for line in lines if int(line.split()[3], 16) == 0x551}
    held = machine.run("ls", "-l", f"/proc/{machine.pid}/fd").out
    assert any(f"socket:[{inode}]" in held for inode in inodes)


def timedated_says(machine: Machine, word: str) -> None:
    """Have another program in timedatectl's place."""
    machine.write("/usr/bin/timedatectl", f"#!/bin/sh\necho {word}\n", 0o755)


def active(machine: Machine, unit: str) -> str:
    """Return whether a unit is active, in systemd's word."""
    return machine.run("systemctl", "is-active", unit, expect=None).out.strip()


def clock(machine: Machine) -> str:
    """Return what the daemon holds of the clock."""
    state: str = machine.status().get("clock", {}).get("state", "")
    return state


@pytest.mark.whole
def test_a_socket_that_a_person_masked_is_not_missed(enrolled: Installed) -> None:
    """The daemon is up all the same, complains of nothing, and rotates."""
    machine, before = enrolled.machine, enrolled.until_up()
    machine.run("systemctl", "mask", "--now", NETWORK)
    machine.run("systemctl", "restart", SERVICE)
    assert enrolled.until_up() == before
    assert machine.run("systemctl", "list-units", "--failed", "--no-legend").out == ""
    machine.run("iot-cert", "rotate", "--reason", "without the socket")
    assert enrolled.until_up() == before + 1
    machine.run("systemctl", "unmask", NETWORK)
    machine.run("systemctl", "restart", SERVICE)
    assert enrolled.until_up() == before + 1
    assert active(machine, NETWORK) == "active"


OUTSIDERS = ("viewer", "other")


def test_technicians_are_told_apart(enrolled: Installed) -> None:
    """Over a login shell: admins rotate, the group of readers looks and uses the certificate, others learn nothing."""
    machine, before = enrolled.machine, enrolled.until_up()
    for user, groups in (("tech", "iot-cert-admin"), ("viewer", "iot-cert-agent"), ("other", "users")):
        machine.run("useradd", "--create-home", "--shell=/bin/bash", f"--groups={groups}", user)
    assert machine.run("iot-cert", "status", "--json").last["current"]["generation"] == before
    machine.login("tech", "iot-cert", "rotate", "--reason", "an admin's turn")
    assert enrolled.until_up() == before + 1
    for verb, (user, code) in campaigns.pairs(("status", "history", "explain"), (("viewer", 0), ("other", 4))):
        machine.login(user, "iot-cert", verb, expect=code)
    for command, user in campaigns.pairs((("rotate",), ("rollback",), ("pause", "1h"), ("retire",)), OUTSIDERS):
        refused = machine.login(user, "iot-cert", *command, expect=4)
        assert "iot-cert-admin" in refused.err
    for name in ("key.pem", "certificate.pem", "credential.pem", "trust.pem"):
        assert "-----BEGIN" in machine.login("viewer", "cat", f"{STATE}/current/{name}").out
        assert machine.login("other", "cat", f"{STATE}/current/{name}", expect=1).out == ""
    for name in ("history.jsonl", "lock"):
        assert machine.login("viewer", "cat", f"{STATE}/{name}", expect=1).out == ""
    assert machine.login("other", "cat", "/etc/iot-cert-agent/claim/key.pem", expect=1).out == ""
    assert enrolled.until_up() == before + 1


@pytest.mark.whole
def test_it_rotates_unattended_once_a_reload_says_so(enrolled: Installed) -> None:
    """A maximum age that has passed makes it due; the certificates that were left behind are retired."""
    machine, before = enrolled.machine, enrolled.until_up()
    enrolled.cloud.provisioning.lifetime = timedelta(minutes=2)  # or the next rotation would be put off for longer
    machine.run("iot-cert", "rotate")
    enrolled.cloud.provisioning.lifetime = None
    pid = machine.pid
    enrolled.reconfigure(before_expiry="10s", window="1s", max_age="1s", grace="1s")
    enrolled.until_up(before + 2)
    ended = machine.history()[-1]
    assert (ended["kind"], ended["origin"]) == ("rotate", "schedule")
    until(lambda: sum(entry.status == "ACTIVE" for entry in enrolled.certificates()) == 1, "the old ones are retired")
    assert (machine.pid, machine.generation()) == (pid, before + 2)
    enrolled.configure()  # for the next start; nothing is due until then


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


@pytest.mark.whole
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


def test_the_plug_is_pulled_in_the_middle_of_rotations(enrolled: Installed) -> None:
    """Early, in the middle or late: it boots again and ends the same change well.

    No certificate is asked for twice, unless the answer was on its way when the power went. Each moment at which a plug
    may be pulled is in tests/crash.
    """
    gateway, machine = enrolled, enrolled.machine
    gateway.until_up()
    for phase in campaigns.take(("issued", "proven", "deployed", "key-ready"), 4):
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


def test_an_upgrade_in_mid_change_goes_on_with_it(enrolled: Installed, run_folder: Path) -> None:
    """The worker ends between two steps, the new daemon resumes the same change, and one certificate is asked for."""
    machine, before, asked = enrolled.machine, enrolled.until_up(), len(enrolled.certificates())
    enrolled.reconfigure(request="5s")  # the old daemon ends once the answer that never comes is missed
    earlier = machine.run("iot-cert", "--version").out.split()[-1]
    machine.write("/later.deb", images.later_package(run_folder).read_bytes())

    enrolled.cloud.faults.add(Fault(operation=Operation.REGISTER, effect=Effect.SILENCE))
    machine.run("iot-cert", "rotate", "--no-wait", "--reason", "before the upgrade", expect=None)
    change = until(lambda: machine.change() if machine.change().get("phase") == "issued" else None, "it waits")
    upgraded = machine.run("dpkg", "--install", "/later.deb")
    assert f"({earlier})" in upgraded.out, upgraded.out
    assert machine.run("iot-cert", "--version").out == f"iot-cert {images.LATER}\n"
    until(lambda: machine.history()[-1]["id"] == change["id"], "the change ends")
    assert enrolled.until_up() == before + 1
    assert machine.history()[-1]["phase"] == "committed"
    assert len(enrolled.certificates()) == asked + 1
    enrolled.configure()  # for the next start
