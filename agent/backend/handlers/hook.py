"""The pre-provisioning hook of both templates: AWS IoT Core asks it before it registers any certificate.

It answers in time or AWS refuses by itself; it never remembers that something was allowed. What AWS says of the caller
is believed, what the request says is looked up.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.backend.decide.admission import Enrolment, KnownSerial, admit, denied, has_token, wants_report
from agent.backend.decide.rotation import Rotation, RotationFacts, over_budget, refused, rotate
from agent.backend.decide.verdict import Decision, is_certificate_id, is_name
from agent.backend.errors import ChangedError
from agent.backend.handlers.account import carry_out, device_of, tell
from agent.backend.names import SERIAL_PARAMETER, THING_PARAMETER, TOKEN_PARAMETER, Metric

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.backend.handlers.account import Account
    from agent.backend.values import Record


def hook(event: Mapping[str, object], account: Account) -> Mapping[str, object]:
    """Answer AWS IoT Core whether a certificate may be registered, and as which thing.

    Args:
        event: What AWS sends: `claimCertificateId`, `certificateId`, `templateArn`, `parameters`.
        account: The account.

    Raises:
        BackendError: It could not be found out. AWS then registers nothing, and the gateway asks again.
    """
    template = _text(event, "templateArn").rpartition("/")[2]
    certificate_id = _text(event, "certificateId")
    about: dict[str, object] = {"certificateId": certificate_id, "caller": _text(event, "claimCertificateId")}
    if template == account.settings.enrolment_template:
        enrolment = _enrolment(event, certificate_id)
        about["serial"] = enrolment.serial if is_name(enrolment.serial) else ""
        verdict = carry_out(account, lambda: _admitted(enrolment, account))
    elif template == account.settings.rotation_template:
        rotation = _rotation(event, certificate_id)
        verdict = _rotate(rotation, account)
    else:
        why = f"The template {template} is none of this stack's."
        verdict = Decision(allowed=False, why=why, say=denied(), count=Metric.ENROLMENTS_REFUSED)
    tell(account, verdict, **about)
    return verdict.say


def _enrolment(event: Mapping[str, object], certificate_id: str) -> Enrolment:
    parameters = event.get("parameters")
    return Enrolment(
        serial=_text(parameters, SERIAL_PARAMETER),
        token=_text(parameters, TOKEN_PARAMETER),
        certificate_id=certificate_id,
    )


def _rotation(event: Mapping[str, object], certificate_id: str) -> Rotation:
    return Rotation(
        thing=_text(event.get("parameters"), THING_PARAMETER),
        caller=_text(event, "claimCertificateId"),
        certificate_id=certificate_id,
    )


def _text(holder: object, name: str) -> str:
    """Return a text of the event, or nothing where there is none."""
    value = holder.get(name) if isinstance(holder, dict) else None
    return value if isinstance(value, str) else ""


def _admitted(asked: Enrolment, account: Account) -> Decision:
    return admit(asked, known_of(asked, account), account.now(), re_enrols=account.settings.re_enrols)


def known_of(asked: Enrolment, account: Account) -> KnownSerial:
    """Return what is known of a serial number: no more than its row where its token is not the right one.

    Args:
        asked: What is asked for.
        account: The account.

    Raises:
        BackendError: It could not be found out.
    """
    device = account.store.device(asked.serial) if is_name(asked.serial) else None
    if device is None or not has_token(asked, device):
        return KnownSerial(device=device)
    found = (account.store.record(item) for item in sorted({asked.certificate_id, *device.bought}))
    known = KnownSerial(
        device=device, records={record.certificate_id: record for record in found if record is not None}
    )
    return (
        replace(known, reported=account.registry.report(device.thing).certificate_id)
        if wants_report(asked, known)
        else known
    )


def _rotate(asked: Rotation, account: Account) -> Decision:
    """Carry a rotation out; one whose rights cannot be copied is refused, and the old certificate goes on working."""
    try:
        return carry_out(account, lambda: _rotated(asked, account))
    except ChangedError as error:
        return refused(f"What the old certificate may do cannot be given to the new one: {error}")


def _rotated(asked: Rotation, account: Account) -> Decision:
    now, settings = account.now(), account.settings
    held = _held(asked, account)
    verdict = rotate(asked, held, settings.own_policies, now)
    if not verdict.allowed:
        return verdict
    within = account.store.charge(held.things[0], now.date(), asked.certificate_id, settings.daily_limit)
    return verdict if within else over_budget(held.things[0], settings.daily_limit)


def _held(asked: Rotation, account: Account) -> RotationFacts:
    """Look up what is known of the caller: only its things where these already decide against it."""
    if not is_certificate_id(asked.caller) or not is_certificate_id(asked.certificate_id):
        return RotationFacts(things=())
    things = account.registry.things_of(asked.caller)
    if len(things) != 1 or asked.thing not in {"", things[0]}:
        return RotationFacts(things=things)
    caller = account.store.record(asked.caller)
    return RotationFacts(
        things=things,
        policies=account.registry.policies_of(asked.caller),
        caller=caller,
        active=_is_active(caller, account),
        device=device_of(caller, account),
        record=account.store.record(asked.certificate_id),
    )


def _is_active(caller: Record | None, account: Account) -> bool:
    """Whether the caller is ACTIVE; one that was retired may be connected for some minutes more."""
    if caller is None or caller.retired_at is None:
        return True
    certificate = account.registry.certificate(caller.certificate_id)
    return certificate is not None and certificate.active
