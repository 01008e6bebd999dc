"""The command lines that must be light: `status` (`--watch`) where the daemon has the answer ready, and the service's.

Those are `run` and, before each start, `config hand-over`.

It is only a short cut. Whatever is not plain sailing (no daemon, another command line, a refusal) is left to the
ordinary way, which knows every word about it.

Where the daemon listens stands in the configuration, and reading YAML takes longer than all of this. So the daemon is
asked at the usual place, or where the environment points to, and its answer counts only if it is about this file: it
names the file it runs with, and the checksum of what it read there. Another file, one that was changed since, or one
that the daemon refused, leads the ordinary way, which reads it.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from agent.cli.writing.output import Shown

DEFAULT_CONFIG = "/etc/iot-cert-agent/config.yaml"
DEFAULT_RUNTIME = "/run/iot-cert-agent"
RUNTIME = "IOT_CERT_RUNTIME_DIR"  # the environment's word where a daemon may listen

PATIENCE = 5.0  # seconds for the daemon; after that the ordinary way says what is the matter

_MAX = 65_536


def status(argv: list[str]) -> int | None:
    """Show the daemon's status document and return the exit code; None when it takes more than that."""
    path, options = _arguments(argv)
    if not path:
        return None

    def ask() -> Shown | None:
        return _ask(os.environ.get(RUNTIME) or DEFAULT_RUNTIME, path, unchanged=True)

    return _show(ask, path, as_json="--json" in options, again="--watch" in options)


def despite(path: str, runtime: str | None, *, as_json: bool, again: bool = False) -> int | None:
    """Show what the daemon says that runs with a file as it was, where the file as it is cannot be used.

    Args:
        path: The configuration file.
        runtime: Its runtime directory as it is now, or None when not even that can be read.
        as_json: Whether a machine reads.
        again: Whether to go on showing it.

    Returns:
        The exit code; None when no daemon says that it runs with this file.
    """
    where = runtime or os.environ.get(RUNTIME) or DEFAULT_RUNTIME
    return _show(lambda: _ask(where, path, unchanged=False), path, as_json=as_json, again=again)


def daemon(argv: list[str]) -> str | None:
    """Return the configuration file when the command line says to run the daemon and nothing else.

    What a daemon never needs again, such as the parser of command lines, it should not carry for ten years.
    """
    path, rest = _configuration(argv)
    return path if rest == ["run"] else None


def plain(argv: list[str]) -> argparse.Namespace | None:
    """Return what the parser would make of a light command line: making the parser takes longer than such a command."""
    from pathlib import Path  # noqa: PLC0415
    from types import SimpleNamespace  # noqa: PLC0415

    path, rest = _configuration(argv)
    if rest == ["config", "hand-over"] and path:
        found = SimpleNamespace(verb="config", action="hand-over", config=Path(path), json=False)
        return cast("argparse.Namespace", found)
    path, options = _arguments(argv)
    if not path:
        return None
    found = SimpleNamespace(verb="status", config=Path(path), json="--json" in options, watch="--watch" in options)
    return cast("argparse.Namespace", found)


def _arguments(argv: list[str]) -> tuple[str, set[str]]:
    path, rest = _configuration(argv)
    options = set(rest[1:])
    if rest[:1] != ["status"] or not options <= {"--json", "--watch"}:
        return "", set()
    return path, options


def _configuration(argv: list[str]) -> tuple[str, list[str]]:
    if argv[:1] == ["--config"] and len(argv) > 1:
        return argv[1], argv[2:]
    return DEFAULT_CONFIG, list(argv)


def _checksum_of(path: str) -> str | None:
    from agent.core.checksum import checksum  # noqa: PLC0415

    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe in its place must not hold the command
        with os.fdopen(fd, "rb") as file:
            return checksum(file.read(_MAX + 1))
    except OSError:
        return None


def _ask(runtime: str, path: str, *, unchanged: bool) -> Shown | None:
    """Return what the daemon says that listens there, if it says that it runs with this file, perhaps as it is now."""
    from agent.cli.carrying.client import call  # noqa: PLC0415
    from agent.cli.writing.output import Shown  # noqa: PLC0415
    from agent.errors import AgentError  # noqa: PLC0415

    try:
        messages = call(f"{runtime}/control.sock", b'{"verb":"status"}\n', timeout=PATIENCE)
        message = next(messages) if messages is not None else {}
    except AgentError:
        return None
    match message:
        case {"document": dict(document), "screen": list(screen), "exit": int(code)}:
            its_own = document.get("config") == os.path.abspath(path)  # noqa: PTH100 - see above
            current = not unchanged or message.get("configuration") == _checksum_of(path)
            return Shown(document, screen, code) if its_own and current else None
        case _:
            return None


def _show(ask: Callable[[], Shown | None], path: str, *, as_json: bool, again: bool) -> int | None:
    """Show the daemon's answer, or each one from now on; None where there is none."""
    from agent.cli.writing.output import Output  # noqa: PLC0415
    from agent.cli.writing.terminal import call  # noqa: PLC0415

    output = Output(as_json=as_json, call=call(sys.argv[0], path, DEFAULT_CONFIG))
    if again:
        from agent.cli.looking.watch import watch  # noqa: PLC0415

        return watch(ask, output)
    told = ask()
    if told is None:
        return None
    output.show(told)
    return told.exit
