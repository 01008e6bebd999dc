"""CAs of the operator's own: when another one may take over, when one may go, and what is wrong with them.

A CA is renewed by another one beside it. From a moment that is said the new one signs; what the old one has signed
ends by itself within a lifetime, and then the old one may go. Each order names the CA that it is about by its number,
so typing it again does nothing more.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.frozen import frozen
from agent.fleet.decide.examination import AccountFinding, error, fine, warning

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from typing import Any

    from agent.backend.values import Signer, SigningCa

OVERLAP = timedelta(days=7)  # until a renewed CA signs: verifiers need its certificate before
EVERYONE = (
    "Every client of this account and region that asks for a certificate by CreateCertificateFromCsr over MQTT, of "
    "other fleets too, gets what this CA signs, for {hours} hours, instead of Amazon's until 2049."
)
_SOON = timedelta(days=90)
_ANYTHING = {"Effect": "Allow", "Action": "Update:*", "Principal": "*", "Resource": "*"}
_BUT_THE_SIGNER = {
    "Effect": "Deny",
    "Action": ["Update:Delete", "Update:Replace"],  # Signer=off, and another Prefix
    "Principal": "*",
    "Resource": [f"LogicalResourceId/{name}" for name in ("Sign", "SignRole", "SignPermission")],
}
_MARGIN = timedelta(hours=1)  # a function may have read the row before the change


@frozen
class Promise:
    """What an order says of the CA that it makes. It is kept with the CA's key, for the same order typed again.

    Attributes:
        signs_from: From when it signs.
        ends: When it ends, unless another CA signs it, which says that.
        by_another: Whether another CA signs it: a root of the operator's.
    """

    signs_from: datetime
    ends: datetime
    by_another: bool = False


def kept(said: Promise, before: Promise, now: datetime) -> Promise:
    """Return the promise that holds where an order continues an interrupted one that promised something else.

    The interrupted order's end holds: a certificate with it may be registered already. Its beginning holds unless it
    has passed: then it left no overlap for the verifiers that need the CA's certificate, and the old CA has signed
    certificates since.
    """
    return before if before.signs_from > now else replace(before, signs_from=said.signs_from)


def not_continued(before: Promise, said: Promise, number: int, key: str) -> str:
    """Return why an order does not go on with the key that another one has made, or nothing.

    A CA has one certificate: one of its own may be registered already, or a root may be signing the request.
    """
    if before.by_another is said.by_another:
        return ""
    meant = "a root of yours is to sign: --csr prints its request, --certificate takes in what the root has made of it"
    if not before.by_another:
        meant = "signs itself: the order without --csr and --certificate completes it"
    other = f"For another key instead, `aws kms disable-key --key-id {key}` first."
    return f"An earlier order has made the key of CA {number} for a CA that {meant}. {other}"


def find(signer: Signer, number: int) -> SigningCa | None:
    """Return the CA of a number."""
    return next((item for item in signer.cas if item.number == number), None)


def state(signer: Signer, own: SigningCa, now: datetime) -> str:
    """Return what a CA does: `signs`, `next` until it does, and `before` when another one has taken over."""
    if own.signs_from > now:
        return "next"
    return "signs" if signer.at(now) == own else "before"


def not_renewed(signer: Signer, number: int, new: Promise, now: datetime) -> str:
    """Return why a CA cannot be renewed so, or nothing."""
    old, begin = find(signer, number), new.signs_from
    if old is None:
        return f"There is no CA {number}. `iot-cert cloud ca` lists those that there are."
    if begin < now:
        return "The new CA cannot begin to sign in the past."
    if begin >= old.ends:
        return (
            f"CA {number} ends at {old.ends:%Y-%m-%d %H:%M} UTC, before the new one would sign. Name an earlier --from."
        )
    if begin >= new.ends:
        return f"The new CA would end at {new.ends:%Y-%m-%d %H:%M} UTC, before it signs. Name an earlier --from."
    return ""


def not_retired(signer: Signer, number: int, lifetime: timedelta, now: datetime) -> str:
    """Return why a CA may not go yet, or nothing; what it has signed is looked at besides."""
    old = find(signer, number)
    if old is None or old.ends <= now:
        return ""
    after = min((item.signs_from for item in signer.cas if item.signs_from > old.signs_from), default=None)
    if after is None or after > now:
        return f"CA {number} signs, or will. `iot-cert cloud ca --renew {number}` makes another one first."
    until = after + lifetime + _MARGIN
    if until > now:
        return f"What CA {number} has signed lives until {until:%Y-%m-%d %H:%M} UTC. Retire it after that."
    return ""


def foreign(providers: Iterable[Mapping[str, str]], prefix: str) -> str:
    """Return the name of a certificate provider that is not this stack's, or nothing."""
    names = (item["certificateProviderName"] for item in providers)
    return next((name for name in names if name != prefix), "")


def not_provided(providers: Iterable[Mapping[str, str]], prefix: str, function: str) -> str:
    """Return why AWS IoT cannot be told to ask a function, or nothing.

    A provider of another name may not call the function, and one of this name that asks another one is not known here.
    """
    for item in providers:
        name, asked = item["certificateProviderName"], item["lambdaFunctionArn"]
        if (name, asked) != (prefix, function):
            return (
                f"The account has the certificate provider {name}, which asks {asked}, and there can be one. "
                f"This stack's is {prefix}, and asks {function}."
            )
    return ""


