"""One model of AWS IoT Core, without network: registry, tokens, templates, hook, faults, and what it was asked.

The TLS front puts real connections before it, the simulator calls it directly; both see the same cloud. What it does
follows the developer guide ("Device provisioning MQTT API", "X.509 client certificates", "AWS IoT Core policies"); jobs
and shadows have modules of their own.

* A certificate made from a request is PENDING_ACTIVATION; only registration makes it ACTIVE. Its ownership token dies
  after an hour and takes the certificate with it.
* The same request twice makes two certificates. Registration with the same token again is answered again.
* Anything but ACTIVE is hung up on without a word. A policy may take minutes to spread (`policy_delay`).
* Replies go to the connection that asked and to no other. What the cloud says by itself, that a job is waiting or that
  a shadow has changed, goes to its listeners, which deliver it to whoever has subscribed.
* A gateway may have a certificate that it left behind made INACTIVE: its own, and never the one it asks with.

Requests, jobs, shadows and pushed messages are behind one lock, so any thread may use them.
"""

from __future__ import annotations

import re
import secrets
import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from agent.sandbox.answers import (
    BAD_REQUEST,
    CONFLICT,
    FORBIDDEN,
    INTERNAL,
    NOT_FOUND,
    OK,
    TOO_MANY,
    Answer,
    RefusedError,
    Reply,
    encode,
    read_request,
    token_of,
    word,
    word_refusal,
)
from agent.sandbox.authority import AWS_NOT_AFTER, Authority, KeyPair, fingerprint
from agent.sandbox.faults import TOKEN_MARK, Effect, Fault, Faults, Operation
from agent.sandbox.jobs import Execution, Jobs, JobStatus
from agent.sandbox.policies import Policy, allows, claim_policy, device_policy
from agent.sandbox.shadows import Shadows
from agent.sandbox.topics import CREATE_TOPIC, Route, Service, is_ours, route

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["CREATE_TOPIC", "Cloud", "Entry", "Listener", "Request", "Status", "Template"]

TOKEN_LIFETIME = timedelta(hours=1)
MAX_CSR = 4096

_CERTIFICATE_ID = re.compile(r"[0-9a-f]{64}")


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


