"""The verbs that change something: enroll, rotate, rollback. Without a daemon they take the lock and act themselves."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from agent.cli import exits
from agent.cli.compose import load_claim, open_engine
from agent.cli.exits import Exit
from agent.cli.follow import Follower
from agent.core.decide import clock_time
from agent.core.failure import FailureClass
from agent.core.ladder import Rung
from agent.core.lifecycle import Phase
from agent.core.plain import to_plain
from agent.core.values import Kind, Origin
from agent.errors import ConfigError, MaterialError, RefusedError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from agent.cli.output import Output
    from agent.config import Config
    from agent.core.lifecycle import ChangeRecord
    from agent.engine import Engine, Outcome


class Changer:
    """One verb on one gateway."""

    def __init__(self, config: Config, engine: Engine, arguments: argparse.Namespace, output: Output) -> None:
        from agent.adapters.clock import SystemClock, sleep  # noqa: PLC0415 - only the verbs that act need it

        self.config = config
        self.engine = engine
        self.reason = str(arguments.reason)
        self.output = output
        self._follower = Follower(
            engine=engine,
            clock=SystemClock(vouched=config.vouched_clock),
            sleep=sleep,
            reporter=output,
            patience=None if arguments.wait is None else timedelta(seconds=arguments.wait),
            probation=not arguments.no_wait,
        )

    def resume(self) -> ChangeRecord | None:
        """Put the store right and take up the change in flight, to be tried at once."""
        found = self.engine.recover()
        if found is not None:
            self.engine.hasten()
        return found

    def follow(self) -> Outcome:
        """Carry the change in flight on."""
        return self._follower.follow()

    def run(self, kind: Kind, origin: Origin, reason: str) -> Outcome:
        """Begin a change and carry it on."""
        self.engine.begin(kind, origin, reason)
        return self.follow()

    def enroll(self) -> Exit:
        """Get the first certificate."""
        if self.resume() is not None:
            return self.conclude(self.follow())
        current = self.engine.usable()
        if current is not None:
            raise RefusedError(
                f"This gateway is enrolled already, as {current.manifest.thing_name}, with generation "
                f"{current.number}.",
                hint="`iot-cert rotate` gets a new certificate.",
            )
        self.check_claim()
        return self.conclude(self.run(Kind.ENROLL, Origin.TECHNICIAN, self.reason))

    def check_claim(self) -> None:
        """Refuse to begin what the configuration cannot carry through."""
        try:
            load_claim(self.config)
        except MaterialError as error:
            raise ConfigError(str(error), hint=error.hint) from error

    def rotate(self) -> Exit:
        """Replace the certificate; when the current set does not work any more, climb the ladder."""
        found = self.resume()
        if found is not None:
            outcome = self.follow()
            if _locked_out(outcome):
                return self.climb(str(outcome.record.failure))
            if found.kind.issues or outcome.wait is not None or outcome.record.phase is not Phase.COMMITTED:
                return self.conclude(outcome)
        elif self.engine.usable() is None:
            return self.climb("there is no usable set")
        outcome = self.run(Kind.ROTATE, Origin.TECHNICIAN, self.reason)
        if _locked_out(outcome):
            return self.climb(str(outcome.record.failure))
        return self.conclude(outcome)

    def rollback(self) -> Exit:
        """Go back to the previous set, or give up a change that has not changed anything yet."""
        found = self.resume()
        if found is not None and not found.phase.ended:
            self.engine.give_up(self.reason)
            return self.conclude(self.follow())
        if found is not None:
            self.follow()  # it had ended, and only its line in the history was missing
        return self.conclude(self.run(Kind.ROLLBACK, Origin.TECHNICIAN, self.reason))

    def climb(self, why: str) -> Exit:
        """Find a set that works, put it in place, and rotate from there."""
        if not self.engine.has_ever_enrolled():
            raise RefusedError("This gateway has no certificate to rotate yet.", hint="Run `iot-cert enroll`.")
        climb = self.engine.find_footing()
        reason = f"ladder: {why}"[:500]
        match climb.use:
            case Rung.PREVIOUS:
                outcome = self.run(Kind.ROLLBACK, Origin.LADDER, reason)
                if outcome.record.phase is not Phase.COMMITTED:
                    return self.conclude(outcome)
                return self.conclude(self.run(Kind.ROTATE, Origin.LADDER, reason))
            case Rung.CLAIM:
                return self.conclude(self.run(Kind.ENROLL, Origin.LADDER, reason))
            case Rung.CURRENT:
                return self.conclude(self.run(Kind.ROTATE, Origin.LADDER, reason))
            case Rung.TECHNICIAN:
                return self.stuck(climb.why, "Restore the claim certificate and rotate again.", Exit.CRITICAL)
            case _:
                return self.stuck(climb.why, "Run the same command again later.", Exit.UNAVAILABLE)

    def stuck(self, why: str, remedy: str, code: Exit) -> Exit:
        """Say that no set gets through now."""
        if self.output.as_json:
            self.output.emit({"event": "outcome", "change": None, "why": why, "remedy": remedy, "exit": code})
        else:
            self.output.line(f"Nothing was changed: {why}. {remedy}")
        return code

    def conclude(self, outcome: Outcome) -> Exit:
        """Say how it ended and what is in use now."""
        usable = self.engine.usable()
        code = exits.of_outcome(outcome, has_set=usable is not None)
        record = outcome.record
        in_use = f"Generation {usable.number} is in use." if usable else "There is no usable set on this gateway."
        if self.output.as_json:
            plain = to_plain(record)
            plain.pop("issued", None)
            waits = outcome.wait and {"code": outcome.wait.code, "until": to_plain(outcome.wait.until)}
            current = usable and usable.number
            self.output.emit({"event": "outcome", "change": plain, "wait": waits, "current": current, "exit": code})
        else:
            self.output.line(f"{_summary(outcome)} {in_use}")
        return code


def _locked_out(outcome: Outcome) -> bool:
    """Whether the change ended because the set it was to start from is refused, or the only one there is."""
    record = outcome.record
    only_one = any(phase is Phase.ACTIVE for phase, _ in record.passed)
    return (
        record.phase is Phase.REJECTED
        and (record.issued is None or only_one)
        and record.failure is not None
        and record.failure.kind is FailureClass.CREDENTIAL
    )


def _summary(outcome: Outcome) -> str:
    record = outcome.record
    if outcome.wait is not None:
        return _waiting(outcome.wait.code, record, clock_time(outcome.wait.until))
    failure = f" {record.failure.message} {record.failure.remedy}".rstrip() if record.failure else ""
    match record.phase:
        case Phase.COMMITTED:
            return f"Done: {record.kind} {record.id} is committed."
        case Phase.ROLLED_BACK:
            return f"Rolled back: {record.kind} {record.id}.{failure}"
        case _:
            return f"Not done: {record.kind} {record.id} was given up.{failure}"


def _waiting(code: str, record: ChangeRecord, until: str) -> str:
    match code:
        case "probation":
            return f"Active: {record.kind} {record.id} is on probation; the daemon or the next command ends it."
        case "budget":
            return f"Refused: {record.kind} {record.id} waits until {until}, since the daily limit is used up."
        case _:
            return (
                f"Not yet: {record.kind} {record.id} is kept in phase {record.phase} and may be tried again "
                f"from {until}; run the command again to go on."
            )


def run(config: Config, arguments: argparse.Namespace, output: Output) -> Exit:
    """Carry out one of the verbs.

    Raises:
        AgentError: It could not be begun, or its end could not be made durable.
    """
    with open_engine(config, output, create=arguments.verb == "enroll") as engine:
        changer = Changer(config, engine, arguments, output)
        verbs: dict[str, Callable[[], Exit]] = {
            "enroll": changer.enroll,
            "rotate": changer.rotate,
            "rollback": changer.rollback,
        }
        return verbs[arguments.verb]()
