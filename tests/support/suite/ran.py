"""What a command did that was run within the test, or by it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ran:
    """What one command did."""

    code: int
    out: str
    err: str
    arguments: tuple[str, ...] = ()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON objects that it printed."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def outcome(self) -> dict[str, Any]:
        """The last of them."""
        return self.events[-1]

    @property
    def phases(self) -> list[str]:
        """The phases it reported."""
        return [event["code"] for event in self.events if event["event"] == "progress"]
