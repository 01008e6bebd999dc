"""Proving: connecting with a set, and comparing it with other sets over the same path.

Rules:

* A proof is a connection and an authorised request that is answered. A claim certificate may ask for nothing, so for it
  the connection is the proof.
* A failure that a bad path could cause as well is only a refusal when another set gets through. `judged` tries the
  others one after the other, never two at once, since they share a client id.
* Nothing is changed here: no link, no record.
"""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from agent.change.sets import named
from agent.core.change import ladder
from agent.core.failure.failure import Control, Failure, FailureClass, in_the_light_of, judge, needs_control
from agent.core.values import Kind
from agent.errors import CloudError, MaterialError, RefusedError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.change.sets import Sets
    from agent.change.world import World
    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.values import Candidate
    from agent.ports import Session


class Prover:
    """Tells whether a set gets through, and what it means where it does not."""

    def __init__(self, world: World, sets: Sets, tell: Callable[[str, str], None]) -> None:
        """Put it together.

        Args:
            world: The ports.
            sets: The sets on the gateway, to compare with.
            tell: Takes a code and a sentence; see `agent.core.change.progress.Progress`.
        """
        self._world = world
        self._sets = sets
        self._tell = tell

    def probe(self, candidate: Candidate) -> str:
        """Connect and have an authorised request answered; a claim may only connect.

        Returns:
            SHA-256 of the anchor that the endpoint's chain ended in, or empty.

        Raises:
            CloudError: It did not get through.
        """
        with closing(self._world.cloud.connect(candidate)) as session:
            if candidate.thing_name is not None:
                ask(session)
            return session.anchor

    def prove(self, candidate: Candidate, record: ChangeRecord) -> str:
        """Probe a set that a change is about, judge what it meets, and return the anchor that was met.

        Raises:
            ComparedError: It did not get through; the failure is decisive only when another set did.
        """
        try:
            return self.probe(candidate)
        except CloudError as error:
            failure, controls = self._compared(error, candidate, record)
            base = any(control.accepted and control.name == named(record.base) for control in controls)
            raise ComparedError(failure, base_accepted=base) from error

    def judged(self, error: CloudError, candidate: Candidate | None, record: ChangeRecord) -> Failure:
        """Return the failure with its final class, after comparing with other sets where that can tell anything.

        A vending machine is asked without a set (`candidate` is None), so there is nothing to compare with.
        """
        if candidate is None:
            return in_the_light_of(self._world.reading(), error.failure)
        return self._compared(error, candidate, record)[0]

    def _compared(
        self, error: CloudError, candidate: Candidate, record: ChangeRecord
    ) -> tuple[Failure, tuple[Control, ...]]:
        failure = in_the_light_of(self._world.reading(), error.failure)
        if not needs_control(failure):
            return failure, ()
        controls = self._controls(failure, candidate, record, asked=isinstance(error, AskedError))
        return judge(failure, controls, of_a_claim=candidate.thing_name is None), controls

    def _controls(
        self, failure: Failure, candidate: Candidate, record: ChangeRecord, *, asked: bool
    ) -> tuple[Control, ...]:
        """Try other sets over the same path, the base, the previous one and the claim, until one is accepted."""
        verdicts: tuple[Control, ...] = ()
        for name, load in self._witnesses(record, failure):
            try:
                control = load()
            except (StoreError, MaterialError, RefusedError):
                continue
            if not _tells_apart(control, candidate, failure, asked=asked):
                continue
            self._tell("note", f"{failure.message} Now {name} is tried, as a control.")
            verdicts = (*verdicts, self._try_control(name, control))
            if verdicts[-1].accepted:
                break
        return verdicts

    def _try_control(self, name: str, control: Candidate) -> Control:
        try:
            self.probe(control)
        except CloudError as error:
            return Control(name=name, failure=error.failure)
        return Control(name=name)

    def _witnesses(self, record: ChangeRecord, failure: Failure) -> list[tuple[str, Callable[[], Candidate]]]:
        behind = self._sets.previous()
        base, previous = record.base, behind.number if behind else None
        numbers = [number for number in dict.fromkeys((base, previous)) if number is not None]
        found: list[tuple[str, Callable[[], Candidate]]] = [
            (named(number), partial(self._sets.candidate, number)) for number in numbers
        ]
        # Other anchors speak against a change of anchors. For any other they say that its certificate is not to blame.
        if failure.kind is FailureClass.SERVER_TRUST and record.kind is Kind.TRUST:
            rung = ladder.Rung.BAKED_ANCHORS
            found.append((f"the current certificate with the {rung}", lambda: self._sets.with_other_anchors(rung)[0]))
        return [*found, ("the claim certificate", lambda: next(self._sets.claims()))]


class ComparedError(CloudError):
    """A set that a change is about did not get through, and others were tried where that could tell anything.

    Attributes:
        base_accepted: Whether the change's base got through over the same path.
    """

    def __init__(self, failure: Failure, *, base_accepted: bool) -> None:
        super().__init__(failure)
        self.base_accepted = base_accepted


class AskedError(CloudError):
    """The set connected, and what failed was the request."""


def ask(session: Session) -> None:
    """Have an authorised request answered.

    Raises:
        AskedError: It was not.
    """
    try:
        session.ask()
    except CloudError as error:
        raise AskedError(error.failure) from error


def _tells_apart(control: Candidate, candidate: Candidate, failure: Failure, *, asked: bool) -> bool:
    """Whether trying `control` can say anything about the candidate's failure."""
    same_anchors = control.trust.fingerprints == candidate.trust.fingerprints
    if control.credential.leaf.sha256 == candidate.credential.leaf.sha256:
        return not same_anchors  # new anchors are compared with the old ones, under the same certificate
    if control.thing_name is None and (asked or failure.kind is FailureClass.POLICY):
        return False  # a claim asks for nothing and has a policy of its own
    # The same anchors meet the same server.
    return failure.kind is not FailureClass.SERVER_TRUST or not same_anchors
