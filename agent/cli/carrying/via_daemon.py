"""The verbs through the daemon: the request, what it says meanwhile, and the exit code. None where no daemon runs."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from agent.cli.carrying.client import call, elsewhere, listens
from agent.cli.carrying.follow import THROUGH_DAEMON, Patience, is_used_unproven, told_as, waiting
from agent.cli.carrying.outcomes import Ending, tell_locked_out, tell_outcome, tell_rehearsal, tell_repeated
from agent.core.change.progress import Progress
from agent.core.control_protocol import (
    BegunMessage,
    ControlRequest,
    ErrorMessage,
    LastMessage,
    LockedOutMessage,
    NothingMessage,
    OutcomeMessage,
    RehearsalMessage,
    WaitMessage,
    decode_message,
    encode_request,
)
from agent.core.exit_codes import Exit
from agent.core.jsonio import Node, PlainError, to_plain
from agent.errors import AgentError, RefusedError
from agent.system.peers import login_uid

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from agent.cli.writing.output import Output
    from agent.config.values import Config
    from agent.core.control_protocol import ControlMessage
    from agent.core.failure.failure import Failure
    from agent.errors import StoreError


M = TypeVar("M", bound=LastMessage)


def ask(config: Config, request: ControlRequest) -> Iterator[ControlMessage] | None:
    """Send a request to the daemon of this configuration; None when none runs.

    Raises:
        AgentError: There is one, and it cannot be talked to; this also comes out of the iteration.
    """
    login = login_uid() if os.geteuid() == 0 else None
    messages = call(str(config.control_socket), encode_request(replace(request, login_uid=login or 0)))
    return None if messages is None else _understood(messages)


def _understood(messages: Iterator[dict[str, object]]) -> Iterator[ControlMessage]:
    for plain in messages:
        try:
            message = decode_message(Node(plain, "its word"))
        except PlainError as error:
            hint = "Restart the daemon if it is of another version: `sudo systemctl restart iot-cert-agent`."
            raise AgentError(f"The agent's daemon cannot be understood: {error}.", hint=hint) from None
        if message is not None:
            yield message


def stay_out(config: Config) -> None:
    """Refuse to work on the state directory behind the back of a daemon that this configuration does not reach.

    For the verbs that do a thing themselves where no daemon runs. What they change would be news to that daemon, and
    what they connect with would end its connection.

    Raises:
        RefusedError: There is such a daemon.
    """
    found = elsewhere(config)
    if found:
        hint = "Give the configuration that it runs with (--config), or stop it; if it is just starting, try again."
        raise RefusedError(found, hint=hint)


def for_this_user(config: Config, error: StoreError) -> AgentError:
    """Return what to say of a file that the agent and root may read and this user may not: what leads on from there."""
    from agent.operations.owners_eyes import not_for_this_user  # noqa: PLC0415 - only where something went wrong

    if not not_for_this_user(config, error):
        return error
    hint = "Run it with sudo: the daemon does not do this for other users."
    if not listens(str(config.control_socket)):
        hint = "No daemon runs that would do it for you: `sudo systemctl start iot-cert-agent`, or run this with sudo."
    return RefusedError(str(error), hint=hint)


def one(config: Config, request: ControlRequest, kind: type[M], output: Output | None = None) -> M | None:
    """Return the daemon's last word to a request; None when no daemon runs.

    Args:
        config: The configuration.
        request: What is wanted of it.
        kind: What the daemon answers when it is done.
        output: Where to that goes which it tells meanwhile; None for nowhere.

    Raises:
        ToldError: It refused.
        AgentError: It cannot be talked to, or says something else.
    """
    messages = ask(config, request)
    if messages is None:
        return None
    last: ControlMessage | None = None
    for last in messages:
        if isinstance(last, ErrorMessage):
            raise ToldError(last)
        if output is not None and isinstance(last, Progress):
            output.report(last)
    if not isinstance(last, kind):
        raise _no_end()
    return last


def _no_end() -> AgentError:
    return AgentError("The daemon said nothing about how it ended.", hint="`iot-cert status` shows how things are.")


class ToldError(AgentError):
    """An error that the daemon told, with its exit code."""

    def __init__(self, message: ErrorMessage) -> None:
        super().__init__(message.message, hint=message.hint)
        self.exit = message.exit


def change(config: Config, arguments: argparse.Namespace, output: Output) -> Exit | None:
    """Have the daemon make a change and follow it.

    Raises:
        AgentError: The daemon refuses it, or cannot be talked to.
    """
    rehearse = getattr(arguments, "dry_run", False)
    request = ControlRequest(
        verb="rehearse" if rehearse else arguments.verb,
        reason=getattr(arguments, "reason", ""),
        no_wait=arguments.no_wait and not rehearse,
        give_up=getattr(arguments, "give_up", False),
    )
    messages = ask(config, request)
    return None if messages is None else _Follow(arguments, output).through(messages)


def go_on(config: Config, arguments: argparse.Namespace, output: Output) -> Exit | None:
    """Have the daemon carry on the change that was just planned, and follow it; None when no daemon runs.

    Raises:
        AgentError: The daemon refuses it, or cannot be talked to.
    """
    messages = ask(config, ControlRequest(verb="go-on", no_wait=arguments.no_wait))
    return None if messages is None else _Follow(arguments, output).through(messages)


# What is told a caller that does not wait, with the change that it is about.
_GOES_ON = "Change {} goes on in the daemon"
_BEGUN = {
    "rollback": "The daemon goes back to the set before (change {})",
    "confirm": "The daemon makes change {} final",
}
_GIVEN_UP = "The daemon gives change {} up"


class _Follow:
    """Tells what comes, and leaves when patience is used up; the daemon goes on by itself."""

    def __init__(self, arguments: argparse.Namespace, output: Output) -> None:
        self._asked = None if arguments.wait is None else timedelta(seconds=arguments.wait)
        self._patience: Patience | None = None
        self._output = output
        self._told = _GIVEN_UP if getattr(arguments, "give_up", False) else _BEGUN.get(arguments.verb, _GOES_ON)
        self._last = ""

    def through(self, messages: Iterator[ControlMessage]) -> Exit:
        for message in messages:
            code = self._meet(message)
            if code is not None:
                return code
        raise _no_end()

    def _meet(self, message: ControlMessage) -> Exit | None:
        match message:
            case Progress():
                self._output.report(message)
                return None
            case WaitMessage():
                return self._wait(message)
            case ErrorMessage():
                raise ToldError(message)
            case BegunMessage():
                self._say("begun", f"{self._told.format(message.change)}; `iot-cert status` shows it.", message)
            case NothingMessage():
                self._say("nothing", message.text, message)
            case RehearsalMessage():
                tell_rehearsal(self._output, message.text)
            case OutcomeMessage():
                tell = tell_repeated if message.repeated else tell_outcome
                tell(self._output, Ending(change=message.change, current=message.current, code=Exit(message.exit)))
            case LockedOutMessage():
                tell_locked_out(self._output, message.why, message.remedy, Exit(message.exit))
            case _:
                return None
        return Exit(message.exit)

    def _say(self, event: str, text: str, message: BegunMessage | NothingMessage) -> None:
        self._output.tell({"event": event, **to_plain(message)}, text)

    def _wait(self, message: WaitMessage) -> Exit | None:
        wait, phase, now = message.wait, message.change.phase, _now()
        self._patience = self._patience or Patience(self._asked, now, phase)
        used = is_used_unproven(message.change)
        if self._patience.lasts(phase, wait.code, _shown(wait.failure), wait.until, now, used=used):
            left = max(wait.until - now, timedelta())
            text = waiting(wait.code, wait.why, left, tried=wait.failure is not None, goes_on=THROUGH_DAEMON)
            key = told_as(wait.code, text)
            if key != self._last:
                self._output.report(Progress(at=now, code="wait", text=text))
            self._last = key
            return None
        code = Exit(message.would_exit)
        end = Ending(
            change=message.change,
            current=message.current,
            code=code,
            wait=wait,
            postponed=message.postponed,
            locked_out=message.locked_out,
        )
        tell_outcome(self._output, end)
        return code


def _shown(failure: Failure | None) -> tuple[str | None, str | None]:
    return (failure.kind, failure.code) if failure else (None, None)


def _now() -> datetime:
    from agent.system.clock import SystemClock  # noqa: PLC0415 - only here

    return SystemClock().now()
