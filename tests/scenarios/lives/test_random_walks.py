"""Two hundred gateways on which everything happens at random, the same in each run, or a sample of them.

Twenty-six steps each: rotations, rollbacks by technicians, power cuts, restarts, faults in the cloud, outages, a disk
that fails, clocks that step. After each step the promises are checked, and at the end the gateway must rotate and
connect.
"""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.change.decide import Limits
from agent.core.change.lifecycle import Phase
from agent.core.failure import failures
from agent.core.values import Kind, Origin
from agent.errors import AgentError, StoreInDoubtError
from agent.sandbox.cloud import Status
from agent.sandbox.replies.faults import Effect, Operation
from support.simulated.rig import Rig
from support.simulated.troubled import FULL, IN_DOUBT, NO_ROOM, PowerCut
from support.suite import campaigns

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WALKS, IN_A_BATCH, STEPS = 200, 10, 26
DOWN = failures.unreachable("sandbox", 8883, "no route to host")
METHODS = ["save_change", "preflight", "stage_key", "prepare", "activate", "roll_back", "finish", "prune"]
# A short probation leaves more time for accidents.
SHORT = Limits(probation=timedelta(minutes=3), check_every=timedelta(minutes=2))
NO_LUCK = {Effect.THROTTLE, Effect.UNAVAILABLE, Effect.HANG_UP, Effect.SILENCE, Effect.UNAUTHORISED}
REPLIES = {Effect.LOSE, Effect.IGNORE, Effect.LATE, Effect.DUPLICATE, Effect.HANG_UP, Effect.SILENCE}
ANSWERS = REPLIES | NO_LUCK | {Effect.REJECT, Effect.DENY, Effect.GARBLE, Effect.OVERSIZE, Effect.EXTRA_FIELDS}
FAULTS = {
    Operation.CONNECT: NO_LUCK,
    Operation.CREATE: ANSWERS | {Effect.WRONG_KEY, Effect.EXPIRED, Effect.NOT_YET_VALID, Effect.NO_TOKEN},
    Operation.REGISTER: ANSWERS | {Effect.NEVER_ACTIVE, Effect.REVOKE, Effect.WRONG_THING},
    Operation.ASK: REPLIES | {Effect.UNAUTHORISED},
}
STOPS = [phase for phase in Phase if phase is not Phase.RETIRED]


