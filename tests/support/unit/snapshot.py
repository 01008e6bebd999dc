"""A gateway at which a test looks."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.config.reader import load
from agent.core import timekeeping
from agent.core.change.lifecycle import good_times
from agent.core.jsonio import encode
from agent.core.report.document import document as told
from agent.operations import snapshot

if TYPE_CHECKING:
    from agent.config.values import Config
    from support.simulated.rig import Rig

MEMORY = Path("/dev/shm")  # noqa: S108 - a directory with a random name is made in it
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

ENROLMENT = (
    "enrollment: {template: gateway, claim: {certificate: /etc/claim/certificate.pem, key: /etc/claim/key.pem}}\n"
)


def config(rig: Rig, more: str = ENROLMENT) -> Config:
    """Return the configuration of the gateway."""
    path = rig.path.parent / "config.yaml"
    path.write_text(f"endpoint: iot.example.com\nstate_dir: {rig.path}\n{more}", encoding="utf-8")
    return load(path)


def look(rig: Rig) -> snapshot.Snapshot:
    """Look at the store by the gateway's own clock."""
    floors, notes = rig.store.floors(), good_times(rig.store.history())
    reading = timekeeping.read(rig.clock.now(), synchronised=rig.clock.synchronised(), floors=floors, notes=notes)
    return snapshot.look(rig.store, reading)


def document(rig: Rig, more: str = ENROLMENT) -> dict[str, Any]:
    """Return the document, as it is once it has been a file."""
    found = told(snapshot.status(config(rig, more), look(rig)))
    plain: dict[str, Any] = json.loads(encode(found))
    return plain
