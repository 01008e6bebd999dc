"""The state directory and the clock as the configuration has them: opened and looked at, and nothing more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core import timekeeping

if TYPE_CHECKING:
    from datetime import datetime

    from agent.config.values import Config
    from agent.store.store import Store


def open_store(config: Config) -> Store:
    """Open the state directory.

    Raises:
        StoreError: It is missing, or not permitted.
    """
    from agent.store.store import Store  # noqa: PLC0415 - see agent.operations.wiring

    return Store(config.state_dir)


def clock_of(
    config: Config, floors: tuple[datetime, ...] = (), notes: tuple[datetime, ...] = ()
) -> timekeeping.Reading:
    """Look at the clock, by the instants that are known to lie in the past, and those that were noted."""
    from agent.system.clock import SystemClock  # noqa: PLC0415 - see agent.operations.wiring

    clock = SystemClock(vouched=config.vouched_clock)
    return timekeeping.read(clock.now(), synchronised=clock.synchronised(), floors=floors, notes=notes)
