"""How the end of a change is told, by the process that carried it out: the command or the daemon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.cli.follow import is_used_unproven
from agent.core.change.lifecycle import Phase
from agent.core.change.records import public
from agent.core.exit_codes import Exit
from agent.core.failure.failure import SET_THE_CLOCK
from agent.core.jsonio import to_plain
from agent.core.text import clock_time

if TYPE_CHECKING:
    from agent.cli.output import Output
    from agent.core.change.decide import Wait
    from agent.core.change.lifecycle import ChangeRecord


def tell_rehearsal(output: Output, text: str) -> None:
    """Say what a real rotation would do."""
    if output.as_json:
        output.emit({"event": "rehearsal", "text": text, "exit": Exit.DONE})
    else:
        output.line(text)


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How an order ended, or what it waits for.

    Attributes:
        change: The change.
        current: The generation in use, or None.
        code: The exit code.
        wait: What it waits for, or None when it has ended.
        postponed: Whether what was ordered is begun only once this change has ended.
        locked_out: Why no set of this gateway is accepted, and what helps; None when that is not so.
    """

    change: ChangeRecord
    current: int | None
    code: Exit
    wait: Wait | None = None
    postponed: bool = False
    locked_out: tuple[str, str] | None = None


def tell_outcome(output: Output, end: Ending) -> None:
    """Say how an order ended, or what it waits for, and what is in use now."""
    if output.as_json:
        wait = {"code": end.wait.code, "until": to_plain(end.wait.until)} if end.wait else None
        told = {"event": "outcome", "change": to_plain(public(end.change)), "wait": wait, "current": end.current}
        told |= {"exit": end.code}
        told |= {"postponed": True} if end.postponed else {}
        told |= dict(zip(("why", "remedy"), end.locked_out, strict=True)) if end.locked_out else {}
        output.emit(told)
        return
    if end.locked_out is not None:
        output.line(sentence(*end.locked_out))
    after = " Nothing else was begun yet: run the command again once it has ended." if end.postponed else ""
    output.line(f"{_summary(end.change, end.wait)} {_in_use(end.current)}{after}")


def tell_repeated(output: Output, end: Ending) -> None:
    """Say that the order was carried out before, and how it ended: its end had not been told."""
    if output.as_json:
        told = {"event": "outcome", "change": to_plain(public(end.change)), "wait": None, "current": end.current}
        output.emit({**told, "repeated": True, "exit": end.code})
        return
    at = clock_time(end.change.entered_at)
    output.line(
        f"{_summary(end.change, None)} {_in_use(end.current)} That was the end of the earlier order, at {at}; nothing "
        "more was begun. Give the order again if you want another one."
    )


def tell_locked_out(output: Output, why: str, remedy: str, code: Exit) -> None:
    """Say that no set of this gateway is accepted, and what a person can do."""
    if output.as_json:
        output.emit({"event": "outcome", "change": None, "why": why, "remedy": remedy, "exit": code})
    else:
        output.line(f"Nothing was changed. {sentence(why, remedy)}")


def sentence(why: str, remedy: str) -> str:
    """Return a reason and what helps as sentences."""
    return f"{why[:1].upper()}{why[1:]}. {remedy}".rstrip()


def _in_use(current: int | None) -> str:
    return f"Generation {current} is in use." if current else "There is no usable set on this gateway."


def _summary(change: ChangeRecord, wait: Wait | None) -> str:
    if wait is not None:
        return _waiting(wait.code, change, clock_time(wait.until))
    failure = change.failure
    why = f" {failure.message} {failure.remedy}".rstrip() if failure else ""
    name = f"{change.kind} {change.id}"
    match change.phase:
        case Phase.COMMITTED:
            without = change.degraded.message if change.degraded else ""
            return f"Done: {name} is committed{f', without this: {without}' if without else '.'}"
        case Phase.ROLLED_BACK:
            return f"Rolled back: {name}.{why}"
        case _:
            return f"Not done: {name} was given up.{why}"


def _waiting(code: str, change: ChangeRecord, until: str) -> str:
    name = f"{change.kind} {change.id}"
    match code:
        case "probation" if change.confirm_until and not change.confirmed_at:
            asked = clock_time(change.confirm_until)
            return f"Active: {name} waits for confirmation until {asked}: `iot-cert confirm`."
        case "probation":
            return f"Active: {name} is on probation; the daemon or the next command ends it."
        case "budget":
            return f"Refused: {name} waits until {until}, since the daily limit is used up."
        case "clock":
            return (
                f"Not yet: {name} is kept in phase {change.phase} and goes on once the clock is set. "
                f"{SET_THE_CLOCK} The daemon goes on by itself then; without one, run the command again."
            )
        case _ if is_used_unproven(change):
            return f"Not proven yet: {name} is tried again from {until}; the daemon does that, or the next command."
        case _:
            return (
                f"Not yet: {name} is kept in phase {change.phase} and may be tried again from {until}; "
                "run the command again to go on."
            )
