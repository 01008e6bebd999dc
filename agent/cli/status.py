"""The verbs that look: status, explain, history, config check. They take no lock, change nothing and work offline."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from agent.cli import via_daemon
from agent.core.aws import client_ids
from agent.core.change.records import public
from agent.core.exit_codes import Exit
from agent.core.report.status import explain as explanation
from agent.core.report.status import history_line, instant, screen
from agent.errors import AgentError, ConfigError, MaterialError, RefusedError, StoreError
from agent.operations import snapshot
from agent.operations.wiring import engine_settings, load_anchors, load_claim, open_store

if TYPE_CHECKING:
    import argparse

    from agent.cli.output import Output
    from agent.config import Config


def document(config: Config) -> dict[str, Any]:
    """Return the status document: the daemon's where one runs and answers, else what is on disk.

    Raises:
        AgentError: Neither can be had.
    """
    try:
        told = via_daemon.one(config, {"verb": "status"})
    except AgentError:
        if not os.access(config.state_dir, os.R_OK | os.X_OK):
            raise
        told = None  # a daemon that does not answer must not hide what is on disk
    if told is not None:
        found: dict[str, Any] = told["document"]
        return found
    return snapshot.document(config, snapshot.take(config))


def status(config: Config, output: Output) -> Exit:
    """Show one screen: who, what, until when, what is under way, what is wrong."""
    return show(document(config), output)


def show(found: dict[str, Any], output: Output) -> Exit:
    """Show a status document."""
    if output.as_json:
        output.emit(found)
    else:
        for name, text in screen(found, instant(found["clock"]["now"])):
            output.field(name, text)
    return Exit(found["exit"])


def explain(config: Config, output: Output) -> Exit:
    """Say why nothing is being rotated now, or what is being done."""
    found = document(config)
    lines = explanation(found, instant(found["clock"]["now"]))
    if output.as_json:
        output.emit({"event": "explain", "why": lines, "plan": found.get("plan"), "exit": Exit.DONE})
    else:
        for line in lines:
            output.line(line)
    return Exit.DONE


def history(config: Config, output: Output) -> Exit:
    """Show the finished changes, oldest first."""
    for record in (found := records(config)):
        if output.as_json:
            output.emit(record)
        else:
            output.line(history_line(record))
    if not found and not output.as_json:
        output.line("Nothing has been changed yet.")
    return Exit.DONE


def records(config: Config) -> list[dict[str, Any]]:
    """Return the finished changes, oldest first: from the disk, or from the daemon for whoever may not read that.

    Raises:
        AgentError: Neither can be had.
    """
    try:
        with open_store(config) as store:
            return [public(record) for record in store.history()]
    except StoreError:
        told = via_daemon.one(config, {"verb": "history"})  # whoever may not read the files may ask the daemon
        if told is None:
            raise
        found: list[dict[str, Any]] = told["records"]
        return found


def check_config(config: Config, output: Output) -> Exit:
    """Check what the configuration names, after the file itself was found sound.

    Raises:
        ConfigError: Something it names cannot be used; one line for each.
    """
    complaints = [*_check_files(config), *_check_state_dir(config)]
    if complaints:
        raise ConfigError("\n".join(complaints))
    warnings = [f"{concern} {client_ids.REMEDY}" for concern in config.concerns(_thing(config))]
    if output.as_json:
        output.emit({"config": str(config.path), "warnings": warnings, "exit": Exit.DONE})
        return Exit.DONE
    output.line(f"{config.path}: ok; endpoint {config.endpoint}:{config.port}, state in {config.state_dir}")
    for warning in warnings:
        output.line(f"warning: {warning}")
    return Exit.DONE


def _thing(config: Config) -> str:
    """Return the name of the thing that the current set is for, as far as this user may know it."""
    try:
        return snapshot.take(config).thing
    except StoreError:
        return ""


def _check_files(config: Config) -> list[str]:
    complaints = []
    for load in (engine_settings, load_anchors, load_claim):
        try:
            load(config)
        except RefusedError:
            continue  # without enrolment there is no claim to check
        except (ConfigError, MaterialError) as error:
            complaints.append(f"{error}{f' ({error.hint})' if error.hint else ''}")
    return complaints


def _check_state_dir(config: Config) -> list[str]:
    try:
        with open_store(config):
            return []
    except StoreError as error:
        if config.state_dir.exists():
            return [f"state_dir: {error}"]
    if config.state_dir.parent.is_dir() and os.access(config.state_dir.parent, os.W_OK):
        return []  # `enroll` makes it
    return [f"state_dir: {config.state_dir} does not exist and cannot be made by this user"]


def carry_out(config: Config, arguments: argparse.Namespace, output: Output) -> Exit:
    """Carry out one of the verbs that look.

    Raises:
        AgentError: There is nothing to be seen, or not for this user.
    """
    verbs = {"status": status, "explain": explain, "history": history, "config": check_config}
    return verbs[arguments.verb](config, output)
