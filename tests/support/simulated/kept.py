"""Bytes of a store that are decoded once: a gateway reads the same few again and again, and its tests do, too."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from agent.core.change import records
from agent.crypto import keys

if TYPE_CHECKING:
    import pytest

_KEPT = {
    "agent.store.notes.change_log.decode_record": lru_cache(1000)(records.decode_record),
    "agent.store.sets.generations.decode_manifest": lru_cache(1000)(records.decode_manifest),
    "agent.store.notes.change_log.encode_record": lru_cache(1000)(records.encode_record),
    "agent.crypto.keys.credential_set": lru_cache(1000)(keys.credential_set),
}


def keep_what_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have these functions answer from memory for a test; what they return is not changed by any that has it."""
    for function, kept in _KEPT.items():
        monkeypatch.setattr(function, kept)
