"""What an operator chose when the stack was deployed, as the functions find it in their environment."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from agent.backend.errors import MisconfiguredError
from agent.backend.names import Variable
from agent.core.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

SHORTEST_LIFE = 24  # hours
_RE_ENROL = {"armed": True, "never": False}


@frozen
class StackSettings:
    """The operator's choices.

    Attributes:
        enrolment_template: The template that a claim certificate uses.
        rotation_template: The template that gateways use.
        own_policies: The policies that the rotation template attaches by itself.
        keep: How long a retired certificate is kept before it is deleted.
        daily_limit: The certificates that a thing may have in a day.
        provider_ca: The CA by which the account's certificate provider signs; empty where there is none.
        lifetime: How long what the stack's own signer signs is to live.
        signer_function: The name of that signer; empty where the stack has none.
        re_enrols: Whether a serial number that has been enrolled may be once more, when it was armed again.
    """

    enrolment_template: str = "gateway"
    rotation_template: str = "gateway-rotation"
    own_policies: frozenset[str] = frozenset()
    keep: timedelta = timedelta(days=30)
    daily_limit: int = 6
    provider_ca: str = ""
    lifetime: timedelta = timedelta(hours=24)
    signer_function: str = ""
    re_enrols: bool = True


def read(environment: Mapping[str, str]) -> StackSettings:
    """Return the settings that an environment holds.

    Raises:
        MisconfiguredError: A variable is missing or cannot be read.
    """
    try:
        return StackSettings(
            enrolment_template=environment[Variable.ENROLMENT_TEMPLATE],
            rotation_template=environment[Variable.ROTATION_TEMPLATE],
            own_policies=frozenset(name for name in environment[Variable.OWN_POLICIES].split(",") if name),
            keep=timedelta(days=_count(environment[Variable.KEEP_DAYS])),
            daily_limit=_count(environment[Variable.DAILY_LIMIT]),
            provider_ca=environment[Variable.SIGNER],
            lifetime=timedelta(hours=_count(environment[Variable.LIFETIME], SHORTEST_LIFE)),
            signer_function=environment[Variable.SIGNER_FUNCTION],
            re_enrols=_RE_ENROL[environment[Variable.RE_ENROL]],
        )
    except (KeyError, ValueError) as error:
        raise MisconfiguredError(f"The function's environment is not what the template gives it: {error}.") from None


def _count(text: str, least: int = 1) -> int:
    number = int(text)
    if number < least:
        raise ValueError(f"{number} is less than {least}")
    return number
