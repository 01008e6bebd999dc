"""The pages, typed word by word on a gateway: what a person copies from there has to work."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agent.sandbox.account.authority import Authority, name
from agent.sandbox.account.policies import GATEWAY
from agent.sandbox.cloud import Status
from support.boot.installed import THING, TOKEN
from support.boot.machine import SERVICE, STATE, Machine, until
from support.boot.typed import SUDO, types
from support.documents.pages import blocks, lines, section
from support.suite import campaigns

if TYPE_CHECKING:
    from pathlib import Path

    from support.boot.installed import Installed

PIPELINE = "docs/ota-pipeline.md"
INTEGRATOR = "docs/integrator.md"
SECURITY = "SECURITY.md"

FILES = {
    "sudo iot-cert trust install FILE": "roots-1.tar",
    "iot-cert trust check FILE": "/usr/share/iot-cert-agent/amazon-roots.pem",
}


def test_a_technician_with_a_stick_and_no_network(fresh: Installed, tmp_path: Path) -> None:
    """What works offline does, and a set on a stick is in use at once; it is proven when there is a network again.

    It is the gateway's first boot; the tests below go on with it.
    """
    gateway, machine, files = fresh, fresh.machine.boot(network=False), stick(fresh)
    machine.write("/usr/bin/sudo", SUDO, 0o755)
    part = section("docs/technician.md", "Without a network")
    mount, bring, status, unmount = lines(blocks(part)[0])
    with machine.plugged_in(image(tmp_path, {f"gw-0042/{name}": data for name, data in files.items()}), "/dev/sda1"):
        types(machine, mount)
        types(machine, bring, expect=5)
        assert re.search(r"^generation .*\(import\)", types(machine, status, expect=1), flags=re.MULTILINE)
        types(machine, unmount)
    for line in campaigns.take(works_offline(), 2):
        if " import " not in line:  # which was typed above
            code = {"iot-cert status": 1, "sudo iot-cert check": 5}.get(line, 0)
            assert types(machine, line.replace("FILE", FILES.get(line, "")), expect=code).strip()
    machine.shut_down()
    machine.boot()
    gateway.until_up()
    brought = machine.history()[-1]
    assert (brought["kind"], brought["phase"], brought["unproven"]) == ("import", "committed", True)
    assert machine.read(f"{STATE}/current/key.pem").encode() == files["private.pem.key"]
    assert len(gateway.certificates()) == 1


def works_offline() -> list[str]:
    """Return the lines of the page that need no network."""
    part = section("docs/technician.md", "Without a network")
    works = " ".join(row.split(" | ")[0] for row in part.splitlines() if row.startswith("| `"))
    return re.findall(r"`([^`]+)`", works)


def image(folder: Path, files: dict[str, bytes]) -> Path:
    """Return an image of a file system with files, by their names."""
    for file, data in files.items():
        path = folder / "stick" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    made = folder / "stick.img"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", folder / "stick", made, "4M"], check=True, capture_output=True)
    return made


@pytest.fixture(scope="module")
def signed(enrolled: Installed) -> Installed:
    """Return the gateway once bundles of anchors are signed on it, as the pipeline's page says, and it takes such."""
    enrolled.machine.write("/usr/bin/sudo", SUDO, 0o755)
    sign_a_bundle(enrolled)
    return enrolled


@pytest.mark.whole
def test_the_technicians_page(signed: Installed) -> None:
    """Every line of its table, in its order, on one enrolled gateway."""
    gateway, machine = signed, signed.machine
    gateway.until_up()
    before = len(machine.history())
    for file, data in stick(gateway).items():
        machine.write(f"/media/stick/gw-0042/{file}", data)
    table = section("docs/technician.md", "What to type").split("\n\n")[0]
    typed = re.findall(r"`([^`]+)`", table)
    assert len(typed) == 17
    codes = {"iot-cert enroll": 4, "sudo iot-cert check": 1}  # it is enrolled; and the test's own disk is an overlay
    for line in typed:
        told = types(machine, line.replace("FILE", FILES.get(line, "")), expect=codes.get(line, 0))
        assert told.strip()
        gateway.until_up()
    made = [change["kind"] for change in machine.history()[before:] if change["phase"] in {"committed", "retired"}]
    assert made == ["rotate", "rollback", "trust", "trust", "import"]


def stick(gateway: Installed) -> dict[str, bytes]:
    """Return what a person downloaded from the AWS console for this thing."""
    now, key = gateway.cloud.now, ec.generate_private_key(ec.SECP256R1())
    certificate = gateway.cloud.authority.issue_client(
        name("AWS IoT Certificate"), key.public_key(), now - timedelta(days=1), now + timedelta(days=365)
    )
    entry = gateway.cloud.registry.add(certificate, Status.ACTIVE)
    entry.policies, entry.thing_name = [GATEWAY], THING
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {"device.pem.crt": certificate.public_bytes(Encoding.PEM), "private.pem.key": private}


def sign_a_bundle(gateway: Installed) -> None:
    """Sign Amazon's roots and the endpoint's, as the pipeline's page says, and have the gateway take such bundles."""
    machine = gateway.machine
    amazons = machine.read("/usr/share/iot-cert-agent/amazon-roots.pem")
    machine.write("/root/roots.pem", amazons + gateway.service.root_pem.decode())
    for line in lines(blocks(section(PIPELINE, "Once: keys and the first bundle"))[0]):
        types(machine, line)
    machine.write("/etc/iot-cert-agent/trust/root.json", machine.read("/root/repository/metadata/1.root.json"))
    gateway.reconfigure(root="/etc/iot-cert-agent/trust/root.json")
    until(machine.path(f"{STATE}/inbox").exists, "the daemon has made the inbox")


