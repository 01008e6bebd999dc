"""Asks AWS IoT Core over whatever link is up, and listens there.

What is answered is checked before it is handed on, and what is not answered, or cannot be used, is told to the log once
an hour for each cause. It refuses to ask the same question twice at a time: a flood of messages to a gateway must not
become a flood of requests to the cloud, nor of lines in the journal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.aws.replies import check_accepted
from agent.core.failure import failures
from agent.core.failure.codes import Code
from agent.core.frozen import frozen
from agent.core.jsonio import PlainError
from agent.core.report.journal_events import Event
from agent.daemon.quiet import Quiet
from agent.errors import CloudError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.core.exit_codes import Exit
    from agent.core.failure.failure import Failure
    from agent.core.report.status import Status
    from agent.core.when.retirement import Retirement
    from agent.core.when.schedule import Suggestion
    from agent.core.worker_protocol import Order
    from agent.daemon.cloud.session import SessionStatus
    from agent.iotcore.async_client import Link

    Log = Callable[[Event, str], None]

ASK_AGAIN = 30.0  # seconds, at least, before what was not answered is asked for again
SAID_AGAIN = 3600.0  # seconds before what goes on is told to the log again: it may be asked for again for days
_SPREAD = 3.0  # times that, at most, on top of it: the cloud may be throttling a whole fleet


def again_after(chance: float) -> float:
    """Return the seconds before what was not answered is asked for again; `chance` is a number in [0, 1)."""
    return ASK_AGAIN * (1 + _SPREAD * chance)


def is_missing(failure: Failure) -> bool:
    """Whether what was asked for does not exist: an answer, and no trouble."""
    return failure.code == Code.NOT_FOUND


@frozen
class FleetCalls:
    """What the orders of the fleet's operator act on, and what is called when something happens.

    Attributes:
        session: Returns how the session stands.
        status: Returns how the gateway stands.
        begin: Have a worker carry out what an execution orders, as soon as no change is in flight; `Jobs.review`
            follows.
        withdraw: An execution is gone: what it ordered is not begun any more. Takes `Execution.order`.
        suggest: Take the renewal window that the fleet suggests into account; None when it suggests none.
        retired: The cloud deactivated a certificate, and a worker is to write that down;
            `RetirementRequests.conclude` follows.
        unregistered: The cloud never registered a certificate that was to be retired; the same.
        not_retired: A request to do so was refused, or not answered. Takes a sentence, and the exit code for a client
            that waits.
        all_retired: Nothing is left that a person wanted retired.
        log: Write to the journal.
    """

    session: Callable[[], SessionStatus]
    status: Callable[[], Status]
    begin: Callable[[Order], None]
    withdraw: Callable[[str], None]
    suggest: Callable[[Suggestion | None], None]
    retired: Callable[[Retirement], None]
    unregistered: Callable[[Retirement], None]
    not_retired: Callable[[str, Exit], None]
    all_retired: Callable[[], None]
    log: Callable[[Event, str], None]


class CloudRequests:
    """Requests over the link that is up, if one is."""

    def __init__(self, log: Log) -> None:
        """Ask for nothing yet.

        Args:
            log: Takes what is to stand in the journal.
        """
        self._log = log
        self._quiet = Quiet(SAID_AGAIN)
        self._link: Link | None = None
        self._thing = ""
        self._under_way: set[str] = set()

    @property
    def up(self) -> bool:
        """Whether there is a link to ask over."""
        return self._link is not None

    @property
    def busy(self) -> bool:
        """Whether an answer is awaited."""
        return self._link is not None and bool(self._under_way)

    @property
    def thing(self) -> str:
        """The name of the thing that the link speaks for."""
        return self._thing

    def connected(self, link: Link, thing: str) -> None:
        """Ask over this link from now on; what was asked over another one is not answered any more."""
        self._link, self._thing = link, thing
        self._under_way.clear()

    def disconnected(self) -> None:
        """Ask for nothing before there is another link."""
        self._link = None

    def listen(self, topic: str, heard: Callable[[bytes], None]) -> None:
        """Have the messages of a topic handed over for as long as the link lasts."""
        if self._link is not None:
            self._link.listen(topic, heard)

    def complain(self, subject: str, text: str) -> None:
        """Tell the log of what cannot be used, unless that was told within the hour.

        Args:
            subject: What it is about; see `agent.daemon.quiet`.
            text: A sentence.
        """
        if told := self._quiet.news(subject, text):
            self._log(Event.PROGRESS, told)

    def ask(
        self,
        operation: str,
        topic: str,
        body: Mapping[str, object],
        done: Callable[[bytes], None],
        failed: Callable[[Failure], None],
    ) -> None:
        """Ask for something; one of the two is called once, unless the link is over before or there is none.

        Args:
            operation: What is asked for, for people.
            topic: Where to.
            body: The request.
            done: Takes the payload of an answer that accepts; a `PlainError` of its own counts as a failure.
            failed: Takes the failure; see `complain`.
        """

        def trouble(failure: Failure) -> None:
            if not is_missing(failure):
                self.complain(f"{operation} {failure.code}", failure.message)
            failed(failure)

        def answered(topic: str, payload: bytes) -> None:
            try:
                check_accepted(operation, topic, payload)
                done(payload)
            except CloudError as error:
                trouble(error.failure)
            except PlainError as error:
                trouble(failures.garbled(operation, str(error)))

        if self._link is not None:
            self._link.request(operation, topic, body, answered, trouble)

    def ask_once(
        self,
        operation: str,
        topic: str,
        body: Mapping[str, object],
        done: Callable[[bytes], None],
        failed: Callable[[Failure], None],
    ) -> bool:
        """Ask as `ask` does, unless the same question is under way; return whether it was asked."""
        key = f"{topic} {body.get('executionNumber', '')}"  # a job redone is another question
        if key in self._under_way or self._link is None:
            return False

        def answered(payload: bytes) -> None:
            self._under_way.discard(key)
            done(payload)

        def trouble(failure: Failure) -> None:
            self._under_way.discard(key)
            failed(failure)

        self._under_way.add(key)
        self.ask(operation, topic, body, answered, trouble)
        return True
