"""The stack deployed on an AWS of this machine, and the real command against it.

What is in it that is ours and not the emulator's stands in `support/emulator/server.py`. Nothing here has run on AWS.
"""

from __future__ import annotations

import fnmatch
import io
import json
import re
import time
import urllib.error
import urllib.request
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from agent.backend import names
from agent.backend.decide import census, vending
from agent.core.aws.client_ids import plainly_attached
from support.application import Application
from support.emulator.account import BUCKET, PATIENT, PORT, account_with_code
from support.emulator.device import armed, shipped
from support.emulator.fleet_operator import Operator
from support.moto_account import signing_request
from support.stack import ACCOUNT, Stack, statements

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.emulator.account import Account
    from support.emulator.device import Device

pytestmark = pytest.mark.root

HANDLER = "agent/backend/lambdas.py"
ALIAS = "uploads"
EXCLUSIVE = ', "ThingPrincipalType": "EXCLUSIVE_THING"'


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    """Run an account with the code in its bucket, in a network of its own; nothing is deployed yet."""
    with account_with_code(tmp_path) as found:
        yield found


@pytest.fixture
def template(account: Account, tmp_path: Path) -> str:
    """Return the template that was built beside the code."""
    del account
    return (tmp_path / "dist" / "template.yaml").read_text()


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


def test_a_gateway_lives_its_life_in_the_account(account: Account, template: str, tmp_path: Path) -> None:
    """Enrolment with the right token alone, rotation that keeps an application's rights, retirement, deletion.

    And of all that, each role was granted what it asked for, and asked for what it is granted.
    """
    account.deploy(template, CodeBucket=BUCKET)
    with armed(tmp_path, account, "0099") as device:
        assert_only_the_right_token_enrols(device)
        first = assert_other_programs_go_on(account, device)
        assert_a_retired_certificate_gets_nothing(account, device, first)
        assert_the_sweep_deletes(account, device, first)
        assert_the_token_is_spent(account, device, tmp_path)
        assert_a_replaced_device_is_retired(account, device, tmp_path)
    assert_a_change_by_other_means_is_named(account)
    call(account, "sweep", names.COUNT)
    assert_rights_are_what_is_used(account)
    assert counted(account) - WHEN_BUSY == COUNTED


# What this life has each function count; what remains of the metrics needs days or faults (tests/scenarios).
COUNTED = {
    ("hook", names.Metric.ENROLMENTS),
    ("hook", names.Metric.ENROLMENTS_REFUSED),
    ("hook", names.Metric.RE_ENROLMENTS_REFUSED),
    ("hook", names.Metric.ROTATIONS),
    ("hook", names.Metric.ROTATIONS_REFUSED),
    ("retire", names.Metric.RETIREMENTS),
    ("retire", names.Metric.RETIREMENTS_REFUSED),
    ("sweep", names.Metric.DELETED),
    ("sweep", names.Metric.RESCUED),
    *(("sweep", metric) for metric in census.COUNTED),
}
# A request that is repeated since its answer is late may write the row that the sweep looks at; the next round deletes.
WHEN_BUSY = {("sweep", names.Metric.KEPT)}


def counted(account: Account) -> set[tuple[str, str]]:
    """Return which function has counted what, by its log, from which CloudWatch makes the metrics."""
    found = set()
    for function in ("hook", "retire", "sweep"):
        for line in account.log(f"/aws/lambda/iot-cert-{function}"):
            record = json.loads(line) if line.startswith("{") else {}
            for described in record.get("_aws", {}).get("CloudWatchMetrics", []):
                assert described["Namespace"] == names.NAMESPACE
                assert described["Dimensions"] == [[names.STACK_DIMENSION]]
                assert record[names.STACK_DIMENSION] == "iot-cert"
                found |= {(function, metric["Name"]) for metric in described["Metrics"]}
    return found


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
    (row,) = Operator().rows("arm", "0101", "--thing", old.thing)
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
    device = {"serial": {"S": "0102"}, "thing": {"S": "gw-gone"}, "state": {"S": "CLAIMED"}, "version": {"N": "1"}}
    tables.put_item(TableName="iot-cert-devices", Item=device)
    row = {"certificate_id": {"S": names.REPLACING + "gw-gone"}, "serial": {"S": "0102"}, "version": {"N": "1"}}
    waits = {"due": {"S": names.DUE_REPLACEMENT}, "delete_after": {"N": "1"}}
    tables.put_item(TableName="iot-cert-certificates", Item=row | waits)


