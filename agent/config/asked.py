"""What the configuration asks for, as far as a gateway's status and schedule rest on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.failure.readmission import serial_of
from agent.core.report.known import Asked
from agent.core.when.schedule import Wishes

if TYPE_CHECKING:
    from agent.config.values import Config
    from agent.core.when.schedule import Pause, Suggestion


def asked_of(
    config: Config, thing: str = "", pause: Pause | None = None, suggestion: Suggestion | None = None
) -> Asked:
    """Return what is asked for now.

    Args:
        config: The configuration in force.
        thing: The name of the thing that the set in use is for, or empty.
        pause: The pause on disk.
        suggestion: The renewal window that the fleet suggests.
    """
    enrolment = config.enrollment
    return Asked(
        config=str(config.path.absolute()),
        endpoint=config.endpoint,
        port=config.port,
        thing_name=config.thing_name,
        concerns=tuple(config.concerns(thing)),
        warn_anchors=tuple(config.trust.warn),
        wishes=Wishes(
            policy=config.renewal_policy,
            limits=config.limits,
            holds=config.rotation.holds(pause),
            suggestion=suggestion,
            on_change=config.rotation.on_change,
        ),
        grace=config.rotation.grace,
        retires=config.rotation.retire,
        enrols=enrolment is not None,
        serial=serial_of(enrolment.parameters) if enrolment is not None else "",
        token_at=enrolment.token_place if enrolment is not None else "",
        missing_zones=config.missing_zones,
    )