def test_a_factory_reset(enrolled: Installed) -> None:
    """The keys are gone, and the gateway is another one to the cloud."""
    machine = enrolled.machine
    enrolled.until_up()
    machine.write("/usr/bin/sudo", SUDO, 0o755)
    before = machine.read(f"{STATE}/current/key.pem")
    enrolled.cloud.stack.arm("0042", TOKEN)  # the operator's side: its serial number may enrol once more
    stop, shred, remove, start = lines(blocks(section(INTEGRATOR, "Factory reset"))[0])
    for line in (stop, shred, remove):
        types(machine, line)
    assert not machine.path(STATE).exists()
    types(machine, start)
    enrolled.until_up(1)
    assert machine.read(f"{STATE}/current/key.pem") != before
    assert [change["kind"] for change in machine.history()] == ["enroll"]


@pytest.mark.whole
def test_what_to_do_about_a_compromise(signed: Installed) -> None:
    """A gateway's key, the claim, and signers of whom nothing is left to trust."""
    enrolled, machine = signed, signed.machine
    enrolled.until_up()
    enrolled.ahead += timedelta(minutes=1)  # after which a gateway may have another certificate retired
    rotate, retire, status = lines(blocks(section(SECURITY, "When a gateway's key is compromised"))[0])
    for line in (rotate, retire):
        types(machine, line)
    assert json.loads(types(machine, status))["retirements"] == []
    first, second = enrolled.certificates()[-2:]
    assert (first.status, second.status) == (Status.INACTIVE, Status.ACTIVE)

    machine.write("/root/claim.pem", enrolled.cloud.claim.certificate_pem)
    machine.write("/root/claim.key", enrolled.cloud.claim.key_pem)
    for line in lines(blocks(section(SECURITY, "When the claim certificate is compromised"))[0]):
        types(machine, line)
    assert machine.path("/etc/iot-cert-agent/claim/key.pem").stat().st_mode & 0o777 == 0o600

    machine.run("rm", "-r", "/root/repository", "/etc/iot-cert-agent/trust/root.json")
    sign_a_bundle(enrolled)
    machine.run("rm", "/etc/iot-cert-agent/trust/root.json")
    machine.write("/root/1.root.json", machine.read("/root/repository/metadata/1.root.json"))
    for line in lines(blocks(section(SECURITY, "When a signer of trust bundles is compromised"))[-1]):
        types(machine, line)
    assert machine.history()[-1]["kind"] == "trust"


@pytest.mark.whole
def test_the_pipelines_page(signed: Installed) -> None:
    """Keys were made and a bundle signed; the next one is shipped and installed, and a fresh signature follows."""
    gateway, machine = signed, signed.machine
    before = gateway.until_up()
    other = Authority("Sandbox endpoint root B", gateway.cloud.now)
    machine.write("/root/roots.pem", machine.read("/root/roots.pem") + other.pem.decode())
    publish, sign_again = lines(blocks(section(PIPELINE, "Each time"))[0])
    types(machine, publish)
    assert outcome(machine, gateway, "roots-2.tar") == "installed"
    types(machine, sign_again)
    assert outcome(machine, gateway, "fresh.tar") == "unchanged"
    gateway.service.use_root(other, intermediate=True)
    machine.run("iot-cert", "rotate")
    assert gateway.until_up() == before + 2


def outcome(machine: Machine, gateway: Installed, archive: str) -> str:
    """Drop an archive as a pipeline does, and return what became of it."""
    machine.run("cp", f"/root/{archive}", f"{STATE}/inbox/.{archive}")
    machine.run("mv", f"{STATE}/inbox/.{archive}", f"{STATE}/inbox/{archive}")

    def ended() -> str:
        told = re.findall(r'"outcome": ?"([a-z-]+)"', machine.read(f"{STATE}/inbox/{archive}.outcome.json"))
        return told[0] if told and told[0] != "in-progress" else ""

    found = until(ended, "the drop has an outcome")
    gateway.until_up()
    return found


@pytest.mark.whole
def test_a_gateway_that_has_a_certificate_already(bare: Installed) -> None:
    """It is taken over where it lies, which it does not leave, and none is asked for."""
    machine = bare.machine.boot()
    machine.run("mv", "/package.deb", "/root/iot-cert-agent_0_amd64.deb")
    machine.write("/usr/bin/sudo", SUDO, 0o755)
    certificate, key = stick(bare).values()
    machine.write("/etc/old/cert.pem", certificate)
    machine.write("/etc/old/key.pem", key, 0o600)
    for line in lines(blocks(section(INTEGRATOR, "A gateway that has a certificate already"))[0]):
        if line.startswith("sudoedit"):
            machine.write("/etc/iot-cert-agent/roots.pem", bare.service.root_pem)
            bare.configure()
            machine.run("systemctl", "reload", SERVICE)
        else:
            told = types(machine, line, expect=None if line.endswith("check") else 0)
        if " import " in line:
            bare.until_up()
    assert re.findall(r"^failure.*", told, flags=re.MULTILINE) == []
    assert machine.history()[-1]["kind"] == "import"
    assert machine.read(f"{STATE}/current/key.pem").encode().strip() == key.strip()
    assert machine.read("/etc/old/key.pem").encode() == key
    assert len(bare.certificates()) == 1
