"""What a gateway's owner has without a unit, under systemd: hooks, gates, and a program that is sent a signal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.boot.installed import THING
from support.boot.machine import until

if TYPE_CHECKING:
    from support.boot.installed import Installed
    from support.boot.machine import Machine

HOOKS, GATES = "/etc/iot-cert-agent/hooks.d", "/etc/iot-cert-agent/gates.d"
HELPER = "iot-cert-agent-deploy.service"

# A hook that leaves behind what is deaf to every signal but one and has a session of its own, and then takes too long.
GROUP, LEFT = "/run/group", "/run/left"
STRAY = f"""\
#!/bin/sh
cat /proc/self/cgroup >{GROUP}
setsid sh -c 'trap "" TERM HUP; echo $$ >{LEFT}; while :; do sleep 1; done' &
sleep 600
"""

# A program that has no unit of its own, and notes each signal and what it finds in its files then.
PID_FILE, NOTED = "/run/meter.pid", "/run/noted"
METER = f"""\
#!/bin/sh
trap 'readlink /var/lib/iot-cert-agent/current >>{NOTED}' HUP
echo $$ >{PID_FILE}
while :; do sleep 0.1; done
"""

HOLD, ASKED = "/run/hold", "/run/asked"
GATE = f"""\
#!/bin/sh
echo "$IOT_CERT_PHASE $IOT_CERT_KIND $IOT_CERT_THING" >>{ASKED}
[ ! -e {HOLD} ]
"""


def test_a_hook_ends_with_its_time_a_gate_holds_and_a_program_without_a_unit_is_told(gateway: Installed) -> None:
    """One gateway has all three: its hook takes too long at the enrolment, and is gone by the rotation."""
    machine = gateway.machine
    machine.write(f"{HOOKS}/10-stray", STRAY, 0o755)
    machine.write(f"{GATES}/10-hold", GATE, 0o755)
    machine.write("/usr/local/bin/meter", METER, 0o755)
    gateway.configure(probation="0s", dependants_patience="0s")
    gateway.add("hooks: {timeout: 2s}", f"signals: [{{pid_file: {PID_FILE}, process: meter, healthy: 0s}}]")
    machine.boot()
    machine.run("systemd-run", "/usr/local/bin/meter")
    gateway.until_up(1)
    assert machine.read(ASKED) == ""  # an enrolment asks no gate
    what_a_hook_leaves_behind_ends(machine)
    machine.path(f"{HOOKS}/10-stray").unlink()
    a_gate_holds_a_rotation(gateway)
    until(lambda: machine.read(NOTED).endswith("2\n"), "the program is told")


def what_a_hook_leaves_behind_ends(machine: Machine) -> None:
    """It has a control group of its own below the helper's, and no process of it is there afterwards."""
    assert "The hook 10-stray failed: it took longer than 2 s and was ended." in machine.journal()
    (group,) = [line for line in machine.read(GROUP).splitlines() if line.startswith("0::")]
    assert f"/{HELPER}/program-" in group
    left = machine.read(LEFT).strip()
    until(lambda: machine.run("kill", "-0", left, expect=None).code, "the end of what it left")
    groups = f"/sys/fs/cgroup/system.slice/{HELPER}"
    until(lambda: "program-" not in machine.run("find", groups, expect=None).out, "the end of its control group")


def a_gate_holds_a_rotation(gateway: Installed) -> None:
    """The set in use stays in use until the gate lets the change go on."""
    machine = gateway.machine
    machine.write(HOLD, "")
    machine.run("iot-cert", "rotate", "--no-wait")
    until(lambda: "gate 10-hold" in machine.run("iot-cert", "status", expect=None).out, "the rotation is held")
    assert (machine.generation(), len(gateway.certificates())) == (1, 1)
    machine.path(HOLD).unlink()
    gateway.until_up(2)
    asked = list(dict.fromkeys(machine.read(ASKED).splitlines()))
    assert asked == [f"before-request rotate {THING}", f"before-activation rotate {THING}"]
