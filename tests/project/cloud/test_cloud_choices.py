"""The vending machine, the signer and the answers to audits: in the stack where they are wanted, and nowhere else."""

from __future__ import annotations

import re

from agent.backend import names, settings
from agent.backend.decide import vending
from support.aws.stack import Stack, statements


# ---- the vending machine -------------------------------------------------------------------------------------------
def test_there_is_no_vending_machine_unless_one_is_wanted() -> None:
    """No address on the internet, no function and no role; and what outlives the stack is the same."""
    without, with_one = Stack(), Stack(given={"Vending": "on"})
    added = set(with_one.resources) - set(without.resources)
    assert {name for name in with_one.resources if name.startswith("Vend")} == added
    assert not [name for name in added if "DeletionPolicy" in with_one.resources[name]]
    assert {without.template["Resources"][name].get("Condition") for name in added} == {"HasVending"}
    assert without.template["Outputs"]["VendingUrl"]["Condition"] == "HasVending"
    assert "vend" not in without.resources["Dashboard"]["Properties"]["DashboardBody"].lower().replace("vendingput", "")
    assert "SOURCE '/aws/lambda/iot-cert-vend'" in with_one.resources["Dashboard"]["Properties"]["DashboardBody"]


def test_the_vending_machine_has_one_way_in_and_a_throttle(stack: Stack) -> None:
    """One path and method, a function behind it, and room for ten times what one address is heard."""
    route = stack.resources["VendRoute"]["Properties"]
    assert route["RouteKey"] == "POST /v1/certificates"
    assert stack.resources["VendIntegration"]["Properties"] == {
        "ApiId": "iot-cert-vend",
        "IntegrationType": "AWS_PROXY",
        "IntegrationUri": stack.arn("lambda") + "function:iot-cert-vend",
        "PayloadFormatVersion": "2.0",
    }
    (settings_of_all,) = [item["DefaultRouteSettings"] for item in stack.of_type("AWS::ApiGatewayV2::Stage").values()]
    one_address = vending.MOST_REQUESTS / vending.REQUESTS_SPAN.total_seconds()
    assert settings_of_all["ThrottlingRateLimit"] > 10 * one_address
    assert stack.resolve(stack.template["Outputs"]["VendingUrl"]["Value"]).endswith("/v1/certificates")


# ---- the signer ----------------------------------------------------------------------------------------------------
def test_there_is_no_signer_unless_one_is_wanted() -> None:
    """And where there is one, it signs for no gateway before AWS IoT is told to ask it, which no stack does."""
    without, with_one = Stack(), Stack(given={"Signer": "on"})
    added = set(with_one.resources) - set(without.resources)
    assert {name for name in with_one.resources if name.startswith("Sign")} == added
    assert {without.template["Resources"][name].get("Condition") for name in added} == {"HasSigner"}
    told = {name: item.resources["Vend"]["Properties"]["Environment"]["Variables"] for name, item in _vending().items()}
    assert {name: item[names.Variable.SIGNER_FUNCTION] for name, item in told.items()} == {
        "off": "",
        "on": "iot-cert-sign",
    }
    assert not with_one.of_type("AWS::KMS::Key"), "a CA's key outlives every stack"


def _vending() -> dict[str, Stack]:
    return {signer: Stack(given={"Vending": "on", "Signer": signer}) for signer in ("off", "on")}


def test_the_signer_is_done_in_the_time_that_aws_waits(stack: Stack) -> None:
    """Five seconds, of which a library's start is a part; its zip has that library for one kind of processor."""
    signer = stack.resources["Sign"]["Properties"]
    assert signer["Timeout"] == 5
    assert signer["MemorySize"] >= 1024
    assert signer["Architectures"] == ["x86_64"]
    assert stack.template["Resources"]["Sign"]["Properties"]["Code"]["S3Key"] == {"Ref": "SignerCodeKey"}


def test_the_functions_run_on_what_the_code_says(stack: Stack) -> None:
    """`agent.backend.names` is where their runtime is read of."""
    runtimes = {item["Runtime"] for item in stack.of_type("AWS::Lambda::Function").values()}
    assert set(re.findall(r"python[\d.]+", str(names.__doc__))) == runtimes


def test_the_signer_uses_the_stacks_own_keys_and_for_certificates_alone(stack: Stack) -> None:
    """By their tag, which `iot-cert cloud ca` gives them: a key's own policy would name a role that is made anew."""
    (policy,) = stack.resources["SignRole"]["Properties"]["Policies"]
    (statement,) = [item for item in policy["PolicyDocument"]["Statement"] if item["Action"] == "kms:Sign"]
    assert statement["Condition"] == {
        "StringEquals": {
            f"aws:ResourceTag/{names.KEY_TAG}": "iot-cert",
            "kms:MessageType": "DIGEST",
            "kms:SigningAlgorithm": "RSASSA_PKCS1_V1_5_SHA_256",
        }
    }


def test_a_life_is_a_day_at_least() -> None:
    """By the template and by the code that reads it."""
    asked = Stack().template["Parameters"]["LifetimeHours"]
    assert (asked["Default"], asked["MinValue"]) == (24, settings.SHORTEST_LIFE)


# ---- audits --------------------------------------------------------------------------------------------------------
def test_audits_are_not_answered_unless_that_is_wanted() -> None:
    """No topic, no queue, no function and no role; and what outlives the stack is the same."""
    without, with_them = Stack(), Stack(given={"Audits": "on"})
    added = set(with_them.resources) - set(without.resources)
    assert {without.template["Resources"][name].get("Condition") for name in added} == {"HasAudits"}
    assert {name for name in with_them.resources if "Audit" in name} < added
    assert not [name for name in added if "DeletionPolicy" in with_them.resources[name]]
    source = "SOURCE '/aws/lambda/iot-cert-audit'"
    assert source not in without.resources["Dashboard"]["Properties"]["DashboardBody"]
    assert source in with_them.resources["Dashboard"]["Properties"]["DashboardBody"]


def test_an_audits_message_is_delivered_until_it_is_answered(stack: Stack) -> None:
    """To one function at a time, not again while that works, and to the queue of what was given up in the end."""
    queue = stack.resources["AuditQueue"]["Properties"]
    assert queue["VisibilityTimeout"] >= 6 * stack.resources["Audit"]["Properties"]["Timeout"]
    assert queue["RedrivePolicy"]["deadLetterTargetArn"] == stack.arn("sqs") + "iot-cert-dead-letters"
    source = stack.resources["AuditSource"]["Properties"]
    assert source["FunctionName"] == stack.arn("lambda") + "function:iot-cert-audit"
    assert (source["EventSourceArn"], source["BatchSize"]) == (stack.arn("sqs") + "iot-cert-audits", 1)


def test_only_the_stacks_topic_writes_to_the_queue_of_audits(stack: Stack) -> None:
    """And only AWS IoT, of this account, takes the role that writes to the topic."""
    topic = stack.arn("sns") + "iot-cert-audits"
    (statement,) = stack.resources["AuditQueuePolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "sns.amazonaws.com"}
    assert statement["Condition"] == {"ArnEquals": {"aws:SourceArn": topic}}
    assert stack.resources["AuditSubscription"]["Properties"]["TopicArn"] == topic
    (policy,) = stack.resources["DefenderRole"]["Properties"]["Policies"]
    assert statements(policy["PolicyDocument"]) == [("sns:Publish", topic)]
