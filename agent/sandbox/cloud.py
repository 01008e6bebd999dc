"""One model of AWS IoT Core, without network: registry, tokens, templates, hook, faults, and what it was asked.

The TLS front puts real connections before it, the simulator calls it directly; both see the same cloud. What it does
follows the developer guide ("Device provisioning MQTT API", "X.509 client certificates", "AWS IoT Core policies"):

* A certificate made from a request is PENDING_ACTIVATION; only registration makes it ACTIVE. Its ownership token dies
  after an hour and takes the certificate with it.
* The same request twice makes two certificates. Registration with the same token again is answered again.
* Anything but ACTIVE is hung up on without a word. A policy may take minutes to spread (`policy_delay`).
* Replies go to the connection that asked and to no other.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from agent.sandbox.authority import AWS_NOT_AFTER, Authority, KeyPair, fingerprint
from agent.sandbox.faults import Effect, Fault, Faults, Operation
from agent.sandbox.policies import Policy, allows, claim_policy, device_policy

if TYPE_CHECKING:
    from collections.abc import Callable

CREATE_TOPIC = "$aws/certificates/create-from-csr/json"
TOKEN_LIFETIME = timedelta(hours=1)
MAX_CSR = 4096

OK, BAD_REQUEST, FORBIDDEN, NOT_FOUND, TOO_MANY, INTERNAL = 200, 400, 403, 404, 429, 500


class Status(StrEnum):
    """The states of a certificate in the registry."""

    PENDING_ACTIVATION = "PENDING_ACTIVATION"
    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"
    REVOKED = "REVOKED"


@dataclass(kw_only=True)
class Entry:
    """One certificate in the registry."""

    certificate_id: str
    pem: str
    status: Status
    created_at: datetime
    policy: Policy | None = None
    policy_from: datetime | None = None
    thing_name: str | None = None
    token: str | None = field(default=None, repr=False)
    connections: int = 0
    revoke_at_connection: int | None = None


@dataclass(frozen=True, kw_only=True)
class Template:
    """A provisioning template.

    Attributes:
        policy: What it attaches.
        thing_parameter: The parameter that names the thing, with `prefix` before it.
        prefix: Put before the parameter's value.
        own_thing_only: The hook's rule for rotation: the caller must be attached to the thing it names.
    """

    policy: Policy
    thing_parameter: str
    prefix: str = ""
    own_thing_only: bool = False


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request, as the cloud saw it."""

    at: datetime
    principal: str
    client_id: str
    operation: str
    outcome: str


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One message back to the connection that asked."""

    topic: str
    payload: bytes


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What becomes of one request.

    Attributes:
        replies: To be delivered now, in order.
        held: To be delivered with the next request on the same connection.
        hang_up: Cut the connection instead.
        authorised: Whether the policy allowed the publish; otherwise it is refused by PUBACK.
    """

    replies: tuple[Reply, ...] = ()
    held: tuple[Reply, ...] = ()
    hang_up: bool = False
    authorised: bool = True


