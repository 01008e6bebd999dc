"""The change in flight is read as it was saved, and the history survives torn lines and its own length."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from agent.core.change.lasting import Lasting
from agent.core.change.lifecycle import MAX_REQUESTS
from agent.core.change.records import encode_outcome
from agent.errors import DamagedError
from agent.store.notes import change_log
from agent.store.store import Store
from support import make
from support.crashkit import scripts
from support.crashkit.material import NOW
from support.crashkit.scenarios import scenario

if TYPE_CHECKING:
    from pathlib import Path


def test_a_change_is_read_back(store: Store) -> None:
    """What was saved is found, secret and all."""
    record = scenario("rotation").plan.first_record()
    store.save_change(record, Lasting.NOW)
    assert store.change() == record


def test_a_change_with_a_very_long_message_can_be_read_back(store: Store) -> None:
    """A service's own text may be in it, and must not make the record unreadable."""
    long = replace(scripts.REFUSED, message="x" * 100_000, remedy="y" * 100_000)
    store.save_change(replace(scenario("rotation").plan.first_record(), failure=long), Lasting.NOW)
    found = store.change()
    assert found is not None
    assert found.failure is not None
    assert found.failure.message.startswith("xxxx")


def test_a_damaged_change_is_set_aside_and_kept(store: Store, path: Path) -> None:
    """Nothing it prepared is used, and people can still look at it."""
    (path / "change.json").write_bytes(b"{")
    with pytest.raises(DamagedError):
        store.change()
    assert "moved to change.json.damaged" in store.recover(NOW).notes[0]
    assert (path / "change.json.damaged").read_bytes() == b"{"
    assert store.recover(NOW).notes == ()


def test_a_torn_line_hides_no_other(store: Store, path: Path) -> None:
    """Lines before and after it are read."""
    history = path / "history.jsonl"
    first, *rest = history.read_bytes().splitlines(keepends=True)
    history.write_bytes(first + rest[0][:40] + b"\n" + b"".join(rest[1:]))
    assert [record.generation for record in store.history()] == [1, 3]


def test_a_line_of_a_newer_agent_is_passed_over(store: Store, path: Path) -> None:
    """An agent that was downgraded goes on."""
    with (path / "history.jsonl").open("ab") as file:
        file.write(b'{"format":99}\n')
    assert [record.generation for record in store.history()] == [1, 2, 3]


def test_finishing_twice_writes_one_line(store: Store) -> None:
    """A crash between the line and the clearing is repeated without harm."""
    record = store.history()[-1]
    store.save_change(record, Lasting.NOW)
    store.finish(record)
    assert [item.id for item in store.history()].count(record.id) == 1
    assert store.change() is None


def test_a_history_with_another_name_is_replaced_and_not_written_into(store: Store, path: Path) -> None:
    """A backup made of hard links stays as it was made, and so does another program's file under our name."""
    before = (path / "history.jsonl").read_bytes()
    os.link(path / "history.jsonl", path.parent / "backup")
    (path.parent / "backup").chmod(0o644)
    store.finish(replace(store.history()[-1], id="0123456789ab"))
    assert (path.parent / "backup").read_bytes() == before
    assert (path.parent / "backup").stat().st_mode & 0o777 == 0o644
    assert (path / "history.jsonl").read_bytes().startswith(before)
    assert [record.generation for record in store.history()] == [1, 2, 3, 3]


def test_the_history_holds_nothing_secret(path: Path) -> None:
    """No ownership token, no certificate, no key."""
    text = (path / "history.jsonl").read_text()
    assert '"token":"token"' not in text
    assert "BEGIN" not in text


def test_a_long_history_is_shortened_to_the_newest(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only when it is longer by the slack."""
    monkeypatch.setattr(change_log, "HISTORY_KEPT", 2)
    monkeypatch.setattr(change_log, "HISTORY_SLACK", 1)
    store.prune(3, frozenset())
    assert len(store.history()) == 3
    monkeypatch.setattr(change_log, "HISTORY_SLACK", 0)
    store.prune(3, frozenset())
    assert [record.generation for record in store.history()] == [2, 3]


def test_a_shortened_history_forgets_no_certificate_that_is_to_be_retired(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would stay active in the cloud for ever, and nothing on the gateway would know of it."""
    for left, retired_at in (("a", None), ("b", NOW), ("c", None), ("d", None)):
        store.finish(make.finished(id=f"of-{left}", replaces=left * 64, retired_at=retired_at))
    monkeypatch.setattr(change_log, "HISTORY_KEPT", 1)
    monkeypatch.setattr(change_log, "HISTORY_SLACK", 0)
    store.prune(3, frozenset())
    assert [record.replaces for record in store.history()] == ["a" * 64, "c" * 64, "d" * 64]
    monkeypatch.setattr(change_log, "OWED_KEPT", 1)
    store.prune(3, frozenset())
    assert [record.replaces for record in store.history()] == ["c" * 64, "d" * 64]


def lines_of(number: int, requests: int = 20) -> bytes:
    """Return so many lines of a history, of changes with so many requests each, of which one has 35 bytes."""
    line = encode_outcome(make.finished(id="of-NUMBER", generation=123_456_789, requests=(NOW,) * requests)).decode()
    lines = (line.replace("NUMBER", f"{item}").replace("123456789", f"{item + 4}") for item in range(number))
    return "".join(lines).encode()


def test_a_history_that_is_larger_than_what_is_read_is_read_from_its_end(path: Path) -> None:
    """An older agent, or a person, may have left ten thousand changes: what is known of the last ones is not lost."""
    (path / "history.jsonl").write_bytes(lines_of(10_000))
    with Store(path) as store:
        store.lock()
        assert store.recover(NOW).notes == ()
        history = store.history()
        assert history[-1].id == "of-9999"
        assert 2_000 < len(history) < 4_000
        assert [record.generation for record in history] == list(range(history[0].generation, 10_004))
        store.prune(3, frozenset())
        assert [record.id for record in store.history()] == [f"of-{item}" for item in range(9_600, 10_000)]
    assert not (path / "history.jsonl.damaged").exists()


def test_a_history_of_long_lines_is_shortened_before_it_is_longer_than_what_is_read(path: Path) -> None:
    """A change of a gateway with a large daily limit names a thousand requests: four hundred are more than is read."""
    (path / "history.jsonl").write_bytes(lines_of(200, MAX_REQUESTS))
    with Store(path) as store:
        store.lock()
        store.prune(3, frozenset())
        kept = store.history()
        assert kept[-1].id == "of-199"
        assert 50 < len(kept) < 100
    assert (path / "history.jsonl").stat().st_size <= change_log.MAX_HISTORY * 3 // 4
