"""Units of systemd's that use the set: reloaded or restarted with a fixed command line, then looked at.

Only what root configured is ever named to `systemctl`. A unit that does not run is left alone; one that failed, or that
waited for a certificate which was not there yet, is started.
"""

from __future__ import annotations

import os
import socket
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from agent.core.dependants import MAX_PROBLEM, Signal, Unit, UnitAction
from agent.core.frozen import frozen
from agent.core.text import printable
from agent.errors import RefusedError
from agent.system import children, clock
from agent.system.processes import programs, threads
from agent.system.processes.runnable import may_be_looked_at, why_not

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from agent.dependants.export import Extract

SYSTEMCTL = "/usr/bin/systemctl"
BOOTED = "/run/systemd/system"  # sd_booted(3): it is there where systemd runs
LOOK = 0.25  # seconds between two looks at a unit or a server
HANDSHAKE = 5.0  # seconds for one connection, the look-up of its name included
QUERY = 10.0  # seconds for systemd to say how a unit is

_PROPERTIES = (
    "LoadState", "ActiveState", "MainPID", "NRestarts", "InvocationID", "CanReload", "ConditionResult",
    "ConditionTimestampMonotonic",
)  # fmt: skip
_UP = frozenset({"active", "reloading", "refreshing"})
_VERBS = {UnitAction.RELOAD: "reload", UnitAction.RESTART: "try-restart", UnitAction.EITHER: "try-reload-or-restart"}


@frozen
class UnitState:
    """How systemd has a unit.

    Attributes:
        loaded: ``loaded``, ``not-found``, ``masked`` and others.
        active: ``active``, ``failed``, ``inactive`` and others.
        process: The main process, 0 without one.
        restarts: How often systemd started it again by itself.
        invocation: Another one after each start.
        reloads: Whether it can be reloaded.
        held_back: Whether a condition, as for a missing certificate, kept it from starting.
    """

    loaded: str
    active: str
    process: str
    restarts: str
    invocation: str
    reloads: bool
    held_back: bool

    @property
    def wanted(self) -> bool:
        """Whether it runs, or would if it could."""
        return self.active not in {"inactive", "deactivating"} or self.held_back


