"""`ca`: the CAs of the operator's own by which the account's signer signs, and whether AWS IoT asks that signer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.backend.decide.signing import Signed
from agent.backend.errors import ChangedError
from agent.backend.values import SigningCa
from agent.core.exit_codes import Exit
from agent.core.frozen import frozen
from agent.errors import MaterialError
from agent.fleet.decide import issued_ca, own_ca
from agent.fleet.errors import AccountError, DeniedError, NotNowError, UsageError
from agent.fleet.own_cas import OwnCas

if TYPE_CHECKING:
    from datetime import datetime

    from agent.backend.values import Signer
    from agent.fleet.own_cas import CaKey
    from agent.fleet.task import OperatorTask

_YEAR = timedelta(days=365)
_HEAD = ("Number", "State", "Signs from", "Ends", "Certificate")


@frozen
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
    if (given.csr or given.certificate) and not (given.new or given.renew):
        raise UsageError("--csr and --certificate are for a CA that is made: they go with --new or --renew.")
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
    asks = "AWS IoT and the vending machine ask the signer." if signer.on else "AWS signs; the signer is not asked."
    if not rows:
        task.output.nothing(f"There is no CA. `iot-cert cloud ca --new` makes one. {asks}")
        return
    task.tell(_HEAD, rows)
    task.show([asks])


def _new(task: OperatorTask) -> None:
    signer = task.fleet.store.signer()
    if signer.cas:
        numbers = ", ".join(str(item.number) for item in signer.cas)
        _tell(task, f"There is a CA already: {numbers}. --renew makes another one beside it.")
        return
    making = _making(task, OwnCas(task.fleet), 1, task.now.replace(microsecond=0))
    task.show(["It signs nothing for gateways before `iot-cert cloud ca --sign on`."])
    _make(task, making, "ca")


def _renew(task: OperatorTask, number: int) -> None:
    signer = task.fleet.store.signer()
    after = own_ca.find(signer, number + 1)
    if after is not None:
        _tell(task, f"CA {after.number} is there, and signs from {after.signs_from:%Y-%m-%d %H:%M} UTC on.")
        return
    # The overlap is for those who must know the CA's certificate, which is still to be made where it is asked for.
    overlap = timedelta() if task.arguments.csr else own_ca.OVERLAP
    begin = task.arguments.begin or task.now.replace(microsecond=0) + overlap
    making = _making(task, OwnCas(task.fleet), number + 1, begin)
    why = own_ca.not_renewed(signer, number, making.said, task.now)
    if why:
        raise UsageError(why)
    if not task.arguments.csr:
        when = f"{making.said.signs_from:%Y-%m-%d %H:%M}"
        task.show([f"CA {number + 1} is made beside CA {number}, and signs in its place from {when} UTC on."])
        task.show(["Whatever verifies gateways by their CA has to know both until the old one is retired."])
    _make(task, making, "renew")


@frozen
class _Making:
    """The making of a CA.

    Attributes:
        cas: The CAs of the stack.
        number: Its number.
        begun: Its key, where an earlier order has made it.
        said: The promise that holds for it.
        issued: Its certificate, where a root of the operator's has made it.
    """

    cas: OwnCas
    number: int
    begun: CaKey | None
    said: own_ca.Promise
    issued: Signed | None = None


def _making(task: OperatorTask, cas: OwnCas, number: int, begin: datetime) -> _Making:
    """Return what is there of a CA that an order is to make, and show it.

    Raises:
        UsageError: An earlier order has begun it otherwise, or the certificate that is given cannot be taken in.
    """
    given = task.arguments
    ends = task.now.replace(microsecond=0) + given.years * _YEAR
    said = own_ca.Promise(signs_from=begin, ends=ends, by_another=bool(given.csr or given.certificate))
    begun = cas.key(number, task.now)
    if begun is None:
        if given.certificate:
            raise UsageError(
                f"CA {number} has no key yet.", hint="--csr makes it, and prints the request to be signed."
            )
        also = "the request that your root signs" if given.csr else "the certificate of a CA that signs itself"
        task.show([f"A key is made in KMS, at 1 USD a month, and {also}."])
        return _Making(cas=cas, number=number, begun=None, said=said)
    why = own_ca.not_continued(begun.promise, said, number, begun.key_id)
    if why:
        raise UsageError(why)
    making = _Making(cas=cas, number=number, begun=begun, said=own_ca.kept(said, begun.promise, task.now))
    if given.certificate:
        return _issued(task, making, begun)
    if not given.csr:
        task.show([f"An earlier order has made the key of CA {number}, and was interrupted. This one completes it."])
        task.show([f"The CA ends at {making.said.ends:%Y-%m-%d %H:%M} UTC, as the earlier order has said."])
    return making


def _issued(task: OperatorTask, making: _Making, begun: CaKey) -> _Making:
    """Return what is made with the certificate that is given, and show it."""
    path, key = task.arguments.certificate, making.cas.public_key(begun)
    try:
        found = issued_ca.of_key(path.read_bytes(), key)
    except (OSError, MaterialError) as error:
        raise UsageError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    if found is None:
        again = "`--csr` prints the request, which names the key."
        raise UsageError(f"{path} has no certificate of the key of CA {making.number}, {begun.key_id}.", hint=again)
    name, begin = making.cas.name(making.number), making.said.signs_from
    why = issued_ca.not_taken(found, name, begin, task.fleet.stack.lifetime, task.now)
    if why:
        raise UsageError(f"The certificate in {path} cannot be taken in. {why}")
    facts = found.facts
    task.show([f"{facts.subject}, of {facts.issuer}, ends at {facts.not_after:%Y-%m-%d %H:%M} UTC."])
    made = Signed(pem=found.pem, certificate_id=facts.sha256, ends=facts.not_after)
    return replace(making, issued=made, said=replace(making.said, ends=made.ends))


def _make(task: OperatorTask, making: _Making, word: str) -> None:
    cas, number, begin = making.cas, making.number, making.said.signs_from
    if task.arguments.csr:
        _request(task, making, word)
        return
    task.confirm("The CA is made.", word)
    key = making.begun or cas.make_key(number, making.said)
    made = making.issued or cas.root(key, number)
    cas.register(made, key.key_id, task.now)
    own = SigningCa(
        number=number,
        ca_id=made.certificate_id,
        pem=made.pem,
        key=key.key_id,
        signs_from=begin,
        ends=made.ends,
    )
    signer = task.fleet.store.signer()
    _save(task, replace(signer, cas=(*(item for item in signer.cas if item.number != number), own)))
    text = f"CA {number} signs from {begin:%Y-%m-%d %H:%M} UTC on, and ends at {made.ends:%Y-%m-%d %H:%M} UTC."
    _tell(task, text, own)


def _request(task: OperatorTask, making: _Making, word: str) -> None:
    """Print the request for a CA's certificate; where its key is there, nothing is made, and nothing is asked."""
    if making.begun is None:
        task.confirm("The key is made.", word)
    key = making.begun or making.cas.make_key(making.number, making.said)
    pem = making.cas.request(key, making.number)
    order = f"--renew {task.arguments.renew}" if task.arguments.renew else "--new"
    text = f"Your root signs this request; `iot-cert cloud ca {order} --certificate FILE` takes in what it makes of it."
    about = {"number": making.number, "key": key.key_id, "request": pem}
    task.output.tell({"what": "ca", "text": text, **about}, text)
    task.show(pem.splitlines())