def assert_a_change_by_other_means_is_named(account: Account) -> None:
    """By CloudFormation's drift detection, which compares functions here, and policies on AWS alone."""
    before = drifted()
    account.client("lambda").update_function_configuration(FunctionName="iot-cert-hook", Timeout=PATIENT + 1)
    assert drifted() - before == {"error: Hook (AWS::Lambda::Function) was changed by other means: /Timeout."}
    account.client("lambda").update_function_configuration(FunctionName="iot-cert-hook", Timeout=PATIENT)


def drifted() -> set[str]:
    """Return what `iot-cert cloud check` says of drift."""
    return {f"{row['level']}: {row['text']}" for row in Operator().rows("check") if row["what"] == "drift"}


# What no emulator shows; the rest is as expected here, and says nothing about AWS.
NOT_SHOWN = {"quotas", "exclusive", "signer", "schedule", "index", "metrics", "alarm"}


@pytest.mark.whole
def test_a_first_deployment_is_written_down(account: Account, template: str, tmp_path: Path) -> None:
    """Each fact is tried or said not to be shown; nothing of it is left, and what was written can be committed.

    What it does about a surprise is in tests/unit/fleet/trial/test_steps.py.
    """
    account.deploy(template, CodeBucket=BUCKET)
    before = registered(account)
    (tmp_path / "anchors.pem").write_bytes(account.anchors)
    words = ["first-deployment", "--yes", "--endpoint", "localhost", "--anchors", str(tmp_path / "anchors.pem")]
    code, said = Operator().runs(*words, "--directory", str(tmp_path / "trial"))
    transcript = (tmp_path / "trial" / "transcript.md").read_text()
    assert code == 0, said
    outcomes = dict(re.findall(r"^## ([a-z-]+): (.*)$", transcript, re.MULTILINE))
    assert {key for key, outcome in outcomes.items() if outcome == "not shown"} == NOT_SHOWN
    assert set(outcomes.values()) == {"as expected", "not shown"}
    assert ACCOUNT not in transcript
    assert [path.name for path in (tmp_path / "trial").iterdir()] == ["transcript.md"]
    assert registered(account) == before


def registered(account: Account) -> set[str]:
    """Return each certificate but those that AWS deletes within the hour."""
    found = account.client("iot").list_certificates()["certificates"]
    return {item["certificateId"] for item in found if item["status"] != "PENDING_ACTIVATION"}


def assert_rights_are_what_is_used(account: Account) -> None:
    """Measured both ways, resources too: nothing was refused, and nothing is granted that was not asked for.

    Some rights are used by AWS itself in the function's name, which the emulator does without an identity.
    """
    assert [item for item in account.decisions() if not item[3]] == []
    for function in ("Hook", "Retire", "Sweep"):
        assert_role_is_used(account, function, Stack())


def assert_role_is_used(account: Account, function: str, stack: Stack) -> None:
    """Each right of a function's role was asked for."""
    itself = {"logs:CreateLogStream", "logs:PutLogEvents", "sqs:SendMessage"}
    role = stack.resources[f"{function}Role"]["Properties"]
    asked = {(action, arn) for name, action, arn, _ in account.decisions() if name == role["RoleName"]}
    for action, resource in statements(role["Policies"][0]["PolicyDocument"]):
        matching = [arn for name, arn in asked if name == action and fnmatch.fnmatchcase(arn, resource)]
        assert matching or action in itself, (function, action, resource)


