"""What holds of a device's life in the account: tokens, other programs, retirement, the sweep and a replacement."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from agent.backend import names
from support.emulator.device import armed, shipped
from support.emulator.fleet_operator import Administrator
from support.running.application import Application

if TYPE_CHECKING:
    from pathlib import Path

    from support.emulator.account import Account
    from support.emulator.device import Device

ALIAS = "uploads"


def add_policy(account: Account, name: str, *grants: tuple[str, str]) -> None:
    """Make an IoT policy that an application's operator would make."""
    allowed = [{"Effect": "Allow", "Action": action, "Resource": resource} for action, resource in grants]
    document = {"Version": "2012-10-17", "Statement": allowed}
    account.client("iot").create_policy(policyName=name, policyDocument=json.dumps(document))


def call(account: Account, function: str, event: dict[str, Any] | None = None) -> Any:
    """Call a function as its owner may, and return what it answers."""
    answer = account.client("lambda").invoke(FunctionName=f"iot-cert-{function}", Payload=json.dumps(event or {}))
    payload = json.loads(answer["Payload"].read() or b"null")
    assert "FunctionError" not in answer, payload
    return payload


def assert_only_the_right_token_enrols(device: Device) -> None:
    """A wrong one is refused in the hook's words, and leaves nothing behind that would be in the way."""
    device.show_token("guessed")
    refused = device.run("enroll", expect=3)
    assert "Access Denied" in refused.out + refused.err
    assert device.token not in refused.out + refused.err
    device.show_token(device.token)
    device.run("enroll", expect=0)
    assert device.statuses() == {device.certificate_id(): "ACTIVE"}


def assert_other_programs_go_on(account: Account, device: Device) -> str:
    """An application under a policy of its own, and a user of a role alias, after the rotation and the retirement."""
    add_policy(account, "telemetry", ("iot:Connect", "*"))
    add_policy(account, "uploads", ("iot:AssumeRoleWithCertificate", f"arn:aws:iot:*:*:rolealias/{ALIAS}"))
    first = device.certificate_id()
    assert not device.assumes(ALIAS), "the agent's own policies do not allow it"
    for policy in ("telemetry", "uploads"):
        account.client("iot").attach_policy(policyName=policy, target=device.arn)
    assert (device.assumes(ALIAS), device.assumes("another")) == (True, False)
    device.run("rotate", expect=0)
    assert device.assumes(ALIAS)
    own = {"iot-cert-gateway-session", "iot-cert-gateway-rotation"}
    assert device.policies() == own | {"telemetry", "uploads"}
    with Application(device, "telemetry-gw-0099") as application:
        device.run("retire", "--now", expect=0)
        assert device.statuses() == {first: "INACTIVE", device.certificate_id(): "ACTIVE"}
        assert application.connected
        assert device.assumes(ALIAS)
    with Application(device, "telemetry-gw-0099"):
        return first  # it connects anew, too


def assert_a_retired_certificate_gets_nothing(account: Account, device: Device, retired: str) -> None:
    """It may be connected for minutes more; the hook asks what it is, and for which thing it asks."""
    template = "arn:aws:iot:eu-west-1:123456789012:provisioningtemplate/gateway-rotation"
    event = {"templateArn": template, "certificateId": "ab" * 32, "parameters": {"ThingName": device.thing}}
    for caller in (retired, "cd" * 32):
        answer = call(account, "hook", event | {"claimCertificateId": caller})
        assert answer == {"allowProvisioning": False}
    foreign = event | {"claimCertificateId": device.certificate_id(), "parameters": {"ThingName": "gw-0001"}}
    assert call(account, "hook", foreign) == {"allowProvisioning": False}


def age(account: Account, certificate_id: str) -> None:
    """Have the days pass for which a retired certificate is kept."""
    account.client("dynamodb").update_item(
        TableName="iot-cert-certificates",
        Key={"certificate_id": {"S": certificate_id}},
        UpdateExpression="SET delete_after = :past",
        ExpressionAttributeValues={":past": {"N": "1"}},
    )


def assert_the_sweep_deletes(account: Account, device: Device, retired: str) -> None:
    """Not a day too early, and in two rounds: a certificate is taken off its thing in the first.

    An operator who makes it active again in between gets it back where it was.
    """
    call(account, "sweep")
    assert device.statuses()[retired] == "INACTIVE"
    age(account, retired)
    call(account, "sweep")
    assert device.statuses() == {device.certificate_id(): "ACTIVE"}
    account.client("iot").update_certificate(certificateId=retired, newStatus="ACTIVE")
    call(account, "sweep")
    assert device.statuses() == {device.certificate_id(): "ACTIVE", retired: "ACTIVE"}
    call(account, "retire", asking(device, retired))
    age(account, retired)
    of_no_thing(account)
    call(account, "sweep")
    call(account, "sweep")
    assert device.statuses() == {device.certificate_id(): "ACTIVE"}
    with pytest.raises(account.client("iot").exceptions.ResourceNotFoundException):
        device.described(retired)


