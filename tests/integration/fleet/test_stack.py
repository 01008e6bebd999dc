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
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from agent.backend import names
from agent.backend.decide import census, vending
from agent.core.aws.client_ids import plainly_attached
from support.aws.moto_account import signing_request
from support.aws.stack import ACCOUNT, Stack, statements
from support.emulator.account import BUCKET, PATIENT, PORT, account_with_code
from support.emulator.device import armed
from support.emulator.device_life import (
    add_policy,
    asking_by,
    assert_a_replaced_device_is_retired,
    assert_a_retired_certificate_gets_nothing,
    assert_only_the_right_token_enrols,
    assert_other_programs_go_on,
    assert_the_sweep_deletes,
    assert_the_token_is_spent,
    call,
)
from support.emulator.fleet_operator import Administrator
from support.suite import campaigns

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.emulator.account import Account
    from support.emulator.device import Device

pytestmark = pytest.mark.root

HANDLER = "agent/backend/lambdas.py"
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


class Deployed(NamedTuple):
    """A stack with all that it may have."""

    account: Account
    template: str
    outputs: dict[str, str]

    def without(self, **parameters: str) -> None:
        """Deploy it without something."""
        self.account.deploy(self.template, CodeBucket=BUCKET, **{"Vending": "on", "Audits": "on"} | parameters)


def test_gateways_live_in_the_account_until_its_stack_is_deleted_and_after(
    account: Account, template: str, tmp_path: Path
) -> None:
    """One account, one deployment, a device for each: rotation, vending, audits, a hook that fails, the stack's end."""
    outputs = account.deploy(template, CodeBucket=BUCKET, Vending="on", Audits="on")
    deployed = Deployed(account, template, outputs)
    a_gateway_lives_its_life(account, tmp_path)
    the_vending_machine_sells_over_http(deployed, tmp_path)
    what_device_defender_tells_reaches_the_function(deployed)
    a_hook_that_fails_costs_no_gateway_its_connection(account, tmp_path)
    a_stack_that_is_deleted_cuts_no_gateway_off(account, template, tmp_path)


def a_gateway_lives_its_life(account: Account, tmp_path: Path) -> None:
    """Enrolment with the right token alone, rotation that keeps an application's rights, retirement, deletion.

    And of all that, each role was granted what it asked for, and asked for what it is granted.
    """
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


def assert_a_change_by_other_means_is_named(account: Account) -> None:
    """By CloudFormation's drift detection, which compares functions here, and policies on AWS alone."""
    before = drifted()
    account.client("lambda").update_function_configuration(FunctionName="iot-cert-hook", Timeout=PATIENT + 1)
    assert drifted() - before == {"error: Hook (AWS::Lambda::Function) was changed by other means: /Timeout."}
    account.client("lambda").update_function_configuration(FunctionName="iot-cert-hook", Timeout=PATIENT)


def drifted() -> set[str]:
    """Return what `iot-cert cloud check` says of drift."""
    return {f"{row['level']}: {row['text']}" for row in Administrator().rows("check") if row["what"] == "drift"}


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
    code, said = Administrator().runs(*words, "--directory", str(tmp_path / "trial"))
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


def the_vending_machine_sells_over_http(deployed: Deployed, tmp_path: Path) -> None:
    """A right, a wrong and a used token, and a lost answer's; by what its role is granted, no more and no less."""
    account, _, outputs = deployed
    first, second = signing_request("first"), signing_request("second")
    with armed(tmp_path, account, "0098") as device:
        assert buy(outputs, device, first, "guessed") == (403, {"code": 403, "message": vending.REFUSAL})
        assert buy(outputs, device, "nothing", device.token)[0] == 400
        status, sold = buy(outputs, device, first, device.token)
        assert (status, sold["thingName"]) == (200, "gw-0098")
        assert device.statuses() == {sold["certificateId"]: "ACTIVE"}
        assert buy(outputs, device, first, device.token) == (200, sold)
        also = buy(outputs, device, second, device.token)[1]["certificateId"]
        call(account, "retire", asking_by(sold["certificateId"], device.thing, also))
        assert buy(outputs, device, signing_request("third"), device.token)[0] == 403
    assert [item for item in account.decisions() if not item[3]] == []
    assert_role_is_used(account, "Vend", Stack(given={"Vending": "on"}))
    deployed.without(Vending="off")
    assert buy(outputs, device, first, device.token)[0] == 404
    assert device.statuses() == {sold["certificateId"]: "ACTIVE", also: "INACTIVE"}, "what was sold stays"


# ---- audits --------------------------------------------------------------------------------------------------------


def what_device_defender_tells_reaches_the_function(deployed: Deployed) -> None:
    """By topic and queue; the emulator has no audits, so a message is told that names none, and is counted."""
    account, _, outputs = deployed
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
    deployed.without(Audits="off")
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


def a_hook_that_fails_costs_no_gateway_its_connection(account: Account, tmp_path: Path) -> None:
    """Killed, throttled, slow or answering garbage: the rotation is put off, the set in use stays, later it rotates."""
    client = account.client("lambda")
    with armed(tmp_path, account, "0097") as device:
        device.run("enroll", expect=0)
        first = device.certificate_id()
        for name in campaigns.take(list(FAILURES), 2):
            replace_code(account, FAILURES[name])
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


def a_stack_that_is_deleted_cuts_no_gateway_off(account: Account, template: str, tmp_path: Path) -> None:
    """And deployed again over what was retained, it goes on: the same rows, the same policies.

    Before that, the one mistake that nothing but an emulator shows: with plain attachment no gateway gets through, and
    an update of the stack mends it.
    """
    add_policy(account, "readings", ("iot:Connect", "*"))
    assert EXCLUSIVE in template
    account.deploy(template.replace(EXCLUSIVE, ""), CodeBucket=BUCKET)
    with armed(tmp_path, account, "0042") as device:
        plain = device.run("enroll")
        assert plain.code != 0
        assert plainly_attached(f"{device.thing}-cert-agent", device.thing) in " ".join((plain.out + plain.err).split())
        account.deploy(template, CodeBucket=BUCKET, ApplicationPolicy1="readings")
        device.run("enroll", expect=0)
        assert "readings" in device.policies()

        account.delete()
        assert_it_connects(device)
        assert device.run("rotate").code in {1, 5}
        assert_it_connects(device)

        kept = json.loads((tmp_path / "dist" / "retained.json").read_text())
        listed = json.loads((tmp_path / "dist" / "retained-resources.json").read_text())
        account.change("IMPORT", TemplateBody=json.dumps(kept), ResourcesToImport=listed)
        account.deploy(template, CodeBucket=BUCKET, ApplicationPolicy1="readings")
        device.run("rotate", expect=0)
        device.run("retire", "--now", expect=0)
        assert_it_connects(device)
    rows = account.client("dynamodb").scan(TableName="iot-cert-devices")["Items"]
    assert {row["state"]["S"] for row in rows if row["serial"]["S"] == "0042"} == {"ENROLLED"}


def assert_it_connects(device: Device) -> None:
    """With the set in use, as the agent does, and with the rights that the agent needs."""
    looked = device.run("check", "connect", "permissions")
    assert looked.code == 0, looked.out
