"""The verbs that change something, from enroll to confirm. Without a daemon they take the lock and act themselves."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from agent.cli.carrying import via_daemon
from agent.cli.carrying.follow import Follower
from agent.cli.carrying.outcomes import Ending, tell_locked_out, tell_outcome, tell_rehearsal, tell_repeated
from agent.core import exit_codes
from agent.core.aws.endpoints import FIND_ENDPOINT, placeholder
from agent.core.change.ladder import Rung
from agent.core.change.lifecycle import WaitCode
from agent.core.change.verbs import Verb
from agent.core.exit_codes import Exit
from agent.errors import ConfigError, MaterialError, StoreBusyError
from agent.operations.execute import Done, Operations
from agent.operations.wiring import check_enrolment, open_parts
from agent.store.notes import reported
from agent.system.peers import this_user

if TYPE_CHECKING:
    import argparse

    from agent.change.engine import Outcome
    from agent.cli.writing.output import Output
    from agent.config.values import Config
    from agent.operations.wiring import Parts


class Changer:
    """One order on one gateway, in this process."""

    def __init__(self, config: Config, parts: Parts, arguments: argparse.Namespace, output: Output) -> None:
        from agent.system.clock import SystemClock, sleep  # noqa: PLC0415 - only the verbs that act need it

        self._config = config
        self._change = parts.change
        self._parameters = parts.parameters
        self._reason = str(getattr(arguments, "reason", ""))
        self._output = output
        follower = Follower(
            engine=parts.change.engine,
            clock=SystemClock(vouched=config.vouched_clock),
            sleep=sleep,
            reporter=output,
            patience=None if arguments.wait is None else timedelta(seconds=arguments.wait),
            probation=not arguments.no_wait,
        )
        self.operations = Operations(
            parts.change,
            parts.store,
            parts.clock,
            follower.follow,
            by_hand=config.rotation.by_hand,
            told=lambda: reported.read(config.state_dir),
        )

    def order(self, verb: Verb) -> Exit:
        """Carry an order out and say what became of it."""
        found = self.operations.take_up()
        if found is None:
            self._check_what_it_takes(verb, enrolled=self._change.sets.usable() is not None)
        return self.conclude(self.operations.order(verb, self._reason))

    def _check_what_it_takes(self, verb: Verb, *, enrolled: bool) -> None:
        """Refuse to begin what the configuration cannot carry through."""
        try:
            if verb is Verb.ENROLL and not enrolled:
                check_enrolment(self._config)
                self._parameters.enrolment()
            elif verb is Verb.ROTATE and enrolled:
                self._parameters.rotation()
        except MaterialError as error:
            raise ConfigError(str(error), hint=error.hint) from error

    def rehearse(self) -> Exit:
        """Do all of a rotation that costs nothing."""
        self._change.engine.recover()
        tell_rehearsal(self._output, self._change.rehearsal.rehearse())
        return Exit.DONE

    def conclude(self, done: Done) -> Exit:
        """Say how it ended and what is in use now, and note that it was said."""
        current = self._current()
        if done.repeats is not None:
            code = exit_codes.of_outcome(done.repeats, None, has_set=current is not None)
            tell_repeated(self._output, Ending(change=done.repeats, current=current, code=code))
            self._note(done.repeats.id)
            return code
        if done.outcome is not None:
            return self._conclude(done, done.outcome, current)
        if done.locked_out is not None:
            tell_locked_out(self._output, done.locked_out.why, done.locked_out.remedy, Exit.CRITICAL)
            return Exit.CRITICAL
        return self._nothing_changed(done)

    def confirm(self) -> Exit:
        """Make the set on probation final, after one more proof."""
        self.operations.take_up()
        return self.conclude(self.operations.confirm())

    def _conclude(self, done: Done, outcome: Outcome, current: int | None) -> Exit:
        code = exit_codes.of_outcome(outcome.record, outcome.wait, has_set=current is not None)
        wait, shut = outcome.wait, done.locked_out
        end = Ending(
            change=outcome.record,
            current=current,
            code=Exit.CRITICAL if shut else code,
            wait=wait,
            postponed=done.postponed,
            locked_out=shut,
        )
        tell_outcome(self._output, end)
        if wait is None or wait.code == WaitCode.PROBATION:  # that it is active was told, and the rest needs no person
            self._note(outcome.record.id)
        return end.code

    def _nothing_changed(self, done: Done) -> Exit:
        works = done.rung is Rung.CURRENT
        code = Exit.DONE if works else Exit.UNAVAILABLE
        why = done.climb.why if done.climb else "no change is in flight"
        remedy = "" if works else "Run the same command again later."
        told = {"event": "outcome", "change": None, "why": why, "remedy": remedy, "exit": code}
        self._output.tell(told, f"Nothing was changed: {why}. {remedy}".rstrip())
        return code

    def _current(self) -> int | None:
        usable = self._change.sets.usable()
        return usable.number if usable else None

    def _note(self, change: str) -> None:
        reported.write(self._config.state_dir, change)


def run(config: Config, arguments: argparse.Namespace, output: Output) -> Exit:
    """Carry out one of the verbs: through the daemon where one runs, else here.

    Raises:
        AgentError: It could not be begun, or its end could not be made durable.
    """
    empty = placeholder(config.endpoint)
    if empty and arguments.verb in {"enroll", "rotate"}:
        raise ConfigError(empty, hint=FIND_ENDPOINT)
    code = via_daemon.change(config, arguments, output)
    if code is not None:
        return code
    via_daemon.stay_out(config)
    try:
        return _here(config, arguments, output)
    except StoreBusyError as error:
        if arguments.verb != "confirm":
            raise
        hint = "If it waits for the end of probation, stop it with Ctrl-C and confirm again; nothing is lost."
        raise StoreBusyError(str(error), hint=hint) from error


def _here(config: Config, arguments: argparse.Namespace, output: Output) -> Exit:
    with open_parts(config, output, create=arguments.verb == "enroll", asked_by=this_user()) as parts:
        changer = Changer(config, parts, arguments, output)
        if arguments.verb == "confirm":
            return changer.confirm()
        return changer.rehearse() if getattr(arguments, "dry_run", False) else changer.order(verb_of(arguments))


def verb_of(arguments: argparse.Namespace) -> Verb:
    """Return what the command line orders."""
    return Verb.GIVE_UP if getattr(arguments, "give_up", False) else Verb(arguments.verb)