def asking(device: Device, certificate_id: str) -> dict[str, Any]:
    """Return what the rule selects when a gateway asks for a certificate to be retired."""
    return asking_by(device.certificate_id(), device.thing, certificate_id)


def asking_by(caller: str, thing: str, certificate_id: str) -> dict[str, Any]:
    """Return what the rule selects when a certificate of a thing asks for another one to be retired."""
    asked = {"thing": thing, "principal": caller, "clientId": f"{thing}-cert-agent"}
    return asked | {"message": {"certificateId": certificate_id}}


def of_no_thing(account: Account) -> None:
    """Have a row whose certificate and thing an operator has deleted."""
    text = {"certificate_id": "ee" * 32, "thing": "gw-gone", "origin": "claim", "retired_by": "dd" * 32, "due": "due0"}
    numbers = {"retired_at": "1", "delete_after": "1", "version": "1"}
    item = {name: {"S": value} for name, value in text.items()} | {
        name: {"N": value} for name, value in numbers.items()
    }
    account.client("dynamodb").put_item(TableName="iot-cert-certificates", Item=item)


def assert_the_token_is_spent(account: Account, device: Device, tmp_path: Path) -> None:
    """Before the first use another request is a lost answer; after it, it is another device."""
    with armed(tmp_path, account, "0100") as slow:
        slow.run("enroll", expect=0)
        event = {
            "templateArn": "arn:aws:iot:eu-west-1:123456789012:provisioningtemplate/gateway",
            "certificateId": "ef" * 32,
            "parameters": {names.SERIAL_PARAMETER: slow.serial, names.TOKEN_PARAMETER: slow.token},
        }
        assert call(account, "hook", event)["allowProvisioning"] is True
        call(account, "retire", asking(slow, "ef" * 32))
        assert call(account, "hook", event | {"certificateId": "fe" * 32}) == {"allowProvisioning": False}
        call(account, "retire", asking(slow, device.certificate_id()))
        assert device.statuses() == {device.certificate_id(): "ACTIVE"}
    event["parameters"] = {names.SERIAL_PARAMETER: device.serial, names.TOKEN_PARAMETER: device.token}
    assert call(account, "hook", event | {"certificateId": "0f" * 32}) == {"allowProvisioning": False}


def assert_a_replaced_device_is_retired(account: Account, old: Device, tmp_path: Path) -> None:
    """Not before the shadow says that the new one's certificate is in use; by the clock, and over that certificate."""
    (row,) = Administrator().rows("arm", "0101", "--thing", old.thing)
    with shipped(tmp_path, account, "0101", named=old.thing, token=row["token"]) as new:
        new.run("enroll", expect=0)
        call(account, "retire", names.BY_THE_CLOCK)
        assert new.statuses() == {old.certificate_id(): "ACTIVE", new.certificate_id(): "ACTIVE"}
        reported = json.dumps({"state": {"reported": {"certificateId": new.certificate_id()}}})
        account.client("iot-data").update_thing_shadow(thingName=new.thing, shadowName=names.SHADOW, payload=reported)
        replaced_of_no_thing(account)
        due_by_the_clock(account, old.thing)
        call(account, "retire", names.BY_THE_CLOCK)
        assert new.statuses() == {old.certificate_id(): "INACTIVE", new.certificate_id(): "ACTIVE"}


def due_by_the_clock(account: Account, thing: str) -> None:
    """Have the five minutes pass until a replacement is looked at again, and the lease of an earlier retirement end."""
    account.client("dynamodb").delete_item(TableName="iot-cert-devices", Key={"serial": {"S": f"retiring#{thing}"}})
    account.client("dynamodb").update_item(
        TableName="iot-cert-certificates",
        Key={"certificate_id": {"S": names.REPLACING + thing}},
        UpdateExpression="SET delete_after = :past",
        ExpressionAttributeValues={":past": {"N": "1"}},
    )


def replaced_of_no_thing(account: Account) -> None:
    """Have a device replaced whose thing an operator has deleted."""
    tables = account.client("dynamodb")
    device = {"serial": {"S": "0102"}, "thing": {"S": "gw-gone"}, "state": {"S": "BOUGHT"}, "version": {"N": "1"}}
    tables.put_item(TableName="iot-cert-devices", Item=device)
    row = {"certificate_id": {"S": names.REPLACING + "gw-gone"}, "serial": {"S": "0102"}, "version": {"N": "1"}}
    waits = {"due": {"S": names.DUE_REPLACEMENT}, "delete_after": {"N": "1"}}
    tables.put_item(TableName="iot-cert-certificates", Item=row | waits)
