"""How the end of a change is told, by the process that carried it out: the command or the daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.cli.carrying.follow import is_used_unproven
from agent.core.change.lifecycle import Phase, WaitCode
from agent.core.change.records import public
from agent.core.exit_codes import Exit
from agent.core.failure.failure import SET_THE_CLOCK
from agent.core.frozen import frozen
from agent.core.jsonio import to_plain
from agent.core.text import clock_time, sentence_of

if TYPE_CHECKING:
    from agent.cli.writing.output import Output
    from agent.core.change.decide import Wait
    from agent.core.change.ladder import Climb
    from agent.core.change.lifecycle import ChangeRecord


def tell_rehearsal(output: Output, text: str) -> None:
    """Say what a real rotation would do."""
    output.tell({"event": "rehearsal", "text": text, "exit": Exit.DONE}, text)


@frozen
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
    locked_out: Climb | None = None


def tell_outcome(output: Output, end: Ending) -> None:
    """Say how an order ended, or what it waits for, and what is in use now."""
    told, shut = _plain(end), end.locked_out
    told |= {"postponed": True} if end.postponed else {}
    told |= {"why": shut.why, "remedy": shut.remedy} if shut else {}
    first = [sentence(shut.why, shut.remedy)] if shut else []
    after = " Nothing else was begun yet: run the command again once it has ended." if end.postponed else ""
    output.tell(told, *first, f"{_summary(end.change, end.wait)} {_in_use(end.current)}{after}")


def tell_repeated(output: Output, end: Ending) -> None:
    """Say that the order was carried out before, and how it ended: its end had not been told."""
    text = (
        f"{_summary(end.change, None)} {_in_use(end.current)} That was the end of the earlier order, at "
        f"{clock_time(end.change.entered_at)}; nothing more was begun. Give the order again if you want another one."
    )
    output.tell({**_plain(end), "repeated": True}, text)


def _plain(end: Ending) -> dict[str, object]:
    wait = {"code": end.wait.code, "until": to_plain(end.wait.until)} if end.wait else None
    change = to_plain(public(end.change))
    return {"event": "outcome", "change": change, "wait": wait, "current": end.current, "exit": end.code}


def tell_locked_out(output: Output, why: str, remedy: str, code: Exit) -> None:
    """Say that no set of this gateway is accepted, and what a person can do."""
    told = {"event": "outcome", "change": None, "why": why, "remedy": remedy, "exit": code}
    output.tell(told, f"Nothing was changed. {sentence(why, remedy)}")


def sentence(why: str, remedy: str) -> str:
    """Return a reason and what helps as sentences."""
    return f"{sentence_of(why)}. {remedy}".rstrip()


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
        case WaitCode.PROBATION if change.confirm_until and not change.confirmed_at:
            asked = clock_time(change.confirm_until)
            return f"Active: {name} waits for confirmation until {asked}: `iot-cert confirm`."
        case WaitCode.PROBATION:
            return f"Active: {name} is on probation; the daemon or the next command ends it."
        case WaitCode.BUDGET:
            return f"Refused: {name} waits until {until}, since the daily limit is used up."
        case WaitCode.CLOCK:
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
