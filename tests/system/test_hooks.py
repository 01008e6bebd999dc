"""What a gateway's owner has, under systemd: hooks, gates, a program that is sent a signal, and one with the SDK."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from support.boot.dependants import HOOKS, UNITS, cloud_hears, connected, enable, given, report, served, sooner
from support.boot.installed import THING
from support.boot.machine import SERVICE, until

if TYPE_CHECKING:
    from collections.abc import Callable

    import mqtt5

    from support.boot.installed import Installed
    from support.boot.machine import Machine

GATES = "/etc/iot-cert-agent/gates.d"
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


# The one that is commented in the unit: the key stays root's, and the daemon is handed a copy.
CLAIM_KEY = "/etc/iot-cert-agent/factory-key.pem"
CREDENTIAL = f"/run/credentials/{SERVICE}/claim-key"

TELEMETRY = "telemetry.service"


def test_what_the_owner_of_a_gateway_adds_lives_with_its_certificate(gateway: Installed) -> None:
    """A hook ends with its time, a gate holds, a program without a unit is told, and one with the SDK connects anew.

    One gateway has all of them: its hook takes too long at the enrolment, which is by a claim key that is a credential,
    and is gone by the rotation.
    """
    machine = gateway.machine
    machine.write(f"{HOOKS}/10-stray", STRAY, 0o755)
    machine.write(f"{GATES}/10-hold", GATE, 0o755)
    machine.write("/usr/local/bin/meter", METER, 0o755)
    gateway.configure(probation="0s", dependants_patience="0s", key=CREDENTIAL)
    the_claim_key_is_a_credential(gateway)
    an_application_has_the_sdk(gateway)
    gateway.add(
        sooner(gateway.example("sdk-application/agent.yaml")),
        "hooks: {timeout: 2s}",
        f"signals: [{{pid_file: {PID_FILE}, process: meter, healthy: 0s}}]",
    )
    gateway.service.take_down()
    machine.boot()
    assert (machine.show("ConditionResult", TELEMETRY), machine.show("ActiveState", TELEMETRY)) == ("no", "inactive")
    machine.run("systemd-run", "/usr/local/bin/meter")
    gateway.service.bring_up()
    with cloud_hears(gateway) as following:
        machine.run("systemctl", "reload", SERVICE)
        with_the_first_certificate(gateway, following)
        process = machine.show("MainPID", TELEMETRY)
        machine.path(f"{HOOKS}/10-stray").unlink()
        with_the_second(gateway, following)
        assert machine.show("MainPID", TELEMETRY) == process


def with_the_first_certificate(gateway: Installed, following: Callable[[], mqtt5.PublishPacket]) -> None:
    """Enrol, for which no gate is asked; the application is started, whatever became of the hook."""
    machine = gateway.machine
    gateway.until_up(1)
    assert machine.path(CLAIM_KEY).stat().st_uid == 0
    assert machine.read(ASKED) == ""
    assert json.loads(following().payload)["count"] == 1
    assert connected(gateway) == set(given(gateway)[:1])
    what_a_hook_leaves_behind_ends(machine)


def with_the_second(gateway: Installed, following: Callable[[], mqtt5.PublishPacket]) -> None:
    """Rotate; the application connects anew, by the same process."""
    a_gate_holds_a_rotation(gateway)
    until(lambda: gateway.machine.read(NOTED).endswith("2\n"), "the program is told")
    assert json.loads(following().payload)["count"] == 2
    assert connected(gateway) == set(given(gateway)[1:])
    assert served(gateway.machine, 2), report(gateway.machine)


def the_claim_key_is_a_credential(gateway: Installed) -> None:
    """Where the unit alone says so, the claim's own file is gone; the machine is down."""
    gateway.machine.write(CLAIM_KEY, gateway.cloud.claim.key_pem, 0o600)
    drop_in = f"/etc/systemd/system/{SERVICE}.d/claim.conf"
    gateway.machine.write(drop_in, f"[Service]\nLoadCredential=claim-key:{CLAIM_KEY}\n")
    gateway.machine.path("/etc/iot-cert-agent/claim/key.pem").unlink()


def an_application_has_the_sdk(gateway: Installed) -> None:
    """As the example says: it waits for the first certificate, and is started by the agent; the machine is down."""
    program = "ExecStart=/usr/lib/iot-cert-agent/bin/python3 "  # the one here that has the SDK
    unit = gateway.example(f"sdk-application/{TELEMETRY}")
    gateway.machine.write(f"{UNITS}/{TELEMETRY}", unit.replace("ExecStart=/usr/bin/python3 ", program))
    gateway.machine.write("/opt/telemetry/telemetry.py", gateway.example("sdk-application/telemetry.py"))
    enable(gateway.machine, TELEMETRY, UNITS)


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
