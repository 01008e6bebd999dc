"""What is not as the stack made it: by CloudFormation's word, and by what gateways need of their policies.

CloudFormation compares what its resource types can read; of the policies the documents in force are read as well, since
a gateway that lacks one right of them finds out on the day of its rotation.
"""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from agent.core.aws import topics
from agent.fleet.decide.examination import AccountFinding, error, fine, skipped, warning

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_THING = "${iot:Connection.Thing.ThingName}"
_DEPLOY_POLICY = "`aws iot set-default-policy-version` makes the template's version the one in force again."

# Without these as they are, gateways do not enrol, rotate, retire or connect, or strangers do.
_GRAVE = {
    "AWS::DynamoDB::Table",
    "AWS::IAM::Role",
    "AWS::IoT::Policy",
    "AWS::IoT::ProvisioningTemplate",
    "AWS::IoT::TopicRule",
    "AWS::Lambda::Function",
    "AWS::Lambda::Permission",
}


def of_drift(resources: Iterable[Mapping[str, Any]], stack: str) -> list[AccountFinding]:
    """Judge what CloudFormation has found to be other than the template says (DescribeStackResourceDrifts).

    Args:
        resources: Those that differ, are gone, or could not be compared.
        stack: The stack's name.
    """
    remedy = (
        "Deploying the same template again changes nothing. Put it right by `aws cloudformation create-change-set "
        f"--stack-name {stack} --change-set-name revert --use-previous-template --deployment-mode REVERT_DRIFT`."
    )
    found = []
    for item in resources:
        kind = str(item.get("ResourceType"))
        name = f"{item.get('LogicalResourceId')} ({kind})"
        status = item.get("StackResourceDriftStatus")
        grave = error if kind in _GRAVE else warning
        if status == "DELETED":
            found.append(grave("drift", f"{name} was deleted by other means.", remedy))
        elif status == "MODIFIED":
            paths = sorted(str(part.get("PropertyPath")) for part in item.get("PropertyDifferences", ()))
            found.append(grave("drift", f"{name} was changed by other means: {', '.join(paths)}.", remedy))
        else:
            reason = str(item.get("DriftStatusReason") or "no reason is told")
            found.append(skipped("drift", f"CloudFormation cannot compare {name}: {reason}."))
    return found or [fine("drift", "What CloudFormation can compare is what the template says.")]


def of_policies(names: Sequence[str], texts: Iterable[str], rotation: str) -> AccountFinding:
    """Judge what the gateways' policies allow, as they are now (GetPolicy): every topic of the agent.

    Args:
        names: The policies.
        texts: Their documents in force, as JSON.
        rotation: The rotation template.
    """
    listed, what = " and ".join(names), "policies"
    try:
        statements = [item for text in texts for item in _listed(json.loads(text)["Statement"])]
        granted = [pair for item in statements if item["Effect"] == "Allow" for pair in _pairs(item)]
        denied = [item for item in statements if item["Effect"] != "Allow"]
    except (ValueError, KeyError, TypeError):
        return error(what, f"{listed} cannot be read.", _DEPLOY_POLICY)
    needed = needed_rights(rotation)
    missing = [f"{action} on {name}" for action, name in needed if not _is_granted(action, name, granted)]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        return error(what, f"{listed} do not allow {missing[0]}{more}.", _DEPLOY_POLICY)
    if denied:
        return warning(what, f"{listed} deny something, which the template's do not.", _DEPLOY_POLICY)
    return fine(what, f"{listed} allow all that the agent does.")


def needed_rights(rotation: str) -> list[tuple[str, str]]:
    """Return each action of IoT policies that the agent needs, with its resource in an ARN; a thing is its variable."""
    job = (topics.job(_THING, "a-job"), topics.job_update(_THING, "a-job"))
    heard = [*topics.needed(_THING, rotation), *(answer for topic in job for answer in topics.answers(topic))]
    asked = [topic.removesuffix("/accepted") for topic in heard if topic.endswith("/accepted")]
    return [
        ("iot:Connect", f"client/{_THING}-cert-agent"),
        *(("iot:Publish", f"topic/{topic}") for topic in asked),
        *(("iot:Subscribe", f"topicfilter/{topic}") for topic in heard),
        *(("iot:Receive", f"topic/{topic}") for topic in heard),
    ]


def _pairs(statement: Mapping[str, Any]) -> list[tuple[str, str]]:
    actions, resources = _listed(statement["Action"]), _listed(statement["Resource"])
    return [(str(action), str(resource)) for action in actions for resource in resources]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is_granted(action: str, name: str, granted: Iterable[tuple[str, str]]) -> bool:
    return any(
        fnmatchcase(action.lower(), allowed.lower()) and fnmatchcase(name, _after_the_account(resource))
        for allowed, resource in granted
    )


def _after_the_account(arn: str) -> str:
    """Return what an ARN names in its account, or a pattern of all."""
    return arn.split(":", 5)[-1]
