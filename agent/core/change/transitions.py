"""One literal table: which event moves a change from which phase to which.

Rule 1: everything that moves a change from phase to phase stands in `TRANSITIONS`. A pair that is not in the
table raises `advance.IllegalTransitionError` and nothing moves. What an event does to the record besides is in
`agent.core.change.advance`; the phases are in `lifecycle`, the events in `events`.

Rule 2: a record is persisted *before* the step it announces is taken, but for what a restart finds out by itself (see
`agent.core.change.lasting`). So after a kill or a power cut at any instant it is known which step may have been taken,
and the step is either repeatable (making a key, writing a generation, moving a link, registering with the same token,
proving) or guarded by a phase of its own: REQUESTED is on disk before the request for a certificate leaves, so that a
lost reply is known and counted.

`agent.core.change.decide` says what is next, `agent.core.change.giving_up` what a failure means; the engine does it and
feeds the event back.

::

    PLANNED → KEY_READY → REQUESTED → ISSUED → REGISTERED → PREPARED → PROVEN → ACTIVE → DEPLOYED → COMMITTED → RETIRED
       └──────────┴───────────┴─────────┴──────────┴───────────┴─────────┴→ REJECTED └──────────┴→ ROLLED_BACK

A set in use that is refused, with nothing whole to go back to, ends as REJECTED too: it stays where it is, and the
ladder goes on from there. `trust`, `import` and `rollback` changes enter at PREPARED, their generation being on disk;
`import --unproven` at PROVEN.
"""

from __future__ import annotations

from agent.core.change.events import (
    Activated,
    CertificateIssued,
    ChangeEvent,
    Condemned,
    Confirmed,
    Deployed,
    Doubted,
    Dropped,
    GenerationPrepared,
    Hastened,
    KeyLost,
    KeyReady,
    ProbationHeld,
    ProbationPassed,
    Proven,
    Registered,
    Rejected,
    RequestBegun,
    RequestFailed,
    Resumed,
    Retired,
    RolledBack,
    StepFailed,
    TokenExpired,
)
from agent.core.change.lifecycle import Phase

P = Phase
TRANSITIONS: dict[tuple[Phase, type[ChangeEvent]], Phase] = {
    (P.PLANNED, KeyReady): P.KEY_READY,
    (P.PLANNED, StepFailed): P.PLANNED,
    (P.PLANNED, Resumed): P.PLANNED,
    (P.PLANNED, Hastened): P.PLANNED,
    (P.PLANNED, Rejected): P.REJECTED,
    (P.KEY_READY, RequestBegun): P.REQUESTED,
    (P.KEY_READY, KeyLost): P.PLANNED,
    (P.KEY_READY, StepFailed): P.KEY_READY,
    (P.KEY_READY, Resumed): P.KEY_READY,
    (P.KEY_READY, Hastened): P.KEY_READY,
    (P.KEY_READY, Rejected): P.REJECTED,
    (P.REQUESTED, CertificateIssued): P.ISSUED,
    (P.REQUESTED, RequestFailed): P.KEY_READY,
    (P.REQUESTED, KeyLost): P.PLANNED,
    (P.REQUESTED, Resumed): P.KEY_READY,  # the reply, if any, went to a connection that is gone
    (P.REQUESTED, Rejected): P.REJECTED,
    (P.ISSUED, Registered): P.REGISTERED,
    (P.ISSUED, TokenExpired): P.PLANNED,
    (P.ISSUED, KeyLost): P.PLANNED,
    (P.ISSUED, StepFailed): P.ISSUED,
    (P.ISSUED, Resumed): P.ISSUED,
    (P.ISSUED, Hastened): P.ISSUED,
    (P.ISSUED, Rejected): P.REJECTED,
    (P.REGISTERED, GenerationPrepared): P.PREPARED,
    (P.REGISTERED, KeyLost): P.PLANNED,
    (P.REGISTERED, StepFailed): P.REGISTERED,
    (P.REGISTERED, Resumed): P.REGISTERED,
    (P.REGISTERED, Hastened): P.REGISTERED,
    (P.REGISTERED, Rejected): P.REJECTED,
    (P.PREPARED, Proven): P.PROVEN,
    (P.PREPARED, StepFailed): P.PREPARED,
    (P.PREPARED, Resumed): P.PREPARED,
    (P.PREPARED, Hastened): P.PREPARED,
    (P.PREPARED, Rejected): P.REJECTED,
    (P.PROVEN, Activated): P.ACTIVE,
    (P.PROVEN, StepFailed): P.PROVEN,
    (P.PROVEN, Resumed): P.PROVEN,
    (P.PROVEN, Hastened): P.PROVEN,
    (P.PROVEN, Rejected): P.REJECTED,
    (P.ACTIVE, Deployed): P.DEPLOYED,
    (P.ACTIVE, StepFailed): P.ACTIVE,
    (P.ACTIVE, Resumed): P.ACTIVE,
    (P.ACTIVE, Hastened): P.ACTIVE,
    (P.ACTIVE, Doubted): P.ACTIVE,
    (P.ACTIVE, Confirmed): P.ACTIVE,
    (P.ACTIVE, ProbationHeld): P.ACTIVE,  # proven on a doubt while other programs are still being told
    (P.ACTIVE, Condemned): P.ACTIVE,
    (P.ACTIVE, RolledBack): P.ROLLED_BACK,
    (P.ACTIVE, Rejected): P.REJECTED,  # with nothing to go back to: the set stays where it is, and the ladder goes on
    (P.DEPLOYED, ProbationHeld): P.DEPLOYED,
    (P.DEPLOYED, ProbationPassed): P.COMMITTED,
    (P.DEPLOYED, StepFailed): P.DEPLOYED,
    (P.DEPLOYED, Resumed): P.DEPLOYED,
    (P.DEPLOYED, Hastened): P.DEPLOYED,
    (P.DEPLOYED, Doubted): P.DEPLOYED,
    (P.DEPLOYED, Confirmed): P.DEPLOYED,
    (P.DEPLOYED, Condemned): P.DEPLOYED,
    (P.DEPLOYED, RolledBack): P.ROLLED_BACK,
    (P.DEPLOYED, Rejected): P.REJECTED,
    (P.COMMITTED, Retired): P.RETIRED,
    (P.COMMITTED, Dropped): P.COMMITTED,
    (P.COMMITTED, Resumed): P.COMMITTED,
    (P.REJECTED, Resumed): P.REJECTED,
    (P.REJECTED, Retired): P.REJECTED,
    (P.REJECTED, Dropped): P.REJECTED,
    (P.ROLLED_BACK, Resumed): P.ROLLED_BACK,
    (P.ROLLED_BACK, Retired): P.ROLLED_BACK,
    (P.ROLLED_BACK, Dropped): P.ROLLED_BACK,
}
