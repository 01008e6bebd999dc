"""What is wrong in the account, from what was read of it, and what helps. The worst comes first to an operator.

A finding is an error where gateways cannot rotate or connect, or where a setting would cut them off; it is a warning
where something is not told or not cleaned up.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from agent.core.frozen import frozen
from agent.core.text import counted
from agent.core.when.renewal import RenewalPolicy, renewal_window

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ATS = "-ats.iot."
_CONNECTIONS = 500_000  # an account's connections at once (AWS IoT Core quotas; more is asked for)
_RENEWALS = 10 / 5  # a second: ListPrincipalThings is asked five times for each, and answers ten times a second
_OUTAGE = timedelta(hours=12)
_WEEK = 7 * 86400  # seconds
_CHINA = ".amazonaws.com.cn"  # where endpoints have no `-ats`


class Level(StrEnum):
    """How bad it is."""

    ERROR = "error"
    WARNING = "warning"
    FINE = "fine"
    SKIPPED = "skipped"


@frozen
class AccountFinding:
    """What one look has found.

    Attributes:
        what: What was looked at.
        level: How bad it is.
        text: A sentence.
        remedy: What helps; empty where nothing is needed.
    """

    what: str
    level: Level
    text: str
    remedy: str = ""


def fine(what: str, text: str) -> AccountFinding:
    """Return a finding that all is well."""
    return AccountFinding(what=what, level=Level.FINE, text=text)


def skipped(what: str, why: str) -> AccountFinding:
    """Return a finding that something could not be looked at."""
    return AccountFinding(what=what, level=Level.SKIPPED, text=why)


def error(what: str, text: str, remedy: str = "") -> AccountFinding:
    """Return a finding that gateways cannot rotate or connect, or would be cut off."""
    return AccountFinding(what=what, level=Level.ERROR, text=text, remedy=remedy)


def warning(what: str, text: str, remedy: str = "") -> AccountFinding:
    """Return a finding that something is not told or not cleaned up."""
    return AccountFinding(what=what, level=Level.WARNING, text=text, remedy=remedy)


def of_stack(status: str, outputs: Mapping[str, str]) -> AccountFinding:
    """Judge the stack's status."""
    if status.endswith("_IN_PROGRESS"):
        return warning("stack", f"It is {status}. Look again when that has ended.")
    if "FAILED" in status or "ROLLBACK" in status:
        remedy = "aws cloudformation describe-stack-events says why; then deploy it again."
        return error("stack", f"It is {status}: it may not be what the template says.", remedy)
    return fine("stack", f"It is {status}, with the code {outputs.get('CodeKey', '(not told)')}.")


def of_endpoint(address: str) -> AccountFinding:
    """Judge the account's endpoint for data (DescribeEndpoint, iot:Data-ATS)."""
    if ATS not in address and not address.endswith(_CHINA):
        text = f"AWS gives {address}, which is no ATS endpoint: its chain ends in roots that the agent does not have."
        return error("endpoint", text, "Give gateways the address of `aws iot describe-endpoint iot:Data-ATS`.")
    return fine("endpoint", f"Gateways use {address}.")


def of_template(name: str, template: Mapping[str, Any], policies: Iterable[str], hook: str) -> list[AccountFinding]:
    """Judge a provisioning template (DescribeProvisioningTemplate).

    Args:
        name: Its name.
        template: What AWS says of it.
        policies: The policies that it must attach.
        hook: The name of the stack's function that it must ask.
    """
    what = f"template {name}"
    redeploy = "It was changed by other means; `drift` says how the stack's template is put in force again."
    found = []
    if not template.get("enabled"):
        found.append(error(what, "It is disabled: no certificate is made by it.", redeploy))
    asks = str(template.get("preProvisioningHook", {}).get("targetArn", ""))
    if not asks:
        text = "It has no hook: the holder of any claim certificate can take the place of any gateway."
        found.append(error(what, text, redeploy))
    elif asks.rpartition(":")[2] != hook:
        found.append(error(what, f"It asks {asks}, which is not this stack's hook.", redeploy))
    certificate, attached = _body(str(template.get("templateBody", "")))
    if certificate.get("ThingPrincipalType") != "EXCLUSIVE_THING":
        text = (
            "It attaches certificates plainly. The agent's client id is not the thing's name, so AWS refuses it (0x87)."
        )
        found.append(error(what, text, f"Its certificate needs ThingPrincipalType EXCLUSIVE_THING. {redeploy}"))
    if certificate.get("Status") != "ACTIVE":
        found.append(error(what, "It makes certificates that are not ACTIVE.", redeploy))
    found += [error(what, f"It does not attach {name}.", redeploy) for name in policies if name not in attached]
    return found or [fine(what, "It is enabled, asks the hook, and attaches exclusively.")]


def _body(text: str) -> tuple[Mapping[str, Any], set[str]]:
    """Return the properties of a template's certificate, and the names of its policies."""
    try:
        resources = json.loads(text)["Resources"].values()
        described = [(item["Type"], item.get("Properties", {})) for item in resources]
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}, set()
    certificates = [properties for kind, properties in described if kind == "AWS::IoT::Certificate"]
    policies = {str(item.get("PolicyName")) for kind, item in described if kind == "AWS::IoT::Policy"}
    return (certificates[0] if certificates else {}), policies


def of_rule(rule: Mapping[str, Any]) -> AccountFinding:
    """Judge the rule that hears retirements (GetTopicRule)."""
    if rule.get("ruleDisabled"):
        text = "It is disabled: replaced certificates stay ACTIVE, and gateways go on asking."
        return warning("retirement rule", text, "aws iot enable-topic-rule")
    return fine("retirement rule", "It is enabled.")


