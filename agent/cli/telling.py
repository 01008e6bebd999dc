"""How the end of a change is told, by whoever carried it out: the command itself or the daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.core.exits import Exit
from agent.core.lifecycle import Phase
from agent.core.overview import instant
from agent.core.wording import clock_time

if TYPE_CHECKING:
    from agent.cli.output import Output


def tell_rehearsal(output: Output, text: str) -> None:
    """Say what a real rotation would do."""
    if output.as_json:
        output.emit({"event": "rehearsal", "text": text, "exit": Exit.DONE})
    else:
        output.line(text)


def tell_outcome(
    output: Output, change: dict[str, Any], wait: dict[str, Any] | None, current: int | None, code: Exit
) -> None:
    """Say how a change ended, or what it waits for, and what is in use now.

    Args:
        output: Where to.
        change: The change, as `agent.core.records.public` has it.
        wait: Code and end of the wait, or None when it has ended.
        current: The generation in use, or None.
        code: The exit code.
    """
    if output.as_json:
        output.emit({"event": "outcome", "change": change, "wait": wait, "current": current, "exit": code})
        return
    in_use = f"Generation {current} is in use." if current else "There is no usable set on this gateway."
    output.line(f"{_summary(change, wait)} {in_use}")


def _summary(change: dict[str, Any], wait: dict[str, Any] | None) -> str:
    if wait is not None:
        return _waiting(wait["code"], change, clock_time(instant(wait["until"])))
    failure = change.get("failure")
    why = f" {failure['message']} {failure.get('remedy', '')}".rstrip() if failure else ""
    name = f"{change['kind']} {change['id']}"
    match change["phase"]:
        case Phase.COMMITTED:
            without = (change.get("degraded") or {}).get("message", "")
            return f"Done: {name} is committed{f', without this: {without}' if without else '.'}"
        case Phase.ROLLED_BACK:
            return f"Rolled back: {name}.{why}"
        case _:
            return f"Not done: {name} was given up.{why}"


def _waiting(code: str, change: dict[str, Any], until: str) -> str:
    name = f"{change['kind']} {change['id']}"
    match code:
        case "probation" if change.get("confirm_until") and not change.get("confirmed_at"):
            asked = clock_time(instant(change["confirm_until"]))
            return f"Active: {name} waits for confirmation until {asked}: `iot-cert confirm`."
        case "probation":
            return f"Active: {name} is on probation; the daemon or the next command ends it."
        case "budget":
            return f"Refused: {name} waits until {until}, since the daily limit is used up."
        case _:
            return (
                f"Not yet: {name} is kept in phase {change['phase']} and may be tried again from {until}; "
                "run the command again to go on."
            )
