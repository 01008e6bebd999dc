"""The change, its phases, and what is written down of it; `agent.core.change.transitions` has the table.

The daemon and the command know changes by this alone; what moves one is loaded where one is carried out.
"""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

from agent.core.failure.failure import Failure  # noqa: TC001 - a record is read by the types of its fields
from agent.core.frozen import frozen
from agent.core.values import Id, Kind, Name, Origin, User, leads_back

if TYPE_CHECKING:
    from datetime import datetime

MAX_MATERIAL = 262_144  # characters; the largest certificate AWS returns is a quarter of it


class Phase(StrEnum):
    """How far a change has come. The name says what is already true."""

    PLANNED = "planned"
    KEY_READY = "key-ready"
    REQUESTED = "requested"
    ISSUED = "issued"
    REGISTERED = "registered"
    PREPARED = "prepared"
    PROVEN = "proven"
    ACTIVE = "active"
    DEPLOYED = "deployed"
    COMMITTED = "committed"
    RETIRED = "retired"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled-back"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to the change itself."""
        return self in {Phase.COMMITTED, Phase.RETIRED, Phase.REJECTED, Phase.ROLLED_BACK}

    @property
    def succeeded(self) -> bool:
        """Whether the change's generation became final."""
        return self in {Phase.COMMITTED, Phase.RETIRED}

    @property
    def activated(self) -> bool:
        """Whether `current` points at the change's generation."""
        return self in {Phase.ACTIVE, Phase.DEPLOYED, Phase.COMMITTED, Phase.RETIRED}


class WaitCode(StrEnum):
    """What a change waits for."""

    RETRY = "retry"  # the delay after a failure, or after a certificate that may have been registered unheard
    CLOCK = "clock"  # that it is set, since what it shows cannot be
    BUDGET = "budget"  # the daily limit lets one more certificate be asked for
    PROBATION = "probation"  # the next proof of the set in use
    CRASH_LOOP = "crash-loop"  # the pause after too many starts without progress, with the set in use
    STOPPED = "stopped"  # the next start: the agent was told to stop between two steps


@frozen
class Issued:
    """A certificate in hand, and the token that registers it within the hour.

    Attributes:
        certificate_pem: As it came, already accepted.
        certificate_id: As the cloud named it.
        token: The certificate ownership token; a secret.
        at: When it arrived.
    """

    certificate_pem: Annotated[str, MAX_MATERIAL] = field(repr=False)
    certificate_id: Id
    token: Annotated[str, MAX_MATERIAL] = field(repr=False)
    at: datetime


