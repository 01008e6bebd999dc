"""Every name that the code in the account shares with the stack's template, the operator's command and the agent.

What runs, as `Handler` of a Lambda function (python3.13, no layer, no dependency):

* ``agent.backend.lambdas.hook``: the pre-provisioning hook of both templates, payload version "2020-04-01"; 5 s
* ``agent.backend.lambdas.retire``: a rule on `RETIRE_FILTER`, asynchronously; 30 s, which must stay below `LEASE`. Also
  every five minutes, by `BY_THE_CLOCK`, for devices that are replaced
* ``agent.backend.lambdas.sweep``: each half hour, and by `COUNT` each hour in between; 900 s
* ``agent.backend.lambdas.vend``: an HTTP API, payload format 2.0, where the stack has it; 30 s, its longest
* ``agent.backend.lambdas.audit``: a queue with Device Defender's notifications, where the stack has it; 900 s
* ``agent.backend.provider.sign``: AWS IoT Core's certificate provider, where the stack has it, and the vending machine;
  5 s. It alone has a dependency, `cryptography`, and a zip of its own, for x86_64

Environment: the attributes of `agent.backend.settings.StackSettings` are read from the variables of `Variable`.

Table `Variable.DEVICES`, hash key ``serial`` (S), TTL ``expires_at``. Four kinds of rows; `#` is in no serial number:

* ``<serial>``: ``thing``, ``state`` (ARMED, BOUGHT, ENROLLED, BLOCKED), ``token_sha256``, ``token_until``, ``bought``
  (SS of certificate ids), ``bought_at``, ``enrolled_at``, ``version`` (N, counts the writes)
* ``day#<thing>#<yyyymmdd>``: ``ids`` (SS of certificate ids), ``expires_at``: the daily budget
* ``retiring#<thing>``: ``holder`` (a certificate id), ``until`` (N), ``expires_at``: the lease of a retirement
* ``tally#<what>#<until>``: ``times`` (N), ``expires_at``: what the vending machine counts in a minute or an hour

Table `Variable.CERTIFICATES`, hash key ``certificate_id`` (S), TTL ``expires_at``: ``thing``, ``origin`` (claim,
rotation, vending, seen), ``serial``, ``csr_sha256``, ``issued_at``, ``proven_at``, ``retired_at``, ``retired_by``,
``due`` (S, `DUE_SHARDS`), ``delete_after`` (N), ``detached_at``, ``ended_at``, ``expires_at``, ``version``. Global
secondary index `DUE_INDEX`: hash ``due`` (S), range ``delete_after`` (N), projection ALL; only what waits for deletion
is in it, and:

* ``replacing#<thing>``: ``serial``, ``before``, ``retired`` (SS of certificate ids), ``settles_at``, ``version``; with
  ``due`` (`DUE_REPLACEMENT`) and ``delete_after`` (when it is looked at) until the thing's old device is retired

* ``signer#``: ``cas`` (L of M: ``number``, ``ca_id``, ``pem``, ``key``, ``signs_from``, ``ends``), ``on`` (BOOL),
  ``version``

Instants are whole seconds since 1970, as numbers, because TTL wants them so.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

from agent.core.aws import topics


class Variable(StrEnum):
    """The environment of the functions; all are text."""

    DEVICES = "DEVICES_TABLE"
    CERTIFICATES = "CERTIFICATES_TABLE"
    ENROLMENT_TEMPLATE = "ENROLMENT_TEMPLATE"
    ROTATION_TEMPLATE = "ROTATION_TEMPLATE"
    OWN_POLICIES = "OWN_POLICIES"  # with commas: all that the rotation template attaches, ApplicationPolicies too
    CERTIFICATE_ARN = "CERTIFICATE_ARN"  # arn:<partition>:iot:<region>:<account>:cert/ ; an id is put behind it
    KEEP_DAYS = "KEEP_DAYS"
    DAILY_LIMIT = "DAILY_LIMIT"
    SIGNER = "SIGNER_CA"  # the id of the CA by which the account's certificate provider signs; empty for none
    LIFETIME = "LIFETIME_HOURS"  # of what the stack's own signer signs
    SIGNER_FUNCTION = "SIGNER_FUNCTION"  # the name of the stack's own signer; empty for none
    RE_ENROL = "RE_ENROL"  # armed: again once the operator has armed or readmitted the serial number; never
    STACK = "STACK"  # the stack's prefix: the dimension `STACK_DIMENSION` of each metric


class Metric(StrEnum):
    """What the functions count, in CloudWatch's embedded metric format, by `STACK_DIMENSION`; each is a Count."""

    ENROLMENTS = "Enrolments"
    ENROLMENTS_REFUSED = "EnrolmentsRefused"
    RE_ENROLMENTS_REFUSED = "ReEnrolmentsRefused"  # with the right token: a thief was first, or a gateway lost it all
    VENDING_PUT_OFF = "VendingPutOff"  # an address that asks too often; nothing was looked up for it
    ROTATIONS = "Rotations"
    ROTATIONS_REFUSED = "RotationsRefused"
    RETIREMENTS = "Retirements"
    RETIREMENTS_REFUSED = "RetirementsRefused"
    DELETED = "CertificatesDeleted"
    KEPT = "DeletionsPutOff"  # may not be deleted yet: the thing has no other active certificate, or AWS is not ready
    RESCUED = "CertificatesRescued"  # retired, and made active again by the operator
    OVERDUE = "DeletionsOverdue"  # left over when the sweep's time was up
    ACTIVE = "CertificatesActive"  # of the account, as the sweep finds them; with their ages below
    INACTIVE = "CertificatesInactive"
    OTHERWISE = "CertificatesOtherwise"  # revoked, or being registered or transferred
    UP_TO_30_DAYS = "ActiveUpTo30Days"
    UP_TO_90_DAYS = "ActiveUpTo90Days"
    UP_TO_365_DAYS = "ActiveUpTo365Days"
    OLDER = "ActiveOlder"
    SIGNED = "CertificatesSigned"  # by a CA of the operator's own
    SIGNING_REFUSED = "SigningRefused"
    ROTATIONS_ORDERED = "RotationsOrdered"  # by an audit: things
    FINDINGS_LEFT = "FindingsLeft"  # of an audit, by reason
    CA_EXPIRING = "CaCertificatesExpiring"
    FAULTS = "Faults"  # AWS did not answer or the stack is not right: the function ends with an error, and comes again