def _retire(task: OperatorTask, number: int) -> None:
    cas, signer = OwnCas(task.fleet), task.fleet.store.signer()
    old = own_ca.find(signer, number)
    if old is None:
        _tell(task, f"There is no CA {number} any more.")
        return
    why = own_ca.not_retired(signer, number, task.fleet.stack.lifetime, task.now)
    if why:
        raise DeniedError(why)
    rests = next(cas.resting_on(old, task.now), "")
    if rests:
        raise DeniedError(
            f"The certificate {rests} is ACTIVE, and CA {number} has signed it.",
            hint="`iot-cert cloud rotate` has its gateway renew it; `cloud orphans` finds it where there is none.",
        )
    task.confirm(f"CA {number} is made INACTIVE, and its key is disabled.", "retire")
    cas.deactivate(old.ca_id)
    cas.disable_key(old.key)
    _save(task, replace(signer, cas=tuple(item for item in signer.cas if item.number != number)))
    text = (
        f"CA {number} is retired. Its key {old.key} is disabled; `aws kms schedule-key-deletion` removes it for good."
    )
    _tell(task, text, old)


def _switch_on(task: OperatorTask) -> None:
    cas, signer = OwnCas(task.fleet), task.fleet.store.signer()
    function = task.fleet.stack.outputs.get("SignerFunction", "")
    if not function:
        raise UsageError("This stack has no signer.", hint="Deploy it with Signer=on; docs/short-lives.md says how.")
    if signer.at(task.now) is None:
        raise UsageError("There is no CA that signs.", hint="`iot-cert cloud ca --new` makes one.")
    providers = cas.providers()
    why = own_ca.not_provided(providers, task.fleet.stack.outputs["Prefix"], function)
    if why:
        raise AccountError(why)
    _try(cas, function, asked=bool(providers))
    if not providers:
        _ask_for_everyone(task)
    cas.protect()
    cas.hold(providers[0] if providers else cas.provide(function), function)
    if not signer.on:
        _save(task, replace(signer, on=True))
    _tell(task, "AWS IoT and the vending machine ask the signer. `--sign off` has AWS sign again.")


