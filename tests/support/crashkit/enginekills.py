"""Kill the real engine wherever it matters, let a fresh one go on, and say what does not hold.

It matters where the disk or the cloud is another than at the kill before: at the calls that change the disk, and at
the first call after a request to the cloud. A kill anywhere else leaves the same as a kill at the next of these; a
sample of the others is taken all the same.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache, partial
from typing import TYPE_CHECKING

from agent.core.change.lifecycle import Phase
from agent.core.values import Kind
from agent.errors import AgentError
from agent.sandbox.replies.faults import Effect, Fault, Operation
from agent.store.store import Store
from support.crashkit import campaign, invariants, stepper, syscalls
from support.crashkit.gateway import LIMITS, ChangeEnding, Mirror, MirroredGateway
from support.crashkit.invariants import InvariantError
from support.crashkit.scenarios import Workplace
from support.crashkit.stepper import HarnessError
from support.crashkit.tree import Tree, snapshot
from support.suite import campaigns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from agent.core.change.decide import Limits
    from support.crashkit.campaign import CampaignReport, Case


@dataclass(frozen=True, kw_only=True)
class Drill:
    """A change that the real engine makes.

    Attributes:
        kind: What it does.
        earlier: The changes made before it.
        fault: What the cloud does wrong at registration, or None.
        phases: How it may end.
        drops_the_root: Whether the anchors it is to install lack the one that the endpoint chains to.
        limits: The engine's patience.
    """

    kind: Kind
    earlier: tuple[Kind, ...]
    phases: frozenset[Phase]
    fault: Effect | None = None
    drops_the_root: bool = False
    limits: Limits = LIMITS


_REFUSED = frozenset({Phase.REJECTED, Phase.ROLLED_BACK})
_DONE = frozenset({Phase.COMMITTED})

DRILLS = {
    "enrolment": Drill(kind=Kind.ENROLL, earlier=(), phases=_DONE),
    "rotation": Drill(kind=Kind.ROTATE, earlier=(Kind.ENROLL, Kind.ROTATE), phases=_DONE),
    "revoked in probation": Drill(
        kind=Kind.ROTATE, earlier=(Kind.ENROLL, Kind.ROTATE), phases=_REFUSED, fault=Effect.REVOKE
    ),
    "never confirmed": Drill(
        kind=Kind.ROTATE,
        earlier=(Kind.ENROLL, Kind.ROTATE),
        phases=frozenset({Phase.ROLLED_BACK}),
        limits=replace(LIMITS, confirm=timedelta(minutes=1)),
    ),
    "never active": Drill(
        kind=Kind.ROTATE, earlier=(Kind.ENROLL,), phases=frozenset({Phase.REJECTED}), fault=Effect.NEVER_ACTIVE
    ),
    "rollback by command": Drill(kind=Kind.ROLLBACK, earlier=(Kind.ENROLL, Kind.ROTATE), phases=_DONE),
    "new anchors": Drill(kind=Kind.TRUST, earlier=(Kind.ENROLL, Kind.ROTATE), phases=_DONE),
    "anchors without the endpoint's": Drill(
        kind=Kind.TRUST, earlier=(Kind.ENROLL,), phases=frozenset({Phase.REJECTED}), drops_the_root=True
    ),
}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Where a drill begins: a gateway, its store, its cloud, and the calls an undisturbed run makes."""

    drill: Drill
    change: str
    gateway: MirroredGateway
    base: Tree
    cloud: bytes
    asked: int
    calls: tuple[str, ...]
    requests: tuple[int, ...]

    @property
    def current(self) -> int | None:
        """The generation that is current before."""
        return int(self.base["current"][2].decode().rpartition("/")[2]) if "current" in self.base else None

    @property
    def allowed(self) -> frozenset[int]:
        """What may be current from now on."""
        made = len(self.drill.earlier) + 1
        others = [made - 2 if self.drill.kind is Kind.ROLLBACK else made]
        if self.drill.kind is Kind.TRUST:
            others.append(made + 1)  # one that was prepared before its change was on record is made once more
        return frozenset({number for number in (self.current, *others) if number is not None})


