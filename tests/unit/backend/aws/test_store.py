from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from agent.backend.aws.store import AwsStore
from agent.backend.errors import ChangedError, MisconfiguredError
from agent.backend.memory import MemoryStore
from agent.backend.values import Device, DeviceState, Record, Signer, SigningCa
from support.aws.account import DAY, HOUR, MINUTE, NOW, certificate_id

if TYPE_CHECKING:
    from agent.backend.ports import StackStore
    from support.aws.moto_account import AwsWorld

DEVICE = Device(serial="0042", thing="gw-0042", state=DeviceState.ARMED, token_sha256="a" * 64)
RECORD = Record(certificate_id=certificate_id(1), thing="gw-0042")
MANY = [certificate_id(number) for number in range(6)]


@pytest.fixture(name="store", params=["in memory", "on AWS"])
def _store(request: pytest.FixtureRequest) -> StackStore:
    """Both implementations: what holds for one holds for the other."""
    if request.param == "in memory":
        return MemoryStore()
    store: StackStore = request.getfixturevalue("world").store
    return store


def test_a_row_is_written_on_the_one_that_was_read(store: StackStore) -> None:
    """Neither over another one nor over none."""
    assert store.device("0042") is None
    store.save_device(DEVICE)
    with pytest.raises(ChangedError):
        store.save_device(DEVICE)
    read = store.device("0042")
    assert read == replace(DEVICE, version=1)
    bought = replace(read, state=DeviceState.BOUGHT, bought=frozenset(MANY[:2]))
    store.save_device(bought)
    with pytest.raises(ChangedError):
        store.save_device(bought)
    with pytest.raises(ChangedError):
        store.save_device(replace(bought, serial="0043"))
    assert store.device("0042") == replace(bought, version=2)


def test_a_certificates_row_is_too(store: StackStore) -> None:
    """And what it lacks after a write it has no more."""
    store.save_record(replace(RECORD, delete_after=NOW))
    with pytest.raises(ChangedError):
        store.save_record(RECORD)
    store.save_record(replace(RECORD, version=1))
    assert store.record(RECORD.certificate_id) == replace(RECORD, version=2)
    assert store.due(NOW + DAY, 10) == ()


def test_the_signers_row_is_too(store: StackStore) -> None:
    """There is one without a CA before any is written."""
    assert store.signer() == Signer()
    signer = Signer(
        cas=(SigningCa(ca_id="ca" * 32, pem="its text", key="key", signs_from=NOW, ends=NOW + DAY),), on=True
    )
    store.save_signer(signer)
    assert store.signer() == replace(signer, version=1)
    with pytest.raises(ChangedError):
        store.save_signer(signer)


def test_a_budget_counts_a_certificate_once(store: StackStore) -> None:
    """By thing and by day."""
    day = NOW.date()
    assert [store.charge("gw-1", day, name, 3) for name in MANY[:4]] == [True, True, True, False]
    assert [store.charge("gw-1", day, name, 3) for name in MANY[:4]] == [True, True, True, False]
    assert store.charge("gw-1", (NOW + DAY).date(), MANY[3], 3)
    assert store.charge("gw-2", day, MANY[3], 3)


def test_a_lease_is_one_holders_until_it_ends(store: StackStore) -> None:
    """The holder may take it again, which makes it last longer."""
    assert store.lease("gw-1", "a", NOW, NOW + MINUTE)
    assert not store.lease("gw-1", "b", NOW, NOW + MINUTE)
    assert store.lease("gw-2", "b", NOW, NOW + MINUTE)
    assert store.lease("gw-1", "a", NOW + MINUTE / 2, NOW + 3 * MINUTE / 2)
    assert not store.lease("gw-1", "b", NOW + MINUTE, NOW + 2 * MINUTE)
    assert store.lease("gw-1", "b", NOW + 3 * MINUTE / 2, NOW + 4 * MINUTE)
    assert not store.lease("gw-1", "a", NOW + 2 * MINUTE, NOW + 3 * MINUTE)


def test_what_is_due_comes_with_the_longest_first(store: StackStore) -> None:
    """Over all parts of the index, and no more than is asked for."""
    for number, name in enumerate(MANY):
        store.save_record(replace(RECORD, certificate_id=name, delete_after=NOW - number * HOUR))
    found = store.due(NOW - HOUR, 3)
    assert [record.certificate_id for record in found] == MANY[:2:-1]
    assert found[0].version == 1
    assert len(store.due(NOW - HOUR, 10)) == 5
    assert store.due(NOW - 6 * HOUR, 10) == ()


def test_a_serial_number_is_no_other_kind_of_row(store: StackStore) -> None:
    """Budgets and leases stand in the same table."""
    store.charge("gw-1", NOW.date(), MANY[0], 3)
    store.lease("gw-1", "a", NOW, NOW + MINUTE)
    assert store.device("gw-1") is None


def test_a_table_that_is_missing_is_the_stacks_fault(world: AwsWorld) -> None:
    """It is said so, and not taken for a row that is missing."""
    with pytest.raises(MisconfiguredError):
        AwsStore(world.clients, "gone", "gone").device("0042")


def test_a_count_says_what_it_has_come_to(store: StackStore) -> None:
    """Asked for without counting, too; another name is another count."""
    assert store.tally("requests#192.0.2.7#1", NOW + MINUTE, 0) == 0
    assert [store.tally("requests#192.0.2.7#1", NOW + MINUTE, times) for times in (1, 1, 0, 2)] == [1, 2, 2, 4]
    assert store.tally("requests#192.0.2.8#1", NOW + MINUTE, 1) == 1
