"""The rule's function: a gateway asks for one of its certificates to be deactivated, and is answered.

The rule delivers at least once and in any order, and drops what is returned; so the answer is published, and a failure
ends with an error, upon which the same event comes again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.backend.decide import retirement
from agent.backend.decide.replacement import is_being_retired
from agent.backend.decide.retirement import RetirementFacts, RetirementRequest
from agent.backend.decide.verdict import Decision, is_certificate_id, is_name
from agent.backend.handlers.account import carry_out, device_of, tell
from agent.backend.names import LEASE, REASON, Metric
from agent.core.aws import topics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.backend.handlers.account import Account
    from agent.backend.values import Replacement

_LONGEST_TOKEN = 128  # characters; a service of AWS takes 64


def retire(event: Mapping[str, object], account: Account) -> None:
    """Carry out what a gateway asks for, and answer it.

    Args:
        event: What the rule selects: ``thing``, ``principal``, ``clientId`` and ``message``.
        account: The account.

    Raises:
        BackendError: It was not carried out, or not answered.
    """
    asked = _asked(event)
    if not is_name(asked.thing):
        account.outbox.count(Metric.RETIREMENTS_REFUSED, about={REASON: "It was asked on a topic of no thing."})
        return
    verdict = carried_out(asked, account)
    accepted, rejected = topics.answers(topics.retire(asked.thing))
    account.outbox.answer(accepted if verdict.allowed else rejected, verdict.say)
    count(asked, verdict, account)


def carried_out(asked: RetirementRequest, account: Account) -> Decision:
    """Decide about a retirement, and do what was decided.

    Raises:
        BackendError: It was not carried out.
    """
    return carry_out(account, lambda: _decide(asked, account))


def count(asked: RetirementRequest, verdict: Decision, account: Account) -> None:
    """Tell the operator of a retirement."""
    tell(account, verdict, thing=asked.thing, caller=asked.caller, certificateId=verdict.say["certificateId"])


def _asked(event: Mapping[str, object]) -> RetirementRequest:
    thing, caller, message = event.get("thing"), event.get("principal"), event.get("message")
    body = message if isinstance(message, dict) else {}
    token = body.get("clientToken")
    return RetirementRequest(
        thing=thing if isinstance(thing, str) else "",
        caller=caller if isinstance(caller, str) else "",
        target=body.get("certificateId"),
        client_token=token if isinstance(token, str) and len(token) <= _LONGEST_TOKEN else None,
    )


def _decide(asked: RetirementRequest, account: Account) -> Decision:
    """Decide under the lease of the thing, so that no other request moves the status of either certificate."""
    things = account.registry.things_of(asked.caller) if is_certificate_id(asked.caller) else ()
    refusal = retirement.may_ask(asked, things)
    if refusal is not None:
        return refusal
    now, store = account.now(), account.store
    replacement = store.replacement(asked.thing)
    if replacement is not None and is_being_retired(replacement, store.record(asked.caller)):
        return retirement.replaced(asked)
    if not store.lease(asked.thing, asked.caller, now, now + LEASE):
        return retirement.busy(asked)
    return retirement.retire(asked, _seen(asked, replacement, account), now, account.settings.keep)


def _seen(asked: RetirementRequest, replacement: Replacement | None, account: Account) -> RetirementFacts:
    caller, target = asked.caller, str(asked.target)
    registry, store = account.registry, account.store
    record = store.record(caller)
    certificate = registry.certificate(target)
    return RetirementFacts(
        caller=registry.certificate(caller),
        caller_record=record,
        device=device_of(record, account),
        target=certificate,
        target_things=registry.things_of(target) if certificate is not None else (),
        target_record=store.record(target),
        replacement=replacement,
    )
