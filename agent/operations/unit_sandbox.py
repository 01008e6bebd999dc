"""What the units' sandboxes keep from the daemon and from its helper, though root sees it: told before they meet it.

systemd is asked how the units are set up, drop-ins included. Where there is no systemd, where a unit is not installed,
and for a configuration that the unit does not run with, nothing is known and nothing is said.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from agent.config.values import FileValue
from agent.core.frozen import frozen
from agent.dependants.units import Systemd

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from agent.config.values import Config

DAEMON, HELPER = "iot-cert-agent.service", "iot-cert-agent-deploy.service"
_CONFIG = "/etc/iot-cert-agent/config.yaml"

_HOMES = ("/home", "/root", "/run/user")
_SYSTEM = {"no": (), "yes": ("/usr", "/boot", "/efi"), "full": ("/usr", "/boot", "/efi", "/etc"), "strict": ("/",)}
_OF_THE_KERNEL = ("/dev", "/proc", "/sys")  # which ProtectSystem= leaves as they are
_OWN = {"StateDirectory": "/var/lib", "RuntimeDirectory": "/run", "CacheDirectory": "/var/cache"}
_PROPERTIES = (
    "LoadState", "ExecStart", "ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "ReadWritePaths",
    "ReadOnlyPaths", "InaccessiblePaths", "TemporaryFileSystem", "BindPaths", "BindReadOnlyPaths", *_OWN,
)  # fmt: skip


@frozen
class Sandbox:
    """Which parts of the file system a unit sees and may write to by systemd.exec(5): the deepest place counts.

    Attributes:
        closed: What it sees nothing of, whatever else is said of a place within.
        emptied: Where it sees files of its own in place of those that are there.
        shown: What it sees all the same.
        fixed: What it may not write to.
        open: What it may write to all the same.
    """

    closed: tuple[str, ...] = ()
    emptied: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    open: tuple[str, ...] = ()

    def sees(self, path: str) -> bool:
        """Whether what lies at a path, which has no links in it, is what root sees there."""
        return not _deepest(self.closed, path) and _deepest(self.shown, path) >= _deepest(self.emptied, path)

    def writes(self, path: str) -> bool:
        """Whether the unit may write below a path, which has no links in it."""
        return _deepest(self.open, path) >= _deepest(self.fixed, path)


def _deepest(places: Sequence[str], path: str) -> int:
    """Return how long the longest of the places is that a path lies in; 0 where it lies in none."""
    return max((len(place) for place in places if Path(path).is_relative_to(place)), default=0)


def sandbox_of(shown: Mapping[str, str]) -> Sandbox:
    """Return the sandbox of a unit by the properties that `systemctl show` prints."""
    home, private = shown.get("ProtectHome", "no"), shown.get("PrivateTmp", "no") != "no"
    binds = (*_paths(shown, "BindPaths"), *_paths(shown, "BindReadOnlyPaths"))
    own = (f"{root}/{name}" for kind, root in _OWN.items() for name in _paths(shown, kind))
    temporary = ("/tmp", "/var/tmp") if private else ()  # noqa: S108 - their names
    return Sandbox(
        closed=(*_paths(shown, "InaccessiblePaths"), *(_HOMES if home == "yes" else ())),
        emptied=(
            *temporary,
            *_paths(shown, "TemporaryFileSystem"),
            *(_HOMES if home == "tmpfs" else ()),
            *(("/dev",) if shown.get("PrivateDevices") == "yes" else ()),
        ),
        shown=binds,
        fixed=(
            *_SYSTEM.get(shown.get("ProtectSystem", "no"), ()),
            *_paths(shown, "ReadOnlyPaths"),
            *_paths(shown, "BindReadOnlyPaths"),
            *(_HOMES if home == "read-only" else ()),
        ),
        open=(*_paths(shown, "ReadWritePaths"), *_paths(shown, "BindPaths"), *own, *temporary, *_OF_THE_KERNEL),
    )


def _paths(shown: Mapping[str, str], name: str) -> Iterator[str]:
    """Yield the paths of a property; of a bind mount the place where it is seen."""
    for item in shown.get(name, "").split():
        source, _, rest = item.lstrip("-+").partition(":")
        yield (rest.partition(":")[0] or source) if name.startswith("Bind") else source


def kept_from(config: Config, systemd: Systemd | None = None) -> tuple[str, ...]:
    """Return what a unit of the agent's would not see or not write to, and what helps, a sentence each.

    Args:
        config: The configuration.
        systemd: What to ask.
    """
    systemd = systemd or Systemd()
    found = systemd.shown(DAEMON, _PROPERTIES)
    if found.get("LoadState") != "loaded" or _runs_with(found.get("ExecStart", "")) != config.path.absolute():
        return ()
    told = list(_kept(DAEMON, sandbox_of(found), _reads(config), _writes(config)))
    copies = [("copies", copy.to.parent) for copy in config.dependants.copies]
    if copies and not told:
        found = systemd.shown(HELPER, _PROPERTIES)
        told += _kept(HELPER, sandbox_of(found), (), copies) if found.get("LoadState") == "loaded" else ()
    return tuple(told)


def _runs_with(command: str) -> Path:
    words = command.replace("--config=", "--config ").split()
    return Path(words[words.index("--config") + 1] if "--config" in words[:-1] else _CONFIG)


def _kept(
    unit: str, sandbox: Sandbox, reads: Sequence[tuple[str, Path]], writes: Sequence[tuple[str, Path]]
) -> Iterator[str]:
    for key, path in dict.fromkeys((*reads, *writes)):
        real = os.path.realpath(path)
        if not sandbox.sees(real):
            yield f"{key}: {unit} sees nothing of {real}, which its sandbox hides: keep it at another place."
        elif (key, path) in writes and not sandbox.writes(real):
            yield (
                f"{key}: {unit} may not write to {real}: `systemctl edit {unit}`, put `[Service]` and "
                f"`ReadWritePaths={_in_a_unit(real)}` there, and restart it."
            )


def _in_a_unit(path: str) -> str:
    """Return a path as a unit file has it: a blank ends one that is in no quotes, and % begins a specifier."""
    whole = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{whole}"' if whole != path or " " in path else path


def _reads(config: Config) -> list[tuple[str, Path]]:
    found, rotation, enrolls = list(config.named), config.rotation, config.to_enrol_with
    if rotation.inhibit_file is not None:
        found.append(("rotation.inhibit_file", rotation.inhibit_file))
    found += _parameters("rotation", rotation.parameters)
    if enrolls is not None:
        section = "enrollment.claim" if enrolls.token is None else "enrollment"
        found += [(section, path) for path in enrolls.files]
        found += _parameters("enrollment", enrolls.parameters)
    return found


def _parameters(section: str, values: Mapping[str, str | FileValue]) -> Iterator[tuple[str, Path]]:
    """Yield the files that the daemon reads itself: what root alone may read is handed over from outside."""
    for name, value in values.items():
        if isinstance(value, FileValue):
            with suppress(OSError):
                if value.path.stat().st_mode & stat.S_IROTH:
                    yield f"{section}.parameters.{name}", value.path


def _writes(config: Config) -> list[tuple[str, Path]]:
    inbox = [("trust.inbox", config.trust.inbox)] if config.trust.inbox is not None else []
    enrollment = config.enrollment
    token = [("enrollment.token", enrollment.token.path.parent)] if enrollment and enrollment.token else []
    return [("state_dir", config.state_dir), ("runtime_dir", config.runtime_dir), *inbox, *token]