class ChanceWalk:
    """One gateway and what chance does to it."""

    def __init__(self, rig: Rig, seed: int) -> None:
        self.rig = rig
        self.chance = random.Random(seed)  # noqa: S311 - a walk must be the same in each run
        self.highest = 1
        self.story: list[str] = []

    def step(self) -> None:
        """Let one thing happen, then let the agent work for a while."""
        happens: list[tuple[int, Callable[[], None]]] = [
            (6, self._rotate),
            (2, self._technician),
            (2, self._revoke),
            (1, self._retire),
            (3, self._fault),
            (2, self._restart),
            (2, self._power_cut),
            (2, self._outage),
            (1, self._bad_disk),
            (2, self._clock),
            (2, self._all_well),
        ]
        what = self.chance.choices([action for _, action in happens], [weight for weight, _ in happens])[0]
        self.story.append(what.__name__)
        self._survive(what)
        self._survive(self._work)

    def _survive(self, what: Callable[[], object]) -> None:
        """What refuses is refused, what fails is tried later, what is in doubt is read back by starting again."""
        try:
            what()
        except StoreInDoubtError:
            self.story.append("  in doubt")
            self.rig.restart()
        except AgentError as error:
            self.story.append(f"  {type(error).__name__}: {error}")
        except PowerCut:
            self.story.append("  the power failed")
            self.rig.restart()

    def _work(self) -> None:
        """Do what is due within the next minutes; until the clock is set there is nothing to do."""
        rig = self.rig
        end = rig.clock.now() + timedelta(minutes=self.chance.choice([1, 2, 5, 15]))
        while rig.engine.change is not None:
            wait = rig.engine.run().wait
            if wait is None or wait.code == "clock" or wait.until > end:
                return
            rig.clock.time = max(rig.clock.now(), wait.until)

    def _rotate(self) -> None:
        self.rig.planner.begin(Kind.ROTATE, Origin.SCHEDULE, "chance")

    def _technician(self) -> None:
        change = self.rig.engine.change
        if change is None:
            self.rig.planner.begin(Kind.ROLLBACK, Origin.TECHNICIAN, "chance")
        elif not change.phase.ended:
            self.rig.engine.give_up("chance")

    def _revoke(self) -> None:
        """The cloud revokes what is on probation."""
        change = self.rig.engine.change
        if change is not None and change.phase.activated and not change.phase.ended:
            self.rig.revoke(change.generation)

    def _retire(self) -> None:
        """The cloud retires what was replaced, as it does some days after a commit."""
        previous = self.rig.store.previous()
        if self.rig.engine.change is None and previous is not None:
            self.rig.revoke(previous, status=Status.INACTIVE)

    def _fault(self) -> None:
        operation = self.chance.choice(list(FAULTS))
        effect = self.chance.choice(sorted(FAULTS[operation]))
        self.rig.fault(operation, effect, times=self.chance.choice([1, 1, 2, 5, None]))
        self.story.append(f"  {operation} {effect}")

    def _restart(self) -> None:
        self.rig.restart()

    def _power_cut(self) -> None:
        self.rig.disk.cut_power(self.chance.choice(STOPS), saved=self.chance.random() < 0.5)

    def _outage(self) -> None:
        self.rig.endpoint.down = DOWN if self.rig.endpoint.down is None else None

    def _bad_disk(self) -> None:
        error = self.chance.choice([NO_ROOM, IN_DOUBT, FULL])
        self.rig.disk.fail(self.chance.choice(METHODS), after=self.chance.randrange(4), times=2, error=error)

    def _clock(self) -> None:
        self.rig.clock.is_synchronised = self.chance.random() < 0.8
        self.rig.clock.advance(minutes=self.chance.choice([-120, -5, -1, 1, 5, 120, 1440]))

    def _all_well(self) -> None:
        self.rig.cloud.faults.clear()
        self.rig.endpoint.down = None
        self.rig.clock.is_synchronised = True

    def check(self) -> None:
        """Check the promises that hold at every instant."""
        rig = self.rig
        current = rig.store.current()
        assert current is not None
        # What is in use is whole, and the cloud once let it in: it may be revoked, but it was never without activation.
        entry = rig.cloud.registry[rig.certificate(current)]
        assert entry.status in {Status.ACTIVE, Status.REVOKED}
        # Whatever is revoked in probation, the set before it is at hand and works.
        if entry.status is Status.REVOKED:
            assert rig.engine.change is not None
            base = rig.engine.change.base
            assert base is not None
            assert rig.entry(base).status is Status.ACTIVE
        # Never a certificate more than requests that were counted.
        counted = sum(len(record.requests) for record in rig.store.history())
        assert rig.asked(Operation.CREATE, "200") <= counted + self._in_flight()
        # Numbers only grow, and one change at a time.
        highest = max(int(name.strip(".")[:6]) for name in rig.generations)
        assert sum(name.startswith(".0") for name in rig.generations) <= 1
        self.highest = max(self.highest, highest)
        assert rig.store.next_number() > self.highest
        assert not rig.tells_secrets

    def _in_flight(self) -> int:
        change = self.rig.engine.change
        filed = change is not None and change.id in {record.id for record in self.rig.store.history()}
        return 0 if change is None or filed else len(change.requests)

    def end(self) -> None:
        """All is well again: the change in flight ends, a rotation is committed, and the gateway connects."""
        rig = self.rig
        self._all_well()
        rig.disk.heal()
        # A clock that stood ahead under a synchronised state has left a floor; it comes to meet it.
        rig.clock.time = max([rig.clock.now(), *rig.store.floors()])
        if rig.engine.change is not None:
            rig.follow(patience=timedelta(days=3))
        assert rig.at_rest
        if self.chance.random() < 0.25:
            self._really_revoked()
        outcome = rig.rotate(patience=timedelta(days=3))
        assert outcome.record.phase is Phase.COMMITTED
        assert rig.store.current() == outcome.record.generation
        assert rig.connects()

    def _really_revoked(self) -> None:
        """Nothing that is on the gateway connects any more: the ladder ends at the claim, which enrols it anew."""
        rig = self.rig
        self.story.append("really revoked")
        for entry in rig.cloud.certificates_of("gw-0042"):
            entry.status = Status.REVOKED
        assert rig.heal().use == "claim"
        assert rig.connects()


def _walk(path: Path, seed: int) -> None:
    rig = Rig(path, limits=SHORT)
    rig.enroll()
    walk = ChanceWalk(rig, seed)
    try:
        for _ in range(STEPS):
            walk.step()
            walk.check()
        walk.end()
        walk.check()
    except (AssertionError, AgentError, RuntimeError) as error:
        error.add_note(f"walk {seed}: " + "\n".join(walk.story))
        error.add_note(f"To repeat it: {campaigns.command(seed)}")
        raise
    finally:
        rig.close()


@pytest.mark.parametrize("first", campaigns.take(range(0, WALKS, IN_A_BATCH), 10))
def test_whatever_happens_the_gateway_connects_at_the_end(state: Path, first: int) -> None:
    """After random events a current set is whole, and with all trouble gone the next rotation is committed."""
    only = campaigns.chosen().case
    for seed in range(first, first + IN_A_BATCH) if only is None else [only]:
        _walk(state.with_name(str(seed)), seed)
