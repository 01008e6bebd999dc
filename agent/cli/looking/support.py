"""The verb `support-bundle`: one archive for a support case, with nothing in it that must stay here.

What is collected is public by its nature: status, the doctor's lines, the history, certificates, anchors, the
configuration without values that may be secrets, the journal. Then everything is searched once more for every key and
token that this gateway has, and for anything that looks like a private key; what is found is cut out. What could not
be had is said.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from contextlib import contextmanager, suppress
from glob import glob
from typing import TYPE_CHECKING, Any

from agent import __version__
from agent.cli.looking import status
from agent.cli.writing import output_file
from agent.config.files import MAX_MATERIAL, read_bounded
from agent.config.redacted import without_parameters
from agent.core.change.records import public
from agent.core.exit_codes import Exit
from agent.core.jsonio import to_plain
from agent.core.text_files import NoTextError, password_of
from agent.dependants import copies
from agent.errors import AgentError, ConfigError, MaterialError
from agent.operations.opening import open_store
from agent.operations.wiring import load_token
from agent.store.files import durable
from agent.store.names import CERTIFICATE, CURRENT, MANIFEST, TRUST
from agent.store.notes.change_log import CHANGE, DAMAGED_CHANGE
from agent.system import openssl
from agent.trust.archives import pack

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from agent.cli.writing.output import Output
    from agent.config.values import Config
    from agent.core.change.lifecycle import ChangeRecord

CUT = b"[REMOVED]"

# Not the helper's: what hooks write there may be anything.
_JOURNAL = (sys.executable, "-I", "-m", "agent.system.service.journal_reader")
_UNITS = (
    "iot-cert-agent.service",
    "iot-cert-agent.socket",
    "iot-cert-agent-network.socket",
    "iot-cert-agent-deploy.socket",
)
_UNIT = ("systemctl", "show", "--no-pager", *_UNITS)
_PATIENCE = 20.0  # seconds for each of them
_LONGEST_CHECK = 60.0  # seconds; on a dead network it is done in 20
_MAX_OUTPUT = 2_097_152  # bytes

_PRIVATE = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_QUERY = re.compile(rb"(https?://[^\s\"'?]+\?)[^\s\"']+")  # of a presigned URL
_USER = re.compile(rb"(https?://)[^\s\"'/@]+@")  # and password, of a proxy's URL
_TOKEN = re.compile(rb'"token":"((?:[^"\\]|\\.)+)')  # of a record that may be cut off


def carry_out(config: Config, arguments: argparse.Namespace, output: Output) -> Exit:
    """Write the archive and say where it is.

    Raises:
        AgentError: It could not be written.
    """
    target: Path = arguments.output
    output_file.require_usable(target)
    files, missing = _collect(config)
    secrets = list(secrets_of(config))
    files["MISSING.txt"] = "".join(f"{name}: {why}\n" for name, why in missing.items()).encode()
    archive = pack({f"iot-cert-support/{name}": scrubbed(data, secrets) for name, data in files.items()})
    output = deliver("support-bundle", target, archive, f"{len(files)} files", missing, output)
    if missing and os.geteuid() != 0 and not output.as_json:
        output.line("Root may read more than this user: `sudo iot-cert support-bundle`.")
    return Exit.DONE


def deliver(event: str, target: Path, data: bytes, what: str, missing: Mapping[str, str], output: Output) -> Output:
    """Write a result, say where it is and what could not be had, and return where more of it is told.

    Raises:
        AgentError: It could not be written.
    """
    output, where = output.beside_a_result(output_file.write(target, data, durable.Modes())), output_file.shown(target)
    if output.as_json:
        output.emit({"event": event, "file": where, "missing": dict(missing), "exit": Exit.DONE})
        return output
    output.line(f"{where}: {what}, without keys, tokens and passwords.")
    for name, why in missing.items():
        output.field("missing", f"{name}: {why}")
    return output


def _collect(config: Config) -> tuple[dict[str, bytes], dict[str, str]]:
    sources: dict[str, Callable[[], bytes]] = {
        "versions.json": _versions,
        "configuration.yaml": lambda: without_parameters(config.source).encode(),
        "status.json": lambda: _json(status.look(config).document),
        "check.jsonl": lambda: check_apart(config),
        "history.jsonl": lambda: _lines(status.records(config)),
        "change.json": lambda: _change(config),
        CERTIFICATE: lambda: _public_file(config, CERTIFICATE),
        TRUST: lambda: _public_file(config, TRUST),
        MANIFEST: lambda: _public_file(config, MANIFEST),
        "journal.txt": lambda: _output_of(_JOURNAL),
        "unit.txt": lambda: _output_of(_UNIT),
    }
    files: dict[str, bytes] = {}
    missing: dict[str, str] = {}
    for name, source in sources.items():
        with noting(missing, name):
            files[name] = source()
    return files, missing


@contextmanager
def noting(missing: dict[str, str], name: str) -> Iterator[None]:
    """Note why something cannot be had, and go on without it."""
    try:
        yield
    except (AgentError, OSError, subprocess.SubprocessError) as error:
        missing[name] = str(error).split("\n", maxsplit=1)[0][:200] or type(error).__name__


def check_apart(config: Config) -> bytes:
    """Return the doctor's lines, from a process of its own: connecting makes it the agent's user for good.

    Raises:
        OSError: There are none.
        SubprocessError: It took too long.
    """
    done = _checked(["--config", str(config.path), "check", "--json"])
    lines = [line for line in done.stdout.splitlines(keepends=True) if b'"event": "line"' in line]
    if not lines:
        raise OSError(_error_in(done.stdout) or f"the check ended with {done.returncode}")
    return b"".join(lines)


def _checked(words: list[str]) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-I", "-m", "agent", *words]
    return subprocess.run(command, capture_output=True, timeout=_LONGEST_CHECK, check=False)  # noqa: S603 - as written here


def _error_in(printed: bytes) -> str:
    """Return what a command said that printed JSON and could not be carried out, or an empty text."""
    with suppress(ValueError, KeyError, IndexError):
        return str(json.loads(printed.splitlines()[-1])["message"])
    return ""


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True).encode() + b"\n"


def _lines(records: Iterable[ChangeRecord]) -> bytes:
    return b"".join(json.dumps(to_plain(public(record)), sort_keys=True).encode() + b"\n" for record in records)


def _versions() -> bytes:
    found = {
        "agent": __version__,
        "python": sys.version,
        "kernel": " ".join(platform.uname()),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
        "user": os.geteuid(),
    }
    return _json(found)


def _change(config: Config) -> bytes:
    with open_store(config) as store:
        change = store.change()
    return _json(to_plain(public(change)) if change else None)


def _public_file(config: Config, name: str) -> bytes:
    return read_bounded(config.state_dir / CURRENT / name, MAX_MATERIAL, "file")


def _output_of(command: tuple[str, ...]) -> bytes:
    done = subprocess.run(  # noqa: S603 - as written here
        command, capture_output=True, timeout=_PATIENCE, env=openssl.of_others(), check=False
    )
    if done.returncode != 0:
        why = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise OSError(why or f"{command[0]}: it ended with {done.returncode}")
    return done.stdout[-_MAX_OUTPUT:]


def secrets_of(config: Config) -> Iterator[bytes]:
    """Return every line of a key, and every token, that this user can read."""
    named = glob("generations/*/key.pem", root_dir=config.state_dir, include_hidden=True)  # noqa: PTH207 - Path's raises for who may not look
    keys = [config.state_dir / name for name in named]
    if config.enrollment is not None and config.enrollment.claim is not None:
        keys.append(config.enrollment.claim.key)
    if config.enrollment is not None and config.enrollment.token is not None:
        with suppress(MaterialError):
            yield load_token(config.enrollment.token.path).encode()
    for path in keys:
        try:
            yield from (line for line in read_bounded(path, MAX_MATERIAL, "key").splitlines() if _is_secret(line))
        except ConfigError:
            continue  # what this user cannot read, it cannot have collected
    for password in copies.passwords(config.dependants.copies).values():
        yield from (line for line in password.splitlines() if line)
        with suppress(NoTextError):
            yield password_of(password).encode()
    for name in (CHANGE, DAMAGED_CHANGE):  # searched, not parsed, since either may be damaged
        try:
            found = _TOKEN.findall(read_bounded(config.state_dir / name, MAX_MATERIAL, "record"))
        except ConfigError:
            continue
        yield from found


def _is_secret(line: bytes) -> bool:
    return len(line) >= len(CUT) and not line.startswith(b"-----")


def scrubbed(data: bytes, secrets: list[bytes]) -> bytes:
    """Return data without private keys, without the secrets that are given, and without queries of URLs."""
    data = _USER.sub(rb"\1" + CUT + b"@", _QUERY.sub(rb"\1" + CUT, _PRIVATE.sub(CUT, data)))
    for secret in secrets:
        if secret:
            data = data.replace(secret, CUT)
    return data