@frozen
class ChangeRecord:
    """One change, as persisted in ``change.json`` before each step.

    Attributes:
        id: Unique, for people to quote.
        kind: What it does.
        origin: Who wanted it.
        reason: Why, in the words of the caller who wanted it.
        generation: The generation it makes, or goes back to.
        base: The generation that was current when it was planned; None at first enrolment.
        phase: How far it has come.
        planned_at: When it was planned.
        entered_at: When the present phase was entered.
        passed: The phases passed so far, with their times.
        requests: When certificates were asked for that were or may have been issued; all count against the daily limit.
        issued: The certificate in hand; reduced to its id once the generation is prepared.
        unanswered: Registrations with the last token that may have been sent, as long as none was answered. It outlives
            a certificate that was dropped, until the next one is issued or a person has it asked for at once.
        thing_name: The thing the cloud registered the certificate for.
        attempts: Failures in the present phase.
        resumes: Starts of the agent in the present phase without progress.
        resumed_at: The last such start.
        retry_at: Not to be tried again before.
        failure: The last failure, until a step succeeds.
        refused_since: When the first refusal of the present phase was met.
        condemned: The decisive failure after activation; the change is being rolled back.
        probation_until: When probation ends.
        checked_at: The last proof in probation that was accepted.
        prove_at: From when the set on probation is to be proven, whatever was planned: a doubt, or a proof that failed.
        doubts: How often a doubt brought a proof forward since one was accepted.
        refusals: How often the activated set was refused since it was accepted.
        confirm_until: Until when the word is waited for that the activated set works; None where none is asked for.
        confirmed_at: When that was first said.
        order: What it was ordered by, for the part that must answer: ``job:<id>:<execution>``; empty otherwise.
        replaces: The id of the certificate that was in use when it was planned.
        retired_at: When the cloud accepted the retirement of the certificate that this change left behind.
        dropped_at: When this certificate was dropped from what is to be retired: by a person, or since the cloud never
            registered it.
        good_time: The last proof under a synchronised clock: a floor for every later clock that is not synchronised.
        anchor: SHA-256 of the trust anchor that the endpoint chained to at the last proof; empty when it is not known.
        unproven: Whether a person had its generation activated before it was proven.
        degraded: What a dependant failed with that the change went on without, or why a gate was not asked.
        brings: The id of the certificate that an import brings; empty for the other kinds.
        asked_by: The user on whose order it was planned; None where the agent, the fleet or a hand on the files was it.
        damage: What names the damaged record that this is the end of; empty otherwise.
    """

    id: Id
    kind: Kind
    origin: Origin
    reason: str
    generation: int
    base: int | None
    phase: Phase
    planned_at: datetime
    entered_at: datetime
    passed: tuple[tuple[Phase, datetime], ...] = ()
    requests: tuple[datetime, ...] = ()
    issued: Issued | None = None
    unanswered: int = 0
    thing_name: Name | None = None
    attempts: int = 0
    resumes: int = 0
    resumed_at: datetime | None = None
    retry_at: datetime | None = None
    failure: Failure | None = None
    refused_since: datetime | None = None
    condemned: Failure | None = None
    probation_until: datetime | None = None
    checked_at: datetime | None = None
    prove_at: datetime | None = None
    doubts: int = 0
    refusals: int = 0
    confirm_until: datetime | None = None
    confirmed_at: datetime | None = None
    good_time: datetime | None = None
    order: Name = ""
    replaces: Id | None = None
    retired_at: datetime | None = None
    anchor: Id = ""
    unproven: bool = False
    degraded: Failure | None = None
    brings: Id = ""
    dropped_at: datetime | None = None
    asked_by: User | None = None
    damage: Id = field(default="", metadata={"later": True})

    @property
    def leads_back(self) -> bool:
        """Whether what is written of the change may be what leads back to a set that works.

        From activation on it may, whatever the change is for: a set whose refusals cannot be written down is not
        watched, and so not left. So may the end of a change that was given up: nothing else is begun before.
        """
        given_up = self.phase in {Phase.REJECTED, Phase.ROLLED_BACK}
        return self.phase.activated or given_up or leads_back(self.kind, self.origin)

    @property
    def unhurried(self) -> bool:
        """Whether it may as well begin half an hour later: the fleet wants it, and there is a set in use meanwhile."""
        of_the_fleet = self.origin in {Origin.SCHEDULE, Origin.JOB, Origin.SHADOW}
        begins = self.phase in {Phase.PLANNED, Phase.KEY_READY}
        return self.kind is Kind.ROTATE and of_the_fleet and begins and self.base is not None

    @property
    def committed_at(self) -> datetime | None:
        """When its generation became final, or None."""
        return next((at for phase, at in reversed(self.passed) if phase is Phase.COMMITTED), None)


# A change that is refused again and again must not grow its record without bound.
MAX_PASSED = 60
MAX_REQUESTS = 1_000  # the highest daily limit that can be configured


def waits_for_word(record: ChangeRecord) -> bool:
    """Whether the word that the set in use works is asked for and has not come."""
    asked = record.confirm_until is not None and record.confirmed_at is None
    return asked and record.phase is Phase.DEPLOYED and record.condemned is None


def good_times(history: tuple[ChangeRecord, ...]) -> tuple[datetime, ...]:
    """Return when the last changes were proven under a synchronised clock, as that clock showed it."""
    return tuple(record.good_time for record in history[-20:] if record.good_time is not None)
