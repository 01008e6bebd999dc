from __future__ import annotations

import json
from typing import Any

import pytest

from agent.fleet.decide.drift import needed_rights, of_drift, of_policies
from agent.fleet.decide.examination import Level
from support.aws.stack import Stack

NAMES = ["p-session", "p-rotation"]


def documents() -> list[dict[str, Any]]:
    """Return the documents of the template's two policies."""
    resources = Stack().resources
    return [resources[name]["Properties"]["PolicyDocument"] for name in ("SessionPolicy", "RotationPolicy")]


def judged(*found: dict[str, Any]) -> Level:
    """Return how bad documents are."""
    return of_policies(NAMES, [json.dumps(item) for item in found], "gateway-rotation").level


def test_the_templates_policies_are_fine() -> None:
    """Also where an operator has one policy that allows everything, which is wide but cuts no gateway off."""
    assert judged(*documents()) is Level.FINE
    assert judged({"Statement": {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}}) is Level.FINE


@pytest.mark.parametrize("number", range(len(needed_rights("gateway-rotation"))))
def test_a_policy_that_lacks_any_right_of_the_agent_is_an_error(number: int) -> None:
    """Each is needed on some day."""
    rights = needed_rights("gateway-rotation")
    del rights[number]
    allowed = [{"Effect": "Allow", "Action": action, "Resource": f"arn:aws:iot:r:1:{name}"} for action, name in rights]
    assert judged({"Statement": allowed}) is Level.ERROR


def test_what_is_denied_or_cannot_be_read() -> None:
    """A denial may be meant; what cannot be read allows nothing."""
    deny = {"Statement": [{"Effect": "Deny", "Action": "iot:Publish", "Resource": "*"}]}
    assert judged(*documents(), deny) is Level.WARNING
    for text in ("", "[]", "{}", '{"Statement": [7]}', '{"Statement": [{"Effect": "Allow"}]}'):
        assert of_policies(NAMES, [text], "gateway-rotation").level is Level.ERROR


def test_drift_is_as_grave_as_what_it_touches() -> None:
    """A policy that was changed cuts gateways off, an alarm does not; values are not repeated."""
    changed = {"PropertyPath": "/PolicyDocument/Statement/0", "ExpectedValue": "a", "ActualValue": "b"}
    found = of_drift(
        [
            {
                "LogicalResourceId": "SessionPolicy",
                "ResourceType": "AWS::IoT::Policy",
                "StackResourceDriftStatus": "MODIFIED",
                "PropertyDifferences": [changed],
            },
            {
                "LogicalResourceId": "HookSlow",
                "ResourceType": "AWS::CloudWatch::Alarm",
                "StackResourceDriftStatus": "DELETED",
            },
            {
                "LogicalResourceId": "Hook",
                "ResourceType": "AWS::Lambda::Function",
                "StackResourceDriftStatus": "UNKNOWN",
            },
        ],
        "iot-cert",
    )
    assert [item.level for item in found] == [Level.ERROR, Level.WARNING, Level.SKIPPED]
    assert "/PolicyDocument/Statement/0" in found[0].text
    assert "REVERT_DRIFT" in found[0].remedy
    assert [item.level for item in of_drift([], "iot-cert")] == [Level.FINE]
