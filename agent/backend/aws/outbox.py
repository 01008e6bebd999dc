"""What the functions tell: answers by MQTT, and counts as lines of their log."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from agent.backend import metrics
from agent.backend.aws.clients import Clients, asking

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from agent.backend.names import Metric


class AwsOutbox:
    """As `agent.backend.ports.Outbox` has it; CloudWatch reads the function's standard output."""

    def __init__(self, clients: Clients, stack: str, now: Callable[[], datetime]) -> None:
        """Publish with these clients, and count for the stack with this prefix."""
        self._data, self._stack, self._now = clients.data, stack, now

    def answer(self, topic: str, body: Mapping[str, object]) -> None:
        """Publish an answer (Publish, QoS 1)."""
        with asking():
            self._data.publish(topic=topic, qos=1, payload=json.dumps(body).encode())

    def count(self, metric: Metric, *, value: int = 1, about: Mapping[str, object] | None = None) -> None:
        """Write a line from which CloudWatch makes a metric."""
        sys.stdout.write(metrics.line(metric, value, self._stack, self._now(), about or {}) + "\n")
