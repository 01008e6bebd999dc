"""What provisioning templates are given: from the configuration, and from files that root alone may be able to read.

A machine's serial number is root's alone on most gateways (``/sys/class/dmi/id/product_serial``), and the agent is not
root. So whenever root runs `iot-cert config check` or `config hand-over`, which the service does at each start, the
values of such files are written to the runtime directory, for the agent's user alone. A command of root's reads them
before it becomes that user.

Rules:

* A file is needed when a certificate is to be asked for, and for nothing else.
* A configuration that others than root may change must not have root give secrets away: of such a one only what looks
  like a serial number is handed over.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from agent.config.files import MAX_PARAMETER, read_bounded, resolve
from agent.config.values import FileValue
from agent.core.jsonio import PlainError, decode, encode
from agent.core.text_files import NoTextError, value_of
from agent.errors import ConfigError, MaterialError, StoreError
from agent.store.files import directories, disk, durable
from agent.system.changeable import changeable_by_others
from agent.system.files import is_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from agent.config.values import Config

FILE = "parameters.json"

_MAX = 262_144  # bytes
_SERIAL = re.compile(r"[A-Za-z0-9._:-]{1,40}")
_HINT = "If root alone may read it, `sudo iot-cert config hand-over` hands its value to the agent, as each start does."


class Parameters:
    """The parameters of one gateway, as far as this process may know them."""

    def __init__(self, config: Config) -> None:
        """Read, as root, what the user that it may become cannot; nothing as another user."""
        self._config = config
        self._as_root = dict(_of_root(config)) if os.geteuid() == 0 else {}

    def enrolment(self) -> Mapping[str, str]:
        """Return what the template of the enrolment is given; empty where none is configured.

        Raises:
            MaterialError: A file cannot be used.
        """
        return self._resolved(self._config.enrollment.parameters if self._config.enrollment is not None else {})

    def rotation(self) -> Mapping[str, str]:
        """Return what the template of a rotation is given besides the thing's name.

        Raises:
            MaterialError: A file cannot be used.
        """
        return self._resolved(self._config.rotation.parameters)

    def _resolved(self, parameters: Mapping[str, str | FileValue]) -> Mapping[str, str]:
        try:
            return resolve(parameters, lambda path: self._as_root.get(str(path)) or _handed_over(self._config, path))
        except ConfigError as error:
            hidden = isinstance(error.__cause__, PermissionError | FileNotFoundError)  # as sysfs and /proc hide theirs
            raise MaterialError(str(error), hint=_HINT if hidden else error.hint) from error

    def hand_over(self) -> tuple[str, ...]:
        """Write down for the agent's user what root alone may read, and return which files that is.

        Nothing is done as another user, where root is the agent's user, and where there is no runtime directory.

        Raises:
            StoreError: It could not be written.
        """
        uid, gid = _owner(self._config)
        if os.geteuid() != 0 or uid == 0 or not is_directory(self._config.runtime_dir):
            return ()
        with disk.directory(str(self._config.runtime_dir)) as fd:
            if not self._as_root:
                directories.withdraw(fd, FILE)
                return ()
            data = encode({"format": 1, "values": self._as_root}) + b"\n"
            durable.put_beside(fd, FILE, data, lambda file: os.fchown(file, uid, gid))
            durable.move_in(fd, FILE)
        return tuple(self._as_root)


def _owner(config: Config) -> tuple[int, int]:
    """Return whose the state directory is, before it is there the runtime directory; root, when neither is."""
    for path in (config.state_dir, config.runtime_dir):
        with suppress(OSError):
            status = path.stat()
            return status.st_uid, status.st_gid
    return 0, 0


def _of_root(config: Config) -> Iterator[tuple[str, str]]:
    """Yield the paths and values of files that others than root may not read."""
    try:
        trusted = not changeable_by_others(config.path)
    except OSError:
        trusted = False
    for path in _files(config):
        with suppress(OSError, ConfigError, NoTextError):  # the change that needs it is told
            if path.stat().st_mode & stat.S_IROTH:
                continue
            value = value_of(read_bounded(path, MAX_PARAMETER, "parameter"))
            if trusted or _SERIAL.fullmatch(value):
                yield str(path), value


def _files(config: Config) -> Iterator[Path]:
    first = config.enrollment.parameters if config.enrollment is not None else {}
    for value in (*first.values(), *config.rotation.parameters.values()):
        if isinstance(value, FileValue):
            yield value.path


def _handed_over(config: Config, path: Path) -> str | None:
    try:
        with disk.directory(str(config.runtime_dir)) as fd:
            known = decode(disk.read(fd, FILE, _MAX), FILE, limit=_MAX).node("values")
            return known.text(str(path), limit=MAX_PARAMETER)
    except (StoreError, FileNotFoundError, PlainError):
        return None
