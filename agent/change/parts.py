"""The parts that carry changes, put together: ports and settings go in, and each part gets what it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.change.activating import Activating
from agent.change.climb import Climber
from agent.change.engine import Engine, Means
from agent.change.in_flight import InFlight
from agent.change.issuing import Issuing
from agent.change.plan import Planner
from agent.change.prover import Prover
from agent.change.rehearsal import Examiner, Rehearsal
from agent.change.retiring import Retirements
from agent.change.sets import Sets
from agent.change.source import SourceSession
from agent.core.frozen import frozen

if TYPE_CHECKING:
    from agent.change.world import Settings, World


@frozen
class ChangeParts:
    """What a caller asks for changes.

    Attributes:
        engine: Carries the change in flight on.
        planner: Begins changes.
        climber: Finds a set that gets through.
        sets: The sets on the gateway.
        retirements: The certificates that were left behind.
        rehearsal: All of a rotation that costs nothing.
        examiner: What the doctor asks of the endpoint.
    """

    engine: Engine
    planner: Planner
    climber: Climber
    sets: Sets
    retirements: Retirements
    rehearsal: Rehearsal
    examiner: Examiner


def put_together(world: World, settings: Settings) -> ChangeParts:
    """Return the parts for one gateway; the engine is to be closed last."""
    in_flight = InFlight(world.store, world.clock, world.reporter)
    sets = Sets(world.store, settings)
    prover = Prover(world, sets, in_flight.tell)
    source = SourceSession(world.cloud, sets, prover, settings)
    planner = Planner(world, settings, sets, in_flight)
    climber = Climber(world, settings, sets, prover, source, in_flight.tell)
    means = Means(
        in_flight=in_flight,
        sets=sets,
        prover=prover,
        source=source,
        issuing=Issuing(world, settings, sets, source, in_flight),
        activating=Activating(world, settings, sets, prover, in_flight),
    )
    return ChangeParts(
        engine=Engine(world, settings, means),
        planner=planner,
        climber=climber,
        sets=sets,
        retirements=Retirements(world, settings, sets, source, in_flight),
        rehearsal=Rehearsal(world, settings, sets, planner, in_flight),
        examiner=Examiner(world, settings, sets, climber, source),
    )
