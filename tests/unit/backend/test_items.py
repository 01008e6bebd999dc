from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from agent.backend.items import (
    device_of,
    of_device,
    of_record,
    of_replacement,
    of_signer,
    record_of,
    replacement_of,
    shard,
    signer_of,
)
from agent.backend.names import DUE_SHARDS
from agent.backend.values import CertificateOrigin, Device, DeviceState, Record, Replacement, Signer, SigningCa
from support.aws.account import NOW, certificate_id

INSTANTS = st.none() | st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001 - the zone is given beside
    lambda at: at.replace(microsecond=0)
)
IDS = st.integers(0, 50).map(certificate_id)
DEVICES = st.builds(
    Device,
    serial=st.just("0042"),
    thing=st.just("gw-0042"),
    state=st.sampled_from(DeviceState),
    token_sha256=st.sampled_from(["", "a" * 64]),
    token_until=INSTANTS,
    bought=st.frozensets(IDS, max_size=5),
    bought_at=INSTANTS,
    enrolled_at=INSTANTS,
    version=st.integers(0, 10**9),
)
RECORDS = st.builds(
    Record,
    certificate_id=IDS,
    thing=st.just("gw-0042"),
    origin=st.sampled_from(CertificateOrigin),
    serial=st.sampled_from(["", "0042"]),
    issued_at=INSTANTS,
    proven_at=INSTANTS,
    csr_sha256=st.just("") | IDS,
    retired_at=INSTANTS,
    retired_by=st.just("") | IDS,
    delete_after=INSTANTS,
    detached_at=INSTANTS,
    ended_at=INSTANTS,
    expires_at=INSTANTS,
    version=st.integers(0, 10**9),
)


REPLACEMENTS = st.builds(
    Replacement,
    thing=st.just("gw-0042"),
    serial=st.just("0077"),
    before=st.frozensets(IDS, max_size=3),
    retired=st.frozensets(IDS, max_size=3),
    look_at=INSTANTS,
    settles_at=INSTANTS,
    version=st.integers(0, 10**9),
)


@given(REPLACEMENTS)
def test_a_replacement_is_read_as_it_was_written(replacement: Replacement) -> None:
    """One version further; and it is in the index for as long as it is to be looked at."""
    item = of_replacement(replacement)
    assert replacement_of(item) == replace(replacement, version=replacement.version + 1)
    assert ("due" in item) is ("delete_after" in item) is (replacement.look_at is not None)


@given(st.lists(st.tuples(IDS, INSTANTS.filter(bool)), max_size=3), st.booleans(), st.integers(0, 10**9))
def test_a_signer_is_read_as_it_was_written(cas: list[tuple[str, datetime]], on: bool, version: int) -> None:  # noqa: FBT001 - drawn
    """One version further; its CAs in their order."""
    made = tuple(SigningCa(ca_id=name, pem=f"the text of {name}", key="k", signs_from=at, ends=NOW) for name, at in cas)
    signer = Signer(cas=made, on=on, version=version)
    assert signer_of(of_signer(signer)) == replace(signer, version=version + 1)


@given(DEVICES)
def test_a_device_is_read_as_it_was_written(device: Device) -> None:
    """One version further."""
    assert device_of(of_device(device)) == replace(device, version=device.version + 1)


@given(RECORDS)
def test_a_record_is_read_as_it_was_written(record: Record) -> None:
    """One version further."""
    assert record_of(of_record(record)) == replace(record, version=record.version + 1)


@given(RECORDS)
def test_what_waits_for_deletion_is_in_the_index_and_nothing_else(record: Record) -> None:
    """An index without its keys has no row."""
    item = of_record(record)
    assert ({"due", "delete_after"} & item.keys() == {"due", "delete_after"}) is (record.delete_after is not None)
    assert ("due" in item) is (record.delete_after is not None)


@given(RECORDS, DEVICES)
def test_no_attribute_is_empty(record: Record, device: Device) -> None:
    """DynamoDB takes no empty set, and an empty text in a key would be an error."""
    for item in (of_record(record), of_device(device)):
        assert all(value for attribute in item.values() for value in attribute.values())


def test_the_parts_of_the_index_fill_evenly() -> None:
    """A quarter each, within a tenth."""
    shards = [shard(certificate_id(number)) for number in range(4000)]
    assert set(shards) == set(DUE_SHARDS)
    assert all(900 < shards.count(name) < 1100 for name in DUE_SHARDS)


def test_an_attribute_that_is_not_known_does_not_matter() -> None:
    """The operator's own, say."""
    item = of_record(Record(certificate_id=certificate_id(1), thing="gw-0042", issued_at=NOW))
    assert record_of({**item, "note": {"S": "of the operator"}}) == record_of(item)