NAMESPACE = "IotCertAgent"
STACK_DIMENSION = "Stack"
REASON = "reason"  # a property of the same record, for Logs Insights; never a dimension

SERIAL_PARAMETER = "SerialNumber"
TOKEN_PARAMETER = "RegistrationToken"  # noqa: S105 - the parameter's name
THING_PARAMETER = "ThingName"

DUE_INDEX = "due"
DUE_SHARDS = ("due0", "due1", "due2", "due3")
DUE_REPLACEMENT = "replacing"
REPLACING = "replacing#"  # no certificate's id begins so
SIGNER = "signer#"
KEY_TAG = "iot-cert-ca"  # of a CA's key in KMS: the prefix of the stack whose signer may use it
KEY_FROM_TAG, KEY_ENDS_TAG = f"{KEY_TAG}-from", f"{KEY_TAG}-ends"  # what the order that made the key has said
KEY_ISSUER_TAG = f"{KEY_TAG}-issuer"  # the same: of a key whose CA another one is to sign

# What the clock's event consists of; the rule's event has `thing` beside what a gateway wrote, which is in `message`.
BY_THE_CLOCK = {"replacements": "due"}
COUNT = {"certificates": "count"}  # of the sweep, which deletes by any other event

SHADOW = topics.SHADOW
RETIRE_FILTER = topics.retire("+")

LEASE = timedelta(seconds=60)


def signer_event(csr: str, caller: str) -> dict[str, str]:
    """Return what the signer is asked with, in AWS IoT Core's own form: a request in PEM, and who asks."""
    return {"certificateSigningRequest": csr, "principalId": caller, "clientId": ""}
