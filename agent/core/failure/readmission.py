"""What the operator runs to let a gateway in again whose certificates no endpoint accepts any more.

Such a gateway cannot rotate, since it cannot connect: it enrols by its claim, and the account has to open that
enrolment. The command is to be copied, so nothing stands in it that a shell would take for anything but a name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SERIAL = "SerialNumber"  # the parameter of the account's enrolment template
_NAME = re.compile(r"[a-zA-Z0-9:_-]{1,128}")  # of a serial number, as the account has it


def serial_of(parameters: Mapping[str, object]) -> str:
    """Return the serial number among the parameters of an enrolment; empty where it is not known, or is none."""
    value = parameters.get(SERIAL)
    return value if isinstance(value, str) and _NAME.fullmatch(value) else ""


def command(serial: str) -> str:
    """Return the command.

    Args:
        serial: The serial number, or empty.
    """
    return f"`iot-cert cloud readmit {serial or 'SERIAL'} --for 24h`"


def way_back(serial: str, *, enrols: bool) -> str:
    """Return what brings a gateway back whose certificate has expired, in sentences.

    Args:
        serial: Its serial number, or empty.
        enrols: Whether it has a claim to enrol with.
    """
    if not enrols:
        return "It has no claim to enrol with: bring another set in with `iot-cert import`."
    opened = f"A person with access to the account lets it in with {command(serial)}"
    return f"{opened}; then the daemon enrols by itself, and `iot-cert rotate` at once."