def _ask_for_everyone(task: OperatorTask) -> None:
    hours = task.fleet.stack.lifetime // timedelta(hours=1)
    if not task.output.as_json:
        task.output.field("EVERYONE", own_ca.EVERYONE.format(hours=hours))
    task.confirm("AWS IoT asks this signer from now on, within some minutes.", "everyone")


def _try(cas: OwnCas, function: str, *, asked: bool) -> None:
    """Have a certificate signed that no one gets: a signer that cannot would leave the account without any.

    Args:
        cas: The CAs of the stack.
        function: The signer's function.
        asked: Whether AWS IoT asks it already: an order was interrupted, or is typed again.

    Raises:
        AccountError: It cannot.
    """
    _, why = cas.tried(function)
    if why:
        after = "AWS IoT asks it: `--sign off` has AWS sign." if asked else "AWS IoT was not told to ask it."
        raise AccountError(f"The signer was tried and signs nothing: {why} {after}")


def _switch_off(task: OperatorTask) -> None:
    cas, signer = OwnCas(task.fleet), task.fleet.store.signer()
    own = task.fleet.stack.outputs["Prefix"]
    there = any(item["certificateProviderName"] == own for item in cas.providers())
    if there:
        task.confirm("AWS signs every new certificate again, until 2049.", "amazon")
        cas.withdraw()
    if signer.on:
        _save(task, replace(signer, on=False))
    cas.release()
    _tell(task, "AWS signs. Certificates that the signer has made go on until they end.")
    if there or signer.on:
        stays = "aws cloudformation update-termination-protection --no-enable-termination-protection"
        task.show([f"The stack stays protected from deletion until `{stays} --stack-name {task.fleet.stack.name}`."])


def _save(task: OperatorTask, signer: Signer) -> None:
    try:
        task.fleet.store.save_signer(signer)
    except ChangedError:
        raise NotNowError(
            "The signer's row was written meanwhile, by another operator.", hint="Run the same command again."
        ) from None


def _tell(task: OperatorTask, text: str, own: SigningCa | None = None) -> None:
    about = {"number": own.number, "certificate": own.ca_id, "key": own.key, "pem": own.pem} if own else {}
    task.output.tell({"what": "ca", "text": text, **about}, text)