# ---- the vending machine -------------------------------------------------------------------------------------------


def buy(outputs: dict[str, str], device: Device, csr: str, token: str) -> tuple[int, dict[str, Any]]:
    """Ask the vending machine by its address, which the emulator serves without TLS; return status and body."""
    host, _, path = outputs["VendingUrl"].partition("//")[2].partition("/")
    fields = {"serialNumber": device.serial, "registrationToken": token, "certificateSigningRequest": csr}
    url = f"http://127.0.0.1:{PORT}/_aws/execute-api/{host.partition('.')[0]}/$default/{path}"
    asked = urllib.request.Request(url, data=json.dumps(fields).encode(), method="POST")
    try:
        with urllib.request.urlopen(asked) as answer:  # noqa: S310 - as written here
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_the_vending_machine_sells_over_http(account: Account, template: str, tmp_path: Path) -> None:
    """A right, a wrong and a used token, and a lost answer's; by what its role is granted, no more and no less."""
    outputs = account.deploy(template, CodeBucket=BUCKET, Vending="on")
    first, second = signing_request("first"), signing_request("second")
    with armed(tmp_path, account, "0099") as device:
        assert buy(outputs, device, first, "guessed") == (403, {"code": 403, "message": vending.REFUSAL})
        assert buy(outputs, device, "nothing", device.token)[0] == 400
        status, sold = buy(outputs, device, first, device.token)
        assert (status, sold["thingName"]) == (200, "gw-0099")
        assert device.statuses() == {sold["certificateId"]: "ACTIVE"}
        assert buy(outputs, device, first, device.token) == (200, sold)
        also = buy(outputs, device, second, device.token)[1]["certificateId"]
        call(account, "retire", asking_by(sold["certificateId"], device.thing, also))
        assert buy(outputs, device, signing_request("third"), device.token)[0] == 403
    assert [item for item in account.decisions() if not item[3]] == []
    assert_role_is_used(account, "Vend", Stack(given={"Vending": "on"}))
    account.deploy(template, CodeBucket=BUCKET, Vending="off")
    assert buy(outputs, device, first, device.token)[0] == 404
    assert device.statuses() == {sold["certificateId"]: "ACTIVE", also: "INACTIVE"}, "what was sold stays"


# ---- audits --------------------------------------------------------------------------------------------------------


def test_what_device_defender_tells_reaches_the_function(account: Account, template: str) -> None:
    """By topic and queue; the emulator has no audits, so a message is told that names none, and is counted."""
    outputs = account.deploy(template, CodeBucket=BUCKET, Audits="on")
    account.client("sns").publish(TopicArn=outputs["AuditTopic"], Message=json.dumps({"auditDetails": []}))
    queue = account.client("sqs").get_queue_url(QueueName="iot-cert-audits")["QueueUrl"]
    for _ in range(1200):
        lines = [line for line in account.log("/aws/lambda/iot-cert-audit") if line.startswith("{")]
        if lines:
            break
        time.sleep(0.05)
    assert [json.loads(line)[names.Metric.FINDINGS_LEFT] for line in lines] == [1]
    wanted = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    waiting = account.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=wanted)["Attributes"]
    assert set(waiting.values()) == {"0"}
    account.deploy(template, CodeBucket=BUCKET, Audits="off")
    assert "AuditTopic" not in account.settled("COMPLETE")


# ---- the hook fails ------------------------------------------------------------------------------------------------


