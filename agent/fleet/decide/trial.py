"""What is not known of AWS until it has been tried there, and the transcript of trying it. Source: `cloud.md`'s marks.

A transcript is for a repository: no secret reaches it, an account's number and the endpoint's name are masked, and a
certificate is the beginning of its id. It is also what a second run goes on from.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING

from agent.core.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime


class FactOutcome(StrEnum):
    """What became of a fact, as a transcript's headings say it."""

    EXPECTED = "as expected"
    NOT_SHOWN = "not shown"
    SURPRISE = "surprise"
    NOT_TRIED = "not tried"


@frozen
class TrialSeen:
    """What was seen.

    Attributes:
        outcome: What that means.
        text: A sentence or more.
    """

    outcome: FactOutcome
    text: str


@frozen
class Fact:
    """Something that no emulator shows.

    Attributes:
        key: Its name.
        unknown: What is not known.
        does: What `first-deployment` does about it, or what is there instead where it does nothing.
        tried: Whether it is tried.
    """

    key: str
    unknown: str
    does: str
    tried: bool = True


# In a safe order: reading first, then the test device's own certificates, then what touches the stack for a moment.
FACTS = (
    Fact(
        key="quotas",
        unknown="how many certificates a second an account may have made over MQTT",
        does="reads the quotas L-83161BB8 and L-B2BBBD8C",
    ),
    Fact(
        key="drift",
        unknown="which resources of the stack CloudFormation can compare",
        does="has the stack compared as it was deployed; nothing may differ",
    ),
    Fact(
        key="refusal",
        unknown="how a refusal by the hook is worded",
        does="enrols with a wrong token, which must end with exit code 3",
    ),
    Fact(
        key="enrolment",
        unknown="whether the managed role, the trust and the two policies suffice",
        does="enrols with the right token: connects as `<thing>-cert-agent` and is answered",
    ),
    Fact(
        key="exclusive",
        unknown="whether `ThingPrincipalType` in a template's body attaches exclusively",
        does="reads the attachment (ListPrincipalThingsV2)",
    ),
    Fact(
        key="rotation",
        unknown="whether a certificate that is PENDING_ACTIVATION takes policies",
        does="rotates with a policy of an application, which the new certificate must have",
    ),
    Fact(
        key="caller",
        unknown="whether `claimCertificateId` is the old certificate in a rotation",
        does="reads the hook's log of that rotation",
    ),
    Fact(
        key="retirement",
        unknown="what `principal()` is in the rule, and whether the answer arrives",
        does="retires the old certificate, which must be INACTIVE then",
    ),
    Fact(
        key="deletion",
        unknown="how long it takes until what was detached can be deleted",
        does="makes that certificate due and runs the sweep until it is gone, ten rounds at most",
    ),
    Fact(
        key="plain",
        unknown="whether a plain attachment is refused, and attaching exclusively converts it in place",
        does="attaches the test device's certificate plainly, connects, attaches it exclusively, connects",
    ),
    Fact(
        key="signer",
        unknown="whether AWS takes what the stack's signer signs, and knows whose it is",
        does="has a request signed, registers the certificate, INACTIVE, and deletes it; needs `Signer=on` and a CA",
    ),
    Fact(
        key="schedule",
        unknown="whether a job takes a window as `rotate --window` writes it",
        does="makes a job for the test device that begins in an hour, and deletes it",
    ),
    Fact(
        key="index",
        unknown="how fleet indexing gives the named shadow back",
        does="writes the test device's shadow and searches for it, for ten minutes at most",
    ),
    Fact(
        key="metrics",
        unknown="whether CloudWatch makes metrics of the functions' lines",
        does="reads the count of enrolments, for ten minutes at most",
    ),
    Fact(
        key="alarm",
        unknown="whether an alarm reaches the topic",
        does="sets the alarm `dead-letters` off by hand and reads its history; a mail may come",
    ),
    Fact(
        key="throttled",
        unknown="what becomes of a gateway whose hook cannot be run",
        does="takes the hook's concurrency away, rotates in vain, connects, gives it back",
    ),
    Fact(
        key="provider",
        unknown="by which name AWS calls the certificate provider, and how long a switch takes",
        does="not tried: it is a setting of the whole account; `ca --sign on` looks, and takes back what cannot work",
        tried=False,
    ),
    Fact(
        key="hook-time",
        unknown="whether AWS waits five seconds for the hook, or six",
        does="not tried: the hook is made for three and a half, and the alarm `hook-slow` tells at three",
        tried=False,
    ),
    Fact(
        key="ownership-token",
        unknown="whether an ownership token is answered again after its success",
        does="not tried: the hook allows the same certificate again, and the agent asks for another where AWS does not",
        tried=False,
    ),
    Fact(
        key="aliases",
        unknown="which of two equal names a rule's SELECT keeps",
        does="not tried: the rule nests what a gateway wrote, so no two are equal",
        tried=False,
    ),
    Fact(
        key="versions",
        unknown="whether CloudFormation removes old versions of a policy, of which five fit",
        does="not tried: before a sixth change of a policy look at `aws iot list-policy-versions`",
        tried=False,
    ),
    Fact(
        key="disconnection",
        unknown="how long a connection outlives its certificate's deactivation",
        does="not tried: nothing rests on it, the hook and the retirement ask whether a caller is ACTIVE",
        tried=False,
    ),
    Fact(
        key="role-alias",
        unknown="whether a role alias goes on working after a rotation and a retirement",
        does="not tried: it needs a role of the operator's; `rotation` shows that the policy comes along",
        tried=False,
    ),
    Fact(
        key="audit",
        unknown="what audits and mitigations do with two sessions under one certificate",
        does="not tried: they are settings of the whole account; `check` reads them and names what would cut off",
        tried=False,
    ),
)