class Systemd:
    """The service manager, by its command."""

    def __init__(self, systemctl: str = SYSTEMCTL, booted: str = BOOTED) -> None:
        self._systemctl = systemctl
        self._booted = booted

    def state(self, name: str) -> UnitState | None:
        """Return how a unit is, or None when systemd does not say."""
        values = self.shown(name, _PROPERTIES)
        return _state(values) if "LoadState" in values else None

    def shown(self, name: str, properties: Sequence[str]) -> dict[str, str]:
        """Return properties of a unit as systemd shows them; none when it does not answer."""
        import subprocess  # noqa: PLC0415 - only where there are units

        command = [self._systemctl, "show", "--no-pager", f"--property={','.join(properties)}", "--", name]
        try:
            found = subprocess.run(  # noqa: S603 - fixed, but for a name from root's configuration
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=QUERY, env=children.ENVIRONMENT,
                check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            return {}
        lines = found.stdout.decode(errors="replace").splitlines() if found.returncode == 0 else []
        return dict(line.partition("=")[::2] for line in lines)

    def order(self, verb: str, name: str, timeout: float) -> str:
        """Have systemd do something with a unit, and return how that failed, or nothing."""
        return programs.run([self._systemctl, "--no-ask-password", "--quiet", verb, "--", name], timeout)

    def serve(self, unit: Unit, extract: Extract) -> str:
        """Have a unit take the set up, and return why it does not, or nothing.

        Raises:
            RefusedError: It does not, and only a person can change that.
        """
        before = self.state(unit.name)
        if before is None and not os.access(self._systemctl, os.X_OK):
            raise RefusedError(f"{unit.name}: there is no {self._systemctl} here, so nothing was done to it.")
        if before is None and not os.path.isdir(self._booted):  # noqa: PTH112 - a name, as the other is
            why = f"systemd does not run here, as in many a container (there is no {self._booted})"
            raise RefusedError(f"{unit.name}: {why}, so nothing was done to it. A signal or a hook needs none.")
        if before is None:
            return f"{unit.name}: systemd does not answer, so nothing was done to it."
        if before.loaded != "loaded":
            loads = f"`sudo systemctl unmask {unit.name}`, or see" if before.loaded == "masked" else "see"
            raise RefusedError(f"{unit.name} is {before.loaded}: {loads} the name under `dependants:`.")
        if not before.wanted:
            return ""
        if unit.action is UnitAction.RELOAD and not before.reloads and before.active in _UP:
            raise RefusedError(f"{unit.name} cannot be reloaded: set `action: reload-or-restart` for it.")
        deadline = clock.monotonic() + unit.timeout.total_seconds()
        verb = _VERBS[unit.action] if before.active in _UP | {"activating"} else "restart"
        problem = self.order(verb, unit.name, unit.timeout.total_seconds())
        if problem:
            return f"{unit.name} does not {verb.removeprefix('try-')}: {problem}. `systemctl status {unit.name}`."
        return self._stays_up(unit, before, verb) or verified(unit, extract, deadline)

    def is_served(self, unit: Unit, extract: Extract) -> bool:
        """Whether a unit's TLS server still shows the set's certificate; true where it is down or not to be asked."""
        if not unit.verify.tls:
            return True
        state = self.state(unit.name)
        return state is None or state.active not in _UP or not _shows(unit.verify.tls, extract.certificate_id)

    def _stays_up(self, unit: Unit, before: UnitState, verb: str) -> str:
        until = clock.monotonic() + unit.healthy.total_seconds()
        first = state = self.state(unit.name)
        while state is not None and first is not None:
            if state.active not in _UP:
                return f"{unit.name} is {state.active} after its {verb.removeprefix('try-')}."
            if (state.restarts, state.process) != (first.restarts, first.process):
                return f"{unit.name} died and was started again after its {verb.removeprefix('try-')}."
            if clock.monotonic() >= until:
                same = state.invocation == before.invocation
                renewed = unit.action is UnitAction.RESTART or unit.verify.new_process
                return f"{unit.name} still runs the process from before." if same and renewed else ""
            clock.sleep(LOOK)
            state = self.state(unit.name)
        return f"{unit.name}: systemd does not answer, so its state is unknown."


def verified(unit: Unit | Signal, extract: Extract, deadline: float) -> str:
    """Return why a unit does not show that it uses the set, or nothing; it has until `deadline`, monotonic.

    Raises:
        RefusedError: What is to confirm that cannot be run.
    """
    problem = _until(deadline, lambda: _shows(unit.verify.tls, extract.certificate_id)) if unit.verify.tls else ""
    if problem:
        return f"{unit.name} does not use the new certificate: {problem}."
    return _until(deadline, lambda: _confirmed(unit, deadline)) if unit.verify.command else ""


def unconfirmed(served: Iterable[Unit | Signal]) -> Iterator[str]:
    """Yield which commands of `verify` could not be started, as far as this user may look, a sentence each."""
    for item in served:
        if item.verify.command and (problem := _not_startable(Path(item.verify.command[0]))):
            yield printable(f"{item.name}: its `verify` command cannot be run: {problem}", MAX_PROBLEM)


def _not_startable(command: Path) -> str:
    try:
        command.stat()
    except PermissionError:
        return ""  # root may go where this user may not
    except OSError:
        pass
    return why_not(command, None, follow=True) if may_be_looked_at(command) else ""


def _confirmed(unit: Unit | Signal, deadline: float) -> str:
    command = unit.verify.command
    failed = programs.run(command, max(deadline - clock.monotonic(), 1.0))
    problem = f"{unit.name}: {command[0]} does not confirm the new set: {failed}." if failed else ""
    if failed.startswith(programs.NOT_STARTED):
        raise RefusedError(problem)
    return problem


def _until(deadline: float, look: Callable[[], str]) -> str:
    problem = look()
    while problem and clock.monotonic() < deadline:
        clock.sleep(LOOK)
        problem = look()
    return problem


def _shows(address: str, certificate_id: str) -> str:
    """Return why a server does not show a certificate, or nothing, by an end: neither its name nor its word has one."""
    found: list[str] = []
    threads.wait_for(lambda: found.append(_asked(address, certificate_id)), HANDSHAKE)
    return found[0] if found else f"{address} cannot be asked (no answer in time)"


def _asked(address: str, certificate_id: str) -> str:
    """Return the same, whenever it comes. Nothing is sent, and nothing that the server says is believed."""
    import ssl  # noqa: PLC0415 - only where a server is to be looked at

    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only what it shows counts, which is compared
    try:
        with (
            socket.create_connection((host, int(port)), HANDSHAKE) as connection,
            context.wrap_socket(connection, server_hostname=host) as channel,
        ):
            shown = channel.getpeercert(binary_form=True) or b""
    except (OSError, ValueError, OverflowError) as error:
        return f"{address} cannot be asked ({str(error)[:120] or type(error).__name__})"
    if sha256(shown).hexdigest() != certificate_id:
        return f"{address} shows another certificate, {sha256(shown).hexdigest()[:12]}"
    return ""


def _state(values: dict[str, str]) -> UnitState:
    tried = values.get("ConditionTimestampMonotonic", "0") != "0"
    return UnitState(
        loaded=values.get("LoadState", ""),
        active=values.get("ActiveState", ""),
        process=values.get("MainPID", "0"),
        restarts=values.get("NRestarts", "0"),
        invocation=values.get("InvocationID", ""),
        reloads=values.get("CanReload") == "yes",
        held_back=values.get("ActiveState") == "inactive" and tried and values.get("ConditionResult") == "no",
    )
