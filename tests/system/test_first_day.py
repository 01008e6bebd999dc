"""One machine's life with the package: the first day as docs/start.md has it, and what is left after the last."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from support.boot import images
from support.boot.dependants import REPORT
from support.boot.machine import SERVICE, STATE, Done, Machine, until
from support.boot.typed import SUDO, types
from support.documents.pages import blocks, lines, section
from support.suite import campaigns

if TYPE_CHECKING:
    from pathlib import Path

    from support.boot.installed import Installed

UNITS = ("iot-cert-agent.service", "iot-cert-agent.socket", "iot-cert-agent-deploy.socket")
DOOR = "/run/iot-cert-agent-deploy.sock"
APT = ("apt-get", "--yes", "--quiet", "-o", "Dpkg::Use-Pty=0")

# Debian's env takes it, and so Ctrl-C cannot end the command before it can answer.
LAUNCHER = "#!/usr/bin/env -S --block-signal=INT /usr/lib/iot-cert-agent/bin/python3 -I\n"


def test_a_first_day(bare: Installed, run_folder: Path) -> None:
    """From the package to a gateway that has rotated and gone back, and whose mistakes are mended, as it is written.

    A removal keeps the state, and keys are erased only when a person asks for that.
    """
    _, on_the_gateway = blocks(section("docs/start.md", "A first gateway in ten minutes"))
    (first_day,) = blocks(section("docs/start.md", "The first day"))
    set_up(bare, lines(on_the_gateway), f"iot-cert {images.field(images.package(run_folder), 'Version')}\n")
    said = first_day_typed(bare, lines(first_day))
    assert "rotate   committed   generation 2    technician tech (uid " in said[2]
    assert "missing" not in said[3]
    assert "may be read by others (mode 0644)" in said[5]
    assert "`endpoint` was probably meant" in said[10]
    assert bare.until_up() == 1
    assert "stays in force" in bare.machine.journal()
    what_a_colleague_is_sent(bare.machine)
    if not campaigns.chosen().sampled:
        state_elsewhere(bare)
        installed_again_it_goes_on(bare)
    removing_and_purging_keep_the_state(bare)
    it_is_erased_where_a_file_says_so(bare.machine)


def set_up(gateway: Installed, typed: list[str], version: str) -> None:
    """Type what sets a gateway up, without a step that is not written there; its doctor is content then."""
    assert len(typed) == 10
    machine = gateway.machine.boot()
    machine.run("mv", "/package.deb", DEB)
    machine.run("useradd", "--create-home", "tech")
    machine.write("/usr/bin/sudo", SUDO, 0o755)
    machine.write("/root/claim.pem", gateway.cloud.claim.certificate_pem)
    machine.write("/root/claim.key", gateway.cloud.claim.key_pem)
    for line in typed:
        if line.startswith("sudoedit"):
            machine.write("/etc/iot-cert-agent/roots.pem", gateway.service.root_pem)  # the sandbox's is not Amazon's
            gateway.configure()
        else:
            told = types(machine, line, expect=None if line.endswith("check") else 0, USER="tech")
        if line.startswith("sudo apt"):
            a_daemon_waits_for_its_configuration(machine, version)
        if line.endswith("reload iot-cert-agent"):
            gateway.until_up(1)
        if line.endswith("iot-cert status"):
            assert re.search(r"^generation +1 ", told, flags=re.MULTILINE)
        if line.endswith("iot-cert check"):
            assert "failure" not in told
            assert told.count("\nok ") + told.startswith("ok ") >= 15
    edited = ["??5??????", "c", "/etc/iot-cert-agent/config.yaml"]
    assert machine.run("dpkg", "--verify", "iot-cert-agent").out.split() == edited


DEB = "/root/iot-cert-agent_0_amd64.deb"


def a_daemon_waits_for_its_configuration(machine: Machine, version: str) -> None:
    """Enabled and running at once, whatever is configured."""
    assert machine.read("/usr/bin/iot-cert").startswith(LAUNCHER)
    assert machine.run("/usr/bin/iot-cert", "--version").out == version
    assert machine.run("systemctl", "is-enabled", *UNITS).out.split() == ["enabled"] * len(UNITS)
    assert machine.run("systemctl", "is-active", *UNITS).out.split() == ["active"] * len(UNITS)
    assert machine.run("iot-cert", "status", expect=None).code in {1, 3}


def first_day_typed(gateway: Installed, typed: list[str]) -> list[str]:
    """Type lines as a technician, with sudo and without, and return what each said; the mistakes are told of."""
    wrong = {"sudo iot-cert check files": 1, "sudo iot-cert config check": 2}
    healths = iter([1, 0, 1, 0])  # of the exposed key and of the misspelt one, before and after each mend
    said = []
    for line in typed:
        code = next(healths) if line == "iot-cert status" else wrong.get(line, 0)
        done = until(partial(typed_by_technician, gateway.machine, line, code), f"`{line}` ends with {code}")
        said.append(done.out + done.err)
        if code == 0:
            gateway.until_up()
    return said


def typed_by_technician(machine: Machine, line: str, code: int) -> Done | None:
    """Type a line, and return what it did if it ended like this; only what looks may be typed again."""
    as_root = line.startswith("sudo ")
    done = (
        machine.run("sh", "-c", f"cd /root\n{line}", expect=None)
        if as_root
        else machine.login("tech", "sh", "-c", line, expect=None)
    )
    print(f"$ {line}\n{done.out}{done.err}  (exit code {done.code})")
    assert done.code == code or line == "iot-cert status", line
    return done if done.code == code else None


def what_a_colleague_is_sent(machine: Machine) -> None:
    """Root's has the journal; another user's has less, nor what the doctor says, of which that user is told."""
    journal = machine.run(
        "tar", "--extract", "--to-stdout", "--file=/root/iot-cert-support.tar", "iot-cert-support/journal.txt"
    ).out
    assert re.search(r" iot-cert-agent\[\d+\]: Starting with /etc/iot-cert-agent/config.yaml\.$", journal, re.MULTILINE)
    assert "Systemd is told nothing" not in journal
    without_sudo = machine.login("tech", "iot-cert", "support-bundle").out
    assert "Root may read more than this user: `sudo iot-cert support-bundle`." in without_sudo
    assert "check.jsonl" not in without_sudo, "what the doctor tells this user is in it"


def state_elsewhere(gateway: Installed) -> None:
    """Configure a state directory that the unit may not write to: that is said beforehand, with what mends it."""
    machine, place = gateway.machine, "/srv/iot-cert-agent"
    machine.run("install", "-d", "-o", "iot-cert-agent", "-m", "750", place)
    gateway.configure(state_dir=place)
    said = machine.run("iot-cert", "check", "configuration", expect=2)
    assert f"state_dir: iot-cert-agent.service may not write to {place}" in said.out + said.err
    assert f"`ReadWritePaths={place}`" in said.out + said.err
    drop_in = "/etc/systemd/system/iot-cert-agent.service.d/override.conf"
    machine.write(drop_in, f"[Service]\nReadWritePaths={place}\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "iot-cert-agent")
    assert "may not write" not in machine.run("iot-cert", "config", "check", expect=None).out
    until(machine.path(f"{place}/lock").exists, "the daemon works there")
    gateway.configure()


def installed_again_it_goes_on(gateway: Installed) -> None:
    """After a remove the same generation does; an upgrade, as in test_life.py, installs over what is there."""
    machine = gateway.machine
    key = machine.read(f"{STATE}/current/key.pem")
    machine.run(*APT, "remove", "iot-cert-agent")
    machine.run("dpkg", "--install", DEB)
    assert gateway.until_up() == 1
    assert machine.read(f"{STATE}/current/key.pem") == key


def removing_and_purging_keep_the_state(gateway: Installed) -> None:
    """The daemon ends, its files and the helper's door go, and keys stay, after a purge too."""
    machine = gateway.machine
    key = machine.read(f"{STATE}/current/key.pem")
    machine.write(REPORT, "{}")  # as the helper that serves other programs has it
    machine.run(*APT, "remove", "iot-cert-agent")
    sockets = [unit for unit in UNITS if unit.endswith(".socket")]
    assert set(machine.run("systemctl", "is-active", SERVICE, *sockets, expect=None).out.split()) == {"inactive"}
    assert not machine.path("/usr/lib/iot-cert-agent").exists()
    assert not machine.path(DOOR).exists()
    assert machine.path(REPORT).exists()
    assert "endpoint: localhost" in machine.read("/etc/iot-cert-agent/config.yaml")

    told = machine.run("dpkg", "--purge", "iot-cert-agent")
    assert f"kept in {STATE}" in told.out + told.err
    assert not machine.path("/etc/iot-cert-agent/config.yaml").exists()
    assert not machine.path(REPORT).parent.exists()
    assert machine.read(f"{STATE}/current/key.pem") == key


def it_is_erased_where_a_file_says_so(machine: Machine) -> None:
    """By a purge, also of an installation that came no further than to unpack."""
    machine.run("dpkg", "--unpack", DEB)
    machine.write("/etc/iot-cert-agent/purge-state", "")
    machine.run("dpkg", "--purge", "iot-cert-agent")
    assert not machine.path(STATE).exists()
    assert not machine.path("/etc/iot-cert-agent").exists()
    assert machine.run("systemctl", "list-units", "--failed", "--no-legend").out == ""
