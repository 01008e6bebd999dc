"""A gateway that a doctor visits, and what the visit finds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from agent.core.report.checks import CHECKS, Line
from agent.doctor.examination import DaemonWord, Doctor
from agent.sandbox.account.authority import Authority
from support.network.servers import closed_port

if TYPE_CHECKING:
    from support.simulated.rig import Rig

MEMORY = Path("/dev/shm")  # noqa: S108 - a directory with a random name is made in it
NOW = datetime.now(UTC)
DAY = timedelta(days=1)
ROOT = Authority("Root A", NOW)


def write(folder: Path, port: int, more: str = "", roots: bytes = ROOT.pem) -> Path:
    """Write a configuration and its anchors."""
    (folder / "roots.pem").write_bytes(roots)
    path = folder / "config.yaml"
    path.write_text(
        f"endpoint: localhost\nport: {port}\nstate_dir: {folder}/state\nruntime_dir: {folder}/run\n"
        f"trust: {{anchors: {folder}/roots.pem}}\n{more}"
    )
    return path


def visit(path: Path, *told: Line) -> dict[str, Line]:
    """Return the lines of a visit by check; all are there, in order."""
    lines = Doctor(path, lambda *_: DaemonWord(lines=told)).visit()
    assert tuple(line.check for line in lines) == CHECKS
    return {line.check: line for line in lines}


def of_store(rig: Rig, more: str = "") -> dict[str, Line]:
    """Return the lines about a gateway without a network."""
    return visit(write(rig.path.parent, closed_port(), more))
