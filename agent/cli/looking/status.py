"""The verbs that look: status, explain, history. They take no lock, change nothing and work offline."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from agent.cli.carrying import client
from agent.cli.looking.watch import watch
from agent.cli.writing.output import Shown
from agent.core.change.records import public
from agent.core.exit_codes import Exit, of_error
from agent.core.jsonio import to_plain
from agent.core.report.document import document, trust
from agent.core.report.findings import judge
from agent.core.report.known import NO_DAEMON, NO_DAEMON_YET, Unattended
from agent.core.report.screen import explain as explanation
from agent.core.report.screen import history_line, screen
from agent.errors import AgentError, StoreError
from agent.operations import snapshot
from agent.operations.opening import open_store

if TYPE_CHECKING:
    import argparse

    from agent.cli.writing.output import Output
    from agent.config.values import Config
    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.control_protocol import StatusMessage
    from agent.core.report.status import Status


def look(config: Config) -> Shown:
    """Return how the gateway stands: the daemon's word where one runs and answers, else what is on disk.

    Raises:
        AgentError: Neither can be had.
    """
    unattended = NO_DAEMON
    try:
        told = _told(config)
    except AgentError as error:
        if not os.access(config.state_dir, os.R_OK | os.X_OK):
            raise
        told = None  # a daemon that does not answer must not hide what is on disk
        unattended = Unattended(code="daemon-silent", text=error.in_full)
    if told is not None and told.screen:  # a daemon of an older version says less
        return _as_told(told)
    if told is None and unattended is NO_DAEMON:
        elsewhere = client.elsewhere(config)
        unattended = Unattended(code="other-daemon", text=elsewhere) if elsewhere else NO_DAEMON
    found = snapshot.take(config)
    if unattended is NO_DAEMON and found.current is None and not found.damage:
        unattended = NO_DAEMON_YET
    return _as_found(snapshot.status(config, found, unattended))


def _told(config: Config) -> StatusMessage | None:
    """Return the daemon's word; without its socket, what speaks there is not imported either."""
    with suppress(OSError):
        if not config.control_socket.exists():
            return None
    from agent.cli.carrying import via_daemon  # noqa: PLC0415
    from agent.core.control_protocol import ControlRequest, StatusMessage  # noqa: PLC0415

    return via_daemon.one(config, ControlRequest(verb="status"), StatusMessage)


def _as_told(told: StatusMessage) -> Shown:
    return Shown(document=told.document, trust=told.trust, screen=told.screen, why=told.why, exit=told.exit)


def _as_found(found: Status) -> Shown:
    return Shown(
        document=document(found),
        trust=trust(found),
        screen=list(screen(found)),
        why=explanation(found),
        exit=judge(found).exit,
    )


def watched(config: Config, output: Output) -> int:
    """Show the screen again as it changes, until the person or the reader of standard output leaves.

    Raises:
        AgentError: There is nothing to be seen at first; later on, the error is shown until there is.
    """
    seen = False

    def ask() -> Shown:
        nonlocal seen
        try:
            told = look(config)
        except AgentError as error:
            if not seen:
                raise
            trouble = {"event": "error", "message": str(error), "hint": error.hint, "exit": of_error(error)}
            return Shown(trouble, [("trouble", f"{error}\n{error.hint}")], of_error(error))
        seen = True
        return told

    return watch(ask, output) or Exit.DONE


def status(config: Config, output: Output) -> Exit:
    """Show one screen: who, what, until when, what is under way, what is wrong."""
    told = look(config)
    output.show(told)
    return Exit(told.exit)


def explain(config: Config, output: Output) -> Exit:
    """Say why nothing is being rotated now, or what is being done."""
    told = look(config)
    plain = {"event": "explain", "why": told.why, "plan": told.document.get("plan"), "exit": Exit.DONE}
    output.tell(plain, *told.why)
    return Exit.DONE


def history(config: Config, output: Output) -> Exit:
    """Show the finished changes, oldest first."""
    found = records(config)
    for record in found:
        output.tell(to_plain(public(record)), history_line(record))
    if not found:
        output.nothing("Nothing has been changed yet.")
    return Exit.DONE


def records(config: Config) -> tuple[ChangeRecord, ...]:
    """Return the finished changes, oldest first.

    They are read from the disk, or told by the daemon where this user may not read that.

    Raises:
        AgentError: Neither can be had.
    """
    try:
        with open_store(config) as store:
            return store.history()
    except StoreError:
        from agent.cli.carrying import via_daemon  # noqa: PLC0415 - only where the disk does not say it
        from agent.core.control_protocol import ControlRequest, HistoryMessage  # noqa: PLC0415

        told = via_daemon.one(config, ControlRequest(verb="history"), HistoryMessage)
        if told is None:
            raise
        return told.records


def carry_out(config: Config, arguments: argparse.Namespace, output: Output) -> int:
    """Carry out one of the verbs that look.

    Raises:
        AgentError: There is nothing to be seen, or not for this user.
    """
    if getattr(arguments, "watch", False):
        return watched(config, output)
    return {"status": status, "explain": explain, "history": history}[arguments.verb](config, output)
