"""What a change left behind, as a running daemon knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.dependants import Unit
from support import make
from support.make import DAY, NOW
from support.running.daemon_rig import OLD

if TYPE_CHECKING:
    from datetime import datetime

NGINX, BRIDGE = Unit(name="nginx.service"), Unit(name="bridge.service")


def left(certificate_id: str = OLD, at: datetime = NOW - 8 * DAY, **changes: Any) -> ChangeRecord:
    """Return a rotation that left a certificate behind, so that its grace is over."""
    return make.finished(Phase.COMMITTED, at, replaces=certificate_id, **changes)
