"""What the stack's roles may do: real actions, on what AWS has for each, and nothing that could cut a gateway off."""

from __future__ import annotations

import itertools
import re

import pytest

from support.aws.cloudtools import known_actions
from support.aws.rights import ACTIONS, FOR_A_SIGNER
from support.aws.stack import Stack, statements

# No narrower resource: AWS has none for these, or had none until 2025, and some accounts go on asking for "*". A hook
# that may not list a certificate's things rotates no gateway, so the older rule counts.
UNSCOPED = {
    "iot:AttachThingPrincipal",
    "iot:CreateCertificateFromCsr",
    "iot:DetachThingPrincipal",
    "iot:ListAttachedPolicies",
    "iot:ListAuditFindings",
    "iot:ListCertificates",
    "iot:ListCertificatesByCA",
    "iot:ListPrincipalThings",
    "iot:ListThingPrincipals",
    "iot:RegisterCertificate",
}

# What AWS does as the role, not the function: its log, and the event that it gave up.
AWS_ITSELF = {
    "logs:CreateLogStream", "logs:PutLogEvents",
    "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:SendMessage",
}  # fmt: skip


PARTS = ("Vending", "Audits", "Signer")
CHOICES = [dict(zip(PARTS, choice, strict=True)) for choice in itertools.product(("off", "on"), repeat=len(PARTS))]
WHOLE = CHOICES[-1]


def rights(role: str, given: dict[str, str] = WHOLE) -> list[tuple[str, str]]:
    """Return the actions and resources of a role's own policy; none of a role that is not there."""
    found = Stack(given=given).resources.get(role)
    return statements(found["Properties"]["Policies"][0]["PolicyDocument"]) if found else []


NAMED_ALONE = {"AWS::DynamoDB::Table", "AWS::Lambda::Function", "AWS::SNS::Topic", "AWS::SQS::Queue"}
ROLES = ("HookRole", "RetireRole", "SweepRole", "VendRole", "AuditRole", "SignRole", "RuleRole", "DefenderRole")


@pytest.mark.parametrize("role", ROLES)
def test_each_action_exists_and_has_a_resource_of_its_kind(role: str) -> None:
    """A misspelt action, or one on a resource that it does not know, is refused only on the day it is needed."""
    for action, resource in rights(role):
        service, _, name = action.partition(":")
        kinds = known_actions()[service][name]
        if action in UNSCOPED:
            assert resource == "*", action
        else:
            assert any(_is(kind, resource) for kind in kinds), (action, resource, kinds)


def _is(kind: str, arn: str) -> bool:
    """Whether an ARN is of a kind of the Service Authorization Reference."""
    forms = {
        "function": r"arn:aws:lambda:eu-west-1:\d{12}:function:iot-cert-sign",
        "key": r"arn:aws:kms:eu-west-1:\d{12}:key/\*",  # by a condition; see test_cloud_template.py
        "job": r"arn:aws:iot:eu-west-1:\d{12}:job/iot-cert-rotate-\*",
        "cert": r"arn:aws:iot:eu-west-1:\d{12}:cert/\*",
        "index": r"arn:aws:dynamodb:eu-west-1:\d{12}:table/iot-cert-[a-z]+/index/[a-z]+",
        "log-group": r"arn:aws:logs:eu-west-1:\d{12}:log-group:/aws/lambda/iot-cert-[a-z]+:\*",
        "log-stream": r"arn:aws:logs:eu-west-1:\d{12}:log-group:/aws/lambda/iot-cert-[a-z]+:\*",
        "queue": r"arn:aws:sqs:eu-west-1:\d{12}:iot-cert-(dead-letters|audits)",
        "table": r"arn:aws:dynamodb:eu-west-1:\d{12}:table/iot-cert-[a-z]+",
        "thing": r"arn:aws:iot:eu-west-1:\d{12}:thing/\*",
        "topic": r"arn:aws:sns:eu-west-1:\d{12}:iot-cert-audits|"
        r"arn:aws:iot:eu-west-1:\d{12}:topic/iot-cert-agent/\*/retire/(accepted|rejected)",
    }
    return kind in forms and re.fullmatch(forms[kind], arn) is not None


@pytest.mark.parametrize("role", ROLES)
def test_nothing_is_allowed_by_a_pattern_of_actions(role: str) -> None:
    """Each is named."""
    assert not [action for action, _ in rights(role) if "*" in action]


def test_one_function_alone_can_deactivate_and_another_alone_can_delete() -> None:
    """The hook can do neither, so no mistake in it costs a gateway its certificate.

    AWS has one right for deactivating and activating; the vending machine has it for the latter, and is held to that by
    tests/unit/backend/test_lambdas.py.
    """
    deactivate = {"iot:UpdateCertificate"}
    delete = {"iot:DeleteCertificate", "iot:DetachThingPrincipal"}
    allowed = {role: {action for action, _ in rights(role)} for role in ROLES}
    assert {role for role in ROLES if allowed[role] & deactivate} == {"RetireRole", "VendRole"}
    assert {role for role in ROLES if allowed[role] & delete} == {"SweepRole"}


@pytest.mark.parametrize("function", ACTIONS)
def test_a_role_is_granted_what_its_function_asks_for(function: str) -> None:
    """To the letter; that the function asks for all of it, and for nothing else, is measured where it runs."""
    granted = {action for action, _ in rights(f"{function.title()}Role")}
    assert granted - AWS_ITSELF == ACTIONS[function]


@pytest.mark.parametrize("given", CHOICES, ids=lambda given: " ".join(name for name in PARTS if given[name] == "on"))
def test_a_part_that_is_switched_off_leaves_no_right_behind(given: dict[str, str]) -> None:
    """Of the roles that stay, none may do what is done for that part alone, or name a resource of it."""
    for function, actions in ACTIONS.items():
        granted = {action for action, _ in rights(f"{function.title()}Role", given)} - AWS_ITSELF
        wanted = actions - (FOR_A_SIGNER if given["Signer"] == "off" else frozenset())
        assert granted in (wanted, set()), function
    stack = Stack(given=given)
    there = {stack.attribute(name, "Arn") for name, item in stack.resources.items() if item["Type"] in NAMED_ALONE}
    for role in ROLES:
        for _, resource in rights(role, given):
            is_named = re.match(r"arn:aws:(dynamodb|lambda|sns|sqs):", resource) is not None
            assert not is_named or resource.partition("/index/")[0] in there, (role, resource)


def test_a_function_writes_its_own_log_alone() -> None:
    """And makes no group, which would be kept for ever."""
    for function in ("hook", "retire", "sweep", "vend", "audit", "sign"):
        logs = [pair for pair in rights(f"{function.title()}Role") if pair[0].startswith("logs:")]
        group = Stack().arn("logs") + f"log-group:/aws/lambda/iot-cert-{function}:*"
        assert logs == [("logs:CreateLogStream", group), ("logs:PutLogEvents", group)]


def test_the_provisioning_role_is_awss_own() -> None:
    """Roles made by hand have left certificates in PENDING_ACTIVATION; what is narrow is who may take it."""
    role = Stack(partition="aws-cn", region="cn-north-1").resources["ProvisioningRole"]["Properties"]
    assert role["ManagedPolicyArns"] == ["arn:aws-cn:iam::aws:policy/service-role/AWSIoTThingsRegistration"]
    assert "Policies" not in role
