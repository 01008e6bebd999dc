"""The files that a configuration names: read once, bounded, and what holds a key only when it is kept from others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.config.values import FileValue
from agent.core.text import in_shell
from agent.core.text_files import EmptyError, NoTextError, password_of, value_of
from agent.errors import ConfigError
from agent.system import files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from agent.core.aws.endpoints import Proxy

MAX_MATERIAL = 1_048_576  # bytes
MAX_PARAMETER = 4_096  # bytes
_ANOTHER_LINE = "Write the password into its first line."


def read_bounded(path: Path, limit: int, what: str) -> bytes:
    """Return the content of a regular file of at most `limit` bytes.

    Raises:
        ConfigError: It is missing, not permitted, no regular file or too large.
    """
    return _read(path, limit, what)[0]


def _read(path: Path, limit: int, what: str) -> tuple[bytes, int]:
    """Return the content and the mode of the file that was read, whatever stands in its place by then."""
    try:
        return files.read(path, limit)
    except files.UnreadableError as error:
        raise ConfigError(f"{path}: the {what} {error}", hint=error.remedy, general=error.general) from error.__cause__


def read_secret(path: Path, what: str) -> bytes:
    """Return the content of a file that holds a key, which no other user may be able to read.

    Raises:
        ConfigError: As `read_bounded`, or its mode is too open; the message has the exact `chmod`.
    """
    data, mode = _read(path, MAX_MATERIAL, what)
    if mode & 0o077:
        text = f"{path}: the {what} may be read by others (mode {mode:04o})"
        raise ConfigError(text, hint=f"sudo chmod 600 {in_shell(path)}")
    return data


def proxy_password(proxy: Proxy) -> str:
    """Return the password for a proxy: the first line of its file, or nothing without one.

    Raises:
        ConfigError: It cannot be read, or every user of this gateway can read it.
    """
    if proxy.password_file is None:
        return ""
    path, what = proxy.password_file, "password of the proxy"
    data, mode = _read(path, MAX_PARAMETER, what)
    if mode & 0o007:
        raise ConfigError(
            f"{path}: the {what} may be read by others (mode {mode:04o})", hint=f"sudo chmod o-rwx {in_shell(path)}"
        )
    try:
        text = password_of(data)
    except EmptyError:
        return ""
    except NoTextError as error:
        raise ConfigError(f"{path}: the {what} cannot be used: {error}", hint=_ANOTHER_LINE) from None
    if not text.isprintable():
        raise ConfigError(f"{path}: the first line is no plain text", hint=_ANOTHER_LINE)
    return text


def resolve(
    parameters: Mapping[str, str | FileValue], instead: Callable[[Path], str | None] = lambda _: None
) -> dict[str, str]:
    """Return provisioning parameters with the content of the files they name.

    Args:
        parameters: As the configuration has them.
        instead: Returns what is known of a file that cannot be read, or None.

    Raises:
        ConfigError: A file cannot be read, or holds nothing.
    """
    values = {}
    for name, value in parameters.items():
        if isinstance(value, FileValue):
            values[name] = _value(name, value.path, instead)
        else:
            values[name] = value
    return values


def _value(name: str, path: Path, instead: Callable[[Path], str | None]) -> str:
    try:
        return value_of(read_bounded(path, MAX_PARAMETER, f"file for parameter {name}"))
    except ConfigError:
        known = instead(path)
        if known is None:
            raise
        return known
    except NoTextError as error:
        text = f"{path}: the file for parameter {name} holds no plain text: {error}"
        raise ConfigError(text, hint="Write the value into it, in one line.") from None
