"""The stack's template as data: what its functions and references come to in a region, with a set of parameters.

Only what `config/cloud/template.yaml` uses is known; anything else is an error, so nothing stays unresolved in silence.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[3]
TEMPLATE = ROOT / "config" / "cloud" / "template.yaml"
BUILDER = ROOT / "packaging" / "cloud.py"

ACCOUNT = "123456789012"
LONGEST_PREFIX = "p" * 16
LONGEST_TEMPLATE = "t" * 36

_NO_VALUE = object()  # an item of a list that is not there

# Every partition, with its region of the longest name ("AWS service endpoints", general reference).
PLACES = {
    "aws": "ap-southeast-1",
    "aws-cn": "cn-northwest-1",
    "aws-us-gov": "us-gov-west-1",
    "aws-eusc": "eusc-de-east-1",
    "aws-iso": "us-iso-east-1",
    "aws-iso-b": "us-isob-east-1",
    "aws-iso-e": "eu-isoe-west-1",
    "aws-iso-f": "us-isof-south-1",
}


@cache
def builder() -> ModuleType:
    """Return the program that writes dist/cloud, as a module."""
    spec = importlib.util.spec_from_file_location("cloud_builder", BUILDER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def parsed() -> dict[str, Any]:
    """Return the template; it is shared, so no test changes it."""
    found: dict[str, Any] = builder().parse(TEMPLATE.read_text())
    return found


# What Ref and Fn::GetAtt give for a resource: the property that names it, and its ARN.
_NAMED = {
    "AWS::ApiGatewayV2::Api": ("Name", ""),  # whose id AWS makes
    "AWS::ApiGatewayV2::Integration": ("PayloadFormatVersion", ""),  # and whose id
    "AWS::CloudWatch::Dashboard": ("DashboardName", ""),
    "AWS::DynamoDB::Table": ("TableName", "dynamodb:{place}:table/{name}"),
    "AWS::Events::Rule": ("Name", "events:{place}:rule/{name}"),
    "AWS::IAM::Role": ("RoleName", "iam::{account}:role/{name}"),
    "AWS::IoT::JobTemplate": ("JobTemplateId", "iot:{place}:jobtemplate/{name}"),
    "AWS::IoT::Policy": ("PolicyName", "iot:{place}:policy/{name}"),
    "AWS::IoT::ProvisioningTemplate": ("TemplateName", "iot:{place}:provisioningtemplate/{name}"),
    "AWS::Lambda::Function": ("FunctionName", "lambda:{place}:function:{name}"),
    "AWS::Logs::LogGroup": ("LogGroupName", "logs:{place}:log-group:{name}:*"),
    "AWS::SNS::Topic": ("TopicName", "sns:{place}:{name}"),
    "AWS::SQS::Queue": ("QueueName", "sqs:{place}:{name}"),
}


@dataclass(kw_only=True)
class Stack:
    """The template with values.

    Attributes:
        given: Parameters that are not the template's defaults.
        partition: Where it is, `aws` for most.
        region: Where it is there.
    """

    given: dict[str, Any] = field(default_factory=dict)
    partition: str = "aws"
    region: str = "eu-west-1"
    template: dict[str, Any] = field(default_factory=parsed)

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """Return the value of each parameter."""
        return {name: item.get("Default", "") for name, item in self.template["Parameters"].items()} | self.given

    @cached_property
    def resources(self) -> dict[str, dict[str, Any]]:
        """Return the resources that there are, with everything resolved."""
        found = self.template["Resources"].items()
        there = {name: item for name, item in found if "Condition" not in item or self._holds(item["Condition"])}
        return {name: item | {"Properties": self.resolve(item["Properties"])} for name, item in there.items()}

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the properties of each resource of a type, by its name in the template."""
        return {name: item["Properties"] for name, item in self.resources.items() if item["Type"] == kind}

    def arn(self, service: str) -> str:
        """Return the beginning of an ARN in this account and region."""
        return f"arn:{self.partition}:{service}:{self.region}:{ACCOUNT}:"

    def resolve(self, value: Any) -> Any:
        """Return a value with each function and reference in it resolved."""
        if isinstance(value, list):
            return [found for found in map(self.resolve, value) if found is not _NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            name, argument = next(iter(value.items()))
            if name == "Ref" or name.startswith("Fn::"):
                return self._function(name, argument)
        return {key: self.resolve(item) for key, item in value.items()}

    def _function(self, name: str, argument: Any) -> Any:
        match name:
            case "Ref":
                return self._referred(argument)
            case "Fn::GetAtt":
                return self.attribute(*self.resolve(argument))
            case "Fn::Sub":
                return self._substituted(argument)
            case "Fn::Join":
                return argument[0].join(self.resolve(argument[1]))
            case "Fn::Split":
                return self.resolve(argument[1]).split(argument[0])
            case "Fn::If":
                return self.resolve(argument[1] if self._holds(argument[0]) else argument[2])
            case "Fn::Equals":
                return self.resolve(argument[0]) == self.resolve(argument[1])
            case "Fn::Not":
                return not self.resolve(argument[0])
            case _:
                raise AssertionError(f"{name} is not known here")

    def _holds(self, condition: str) -> bool:
        return bool(self.resolve(self.template["Conditions"][condition]))

    def _referred(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _NO_VALUE
        pseudo = {"AWS::Partition": self.partition, "AWS::Region": self.region, "AWS::AccountId": ACCOUNT}
        if name in pseudo or name in self.parameters:
            return {**pseudo, **self.parameters}[name]
        kind = self.template["Resources"][name]["Type"]
        if kind == "AWS::SQS::Queue":
            return f"https://sqs.{self.region}.amazonaws.com/{ACCOUNT}/{self._name(name)}"
        return self.attribute(name, "Arn") if kind == "AWS::SNS::Topic" else self._name(name)

    def attribute(self, resource: str, attribute: str) -> str:
        """Return what Fn::GetAtt gives of a resource."""
        if attribute == "QueueName":
            return self._name(resource)
        if attribute == "ApiEndpoint":
            return f"https://{self._name(resource)}.execute-api.{self.region}.amazonaws.com"
        assert attribute == "Arn", attribute
        _, form = _NAMED[self.template["Resources"][resource]["Type"]]
        place = f"{self.region}:{ACCOUNT}"
        return f"arn:{self.partition}:{form.format(place=place, account=ACCOUNT, name=self._name(resource))}"

    def _name(self, resource: str) -> str:
        item = self.template["Resources"][resource]
        return str(self.resolve(item["Properties"][_NAMED[item["Type"]][0]]))

    def _substituted(self, argument: Any) -> str:
        text, own = argument if isinstance(argument, list) else (argument, {})

        def value(found: re.Match[str]) -> str:
            name = found[1]
            if name.startswith("!"):
                return f"${{{name[1:]}}}"
            if name in own:
                return str(self.resolve(own[name]))
            return str(self.attribute(*name.split(".")) if "." in name else self._referred(name))

        return re.sub(r"\$\{([^}]+)\}", value, text)


def worst() -> list[Stack]:
    """Return the stack with the longest names that an operator can give, in each partition."""
    names = {
        "Prefix": LONGEST_PREFIX,
        "EnrolmentTemplate": LONGEST_TEMPLATE,
        "RotationTemplate": LONGEST_TEMPLATE[1:] + "r",
    }
    return [Stack(given=names, partition=partition, region=region) for partition, region in PLACES.items()]


def statements(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Return each pair of an action and a resource that a policy allows."""
    pairs = []
    for statement in document["Statement"]:
        kept = {"Condition"} if statement["Action"] == "kms:Sign" else set()  # which has a test of its own
        assert set(statement) - kept <= {"Effect", "Action", "Resource"}, "a condition would be lost here"
        assert statement["Effect"] == "Allow"
        for action in _listed(statement["Action"]):
            pairs += [(action, resource) for resource in _listed(statement["Resource"])]
    return pairs


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]
