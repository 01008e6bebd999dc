"""What the operator runs to let a gateway in again whose certificates no endpoint accepts any more.

Such a gateway cannot rotate, since it cannot connect: it enrols anew, by its claim or at the vending machine, and the
account has to open that enrolment. The command is to be copied, so nothing stands in it that a shell would take for
anything but a name. It prints another token: the one of before is spent.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SERIAL, TOKEN = "SerialNumber", "RegistrationToken"  # the parameters of the account's enrolment template
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


def way_back(serial: str, *, enrols: bool, token_at: str = "") -> str:
    """Return what brings a gateway back whose certificate has expired, in sentences.

    Args:
        serial: Its serial number, or empty.
        enrols: Whether it has a claim or a vending machine to enrol with.
        token_at: Where its token is looked for, a file or a key of the configuration; empty where it shows none.
    """
    if not enrols:
        return "It has nothing to enrol with: bring another set in with `iot-cert import`."
    opened = f"A person with access to the account lets it in with {command(serial)}"
    new = f", which prints a new token. Put that into {token_at}" if token_at else ""
    return f"{opened}{new}; then the daemon enrols by itself, and `iot-cert rotate` at once."
