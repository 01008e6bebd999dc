"""`check`: look at what the fleet rests on in the account. It changes nothing."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.exit_codes import Exit
from agent.fleet.aws import telling
from agent.fleet.decide import drift, examination, own_ca
from agent.fleet.decide.examination import AccountFinding, Level
from agent.fleet.errors import AccountError
from agent.fleet.own_cas import OwnCas

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.fleet.task import OperatorTask

_EXITS = {Level.ERROR: Exit.CRITICAL, Level.WARNING: Exit.DEGRADED, Level.SKIPPED: Exit.DEGRADED}


def check(task: OperatorTask) -> Exit:
    """Look at one thing after the other; what cannot be looked at is said, and keeps no other from being."""
    found: list[AccountFinding] = []
    for what, look in _LOOKS.items():
        task.progress(f"Looking at {what}")
        found += _looked(what, look, task)
    task.progress("")
    for finding in found:
        if task.output.as_json:
            task.output.emit({**asdict(finding), "remedy": finding.remedy or None})
        else:
            task.output.field(finding.level.value, f"{finding.what}: {finding.text}")
            task.show([f"{'':<12} {finding.remedy}"] if finding.remedy else [])
    return max((_EXITS.get(finding.level, Exit.DONE) for finding in found), default=Exit.DONE)


def _looked(
    what: str, look: Callable[[OperatorTask], list[AccountFinding]], task: OperatorTask
) -> list[AccountFinding]:
    try:
        with telling():
            return look(task)
    except AccountError as error:
        return [examination.skipped(what, str(error))]


def _stack(task: OperatorTask) -> list[AccountFinding]:
    stack = task.fleet.stack
    return [examination.of_stack(stack.status, stack.outputs)]


def _drift(task: OperatorTask) -> list[AccountFinding]:
    return drift.of_drift(task.fleet.drifted(task.pause), task.fleet.stack.name)


def _policies(task: OperatorTask) -> list[AccountFinding]:
    names, template = task.fleet.stack.gateway_policies, task.fleet.stack.outputs["RotationTemplate"]
    texts = [task.fleet.iot.get_policy(policyName=name)["policyDocument"] for name in names]
    return [drift.of_policies(names, texts, template)]


def _endpoint(task: OperatorTask) -> list[AccountFinding]:
    return [examination.of_endpoint(task.fleet.endpoint())]


def _templates(task: OperatorTask) -> list[AccountFinding]:
    fleet, outputs = task.fleet, task.fleet.stack.outputs
    return [
        finding
        for name in (outputs["EnrolmentTemplate"], outputs["RotationTemplate"])
        for finding in examination.of_template(
            name,
            fleet.iot.describe_provisioning_template(templateName=name),
            fleet.stack.gateway_policies,
            fleet.stack.named("hook"),
        )
    ]


def _rule(task: OperatorTask) -> list[AccountFinding]:
    return [examination.of_rule(task.fleet.iot.get_topic_rule(ruleName=task.fleet.stack.rule)["rule"])]


def _claims(task: OperatorTask) -> list[AccountFinding]:
    policy = task.fleet.stack.claim_policy
    return [examination.of_claims(policy, task.fleet.targets(policy))]


def _indexing(task: OperatorTask) -> list[AccountFinding]:
    return [examination.of_indexing(task.fleet.indexing())]


def _audit(task: OperatorTask) -> list[AccountFinding]:
    fleet = task.fleet
    pages = fleet.iot.get_paginator("list_mitigation_actions").paginate()
    names = [item["actionName"] for page in pages for item in page["actionIdentifiers"]]
    actions = [fleet.iot.describe_mitigation_action(actionName=name) for name in names]
    topic = fleet.stack.outputs.get("AuditTopic", "")
    return examination.of_audit(fleet.iot.describe_account_audit_configuration(), actions, topic)


def _signer(task: OperatorTask) -> list[AccountFinding]:
    cas, signer, stack = OwnCas(task.fleet), task.fleet.store.signer(), task.fleet.stack
    providers = tuple(cas.providers())
    seen = own_ca.SignerSeen(
        signer=signer,
        prefix=stack.outputs["Prefix"],
        function=stack.outputs.get("SignerFunction", ""),
        providers=providers,
        keys={item.number: cas.key_state(item.key) for item in signer.cas},
        registered={item.number: cas.registered(item.ca_id) for item in signer.cas},
        lifetime=stack.lifetime,
        policy=cas.stack_policy() if providers else "",
    )
    return own_ca.judge(seen, task.now)


def _size(task: OperatorTask) -> list[AccountFinding]:
    gateways, lifetime = task.fleet.count("*"), task.arguments.lifetime
    lives = [examination.of_lives(gateways, timedelta(seconds=lifetime))] if lifetime else []
    return [*examination.of_size(gateways), *lives]


_LOOKS: dict[str, Callable[[OperatorTask], list[AccountFinding]]] = {
    "stack": _stack,
    "drift": _drift,
    "endpoint": _endpoint,
    "templates": _templates,
    "policies": _policies,
    "retirement rule": _rule,
    "claim certificate": _claims,
    "fleet indexing": _indexing,
    "audit": _audit,
    "signer": _signer,
    "quotas": _size,
}
