from __future__ import annotations

from functools import lru_cache

import pytest

from agent.core.change import records
from agent.crypto import keys
from support.crashkit import syscalls


@pytest.fixture(autouse=True)
def _only_where_calls_are_known() -> None:
    if not syscalls.SUPPORTED:
        pytest.skip("the stepper knows the system calls of x86-64 and arm64 only")


# What a store is judged by reads the same few bytes again and again, and a judge and its children keep what they hold.
_KEPT = {
    "agent.store.notes.change_log.decode_record": lru_cache(1000)(records.decode_record),
    "agent.store.sets.generations.decode_manifest": lru_cache(1000)(records.decode_manifest),
    "agent.store.notes.change_log.encode_record": lru_cache(1000)(records.encode_record),
    "agent.crypto.keys.credential_set": lru_cache(1000)(keys.credential_set),
}


@pytest.fixture(autouse=True)
def _the_same_bytes_are_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for function, kept in _KEPT.items():
        monkeypatch.setattr(function, kept)
