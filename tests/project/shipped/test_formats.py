"""What earlier versions wrote is read and carried on today, and what alerts rest on keeps its numbers.

The recordings are in `tests/data`, a folder for each version; what is said by a running agent is compared in
`tests/integration/pages/test_formats.py`.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.backend.values import Certificate
from agent.config.reader import load
from agent.core.change.lifecycle import Phase
from agent.core.change.records import (
    decode_manifest,
    decode_record,
    encode_manifest,
    encode_outcome,
    encode_record,
)
from agent.core.values import Kind
from agent.crypto import x509
from agent.sandbox.account.policies import GATEWAY
from agent.sandbox.cloud import Entry, Status
from agent.store.store import Store
from support.simulated.outside import START, THING
from support.simulated.rig import Rig
from support.telling import formats

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.change.lifecycle import ChangeRecord

DATA = Path(__file__).parents[2] / "data"
VERSIONS = sorted(path for path in DATA.iterdir() if path.name[0].isdigit())
STATES = [path for version in VERSIONS for path in sorted((version / "state").iterdir())]
IN_FLIGHT = [path for path in STATES if (path / "change.json").exists()]


def called(path: Path) -> str:
    """Return the id of a case."""
    return path.relative_to(DATA).as_posix()


def content(state: Path) -> dict[str, bytes]:
    """Return each file of a state directory, and where links lead."""
    found = {path.relative_to(state).as_posix(): path for path in state.rglob("*") if not path.is_dir()}
    return {name: bytes(path.readlink()) if path.is_symlink() else path.read_bytes() for name, path in found.items()}


@pytest.fixture(name="state", params=STATES, ids=called)
def _state(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return copied(request.param, tmp_path)


@pytest.fixture(name="rig", params=IN_FLIGHT, ids=called)
def _rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """Give the recorded gateway before a cloud that knows its certificates."""
    rig = Rig(copied(request.param, tmp_path))
    rig.baked = x509.read_bundle((rig.path / "current" / "trust.pem").read_bytes())
    rig.endpoint.root_sha256 = rig.baked.anchors[0].sha256
    for path in sorted(rig.path.glob("generations/0*/certificate.pem")):
        know(rig, path.read_text())
    record = rig.store.change()
    assert record is not None
    assert record.issued is not None
    rig.clock.time = record.entered_at
    if record.phase is Phase.ISSUED:
        know(rig, record.issued.certificate_pem, record.issued.token)
    yield rig
    rig.close()


def copied(recorded: Path, place: Path) -> Path:
    """Return a copy with the modes that the agent gave it."""
    state = place / "state"
    shutil.copytree(recorded, state, symlinks=True)
    for path in (state, *state.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o700 if path.is_dir() else 0o600)
    return state


def know(rig: Rig, pem: str, token: str = "") -> None:
    """Register a certificate: active, or, with a token, about to be."""
    at, status = rig.clock.now(), Status.PENDING_ACTIVATION if token else Status.ACTIVE
    made = Certificate(certificate_id=x509.read_chain(pem.encode())[0][0].sha256, status=status, created_at=at)
    policies, things = ([], []) if token else ([GATEWAY], [THING])
    rig.cloud.registry[made.certificate_id] = Entry(
        certificate=made, pem=pem, policies=policies, things=things, token=token or None
    )


def history(state: Path) -> tuple[ChangeRecord, ...]:
    """Return the finished changes."""
    with Store(state) as store:
        return store.history()


def test_a_state_directory_is_read_and_left_as_it_is(state: Path) -> None:
    """Looking at it writes nothing, and what was recorded is understood."""
    before = content(state)
    with Store(state) as store:
        current, previous = store.current(), store.previous()
        for number in (current, previous):
            assert number is not None
            assert store.generation(number).manifest.thing_name == THING
        assert [record.kind for record in store.history()] == [Kind.ENROLL, Kind.ROTATE]
        change = store.change()
    assert (change is not None) == (state / "change.json").exists()
    assert content(state) == before


def test_each_record_is_written_again_as_it_was(state: Path) -> None:
    """To the byte: the change in flight, each line of the history, each manifest with its seal."""
    for line in (state / "history.jsonl").read_bytes().splitlines(keepends=True):
        assert encode_outcome(decode_record(line, "a line")) == line
    for path in state.glob("generations/0*/manifest.json"):
        assert encode_manifest(decode_manifest(path.read_bytes(), path.name)) == path.read_bytes()
    change = state / "change.json"
    if change.exists():
        assert encode_record(decode_record(change.read_bytes(), change.name)) == change.read_bytes()


def test_a_change_that_an_earlier_version_began_is_finished(rig: Rig) -> None:
    """As after an upgrade in its middle: no second certificate is asked for, and the set is proven and kept."""
    before = rig.store.change()
    assert before is not None
    rig.engine.recover(orderly=True)

    outcome = rig.follow()

    assert (outcome.record.id, outcome.record.phase) == (before.id, Phase.COMMITTED)
    assert rig.current == before.generation
    assert rig.connects()
    assert len(outcome.record.requests) == len(before.requests)
    assert [record.id for record in history(rig.path)][-1] == before.id


def test_a_rotation_follows_on_what_an_earlier_version_left(rig: Rig) -> None:
    """Once its change has ended, the next one starts from there."""
    rig.engine.recover(orderly=True)
    number = rig.follow().record.generation

    assert rig.rotate().record.phase is Phase.COMMITTED
    assert rig.current == number + 1


@pytest.mark.parametrize("version", VERSIONS, ids=called)
def test_a_configuration_with_every_key_is_understood(version: Path) -> None:
    """No key of an earlier version is unknown today."""
    config = load(version / "config.yaml")
    assert (config.thing_name, str(config.state_dir)) == ("gw-0042", "/var/lib/iot-cert-agent")
    assert config.rotation.keep == 3


@pytest.mark.parametrize("version", VERSIONS, ids=called)
def test_events_keep_their_numbers_and_priorities(version: Path) -> None:
    """An alert on a MESSAGE_ID goes on working."""
    before = json.loads((version / "journal.json").read_text())
    assert {event: formats.journal().get(event) for event in before} == before


def test_what_a_reader_would_miss_is_found() -> None:
    """A key that is gone, and one of another type; a new one is no loss, and null says nothing of a type."""
    before = [{"a": {"b": 1, "c": "x"}, "list": [{"d": None}], "flag": True}]
    for now, told in (
        (before, []),
        ([{"a": {"b": 2, "c": None, "e": 1}, "list": [{"d": 3}], "flag": False, "new": []}], []),
        ([{"a": {"c": "x"}, "list": [{"d": None}], "flag": True}], ["a.b is gone"]),
        ([{"a": {"b": "1", "c": "x"}, "list": [{"d": 1}], "flag": True}], ["a.b: number, now text"]),
        ([{"a": {"b": 1, "c": "x"}, "list": [{"d": 1}], "flag": 1}], ["flag: flag, now number"]),
        ([{"a": {"b": 1, "c": "x"}, "list": [], "flag": False}], ["list[] is gone", "list[].d is gone"]),
    ):  # fmt: skip
        assert formats.missing(formats.shape(before), formats.shape(now)) == told


def test_events_of_one_verb_are_told_apart() -> None:
    """Progress and outcome have keys of their own."""
    progress, outcome = {"event": "progress", "code": "x"}, {"event": "outcome", "exit": 0}
    assert formats.missing(formats.shape([progress, outcome]), formats.shape([progress])) == [
        "outcome: event is gone", "outcome: exit is gone", "outcome: is gone",
    ]  # fmt: skip


def test_metrics_are_told_apart_by_name_type_and_labels() -> None:
    """A counter that becomes a gauge is another metric."""
    text = '# HELP x_a Text.\n# TYPE x_a gauge\nx_a{name="b \\" c",other="d"} 1\n# TYPE x_b counter\nx_b 2\n'
    assert formats.metrics(text) == {
        "x_a gauge": {"labels": {"name": 'b \\" c', "other": "d"}, "value": 1.0},
        "x_b counter": {"labels": {}, "value": 2.0},
    }


def test_recordings_hold_a_state_at_rest_and_changes_in_flight() -> None:
    """A folder without them would pass every test above."""
    for version in VERSIONS:
        states = {path.name for path in STATES if version in path.parents}
        assert states == set(formats.STATES), version
    assert IN_FLIGHT
    assert START.year == 2027  # when the recordings' certificates begin
