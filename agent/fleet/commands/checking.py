"""`check`: look at what the fleet rests on in the account. It changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.core.exit_codes import Exit
from agent.fleet.aws import telling
from agent.fleet.decide import examination
from agent.fleet.decide.examination import Finding, Level
from agent.fleet.errors import AccountError

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.fleet.aws import Fleet
    from agent.fleet.task import Task

_EXITS = {Level.ERROR: Exit.CRITICAL, Level.WARNING: Exit.DEGRADED, Level.SKIPPED: Exit.DEGRADED}


def check(task: Task) -> Exit:
    """Look at one thing after the other; what cannot be looked at is said, and keeps no other from being."""
    found: list[Finding] = []
    for what, look in _LOOKS.items():
        task.progress(f"Looking at {what}")
        found += _looked(what, look, task.fleet)
    task.progress("")
    for finding in found:
        if task.output.as_json:
            told = {"what": finding.what, "level": finding.level.value, "text": finding.text}
            task.output.emit({**told, "remedy": finding.remedy or None})
        else:
            task.output.field(finding.level.value, f"{finding.what}: {finding.text}")
            task.show([f"{'':<12} {finding.remedy}"] if finding.remedy else [])
    return max((_EXITS.get(finding.level, Exit.DONE) for finding in found), default=Exit.DONE)


def _looked(what: str, look: Callable[[Fleet], list[Finding]], fleet: Fleet) -> list[Finding]:
    try:
        with telling():
            return look(fleet)
    except AccountError as error:
        return [examination.skipped(what, str(error))]


def _stack(fleet: Fleet) -> list[Finding]:
    return [examination.of_stack(fleet.stack.status, fleet.stack.outputs)]


def _endpoint(fleet: Fleet) -> list[Finding]:
    return [examination.of_endpoint(fleet.iot.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"])]


def _templates(fleet: Fleet) -> list[Finding]:
    outputs = fleet.stack.outputs
    prefix = outputs["Prefix"]
    policies = (f"{prefix}-gateway-session", f"{prefix}-gateway-rotation")
    return [
        finding
        for name in (outputs["EnrolmentTemplate"], outputs["RotationTemplate"])
        for finding in examination.of_template(
            name, fleet.iot.describe_provisioning_template(templateName=name), policies, f"{prefix}-hook"
        )
    ]


def _rule(fleet: Fleet) -> list[Finding]:
    name = fleet.stack.outputs["Prefix"].replace("-", "_") + "_retire"
    return [examination.of_rule(fleet.iot.get_topic_rule(ruleName=name)["rule"])]


def _claims(fleet: Fleet) -> list[Finding]:
    policy = f"{fleet.stack.outputs['Prefix']}-claim"
    pages = fleet.iot.get_paginator("list_targets_for_policy").paginate(policyName=policy)
    return [examination.of_claims(policy, [target for page in pages for target in page["targets"]])]


def _indexing(fleet: Fleet) -> list[Finding]:
    return [examination.of_indexing(fleet.iot.get_indexing_configuration())]


def _audit(fleet: Fleet) -> list[Finding]:
    pages = fleet.iot.get_paginator("list_mitigation_actions").paginate()
    names = [item["actionName"] for page in pages for item in page["actionIdentifiers"]]
    actions: list[dict[str, Any]] = [fleet.iot.describe_mitigation_action(actionName=name) for name in names]
    return examination.of_audit(fleet.iot.describe_account_audit_configuration(), actions)


def _size(fleet: Fleet) -> list[Finding]:
    return examination.of_size(fleet.count("*"))


_LOOKS: dict[str, Callable[[Fleet], list[Finding]]] = {
    "stack": _stack,
    "endpoint": _endpoint,
    "templates": _templates,
    "retirement rule": _rule,
    "claim certificate": _claims,
    "fleet indexing": _indexing,
    "audit": _audit,
    "quotas": _size,
}
