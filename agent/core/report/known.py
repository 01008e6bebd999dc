"""What is known of a gateway at one moment, and what the rules make of it: plan, next step, what is to be retired.

The command without a daemon and the daemon make a `Known` each. The status is made of it, and the daemon acts by it.
"""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum
from typing import TYPE_CHECKING

from agent.core.aws.endpoints import placeholder
from agent.core.change import made_with
from agent.core.change.decide import Action, Facts, facts_of, next_action
from agent.core.frozen import frozen
from agent.core.text import clock_time
from agent.core.timekeeping import ClockState, is_ahead
from agent.core.values import Kind, LongText
from agent.core.when import retirement, schedule
from agent.core.when.retirement import Answers

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from agent.core.change.decide import Limits
    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.dependants import Served
    from agent.core.report.seen import Seen, SetInUse
    from agent.core.timekeeping import Reading
    from agent.core.when.retirement import Retirement
    from agent.core.when.schedule import Plan, Subject, Wishes


@frozen
class Unattended:
    """That no daemon tells of itself, where one is missed.

    Attributes:
        code: Why, as `iot-cert check` calls it: ``no-daemon``, ``daemon-silent`` or ``other-daemon``.
        text: The same as a sentence, with what to do.
    """

    code: str
    text: str


NO_DAEMON = Unattended(
    code="no-daemon",
    text="No daemon runs, so nothing happens by itself: `sudo systemctl start iot-cert-agent`, or `iot-cert rotate`.",
)
NO_DAEMON_YET = Unattended(code=NO_DAEMON.code, text=NO_DAEMON.text.replace("rotate", "enroll"))  # without any set


class ConnectionState(StrEnum):
    """How the daemon's connection stands."""

    UP = "up"
    CONNECTING = "connecting"
    DOWN = "down"
    LENT = "lent"  # a change is using it
    TAKEN_OVER = "taken-over"  # another client uses the client id
    RESTING = "resting"  # the look is over, and the next one has not begun


@frozen
class Connection:
    """The daemon's connection.

    Attributes:
        state: How it stands.
        why: Why it is not up, or what is awaited.
        since: Since when it is not up.
        rival: What speaks for another client under the same client id, or empty.
        cut_off: Whether the path of the last one is known to be gone: it is not only being made again.
        next_try: When it is tried again, where a delay goes by until then.
    """

    state: ConnectionState
    why: LongText = ""
    since: datetime | None = None
    rival: LongText = ""
    cut_off: bool = False
    next_try: datetime | None = None

    @property
    def told(self) -> str:
        """Why it is not up, and when it is tried again: by the clock, since a delay is over when it is read."""
        dated = self.next_try is not None and self.why.endswith(".")
        return f"{self.why} Next try at {clock_time(self.next_try)}." if dated and self.next_try else self.why


@frozen
class Live:
    """What only a running daemon knows.

    Attributes:
        pid: Its process.
        connection: Its connection.
        stuck: Why no set of this gateway is accepted and what helps, or empty.
        unseen: Why a worker could not look at the state directory, or empty.
        configuration_refused: Why the changed configuration is not in force, or empty.
        untold: Why the operator's command was not told what is wrong, or empty.
        runtime: Why the runtime directory is not as it should be, such as what is published there, or empty.
    """

    pid: int
    connection: Connection
    stuck: str = ""
    unseen: str = ""
    configuration_refused: str = ""
    untold: str = ""
    runtime: str = ""


@frozen
class Asked:
    """What the operator asks for, as far as the status rests on it.

    Attributes:
        config: The configuration file.
        endpoint: The endpoint's name.
        port: Its port.
        thing_name: The name of the thing that the configuration gives, if it gives one.
        concerns: What speaks against the client ids, a sentence each.
        warn_anchors: How long before an anchor's end it is warned of, the longest first.
        wishes: When to rotate, the budget, and what may hold a change.
        grace: How long a replaced certificate is kept before it is retired.
        retires: Whether it is retired at all.
        enrols: Whether this gateway can enrol.
        serial: The serial number that it enrols with; empty where that is not in the configuration.
        token_at: Where the token is looked for that it enrols with; empty where it shows none.
        missing_zones: What is to be said of time zones that this machine does not have, a sentence each.
    """

    config: str
    endpoint: str
    port: int
    thing_name: str | None
    concerns: tuple[str, ...]
    warn_anchors: tuple[timedelta, ...]
    wishes: Wishes
    grace: timedelta
    retires: bool
    enrols: bool
    serial: str = ""
    token_at: str = ""
    missing_zones: tuple[str, ...] = ()

    @property
    def placeholder(self) -> str:
        """That the endpoint is not filled in, as a sentence, or empty."""
        return placeholder(self.endpoint)


