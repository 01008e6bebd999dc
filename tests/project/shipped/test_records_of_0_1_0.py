"""What 0.1.0 wrote to disks and pipes is read by this version, and written again to the byte."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.change.records import decode_manifest, decode_record, encode_manifest, encode_outcome, encode_record
from agent.core.dependants import decode_report, encode_report
from agent.core.values import Kind, TrustSource
from agent.core.worker_protocol import Order, decode_order, encode_order
from agent.store.notes import pauses

if TYPE_CHECKING:
    from collections.abc import Callable

RECORDS = Path(__file__).parents[2] / "data" / "0.1.0" / "records"

LATER: dict[type, list[str]] = {ChangeRecord: ["asked_by", "damage"], Order: ["asked_by"]}


def record(data: bytes) -> ChangeRecord:
    """Read a change record."""
    return decode_record(data, "a record")


@pytest.mark.parametrize(
    ("name", "read", "write"),
    [
        ("change-in-flight.json", record, encode_record),
        ("change-with-everything.json", record, encode_record),
        ("manifest.json", lambda data: decode_manifest(data, "a manifest"), encode_manifest),
        ("manifest-with-provenance.json", lambda data: decode_manifest(data, "a manifest"), encode_manifest),
        ("report.json", lambda data: decode_report(data, "a report"), lambda report: encode_report(report) + b"\n"),
        ("worker-order.json", decode_order, encode_order),
    ],
)
def test_a_record_is_read_and_written_as_it_was(
    name: str, read: Callable[[bytes], Any], write: Callable[[Any], bytes]
) -> None:
    """To the byte, so nothing in it is lost on the way."""
    data = (RECORDS / name).read_bytes()
    assert write(read(data)) == data


def test_a_history_is_read_and_written_as_it_was() -> None:
    """Line by line: an enrolment, a rotation, a fall-back and the rotation after it."""
    lines = (RECORDS / "history.jsonl").read_bytes().splitlines(keepends=True)
    found = [record(line) for line in lines]
    assert b"".join(encode_outcome(item) for item in found) == b"".join(lines)
    assert [item.kind for item in found] == [Kind.ENROLL, Kind.ROTATE, Kind.ROLLBACK, Kind.ROTATE]
    assert all(item.phase is Phase.COMMITTED for item in found)


def test_a_pause_is_read_and_written_as_it_was(tmp_path: Path) -> None:
    """By way of the state directory."""
    data = (RECORDS / "pause.json").read_bytes()
    (tmp_path / pauses.PAUSE).write_bytes(data)
    found = pauses.read(tmp_path)
    assert found is not None
    pauses.write(tmp_path, found)
    assert (tmp_path / pauses.PAUSE).read_bytes() == data


def test_the_fullest_records_leave_nothing_out() -> None:
    """Every field has a value that is not its default, but those that came after 0.1.0."""
    full = record((RECORDS / "change-with-everything.json").read_bytes())
    assert [item.name for item in fields(full) if getattr(full, item.name) == item.default] == LATER[ChangeRecord]
    order = decode_order((RECORDS / "worker-order.json").read_bytes())
    assert [item.name for item in fields(order) if getattr(order, item.name) == item.default] == LATER[Order]
    manifest = decode_manifest((RECORDS / "manifest-with-provenance.json").read_bytes(), "a manifest")
    assert manifest.trust is not None
    assert (manifest.trust.source, manifest.trust.version) == (TrustSource.BUNDLE, 7)
