"""One model of AWS IoT Core, without network: who may do what, what it answers, and what it was asked.

The TLS front puts real connections before it, the simulator of the tests calls it directly; both see the same cloud.
What it does follows the developer guide ("Device provisioning MQTT API", "X.509 client certificates", "AWS IoT Core
policies"); the registry, provisioning, jobs and shadows have modules of their own.

* A certificate made from a request is PENDING_ACTIVATION; only registration makes it ACTIVE. Its ownership token dies
  after an hour and takes the certificate with it.
* The same request twice makes two certificates. Registration with the same token again is answered again.
* Anything but ACTIVE is hung up on without a word. A policy may take minutes to spread (`policy_delay`).
* Replies go to the connection that asked and to no other. What the cloud says by itself, that a job is waiting or that
  a shadow has changed, goes to its listeners, which deliver it to the subscribers.
* Who is enrolled, rotated and retired is decided by the handlers that an operator deploys; see
  `agent.sandbox.services.stack`.

Certificates, requests, jobs, shadows and pushed messages are behind one lock, so any thread may use them.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

from cryptography import x509

from agent.backend.values import Status
from agent.core.frozen import frozen
from agent.sandbox.account.authority import Authority, KeyPair
from agent.sandbox.account.policies import CLAIM, GATEWAY, PolicyAction, claim_policy, device_policy
from agent.sandbox.account.registry import CertificateRegistry, Entry
from agent.sandbox.replies.answers import (
    NOT_FOUND,
    OK,
    Answer,
    Reply,
    ServiceRefusalError,
    encode,
    read_request,
    token_of,
    word,
)
from agent.sandbox.replies.faults import Fault, Faults, Operation
from agent.sandbox.replies.faulty_answers import BEFORE, after, instead, refuse
from agent.sandbox.replies.topics import CREATE_TOPIC, Route, Service, route
from agent.sandbox.services.jobs import CloudExecution, JobQueue, JobStatus
from agent.sandbox.services.provisioning import ProvisioningService, Template
from agent.sandbox.services.shadows import Shadows
from agent.sandbox.services.stack import SETTINGS, Stack, StackRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta

    from agent.backend.settings import StackSettings
    from agent.backend.values import Certificate

__all__ = ["CREATE_TOPIC", "Cloud", "Entry", "Listener", "Request", "Status", "Template"]


@frozen
class Request:
    """One request, as the cloud saw it."""

    at: datetime
    principal: str
    client_id: str
    operation: str
    outcome: str


class Listener(Protocol):
    """What holds connections: told what the cloud does by itself, in any thread and while the cloud is locked."""

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
        settings: StackSettings = SETTINGS,
        lifetime: timedelta | None = None,
    ) -> None:
        """Make an account with the stack deployed, and with a claim certificate.

        Args:
            now: The cloud's own clock.
            settings: What the operator chose for the stack.
            lifetime: How long certificates live; None for AWS's own, to 2049.
        """
        self._now = now
        self.authority = Authority("Sandbox IoT device CA", now())
        enrolment, rotation = settings.enrolment_template, settings.rotation_template
        self.registry = CertificateRegistry(
            lambda: self.now, {CLAIM: claim_policy(enrolment), GATEWAY: device_policy(rotation)}
        )
        self.faults = Faults()
        self.requests: list[Request] = []
        self._lock = threading.RLock()
        self._listeners: list[Listener] = []
        self._jobs = JobQueue(lambda: self.now, self._announce)
        self._shadows = Shadows(lambda: self.now, self._announce)
        self.stack = Stack(
            lambda: self.now,
            StackRegistry(self.registry, self._shadows, self._jobs, self._cut, self._issue),
            settings,
            self._lock,
        )
        self.provisioning = ProvisioningService(
            lambda: self.now,
            authority=self.authority,
            registry=self.registry,
            stack=self.stack,
            templates={name: Template(policies=(GATEWAY,)) for name in (enrolment, rotation)},
            lifetime=lifetime,
        )
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
        with self._lock:
            self.registry.add(certificate, Status.ACTIVE).policies = [CLAIM]
        return claim

    def set_status(self, certificate_id: str, status: Status) -> None:
        """Do what UpdateCertificate does.

        Raises:
            KeyError: There is no such certificate.
        """
        with self._lock:
            self.registry[certificate_id].status = status

    def count(self, operation: Operation) -> int:
        """Return how often an operation was asked for, whatever came of it."""
        return sum(request.operation == operation for request in self.requests)

    def entries(self) -> list[Entry]:
        """Return the certificates that there are now, oldest first."""
        with self._lock:
            return list(self.registry.values())

    def certificates_of(self, thing_name: str) -> list[Entry]:
        """Return the certificates attached to a thing, oldest first."""
        return [entry for entry in self.entries() if entry.thing_name == thing_name]

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

    def end_job(self, thing_name: str, job_id: str, status: JobStatus = JobStatus.CANCELED) -> None:
        """End a job from the outside, even one in progress: CANCELED, TIMED_OUT, REMOVED.

        Raises:
            KeyError: There is no such job.
            ValueError: It has ended already.
        """
        with self._lock:
            self._jobs.end(thing_name, job_id, status)

    def job(self, thing_name: str, job_id: str) -> CloudExecution:
        """Return the latest execution of a job, as it is now.

        Raises:
            KeyError: There is no such job.
        """
        with self._lock:
            return self._jobs.latest(thing_name, job_id)

    def jobs(self, thing_name: str) -> list[CloudExecution]:
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
            except ServiceRefusalError as refusal:
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
        with self._lock:
            self.registry.expire_tokens()
            entry = self.registry.get(certificate_id)
            if entry is None or entry.status is not Status.ACTIVE:
                return None
            entry.connections += 1
            if entry.revoke_at_connection is not None and entry.connections >= entry.revoke_at_connection:
                entry.status = Status.REVOKED
                return None
            return entry

    def may(self, entry: Entry, client_id: str, action: PolicyAction, value: str) -> bool:
        """Whether the policy lets this connection use a client id, publish to a topic or subscribe to a filter."""
        return self.registry.allows(entry, client_id, action, value)

    def connecting(self, entry: Entry, client_id: str) -> Fault | None:
        """Note a connection attempt and return the fault that strikes it, if any."""
        fault = self.faults.strike(Operation.CONNECT)
        self._note(entry, client_id, Operation.CONNECT, fault.effect if fault else "accepted")
        return fault

    def publish(self, entry: Entry, client_id: str, topic: str, payload: bytes) -> Answer:
        """Carry out a request published to one of the cloud's own topics."""
        with self._lock:
            self.registry.expire_tokens()
            where = route(topic)
            name = where.operation or topic
            if not self.may(entry, client_id, PolicyAction.PUBLISH, topic):
                self._note(entry, client_id, name, "unauthorised")
                return Answer(authorised=False)
            fault = self.faults.strike(where.operation) if where.operation else None
            if fault is not None and fault.effect in BEFORE:
                self._note(entry, client_id, name, fault.effect)
                return instead(topic, payload, fault, self._seconds())
            outcome, reply = self._reply(entry, topic, payload, fault)
            self._note(entry, client_id, name, outcome)
            return Answer() if reply is None else after(reply, fault)

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

    # -- what the cloud does ---------------------------------------------------------------------------------------

    def _issue(self, csr: str) -> Certificate | None:
        return self.provisioning.issue(csr)

    def _reply(self, entry: Entry, topic: str, payload: bytes, fault: Fault | None) -> tuple[str, Reply | None]:
        where = route(topic)
        if where.service is Service.RETIREMENT:
            return _told(self.stack.retire(entry.certificate_id, where.thing, payload))
        try:
            body = self._carry_out(entry, where, payload, fault)
        except ServiceRefusalError as refusal:
            outcome = refusal.code if where.service is Service.JOBS else str(refusal.status)
            return outcome, refuse(topic, payload, refusal, self._seconds())
        worded = word(where.service, body, token_of(payload), self._seconds())
        return str(OK), Reply(topic=f"{topic}/accepted", payload=encode(worded))

    def _seconds(self) -> int:
        return int(self._now().timestamp())

    def _carry_out(self, entry: Entry, where: Route, payload: bytes, fault: Fault | None) -> dict[str, Any]:
        if where.operation is None:
            raise ServiceRefusalError(NOT_FOUND, "InvalidTopic", "The sandbox does not know this topic")
        match where.service:
            case Service.SHADOWS:
                name, verb = where.rest
                # An empty message is how AWS's own documents ask for a shadow and delete it.
                return self._shadows.answer(where.thing, name, verb, read_request(payload or b"{}"))
            case Service.JOBS:
                return self._jobs.answer(where.thing, where.rest, read_request(payload))
            case Service.PROVISIONING if where.operation is Operation.CREATE:
                return self.provisioning.create(entry.certificate_id, read_request(payload), fault)
            case _:
                return self.provisioning.register(entry, where.rest[0], read_request(payload), fault)

    def _cut(self, certificate_id: str) -> None:
        for listener in self._listeners:
            listener.cut(certificate_id)


def _told(answer: tuple[str, Mapping[str, object]] | None) -> tuple[str, Reply | None]:
    if answer is None:
        return "unanswered", None
    topic, body = answer
    return str(body.get("code", OK)), Reply(topic=topic, payload=encode(body))
