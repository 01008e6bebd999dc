"""The verbs that change something, from enroll to confirm. Without a daemon they take the lock and act themselves."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from agent.cli import conversation
from agent.cli.follow import Follower
from agent.cli.telling import tell_outcome, tell_rehearsal
from agent.compose import load_claim, open_parts
from agent.core import exits
from agent.core.exits import Exit
from agent.core.ladder import Rung
from agent.core.lifecycle import Phase
from agent.core.plain import to_plain
from agent.core.records import public
from agent.core.values import Kind, Origin
from agent.engine import Outcome
from agent.errors import ConfigError, MaterialError, RefusedError, StoreBusyError
from agent.healing import heal, locked_out

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from agent.cli.output import Output
    from agent.config import Config
    from agent.core.lifecycle import ChangeRecord
    from agent.engine import Engine


class Changer:
    """One verb on one gateway."""

    def __init__(self, config: Config, engine: Engine, arguments: argparse.Namespace, output: Output) -> None:
        from agent.adapters.clock import SystemClock, sleep  # noqa: PLC0415 - only the verbs that act need it

        self.config = config
        self.engine = engine
        self.reason = str(getattr(arguments, "reason", ""))
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
            if locked_out(outcome.record):
                return self.climb(str(outcome.record.failure))
            if found.kind.issues or outcome.wait is not None or outcome.record.phase is not Phase.COMMITTED:
                return self.conclude(outcome)
        elif self.engine.usable() is None:
            return self.climb("there is no usable set")
        outcome = self.run(Kind.ROTATE, Origin.TECHNICIAN, self.reason)
        if locked_out(outcome.record):
            return self.climb(str(outcome.record.failure))
        return self.conclude(outcome)

    def rehearse(self) -> Exit:
        """Do all of a rotation that costs nothing."""
        found = self.engine.recover()
        if found is not None:
            raise RefusedError(f"Change {found.id} ({found.kind}) is in flight.", hint="`iot-cert status` shows it.")
        tell_rehearsal(self.output, self.engine.rehearse())
        return Exit.DONE

    def rollback(self) -> Exit:
        """Go back to the previous set, or give up a change that has not changed anything yet."""
        found = self.resume()
        if found is not None and not found.phase.ended:
            self.engine.give_up(self.reason)
            return self.conclude(self.follow())
        if found is not None:
            self.follow()  # it had ended, and only its line in the history was missing
        return self.conclude(self.run(Kind.ROLLBACK, Origin.TECHNICIAN, self.reason))

    def confirm(self) -> Exit:
        """Make the set on probation final, after one more proof."""
        self.engine.recover()
        record = self.engine.confirm()
        return self.conclude(self.follow() if self.engine.change is not None else Outcome(record=record))

    def climb(self, why: str) -> Exit:
        """Find a set that works, put it in place, and rotate from there."""
        healed = heal(self.engine, self.run, self.follow, why, rotate_from_current=True)
        if healed.outcome is not None:
            return self.conclude(healed.outcome)
        if healed.climb.use is Rung.TECHNICIAN:
            return self.stuck(healed.climb.why, "Restore the claim certificate and rotate again.", Exit.CRITICAL)
        return self.stuck(healed.climb.why, "Run the same command again later.", Exit.UNAVAILABLE)

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
        code = exits.of_outcome(outcome.record, outcome.wait, has_set=usable is not None)
        wait = outcome.wait
        waits = {"code": wait.code, "until": to_plain(wait.until)} if wait else None
        tell_outcome(self.output, public(outcome.record), waits, usable.number if usable else None, code)
        return code


def run(config: Config, arguments: argparse.Namespace, output: Output) -> Exit:
    """Carry out one of the verbs: through the daemon where one runs, else here.

    Raises:
        AgentError: It could not be begun, or its end could not be made durable.
    """
    code = conversation.change(config, arguments, output)
    if code is not None:
        return code
    try:
        return _here(config, arguments, output)
    except StoreBusyError as error:
        if arguments.verb != "confirm":
            raise
        hint = "If it waits for the end of probation, stop it with Ctrl-C and confirm again; nothing is lost."
        raise StoreBusyError(str(error), hint=hint) from error


def _here(config: Config, arguments: argparse.Namespace, output: Output) -> Exit:
    with open_parts(config, output, create=arguments.verb == "enroll") as parts:
        changer = Changer(config, parts.engine, arguments, output)
        verbs: dict[str, Callable[[], Exit]] = {
            "enroll": changer.enroll,
            "rotate": changer.rehearse if getattr(arguments, "dry_run", False) else changer.rotate,
            "rollback": changer.rollback,
            "confirm": changer.confirm,
        }
        return verbs[arguments.verb]()
