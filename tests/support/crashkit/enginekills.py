"""Kill the real engine wherever it matters, let a fresh one go on, and say what does not hold.

It matters where the disk or the cloud is another than at the kill before: at the calls that change the disk, and at
the first call after a request to the cloud. A kill anywhere else leaves the same as a kill at the next of these; a
sample of the others is taken all the same.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

from agent.adapters.store import Store
from agent.core.lifecycle import Phase
from agent.core.values import Kind
from agent.errors import AgentError
from agent.sandbox.faults import Effect, Fault, Operation
from crashkit import campaign, invariants, stepper, syscalls
from crashkit.gateway import Ending, Gateway, Mirror
from crashkit.invariants import InvariantError
from crashkit.scenarios import Workplace
from crashkit.stepper import HarnessError
from crashkit.tree import Tree, snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from crashkit.campaign import Report


@dataclass(frozen=True, kw_only=True)
class Drill:
    """A change that the real engine makes.

    Attributes:
        kind: What it does.
        earlier: The changes made before it.
        fault: What the cloud does wrong at registration, or None.
        phases: How it may end.
    """

    kind: Kind
    earlier: tuple[Kind, ...]
    phases: frozenset[Phase]
    fault: Effect | None = None


_REFUSED = frozenset({Phase.REJECTED, Phase.ROLLED_BACK})
_DONE = frozenset({Phase.COMMITTED})

DRILLS = {
    "enrolment": Drill(kind=Kind.ENROLL, earlier=(), phases=_DONE),
    "rotation": Drill(kind=Kind.ROTATE, earlier=(Kind.ENROLL, Kind.ROTATE), phases=_DONE),
    "revoked in probation": Drill(
        kind=Kind.ROTATE, earlier=(Kind.ENROLL, Kind.ROTATE), phases=_REFUSED, fault=Effect.REVOKE
    ),
    "never active": Drill(
        kind=Kind.ROTATE, earlier=(Kind.ENROLL,), phases=frozenset({Phase.REJECTED}), fault=Effect.NEVER_ACTIVE
    ),
    "rollback by command": Drill(kind=Kind.ROLLBACK, earlier=(Kind.ENROLL, Kind.ROTATE), phases=_DONE),
}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Where a drill begins: a gateway, its store, its cloud, and the calls an undisturbed run makes."""

    drill: Drill
    gateway: Gateway
    base: Tree
    cloud: bytes
    asked: int
    calls: tuple[str, ...]
    requests: tuple[int, ...]

    @property
    def change(self) -> str:
        """The id of the change."""
        return f"change-{len(self.drill.earlier) + 1}"

    @property
    def current(self) -> int | None:
        """The generation that is current before."""
        return int(self.base["current"][2].decode().rpartition("/")[2]) if "current" in self.base else None

    @property
    def allowed(self) -> frozenset[int]:
        """What may be current from now on."""
        made = len(self.drill.earlier) + 1
        other = made - 2 if self.drill.kind is Kind.ROLLBACK else made
        return frozenset({number for number in (self.current, other) if number is not None})


@cache
def stage(name: str) -> Stage:
    """Make a gateway ready for a drill."""
    drill, gateway = DRILLS[name], Gateway()
    with Workplace() as workplace:
        path = workplace.lay_out({})
        for kind in drill.earlier:
            gateway.carry_out(path, kind)
        if drill.fault is not None:
            gateway.cloud.faults.add(Fault(operation=Operation.REGISTER, effect=drill.fault))
        base, cloud, asked = snapshot(path), gateway.state(), gateway.cloud.count(Operation.CREATE)
        run = stepper.dry(lambda: partial(gateway.carry_out, path, drill.kind), lambda: gateway.mirror.number)
        if not isinstance(run.result, Ending):
            raise HarnessError(f"an undisturbed {name} ended with {run.result}")
    return Stage(
        drill=drill,
        gateway=gateway,
        base=base,
        cloud=cloud,
        asked=asked,
        calls=tuple(run.calls),
        requests=tuple(run.probed),
    )


def places(ready: Stage, *, others: int, seed: int) -> list[int]:
    """Return the calls at which a kill makes a difference, and a sample of the others."""
    vital = [
        place
        for place, name in enumerate(ready.calls)
        if name in syscalls.CHANGING or ready.requests[place] != ready.requests[place - 1]
    ]
    rest = sorted(set(range(len(ready.calls))) - set(vital))
    drawn = random.Random(seed).sample(rest, min(others, len(rest)))  # noqa: S311 - a sample, not a secret
    return sorted([*vital, *drawn])


def kill_at(name: str, points: Sequence[int]) -> Report:
    """Kill the engine at these calls, each in a run of its own, and let a fresh one go on."""
    stage(name)  # made before the workers are forked
    return campaign.spread(partial(_kill_each, name), points)


def _kill_each(name: str, points: Sequence[int]) -> list[str]:
    ready = stage(name)
    ready.gateway.mirror = Mirror()  # one that no other worker writes to
    with Workplace() as workplace:
        return [_kill_once(workplace, ready, point) for point in points]


def _kill_once(workplace: Workplace, ready: Stage, point: int) -> str:
    gateway, path = ready.gateway, workplace.lay_out(ready.base)
    gateway.restore(ready.cloud)
    stepper.kill(lambda: partial(gateway.carry_out, path, ready.drill.kind), point)
    left = snapshot(path)
    gateway.restore(gateway.mirror.read())
    try:
        _check_left(workplace.lay_out(left), ready)
        spare = _requests_in_doubt(path)
        ending = gateway.resume(path, ready.change, ready.drill.kind)
        _check_ending(ready, ending, spare)
        _check_left(path, ready)
        invariants.check_outcome(path, ready.change)
    except (InvariantError, AgentError, OSError) as error:
        return f"killed at call {point} ({ready.calls[point]}): {type(error).__name__}: {error}"
    return ""


def _check_left(path: Path, ready: Stage) -> None:
    before = frozenset[int]() if ready.current is None else frozenset({ready.current})
    previous = ready.drill.fault is None and "previous" in ready.base
    invariants.check_store(path, before=before, after=ready.allowed, previous=previous)


def _requests_in_doubt(path: Path) -> int:
    """Return how many certificates may have been asked for whose answer nobody holds: none, or the one in flight."""
    with Store(path) as store:
        record = store.change()
    return int(record is not None and record.phase is Phase.REQUESTED)


def _check_ending(ready: Stage, ending: Ending, spare: int) -> None:
    if ending.phase not in ready.drill.phases:
        raise InvariantError(f"it ended {ending.phase}")
    if not ending.connects:
        raise InvariantError("the gateway cannot connect with its current set")
    asked = ending.asked - ready.asked
    needed = int(ready.drill.kind.issues)
    if not needed <= asked <= needed + spare:
        raise InvariantError(f"{asked} certificates were asked for, and {needed + spare} would do")
