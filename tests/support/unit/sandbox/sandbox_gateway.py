"""A gateway before the sandbox's cloud, which asks on its topics and hears what the cloud says by itself."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from cryptography.hazmat.primitives.asymmetric import ec

from agent.sandbox.account.authority import AWS_NOT_AFTER, name
from agent.sandbox.account.policies import GATEWAY
from agent.sandbox.cloud import Cloud, Entry, Status

if TYPE_CHECKING:
    from agent.sandbox.replies.answers import Answer, Reply

THING = "gw-1"
START = datetime(2027, 3, 1, 12, tzinfo=UTC)
NOON = 1_803_902_400  # START, in seconds since the epoch


@dataclass
class SandboxGateway:
    """One gateway before a cloud whose clock is set by the test, and what the cloud said by itself.

    Attributes:
        topic: Below which it asks and hears.
    """

    topic: ClassVar[str]
    now: datetime = START
    heard: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cloud = Cloud(lambda: self.now)
        self.cloud.attach(self)
        self.entry = register(self.cloud, THING)

    def deliver(self, message: Reply, to: str | None) -> None:
        """Keep what the cloud says to all."""
        assert to is None
        self.heard.append((message.topic.removeprefix(f"{self.topic}/"), json.loads(message.payload)))

    def cut(self, certificate_id: str) -> None:
        """Neither a job nor a shadow cuts a connection."""
        raise AssertionError(certificate_id)

    def publish(self, path: str, payload: bytes, entry: Entry | None = None) -> Answer:
        """Publish below the topic."""
        return self.cloud.publish(entry or self.entry, THING, f"{self.topic}/{path}", payload)

    def ask(self, path: str, **request: Any) -> tuple[str, dict[str, Any]]:
        """Ask, and return whether it was accepted or rejected, and the reply."""
        (reply,) = self.publish(path, json.dumps(request).encode()).replies
        topic, _, verdict = reply.topic.rpartition("/")
        assert topic == f"{self.topic}/{path}"
        return verdict, json.loads(reply.payload)

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
