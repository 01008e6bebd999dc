"""The change log: the change in flight and the history of finished ones.

``change.json`` is one record, replaced whole before each step. ``history.jsonl`` gets one line for each finished
change; a torn or foreign line never hides the others.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.change.records import MAX_RECORD, decode_record, encode_outcome, encode_record
from agent.core.checksum import checksum
from agent.core.jsonio import PlainError
from agent.core.when.retirement import outstanding
from agent.errors import DamagedError, StoreError
from agent.store.files import disk, durable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agent.core.change.lifecycle import ChangeRecord

    Line = tuple[bytes, ChangeRecord]

CHANGE = "change.json"
DAMAGED_CHANGE = "change.json.damaged"
HISTORY = "history.jsonl"
DAMAGED_HISTORY = "history.jsonl.damaged"

MAX_HISTORY = 4_194_304  # bytes read, the newest; about 3,000 changes
HISTORY_KEPT = 400  # changes; at one a week, eight years
HISTORY_SLACK = 100  # the history is rewritten only when there is so much more to drop
OWED_KEPT = 100  # older changes of which the cloud has not yet been asked to retire what they left behind


class ChangeLog:
    """The two files in one state directory."""

    def __init__(self, root: int, modes: durable.Modes) -> None:
        self._root = root
        self._cache: tuple[bytes, tuple[Line, ...]] | None = None
        self._modes = modes
        self._written = ""  # the id of the change whose line is certainly durable

    def change(self) -> ChangeRecord | None:
        """Return the change in flight, or None; one whose end is in the history is over, whatever its record says.

        Raises:
            DamagedError: There is a record and it cannot be read as such.
        """
        record = self.recorded()
        return None if record is None or self.known_end(record) else record

    def recorded(self) -> ChangeRecord | None:
        """Return what the record says, or None when there is none.

        Raises:
            DamagedError: There is a record and it cannot be read as such.
        """
        try:
            data = disk.read(self._root, CHANGE, MAX_RECORD)
            return decode_record(data, CHANGE)
        except FileNotFoundError:
            return None
        except PlainError as error:
            raise DamagedError(f"The record of the change in flight is damaged ({error}).") from error

    def damaged_change(self) -> tuple[bytes, str]:
        """Return what a damaged record holds, and a hash that tells it from any other damaged record.

        When it was written counts, too: a file system that lost the content of two records left the same bytes twice.

        Raises:
            StoreError: It cannot be read.
        """
        import hashlib  # noqa: PLC0415 - it brings the whole cryptographic library, and the daemon reads records without it

        try:
            data = disk.read(self._root, CHANGE, MAX_RECORD)
        except StoreError as error:
            if not is_lost(self._root, error):
                raise
            data = b""  # no file, far too large, or another user's
        with disk.explained(f"look at {CHANGE}"):
            written = int(os.stat(CHANGE, dir_fd=self._root, follow_symlinks=False).st_mtime)
        return data, hashlib.sha256(b"%d " % written + data).hexdigest()

    def move_change_away(self) -> None:
        """Keep a damaged record for a person who asks, out of the way.

        Raises:
            StoreError: It could not be moved.
        """
        if disk.exists(self._root, DAMAGED_CHANGE) and not disk.is_directory(self._root, DAMAGED_CHANGE):
            durable.remove(self._root, DAMAGED_CHANGE)
        durable.put_away(self._root, CHANGE, DAMAGED_CHANGE)

    def clear_way(self) -> str:
        """Move out of the way what is no file of this user's in the history's place, and return a note about it.

        A history that cannot be written would keep each change from its end, and one that cannot be read the agent from
        its start. The note is empty where there is nothing in the way.

        Raises:
            StoreError: It could not be moved.
        """
        try:
            disk.read(self._root, HISTORY, MAX_HISTORY, end_of_larger=True)
        except FileNotFoundError:
            return ""
        except StoreError as error:
            if not is_lost(self._root, error):
                raise
            away = durable.put_away(self._root, HISTORY, DAMAGED_HISTORY)
            return f"{error} It was moved to {away}; the history begins anew."
        return ""

    def save(self, record: ChangeRecord, *, lasting: bool = True) -> None:
        """Make the record of the change in flight durable; unless it is to be lasting, its content alone.

        Raises:
            StoreInDoubtError: It is there, but a power cut may bring the one before back.
            StoreError: It is not there.
        """
        replace = durable.replace if lasting else durable.replace_unsettled
        replace(self._root, CHANGE, encode_record(record), self._modes, secret=True)

    def known_end(self, record: ChangeRecord) -> ChangeRecord | None:
        """Return how a change ended whose record was not removed yet, by the history; None when it has not ended."""
        return end_in(self.history(), record)

    def history(self) -> tuple[ChangeRecord, ...]:
        """Return the finished changes, oldest first; lines that cannot be read are passed over."""
        return tuple(record for _, record in self._lines())

    def history_unless(self, mark: str) -> tuple[str, tuple[ChangeRecord, ...] | None]:
        """Return the history's checksum and the finished changes; None for these while the checksum is `mark`."""
        data = self._data()
        now = checksum(data)
        return now, None if now == mark else tuple(record for _, record in _parse(data))

    def _lines(self) -> tuple[Line, ...]:
        """Return the lines and what they say, parsed anew only once the file has changed: each decision looks here."""
        data = self._data()
        if self._cache is None or self._cache[0] != data:
            self._cache = (data, tuple(_parse(data)))
        return self._cache[1]

    def _data(self) -> bytes:
        try:
            return disk.read(self._root, HISTORY, MAX_HISTORY, end_of_larger=True)
        except FileNotFoundError:
            return b""
        except StoreError as error:
            if not is_lost(self._root, error):
                raise
            return b""  # see `clear_way`

    def finish(self, record: ChangeRecord) -> None:
        """Write a finished change to the history, once, and clear it away.

        Its record may be there once more after a power cut, and counts for nothing then: see `known_end`.

        Raises:
            StoreError: The line could not be made durable, or the record not removed; doing it again goes on.
        """
        with durable.part_of("write the history"):
            self.write_down(record)
        durable.remove(self._root, CHANGE)

    def write_down(self, record: ChangeRecord) -> None:
        """Write a finished change to the history, once.

        Raises:
            StoreInDoubtError: It is there, but a power cut may undo that; doing it again goes on.
            StoreError: It could not be written down; doing it again goes on.
        """
        if record.id == self._written:
            return
        if all(other.id != record.id for other in self.history()):
            self._append(record)
        else:  # a process that was killed may have written the line and not synced it
            durable.sync_file(self._root, HISTORY)
            durable.sync(self._root, "the history was written")
        self._written = record.id

    def amend(self, record: ChangeRecord) -> None:
        """Add a later line about a change that is in the history; from now on it counts instead of the earlier one.

        Raises:
            StoreError: It could not be made durable; doing it again is harmless.
        """
        with durable.part_of("write the history"):
            self._append(record)

    def _append(self, record: ChangeRecord) -> None:
        """Add a line. A file of another user's, or with another name (`cp -al`), stays as it is and is replaced."""
        line = encode_outcome(record)
        if disk.is_ours_alone(self._root, HISTORY):
            durable.append(self._root, HISTORY, line, self._modes)
            return
        before = self._data().rstrip(b"\n")
        durable.replace(self._root, HISTORY, before + b"\n" * bool(before) + line, self._modes)

    def shorten(self) -> None:
        """Drop the oldest changes once there are many more than are worth keeping, or than are read.

        What a change left behind and is still to be retired would be forgotten with it, so such a change stays.

        Raises:
            StoreError: It could not be rewritten; it is as it was.
        """
        lines = self._lines()
        newest = _last_within(lines[-HISTORY_KEPT:], MAX_HISTORY // 2)
        older = lines[: len(lines) - len(newest)]
        owed = {item.change for item in outstanding((record for _, record in lines), (), timedelta())}
        kept = _last_within([pair for pair in older if pair[1].id in owed][-OWED_KEPT:], MAX_HISTORY // 4)
        long = self._cache is not None and len(self._cache[0]) > MAX_HISTORY * 3 // 4
        if len(older) - len(kept) > HISTORY_SLACK or long:
            staying = b"".join(line + b"\n" for line, _ in (*kept, *newest))
            durable.replace(self._root, HISTORY, staying, self._modes)


def is_lost(root: int, error: StoreError) -> bool:
    """Whether what could not be read is to be done without: it is damaged, or another user's in a directory of ours.

    Raises:
        StoreError: It cannot be told.
    """
    if isinstance(error, DamagedError) or not error.denied:
        return isinstance(error, DamagedError)
    with disk.explained("look at the state directory"):
        return os.fstat(root).st_uid == os.geteuid()


def end_in(history: Iterable[ChangeRecord], record: ChangeRecord) -> ChangeRecord | None:
    """Return what finished changes say of one of which there is a record still; None when it is not among them."""
    return next((other for other in history if other.id == record.id and other.phase.ended), None)


def _last_within(lines: Sequence[Line], size: int) -> Sequence[Line]:
    """Return the last lines, as many as have together so many bytes."""
    count = 0
    for line, _ in reversed(lines):
        size -= len(line) + 1
        if size < 0:
            break
        count += 1
    return lines[len(lines) - count :]


def _parse(data: bytes) -> Iterable[Line]:
    found: dict[str, Line] = {}
    for line in data.split(b"\n"):
        try:
            record = decode_record(line, HISTORY)
        except PlainError:
            continue  # a torn line after a power cut, or a newer agent's: neither may hide the others
        found[record.id] = (line, record)  # where the first line about a change stood, with what the last one says
    return found.values()
