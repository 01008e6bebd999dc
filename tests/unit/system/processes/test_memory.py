"""Giving memory back."""

from __future__ import annotations

import gc
import importlib.util
import sys
import weakref

from agent.system.processes import memory


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


def test_what_was_found_in_folders_of_modules_is_forgotten_and_looked_up_again() -> None:
    """An import that comes later finds its module."""
    memory.give_back()
    assert not sys.path_importer_cache
    assert importlib.util.find_spec("agent.system.processes.memory") is not None
    assert importlib.util.find_spec("colorsys") is not None
