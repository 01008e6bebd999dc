from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agent.system import clock

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_wall_clock_is_utc_and_the_machines() -> None:
    """Every time has its zone, and it is the system's."""
    before = datetime.now(UTC)
    now = clock.SystemClock().now()
    assert now.tzinfo is UTC
    assert before <= now <= datetime.now(UTC)


def test_the_marker_of_timesyncd_vouches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel says nothing, the time service's marker does, and without either it is not synchronised."""
    monkeypatch.setattr(clock, "_kernel_synchronised", lambda: False)
    monkeypatch.setattr(clock, "TIMESYNCD_MARKER", tmp_path / "synchronized")
    assert not clock.SystemClock().synchronised()
    (tmp_path / "synchronized").touch()
    assert clock.SystemClock().synchronised()


def test_an_operator_may_vouch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway whose time comes from elsewhere is told so in its configuration."""
    monkeypatch.setattr(clock, "_kernel_synchronised", lambda: False)
    assert clock.SystemClock(vouched=True).synchronised()


def test_timedated_is_asked_where_the_kernel_may_not_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nowhere else: it costs a process."""
    monkeypatch.setattr(clock, "TIMESYNCD_MARKER", tmp_path / "synchronized")
    asked: list[float] = []

    class TellingClock:
        def synchronised(self, now: float) -> bool:
            asked.append(now)
            return True

    monkeypatch.setattr(clock, "_timedated", TellingClock())
    for kernel, vouched in ((True, True), (False, False)):
        monkeypatch.setattr(clock, "_kernel_synchronised", lambda kernel=kernel: kernel)
        assert clock.SystemClock().synchronised() is vouched
    assert asked == []
    monkeypatch.setattr(clock, "_kernel_synchronised", lambda: None)
    assert clock.SystemClock().synchronised()
    assert len(asked) == 1


def test_the_kernel_is_asked_in_its_own_words() -> None:
    """The structure is large enough and the call is answered one way or the other, without an error."""
    assert clock._kernel_synchronised() in {True, False, None}
