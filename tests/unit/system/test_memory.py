"""Giving memory back."""

from __future__ import annotations

import gc
import weakref

from agent.system import memory


class Knot:
    """Something that holds itself."""

    def __init__(self) -> None:
        self.itself = self


def test_what_only_holds_itself_is_collected() -> None:
    """At once, also where the collector is off."""
    gc.disable()
    try:
        seen = weakref.ref(Knot())
        assert seen() is not None
        memory.give_back()
        assert seen() is None
    finally:
        gc.enable()
