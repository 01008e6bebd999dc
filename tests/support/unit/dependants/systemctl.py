"""A systemctl of a test's own, and units that it knows."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from agent.core.dependants import Unit, UnitAction, Verification
from agent.dependants.export import Extract

NAME = "mosquitto.service"
GIVEN = Extract(generation=7, thing_name="gw-0042", certificate_id="ab" * 32, set="cd" * 32)
LONG = timedelta(seconds=30)  # which systemd's stand-in does not need; what is looked at again and again ends by it


def unit(action: UnitAction = UnitAction.EITHER, healthy: float = 0.0, **changes: Any) -> Unit:
    """Return a unit that is not watched for long."""
    return replace(Unit(name=NAME, action=action, healthy=timedelta(seconds=healthy)), **changes)


def verifying(**changes: Any) -> Unit:
    """Return a unit that has to show something, and is looked at four times at most."""
    return unit(timeout=LONG, verify=Verification(**changes))