def replace_code(account: Account, code: str) -> None:
    """Put other code into the hook."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for package in ("agent/__init__.py", "agent/backend/__init__.py"):
            archive.writestr(package, "")
        archive.writestr(HANDLER, code)
    account.client("lambda").update_function_code(FunctionName="iot-cert-hook", ZipFile=packed.getvalue())


FAILURES = {
    "killed": "import os\ndef hook(event, context): os._exit(1)\n",
    "raising": "def hook(event, context): raise RuntimeError('no')\n",
    "garbage": "def hook(event, context): return {'allowProvisioning': {'perhaps': []}}\n",
    "slow": "import time\ndef hook(event, context): time.sleep(60)\n",
}


def test_a_hook_that_fails_costs_no_gateway_its_connection(account: Account, template: str, tmp_path: Path) -> None:
    """Killed, throttled, slow or answering garbage: the rotation is put off, the set in use stays, later it rotates."""
    account.deploy(template, CodeBucket=BUCKET)
    client = account.client("lambda")
    with armed(tmp_path, account, "0042") as device:
        device.run("enroll", expect=0)
        first = device.certificate_id()
        for name, code in FAILURES.items():
            replace_code(account, code)
            has = 1 if name == "slow" else PATIENT
            client.update_function_configuration(FunctionName="iot-cert-hook", Timeout=has)
            assert device.run("rotate").code in {1, 5}
            assert device.certificate_id() == first
        client.put_function_concurrency(FunctionName="iot-cert-hook", ReservedConcurrentExecutions=0)
        assert device.run("rotate").code in {1, 5}
        client.delete_function_concurrency(FunctionName="iot-cert-hook")
        client.update_function_configuration(FunctionName="iot-cert-hook", Timeout=PATIENT)
        (archive,) = (tmp_path / "dist").glob("*.zip")
        client.update_function_code(FunctionName="iot-cert-hook", S3Bucket=BUCKET, S3Key=archive.name)
        device.run("rotate", expect=0)
        assert device.statuses()[first] == "ACTIVE"
        device.run("retire", "--now", expect=0)
        assert {key: value for key, value in device.statuses().items() if value == "ACTIVE"} == {
            device.certificate_id(): "ACTIVE"
        }


# ---- deployed, changed, deleted, deployed again --------------------------------------------------------------------


def test_a_stack_that_is_deleted_cuts_no_gateway_off(account: Account, template: str, tmp_path: Path) -> None:
    """And deployed again over what was retained, it goes on: the same rows, the same policies.

    Before that, the one mistake that nothing but an emulator shows: with plain attachment no gateway gets through, and
    an update of the stack mends it.
    """
    add_policy(account, "telemetry", ("iot:Connect", "*"))
    assert EXCLUSIVE in template
    account.deploy(template.replace(EXCLUSIVE, ""), CodeBucket=BUCKET)
    with armed(tmp_path, account, "0042") as device:
        plain = device.run("enroll")
        assert plain.code != 0
        assert plainly_attached(f"{device.thing}-cert-agent", device.thing) in " ".join((plain.out + plain.err).split())
        account.deploy(template, CodeBucket=BUCKET, ApplicationPolicy1="telemetry")
        device.run("enroll", expect=0)
        assert "telemetry" in device.policies()

        account.delete()
        assert_it_connects(device)
        assert device.run("rotate").code in {1, 5}
        assert_it_connects(device)

        kept = json.loads((tmp_path / "dist" / "retained.json").read_text())
        listed = json.loads((tmp_path / "dist" / "retained-resources.json").read_text())
        account.change("IMPORT", TemplateBody=json.dumps(kept), ResourcesToImport=listed)
        account.deploy(template, CodeBucket=BUCKET, ApplicationPolicy1="telemetry")
        device.run("rotate", expect=0)
        device.run("retire", "--now", expect=0)
        assert_it_connects(device)
    rows = account.client("dynamodb").scan(TableName="iot-cert-devices")["Items"]
    assert {row["state"]["S"] for row in rows if row["serial"]["S"] == "0042"} == {"ENROLLED"}


def assert_it_connects(device: Device) -> None:
    """With the set in use, as the agent does, and with the rights that the agent needs."""
    looked = device.run("check", "connect", "permissions")
    assert looked.code == 0, looked.out