@frozen
class Known:
    """All that is known of a gateway at one moment.

    Attributes:
        version: The agent's.
        asked: What the operator asks for.
        clock: One look at the clock.
        seen: What was found on disk; None before anything looked.
        change: The change in flight.
        history: The finished changes, oldest first.
        served: How the dependants stand; None where none are configured.
        unasked: Why gates would not be asked, a sentence each.
        unattended: Why no daemon tells of itself, where one is missed, or None.
        behind: The dependants that are not known to use the set in use.
        answers: What the cloud said to requests for retirement.
        live: What the daemon knows besides; None where none runs.
    """

    version: str
    asked: Asked
    clock: Reading
    seen: Seen | None = None
    change: ChangeRecord | None = None
    history: tuple[ChangeRecord, ...] = ()
    served: Served | None = None
    unasked: tuple[str, ...] = ()
    unattended: Unattended | None = None
    behind: tuple[str, ...] = ()
    answers: Answers = field(default_factory=Answers)
    live: Live | None = None

    @property
    def current(self) -> SetInUse | None:
        """The set in use, if it is whole."""
        return self.seen.current if self.seen else None

    @property
    def thing(self) -> str:
        """The name of the thing that the set in use is for, or empty."""
        return self.current.thing_name if self.current else ""

    @property
    def has_enrolled(self) -> bool:
        """Whether there is, or was, a set of this gateway's own."""
        damaged = bool(self.seen and self.seen.damage)
        return self.current is not None or damaged or any(record.phase.succeeded for record in self.history)

    def subject(self) -> Subject | None:
        """Return what is to be kept fresh."""
        current = self.current
        if current is None:
            return None
        leaf = current.certificate
        return schedule.Subject(
            not_before=leaf.not_before,
            not_after=leaf.not_after,
            splay=current.splay,
            differs=bool(current.differs),
            other_thing=made_with.other_thing(self.asked.thing_name, current.thing_name).rstrip("."),
        )

    def plan(self) -> Plan:
        """Return what is planned."""
        if self.asked.placeholder and not self.has_enrolled:
            why = f"there is no endpoint to enrol at: {self.asked.placeholder}"
            return schedule.Plan(due=False, why=why.rstrip("."), code="not-configured", at=None, kind=Kind.ENROLL)
        past = schedule.past_of(self.history)
        return schedule.plan(
            self.subject(),
            self.asked.wishes,
            past,
            self.clock,
            enrolled=self.has_enrolled,
            configured=self.asked.enrols,
        )

    def facts(self, change: ChangeRecord) -> Facts:
        """Return what decides how a change in flight goes on."""
        current = self.current
        gateway = Facts(
            clock=self.clock,
            linked=current.generation if current else None,
            expected_thing=current.thing_name if current else self.asked.thing_name,
            ends=current.certificate.not_after if current else None,
        )
        whole = {gateway.linked, self.seen.previous if self.seen else None}
        return facts_of(change, gateway, self.history, whole.__contains__)

    def following(self, limits: Limits | None = None) -> Action | None:
        """Return what the change in flight does next; None without one.

        Args:
            limits: The limits in force, where they are not the operator's.
        """
        if self.change is None:
            return None
        return next_action(self.change, self.facts(self.change), limits or self.asked.wishes.limits)

    def left_behind(self) -> tuple[Retirement, ...]:
        """Return the certificates that nothing rests on any more, whether they are asked for or not."""
        in_use = retirement.resting_on(self.current.certificate.sha256 if self.current else None, self.change)
        return retirement.outstanding(self.history, in_use, self.asked.grace, self._ended)

    def _ended(self, record: ChangeRecord) -> datetime:
        """Return when a change ended.

        One that a synchronised clock says is more than a day to come was dated by a clock that was ahead: it counts
        from the certificate in use then, or what it replaced would stay active until that day.
        """
        at = retirement.ended_at(record)
        ahead = self.clock.state is ClockState.SYNCHRONISED and is_ahead(at, self.clock.now)
        return self.current.certificate.not_before if ahead and self.current else at

    def retirements(self) -> tuple[Retirement, ...]:
        """Return the certificates that are still to be retired, and what each waits for."""
        if not self.asked.retires:
            return ()
        return retirement.waiting(self.left_behind(), self.history, self.behind)
