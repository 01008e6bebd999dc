"""A gateway in a temporary directory, the simulated cloud, and a clock that the test moves.

What it is asked to do stands here; what the cloud is told is in `support.simulated.outside`, and what can be read of
the gateway in `support.simulated.process`.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, cast

from agent.core.change.lifecycle import Phase
from agent.core.values import Kind, Origin
from agent.operations.execute import Operations
from agent.sandbox.cloud import Status
from agent.sandbox.replies.faults import Effect, Operation
from support.simulated.outside import THING
from support.simulated.process import AgentProcess
from support.simulated.troubled import PowerCut, TroubledStore
from support.suite import campaigns

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent import ports
    from agent.change.engine import Outcome
    from agent.core.change.ladder import Climb
    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.failure.failure import Failure
    from agent.core.values import TrustBundle

MINUTES = timedelta(minutes=5)  # in which a gateway that can connect is connected again

_DOZEN = 12
_MINUTE = timedelta(minutes=1)
_HALF_AN_HOUR = timedelta(minutes=30)
_SENTENCE = re.compile(r"[^\W_][^\n]* [^\n]*\.")


def is_told(failure: Failure | None) -> bool:
    """Whether a failure reads as a sentence and says, in another, what to do or what the agent does by itself."""
    texts = (failure.message, failure.advice) if failure else ("",)
    return all(_SENTENCE.fullmatch(text) for text in texts)


class Rig(AgentProcess):
    """One gateway and its cloud."""

    def install(self, bundle: TrustBundle, *, patience: timedelta = timedelta(hours=2)) -> Outcome:
        """Plan a change to other trust anchors and follow it."""
        if self.planner.install(bundle, Origin.INBOX, "test") is None:
            raise AssertionError("these anchors are in use already")
        return self.follow(patience=patience)

    def run(self, kind: Kind, *, patience: timedelta = timedelta(hours=2), reason: str = "test") -> Outcome:
        """Begin a change and follow it."""
        self.planner.begin(kind, Origin.TECHNICIAN, reason)
        return self.follow(patience=patience)

    def follow(self, *, patience: timedelta = timedelta(hours=2)) -> Outcome:
        """Carry the change on, moving the clock over every wait, until it ends or patience does.

        The waits of a long outage are all alike. In a sample, those after the first dozen take half an hour at least,
        as on a gateway that is suspended: what comes of an outage must not depend on how often it was noticed.
        """
        end = self.clock.now() + patience
        for turn in itertools.count():
            outcome = self.engine.run()
            if outcome.wait is None or outcome.wait.until > end:
                break
            until = outcome.wait.until
            if turn >= _DOZEN and campaigns.chosen().sampled:
                until = max(until, min(self.clock.now() + _HALF_AN_HOUR, end - _MINUTE))
            self.clock.time = max(self.clock.time, until)
        return outcome

    def enroll(self) -> Outcome:
        """Enrol the gateway and see it committed; it is readmitted at once, for stories in which it loses all."""
        outcome = self.run(Kind.ENROLL)
        self.readmit()
        return outcome

    def be_enrolled(self) -> None:
        """Enrol the gateway for what comes after: without a probation, which is most of an enrolment."""
        limits = self.settings.limits
        self.configure(limits=replace(limits, probation=timedelta(0)))
        assert self.enroll().record.phase is Phase.COMMITTED
        self.configure(limits=limits)

    def rotate(self, *, patience: timedelta = timedelta(hours=2)) -> Outcome:
        """Rotate once."""
        return self.run(Kind.ROTATE, patience=patience)

    def connects(self) -> bool:
        """Whether the current set gets through, as an application would find."""
        return self.climber.find_footing().use == "current"

    # -- stories ---------------------------------------------------------------------------------------------------

    def stop_at(self, kind: Kind, phase: Phase, *, saved: bool = True) -> None:
        """Begin a change and lose power at a phase; `restart` comes next."""
        self._lose_power(phase, lambda: self.run(kind), saved=saved)

    def stop_installing_at(self, bundle: TrustBundle, phase: Phase, *, saved: bool = True) -> None:
        """Begin a change to other trust anchors and lose power at a phase; `restart` comes next."""
        self._lose_power(phase, lambda: self.install(bundle), saved=saved)

    def _lose_power(self, phase: Phase, go: Callable[[], Outcome], *, saved: bool) -> None:
        self.disk.cut_power(phase, saved=saved)
        try:
            outcome = go()
        except PowerCut:
            return
        raise AssertionError(f"the change came to {outcome.record.phase} without passing {phase}")

    def run_to(self, kind: Kind, phase: Phase) -> ChangeRecord:
        """Begin a change, stop at a phase and start again: what comes next is the step of that phase.

        Some phases are on the disk only of a change that was cut off before; see `agent.core.change.lasting`.
        """
        self.stop_at(kind, phase)
        record = self.restart()
        if record is not None and record.phase is not phase:
            self._lose_power(phase, self.engine.run, saved=True)
            record = self.restart()
        assert record is not None
        return record

    def to_probation(self, kind: Kind = Kind.ROTATE) -> Outcome:
        """Begin a change and follow it into the first minutes of its probation."""
        outcome = self.run(kind, patience=timedelta(minutes=2))
        assert outcome.wait is not None
        assert outcome.wait.code == "probation"
        return outcome

    def heal(self) -> Climb:
        """Climb the ladder and do what its top rung says, as the command does."""
        climb = self.climber.find_footing()
        match climb.use:
            case "previous":
                self._must(Kind.ROLLBACK)
                self._must(Kind.ROTATE)
            case "claim":
                self._must(Kind.ENROLL)
            case _:
                pass
        return climb

    def _must(self, kind: Kind) -> None:
        self.planner.begin(kind, Origin.LADDER, "ladder")
        outcome = self.follow(patience=timedelta(days=3))
        assert outcome.record.phase == "committed", outcome

    def use_up_budget(self) -> None:
        """Ask for certificates up to the daily limit, without anything coming of it."""
        self.fault(Operation.CREATE, Effect.GARBLE, times=None)
        assert self.rotate().record.phase == "rejected"  # after three
        outcome = self.rotate()
        assert outcome.wait is not None
        assert outcome.wait.code == "budget"
        self.engine.give_up("test")
        self.follow()
        self.cloud.faults.clear()

    @property
    def operations(self) -> Operations:
        """How orders are carried out here: each change is followed for days."""
        return self.operate(patience=timedelta(days=3))

    def operate(self, *, patience: timedelta = timedelta(hours=2)) -> Operations:
        """Return how orders are carried out, by a process that stays with a change for some time."""
        return Operations(
            self.change,
            cast("ports.Store", TroubledStore(self.store, self.disk)),
            self.clock,
            lambda: self.follow(patience=patience),
        )

    def replace_by_hand(
        self, number: int, *, key: bytes | None = None, status: Status = Status.ACTIVE, thing: str = THING
    ) -> str:
        """Put a new certificate and its key into a generation, as a technician does, and return its id.

        Args:
            number: The generation.
            key: The key that is put there, when it is not the certificate's own.
            status: What the cloud thinks of the certificate.
            thing: The thing it is registered for.
        """
        found = self.outside_set(status=status, thing=thing)
        directory = self.path / "generations" / f"{number:06d}"
        (directory / "key.pem").write_bytes(key or found.key_pem)
        (directory / "certificate.pem").write_bytes(found.certificate_pem)
        return found.leaf.sha256

    # -- making trouble --------------------------------------------------------------------------------------------

    def revoke(self, *numbers: int, status: Status = Status.REVOKED) -> None:
        """Make the certificates of these generations useless."""
        for number in numbers:
            self.cloud.set_status(self.certificate(number), status)

    def damage(self, number: int, file: str = "key.pem") -> None:
        """Flip one bit of a file, as flash memory does in time."""
        path = self.path / "generations" / f"{number:06d}" / file
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    def say_that_it_works(self, generation: int) -> None:
        """Be the gateway's own application, and content with a generation."""
        (self.said / f"{generation:06d}").touch()
