"""The two command lines that must be light: `status` where the daemon has the answer ready, and `run`.

It is only a short cut. Whatever is not plain sailing (no daemon, another command line, a configuration it cannot read
at a glance, a refusal) is left to the ordinary way, which knows every word about it.
"""

from __future__ import annotations

import os
import sys
from typing import Any

DEFAULT_CONFIG = "/etc/iot-cert-agent/config.yaml"
DEFAULT_RUNTIME = "/run/iot-cert-agent"

PATIENCE = 5.0  # seconds for the daemon; after that the ordinary way says what is the matter

_MAX = 65_536


def status(argv: list[str]) -> int | None:
    """Show the daemon's status document and return the exit code; None when it takes more than that."""
    path, as_json = _arguments(argv)
    runtime = path and _runtime_dir(path)
    if not path or not runtime:
        return None
    told = _ask(f"{runtime}/control.sock")
    if told is None or told["document"].get("config") != os.path.abspath(path):  # noqa: PTH100 - see above
        return None
    _show(told, as_json=as_json)
    return int(told["exit"])


def daemon(argv: list[str]) -> str | None:
    """Return the configuration file when the command line says to run the daemon and nothing else.

    What a daemon never needs again, such as the parser of command lines, it should not carry for ten years.
    """
    path, rest = _configuration(argv)
    return path if rest == ["run"] else None


def _arguments(argv: list[str]) -> tuple[str | None, bool]:
    path, rest = _configuration(argv)
    if rest[:1] != ["status"] or rest[1:] not in ([], ["--json"]):
        return None, False
    return path, rest[1:] == ["--json"]


def _configuration(argv: list[str]) -> tuple[str, list[str]]:
    if argv[:1] == ["--config"] and len(argv) > 1:
        return argv[1], argv[2:]
    return DEFAULT_CONFIG, list(argv)


def _runtime_dir(path: str) -> str | None:
    """Return the directory by the one line that names it; the daemon's word that it runs with this file is checked."""
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib alone takes longer than all of this
            lines = file.read(_MAX).splitlines()
    except (OSError, ValueError):
        return None
    for line in lines:
        if line.startswith("runtime_dir:"):
            value = line[12:].split(" #")[0].strip().strip("\"'")
            return value if value.startswith("/") else None
    return DEFAULT_RUNTIME


def _ask(socket_path: str) -> dict[str, Any] | None:
    from agent.cli.client import call  # noqa: PLC0415
    from agent.errors import AgentError  # noqa: PLC0415

    try:
        messages = call(socket_path, {"verb": "status"}, timeout=PATIENCE)
        message = next(messages) if messages is not None else {}
    except AgentError:
        return None
    return message if isinstance(message.get("document"), dict) and {"exit", "screen"} <= message.keys() else None


def _show(told: dict[str, Any], *, as_json: bool) -> None:
    from agent.cli.output import Output  # noqa: PLC0415

    output = Output(as_json=as_json)
    if as_json:
        output.emit(told["document"])
        return
    for name, text in told["screen"]:
        output.field(name, text)
    sys.stdout.flush()
