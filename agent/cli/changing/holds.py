"""The verbs pause, resume and retire: through the daemon, or by themselves where none runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.cli.carrying.via_daemon import one, stay_out
from agent.core.control_protocol import ControlRequest, DroppedMessage, PausedMessage, ResumedMessage, RetiredMessage
from agent.core.exit_codes import Exit
from agent.core.text import clock_time
from agent.errors import CloudError, RefusedError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from agent.change.retiring import Retirements
    from agent.cli.writing.output import Output
    from agent.config.values import Config
    from agent.core.when.retirement import Retirement


def carry_out(config: Config, arguments: argparse.Namespace, output: Output) -> Exit:
    """Carry out pause, resume or retire.

    Raises:
        AgentError: It is refused.
    """
    match arguments.verb:
        case "pause":
            return pause(config, timedelta(seconds=arguments.duration), arguments.reason, output)
        case "resume":
            return resume(config, output)
        case _ if arguments.drop is not None:
            return drop(config, arguments.drop, output)
        case _:
            return retire(config, output, now=arguments.now)


def pause(config: Config, lasts: timedelta, reason: str, output: Output) -> Exit:
    """Pause scheduled changes, with the daemon or without.

    Raises:
        AgentError: It is refused, or cannot be made durable.
    """
    from agent.core.when.schedule import Pause  # noqa: PLC0415
    from agent.store.files import ownership  # noqa: PLC0415
    from agent.store.notes import pauses  # noqa: PLC0415
    from agent.system.clock import SystemClock  # noqa: PLC0415

    now = SystemClock().now()
    until = now + lasts
    told = one(config, ControlRequest(verb="pause", until=until, reason=reason), PausedMessage)
    if told is None:
        stay_out(config)
        ownership.become_owner(config.state_dir)
        pauses.write(config.state_dir, Pause(until=until, reason=reason, begun=now))
    _say(output, "paused", f"Scheduled changes are held until {clock_time(until)}; `iot-cert resume` ends that.")
    return Exit.DONE


def resume(config: Config, output: Output) -> Exit:
    """End a pause, with the daemon or without.

    Raises:
        AgentError: It is refused, or cannot be made durable.
    """
    from agent.store.files import ownership  # noqa: PLC0415
    from agent.store.notes import pauses  # noqa: PLC0415

    if one(config, ControlRequest(verb="resume"), ResumedMessage) is None:
        stay_out(config)
        ownership.become_owner(config.state_dir)
        pauses.clear(config.state_dir)
    _say(output, "resumed", "Scheduled changes are not held any more.")
    return Exit.DONE


def _say(output: Output, event: str, text: str) -> None:
    output.tell({"event": event, "exit": Exit.DONE}, text)


def retire(config: Config, output: Output, *, now: bool) -> Exit:
    """Ask for the retirement of every certificate that is left behind, now instead of after the grace.

    Args:
        config: The configuration.
        output: Where to.
        now: Whether also of those that other programs of this gateway may use still.

    Raises:
        AgentError: It is refused, or some are left since other programs may use them.
    """
    told = one(config, ControlRequest(verb="retire", now=now), RetiredMessage, output)
    if told is None:
        _retire_here(config, output, now=now)
    _say(output, "retired", "No certificate is left to be retired.")
    return Exit.DONE


def _retire_here(config: Config, output: Output, *, now: bool) -> None:
    from agent.change.world import read_clock  # noqa: PLC0415
    from agent.core.change.verbs import comes_first  # noqa: PLC0415
    from agent.core.when import retirement  # noqa: PLC0415
    from agent.operations.snapshot import known, look  # noqa: PLC0415
    from agent.operations.wiring import open_parts  # noqa: PLC0415

    stay_out(config)
    if not config.rotation.retire:
        raise retirement.not_asked_for()
    with open_parts(config, output) as parts:
        found = parts.change.engine.recover()
        if found is not None:
            raise comes_first(found, "`iot-cert rotate` goes on with it.")
        left = known(config, look(parts.store, read_clock(parts.clock, parts.store))).retirements()
        _ask_for(parts.change.retirements, [replace(due, waits_for=()) for due in left] if now else left)


def _ask_for(retirements: Retirements, left: Iterable[Retirement]) -> None:
    """Ask for one after the other; a refusal holds up no other, while no answer would be none for the next, too."""
    from agent.core.when import retirement  # noqa: PLC0415

    refusals = []
    for due in left:
        if due.waits_for:
            continue
        try:
            retirements.retire(due)
        except CloudError as error:
            told = f"{due.certificate_id[: retirement.SHOWN_ID]} is not retired: {error}"
            if not retirement.is_refusal(error.failure):
                raise CloudError(replace(error.failure, message=told)) from error
            refusals.append(told)
    if refusals:
        raise RefusedError("\n".join(refusals), hint="`iot-cert retire --drop ID` has one not asked for any more.")
    held = retirement.spared(left)
    if held is not None:
        raise held


def drop(config: Config, certificate: str, output: Output) -> Exit:
    """Have a certificate not asked to be retired any more, with the daemon or without.

    Raises:
        AgentError: There is not one certificate whose id begins so, or it cannot be made durable.
    """
    told = one(config, ControlRequest(verb="drop", certificate=certificate), DroppedMessage)
    text = told.text if told is not None else _drop_here(config, certificate, output)
    output.tell({"event": "dropped", "text": text, "exit": Exit.DONE}, text)
    return Exit.DONE


def _drop_here(config: Config, certificate: str, output: Output) -> str:
    from agent.operations.wiring import open_parts  # noqa: PLC0415

    stay_out(config)
    with open_parts(config, output) as parts:
        parts.change.engine.recover()
        return parts.change.retirements.drop(certificate)
