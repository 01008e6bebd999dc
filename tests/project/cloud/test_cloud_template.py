"""The stack's template: what no linter knows of AWS IoT, and what it has in common with the code that it runs."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
from typing import Any

import pytest

from agent.backend import names, settings
from agent.backend.decide.orders import JobOrder
from agent.backend.decide.rotation import MOST_POLICIES as MOST
from agent.core.aws import topics
from agent.core.report import jobs
from agent.sandbox.account.policies import THING_NAME, allows
from support.aws.stack import ACCOUNT, PLACES, ROOT, TEMPLATE, Stack, statements, worst

POLICY_LIMIT = 2048  # characters of an IoT policy, white space aside
BODY_LIMIT = 10_240  # characters of a provisioning template's body
BUCKET_LIMIT = 1_000_000  # bytes of a template that CloudFormation takes from a bucket
FUNCTIONS = {"Hook": "hook", "Retire": "retire", "Sweep": "sweep", "Vend": "vend", "Audit": "audit", "Sign": "sign"}
IOT_POLICIES = ["SessionPolicy", "RotationPolicy", "ClaimPolicy"]


def body(stack: Stack, template: str) -> dict[str, Any]:
    """Return what a provisioning template says."""
    found: dict[str, Any] = json.loads(stack.resources[template]["Properties"]["TemplateBody"])
    return found


def compact(value: object) -> str:
    """Return JSON as AWS counts it."""
    return json.dumps(value, separators=(",", ":"))


# ---- sizes and names -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("region", PLACES.values())
def test_everything_fits_with_the_longest_names(region: str) -> None:
    """In each partition's region of the longest name, with the longest names that the parameters take."""
    (stack,) = [item for item in worst() if item.region == region]
    stack.given |= {f"ApplicationPolicy{number}": "a" * 128 for number in range(1, 9)}
    for name, policy in stack.of_type("AWS::IoT::Policy").items():
        assert len(compact(policy["PolicyDocument"])) <= POLICY_LIMIT, name
        assert len(policy["PolicyName"]) <= 128
    for name, template in stack.of_type("AWS::IoT::ProvisioningTemplate").items():
        assert len(template["TemplateBody"]) <= BODY_LIMIT, name
        assert re.fullmatch(r"[0-9A-Za-z_-]{1,36}", template["TemplateName"])
    for role in stack.of_type("AWS::IAM::Role").values():
        assert re.fullmatch(r"[\w+=,.@-]{1,64}", role["RoleName"])
    for function in stack.of_type("AWS::Lambda::Function").values():
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", function["FunctionName"])
    for job in stack.of_type("AWS::IoT::JobTemplate").values():
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", job["JobTemplateId"])
    for rule in stack.of_type("AWS::IoT::TopicRule").values():
        assert re.fullmatch(r"[a-zA-Z0-9_]{1,128}", rule["RuleName"])


def test_both_policies_of_a_gateway_in_one_would_not_fit() -> None:
    """Why there are two: what one policy with all of it would be."""
    (stack,) = [item for item in worst() if item.partition == "aws-us-gov"]
    session, rotation = (stack.resources[name]["Properties"]["PolicyDocument"] for name in IOT_POLICIES[:2])
    assert len(compact(session | {"Statement": session["Statement"] + rotation["Statement"]})) > POLICY_LIMIT


def test_cloudformation_takes_the_template_from_a_bucket() -> None:
    """It is too long for a request, so each command that a page gives for it names a bucket."""
    assert TEMPLATE.stat().st_size <= BUCKET_LIMIT
    commands = [
        command
        for page in (ROOT / "docs").glob("*.md")
        for command in page.read_text().replace("\\\n", "").splitlines()
        if "--template-file dist/cloud/template.yaml" in command
    ]
    assert commands
    assert [command for command in commands if "--s3-bucket BUCKET" not in command] == []


def test_every_name_begins_with_the_prefix() -> None:
    """So two stacks live side by side in one account and region; the agent's configuration names the two templates."""
    stack = Stack(given={"Prefix": "depot-7"})
    named = re.compile(r"(Name|JobTemplateId)$")
    for logical, item in stack.resources.items():
        for key, value in item["Properties"].items():
            reference = item["Type"] in {"AWS::Lambda::Permission", "AWS::Lambda::EventInvokeConfig"}
            if named.search(key) and not reference and key not in {"TemplateName", "MetricName"}:
                bare = value.removeprefix("/aws/lambda/").replace("_", "-")
                assert bare.startswith("depot-7-"), (logical, key, value)


