"""Builders of test values: each has sound defaults, so that a test states only what matters to it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import settings

from agent.core.change import decide, events
from agent.core.change.events import ChangeEvent
from agent.core.change.lifecycle import ChangeRecord, Issued, Phase
from agent.core.change.reserve import Standing
from agent.core.failure.codes import Code, traits
from agent.core.failure.failure import Failure, FailureClass
from agent.core.report.known import Asked, Connection, ConnectionState, Known, Live
from agent.core.report.seen import Seen, SetInUse
from agent.core.report.status import Renewal, Status
from agent.core.timekeeping import BUILD_TIME, ClockState, Reading
from agent.core.values import CertificateFacts, Kind, Manifest, Origin
from agent.core.when.renewal import RenewalPolicy, renewal_window
from agent.core.when.schedule import Plan, Wishes
from support.suite import campaigns

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

WARN_ANCHORS = (180 * DAY, 30 * DAY, 7 * DAY)

THING = "gw-0042"
TOKEN = "token-that-nobody-may-see"  # noqa: S105 - looked for in output
PEM = "-----BEGIN CERTIFICATE-----\nbm9ib2R5IG1heSBzZWUgdGhpcw==\n-----END CERTIFICATE-----\n"

FEW = settings()  # those of the whole suite: see tests/conftest.py
# In the whole twice as many; in a sample as many as of any other.
MANY = settings(FEW, max_examples=FEW.max_examples * (2 if FEW.max_examples == campaigns.EXAMPLES else 1))

UNFINISHED = tuple(phase for phase in Phase if not phase.ended)
BEFORE_ACTIVATION = tuple(phase for phase in UNFINISHED if not phase.activated)
EVENTS: tuple[type[ChangeEvent], ...] = (*ChangeEvent.__subclasses__(), *events.Proven.__subclasses__())


def reading(now: datetime = NOW, state: ClockState = ClockState.SYNCHRONISED, floor: datetime = BUILD_TIME) -> Reading:
    """Return a reading of the clock; synchronised and plausible unless told otherwise."""
    return Reading(now=now, state=state, floor=floor)


def facts(now: datetime = NOW, state: ClockState = ClockState.SYNCHRONISED, **changes: Any) -> decide.Facts:
    """Return the facts of a gateway that is THING, on generation 6."""
    base = decide.Facts(clock=reading(now, state), linked=6, expected_thing=THING)
    return replace(base, **changes)


def failure(
    kind: FailureClass = FailureClass.NETWORK, code: str = "timeout", *, decisive: bool = False, **changes: Any
) -> Failure:
    """Return a failure; a bad network unless told otherwise."""
    base = Failure(kind=kind, code=code, message="It did not work.", remedy="Look into it.", decisive=decisive)
    return replace(base, **changes)


def codes(trait: str) -> frozenset[Code]:
    """Return the codes of failures from which something follows; see `agent.core.failure.codes.Traits`."""
    return frozenset(code for code in Code if getattr(traits(code), trait))


def issued(at: datetime = NOW) -> Issued:
    """Return a certificate in hand, with its secret token."""
    return Issued(certificate_pem=PEM, certificate_id="ab" * 32, token=TOKEN, at=at)


def record(phase: Phase = Phase.PLANNED, **changes: Any) -> ChangeRecord:
    """Return a rotation from generation 6 to 7 that has just come to `phase`, as it would look there."""
    base = ChangeRecord(
        id="c-1",
        kind=Kind.ROTATE,
        origin=Origin.SCHEDULE,
        reason="the renewal window is open",
        generation=7,
        base=6,
        phase=phase,
        planned_at=NOW - HOUR,
        entered_at=NOW,
    )
    return replace(base, **{**_usual(phase), **changes})


def _usual(phase: Phase) -> dict[str, Any]:
    order = list(Phase)
    usual: dict[str, Any] = {}
    if phase is not Phase.REJECTED and order.index(phase) >= order.index(Phase.ISSUED):
        usual["issued"] = issued()
        usual["requests"] = (NOW - MINUTE,)
    if phase is not Phase.REJECTED and order.index(phase) >= order.index(Phase.REGISTERED):
        usual["thing_name"] = THING
    if phase is Phase.DEPLOYED:
        usual["probation_until"] = NOW + 10 * MINUTE
        usual["checked_at"] = NOW
    return usual


def finished(phase: Phase = Phase.COMMITTED, at: datetime = NOW, **changes: Any) -> ChangeRecord:
    """Return a change as the history has it, with its end in the list of phases passed; ids differ with the time."""
    passed = ((Phase.COMMITTED, at),) if phase.succeeded else ((phase, at),)
    base = record(phase, id=f"c-{at:%Y%m%d%H%M%S}", planned_at=at - HOUR, entered_at=at, passed=passed)
    return replace(base, **changes)


def certificate(**changes: Any) -> CertificateFacts:
    """Return what a sound client certificate says, valid for a year around NOW."""
    base = CertificateFacts(
        subject="CN=gw-0042",
        issuer="CN=AWS IoT",
        serial="2a",
        not_before=NOW - DAY,
        not_after=NOW + 364 * DAY,
        sha256="ab" * 32,
        spki_sha256="cd" * 32,
        is_ca=False,
        key="EC P-256",
        signature="ecdsa-sha256",
        digital_signature=True,
        client_auth=True,
    )
    return replace(base, **changes)


def anchor(**changes: Any) -> CertificateFacts:
    """Return what a trust anchor says."""
    base = certificate(
        subject="CN=Amazon Root CA 1,O=Amazon,C=US", not_after=NOW + 4000 * DAY, sha256="ef" * 32, is_ca=True
    )
    return replace(base, **changes)


def asked(**changes: Any) -> Asked:
    """Return what an operator asks for who leaves everything as it is."""
    base = Asked(
        config="/etc/iot-cert-agent/config.yaml",
        endpoint="abc-ats.iot.eu-west-1.amazonaws.com",
        port=8883,
        thing_name=None,
        concerns=(),
        warn_anchors=WARN_ANCHORS,
        wishes=Wishes(),
        grace=7 * DAY,
        retires=True,
        enrols=True,
    )
    return replace(base, **changes)


def in_use(**changes: Any) -> SetInUse:
    """Return the set in use of generation 7."""
    base = SetInUse(
        generation=7,
        kind=Kind.ROTATE,
        thing_name=THING,
        created_at=NOW - DAY,
        certificate=certificate(),
        anchors=(anchor(),),
        splay=0.5,
    )
    return replace(base, **changes)


def seen(**changes: Any) -> Seen:
    """Return what a worker finds on a sound gateway."""
    return replace(Seen(floor=BUILD_TIME, current=in_use(), previous=6, reserve=Standing.KEPT), **changes)


def known(**changes: Any) -> Known:
    """Return what is known of a sound gateway without a daemon."""
    return replace(Known(version="1.2.3", asked=asked(), clock=reading(), seen=seen()), **changes)


def live(state: str = "up", why: str = "", since: datetime | None = None, rival: str = "", **changes: Any) -> Live:
    """Return what a daemon knows whose connection stands so."""
    link = Connection(state=ConnectionState(state), why=why, since=since, rival=rival)
    return replace(Live(pid=17, connection=link), **changes)


def status(now: datetime = NOW, **changes: Any) -> Status:
    """Return the status of a healthy gateway without a daemon; with the fields given, of another one.

    Args:
        now: The wall clock.
        changes: Fields of the status, of what was asked for, or of what is live.
    """
    current = changes.pop("current", in_use())
    wanted = {name: changes.pop(name) for name in list(changes) if name in Asked.__dataclass_fields__}
    window = renewal_window(NOW - DAY, NOW + 364 * DAY, RenewalPolicy())
    base = Status(
        version="1.2.3",
        asked=asked(**wanted),
        clock=reading(now),
        plan=Plan(due=False, why="it is scheduled for later", code="scheduled", at=window.renew_at(0.5)),
        current=current,
        renewal=Renewal(splay=0.5, window=window) if current else None,
        previous=6,
        reserve=Standing.KEPT,
    )
    return replace(base, **changes)


def manifest(**changes: Any) -> Manifest:
    """Return the manifest of generation 7."""
    base = Manifest(
        number=7,
        kind=Kind.ROTATE,
        change="c-1",
        origin=Origin.SCHEDULE,
        thing_name=THING,
        certificate_id="ab" * 32,
        not_before=NOW - DAY,
        not_after=NOW + 364 * DAY,
        created_at=NOW,
        files={"key.pem": "01" * 32, "certificate.pem": "02" * 32, "trust.pem": "03" * 32},
    )
    return replace(base, **changes)


def event(kind: type[ChangeEvent], at: datetime = NOW, **changes: Any) -> ChangeEvent:
    """Return an event of the given type, complete with what such an event carries."""
    carried: dict[type[ChangeEvent], Callable[[], dict[str, Any]]] = {
        events.Doubted: lambda: {"prove_at": at},
        events.RequestFailed: lambda: {"failure": failure(), "retry_at": at + MINUTE},
        events.StepFailed: lambda: {"failure": failure(), "retry_at": at + MINUTE},
        events.KeyLost: lambda: {"failure": failure(FailureClass.STORE, "key-lost"), "retry_at": at + MINUTE},
        events.CertificateIssued: lambda: {"issued": issued(at)},
        events.Registered: lambda: {"thing_name": THING},
        events.Deployed: lambda: {"probation": 10 * MINUTE},
        events.Rejected: lambda: {"failure": failure(FailureClass.CREDENTIAL, "hung-up", decisive=True)},
        events.Condemned: lambda: {"failure": failure(FailureClass.CREDENTIAL, "hung-up", decisive=True)},
    }
    make: Callable[..., ChangeEvent] = kind
    return make(at=at, **{**carried.get(kind, dict)(), **changes})


SUCCESSES: dict[type[decide.Action], type[ChangeEvent]] = {
    decide.GenerateKey: events.KeyReady,
    decide.BeginRequest: events.RequestBegun,
    decide.RequestCertificate: events.CertificateIssued,
    decide.RegisterThing: events.Registered,
    decide.AssumeRegistered: events.Registered,
    decide.DropCertificate: events.TokenExpired,
    decide.PrepareGeneration: events.GenerationPrepared,
    decide.Prove: events.Proven,
    decide.Activate: events.Activated,
    decide.Deploy: events.Deployed,
    decide.HoldProbation: events.ProbationHeld,
    decide.EndProbation: events.ProbationPassed,
    decide.RollBack: events.RolledBack,
}


def success(action: decide.Action, at: datetime = NOW) -> ChangeEvent:
    """Return the event of a step that does what it should; a `Reject` is carried out, and a base connects."""
    if isinstance(action, decide.Reject):
        return events.Rejected(at=at, failure=action.failure)
    if isinstance(action, decide.Unconfirmed):
        return events.Condemned(at=at, failure=action.failure)
    return event(SUCCESSES[type(action)], at)
