"""The cloud model as the engine's own ports, without network: for scenarios with a clock that is passed in.

It implements `agent.ports.CloudEndpoint`, so a scenario drives the real engine, the real core and the real store.
Nothing sleeps: a lost reply is a failure at once. What the wire would show is in `SimulatedEndpoint.connections` and in
`Cloud.requests`.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from agent.core.aws.replies import ASK, CREATE, REGISTER, RETIRE, check_accepted, refusal, text
from agent.core.change.acceptance import MAX_CERTIFICATE_PEM, MAX_THING_NAME, MAX_TOKEN
from agent.core.failure import failures
from agent.core.failure.codes import Code
from agent.errors import CloudError
from agent.ports import CreatedCertificate
from agent.sandbox.account.policies import PolicyAction
from agent.sandbox.cloud import CREATE_TOPIC, Cloud, Entry
from agent.sandbox.replies.answers import token_of
from agent.sandbox.replies.faults import Effect

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from agent.core.failure.failure import Failure
    from agent.core.values import Candidate
    from agent.sandbox.replies.answers import Reply


class SimulatedClock:
    """A wall clock that moves only when told."""

    def __init__(self, now: datetime) -> None:
        self.time = now
        self.is_synchronised = True

    def now(self) -> datetime:
        """Return the time it was set to."""
        return self.time

    def synchronised(self) -> bool:
        """Return what it was told."""
        return self.is_synchronised

    def advance(self, **span: float) -> None:
        """Move on by ``minutes=5`` and the like."""
        self.time += timedelta(**span)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One connection attempt, as the wire showed it."""

    at: datetime
    candidate: str
    client_id: str
    certificate_id: str
    outcome: str


@dataclass(kw_only=True)
class SimulatedEndpoint:
    """The endpoint between the engine and the cloud model.

    Attributes:
        cloud: The account.
        root_sha256: The root the server's chain ends in.
        other_root_sha256: Another that its chain ends in for who does not know the first, or empty.
        down: Why there is no path to it, or None.
        server_trouble: A failure that every handshake meets, or None: an expired certificate, another host's.
        connections: Every attempt so far.
        pushed: What the cloud sent by itself, to any client.
        rivals: Client ids that another client has as well, which takes over every connection at once.
    """

    cloud: Cloud
    root_sha256: str
    other_root_sha256: str = ""
    host: str = "sandbox-ats.iot.eu-west-1.amazonaws.com"
    down: Failure | None = None
    server_trouble: Failure | None = None
    connections: list[Attempt] = field(default_factory=list)
    pushed: list[Reply] = field(default_factory=list)
    rivals: set[str] = field(default_factory=set)
    _live: dict[str, SimulatedSession] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cloud.attach(self)

    def connect(self, candidate: Candidate) -> SimulatedSession:
        """Connect as the real endpoint would.

        Raises:
            CloudError: It did not work.
        """
        failure, entry = self._handshake(candidate)
        self.connections.append(
            Attempt(
                at=self.cloud.now,
                candidate=candidate.name,
                client_id=candidate.client_id,
                certificate_id=candidate.credential.leaf.sha256,
                outcome=failure.code if failure else "accepted",
            )
        )
        if failure is not None or entry is None:
            raise CloudError(failure or failures.hung_up())
        taken_over = self._live.pop(candidate.client_id, None)
        if taken_over is not None:
            taken_over.taken_over = True
        session = SimulatedSession(self, entry, candidate)
        session.taken_over = candidate.client_id in self.rivals
        self._live[candidate.client_id] = session
        return session

    def _handshake(self, candidate: Candidate) -> tuple[Failure | None, Entry | None]:
        if self.down is not None:
            return self.down, None
        if not self.anchor_of(candidate):
            return failures.server_certificate(
                self.host, Code.UNKNOWN_ROOT, "no anchor of the set signs its chain"
            ), None
        if self.server_trouble is not None:
            return self.server_trouble, None
        entry = self.cloud.authenticate(candidate.credential.leaf.sha256)
        if entry is None:
            return failures.hung_up(), None
        fault = self.cloud.connecting(entry, candidate.client_id)
        if fault is not None and fault.effect in _AT_CONNECT:
            return _AT_CONNECT[fault.effect], None
        if not self.cloud.may(entry, candidate.client_id, PolicyAction.CONNECT, candidate.client_id):
            return failures.not_authorised(f"connect as {candidate.client_id}"), None
        return None, entry

    def anchor_of(self, candidate: Candidate) -> str:
        """Return the root that verifies the server for a candidate, or nothing."""
        known = (self.root_sha256, self.other_root_sha256)
        return next((root for root in known if root in candidate.trust.fingerprints), "")

    def release(self, session: SimulatedSession) -> None:
        """Forget a session that was closed."""
        if self._live.get(session.candidate.client_id) is session:
            del self._live[session.candidate.client_id]

    def deliver(self, message: Reply, to: str | None) -> None:  # noqa: ARG002 - sessions here hear answers only
        """See `agent.sandbox.cloud.Listener`."""
        self.pushed.append(message)

    def cut(self, certificate_id: str) -> None:
        """See `agent.sandbox.cloud.Listener`."""
        for session in self._live.values():
            if session.certificate_id == certificate_id:
                session.lost = "the broker hung up"