# ---- certificates --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("template", ["Enrolment", "Rotation"])
def test_a_certificate_is_attached_exclusively_and_is_asked_about(stack: Stack, template: str) -> None:
    """Otherwise the thing's name resolves for no client id but its own, and the agent's is refused everywhere."""
    certificate = body(stack, template)["Resources"]["certificate"]["Properties"]
    assert certificate["ThingPrincipalType"] == "EXCLUSIVE_THING"
    assert certificate["Status"] == "ACTIVE"
    made = stack.resources[template]
    assert made["Properties"]["PreProvisioningHook"]["TargetArn"] == stack.arn("lambda") + "function:iot-cert-hook"
    assert made["Properties"]["TemplateType"] == "FLEET_PROVISIONING"
    assert {"SessionPolicy", "RotationPolicy"} < set(made["DependsOn"])


@pytest.mark.parametrize("template", ["Enrolment", "Rotation"])
def test_a_template_keeps_what_a_thing_has(stack: Stack, template: str) -> None:
    """Attributes, type and groups are the operator's."""
    thing = body(stack, template)["Resources"]["thing"]
    merged = {"AttributePayload": "MERGE", "ThingTypeName": "DO_NOTHING", "ThingGroups": "DO_NOTHING"}
    assert thing["OverrideSettings"] == merged
    assert thing["Properties"] == {"ThingName": {"Ref": "ThingName"}}


@pytest.mark.parametrize("template", ["Enrolment", "Rotation"])
def test_a_template_declares_what_it_refers_to_and_what_is_sent(stack: Stack, template: str) -> None:
    """What the hook alone sets is declared too; a reference to anything else fails at each registration."""
    found = body(stack, template)
    referred = set(re.findall(r'"Ref":"([^"]+)"', compact(found["Resources"])))
    sent = {names.SERIAL_PARAMETER, names.TOKEN_PARAMETER} if template == "Enrolment" else set()
    assert set(found["Parameters"]) == referred | sent | {names.THING_PARAMETER}


@pytest.mark.parametrize("number", [0, 1, 3, 8])
def test_application_policies_are_in_both_templates_and_told_to_the_hook(number: int) -> None:
    """Up to eight, because AWS attaches ten and two are the agent's; a ninth has no parameter."""
    wanted = [f"application-{item}" for item in range(number)]
    stack = Stack(given={f"ApplicationPolicy{item}": name for item, name in enumerate(wanted, 1)})
    own = ["iot-cert-gateway-session", "iot-cert-gateway-rotation"]
    for template in ("Enrolment", "Rotation"):
        resources = body(stack, template)["Resources"].values()
        attached = [item["Properties"]["PolicyName"] for item in resources if item["Type"] == "AWS::IoT::Policy"]
        assert attached == own + wanted
    environment = stack.resources["Hook"]["Properties"]["Environment"]["Variables"]
    fixed = {names.Variable.RE_ENROL: "armed", names.Variable.LIFETIME: "24"}
    known = {str(item): "1" for item in names.Variable} | fixed
    assert settings.read(known | environment).own_policies == set(own + wanted)
    assert len([name for name in stack.template["Parameters"] if name.startswith("ApplicationPolicy")]) == MOST - 2


# ---- what outlives the stack ---------------------------------------------------------------------------------------
def test_what_gateways_need_outlives_the_stack(stack: Stack) -> None:
    """Their policies and what is known of them: whether the stack is deleted, or a name in it is changed."""
    needed = {"AWS::IoT::Policy", "AWS::DynamoDB::Table"}
    for name, item in stack.resources.items():
        retained = (item.get("DeletionPolicy"), item.get("UpdateReplacePolicy"))
        assert retained == (("Retain", "Retain") if item["Type"] in needed else (None, None)), name


def test_what_outlives_the_stack_is_found_again_by_its_name(stack: Stack) -> None:
    """A generated name would be another one the next time."""
    for name, item in stack.resources.items():
        if item.get("DeletionPolicy") == "Retain":
            assert {"TableName", "PolicyName"} & set(item["Properties"]), name


def test_tables_are_protected_from_a_slip(stack: Stack) -> None:
    """Point-in-time recovery, protection from deletion, and rows that end by themselves."""
    for table in stack.of_type("AWS::DynamoDB::Table").values():
        assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        assert table["DeletionProtectionEnabled"] is True
        assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    (index,) = stack.resources["Certificates"]["Properties"]["GlobalSecondaryIndexes"]
    assert index["IndexName"] == names.DUE_INDEX
    assert [key["AttributeName"] for key in index["KeySchema"]] == ["due", "delete_after"]


