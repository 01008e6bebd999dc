from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agent.fleet.decide import examination as look
from agent.fleet.decide.examination import Level
from support.make import DAY, HOUR

if TYPE_CHECKING:
    from datetime import timedelta


@pytest.mark.parametrize(
    ("status", "level"),
    [
        ("CREATE_COMPLETE", Level.FINE),
        ("UPDATE_COMPLETE", Level.FINE),
        ("IMPORT_COMPLETE", Level.FINE),
        ("UPDATE_IN_PROGRESS", Level.WARNING),
        ("UPDATE_ROLLBACK_COMPLETE", Level.ERROR),
        ("DELETE_FAILED", Level.ERROR),
    ],
)
def test_a_stacks_status(status: str, level: Level) -> None:
    """A rolled back update is the stack of before, and the operator thinks otherwise."""
    assert look.of_stack(status, {}).level is level


@pytest.mark.parametrize(
    ("address", "level"),
    [
        ("a1-ats.iot.eu-west-1.amazonaws.com", Level.FINE),
        ("a1.iot.eu-west-1.amazonaws.com", Level.ERROR),
        ("a1.ats.iot.cn-north-1.amazonaws.com.cn", Level.FINE),
    ],
)
def test_an_endpoint(address: str, level: Level) -> None:
    """China's have another form."""
    assert look.of_endpoint(address).level is level


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"Resources": 7}', '{"Resources": {"x": {}}}'])
def test_a_template_of_any_shape_is_an_error_and_no_defect(body: str) -> None:
    """Another tool may have written it."""
    found = look.of_template("gateway", {"templateBody": body}, ["p"], "hook")
    assert {finding.level for finding in found} == {Level.ERROR}


def test_another_hook_is_an_error() -> None:
    """It decides who is let in."""
    template = {"enabled": True, "preProvisioningHook": {"targetArn": "arn:x:function:other"}}
    assert any("other" in finding.text for finding in look.of_template("g", template, [], "hook"))


@pytest.mark.parametrize(
    ("things", "level"),
    [
        ({}, Level.WARNING),
        ({"thingIndexingMode": "REGISTRY"}, Level.WARNING),
        ({"thingIndexingMode": "REGISTRY", "namedShadowIndexingMode": "ON"}, Level.WARNING),
    ],
)
def test_indexing_without_the_agents_shadow(things: dict[str, Any], level: Level) -> None:
    """Named shadows have to be named."""
    assert look.of_indexing({"thingIndexingConfiguration": things}).level is level


def test_rules_claims_audits_and_sizes() -> None:
    """Each with what helps."""
    assert look.of_rule({"ruleDisabled": True}).level is Level.WARNING
    assert look.of_claims("p", ["arn:aws:iot:r:1:thinggroup/x"]).level is Level.WARNING
    shared = {"auditCheckConfigurations": {"DEVICE_CERTIFICATE_SHARED_CHECK": {"enabled": True}}}
    assert [finding.level for finding in look.of_audit(shared, [])] == [Level.WARNING]
    assert [finding.level for finding in look.of_size(1000)] == [Level.FINE]
    assert {finding.level for finding in look.of_size(10**7)} == {Level.WARNING}
    assert len(look.of_size(10**7)) == 2


@pytest.mark.parametrize(
    ("lifetime", "calm", "after"),
    [(HOUR, 2850, 300), (DAY, 68_400, 7200), (7 * DAY, 478_800, 478_800), (90 * DAY, 11_340_000, 3_153_600)],
)
def test_how_many_gateways_the_quotas_bear_at_a_lifetime(lifetime: timedelta, calm: int, after: int) -> None:
    """Two renewals a second: spread over the whole time between two of them, or before the first certificate ends."""
    said = look.of_lives(after, lifetime)

    assert f"enough for {calm} gateways" in said.text
    assert f"and for {after} where" in said.text
    assert said.level is Level.FINE
    assert look.of_lives(after + 1, lifetime).level is Level.WARNING


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"updateDeviceCertificateParams": {"action": "DEACTIVATE"}}, "the gateway is cut off"),
        ({"replaceDefaultPolicyVersionParams": {"templateName": "BLANK_POLICY"}}, "it cuts all off"),
        ({"updateCACertificateParams": {"action": "DEACTIVATE"}}, "no gateway gets a certificate"),
    ],
)
def test_a_mitigation_that_would_cut_gateways_off(parameters: dict[str, object], says: str) -> None:
    """By name, with what it would do."""
    (finding,) = look.of_audit({}, [{"actionName": "mend", "actionParams": parameters}])
    assert finding.level is Level.ERROR
    assert "mend" in finding.text
    assert says in finding.text


@pytest.mark.parametrize(
    "parameters",
    [
        {"publishFindingToSnsParams": {"topicArn": "arn:aws:sns:r:1:t"}},
        {"enableIoTLoggingParams": {"logLevel": "INFO"}},
        {"addThingsToThingGroupParams": {"thingGroupNames": ["look"]}},
    ],
)
def test_a_mitigation_that_does_gateways_no_harm(parameters: dict[str, object]) -> None:
    """It is the operator's."""
    assert look.of_audit({}, [{"actionName": "tell", "actionParams": parameters}])[0].level is Level.FINE


@pytest.mark.parametrize(
    ("target", "level"),
    [
        ({}, Level.WARNING),
        ({"SNS": {"targetArn": "arn:other", "enabled": True}}, Level.WARNING),
        ({"SNS": {"targetArn": "arn:topic", "enabled": False}}, Level.WARNING),
        ({"SNS": {"targetArn": "arn:topic", "enabled": True}}, Level.FINE),
    ],
)
def test_audits_that_the_stack_does_not_hear_of(target: dict[str, object], level: Level) -> None:
    """It was deployed to answer them; a stack without that is not asked."""
    told = {"auditNotificationTargetConfigurations": target}
    assert look.of_audit(told, [], "arn:topic")[0].level is level
    assert look.of_audit(told, [])[0].level is Level.FINE
