"""A gateway before the emulated account: the real command, with a claim certificate and a token from the factory."""

from __future__ import annotations

import secrets
import ssl
from contextlib import closing
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPSConnection
from typing import TYPE_CHECKING, Any, Self

from agent.backend.decide.admission import fingerprint
from agent.backend.names import SERIAL_PARAMETER, TOKEN_PARAMETER
from support.emulator.account import CREDENTIALS_PORT, MQTT_PORT
from support.running.gateway import Gateway

if TYPE_CHECKING:
    from pathlib import Path

    from support.emulator.account import Account


@dataclass(kw_only=True)
class Device(Gateway):
    """One gateway, whose cloud is the emulated account.

    Attributes:
        account: The account.
        serial: Its serial number.
        token: What its technician was given.
        named: The thing that it is armed as; empty for `gw-SERIAL`.
    """

    account: Account
    serial: str
    named: str = ""
    token: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    @property
    def thing(self) -> str:
        """The thing that the operator arms it as."""
        return self.named or f"gw-{self.serial}"

    def __enter__(self) -> Self:
        claim = self.directory / "claim"
        claim.mkdir(mode=0o700)
        iot = self.account.client("iot")
        made = iot.create_keys_and_certificate(setAsActive=True)
        iot.attach_policy(policyName="iot-cert-claim", target=made["certificateArn"])
        (self.directory / "roots.pem").write_bytes(self.account.anchors)
        for name, content in (
            ("certificate.pem", made["certificatePem"]),
            ("key.pem", made["keyPair"]["PrivateKey"]),
            ("token", self.token),
        ):
            (claim / name).touch(mode=0o600)
            (claim / name).write_text(content)
        self.config = self.directory / "config.yaml"
        self.config.write_text(self._configuration())
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing of it is left running."""

    def _note_tokens(self) -> None:
        """The ownership tokens are the emulator's."""

    def _configuration(self) -> str:
        return f"""\
endpoint: localhost
port: {MQTT_PORT}
state_dir: {self.directory}/state
runtime_dir: {self.directory}/run
trust: {{anchors: {self.directory}/roots.pem}}
vouched_clock: true
timeouts: {{connect: 2m, request: 2m}}
enrollment:
{self._enrollment()}rotation:
  template: gateway-rotation
  probation: 1s
  refusal_patience: 1s
  policy_patience: 1s
  daily_limit: 100
"""

    def _enrollment(self) -> str:
        return f"""\
  method: fleet-provisioning
  template: gateway
  parameters: {{{SERIAL_PARAMETER}: "{self.serial}", {TOKEN_PARAMETER}: {{file: {self.directory}/claim/token}}}}
  claim: {{certificate: {self.directory}/claim/certificate.pem, key: {self.directory}/claim/key.pem}}
"""

    def arm(self) -> None:
        """Do what the operator does before the gateway is shipped: `iot-cert cloud arm`."""
        row = {"serial": self.serial, "thing": self.thing, "state": "ARMED"}
        row["token_sha256"] = fingerprint(self.serial, self.token)
        item = {name: {"S": value} for name, value in row.items()} | {"version": {"N": "1"}}
        self.account.client("dynamodb").put_item(TableName="iot-cert-devices", Item=item)

    def show_token(self, token: str) -> None:
        """Have the technician type a token."""
        (self.directory / "claim" / "token").write_text(token)

    def assumes(self, alias: str) -> bool:
        """Whether a program of the gateway gets the credentials of a role alias with the set in use."""
        context = ssl.create_default_context(cadata=self.account.anchors.decode())
        context.load_cert_chain(self.state / "current" / "certificate.pem", self.state / "current" / "key.pem")
        asked = HTTPSConnection("localhost", CREDENTIALS_PORT, context=context, timeout=20)
        with closing(asked):
            asked.request("GET", f"/role-aliases/{alias}/credentials")
            return asked.getresponse().status == HTTPStatus.OK

    @property
    def arn(self) -> str:
        """The ARN of the certificate in use."""
        return str(self.described(self.certificate_id())["certificateArn"])

    def described(self, certificate_id: str) -> dict[str, Any]:
        """Return what the account says of a certificate."""
        found: dict[str, Any] = self.account.client("iot").describe_certificate(certificateId=certificate_id)
        description: dict[str, Any] = found["certificateDescription"]
        return description

    def statuses(self) -> dict[str, str]:
        """Return the status of each certificate that is attached to the thing."""
        listed = self.account.client("iot").list_thing_principals(thingName=self.thing)["principals"]
        found = [self.described(arn.rpartition("/")[2]) for arn in listed]
        return {item["certificateId"]: item["status"] for item in found}

    def policies(self) -> set[str]:
        """Return the policies of the certificate in use."""
        listed = self.account.client("iot").list_attached_policies(target=self.arn)["policies"]
        return {item["policyName"] for item in listed}


def armed(directory: Path, account: Account, serial: str) -> Device:
    """Return a gateway with a directory of its own, armed."""
    device = shipped(directory, account, serial)
    device.arm()
    return device


def shipped(directory: Path, account: Account, serial: str, *, named: str = "", token: str = "") -> Device:
    """Return a gateway with a directory of its own, which the operator arms."""
    place = directory / serial
    place.mkdir()
    return Device(directory=place, account=account, serial=serial, named=named, token=token or secrets.token_hex(16))