# ---- what a gateway may do -----------------------------------------------------------------------------------------
def granted(stack: Stack, action: str, *policies: str) -> tuple[str, ...]:
    """Return what an action is allowed on by IoT policies, without the account's part of each ARN."""
    pairs = [pair for name in policies for pair in statements(stack.resources[name]["Properties"]["PolicyDocument"])]
    start = stack.arn("iot")
    assert all(resource.startswith(start) for _, resource in pairs)
    return tuple(resource.removeprefix(start) for found, resource in pairs if found == action)


def test_a_gateway_may_do_what_the_agent_does(stack: Stack) -> None:
    """Every topic of the agent's code, as the client id that the agent has, and no other client id."""
    thing, policies = "gw-0042", ("SessionPolicy", "RotationPolicy")

    def may(action: str, resource: str) -> bool:
        patterns = granted(stack, action, *policies)
        return allows(patterns, resource, client_id=f"{thing}-cert-agent", thing_name=thing)

    job = (topics.job(thing, "job-1"), topics.job_update(thing, "job-1"))
    heard = [*topics.needed(thing, "gateway-rotation"), *(answer for topic in job for answer in topics.answers(topic))]
    for topic in heard:
        assert may("iot:Subscribe", f"topicfilter/{topic}"), topic
        assert may("iot:Receive", f"topic/{topic}"), topic
    asked = [topic.removesuffix("/accepted") for topic in heard if topic.endswith("/accepted")]
    for topic in asked:
        assert may("iot:Publish", f"topic/{topic}"), topic
    assert len(granted(stack, "iot:Publish", *policies)) == len(asked)
    assert granted(stack, "iot:Connect", *policies) == (f"client/{THING_NAME}-cert-agent",)


@pytest.mark.parametrize(
    "topic",
    [
        "iot-cert-agent/gw-0042/retire/accepted",
        "iot-cert-agent/gw-0043/retire",
        "$aws/provisioning-templates/gateway/provision/json",
        "$aws/things/gw-0043/shadow/name/certificate/update",
        "$aws/things/gw-0042/shadow/update",
        "gateways/gw-0042/telemetry",
    ],
)
def test_a_gateway_may_publish_nothing_else(stack: Stack, topic: str) -> None:
    """No answer to itself, nothing of another gateway, and nothing that belongs to an application."""
    patterns = granted(stack, "iot:Publish", "SessionPolicy", "RotationPolicy")
    assert not allows(patterns, f"topic/{topic}", client_id="gw-0042-cert-agent", thing_name="gw-0042")


def test_a_claim_reaches_one_template(stack: Stack) -> None:
    """It asks for a certificate and for enrolment; it can neither rotate nor retire."""
    asked = {"topic/$aws/certificates/create-from-csr/json", "topic/$aws/provisioning-templates/gateway/provision/json"}
    assert set(granted(stack, "iot:Publish", "ClaimPolicy")) == asked
    answers = {f"{topic}/*" for topic in asked}
    assert set(granted(stack, "iot:Receive", "ClaimPolicy")) == answers
    filters = {answer.replace("topic/", "topicfilter/", 1) for answer in answers}
    assert set(granted(stack, "iot:Subscribe", "ClaimPolicy")) == filters


# ---- the functions -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("logical", "name"), FUNCTIONS.items())
def test_a_function_runs_what_there_is_with_what_it_reads(stack: Stack, logical: str, name: str) -> None:
    """Its handler exists, and its environment is what the code asks for, no more and no less."""
    function = stack.resources[logical]["Properties"]
    module, _, attribute = function["Handler"].rpartition(".")
    assert callable(getattr(importlib.import_module(module), attribute))
    assert attribute == name
    assert set(function["Environment"]["Variables"]) == {str(item) for item in names.Variable}


def test_every_function_is_told_the_same(stack: Stack) -> None:
    """A hook and a sweep that disagree about what is kept would be worse than either."""
    told = [item["Environment"]["Variables"] for item in stack.of_type("AWS::Lambda::Function").values()]
    assert len(told) == len(FUNCTIONS)
    assert told[1:] == told[:-1]
    assert told[0][names.Variable.CERTIFICATE_ARN] == stack.arn("iot") + "cert/"
    assert told[0][names.Variable.DEVICES] == "iot-cert-devices"
    assert told[0][names.Variable.CERTIFICATES] == "iot-cert-certificates"


