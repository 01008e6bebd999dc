"""What it means that the account refuses to register a certificate: its template's word, and that of the hook.

The claim or the set in use was allowed to connect and to ask, so no spreading of policies explains it, and nothing
speaks against the set. What people can mend in the account within minutes is asked again with the same certificate.
Sources: "Pre-provisioning hooks" and "Device provisioning MQTT API" in the developer guide.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.core.failure import readmission
from agent.core.failure.codes import Code
from agent.core.failure.failure import Failure, FailureClass
from agent.core.failure.failures import UNAUTHORISED, in_one_line
from agent.core.values import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

# By the service's name for it: who has to do what. These come with 400 or 404 and are none of a bad request.
_NOT_READY = {
    "InvocationError": "The template's provisioning hook crashed, was throttled or took too long: its log says why.",
    "InvalidResult": "The template's provisioning hook answers what AWS IoT cannot use: its code has to be mended.",
    "InvalidTemplate": "The account has no such template, or it is disabled: check the template's name, and whether "
    "the stack that makes it is deployed.",
    "ProvisioningFailed": "A policy, group or type that the template names is missing in the account, or AWS IoT was "
    "busy: check the template.",
}
_NOT_READY["ResourceNotFound"] = _NOT_READY["ResourceNotFoundException"] = _NOT_READY["InvalidTemplate"]

_HOOK = "Connecting and asking were allowed, so no policy is to blame; the log of the template's provisioning hook"
_ENROLMENT = (
    f"{_HOOK} says why. See first that serial number and token are those that were armed. A gateway that was enrolled "
    "before has used its enrolment up: a person with access to the account opens one more with "
)
_ROTATION = f"{_HOOK} says why. It has to allow what is attached to the thing."


def of_registration(status: int, code: str, text: str) -> Failure | None:
    """Return what a refusal of RegisterThing means, or None where it means what it would mean of any request.

    Args:
        status: Its `statusCode`.
        code: Its `errorCode`.
        text: Its `errorMessage`.
    """
    said = f"({status} {in_one_line(code)}): {in_one_line(text)}."
    if status in UNAUTHORISED:
        message = f"RegisterThing was denied by the account's provisioning hook {said}"
        return Failure(kind=FailureClass.POLICY, code=Code.DENIED, message=message, remedy=_ROTATION)
    if code not in _NOT_READY or status not in {400, 404}:
        return None
    message = f"RegisterThing cannot be carried out by the account now {said}"
    return Failure(
        kind=FailureClass.POLICY,
        code=Code.NOT_READY,
        message=message,
        remedy=_NOT_READY[code],
        promise="The agent asks again.",
    )


def told(failure: Failure, kind: Kind, template: str, parameters: Mapping[str, str]) -> Failure:
    """Return a refusal of RegisterThing with what is to be done for a change of this kind.

    Args:
        failure: The refusal.
        kind: What was to be done.
        template: The name of the template that was asked for; policies name it, too.
        parameters: What was sent with it.
    """
    if failure.code == Code.NOT_AUTHORISED:
        remedy = f"The IoT policy attached to it has to allow the template `{template}`; is that its name?"
        return replace(failure, remedy=f"{remedy} A new policy takes minutes to spread.")
    if failure.code != Code.DENIED or kind is not Kind.ENROLL:
        return failure
    opens = f"{_ENROLMENT}{readmission.command(readmission.serial_of(parameters))}"
    new = f", which prints a new token for `enrollment.parameters.{readmission.TOKEN}`"
    return replace(failure, remedy=f"{opens}{new if readmission.TOKEN in parameters else ''}.")