@cache
def stage(name: str) -> Stage:
    """Make a gateway ready for a drill."""
    drill, gateway = DRILLS[name], MirroredGateway()
    gateway.drops_the_root = drill.drops_the_root
    with Workplace() as workplace:
        path = workplace.lay_out({})
        for place, kind in enumerate(drill.earlier, start=1):
            gateway.carry_out(path, kind, f"change-{place}")
        if drill.fault is not None:
            gateway.cloud.faults.add(Fault(operation=Operation.REGISTER, effect=drill.fault))
        gateway.limits = drill.limits
        base, cloud, asked = snapshot(path), gateway.state(), gateway.cloud.count(Operation.CREATE)
        change = f"change-{len(drill.earlier) + 1}"
        run = stepper.dry(lambda: partial(gateway.carry_out, path, drill.kind, change), lambda: gateway.mirror.number)
        if not isinstance(run.result, ChangeEnding):
            raise HarnessError(f"an undisturbed {name} ended with {run.result}")
    return Stage(
        drill=drill,
        change=change,
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


def kill_at(name: str, points: Sequence[int], *, one_in: int) -> CampaignReport:
    """Kill the engine at these calls, each in a run of its own, and let a fresh one go on."""
    stage(name)  # made before the workers are forked
    return campaign.spread(partial(_kill_each, name), points, one_in=one_in)


def _kill_each(name: str, points: Sequence[Case[int]]) -> list[str]:
    ready = stage(name)
    ready.gateway.mirror = Mirror()  # one that no other worker writes to
    with Workplace() as workplace:
        return [campaigns.told(case, _kill_once(workplace, ready, point)) for case, point in points]


@dataclass(frozen=True, kw_only=True)
class Wreck:
    """What a killed process leaves: its store, and the cloud as it knows it.

    Attributes:
        tree: The store.
        cloud: The cloud.
        spare: How many certificates may have been asked for whose answer is lost.
    """

    tree: Tree
    cloud: bytes
    spare: int = 0


def _crash(workplace: Workplace, ready: Stage, wreck: Wreck, point: int) -> Wreck:
    """Go on from a wreck, or from the beginning, and be killed at a call."""
    path = workplace.lay_out(wreck.tree)
    stepper.kill(_work(ready, path, wreck), point)
    left = snapshot(path)
    _check_left(workplace.lay_out(left), ready)
    return Wreck(tree=left, cloud=ready.gateway.mirror.read(), spare=wreck.spare + _requests_in_doubt(path))


def _work(ready: Stage, path: Path, wreck: Wreck) -> Callable[[], Callable[[], object]]:
    ready.gateway.restore(wreck.cloud)
    return lambda: partial(ready.gateway.carry_out, path, ready.drill.kind, ready.change)


def _come_to_an_end(workplace: Workplace, ready: Stage, wreck: Wreck) -> None:
    """Let a fresh engine go on from a wreck in peace."""
    path = workplace.lay_out(wreck.tree)
    ready.gateway.restore(wreck.cloud)
    ending = ready.gateway.carry_out(path, ready.drill.kind, ready.change)
    _check_ending(ready, ending, wreck.spare)
    _check_left(path, ready)
    invariants.check_outcome(path, ready.change)


def _kill_once(workplace: Workplace, ready: Stage, point: int) -> str:
    try:
        wreck = _crash(workplace, ready, Wreck(tree=ready.base, cloud=ready.cloud), point)
        _come_to_an_end(workplace, ready, wreck)
    except (InvariantError, AgentError, OSError) as error:
        return f"killed at call {point} ({ready.calls[point]}): {type(error).__name__}: {error}"
    return ""


def kill_twice(name: str, points: Sequence[int], *, seconds: int, one_in: int) -> CampaignReport:
    """Kill the engine at these calls, and each fresh one at so many calls spread over its own run."""
    stage(name)  # made before the workers are forked
    return campaign.spread(partial(_kill_twice_each, name, seconds), points, one_in=one_in)


def _kill_twice_each(name: str, seconds: int, points: Sequence[Case[int]]) -> list[str]:
    ready = stage(name)
    ready.gateway.mirror = Mirror()  # one that no other worker writes to
    found: list[str] = []
    with Workplace() as workplace:
        for case, point in points:
            wreck = _crash(workplace, ready, Wreck(tree=ready.base, cloud=ready.cloud), point)
            total = len(stepper.dry(_work(ready, workplace.lay_out(wreck.tree), wreck)).calls)
            spread = [place * total // seconds for place in range(seconds)]
            found.extend(campaigns.told(case, _kill_again(workplace, ready, wreck, second)) for second in spread)
    return found


def _kill_again(workplace: Workplace, ready: Stage, wreck: Wreck, second: int) -> str:
    try:
        _come_to_an_end(workplace, ready, _crash(workplace, ready, wreck, second))
    except (InvariantError, AgentError, OSError) as error:
        return f"killed again at call {second}: {type(error).__name__}: {error}"
    return ""


def _check_left(path: Path, ready: Stage) -> None:
    before = frozenset[int]() if ready.current is None else frozenset({ready.current})
    goes_back = ready.drill.fault is not None or Phase.ROLLED_BACK in ready.drill.phases
    previous = not goes_back and "previous" in ready.base
    invariants.check_store(path, before=before, after=ready.allowed, previous=previous)


def _requests_in_doubt(path: Path) -> int:
    """Return how many certificates may have been asked for whose answer is lost: none, or the one in flight."""
    with Store(path) as store:
        record = store.change()
    return int(record is not None and record.phase is Phase.REQUESTED)


def _check_ending(ready: Stage, ending: ChangeEnding, spare: int) -> None:
    if ending.phase not in ready.drill.phases:
        raise InvariantError(f"it ended {ending.phase}")
    if not ending.connects:
        raise InvariantError("the gateway cannot connect with its current set")
    asked = ending.asked - ready.asked
    needed = int(ready.drill.kind.issues)
    if not needed <= asked <= needed + spare:
        raise InvariantError(f"{asked} certificates were asked for, and {needed + spare} would do")