def test_the_hook_is_done_in_the_time_that_aws_waits(stack: Stack) -> None:
    """Five seconds; and a retirement is over before its lease is."""
    assert stack.resources["Hook"]["Properties"]["Timeout"] == 5
    assert stack.resources["Hook"]["Properties"]["MemorySize"] >= 1024
    assert stack.resources["Retire"]["Properties"]["Timeout"] < names.LEASE.total_seconds()


@pytest.mark.parametrize("logical", FUNCTIONS)
def test_a_functions_log_ends_some_day(stack: Stack, logical: str) -> None:
    """The group is made before the function, which otherwise makes one that is kept for ever."""
    item = stack.resources[logical]
    group = stack.resources[item["DependsOn"]]
    assert group["Type"] == "AWS::Logs::LogGroup"
    assert group["Properties"]["LogGroupName"] == "/aws/lambda/" + item["Properties"]["FunctionName"]
    assert group["Properties"]["RetentionInDays"] == 90


def test_only_this_accounts_own_starts_a_function(stack: Stack) -> None:
    """Each permission names the account and the one resource; without them any account's rule may call."""
    expected = {
        "EnrolmentPermission": ("iot-cert-hook", "iot.amazonaws.com", "iot", "provisioningtemplate/gateway"),
        "RotationPermission": ("iot-cert-hook", "iot.amazonaws.com", "iot", "provisioningtemplate/gateway-rotation"),
        "RetirePermission": ("iot-cert-retire", "iot.amazonaws.com", "iot", "rule/iot_cert_retire"),
        "ReplacedPermission": ("iot-cert-retire", "events.amazonaws.com", "events", "rule/iot-cert-replaced"),
        "SweepPermission": ("iot-cert-sweep", "events.amazonaws.com", "events", "rule/iot-cert-sweep"),
        "CensusPermission": ("iot-cert-sweep", "events.amazonaws.com", "events", "rule/iot-cert-census"),
        "VendPermission": (
            "iot-cert-vend",
            "apigateway.amazonaws.com",
            "execute-api",
            "iot-cert-vend/*/POST/v1/certificates",
        ),
        "SignPermission": ("iot-cert-sign", "iot.amazonaws.com", "iot", "certificateprovider/iot-cert"),
    }
    found = stack.of_type("AWS::Lambda::Permission")
    assert set(found) == set(expected)
    for name, (function, principal, service, source) in expected.items():
        assert found[name] == {
            "FunctionName": f"{stack.arn('lambda')}function:{function}",
            "Action": "lambda:InvokeFunction",
            "Principal": principal,
            "SourceAccount": ACCOUNT,
            "SourceArn": stack.arn(service) + source,
        }


