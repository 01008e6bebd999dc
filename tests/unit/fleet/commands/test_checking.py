from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from agent.fleet.decide.own_ca import guarded
from support.aws.own_signer import make_ca, switched_on

if TYPE_CHECKING:
    from support.aws.fleet_account import Operator

SIGNER = "arn:aws:lambda:eu-west-1:123456789012:function:iot-cert-sign"
HOOK = "arn:aws:lambda:eu-west-1:123456789012:function:iot-cert-hook"
CERTIFICATE = {"Status": "ACTIVE", "ThingPrincipalType": "EXCLUSIVE_THING"}


def template(certificate: dict[str, str], hook: str = HOOK) -> dict[str, Any]:
    """Return what AWS says of a provisioning template."""
    policies = {
        name: {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": f"iot-cert-gateway-{name}"}}
        for name in ("session", "rotation")
    }
    made = {"certificate": {"Type": "AWS::IoT::Certificate", "Properties": certificate}}
    body = json.dumps({"Resources": {**policies, **made}})
    return {"enabled": True, "templateBody": body, "preProvisioningHook": {"targetArn": hook}}


@pytest.fixture(name="sound")
def _sound(operator: Operator) -> Operator:
    operator.answers("DescribeEndpoint", {"endpointAddress": "a-ats.iot.eu-west-1.amazonaws.com"})
    operator.answers("DescribeProvisioningTemplate", template(CERTIFICATE))
    operator.answers("DetectStackDrift", {"StackDriftDetectionId": "1"})
    operator.answers("DescribeStackDriftDetectionStatus", {"DetectionStatus": "DETECTION_COMPLETE"})
    operator.answers("DescribeStackResourceDrifts", {"StackResourceDrifts": []})
    allowed = {"Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}
    operator.answers("GetPolicy", {"policyDocument": json.dumps(allowed)})
    operator.answers("GetTopicRule", {"rule": {"ruleDisabled": False}})
    operator.answers("ListTargetsForPolicy", {"targets": ["arn:aws:iot:eu-west-1:123456789012:cert/x"]})
    things = {
        "thingIndexingMode": "REGISTRY_AND_SHADOW",
        "namedShadowIndexingMode": "ON",
        "filter": {"namedShadowNames": ["certificate"]},
    }
    operator.answers("GetIndexingConfiguration", {"thingIndexingConfiguration": things})
    operator.answers("ListMitigationActions", {"actionIdentifiers": []})
    operator.answers("DescribeAccountAuditConfiguration", {})
    operator.answers("GetStatistics", {"statistics": {"count": 12}})
    operator.answers("ListCertificateProviders", {"certificateProviders": []})
    return operator


def levels(operator: Operator) -> dict[str, str]:
    """Return the worst level of each look."""
    worst: dict[str, str] = {}
    for row in operator.rows("check"):
        if worst.get(row["what"]) != "error":
            worst[row["what"]] = row["level"]
    return worst


def test_a_sound_account_is_fine(sound: Operator) -> None:
    """And changed by nothing: only reading calls are made."""
    code, said = sound.runs("check")
    assert code == 0, said
    assert set(levels(sound).values()) == {"fine"}
    asked = {action.partition(":")[2] for action in sound.strict.asked}
    assert all(name.startswith(("Describe", "Detect", "Get", "List")) for name in asked)


def test_cloudformation_is_waited_for_and_not_for_ever(sound: Operator) -> None:
    """The other looks are made nevertheless."""
    running = {"DetectionStatus": "DETECTION_IN_PROGRESS"}
    sound.answers("DescribeStackDriftDetectionStatus", running, running, {"DetectionStatus": "DETECTION_COMPLETE"})
    assert levels(sound)["drift"] == "fine"
    assert len(sound.pauses) == 2
    sound.answers("DescribeStackDriftDetectionStatus", running)
    found = levels(sound)
    assert found.pop("drift") == "skipped"
    assert set(found.values()) == {"fine"}
    assert sum(sound.pauses) < 600


def test_a_policy_that_was_changed_by_other_means_is_an_error(sound: Operator) -> None:
    """Gateways would find out one by one."""
    sound.answers("GetPolicy", {"policyDocument": json.dumps({"Statement": []})})
    assert levels(sound)["policies"] == "error"


def test_a_plain_attachment_is_an_error(sound: Operator) -> None:
    """Every gateway would be refused."""
    sound.answers("DescribeProvisioningTemplate", template({"Status": "ACTIVE"}))
    code, said = sound.runs("check")
    assert code == 3
    assert "0x87" in said


def test_a_mitigation_that_would_cut_gateways_off_is_an_error(sound: Operator) -> None:
    """Also where it has not been applied yet."""
    sound.answers("ListMitigationActions", {"actionIdentifiers": [{"actionName": "off"}]})
    parameters = {"updateDeviceCertificateParams": {"action": "DEACTIVATE"}}
    sound.answers("DescribeMitigationAction", {"actionName": "off", "actionParams": parameters})
    assert levels(sound)["audit"] == "error"


def test_what_may_not_be_looked_at_is_said_and_keeps_no_other_from_being(sound: Operator) -> None:
    """It is neither fine nor a fault."""
    text = "User: u is not authorized to perform: iot:GetTopicRule on resource: x"
    sound.refuses("GetTopicRule", "UnauthorizedException", text, 401)
    code, said = sound.runs("check")
    assert code == 1
    assert "iot:GetTopicRule" in said
    found = levels(sound)
    assert found["retirement rule"] == "skipped"
    assert found["audit"] == "fine"


def test_another_certificate_provider_is_told(sound: Operator) -> None:
    """What gateways get is what it signs."""
    theirs = {"certificateProviderName": "theirs", "lambdaFunctionArn": "arn:aws:lambda:x:1:function:theirs"}
    sound.answers("ListCertificateProviders", {"certificateProviders": [theirs]})
    sound.answers("DescribeCertificateProvider", theirs)
    sound.answers("GetStackPolicy", {})
    code, said = sound.runs("check")
    assert code == 1
    assert "theirs is not this stack's" in said


def test_a_signer_whose_key_is_disabled_is_an_error(sound: Operator) -> None:
    """Gateways go on with what they have, and are told nothing."""
    ours = {"certificateProviderName": "iot-cert", "lambdaFunctionArn": SIGNER}
    sound.deploy(outputs={"SignerFunction": SIGNER})
    sound.answers("ListCertificateProviders", {"certificateProviders": [ours]})
    sound.answers("DescribeCertificateProvider", ours)
    sound.answers("DescribeCACertificate", {"certificateDescription": {"status": "ACTIVE"}})
    own = make_ca(sound.now)
    sound.world.store.save_signer(switched_on(own))
    sound.answers("GetStackPolicy", {})
    assert levels(sound)["signer"] == "warning", "nothing keeps it from a deployment"
    sound.answers("GetStackPolicy", {"StackPolicyBody": guarded("")})
    assert levels(sound)["signer"] == "fine"
    boto3.client("kms").disable_key(KeyId=own.key)
    code, said = sound.runs("check")
    assert code == 3
    assert "The key of CA 1 is Disabled" in said
