"""The session over which a certificate is asked for and registered.

A session is used for one source and dropped at the first error, so that a late reply can never be taken for the answer
to another request. It is done with before any other connection is made: all of them share a client id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from agent.core.change import decide, ladder
from agent.core.values import Kind
from agent.errors import CloudError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agent.change.prover import Prover
    from agent.change.sets import Sets
    from agent.change.world import Settings
    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.values import Candidate
    from agent.ports import CloudEndpoint, Session

A = TypeVar("A")
T = TypeVar("T")


class SourceSession:
    """At most one session, with the set that a change starts from."""

    def __init__(self, cloud: CloudEndpoint, sets: Sets, prover: Prover, settings: Settings) -> None:
        self._cloud = cloud
        self._sets = sets
        self._prover = prover
        self._settings = settings
        self._session: Session | None = None

    def close(self) -> None:
        """End the session, if there is one."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def connected(self, record: ChangeRecord) -> Session:
        """Return the session, connected if it was not.

        Raises:
            CloudError: There is no connection, or nothing to connect with any more.
            MaterialError: The claim certificate, or the token for the vending machine, cannot be used.
            RefusedError: There is none.
        """
        if self._session is None:
            self._session = self._opened(record)
        return self._session

    def _opened(self, record: ChangeRecord) -> Session:
        vending, candidate = self._settings.vending, None
        try:
            if vending is not None and record.kind is Kind.ENROLL:
                return by_known_anchors(self._sets.trusts(), vending.connect)
            candidate, *others = self._candidates(record)
            return by_known_anchors((candidate, *others), self._cloud.connect)
        except CloudError as error:
            raise CloudError(self._prover.judged(error, candidate, record)) from error

    def _candidates(self, record: ChangeRecord) -> tuple[Candidate, ...]:
        """Return what a certificate is asked for with: the claim to enrol, the current set to rotate."""
        if record.kind is Kind.ENROLL:
            return tuple(self._sets.claims())
        base = self._sets.whole(record.base)
        if base is None:
            raise CloudError(decide.source_lost(record))
        return (self._sets.candidate_of(base),)


def by_known_anchors(alternatives: Iterable[A], connect: Callable[[A], T]) -> T:
    """Return what `connect` does with the first of some that differ in their anchors alone and know the server.

    Raises:
        CloudError: Something else came in between; or none knows the server, and then what the first has met.
    """
    unknown: CloudError | None = None
    for alternative in alternatives:
        try:
            return connect(alternative)
        except CloudError as error:
            if not ladder.may_be_the_anchors(error.failure):
                raise
            unknown = unknown or error
    raise unknown or ValueError("there was nothing to connect with")