def is_guarded(policy: str) -> bool:
    """Return whether a stack policy has CloudFormation refuse an update that would take the signer away."""
    return _BUT_THE_SIGNER in _statements(policy)


def guarded(policy: str) -> str:
    """Return a stack policy, or the first one where it is empty, that also keeps the signer.

    Where there is a policy, what none of its statements allows is denied ("Prevent updates to stack resources",
    CloudFormation user guide).
    """
    return _written([*(_statements(released(policy)) or [_ANYTHING]), _BUT_THE_SIGNER])


def released(policy: str) -> str:
    """Return a stack policy without what keeps the signer; it stays empty where it was."""
    return _written([item for item in _statements(policy) if item != _BUT_THE_SIGNER]) if policy else ""


def _statements(policy: str) -> list[Mapping[str, Any]]:
    found = json.loads(policy)["Statement"] if policy else []
    return found if isinstance(found, list) else [found]


def _written(statements: list[Mapping[str, Any]]) -> str:
    return json.dumps({"Statement": statements})


@frozen
class SignerSeen:
    """What was read of the account about its signer.

    Attributes:
        signer: Its row.
        prefix: What the stack's names begin with, and the provider's name.
        function: The ARN of the stack's signer; empty where the stack has none.
        providers: The account's certificate providers, of which AWS allows one (DescribeCertificateProvider).
        keys: The state of each CA's key in KMS, by number (DescribeKey).
        registered: The status of each CA in AWS IoT, by number (DescribeCACertificate).
        lifetime: How long certificates are to live.
        policy: The stack's policy; empty for none (GetStackPolicy).
    """

    signer: Signer
    prefix: str
    function: str
    providers: tuple[Mapping[str, str], ...]
    keys: Mapping[int, str]
    registered: Mapping[int, str]
    lifetime: timedelta
    policy: str


def judge(seen: SignerSeen, now: datetime) -> list[AccountFinding]:
    """Judge who signs in the account."""
    signer = seen.signer
    other = foreign(seen.providers, seen.prefix)
    if other:
        text = f"The account's certificate provider {other} is not this stack's: it signs what gateways ask for."
        level = error if signer.on else warning
        return [level("signer", text, "`aws iot describe-certificate-provider` says which function it asks.")]
    found = _of_the_switch(seen)
    if signer.on or seen.providers:
        found += _of_the_cas(seen, now)
    if found:
        return found
    own = signer.at(now)
    if own is None or not signer.on:
        return [fine("signer", "AWS signs; no certificate provider is asked.")]
    return [fine("signer", f"CA {own.number} signs, and ends at {own.ends:%Y-%m-%d}.")]


def _of_the_switch(seen: SignerSeen) -> list[AccountFinding]:
    on, again = seen.signer.on, "`iot-cert cloud ca --sign on` completes it, `--sign off` takes it back."
    asked = [item["lambdaFunctionArn"] for item in seen.providers]
    if asked and asked[0] != seen.function:
        text = f"AWS IoT asks {asked[0]}, which is no signer of this stack: no client may get a certificate."
        return [error("signer", text, "Deploy with Signer=on, or `iot-cert cloud ca --sign off`.")]
    if asked and not on:
        return [warning("signer", "AWS IoT asks the signer, but the vending machine does not.", again)]
    if on and not asked:
        return [warning("signer", "The vending machine asks the signer, but AWS IoT does not.", again)]
    if asked and not is_guarded(seen.policy):
        text = "AWS IoT asks the signer, and a deployment with Signer=off would take it away: no client would get one."
        return [warning("signer", text, "`iot-cert cloud ca --sign on` has CloudFormation refuse that.")]
    return []


def _of_the_cas(seen: SignerSeen, now: datetime) -> list[AccountFinding]:
    signer = seen.signer
    own = signer.at(now)
    if own is None:
        return [error("signer", "No CA signs, so no gateway gets a certificate.", "iot-cert cloud ca --new")]
    again = "aws iot update-ca-certificate --certificate-id {} --new-status ACTIVE"
    found = []
    for item in signer.cas:
        if item.signs_from < own.signs_from:
            continue  # its work is done
        what = f"CA {item.number}"
        if seen.keys.get(item.number) != "Enabled":
            text = f"The key of {what} is {seen.keys.get(item.number, 'gone')}: it signs nothing."
            found.append(error("signer", text, f"aws kms enable-key --key-id {item.key}"))
        if seen.registered.get(item.number) != "ACTIVE":
            text = f"{what} is not ACTIVE in AWS IoT, so what is vended cannot be registered."
            found.append(error("signer", text, again.format(item.ca_id)))
    return found + _of_the_end(signer, own, seen.lifetime, now)


def _of_the_end(signer: Signer, own: SigningCa, lifetime: timedelta, now: datetime) -> list[AccountFinding]:
    """Judge the end of the CA that signs: what it signs ends with it."""
    followed = any(own.signs_from < item.signs_from < own.ends for item in signer.cas)
    left, remedy = own.ends - now, f"iot-cert cloud ca --renew {own.number}"
    if left <= timedelta():
        return [error("signer", f"CA {own.number} has ended, and signs nothing.", remedy)]
    if not followed and left < lifetime:
        text = f"CA {own.number} ends at {own.ends:%Y-%m-%d %H:%M} UTC: what it signs now lives shorter than it should."
        return [error("signer", text, remedy)]
    if not followed and left < _SOON:
        return [warning("signer", f"CA {own.number} ends at {own.ends:%Y-%m-%d}, and none follows.", remedy)]
    return []