_AT_CONNECT = {
    Effect.THROTTLE: failures.connect_throttled("quota exceeded"),
    Effect.UNAVAILABLE: failures.broker_unavailable("server unavailable"),
    Effect.HANG_UP: failures.hung_up(),
    Effect.SILENCE: failures.silent(),
    Effect.UNAUTHORISED: failures.not_authorised("connect"),
}


class SimulatedSession:
    """One connection to the simulated endpoint."""

    def __init__(self, endpoint: SimulatedEndpoint, entry: Entry, candidate: Candidate) -> None:
        self._endpoint = endpoint
        self._entry = entry
        self.candidate = candidate
        self.lost = ""  # why, once it is
        self.taken_over = False
        self._held: tuple[Reply, ...] = ()

    @property
    def anchor(self) -> str:
        """See `agent.ports.Session`."""
        return self._endpoint.anchor_of(self.candidate)

    @property
    def certificate_id(self) -> str:
        """What it proved to have."""
        return self._entry.certificate_id

    def create_certificate(self, request_pem: bytes) -> CreatedCertificate:
        """See `agent.ports.Session`."""
        body = self._call(CREATE, CREATE_TOPIC, {"certificateSigningRequest": request_pem.decode()})
        return CreatedCertificate(
            certificate_pem=text(CREATE, "certificatePem", body.get("certificatePem"), MAX_CERTIFICATE_PEM),
            certificate_id=text(CREATE, "certificateId", body.get("certificateId"), 64),
            token=text(CREATE, "certificateOwnershipToken", body.get("certificateOwnershipToken"), MAX_TOKEN),
        )

    def register_thing(self, template: str, token: str, parameters: Mapping[str, str]) -> str:
        """See `agent.ports.Session`."""
        topic = f"$aws/provisioning-templates/{template}/provision/json"
        request = {"certificateOwnershipToken": token, "parameters": dict(parameters)}
        body = self._call(REGISTER, topic, request)
        return text(REGISTER, "thingName", body.get("thingName"), MAX_THING_NAME)

    def ask(self) -> None:
        """See `agent.ports.Session`."""
        topic = f"$aws/things/{self.candidate.thing_name}/shadow/name/certificate/get"
        self._call(ASK, topic, {})

    def retire(self, certificate_id: str) -> None:
        """See `agent.ports.Session`."""
        topic = f"iot-cert-agent/{self.candidate.thing_name}/retire"
        token = secrets.token_hex(16)
        reply = self._exchange(RETIRE, topic, {"certificateId": certificate_id, "clientToken": token})
        if token_of(reply.payload) != token:  # the SDK takes no answer for its own without the token
            raise CloudError(failures.no_reply(RETIRE))
        check_accepted(RETIRE, reply.topic, reply.payload)

    def denied(self, topics: Iterable[str]) -> tuple[str, ...]:
        """See `agent.ports.Session`."""
        cloud, client_id = self._endpoint.cloud, self.candidate.client_id
        return tuple(topic for topic in topics if not cloud.may(self._entry, client_id, PolicyAction.SUBSCRIBE, topic))

    def close(self) -> None:
        """See `agent.ports.Session`."""
        self._endpoint.release(self)

    def _call(self, operation: str, topic: str, request: dict[str, Any]) -> dict[str, Any]:
        reply = self._exchange(operation, topic, request)
        try:
            body = json.loads(reply.payload)
        except (ValueError, RecursionError) as error:
            raise CloudError(failures.garbled(operation, type(error).__name__)) from None
        if not isinstance(body, dict):
            raise CloudError(failures.garbled(operation, "it is not an object"))
        if reply.topic.endswith("/rejected"):
            status = body.get("statusCode", body.get("code"))
            failure = refusal(operation, status, body.get("errorCode"), body.get("errorMessage"))
            if failure is not None:
                raise CloudError(failure)
        return body

    def _exchange(self, operation: str, topic: str, request: dict[str, Any]) -> Reply:
        if self.taken_over:
            raise CloudError(failures.taken_over(self.candidate.client_id))
        if self.lost or self._endpoint.down is not None:
            raise CloudError(failures.session_lost(self.lost or "no path"))
        answer = self._endpoint.cloud.publish(
            self._entry, self.candidate.client_id, topic, json.dumps(request).encode()
        )
        replies = (*self._held, *answer.replies)
        self._held = answer.held
        if answer.hang_up:
            raise CloudError(failures.session_lost("the broker hung up"))
        if not answer.authorised:
            raise CloudError(failures.not_authorised(f"publish to {topic}"))
        if not replies:
            raise CloudError(failures.no_reply(operation))
        return replies[0]