class Cloud:
    """The account."""

    def __init__(
        self,
        now: Callable[[], datetime],
        *,
        enrollment_template: str = "gateway",
        rotation_template: str = "gateway-rotation",
        lifetime: timedelta | None = None,
    ) -> None:
        """Make an account with two templates and a claim certificate.

        Args:
            now: The cloud's own clock.
            enrollment_template: The template the claim certificate may use; it takes `SerialNumber`.
            rotation_template: The template gateways use to rotate; it takes `ThingName`.
            lifetime: How long certificates live; None for AWS's own, to 2049.
        """
        self._now = now
        self.lifetime = lifetime
        self.policy_delay = timedelta()
        self.authority = Authority("Sandbox IoT device CA", now())
        self.registry: dict[str, Entry] = {}
        self.faults = Faults()
        self.requests: list[Request] = []
        device = device_policy(rotation_template)
        self.templates = {
            enrollment_template: Template(policy=device, thing_parameter="SerialNumber", prefix="gw-"),
            rotation_template: Template(policy=device, thing_parameter="ThingName", own_thing_only=True),
        }
        self.claim_policy = claim_policy(enrollment_template)
        self.claim = self.add_claim()

    @property
    def now(self) -> datetime:
        """The present time by the cloud's own clock."""
        return self._now()

    # -- the account's owner ---------------------------------------------------------------------------------------

    def add_claim(self) -> KeyPair:
        """Make another claim certificate, active at once."""
        claim = self.authority.issue_claim(self._now())
        certificate = x509.load_pem_x509_certificate(claim.certificate_pem)
        self._register(certificate, Status.ACTIVE).policy = self.claim_policy
        return claim

    def _register(self, certificate: x509.Certificate, status: Status) -> Entry:
        entry = Entry(
            certificate_id=fingerprint(certificate),
            pem=certificate.public_bytes(Encoding.PEM).decode(),
            status=status,
            created_at=self._now(),
        )
        self.registry[entry.certificate_id] = entry
        return entry

    def set_status(self, certificate_id: str, status: Status) -> None:
        """Do what UpdateCertificate does.

        Raises:
            KeyError: There is no such certificate.
        """
        self.registry[certificate_id].status = status

    def count(self, operation: Operation) -> int:
        """Return how often an operation was asked for, whatever came of it."""
        return sum(request.operation == operation for request in self.requests)

    def certificates_of(self, thing_name: str) -> list[Entry]:
        """Return the certificates attached to a thing, oldest first."""
        return [entry for entry in self.registry.values() if entry.thing_name == thing_name]

    # -- what a front asks -----------------------------------------------------------------------------------------

    def authenticate(self, certificate_id: str) -> Entry | None:
        """Return the entry of an active certificate, or None: then hang up without a word."""
        self._expire_tokens()
        entry = self.registry.get(certificate_id)
        if entry is None or entry.status is not Status.ACTIVE:
            return None
        entry.connections += 1
        if entry.revoke_at_connection is not None and entry.connections >= entry.revoke_at_connection:
            entry.status = Status.REVOKED
            return None
        return entry

    def may_connect(self, entry: Entry, client_id: str) -> bool:
        """Whether the policy lets this certificate use this client id."""
        return self._allowed(entry, client_id, "connect", client_id)

    def may_publish(self, entry: Entry, client_id: str, topic: str) -> bool:
        """Whether the policy lets this connection publish to the topic."""
        return self._allowed(entry, client_id, "publish", topic)

    def may_subscribe(self, entry: Entry, client_id: str, topic_filter: str) -> bool:
        """Whether the policy lets this connection subscribe to the filter."""
        return self._allowed(entry, client_id, "subscribe", topic_filter)

    def _allowed(self, entry: Entry, client_id: str, action: str, value: str) -> bool:
        if entry.policy is None or (entry.policy_from is not None and self._now() < entry.policy_from):
            return False
        patterns: tuple[str, ...] = getattr(entry.policy, action)
        return allows(patterns, value, client_id=client_id, thing_name=entry.thing_name)

    def connecting(self, entry: Entry, client_id: str) -> Fault | None:
        """Note a connection attempt and return the fault that strikes it, if any."""
        fault = self.faults.strike(Operation.CONNECT)
        self._note(entry, client_id, Operation.CONNECT, fault.effect if fault else "accepted")
        return fault

    @staticmethod
    def is_ours(topic: str) -> bool:
        """Whether the cloud answers this topic itself; all others are the broker's."""
        return topic.startswith("$aws/")

    def publish(self, entry: Entry, client_id: str, topic: str, payload: bytes) -> Answer:
        """Carry out a request published to one of the cloud's own topics."""
        self._expire_tokens()
        operation = _operation(topic)
        if not self.may_publish(entry, client_id, topic):
            self._note(entry, client_id, operation or topic, "unauthorised")
            return Answer(authorised=False)
        fault = self.faults.strike(operation) if operation else None
        if fault is not None and fault.effect in _BEFORE:
            self._note(entry, client_id, operation or topic, fault.effect)
            return self._strike_before(topic, fault)
        status, body = self._carry_out(entry, topic, payload, fault)
        self._note(entry, client_id, operation or topic, str(status))
        return _deliver(topic, status, body, fault)

    def _note(self, entry: Entry, client_id: str, operation: str, outcome: str) -> None:
        self.requests.append(
            Request(
                at=self._now(),
                principal=entry.certificate_id,
                client_id=client_id,
                operation=operation,
                outcome=outcome,
            )
        )

    def _strike_before(self, topic: str, fault: Fault) -> Answer:
        match fault.effect:
            case Effect.HANG_UP:
                return Answer(hang_up=True)
            case Effect.UNAUTHORISED:
                return Answer(authorised=False)
            case Effect.GARBLE:
                return Answer(replies=(Reply(topic=f"{topic}/accepted", payload=b"{\xff\xfe not json"),))
            case Effect.OVERSIZE:
                payload = b'{"certificatePem":"' + b"A" * 600_000 + b'"}'
                return Answer(replies=(Reply(topic=f"{topic}/accepted", payload=payload),))
            case Effect.HOSTILE:
                return Answer(replies=(Reply(topic=f"{topic}/accepted", payload=fault.payload),))
            case Effect.IGNORE | Effect.SILENCE:
                return Answer()
            case _:
                return _deliver(topic, *_REFUSALS[fault.effect], None)

    # -- what the cloud does ---------------------------------------------------------------------------------------

    def _carry_out(self, entry: Entry, topic: str, payload: bytes, fault: Fault | None) -> tuple[int, dict[str, Any]]:
        try:
            body = json.loads(payload)
        except (ValueError, RecursionError):
            return _error(BAD_REQUEST, "InvalidJson", "The request is not JSON")
        if not isinstance(body, dict):
            return _error(BAD_REQUEST, "InvalidJson", "The request is not a JSON object")
        if topic.endswith("/get") and "/shadow/" in topic:
            status, reply = _error(NOT_FOUND, "ResourceNotFound", "No shadow exists with name: 'certificate'")
            return status, reply | {"clientToken": body.get("clientToken")}
        if topic == CREATE_TOPIC:
            return self._create(body, fault)
        if topic.startswith("$aws/provisioning-templates/"):
            return self._provision(entry, topic.split("/")[2], body, fault)
        return _error(NOT_FOUND, "InvalidTopic", "The sandbox does not know this topic")

    def _create(self, body: dict[str, Any], fault: Fault | None) -> tuple[int, dict[str, Any]]:
        pem = body.get("certificateSigningRequest")
        try:
            request = x509.load_pem_x509_csr(str(pem).encode())
        except ValueError:
            return _error(BAD_REQUEST, "InvalidRequest", "The certificate signing request cannot be parsed")
        if len(str(pem)) > MAX_CSR or not request.is_signature_valid:
            return _error(BAD_REQUEST, "InvalidRequest", "The certificate signing request is not acceptable")
        entry = self._issue(request, fault)
        entry.token = secrets.token_urlsafe(48)
        reply = {
            "certificateId": entry.certificate_id,
            "certificatePem": entry.pem,
            "certificateOwnershipToken": entry.token,
        }
        if fault and fault.effect is Effect.NO_TOKEN:
            del reply["certificateOwnershipToken"]
        if fault and fault.effect is Effect.EXTRA_FIELDS:
            reply |= {"futureField": {"nested": [1, 2.5, None]}, "": "x"}  # type: ignore[dict-item]
        return OK, reply

    def _issue(self, request: x509.CertificateSigningRequest, fault: Fault | None) -> Entry:
        effect = fault.effect if fault else None
        now = self._now().replace(microsecond=0)
        not_before, not_after = now - timedelta(minutes=2), AWS_NOT_AFTER
        if self.lifetime is not None:
            not_before, not_after = now, now + self.lifetime
        if effect is Effect.EXPIRED:
            not_before, not_after = now - timedelta(days=30), now - timedelta(days=1)
        if effect is Effect.NOT_YET_VALID:
            not_before = now + timedelta(days=1)
            not_after = max(not_after, not_before + timedelta(days=1))
        public_key = request.public_key()
        if effect is Effect.WRONG_KEY:
            public_key = ec.generate_private_key(ec.SECP256R1()).public_key()
        certificate = self.authority.issue_client(request.subject, public_key, not_before, not_after)
        return self._register(certificate, Status.PENDING_ACTIVATION)

    def _provision(
        self, caller: Entry, template_name: str, body: dict[str, Any], fault: Fault | None
    ) -> tuple[int, dict[str, Any]]:
        template = self.templates.get(template_name)
        if template is None:
            return _error(NOT_FOUND, "ResourceNotFound", f"Template {template_name} does not exist")
        token = body.get("certificateOwnershipToken")
        if not token:
            return _error(
                BAD_REQUEST, "InvalidCertificateOwnershipToken", "Certificate ownership token cannot be empty"
            )
        entry = next((item for item in self.registry.values() if item.token == token), None)
        if entry is None:
            return _error(BAD_REQUEST, "InvalidCertificateOwnershipToken", "Certificate ownership token is not valid")
        parameters = body.get("parameters")
        value = parameters.get(template.thing_parameter) if isinstance(parameters, dict) else None
        if not isinstance(value, str) or not value:
            return _error(BAD_REQUEST, "InvalidParameter", f"Parameter {template.thing_parameter} is missing")
        thing_name = template.prefix + value
        if template.own_thing_only and caller.thing_name != thing_name:
            return _error(FORBIDDEN, "ACCESS_DENIED", "Pre-provisioning hook denied the request")
        return self._activate(entry, template, thing_name, fault)

    def _activate(
        self, entry: Entry, template: Template, thing_name: str, fault: Fault | None
    ) -> tuple[int, dict[str, Any]]:
        effect = fault.effect if fault else None
        entry.thing_name = thing_name
        if entry.policy is None:
            entry.policy, entry.policy_from = template.policy, self._now() + self.policy_delay
        if entry.status is Status.PENDING_ACTIVATION:
            entry.status = Status.INACTIVE if effect is Effect.NEVER_ACTIVE else Status.ACTIVE
        if effect is Effect.REVOKE:
            entry.revoke_at_connection = 2
        shown = "someone-else" if effect is Effect.WRONG_THING else thing_name
        return OK, {"deviceConfiguration": {}, "thingName": shown}

    def _expire_tokens(self) -> None:
        for entry in list(self.registry.values()):
            if entry.token and self._now() - entry.created_at >= TOKEN_LIFETIME:
                entry.token = None
                if entry.status is Status.PENDING_ACTIVATION:
                    del self.registry[entry.certificate_id]


