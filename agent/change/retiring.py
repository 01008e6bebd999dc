"""Retirement: having the cloud deactivate a certificate that was left behind, and writing that down.

Which one is due, and when, is `agent.core.when.retirement`'s to say.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from agent.core.change.advance import advance
from agent.core.change.events import Dropped, Retired
from agent.core.when import retirement
from agent.errors import CloudError, MaterialError, RefusedError, StoreError

if TYPE_CHECKING:
    from collections.abc import Collection

    from agent.change.in_flight import InFlight
    from agent.change.sets import Sets
    from agent.change.source import SourceSession
    from agent.change.world import Settings, World


class Retirements:
    """The certificates that finished changes have left behind."""

    def __init__(
        self, world: World, settings: Settings, sets: Sets, source: SourceSession, in_flight: InFlight
    ) -> None:
        self._world = world
        self._settings = settings
        self._sets = sets
        self._source = source
        self._in_flight = in_flight

    def retire(self, due: retirement.Retirement) -> None:
        """Ask the cloud, over the current set's connection, to deactivate a certificate that is not in use any more.

        That the cloud never registered it settles it as well.

        Raises:
            CloudError: It was not accepted; asking again later is safe.
            RefusedError: It is in use, by this gateway or by a program that it waits for.
            StoreError: It was accepted and that could not be made durable; asking again is safe.
        """
        self._source.close()
        current = self._world.store.current()
        if current is None:
            raise RefusedError("There is no current set to ask with.", hint="`iot-cert rotate` finds one that works.")
        candidate = self._sets.candidate(current)
        if candidate.credential.leaf.sha256 == due.certificate_id:
            raise RefusedError("The certificate in use is never retired.")
        held = retirement.spared([due])
        if held is not None:
            raise held
        try:
            with closing(self._world.cloud.connect(candidate)) as session:
                session.retire(due.certificate_id)
        except CloudError as error:
            if not retirement.never_registered(due, error.failure):
                raise
            self.note_unregistered(due.change)
        else:
            self.note_retired(due.change)

    def note_retired(self, change: str) -> None:
        """Destroy the key of a certificate whose retirement the cloud accepted, and write that into the history.

        In this order: what a crash cuts off is asked for again, and goes on.

        Raises:
            StoreError: It could not be made durable.
        """
        for record in self._world.store.history():
            if record.id == change and record.retired_at is None:
                certificate_id = retirement.left_behind(record) or ""
                self._destroy_keys({certificate_id})
                self._world.store.amend(advance(record, Retired(at=self._world.clock.now())))
                self._in_flight.tell(
                    "retired", f"The certificate {certificate_id[:12]} is retired: the cloud deactivates it."
                )

    def note_unregistered(self, change: str) -> None:
        """Destroy the key of a certificate that the cloud never registered, and write down that it is not asked for.

        Raises:
            StoreError: One of both failed; it is asked for again, with the same answer.
        """
        for record in self._world.store.history():
            if record.id == change and not retirement.dropped_already(record):
                certificate_id = retirement.left_behind(record) or ""
                self._world.store.retired_keys.destroy({certificate_id}, self._spared())
                self._world.store.amend(advance(record, Dropped(at=self._world.clock.now())))
                text = f"The certificate {certificate_id[:12]} is not asked to be retired any more: the cloud has none"
                why = "such of this gateway, and AWS deletes within the hour what was never registered."
                self._in_flight.tell("dropped", f"{text} {why}")

    def destroy_left(self) -> None:
        """Destroy the keys of retired certificates that are there still, since the disk failed then."""
        self._destroy_keys(retirement.retired(self._world.store.history()))

    def _destroy_keys(self, certificates: Collection[str]) -> None:
        try:
            self._world.store.retired_keys.destroy(certificates, self._spared())
        except StoreError as error:  # the cloud has its word; to ask it again would not mend a disk
            text = f"The key of a retired certificate could not be destroyed, and is tried again: {error.in_full}"
            self._in_flight.tell("trouble", text)

    def _spared(self) -> set[int]:
        """Return the generations whose keys are kept: a change in flight rests on them, or no other way leads back.

        Were the certificate in use deactivated by mistake, a gateway without a claim certificate could be saved from
        afar only by activating the one before it again. The next change that is final destroys that key.
        """
        in_flight, spared = self._in_flight.record, set[int | None]()
        if in_flight is not None:
            spared |= {in_flight.generation, in_flight.base}
        try:
            next(self._sets.claims())
        except (MaterialError, RefusedError):
            spared.add(self._world.store.previous())
        return {number for number in spared if number is not None}

    def drop(self, prefix: str) -> str:
        """Write into the history that a certificate is not asked to be retired any more, and say so.

        Args:
            prefix: The beginning of its id.

        Raises:
            RefusedError: Not one certificate that was left behind begins so, or it is in use.
            StoreError: It could not be made durable.
        """
        history, current = self._world.store.history(), self._sets.usable()
        in_use = retirement.resting_on(current.manifest.certificate_id if current else None, self._in_flight.record)
        record = retirement.find_dropped(history, in_use, prefix)
        certificate_id = retirement.left_behind(record)
        before = retirement.dropped_already(record)
        if before:
            return f"The certificate {certificate_id} {before}."
        self._world.store.amend(advance(record, Dropped(at=self._world.clock.now())))
        return f"The certificate {certificate_id} is not asked to be retired any more; it may be active in the cloud."
