"""The pause on disk: it survives restarts, and whatever else the file holds, it holds nothing up."""

from __future__ import annotations

import json
import os
import random
import stat
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core.when.schedule import Pause
from agent.errors import DamagedError, StoreError
from agent.store.notes import pauses
from support import make
from support.make import DAY, HOUR, NOW

if TYPE_CHECKING:
    from pathlib import Path

HARVEST = Pause(until=NOW + DAY, reason="harvest")
IN_ONE_DIRECTORY = settings(make.FEW, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_without_a_file_there_is_no_pause(tmp_path: Path) -> None:
    """Looking makes nothing."""
    assert pauses.read(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_pause_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    """Also by another process, and whether it is over or not."""
    for pause in (HARVEST, Pause(until=NOW - 9 * DAY, reason="")):
        pauses.write(tmp_path, pause)
        assert pauses.read(tmp_path) == pause
    assert [path.name for path in tmp_path.iterdir()] == [pauses.PAUSE]


def test_a_pause_ends_in_utc_whatever_its_zone_was(tmp_path: Path) -> None:
    """The instant is the same."""
    local = (NOW + HOUR).astimezone(timezone(timedelta(hours=5, minutes=30)))
    pauses.write(tmp_path, Pause(until=local, reason="local"))
    found = pauses.read(tmp_path)

    assert found is not None
    assert found.until == local
    assert found.until.tzinfo is UTC


def test_the_last_pause_counts(tmp_path: Path) -> None:
    """A new one replaces the one before, shorter or longer."""
    pauses.write(tmp_path, HARVEST)
    pauses.write(tmp_path, Pause(until=NOW, reason="done early"))

    assert pauses.read(tmp_path) == Pause(until=NOW, reason="done early")


def test_a_pause_can_be_ended_more_than_once(tmp_path: Path) -> None:
    """Ending what is not there is harmless."""
    pauses.write(tmp_path, HARVEST)
    for _ in range(2):
        pauses.clear(tmp_path)
        assert pauses.read(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_no_secret_and_no_other_user_writes_it(tmp_path: Path) -> None:
    """Others may read why nothing happens."""
    pauses.write(tmp_path, HARVEST)
    mode = stat.S_IMODE((tmp_path / pauses.PAUSE).stat().st_mode)

    assert mode & 0o600 == 0o600
    assert not mode & 0o022


TIMES = st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@IN_ONE_DIRECTORY
@given(until=TIMES, reason=st.text(max_size=500) | st.sampled_from(["x" * 500, "😀" * 500, "\x00" * 500]))
def test_any_pause_that_the_daemon_takes_is_kept(tmp_path: Path, until: datetime, reason: str) -> None:
    """Five hundred characters of any script: a pause that was confirmed must hold."""
    pauses.write(tmp_path, Pause(until=until, reason=reason))

    assert pauses.read(tmp_path) == Pause(until=until, reason=reason)


@pytest.mark.parametrize("reason", ["x" * 501, "x" * 100_000, "not \udcff text"], ids=lambda reason: repr(reason[:12]))
def test_a_reason_that_does_not_fit_never_costs_the_pause(tmp_path: Path, reason: str) -> None:
    """The command writes the file itself where no daemon runs; what it confirms must hold, if with fewer words."""
    pauses.write(tmp_path, Pause(until=NOW, reason=reason))
    found = pauses.read(tmp_path)

    assert found is not None
    assert found.until == NOW


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"until": "2027-03-02T12:00:00Z"}',
        b'{"reason": "harvest"}',
        b'{"until": "tomorrow", "reason": "harvest"}',
        b'{"until": "2027-03-02T12:00:00", "reason": "harvest"}',
        b'{"until": 1800000000, "reason": "harvest"}',
        b'{"until": "2027-03-02T12:00:00Z", "reason": 7}',
        b'{"until": "2027-03-02T12:00:00Z", "reason": "' + b"x" * 501 + b'"}',
    ],
    ids=lambda content: repr(content[:40]),
)
def test_what_is_no_pause_holds_nothing(tmp_path: Path, content: bytes) -> None:
    """Better a rotation too early than one that never comes."""
    (tmp_path / pauses.PAUSE).write_bytes(content)

    assert pauses.read(tmp_path) is None
    pauses.write(tmp_path, HARVEST)
    assert pauses.read(tmp_path) == HARVEST


def test_a_torn_file_holds_nothing_or_what_was_meant(tmp_path: Path) -> None:
    """Bytes changed at random never make anything but a pause, none, or the store's own error."""
    pauses.write(tmp_path, HARVEST)
    path = tmp_path / pauses.PAUSE
    whole, chance, held = path.read_bytes(), random.Random(7), 0  # noqa: S311 - the same mutations in each run
    assert json.loads(whole)["reason"] == "harvest"
    for _ in range(500):
        data = bytearray(whole)
        data[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(data[: chance.randint(1, 2 * len(data))])
        found = pauses.read(tmp_path)
        assert found is None or isinstance(found, Pause)
        held += found is not None

    assert 0 < held < 400


@pytest.mark.parametrize("kind", ["huge", "pipe", "link", "directory"])
def test_a_file_of_another_kind_is_damage_and_does_not_hang(tmp_path: Path, kind: str) -> None:
    """A reader gets the store's own error, which the daemon takes for no pause."""
    path = tmp_path / pauses.PAUSE
    match kind:
        case "huge":
            path.write_bytes(b" " * 10_000_000)
        case "pipe":
            os.mkfifo(path)
        case "link":
            path.symlink_to("/etc/hostname")
        case _:
            path.mkdir()

    with pytest.raises(DamagedError, match=pauses.PAUSE):
        pauses.read(tmp_path)


def test_a_missing_state_directory_is_the_stores_own_error(tmp_path: Path) -> None:
    """There is nothing to pause yet."""
    missing = tmp_path / "missing"
    for attempt in (pauses.read, pauses.clear):
        with pytest.raises(StoreError, match="missing"):
            attempt(missing)
    with pytest.raises(StoreError, match="missing"):
        pauses.write(missing, HARVEST)