def _operation(topic: str) -> Operation | None:
    if topic == CREATE_TOPIC:
        return Operation.CREATE
    if topic.startswith("$aws/provisioning-templates/"):
        return Operation.REGISTER
    return Operation.ASK if topic.endswith("/get") and "/shadow/" in topic else None


def _error(status: int, code: str, message: str) -> tuple[int, dict[str, Any]]:
    return status, {"statusCode": status, "errorCode": code, "errorMessage": message}


# Faults that strike before the request is carried out.
_BEFORE = frozenset(
    {
        Effect.IGNORE,
        Effect.REJECT,
        Effect.DENY,
        Effect.THROTTLE,
        Effect.UNAVAILABLE,
        Effect.GARBLE,
        Effect.OVERSIZE,
        Effect.HOSTILE,
        Effect.HANG_UP,
        Effect.UNAUTHORISED,
        Effect.SILENCE,
    }
)

_REFUSALS = {
    Effect.REJECT: _error(BAD_REQUEST, "InvalidRequest", "The request is not acceptable"),
    Effect.DENY: _error(FORBIDDEN, "ACCESS_DENIED", "Pre-provisioning hook denied the request"),
    Effect.THROTTLE: _error(TOO_MANY, "TooManyRequestsException", "Rate exceeded"),
    Effect.UNAVAILABLE: _error(INTERNAL, "InternalError", "Something went wrong"),
}


def _deliver(topic: str, status: int, body: dict[str, Any], fault: Fault | None) -> Answer:
    suffix = "accepted" if status == OK else "rejected"
    if "/shadow/" in topic and status != OK:
        body = {"code": status, "message": body["errorMessage"], "clientToken": body.get("clientToken")}
    reply = Reply(topic=f"{topic}/{suffix}", payload=json.dumps(body).encode())
    match fault.effect if fault else None:
        case Effect.LOSE:
            return Answer()
        case Effect.LATE:
            return Answer(held=(reply,))
        case Effect.DUPLICATE:
            return Answer(replies=(reply, reply))
        case _:
            return Answer(replies=(reply,))
