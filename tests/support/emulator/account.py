"""An AWS account on this machine, alone in a network namespace, with the stack deployed in it or not."""

from __future__ import annotations

import ctypes
import json
import os
import re
import socket
import ssl
import subprocess
import time
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from support.aws.cloudtools import tool
from support.aws.stack import ACCOUNT, builder

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER = Path(__file__).with_name("server.py")
REGION = "eu-west-1"
PORT, MQTT_PORT, CREDENTIALS_PORT = 4566, 8883, 8443  # free, since nothing else is in the namespace
BUCKET = "code"
STACK = "iot-cert-cloud"
PATIENT = 60  # seconds of a function that has fewer on AWS

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET of linux/sched.h


@contextmanager
def own_network() -> Iterator[None]:
    """Have this thread, and what it starts, in a network with nothing but a loopback; only root can."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(_NEW_NETWORK):
            raise OSError(ctypes.get_errno(), "unshare")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
    finally:
        libc.setns(before, _NEW_NETWORK)
        os.close(before)


@dataclass
class Account:
    """An emulator that runs, and its administrator.

    Attributes:
        directory: Where the emulator keeps its files.
    """

    directory: Path
    _clients: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the emulator; the caller is in a network of its own."""
        program = tool("python")
        surroundings = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "TMPDIR": str(self.directory),
            "GATEWAY_PORT": str(PORT),
            "IOT_MTLS_PORT": str(MQTT_PORT),
            "CREDENTIALS_PORT": str(CREDENTIALS_PORT),
            "MINISTACK_REGION": REGION,
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
            "LAMBDA_EXECUTOR": "local",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AUTH": "true",
        }
        with (self.directory / "emulator.log").open("w") as log:
            command = [program, str(SERVER), str(self.decisions_file)]
            process = subprocess.Popen(command, stdout=log, stderr=log, env=surroundings, cwd=self.directory)
            try:
                self._wait(process)
                self._spend_the_first_handshake()
                yield
            finally:
                process.terminate()
                process.wait(20)

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        for _ in range(6000):  # five minutes: it reads all of boto3 first, which a new environment has not compiled
            assert process.poll() is None, (self.directory / "emulator.log").read_text()
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{PORT}/_ministack/health"):
                return
            time.sleep(0.05)
        raise AssertionError("the emulator does not answer")

    def _spend_the_first_handshake(self) -> None:
        """The emulator makes its certificate during the first one and then forgets to answer it."""
        assert self.anchors
        context = ssl.create_default_context(cadata=self.anchors.decode())
        with suppress(OSError), socket.create_connection(("localhost", MQTT_PORT), 1) as connection:
            context.wrap_socket(connection, server_hostname="localhost").close()

    @property
    def decisions_file(self) -> Path:
        """Where the emulator notes what each role asked for."""
        return self.directory / "decisions.jsonl"

    def decisions(self) -> list[tuple[str, str, str, bool]]:
        """Return role, action, resource and whether it was allowed, of each request of a role, oldest first."""
        lines = self.decisions_file.read_text().splitlines()
        return [(role, action, arn, said == "Allow") for role, action, arn, said in map(json.loads, lines)]

    def client(self, service: str) -> Any:
        """Return the administrator's client of a service."""
        if service not in self._clients:
            config = Config(retries={"max_attempts": 0}, connect_timeout=5, read_timeout=60)
            self._clients[service] = boto3.client(
                service,
                region_name=REGION,
                endpoint_url=f"http://127.0.0.1:{PORT}",
                aws_access_key_id="test",
                aws_secret_access_key="test",  # noqa: S106 - the emulator's administrator
                config=config,
            )
        return self._clients[service]

    def log(self, group: str) -> list[str]:
        """Return what a function has written, oldest first."""
        pages = self.client("logs").get_paginator("filter_log_events").paginate(logGroupName=group)
        return [event["message"].strip() for page in pages for event in page["events"]]

    @cached_property
    def anchors(self) -> bytes:
        """The root of the endpoint, in PEM."""
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/_ministack/iot/ca.pem") as answer:
            found: bytes = answer.read()
        return found

    # ---- the stack -------------------------------------------------------------------------------------------------

    def upload(self, archive: Path) -> None:
        """Copy the code to the bucket, as `aws s3 cp` does."""
        with suppress(self.client("s3").exceptions.BucketAlreadyOwnedByYou):
            self.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        self.client("s3").put_object(Bucket=BUCKET, Key=archive.name, Body=archive.read_bytes())

    def deploy(self, template: str, **parameters: str) -> dict[str, str]:
        """Deploy a template as `aws cloudformation deploy --s3-bucket` does: make the stack, or change it.

        Functions that have seconds have a minute here, for a busy machine needs longer to start Python.

        Returns:
            The stack's outputs.
        """
        template, short = re.subn(r"^      Timeout: \d\d?$", f"      Timeout: {PATIENT}", template, flags=re.MULTILINE)
        assert short, "a template of the stack"
        self.client("s3").put_object(Bucket=BUCKET, Key="template.yaml", Body=template.encode())
        listed = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
        exists = self.status() not in {"", "DELETE_COMPLETE"}
        return self.change(
            "UPDATE" if exists else "CREATE",
            TemplateURL=f"http://127.0.0.1:{PORT}/{BUCKET}/template.yaml",
            Parameters=listed,
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )

    def change(self, kind: str, **request: Any) -> dict[str, str]:
        """Make a change set, carry it out, and return the stack's outputs."""
        client, names = self.client("cloudformation"), {"StackName": STACK, "ChangeSetName": f"change-{time.time_ns()}"}
        client.create_change_set(ChangeSetType=kind, **names, **request)
        made = client.describe_change_set(**names)
        assert made["Status"] == "CREATE_COMPLETE", made.get("StatusReason")
        client.execute_change_set(**names)
        return self.settled("COMPLETE")

    def settled(self, ending: str) -> dict[str, str]:
        """Wait until nothing happens to the stack, hold it to an ending, and return its outputs."""
        client = self.client("cloudformation")
        for _ in range(1200):
            (stack,) = client.describe_stacks(StackName=STACK)["Stacks"]
            if not stack["StackStatus"].endswith("_IN_PROGRESS"):
                break
            time.sleep(0.05)
        failed = stack["StackStatus"].endswith(("FAILED", "ROLLBACK_COMPLETE"))
        assert stack["StackStatus"].endswith(ending), (stack["StackStatus"], self.reasons())
        assert not failed or "ROLLBACK" in ending, (stack["StackStatus"], self.reasons())
        return {item["OutputKey"]: item["OutputValue"] for item in stack.get("Outputs", [])}

    def reasons(self) -> list[str]:
        """Return why the stack's resources failed."""
        events = self.client("cloudformation").describe_stack_events(StackName=STACK)["StackEvents"]
        failed = [item for item in events if item["ResourceStatus"].endswith("FAILED")]
        return [f"{item['LogicalResourceId']}: {item.get('ResourceStatusReason')}" for item in failed]

    def status(self) -> str:
        """Return the stack's status, or nothing where there is no stack."""
        client = self.client("cloudformation")
        try:
            return str(client.describe_stacks(StackName=STACK)["Stacks"][0]["StackStatus"])
        except client.exceptions.ClientError:
            return ""

    def delete(self) -> None:
        """Delete the stack, and wait until it is gone."""
        client = self.client("cloudformation")
        (stack,) = client.describe_stacks(StackName=STACK)["Stacks"]
        client.delete_stack(StackName=STACK)
        for _ in range(1200):
            (found,) = client.describe_stacks(StackName=stack["StackId"])["Stacks"]
            if not found["StackStatus"].endswith("_IN_PROGRESS"):
                break
            time.sleep(0.05)
        assert found["StackStatus"] == "DELETE_COMPLETE", (found["StackStatus"], self.reasons())


@contextmanager
def account_with_code(directory: Path) -> Iterator[Account]:
    """Run an account with the code in its bucket, in a network of its own; nothing is deployed yet.

    What is deployed is in the directory `dist`: the code, and the template beside it.
    """
    tool("python")
    (directory / "emulator").mkdir()
    with own_network():
        found = Account(directory / "emulator")
        with found.running():
            builder().build(directory / "dist")
            found.upload(*(directory / "dist").glob("*.zip"))
            yield found