class Listener(Protocol):
    """Whoever holds connections: told what the cloud does by itself, in any thread and while the cloud is locked."""

    def deliver(self, message: Reply, to: str | None) -> None:
        """Send a message to the connections that subscribed to its topic: all, or those of one client id or thing."""

    def cut(self, certificate_id: str) -> None:
        """End all connections of a certificate."""


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
        self._lock = threading.RLock()
        self._listeners: list[Listener] = []
        self._jobs = Jobs(lambda: self.now, self._announce)
        self._shadows = Shadows(lambda: self.now, self._announce)
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

    def create_job(self, thing_name: str, document: Mapping[str, Any] | bytes, job_id: str | None = None) -> str:
        """Queue a job for a thing and return the job's id.

        Args:
            thing_name: The thing.
            document: The job document, or bytes that are sent as they are, sound JSON or not.
            job_id: Its id, or None for the next free one.

        Raises:
            ValueError: The id is taken or not allowed, or the document is too long.
        """
        with self._lock:
            return self._jobs.create(thing_name, document, job_id)

    def retry_job(self, thing_name: str, job_id: str) -> None:
        """Queue a job that has ended once more: the same id, the next execution number.

        Raises:
            KeyError: There is no such job.
            ValueError: It has not ended.
        """
        with self._lock:
            self._jobs.retry(thing_name, job_id)

    def cancel_job(self, thing_name: str, job_id: str) -> None:
        """Cancel a job, even one in progress; see `end_job`."""
        self.end_job(thing_name, job_id, JobStatus.CANCELED)

    def end_job(self, thing_name: str, job_id: str, status: JobStatus) -> None:
        """End a job from the outside: CANCELED, TIMED_OUT, REMOVED.

        Raises:
            KeyError: There is no such job.
            ValueError: It has ended already.
        """
        with self._lock:
            self._jobs.end(thing_name, job_id, status)

    def job(self, thing_name: str, job_id: str) -> Execution:
        """Return the latest execution of a job, as it is now.

        Raises:
            KeyError: There is no such job.
        """
        with self._lock:
            return self._jobs.latest(thing_name, job_id)

    def jobs(self, thing_name: str) -> list[Execution]:
        """Return all job executions of a thing, in the order of queueing."""
        with self._lock:
            return self._jobs.of_thing(thing_name)

    def shadow(self, thing_name: str, name: str) -> dict[str, Any] | None:
        """Return `state`, `metadata` and `version` of a named shadow, or None when there is none."""
        with self._lock:
            return self._shadows.document(thing_name, name)

    def desire(self, thing_name: str, name: str, desired: Mapping[str, Any]) -> None:
        """Change what is desired of a named shadow, as an application would; None deletes a key.

        Raises:
            ValueError: The shadow would not be allowed.
        """
        with self._lock:
            try:
                self._shadows.update(thing_name, name, {"state": {"desired": dict(desired)}})
            except RefusedError as refusal:
                raise ValueError(refusal.message) from None

    def push(self, to: str, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Send any message to the connections of a client id or a thing that have subscribed to its topic.

        Args:
            to: A client id, or a thing for all connections of its certificates.
            topic: Any topic.
            payload: Any bytes.
            retain: Whether it is marked as kept for later subscribers.
        """
        self._deliver(Reply(topic=topic, payload=payload, retain=retain), to)

    # -- listeners -------------------------------------------------------------------------------------------------

    def attach(self, listener: Listener) -> None:
        """Tell a listener what the cloud does by itself from now on."""
        with self._lock:
            self._listeners.append(listener)

    def detach(self, listener: Listener) -> None:
        """Tell it nothing more once this returns."""
        with self._lock:
            self._listeners.remove(listener)

    def _announce(self, topic: str, body: Mapping[str, Any]) -> None:
        self._deliver(Reply(topic=topic, payload=encode(body)), None)

    def _deliver(self, message: Reply, to: str | None) -> None:
        with self._lock:
            for listener in self._listeners:
                listener.deliver(message, to)

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
        return is_ours(topic)

    def publish(self, entry: Entry, client_id: str, topic: str, payload: bytes) -> Answer:
        """Carry out a request published to one of the cloud's own topics."""
        with self._lock:
            self._expire_tokens()
            where = route(topic)
            name = where.operation or topic
            if not self.may_publish(entry, client_id, topic):
                self._note(entry, client_id, name, "unauthorised")
                return Answer(authorised=False)
            fault = self.faults.strike(where.operation) if where.operation else None
            if fault is not None and fault.effect in _BEFORE:
                self._note(entry, client_id, name, fault.effect)
                return self._strike_before(topic, payload, fault)
            outcome, reply = self._reply(entry, topic, payload, fault)
            self._note(entry, client_id, name, outcome)
            return _answer(reply, fault)

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

    def _strike_before(self, topic: str, payload: bytes, fault: Fault) -> Answer:
        match fault.effect:
            case Effect.HANG_UP:
                return Answer(hang_up=True)
            case Effect.UNAUTHORISED:
                return Answer(authorised=False)
            case Effect.GARBLE:
                return _answer(Reply(topic=f"{topic}/accepted", payload=b"{\xff\xfe not json"))
            case Effect.OVERSIZE:
                oversize = b'{"certificatePem":"' + b"A" * 600_000 + b'"}'
                return _answer(Reply(topic=f"{topic}/accepted", payload=oversize))
            case Effect.HOSTILE:
                hostile = fault.payload.replace(TOKEN_MARK, (token_of(payload) or "").encode(errors="replace"))
                return _answer(Reply(topic=f"{topic}/accepted", payload=hostile))
            case Effect.IGNORE | Effect.SILENCE:
                return Answer()
            case _:
                return _answer(self._refuse(topic, payload, RefusedError(*_REFUSALS[fault.effect])))

    # -- what the cloud does ---------------------------------------------------------------------------------------

    def _reply(self, entry: Entry, topic: str, payload: bytes, fault: Fault | None) -> tuple[str, Reply]:
        where = route(topic)
        try:
            body = self._carry_out(entry, where, payload, fault)
        except RefusedError as refusal:
            outcome = refusal.code if where.service is Service.JOBS else str(refusal.status)
            return outcome, self._refuse(topic, payload, refusal)
        worded = word(where.service, body, token_of(payload), self._seconds())
        return str(OK), Reply(topic=f"{topic}/accepted", payload=encode(worded))

    def _refuse(self, topic: str, payload: bytes, refusal: RefusedError) -> Reply:
        service = route(topic).service
        worded = word(service, word_refusal(service, refusal), token_of(payload), self._seconds())
        return Reply(topic=f"{topic}/rejected", payload=encode(worded))

    def _seconds(self) -> int:
        return int(self._now().timestamp())

    def _carry_out(self, entry: Entry, where: Route, payload: bytes, fault: Fault | None) -> dict[str, Any]:
        if where.operation is None:
            raise RefusedError(NOT_FOUND, "InvalidTopic", "The sandbox does not know this topic")
        match where.service:
            case Service.SHADOWS:
                name, verb = where.rest
                # An empty message is how AWS's own documents ask for a shadow and delete it.
                return self._shadows.answer(where.thing, name, verb, read_request(payload or b"{}"))
            case Service.JOBS:
                return self._jobs.answer(where.thing, where.rest, read_request(payload))
            case Service.RETIREMENT:
                return self._retire(entry, where.thing, read_request(payload))
            case Service.PROVISIONING if where.operation is Operation.CREATE:
                return self._create(read_request(payload), fault)
            case Service.PROVISIONING:
                return self._provision(entry, where.rest[0], read_request(payload), fault)

    def _retire(self, caller: Entry, thing_name: str, body: dict[str, Any]) -> dict[str, Any]:
        """Do what a rule of the account would, which knows the caller's certificate by `principal()`."""
        wanted = body.get("certificateId")
        if not isinstance(wanted, str) or not _CERTIFICATE_ID.fullmatch(wanted):
            raise RefusedError(
                BAD_REQUEST, "InvalidRequest", "certificateId must be 64 hexadecimal digits.", certificateId=None
            )
        entry = self.registry.get(wanted)
        if caller.status is not Status.ACTIVE or caller.thing_name != thing_name:
            message = f"The certificate that asks is not an active one of {thing_name}."
            raise RefusedError(FORBIDDEN, "Forbidden", message, certificateId=wanted)
        if entry is caller:
            message = "A certificate cannot retire itself: connect with its successor."
            raise RefusedError(CONFLICT, "Conflict", message, certificateId=wanted)
        # Whether somebody else has such a certificate is nobody's business.
        if entry is None or entry.thing_name != thing_name:
            message = f"{thing_name} has no such certificate."
            raise RefusedError(FORBIDDEN, "Forbidden", message, certificateId=wanted)
        if entry.status is Status.ACTIVE:
            entry.status = Status.INACTIVE
        for listener in self._listeners:
            listener.cut(wanted)
        return {"certificateId": wanted}

    def _create(self, body: dict[str, Any], fault: Fault | None) -> dict[str, Any]:
        pem = body.get("certificateSigningRequest")
        try:
            request = x509.load_pem_x509_csr(str(pem).encode())
        except ValueError:
            raise RefusedError(
                BAD_REQUEST, "InvalidRequest", "The certificate signing request cannot be parsed"
            ) from None
        if len(str(pem)) > MAX_CSR or not request.is_signature_valid:
            raise RefusedError(BAD_REQUEST, "InvalidRequest", "The certificate signing request is not acceptable")
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
        return reply

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
    ) -> dict[str, Any]:
        template = self.templates.get(template_name)
        if template is None:
            raise RefusedError(NOT_FOUND, "ResourceNotFound", f"Template {template_name} does not exist")
        token = body.get("certificateOwnershipToken")
        if not token:
            raise RefusedError(
                BAD_REQUEST, "InvalidCertificateOwnershipToken", "Certificate ownership token cannot be empty"
            )
        entry = next((item for item in self.registry.values() if item.token == token), None)
        if entry is None:
            raise RefusedError(
                BAD_REQUEST, "InvalidCertificateOwnershipToken", "Certificate ownership token is not valid"
            )
        parameters = body.get("parameters")
        value = parameters.get(template.thing_parameter) if isinstance(parameters, dict) else None
        if not isinstance(value, str) or not value:
            raise RefusedError(BAD_REQUEST, "InvalidParameter", f"Parameter {template.thing_parameter} is missing")
        thing_name = template.prefix + value
        if template.own_thing_only and caller.thing_name != thing_name:
            raise RefusedError(FORBIDDEN, "ACCESS_DENIED", "Pre-provisioning hook denied the request")
        return self._activate(entry, template, thing_name, fault)

    def _activate(self, entry: Entry, template: Template, thing_name: str, fault: Fault | None) -> dict[str, Any]:
        effect = fault.effect if fault else None
        entry.thing_name = thing_name
        if entry.policy is None:
            entry.policy, entry.policy_from = template.policy, self._now() + self.policy_delay
        if entry.status is Status.PENDING_ACTIVATION:
            entry.status = Status.INACTIVE if effect is Effect.NEVER_ACTIVE else Status.ACTIVE
        if effect is Effect.REVOKE:
            entry.revoke_at_connection = 2
        shown = "someone-else" if effect is Effect.WRONG_THING else thing_name
        return {"deviceConfiguration": {}, "thingName": shown}

    def _expire_tokens(self) -> None:
        for entry in list(self.registry.values()):
            if entry.token and self._now() - entry.created_at >= TOKEN_LIFETIME:
                entry.token = None
                if entry.status is Status.PENDING_ACTIVATION:
                    del self.registry[entry.certificate_id]


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
    Effect.REJECT: (BAD_REQUEST, "InvalidRequest", "The request is not acceptable"),
    Effect.DENY: (FORBIDDEN, "ACCESS_DENIED", "Pre-provisioning hook denied the request"),
    Effect.THROTTLE: (TOO_MANY, "TooManyRequestsException", "Rate exceeded"),
    Effect.UNAVAILABLE: (INTERNAL, "InternalError", "Something went wrong"),
}


def _answer(reply: Reply, fault: Fault | None = None) -> Answer:
    match fault.effect if fault else None:
        case Effect.LOSE:
            return Answer()
        case Effect.LATE:
            return Answer(held=(reply,))
        case Effect.DUPLICATE:
            return Answer(replies=(reply, reply))
        case _:
            return Answer(replies=(reply,))
