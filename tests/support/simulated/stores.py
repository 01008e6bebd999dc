"""What tests do to real stores, and how they look at what came of it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.change import damaged_records
from agent.core.when.retirement import outstanding
from agent.errors import StoreError

if TYPE_CHECKING:
    from agent.store.store import Store


ZEROS = bytes(400)


def certificate_of(store: Store, number: int) -> str:
    """Return the certificate of a whole generation."""
    return store.generation(number).manifest.certificate_id


def left(store: Store) -> list[str]:
    """Return what is to be retired of what damaged records left behind."""
    current = store.current()
    in_use = () if current is None else (certificate_of(store, current),)
    salvaged = [record for record in store.history() if damaged_records.ended_damaged(record)]
    return [item.certificate_id for item in outstanding(salvaged, in_use, timedelta())]


def refuse(*_: object, **__: object) -> None:
    """Have no room."""
    raise StoreError("Cannot write there: No space left on device.")