_HEADING = re.compile(r"^## ([a-z-]+): (.+)$", re.MULTILINE)
_CERTIFICATE = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")
_ACCOUNT = re.compile(r"(?<![0-9a-f.-])\d{12}(?![0-9a-f])")
_ENDPOINT = re.compile(r"\b[a-z0-9]+(-ats|\.ats|\.credentials)?(\.iot\.)")
_FIRST, _LAST = 120, 360  # characters that are kept of what a program or AWS said


def masked(text: str, secrets: Collection[str] = ()) -> str:
    """Return a text as it may be committed.

    Args:
        text: What was seen.
        secrets: What must not be in it, whatever it says.
    """
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "(secret)")
    text = _CERTIFICATE.sub(r"\1...", text)
    text = _ENDPOINT.sub(r"ENDPOINT\1\2", _ACCOUNT.sub("ACCOUNT", text))
    text = " ".join(text.split())
    return text if len(text) <= _FIRST + _LAST else f"{text[:_FIRST]} [...] {text[-_LAST:]}"


def settled(transcript: str) -> set[str]:
    """Return the facts that a transcript has settled; a surprise has settled nothing, and is tried again."""
    last = dict(_HEADING.findall(transcript))
    return {key for key, outcome in last.items() if outcome in {FactOutcome.EXPECTED, FactOutcome.NOT_SHOWN}}


def beginning(region: str, code: str, version: str, at: datetime) -> str:
    """Return how a transcript begins.

    Args:
        region: Where the stack is.
        code: The key of the functions' code.
        version: The agent's.
        at: When.
    """
    return (
        f"# First deployment, {at:%Y-%m-%d}\n\nRegion {region}, iot-cert-agent {version}, code {code}. "
        "Written by `iot-cert cloud first-deployment`.\n"
    )


def entry(fact: Fact, seen: TrialSeen, at: datetime, secrets: Collection[str]) -> str:
    """Return a fact's part of a transcript."""
    return (
        f"\n## {fact.key}: {seen.outcome}\n\nNot known: {fact.unknown}.\n\n"
        f"{at:%Y-%m-%d %H:%M} UTC. {masked(seen.text, secrets)}\n"
    )


def not_tried() -> str:
    """Return the end of a transcript: the facts that are not tried."""
    return f"\n## the rest: {FactOutcome.NOT_TRIED}\n\n" + "".join(f"* {line}\n" for line in _rest(FACTS))


def _rest(facts: Iterable[Fact]) -> list[str]:
    return [f"{fact.key}: {fact.unknown}; {fact.does}." for fact in facts if not fact.tried]
