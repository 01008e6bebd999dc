"""The operator's page, typed as one with the AWS CLI: from the sources to a gateway that has rotated.

The account is the emulator's (tests/support/emulator), so this says nothing about AWS. The gateway is a Debian 12 that
is booted in the account's network.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from support.aws.cloudtools import tool
from support.boot import images
from support.boot.installed import CONFIG, edited
from support.boot.machine import SERVICE, Machine, until
from support.documents.pages import ROOT, blocks, lines, section
from support.emulator.account import MQTT_PORT, PORT, REGION, Account, own_network
from support.running.gateway import COMMAND

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "docs/fleet-operator.md"
BUCKET = "a-bucket-of-the-operator"


@dataclass
class Desk:
    """An operator's terminal, in the project's sources.

    Attributes:
        directory: Where the operator's own files go, with the commands `aws` and `iot-cert`.
    """

    directory: Path

    def __post_init__(self) -> None:
        (self.directory / "bin").mkdir(parents=True)
        for name, program in (("aws", tool("aws")), ("iot-cert", COMMAND)):
            (self.directory / "bin" / name).symlink_to(program)

    def types(self, line: str, answers: str = "", expect: int = 0) -> str:
        """Type a line, with answers to what it asks; hold it to its exit code and return what is shown."""
        line = line.replace("BUCKET", BUCKET).replace("CodeBUCKET", "CodeBucket").replace(" claim", f" {self.claim}")
        done = subprocess.run(
            ["script", "--quiet", "--return", "--command", line, "/dev/null"],
            input=answers, cwd=ROOT, env=self._surroundings, capture_output=True, text=True, check=False, timeout=400,
        )  # fmt: skip
        print(f"$ {line}\n{done.stdout}{done.stderr}  (exit code {done.returncode})")
        assert done.returncode == expect, line
        assert "Traceback" not in done.stdout
        return done.stdout

    @property
    def claim(self) -> Path:
        """Where the claim certificate goes, which is not the project's folder."""
        return self.directory / "claim"

    @property
    def _surroundings(self) -> dict[str, str]:
        return {
            "PATH": f"{self.directory / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.directory),
            "TERM": "dumb",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{PORT}",
        }


@pytest.mark.whole
def test_from_nothing_to_a_rotated_gateway(run_folder: Path, tmp_path: Path) -> None:
    """The stack is built, deployed and looked at; a gateway is armed, enrols by its token, and rotates when told."""
    below, desk = images.factory(run_folder), Desk(tmp_path / "desk")  # which want the network of this machine
    (tmp_path / "emulator").mkdir()
    account = Account(tmp_path / "emulator")
    with own_network(), account.running():
        set_up(account, desk)
        gateway = section(PAGE, "The first gateway")
        (arm,) = lines(blocks(gateway)[0])
        (token,) = re.findall(r"^0042 +gw-0042 +(\S+)", desk.types(arm), flags=re.MULTILINE)
        (file,) = re.findall(r"RegistrationToken: \{file: (\S+)\}", blocks(gateway, "yaml")[0])
        with Machine(tmp_path / "disk", below) as machine:
            equip(machine.boot(), desk, account)
            machine.write(file, token, 0o600)
            machine.write(CONFIG, edited(MQTT_PORT, {"RegistrationToken": f"{{file: {file}}}"}))
            machine.run("systemd-tmpfiles", "--create", "iot-cert-agent.conf")
            machine.run("systemctl", "reload", SERVICE)
            machine.run("iot-cert", "enroll", expect=None)  # the daemon was perhaps faster
            until(lambda: connected(machine, 1), "it has enrolled, and is connected")
            (order,) = re.findall(r"^\| order rotations \| `(.+?)` \|", (ROOT / PAGE).read_text(), flags=re.MULTILINE)
            desk.types(order)
            until(lambda: connected(machine, 2), "it has taken the job, has rotated, and is connected")
            until(lambda: ended(account), "the job is told of it")


def set_up(account: Account, desk: Desk) -> None:
    """Type "The stack": what is built goes into a bucket of the operator's, and is deployed from there."""
    where = {"LocationConstraint": REGION}
    account.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration=where)
    deploy, beside = blocks(section(PAGE, "The stack"))
    *build, check = lines(deploy)
    for line in build:
        desk.types(line)
    lacking = re.findall(r"^warning +([a-z ]+):", desk.types(check, expect=1), flags=re.MULTILINE)
    assert lacking == ["claim certificate", "fleet indexing"]
    (setup,) = lines(beside)
    desk.types(setup, answers="index\nclaim\n")
    assert "warning" not in desk.types(check, expect=1)  # which is for what the emulator has not, and is skipped


def equip(machine: Machine, desk: Desk, account: Account) -> None:
    """Put on it what leaves the factory with it: the claim, and the root of the endpoint."""
    for name in ("certificate.pem", "key.pem"):
        machine.write(f"/etc/iot-cert-agent/claim/{name}", (desk.claim / name).read_bytes(), 0o600)
    machine.write("/etc/iot-cert-agent/roots.pem", account.anchors)


def ended(account: Account) -> bool:
    """Whether the account's one job has succeeded."""
    iot = account.client("iot")
    (job,) = iot.list_jobs()["jobs"]
    (execution,) = iot.list_job_executions_for_job(jobId=job["jobId"])["executionSummaries"]
    return bool(execution["jobExecutionSummary"]["status"] == "SUCCEEDED")


def connected(machine: Machine, generation: int) -> bool:
    """Whether the daemon is at rest, and connected with a generation."""
    status = machine.status()
    up = bool(status) and status["change"] is None and status["connection"]["state"] == "up"
    return up and status["current"]["generation"] == generation