def of_claims(policy: str, targets: Iterable[str]) -> AccountFinding:
    """Judge who holds the claim's policy (ListTargetsForPolicy)."""
    count = sum(1 for target in targets if ":cert/" in target)
    if not count:
        text = f"No certificate has the policy {policy}, so no new gateway can enrol."
        return warning("claim certificate", text, "`iot-cert cloud setup --claim DIR` makes one.")
    return fine("claim certificate", f"{count} have the policy {policy}.")


def of_indexing(configuration: Mapping[str, Any]) -> AccountFinding:
    """Judge fleet indexing (GetIndexingConfiguration)."""
    things = configuration.get("thingIndexingConfiguration", {})
    named = things.get("namedShadowIndexingMode") == "ON"
    names = things.get("filter", {}).get("namedShadowNames", ())
    if things.get("thingIndexingMode", "OFF") == "OFF":
        text = "Fleet indexing is off, so `status` and --query find nothing."
        return warning("fleet indexing", text, _INDEX)
    if not named or "certificate" not in names:
        return warning("fleet indexing", "It does not hold the shadow `certificate`.", _INDEX)
    return fine("fleet indexing", "It holds the shadow `certificate`.")


_INDEX = "`iot-cert cloud setup` turns it on, and keeps what is set already."


# What a mitigation action does to gateways, by its parameters (MitigationActionParams).
_MITIGATIONS = {
    "updateDeviceCertificateParams": (
        "deactivates the certificate that a finding names. Applied to age, expiry or sharing, that is the one in use: "
        "the gateway is cut off."
    ),
    "replaceDefaultPolicyVersionParams": (
        "empties the policy that a finding names. Applied to a policy of gateways, it cuts all off that have it."
    ),
    "updateCACertificateParams": (
        "deactivates the CA certificate that a finding names. Applied to one that expires, no gateway gets a "
        "certificate of it any more."
    ),
}


def of_audit(
    configuration: Mapping[str, Any], mitigations: Iterable[Mapping[str, Any]], topic: str = ""
) -> list[AccountFinding]:
    """Judge Device Defender (DescribeAccountAuditConfiguration, DescribeMitigationAction).

    Args:
        configuration: Which checks are made.
        mitigations: The mitigation actions that there are.
        topic: Where the stack hears of audits; empty where it does not.
    """
    found = []
    for action in mitigations:
        for name in _MITIGATIONS.keys() & action.get("actionParams", {}).keys():
            text = f"The mitigation action {action.get('actionName')} {_MITIGATIONS[name]}"
            found.append(error("audit", text, "Delete it, or never apply it to these checks; publish to SNS instead."))
    told = configuration.get("auditNotificationTargetConfigurations", {}).get("SNS", {})
    if topic and not (told.get("enabled") and told.get("targetArn") == topic):
        text = "The stack was deployed with Audits=on, but audits are not told to its topic, so none is answered."
        found.append(warning("audit", text, f"aws iot update-account-audit-configuration, with the target {topic}."))
    checks = configuration.get("auditCheckConfigurations", {})
    if checks.get("DEVICE_CERTIFICATE_SHARED_CHECK", {}).get("enabled"):
        text = (
            "DEVICE_CERTIFICATE_SHARED_CHECK will flag every gateway: the agent's session beside the application's is "
            "two client ids under one certificate. That is no fault."
        )
        found.append(warning("audit", text, "Suppress it for the fleet, with an end. Never deactivate for it."))
    return found or [fine("audit", "Nothing there would deactivate a certificate in use.")]


def of_size(gateways: int) -> list[AccountFinding]:
    """Judge the account's quotas against the fleet's size; the quotas are AWS's defaults, and may have been raised."""
    found = []
    connections = gateways * 2
    if connections > _CONNECTIONS:
        text = f"{gateways} gateways hold up to {connections} connections, with the agent's own; the default is 500000."
        found.append(warning("quotas", text, "Ask AWS for more in Service Quotas before they are connected."))
    seconds = gateways / _RENEWALS
    if seconds > _WEEK:
        days = counted(round(seconds / 86400), "day")
        text = f"A rotation of all takes {days} at ListPrincipalThings' default of 10 a second."
        found.append(warning("quotas", text, "Ask AWS for more, or let windows be longer than that."))
    return found or [fine("quotas", f"AWS's defaults are enough for {counted(gateways, 'thing')}.")]


def of_lives(gateways: int, lifetime: timedelta) -> AccountFinding:
    """Judge the account's default quotas against the fleet's size, where its certificates live for `lifetime`.

    On a calm day renewals are spread evenly. After an outage of all gateways, of half a lifetime and twelve hours at
    most, those that are due have to be through before the first certificate ends (docs/short-lives.md).
    """
    begin = datetime(2027, 1, 1, tzinfo=UTC)
    window = renewal_window(begin, begin + lifetime, RenewalPolicy())
    outage = min(_OUTAGE, lifetime / 2)
    calm = int((window.renew_at(0.5) - begin).total_seconds() * _RENEWALS)
    after = min(int((window.not_after - outage - window.closes_at).total_seconds() * _RENEWALS), calm)
    text = (
        f"AWS's defaults are enough for {calm} gateways whose certificates live for {_hours(lifetime)}, and for "
        f"{after} where all of them are without the cloud for {_hours(outage)}; "
        f"there {'is' if gateways == 1 else 'are'} {counted(gateways, 'thing')}."
    )
    if gateways <= after:
        return fine("quotas", text)
    return warning(
        "quotas", text, "Ask AWS for more of ListPrincipalThings in Service Quotas, or let certificates live longer."
    )


def _hours(span: timedelta) -> str:
    return f"{span / timedelta(hours=1):g} h"
