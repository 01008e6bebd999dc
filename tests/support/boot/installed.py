"""A gateway with the package on it, and the cloud that it belongs to."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml

from agent.sandbox.cloud import Cloud
from agent.sandbox.service import LocalCloud
from support.boot.machine import PATIENCE, SERVICE, STATE, Machine, until

if TYPE_CHECKING:
    from agent.sandbox.cloud import Entry

CONFIG = "/etc/iot-cert-agent/config.yaml"
THING = "gw-0042"

_SHIPPED = Path(__file__).parents[3] / "config" / "config.yaml"
_EXAMPLES = _SHIPPED.parent / "examples"
_EXAMPLES_ENDPOINT = "a1b2c3d4e5f6g7-ats.iot.eu-west-1.amazonaws.com"

TOKEN = "a-one-time-token"  # noqa: S105 - of a gateway that is not there


def edited(port: int, changes: dict[str, str]) -> str:
    """Return the shipped configuration as a person edits it before an endpoint on this machine.

    Args:
        port: The endpoint's.
        changes: Further values by their keys, of which the whole line is found.
    """
    settings = {
        "endpoint": "localhost",
        "port": str(port),
        "vouched_clock": "true",
        "anchors": "/etc/iot-cert-agent/roots.pem",
        "connect": "1m",
        "request": "1m",
        "probation": "1s",
        "refusal_patience": "3s",
        "daily_limit": "100",
    }
    text = _SHIPPED.read_text()
    for key, value in (settings | changes).items():
        text, found = re.subn(rf"^(\s*)(# )?{key}: .*$", rf"\g<1>{key}: {value}", text, count=1, flags=re.MULTILINE)
        assert found, key
    return text


class Installed:
    """One gateway and its cloud; a context manager. The machine is down at first.

    Attributes:
        machine: The gateway.
        cloud: The account that it belongs to.
        service: The endpoint of that account.
        ahead: How far the cloud's clock is ahead of the gateway's: less than two minutes, by which certificates begin
            before they are made.
    """

    def __init__(self, machine: Machine, directory: Path) -> None:
        directory.mkdir()
        self.machine = machine
        self.ahead = timedelta()
        self.cloud = Cloud(lambda: datetime.now(UTC) + self.ahead)
        self.cloud.stack.arm("0042", TOKEN)
        self.service = LocalCloud(self.cloud, directory)

    def __enter__(self) -> Self:
        self.service.start()
        self.machine.__enter__()
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        self.machine.__exit__(kind, *rest)
        self.service.stop()
        if kind is None:
            assert self.service.front.log.defects == []

    # -- what people put on a gateway --------------------------------------------------------------------------------

    def configure(self, **changes: str) -> None:
        """Have the configuration of a gateway before this cloud, with changes."""
        self.machine.write(CONFIG, edited(self.service.port, {"RegistrationToken": f'"{TOKEN}"'} | changes))

    def equip(self) -> None:
        """Put the claim certificate and the endpoint's root in place, as root and with no thought for owners.

        On a machine that is up the package's rule about owners is carried out, as the next boot would.
        """
        claim = self.cloud.claim
        self.machine.write("/etc/iot-cert-agent/claim/certificate.pem", claim.certificate_pem)
        self.machine.write("/etc/iot-cert-agent/claim/key.pem", claim.key_pem, 0o600)
        self.machine.write("/etc/iot-cert-agent/roots.pem", self.service.root_pem)
        if self.machine.running:
            self.machine.run("systemd-tmpfiles", "--create", "iot-cert-agent.conf")

    @property
    def loopback(self) -> str:
        """An address on which what runs on this gateway meets nothing of another test's."""
        pid = os.getpid()
        return f"127.{64 + (pid >> 16)}.{pid >> 8 & 255}.{pid & 255}"

    def example(self, name: str) -> str:
        """Return a file of config/examples as a person edits it: endpoint, port and address are this gateway's."""
        text = (_EXAMPLES / name).read_text()
        for old, new in (
            (f"{_EXAMPLES_ENDPOINT}:8883", f"localhost:{self.service.port}"),
            (f"{_EXAMPLES_ENDPOINT} {THING}", f"localhost {THING} {self.service.port}"),
            ("127.0.0.1", self.loopback),
        ):
            text = text.replace(old, new)
        return text

    def place(self, name: str) -> None:
        """Put a file of config/examples where its first line says."""
        text = self.example(name)
        self.machine.write(text.splitlines()[0].removeprefix("# "), text)

    def add(self, *texts: str) -> None:
        """Add to the configuration what agent.yaml of examples has; lists of the same name become one."""
        merged: dict[str, Any] = {}
        for key, value in [item for text in texts for item in yaml.safe_load(text).items()]:
            merged[key] = merged[key] + value if isinstance(value, list) and key in merged else value
        self.machine.write(CONFIG, f"{self.machine.read(CONFIG)}\n{yaml.safe_dump(merged)}")

    def sign(self, anchors: bytes) -> None:
        """Sign a bundle of anchors with the package's own command, as /root/b.tar, and trust who signed it."""
        self.machine.write("/root/roots.pem", anchors)
        self.machine.run("openssl", "genpkey", "-algorithm", "ed25519", "-out", "/root/key.pem")
        self.machine.run(
            "iot-cert", "trust", "publish", "/root/repository", "--anchors", "/root/roots.pem",
            "--archive", "/root/b.tar", "--key", "root,targets,snapshot,timestamp=file2:/root/key.pem",
            "--without-amazon", "a test",
        )  # fmt: skip
        first = self.machine.read("/root/repository/metadata/1.root.json")
        self.machine.write("/etc/iot-cert-agent/trust/root.json", first)

    def reconfigure(self, **changes: str) -> None:
        """Edit the configuration of a running gateway and have the daemon read it."""
        self.configure(**changes)
        self.machine.run("systemctl", "reload", SERVICE)

    # -- what can be seen of it --------------------------------------------------------------------------------------

    def up(self) -> bool:
        """Whether the daemon is at rest and connected with the current set, as it says and as the cloud sees it."""
        status = self.machine.status()
        current = status.get("current")
        if current is None or status["change"] or status["connection"]["state"] != "up":
            return False
        live = {item.certificate_id for item in self.service.front.live if item.client_id == f"{THING}-cert-agent"}
        return live == {current["certificate"]["sha256"]} and current["generation"] == self.machine.generation()

    def until_up(self, generation: int | None = None, patience: float = PATIENCE) -> int:
        """Return the current generation once it is connected with it."""

        def there() -> int:
            number = self.machine.generation()
            return number if generation in {None, number} and self.up() else 0

        return until(there, f"connected with generation {generation or 'any'}", patience)

    def certificates(self) -> list[Entry]:
        """Return what the cloud gave this gateway."""
        return self.cloud.certificates_of(THING)

    def whole(self) -> bool:
        """Whether every generation on the disk is whole and its key is the agent's alone."""
        machine = self.machine
        for path in machine.path(f"{STATE}/generations").iterdir():
            names = {item.name for item in path.iterdir()}
            key = path / "key.pem"
            if not {"key.pem", "certificate.pem", "credential.pem", "trust.pem", "manifest.json"} <= names:
                return False
            if key.stat().st_mode & 0o027:
                return False
        return True
