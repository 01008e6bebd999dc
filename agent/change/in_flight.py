"""The change in flight: the one record of it, in memory and on the disk, and what is told as it moves.

Rules:

* The record is durable before the step it announces is taken. When it cannot be made durable, what has happened is kept
  in memory and saved again. Only what a restart can do without is left for later; see `agent.core.change.lasting`.
* Nothing is told of a step before what it did is durable. That the record of it is not yet makes a restart find it out,
  or do it once more.
* A full disk stops no step that leads back to a set that works: it may use the store's reserve. No other step may.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

from agent.change.announcements import announcement
from agent.core.change import decide, verbs
from agent.core.change.advance import advance
from agent.core.change.lasting import Lasting, lasting
from agent.core.change.lifecycle import WaitCode
from agent.core.change.progress import Progress
from agent.core.failure.codes import Code
from agent.core.failure.failure import Failure, FailureClass
from agent.core.failure.retry import Backoff
from agent.errors import StoreError, StoreInDoubtError

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.change.events import ChangeEvent
    from agent.core.change.lifecycle import ChangeRecord
    from agent.ports import Clock, Reporter, Store

P = ParamSpec("P")
T = TypeVar("T")

# What is in memory alone is lost with the process, so it is soon saved again; without jitter, since no disk is shared.
_SAVE_AGAIN = Backoff(base=5, cap=60)


class _Leading(Protocol):
    """A change, or the generation it makes: `ChangeRecord` or `Manifest`."""

    @property
    def leads_back(self) -> bool:
        """Whether it leads back to a set that works."""


class InFlight:
    """The record of at most one change."""

    def __init__(self, store: Store, clock: Clock, reporter: Reporter) -> None:
        self._store = store
        self._clock = clock
        self._reporter = reporter
        self._record: ChangeRecord | None = None
        self._saved = True
        self._later = False  # whether the disk lags behind by a step that a restart can do without
        self._unsaved = 0  # tries in a row that failed

    @property
    def record(self) -> ChangeRecord | None:
        """The change in flight."""
        return self._record

    @property
    def saved(self) -> bool:
        """Whether the disk knows all that a restart could not do without."""
        return self._saved

    def require(self) -> ChangeRecord:
        """Return the change in flight.

        Raises:
            RuntimeError: There is none.
        """
        if self._record is None:
            raise RuntimeError("there is no change to carry on")
        return self._record

    def refuse_a_second(self) -> None:
        """Do nothing, unless there is a change in flight.

        Raises:
            RefusedError: There is one.
        """
        if self._record is not None:
            raise verbs.comes_first(self._record)

    def take_over(self, record: ChangeRecord | None) -> None:
        """Take up what a recovery found on the disk."""
        self._record, self._saved, self._later = record, True, False

    def begin(self, record: ChangeRecord) -> None:
        """Make the record of a new change durable.

        Raises:
            StoreInDoubtError: It is planned, but a power cut may undo that.
            StoreError: The disk does not let it; nothing was planned.
        """
        try:
            self._save(record, Lasting.NOW)
        except StoreInDoubtError:
            self._record, self._saved = record, False  # it is on disk, so it is known, whatever becomes of it
            raise
        self._record, self._saved = record, True

    def take(self, event: ChangeEvent) -> None:
        """Move the change by an event, make that durable as far as the disk lets it, and tell of it."""
        before = self.require()
        record = advance(before, event)
        self._record = record
        needed = lasting(before, record) if self._saved else Lasting.NOW
        if needed is Lasting.NEVER:
            return
        self._try_to_save(record, needed)
        told = announcement(before, record, event)
        if told is not None:
            self.tell(told.code, told.text, told.failure)

    def settle(self) -> bool:
        """Have the disk know how far the change is, as far as it lets it; return whether it does."""
        if self._later:
            self._try_to_save(self.require(), Lasting.NOW)
        return self._saved

    def _try_to_save(self, record: ChangeRecord, needed: Lasting) -> None:
        self._saved = False
        try:
            self._save(record, needed)
        except StoreError as error:
            self.tell("trouble", f"The change record could not be saved: {error.in_full}")
        else:
            self._saved = True

    def _save(self, record: ChangeRecord, needed: Lasting) -> None:
        self.write(record, self._store.save_change, record, needed)
        self._later = needed is Lasting.LATER

    def save_again(self) -> decide.Wait | None:
        """Return None once the record is durable, or the wait before the next try."""
        record = self.require()
        try:
            self._save(record, Lasting.NOW)
        except StoreError as error:
            self._unsaved += 1
            failure = Failure(kind=FailureClass.STORE, code=Code.STORE, message=str(error), remedy=error.hint)
            until = self._clock.now() + timedelta(seconds=_SAVE_AGAIN.delay(self._unsaved, 1.0))
            return decide.Wait(
                why=f"{error} Nothing further is done before.", until=until, code=WaitCode.RETRY, failure=failure
            )
        self._saved, self._unsaved = True, 0
        return None

    def end(self) -> None:
        """Write the end of the change to the history; from then on none is in flight.

        Raises:
            StoreError: It could not be made durable; doing it again goes on.
        """
        record = self.require()
        self.write(record, self._store.finish, record)
        self._record = None

    def write(self, what: _Leading, step: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Take a step of the store's; what leads back to a set that works may use the reserve for it.

        Raises:
            StoreError: The step failed.
        """
        if not what.leads_back:
            return step(*args, **named)
        return self._store.room.on_reserve(partial(self.tell, "note"), step, *args, **named)

    def tell(self, code: str, text: str, failure: str | None = None) -> None:
        """Tell a sentence; `code` and `failure` as in `agent.core.change.progress.Progress`."""
        change = self._record.id if self._record else ""
        self._reporter.report(Progress(at=self._clock.now(), code=code, text=text, change=change, failure=failure))
