"""`ca`: the CAs of the operator's own by which the account's signer signs, and whether AWS IoT asks that signer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.backend.errors import ChangedError
from agent.backend.values import SigningCa
from agent.core.exit_codes import Exit
from agent.crypto.materials import SoftwareMaterials
from agent.fleet.decide import own_ca
from agent.fleet.errors import AccountError, DeniedError, NotNowError, UsageError
from agent.fleet.own_cas import OwnCas

if TYPE_CHECKING:
    from datetime import datetime

    from agent.backend.values import Signer
    from agent.fleet.task import OperatorTask

_YEAR = timedelta(days=365)
_HEAD = ("Number", "State", "Signs from", "Ends", "Certificate")


@dataclass(frozen=True, kw_only=True)
class CaRow:
    """A CA of the operator's own.

    Attributes:
        number: The CA's number, by which orders name it.
        state: `signs`, `next` or `before`: it signs, will, or did before another one took over.
        signs_from: From when it signs, in UTC, such as 2026-11-29 09:00.
        ends: When its certificate ends, in UTC.
        certificate: Its id in AWS IoT.
        key: The id of its key in KMS.
        pem: Its certificate, in PEM: what verifies gateways has to know it.
        asked: Whether AWS IoT and the vending machine ask the signer.
    """

    number: int
    state: str
    signs_from: str
    ends: str
    certificate: str
    key: str
    pem: str
    asked: bool


def ca(task: OperatorTask) -> Exit:
    """Do what the options say, or show what there is."""
    given = task.arguments
    if given.new:
        _new(task)
    elif given.renew:
        _renew(task, given.renew)
    elif given.retire:
        _retire(task, given.retire)
    elif given.sign:
        (_switch_on if given.sign == "on" else _switch_off)(task)
    else:
        _show(task)
    return Exit.DONE


def _show(task: OperatorTask) -> None:
    signer = task.fleet.store.signer()
    rows = [
        CaRow(
            number=item.number,
            state=own_ca.state(signer, item, task.now),
            signs_from=f"{item.signs_from:%Y-%m-%d %H:%M}",
            ends=f"{item.ends:%Y-%m-%d %H:%M}",
            certificate=item.ca_id,
            key=item.key,
            pem=item.pem,
            asked=signer.on,
        )
        for item in signer.cas
    ]
    task.tell(_HEAD, rows)
    asks = "AWS IoT and the vending machine ask the signer." if signer.on else "AWS signs; the signer is not asked."
    task.show([asks if signer.cas else f"There is no CA. `iot-cert cloud ca --new` makes one. {asks}"])


def _new(task: OperatorTask) -> None:
    signer = task.fleet.store.signer()
    if signer.cas:
        numbers = ", ".join(str(item.number) for item in signer.cas)
        _tell(task, f"There is a CA already: {numbers}. --renew makes another one beside it.")
        return
    task.show(["A key is made in KMS, at 1 USD a month, and the certificate of a CA that signs itself."])
    task.show(["It signs nothing for gateways before `iot-cert cloud ca --sign on`."])
    task.confirm("The CA is made.", "ca")
    _make(task, 1, task.now.replace(microsecond=0))


def _renew(task: OperatorTask, number: int) -> None:
    signer = task.fleet.store.signer()
    after = own_ca.find(signer, number + 1)
    if after is not None:
        _tell(task, f"CA {after.number} is there, and signs from {after.signs_from:%Y-%m-%d %H:%M} UTC on.")
        return
    begin = task.arguments.begin or task.now.replace(microsecond=0) + own_ca.OVERLAP
    why = own_ca.not_renewed(signer, number, begin, task.now)
    if why:
        raise UsageError(why)
    task.show(
        [f"CA {number + 1} is made beside CA {number}, and signs in its place from {begin:%Y-%m-%d %H:%M} UTC on."]
    )
    task.show(["Whatever verifies gateways by their CA has to know both until the old one is retired."])
    task.confirm("The CA is made.", "renew")
    _make(task, number + 1, begin)


def _make(task: OperatorTask, number: int, begin: datetime) -> None:
    account = OwnCas(task.fleet)
    key = account.key(number)
    made = account.root(key, number, task.arguments.years * _YEAR)
    account.register(made, key["KeyId"], task.now)
    signer = task.fleet.store.signer()
    own = SigningCa(
        number=number,
        ca_id=made.certificate_id,
        pem=made.pem,
        key=key["KeyId"],
        signs_from=begin,
        ends=made.ends,
    )
    _save(task, replace(signer, cas=(*(item for item in signer.cas if item.number != number), own)))
    text = f"CA {number} signs from {begin:%Y-%m-%d %H:%M} UTC on, and ends at {made.ends:%Y-%m-%d %H:%M} UTC."
    _tell(task, text, own)


def _retire(task: OperatorTask, number: int) -> None:
    account, signer = OwnCas(task.fleet), task.fleet.store.signer()
    old = own_ca.find(signer, number)
    if old is None:
        _tell(task, f"There is no CA {number} any more.")
        return
    why = own_ca.not_retired(signer, number, task.fleet.stack.lifetime, task.now)
    if why:
        raise DeniedError(why)
    rests = next(account.resting_on(old, task.now), "")
    if rests:
        raise DeniedError(
            f"The certificate {rests} is ACTIVE, and CA {number} has signed it.",
            hint="`iot-cert cloud rotate` has its gateway renew it; `cloud orphans` finds it where there is none.",
        )
    task.confirm(f"CA {number} is made INACTIVE, and its key is disabled.", "retire")
    account.deactivate(old.ca_id)
    account.disable_key(old.key)
    _save(task, replace(signer, cas=tuple(item for item in signer.cas if item.number != number)))
    text = (
        f"CA {number} is retired. Its key {old.key} is disabled; `aws kms schedule-key-deletion` removes it for good."
    )
    _tell(task, text, old)


def _switch_on(task: OperatorTask) -> None:
    account, signer = OwnCas(task.fleet), task.fleet.store.signer()
    function = task.fleet.stack.outputs.get("SignerFunction", "")
    if not function:
        raise UsageError("This stack has no signer.", hint="Deploy it with Signer=on; docs/short-lives.md says how.")
    if signer.at(task.now) is None:
        raise UsageError("There is no CA that signs.", hint="`iot-cert cloud ca --new` makes one.")
    providers = account.providers()
    others = [item["lambdaFunctionArn"] for item in providers if item["lambdaFunctionArn"] != function]
    if others:
        raise AccountError(f"AWS IoT asks another certificate provider's function, {others[0]}, and there can be one.")
    if not providers:
        _try(account, function)
        hours = task.fleet.stack.lifetime // timedelta(hours=1)
        if not task.output.as_json:
            task.output.field("EVERYONE", own_ca.EVERYONE.format(hours=hours))
        task.confirm("AWS IoT asks this signer from now on, within some minutes.", "everyone")
        account.provide(function)
    if not signer.on:
        _save(task, replace(signer, on=True))
    _tell(task, "AWS IoT and the vending machine ask the signer. `--sign off` has AWS sign again.")


def _try(account: OwnCas, function: str) -> None:
    """Have a certificate signed that no one gets: a signer that cannot would leave the account without any.

    Raises:
        AccountError: It cannot.
    """
    materials = SoftwareMaterials()
    csr = materials.request(materials.new_key(), None, "iot-cert cloud ca").decode()
    why = account.tried(function, csr)
    if why:
        raise AccountError(f"The signer was tried and signs nothing: {why} AWS IoT was not told to ask it.")


def _switch_off(task: OperatorTask) -> None:
    account, signer = OwnCas(task.fleet), task.fleet.store.signer()
    own = task.fleet.stack.outputs["Prefix"]
    there = any(item["certificateProviderName"] == own for item in account.providers())
    if there:
        task.confirm("AWS signs every new certificate again, until 2049.", "amazon")
        account.withdraw()
    if signer.on:
        _save(task, replace(signer, on=False))
    _tell(task, "AWS signs. Certificates that the signer has made go on until they end.")


def _save(task: OperatorTask, signer: Signer) -> None:
    try:
        task.fleet.store.save_signer(signer)
    except ChangedError:
        raise NotNowError(
            "The signer's row was written meanwhile, by another operator.", hint="Run the same command again."
        ) from None


def _tell(task: OperatorTask, text: str, own: SigningCa | None = None) -> None:
    if task.output.as_json:
        about = {"number": own.number, "certificate": own.ca_id, "key": own.key, "pem": own.pem} if own else {}
        task.output.emit({"what": "ca", "text": text, **about})
    task.show([text])
