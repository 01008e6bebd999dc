"""Probation: when the set in use is proven again, and what a refusal of it means there.

Rules:

* A quiet probation proves the set every `Limits.check_every`. A doubt, when the daemon's session with the set was lost
  or refused, makes the next proof due now. Two such proofs are five seconds apart, and ever further while none is
  accepted: a network that flaps costs no proof a second (AWS IoT Core takes one CONNECT a second for a client id).
* A set on probation that was accepted before needs no time to spread any more. Refused while the base is accepted over
  the same path it is left at the second refusal. One may be a broker's stray hang-up; going back cuts no gateway off.
* "Not authorised" may also be an operator who is changing the policy, or a part of the cloud that does not know of it
  yet. So it has to last as long as any other refusal of a fresh certificate, though not the ten minutes of a set that
  never had a request answered: the base, under the same policy, is answered meanwhile.
* Where the word of the gateway's own application is asked for (``rotation.confirm``), a set is final when probation is
  over and the word has come, by `iot-cert confirm` or as a file. Without it the base is put back, if that connects:
  else the set stays, since a gateway is never left unable to connect, and what is missing is told. A rollback is not
  asked about: it leads to a set that was used before, and a person or the ladder has decided so.
* When the set was proven last is kept in memory: a gateway that restarts proves it once more, and its flash is spared
  a write a minute. Whatever else a proof changes is durable.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.failure.codes import Code
from agent.core.failure.failure import Failure, FailureClass
from agent.core.text import duration
from agent.core.values import Kind

if TYPE_CHECKING:
    from datetime import datetime

    from agent.core.change.decide import Limits
    from agent.core.change.lifecycle import ChangeRecord

# Between two proofs of which the second was brought forward by a doubt; doubled with each doubt until one is accepted.
PROOFS_APART = timedelta(seconds=5)
PROOFS_APART_AT_MOST = timedelta(minutes=5)


def next_proof(record: ChangeRecord, check_every: timedelta) -> datetime:
    """Return when the set on probation is to be proven again."""
    regular = (record.checked_at or record.entered_at) + check_every
    return regular if record.prove_at is None else min(regular, record.prove_at)


def is_doubted(record: ChangeRecord, now: datetime) -> bool:
    """Whether a proof is due because of a doubt, or of a refusal that another one has to confirm."""
    return record.prove_at is not None and now >= record.prove_at


def proof_on_doubt(record: ChangeRecord, now: datetime) -> datetime:
    """Return when a doubt that arises now has the set proven again: the more doubts before it, the later."""
    apart = min(PROOFS_APART * (1 << min(record.doubts, 10)), PROOFS_APART_AT_MOST)
    last = record.prove_at or record.checked_at or record.entered_at
    return min(max(now, last + apart), now + apart)  # a clock that was set back puts no proof off


def is_quiet(before: ChangeRecord, after: ChangeRecord) -> bool:
    """Whether a restart can do without what has changed: it would prove the set once more, and that is all."""
    again = before.checked_at is not None  # the first time that a set was accepted has to be durable
    return again and after == replace(before, checked_at=after.checked_at, good_time=after.good_time)


def word_within(record: ChangeRecord, limits: Limits) -> timedelta | None:
    """Return how long the application has to confirm a change's set, or None where it is not asked to."""
    return None if record.kind is Kind.ROLLBACK else limits.confirm


def unconfirmed(record: ChangeRecord) -> Failure:
    """Return the failure of a set that was not confirmed in time."""
    within = (record.confirm_until or record.entered_at) - record.entered_at
    return Failure(
        kind=FailureClass.DEPENDANT,
        code=Code.NOT_CONFIRMED,
        message=f"Generation {record.generation} was not confirmed within {duration(within)}.",
        remedy="Look into the application that was to confirm it; `iot-cert rotate` begins again.",
        decisive=True,
    )


def unconfirmable(record: ChangeRecord | None) -> str:
    """Return why a change cannot be confirmed, as a sentence; empty when it can, or is final already."""
    if record is None:
        return "Nothing is on probation."
    name = f"The {record.kind} {record.id}"
    if record.condemned is not None or (record.phase.ended and not record.phase.succeeded):
        why = record.condemned or record.failure
        return f"{name} is being given up{f': {why.message}' if why else '.'}"
    return "" if record.phase.activated else f"{name} is in phase {record.phase}; nothing is on probation yet."


def was_accepted(record: ChangeRecord) -> bool:
    """Whether the activated set had a request answered before: `import --unproven` activates one that had not."""
    return record.phase.activated and record.checked_at is not None


def patience(failure: Failure, limits: Limits) -> timedelta:
    """Return how long a set has to be refused, twice at least, while the base is accepted, before it is given up."""
    if failure.kind is FailureClass.POLICY:
        return min(limits.refusal_patience, limits.policy_patience)
    return timedelta()