def test_a_role_is_taken_by_whom_it_is_for(stack: Stack) -> None:
    """AWS IoT takes two roles, and only for this account's two templates and its one rule."""
    sources: dict[str, list[str]] = {
        "DefenderRole": [],
        "ProvisioningRole": [f"provisioningtemplate/{name}" for name in ("gateway", "gateway-rotation")],
        "RuleRole": ["rule/iot_cert_retire"],
    }
    for name, role in stack.of_type("AWS::IAM::Role").items():
        (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
        if name not in sources:
            assert statement["Principal"] == {"Service": "lambda.amazonaws.com"}
            continue
        assert statement["Principal"] == {"Service": "iot.amazonaws.com"}
        arns = statement["Condition"].get("ArnEquals", {}).get("aws:SourceArn", [])
        listed = arns if isinstance(arns, list) else [arns]
        assert listed == [stack.arn("iot") + item for item in sources[name]]
        assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": ACCOUNT}


# ---- the rule, the sweep, the job ----------------------------------------------------------------------------------
def test_the_rule_selects_what_the_function_reads(stack: Stack) -> None:
    """The caller is AWS's word, `principal()`; the payload is nested, so that none of its keys can say otherwise."""
    payload = stack.resources["RetireRule"]["Properties"]["TopicRulePayload"]
    selected = "topic(2) AS thing, principal() AS principal, clientid() AS clientId, * AS message"
    assert payload["Sql"] == f"SELECT {selected} FROM '{names.RETIRE_FILTER}'"  # noqa: S608 - a rule's
    assert payload["Actions"] == [{"Lambda": {"FunctionArn": stack.arn("lambda") + "function:iot-cert-retire"}}]


def test_the_clock_says_what_the_function_listens_to(stack: Stack) -> None:
    """And a round of the sweep is told nothing."""
    given = {name: item["Targets"][0].get("Input") for name, item in stack.of_type("AWS::Events::Rule").items()}
    assert json.loads(given.pop("ReplacedOften")) == names.BY_THE_CLOCK
    assert json.loads(given.pop("CensusHourly")) == names.COUNT
    assert given == {"SweepOften": None}


def test_a_count_and_a_round_do_not_overlap(stack: Stack) -> None:
    """Both may take all of the function's time; cron, for a rate begins when the stack is made."""
    rules = stack.of_type("AWS::Events::Rule")
    minutes = [int(at) for name in ("SweepOften", "CensusHourly") for at in re.findall(r"\d+", _minutes(rules[name]))]
    assert sorted(minutes) == [0, 15, 30]
    assert stack.resources["Sweep"]["Properties"]["Timeout"] <= 15 * 60


def _minutes(rule: dict[str, Any]) -> str:
    return str(re.fullmatch(r"cron\(([0-9,]+) \* \* \* \? \*\)", rule["ScheduleExpression"])[1])  # type: ignore[index]


def test_what_could_not_be_done_is_kept(stack: Stack) -> None:
    """Where the rule cannot start the function, and where the function fails for good, the queue has the event."""
    payload = stack.resources["RetireRule"]["Properties"]["TopicRulePayload"]
    assert payload["ErrorAction"]["Sqs"]["QueueUrl"].endswith("/iot-cert-dead-letters")
    found = stack.of_type("AWS::Lambda::EventInvokeConfig")
    assert {item["FunctionName"] for item in found.values()} == {"iot-cert-retire", "iot-cert-sweep"}
    for item in found.values():
        assert item["DestinationConfig"]["OnFailure"]["Destination"] == stack.arn("sqs") + "iot-cert-dead-letters"


def test_the_job_is_one_that_the_agent_takes(stack: Stack) -> None:
    """Its document is understood, and it stops by itself where gateways fail."""
    job = stack.resources["RotateJob"]["Properties"]
    sent = {"jobId": "j", "executionNumber": 1, "versionNumber": 1, "jobDocument": json.loads(job["Document"])}
    execution = jobs.read_execution(json.dumps({"execution": sent}).encode())
    assert execution is not None
    order = jobs.read_order(execution)
    assert isinstance(order, jobs.DocumentOrder)
    assert (order.operation, order.window) == (jobs.JobOperation.ROTATE, None)


def test_the_job_that_the_operator_orders_is_the_same(stack: Stack) -> None:
    """But for its pace, its reason, and after how many gateways it is judged: it is for a hundred gateways at most."""
    job = stack.resources["RotateJob"]["Properties"]
    asked = JobOrder(job_id="j", things=(), reason="r").request([])
    assert {item["failureType"] for item in asked["abortConfig"]["criteriaList"]} == {"FAILED", "REJECTED", "TIMED_OUT"}
    for item in (*job["AbortConfig"]["CriteriaList"], *asked["abortConfig"]["criteriaList"]):
        item.pop("MinNumberOfExecutedThings", None) or item.pop("minNumberOfExecutedThings")
    for name in ("AbortConfig", "TimeoutConfig"):
        assert asked[_small(name)] == _small_keys(job[name])
    assert json.loads(asked["document"]) == {**json.loads(job["Document"]), "reason": "r"}


def _small(name: str) -> str:
    return name[:1].lower() + name[1:]


def _small_keys(value: Any) -> Any:
    """Return what CloudFormation takes as the API takes it."""
    if isinstance(value, list):
        return [_small_keys(item) for item in value]
    return {_small(name): _small_keys(item) for name, item in value.items()} if isinstance(value, dict) else value


def test_another_job_template_has_another_name() -> None:
    """Nothing of it can be changed in place, and the new one is made beside the old: another number, then."""
    job = dict(Stack(given={"Prefix": "p"}).template["Resources"]["RotateJob"]["Properties"])
    name = job.pop("JobTemplateId")
    digest = hashlib.sha256(compact(job).encode()).hexdigest()[:16]
    assert (name, digest) == ({"Fn::Sub": "${Prefix}-rotate-1"}, "7fccf629d2cd03d7")


def test_no_setting_of_the_whole_account_is_in_the_stack(stack: Stack) -> None:
    """There is one of each, for all programs of the account; a stack would replace what others have set."""
    of_the_account = {
        "AWS::IoT::AccountAuditConfiguration",
        "AWS::IoT::CertificateProvider",
        "AWS::IoT::EncryptionConfiguration",
        "AWS::IoT::Logging",
    }
    assert not {item["Type"] for item in stack.resources.values()} & of_the_account
