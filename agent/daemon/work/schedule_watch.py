"""Decides what the next worker is started for, and when to look again where nothing is due.

What was ordered comes from the `WorkQueue`, and what is due from the facts: a look at files that are not as they were
seen, the next step of the change in flight, the rotation that is scheduled, what lies in the inbox. It starts no worker
itself, and what another part knows it does not keep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.change.decide import Wait
from agent.core.change.lifecycle import waits_for_word
from agent.core.values import Kind, Origin
from agent.core.when import schedule
from agent.core.worker_protocol import Do, Order
from agent.daemon.loop import Alarm
from agent.daemon.work.credential_watch import CredentialWatch
from agent.daemon.work.inbox_watch import InboxWatch
from agent.daemon.work.queue import Work
from agent.errors import StoreError
from agent.store.notes.confirmations import ConfirmationDirectory
from agent.system.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.daemon.facts import GatewayFacts
    from agent.daemon.loop import Loop
    from agent.daemon.work.dependants import DependantsWatch
    from agent.daemon.work.holds import WorkerHolds
    from agent.daemon.work.queue import WorkQueue

INHIBIT_LOOK = 30.0  # seconds between two looks at an inhibit file that holds a change which is due
WORD_LOOK = 5.0  # seconds between two looks for the confirmation of the gateway's application, while it is waited for
SHORTEST = 0.05  # seconds between two looks, at least
_MAX_REASON = 500  # characters of a plan's reason that go into the record


class ScheduleWatch:
    """What is due on one gateway."""

    def __init__(
        self,
        loop: Loop,
        facts: GatewayFacts,
        queue: WorkQueue,
        holds: WorkerHolds,
        dependants: DependantsWatch,
        look: Callable[[], None],
    ) -> None:
        """Look at nothing yet.

        Args:
            loop: Where to wait.
            facts: What is known of the gateway.
            queue: What was ordered.
            holds: What keeps a worker from being started.
            dependants: When the dependants are to be looked after.
            look: Called when something may be due.
        """
        self._facts = facts
        self._queue = queue
        self._holds = holds
        self._dependants = dependants
        self._alarm = Alarm(loop, look)
        self._credentials, self._inbox = CredentialWatch(loop, look), InboxWatch(loop, look)
        self._orderly = False
        self._unseen = ""
        self._next_word_look = 0.0

    # -- what happened ---------------------------------------------------------------------------------------------

    def worker_ended(self, *, orderly: bool) -> None:
        """A worker has ended; `orderly` says that it did at a wait, and was not cut off in a step."""
        self._orderly = orderly
        if orderly:
            self._unseen = ""

    def look_failed(self, why: str) -> None:
        """A worker that was to look at the state directory could not."""
        self._unseen = why

    def drop_taken(self, name: str) -> None:
        """A worker has looked at what lies in the inbox under this name."""
        self._inbox.taken(name, self._facts.config.inbox)

    def clock_was_set(self) -> None:
        """Have drops looked at again that wait for a clock that can be believed."""
        self._inbox.clock_was_set()

    def retry_soon(self) -> None:
        """Try again soon: a person may just have put right what is waited for."""
        self._holds.lift()
        self._dependants.look_soon()

    def stop(self) -> None:
        """Have nothing more done."""
        self._dependants.stop()

    def close(self) -> None:
        """Stop watching."""
        self._inbox.close()
        self._credentials.close()

    # -- what is known ---------------------------------------------------------------------------------------------

    @property
    def orderly(self) -> bool:
        """Whether the last worker ended at a wait; of none before this daemon's first is that known."""
        return self._orderly

    @property
    def unseen(self) -> str:
        """Why the last look at the state directory failed; empty once a worker has done what it was to do."""
        return self._unseen

    @property
    def unserved(self) -> str:
        """Why the dependants could not be served the last time, or empty."""
        return self._dependants.problem

    # -- what is next ----------------------------------------------------------------------------------------------

    def listen(self) -> None:
        """Watch for other programs that change the set in use; begin before it is compared, so that none is missed."""
        self._credentials.listen(self._facts.config.state_dir)

    def next(self) -> Work | None:
        """Take what a worker is to be started for now, or nothing."""
        if self._holds.busy:
            return None
        if self._holds.failed:
            return self._queue.asked_for()
        return self._queue.submitted() or self._look() or self._due()

    def _look(self) -> Work | None:
        if self._facts.blind or self._unseen:
            return Work(Order(do=Do.LOOK, patient=self._credentials.busy))
        return None

    def _due(self) -> Work | None:
        if self._facts.change is None:
            return self._queue.put_off() or self._planned() or self._dropped()
        if isinstance(self._facts.following(), Wait) and not self._heard():
            return None
        return Work(Order(do=Do.GO_ON))

    def _heard(self) -> bool:
        """Whether the application has confirmed the set in use; a worker then makes that durable."""
        if monotonic() < self._next_word_look:
            return False
        self._next_word_look = monotonic() + WORD_LOOK
        change = self._facts.change
        if change is None or not waits_for_word(change):
            return False
        try:
            return ConfirmationDirectory(self._facts.config.confirm_dir).given(change.generation)
        except StoreError:
            return False  # which the worker tells at the next proof

    def _planned(self) -> Work | None:
        plan = self._facts.plan()
        if not plan.due:
            return None
        if self._facts.generation is None and plan.kind is not Kind.ENROLL:  # there was a set
            if not self._holds.may_climb:
                return None
            self._holds.climbed()
            return Work(Order(do=Do.CLIMB, reason=plan.why, origin=Origin.LADDER))
        origin = Origin.JOB if plan.order else Origin.SCHEDULE
        reason = plan.why[:_MAX_REASON]
        return Work(Order(do=Do.BEGIN, kind=plan.kind, origin=origin, reason=reason, order=plan.order))

    def _dropped(self) -> Work | None:
        """Return the order to take in what an OTA pipeline has dropped."""
        if self._facts.generation is None:
            return None
        name = self._inbox.next(self._facts.config.inbox)
        return Work(Order(do=Do.TAKE_DROP, origin=Origin.INBOX, drop=name)) if name else None

    def look_after_dependants(self) -> None:
        """Have the dependants served if it is time; a change in flight sees to them itself."""
        self._dependants.consider(self._facts.config, self._facts.generation if self._facts.change is None else None)

    # -- when to look again ----------------------------------------------------------------------------------------

    def sleep(self, other: float | None) -> None:
        """Wake the daemon when something may be due, and after ten minutes whatever happens.

        Args:
            other: The seconds until something else is to be looked at; None where there is nothing else.
        """
        self._alarm.set(max(min(self._delays(other)), SHORTEST))

    def _delays(self, other: float | None) -> list[float]:
        now, plan, action = self._facts.clock.now(), self._facts.plan(), self._facts.following()
        change, has_set = self._facts.change, self._facts.generation is not None
        instants = [now + schedule.LOOK_EVERY]
        if isinstance(action, Wait):
            instants.append(action.until)
        elif plan.at is not None:
            instants.append(plan.at)
        instants += [item.due for item in self._facts.retirements()]
        instants += self._facts.turns()  # then the status files are written anew
        seconds = [(at - now).total_seconds() for at in instants if at > now]
        seconds += self._holds.delays
        seconds += [WORD_LOOK] if change is not None and waits_for_word(change) else []
        seconds += [INHIBIT_LOOK] if plan.code == "inhibited" else []
        own = (
            (self._dependants.delay, self._inbox.delay) if has_set and change is None else ()
        )  # which wait for its end
        return seconds + [delay for delay in (*own, other) if delay is not None]
