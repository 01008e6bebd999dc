"""What costs nothing: a rotation without its request, and a look at every permission, for the doctor."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.change.plan import ENROL_FIRST
from agent.change.prover import AskedError, ask
from agent.core.aws import topics
from agent.core.change import decide
from agent.core.failure import failures
from agent.core.failure.codes import traits
from agent.core.failure.failure import FailureClass
from agent.core.report.broker_checks import Examination
from agent.core.values import Kind
from agent.errors import CloudError, RefusedError

if TYPE_CHECKING:
    from agent.change.climb import Climber
    from agent.change.in_flight import InFlight
    from agent.change.plan import Planner
    from agent.change.sets import Sets
    from agent.change.source import SourceSession
    from agent.change.world import Settings, World
    from agent.core.values import Candidate


class Rehearsal:
    """All of a rotation that costs nothing."""

    def __init__(self, world: World, settings: Settings, sets: Sets, planner: Planner, in_flight: InFlight) -> None:
        self._world = world
        self._settings = settings
        self._sets = sets
        self._planner = planner
        self._in_flight = in_flight

    def rehearse(self) -> str:
        """Do all of a rotation that costs nothing, and return what a real one would begin with.

        Raises:
            RefusedError: A real one would be refused.
            StoreError: There is no room, or the current set is damaged.
            CloudError: The current set does not get through.
        """
        self._in_flight.refuse_a_second()
        current = self._world.store.current()
        self._planner.check_start(Kind.ROTATE, current)
        assert current is not None  # noqa: S101 - check_start refuses it
        self._world.store.room.preflight()
        self._in_flight.tell("note", "The state directory has room and can be written.")
        self._rehearse_connection(self._sets.candidate(current))
        requests = decide.requests_of(self._world.store.history())
        wait = decide.budget_wait(requests, self._world.clock.now(), self._settings.limits)
        budget = "" if wait is None else f" It would wait first: {wait.why}."
        template = self._settings.rotation.template
        return (
            f"A rotation would make generation {self._world.store.next_number()} with a new key, ask for one "
            f"certificate and register it by the template {template}.{budget}"
        )

    def _rehearse_connection(self, candidate: Candidate) -> None:
        with closing(self._world.cloud.connect(candidate)) as session:
            session.ask()
            self._in_flight.tell("note", f"{candidate.name.capitalize()} connects and its request is answered.")
            needed = _needed(str(candidate.thing_name), self._settings)
            denied = session.denied(needed)
        if denied:
            raise CloudError(failures.not_authorised(f"subscribe to {', '.join(denied)}"))
        self._in_flight.tell("note", f"All {len(needed)} topics that answers come on may be subscribed to.")


class Examiner:
    """What the doctor asks of the endpoint: whether the current set gets through, and what it may do."""

    def __init__(self, world: World, settings: Settings, sets: Sets, climber: Climber, source: SourceSession) -> None:
        self._world = world
        self._settings = settings
        self._sets = sets
        self._climber = climber
        self._source = source

    def examine(self) -> Examination:
        """Connect with the current set, have a request answered, and try every topic: for the doctor.

        Raises:
            RefusedError: There is no usable set.
        """
        current = self._sets.usable()
        if current is None:
            raise RefusedError("There is no usable set to connect with.", hint=ENROL_FIRST)
        self._source.close()
        candidate = self._sets.candidate(current.number)
        found = Examination(thing=current.manifest.thing_name, client_id=candidate.client_id)
        try:
            with closing(self._world.cloud.connect(candidate)) as session:
                ask(session)
                doubt = self._climber.doubt_of(candidate, session.anchor)
            found = replace(found, climb=self._climber.find_footing() if doubt else None)
        except AskedError as error:
            found = replace(found, asked=error.failure)
        except CloudError as error:
            met = error.failure
            refused = traits(met.code).turned_away or met.kind is FailureClass.POLICY
            return replace(found, connected=met, climb=self._climber.find_footing() if refused else None)
        return self._examine_topics(candidate, found)

    def _examine_topics(self, candidate: Candidate, found: Examination) -> Examination:
        needed = _needed(found.thing, self._settings)
        try:
            with closing(self._world.cloud.connect(candidate)) as session:
                return replace(found, denied=session.denied(needed))
        except CloudError as error:
            return replace(found, asked=found.asked or error.failure)


def _needed(thing: str, settings: Settings) -> tuple[str, ...]:
    return topics.needed(thing, settings.rotation.template, retires=settings.retire)
