"""A gateway that has jobs in the sandbox."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric import ec

from agent.sandbox.authority import AWS_NOT_AFTER, name
from agent.sandbox.cloud import Cloud, Entry, Status
from agent.sandbox.policies import GATEWAY

if TYPE_CHECKING:
    from agent.sandbox.answers import Answer, Reply

THING = "gw-1"
JOBS = f"$aws/things/{THING}/jobs"
START = datetime(2027, 3, 1, 12, tzinfo=UTC)
NOON = 1_803_902_400  # START, in seconds since the epoch
ROTATE = {"operation": "rotate-certificate"}


@dataclass
class JobGateway:
    """One gateway before a cloud whose clock is set by the test, and what the cloud said by itself."""

    now: datetime = START
    heard: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cloud = Cloud(lambda: self.now)
        self.cloud.attach(self)
        self.entry = register(self.cloud, THING)

    def deliver(self, message: Reply, to: str | None) -> None:
        """Keep what the cloud says to all."""
        assert to is None
        self.heard.append((message.topic.removeprefix(f"{JOBS}/"), json.loads(message.payload)))

    def cut(self, certificate_id: str) -> None:
        """No job cuts a connection."""
        raise AssertionError(certificate_id)

    def publish(self, path: str, payload: bytes, entry: Entry | None = None) -> Answer:
        """Publish below the thing's jobs."""
        return self.cloud.publish(entry or self.entry, THING, f"{JOBS}/{path}", payload)

    def ask(self, path: str, **request: Any) -> tuple[str, dict[str, Any]]:
        """Ask, and return whether it was accepted or rejected, and the reply."""
        (reply,) = self.publish(path, json.dumps(request).encode()).replies
        topic, _, verdict = reply.topic.rpartition("/")
        assert topic == f"{JOBS}/{path}"
        return verdict, json.loads(reply.payload)

    def refusal(self, path: str, **request: Any) -> str:
        """Ask, and return the code of the refusal."""
        verdict, body = self.ask(path, **request)
        assert verdict == "rejected"
        assert body["message"]
        return str(body["code"])

    def since(self) -> list[tuple[str, dict[str, Any]]]:
        """Return what was heard since the last time."""
        heard, self.heard = self.heard, []
        return heard


def register(cloud: Cloud, thing: str) -> Entry:
    """Give a thing a certificate without asking."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = cloud.authority.issue_client(name("x"), key.public_key(), START, AWS_NOT_AFTER)
    entry = cloud.registry.add(certificate, Status.ACTIVE)
    entry.policies, entry.thing_name = [GATEWAY], thing
    return entry


def summary(job_id: str, **changes: Any) -> dict[str, Any]:
    """Return the summary of a job that was queued at the start."""
    base = {"jobId": job_id, "queuedAt": NOON, "lastUpdatedAt": NOON, "versionNumber": 1, "executionNumber": 1}
    return base | changes
