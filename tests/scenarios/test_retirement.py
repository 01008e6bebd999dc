"""Retiring what was left behind: over the connection of what is in use, once, and written down."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, cast

import pytest

from agent.cli.outcomes import Ending, tell_outcome
from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.exit_codes import Exit
from agent.core.failure import failures
from agent.core.failure.failure import FailureClass
from agent.core.report.screen import history_line
from agent.core.text import clock_time
from agent.core.values import Kind, Origin
from agent.core.when import retirement
from agent.core.when.retirement import Retirement, outstanding
from agent.errors import CloudError, RefusedError, StoreError
from agent.sandbox.cloud import Status
from agent.sandbox.faults import TOKEN_MARK, Effect, Operation

if TYPE_CHECKING:
    from agent.cli.output import Output
    from support.rig import Rig

DAY = timedelta(days=1)
GRACE = 7 * DAY


def waiting(rig: Rig) -> tuple[Retirement, ...]:
    """Return what is still to be retired."""
    current = rig.store.current()
    assert current is not None
    return outstanding(rig.store.history(), [rig.certificate(current)], GRACE)


def only(rig: Rig) -> Retirement:
    """Return the one certificate that is still to be retired."""
    (found,) = waiting(rig)
    return found


def sessions(rig: Rig) -> int:
    """Return how many connections are open."""
    return len(rig.endpoint._live)


# -- as it should be -----------------------------------------------------------------------------------------------


def test_the_replaced_certificate_is_retired_over_the_new_ones_connection(gateway: Rig) -> None:
    """The cloud makes it inactive, the history says so for ever after, and the gateway goes on as before."""
    due = only(gateway)
    assert due.certificate_id == gateway.certificate(1)
    before = len(gateway.endpoint.connections)
    gateway.retirements.retire(due)

    (connection,) = gateway.endpoint.connections[before:]
    assert (connection.candidate, connection.outcome) == ("generation 2", "accepted")
    assert (gateway.entry(1).status, gateway.entry(2).status) == (Status.INACTIVE, Status.ACTIVE)
    assert gateway.history == [("enroll", "committed", 1), ("rotate", "retired", 2)]
    assert gateway.store.history()[-1].retired_at == gateway.clock.now()
    assert waiting(gateway) == ()
    assert sessions(gateway) == 0
    assert f"retired: The certificate {due.certificate_id[:12]} is retired" in gateway.log.text
    assert gateway.connects()


def test_a_retirement_survives_a_restart(gateway: Rig) -> None:
    """The line that was added counts, in the place of the earlier one."""
    gateway.retirements.retire(only(gateway))
    gateway.restart()

    assert gateway.history == [("enroll", "committed", 1), ("rotate", "retired", 2)]
    assert waiting(gateway) == ()
    assert gateway.rotate().record.phase is Phase.COMMITTED
    assert gateway.in_use() == (3, 2)
    assert only(gateway).certificate_id == gateway.certificate(2)


def test_each_change_remembers_what_it_replaced_and_who_ordered_it(rig: Rig) -> None:
    """A first certificate replaces nothing; a change without an order answers to no job."""
    rig.enroll()
    rig.planner.begin(Kind.ROTATE, Origin.JOB, "job j-1: test", "job:j-1:1")
    rig.follow()
    first, second = rig.store.history()

    assert (first.replaces, first.order) == (None, "")
    assert (second.replaces, second.order, second.origin) == (rig.certificate(1), "job:j-1:1", Origin.JOB)


def test_the_certificate_of_a_change_that_failed_is_retired_too(gateway: Rig) -> None:
    """It was registered, never became active and is of no use; the failure stays on record."""
    gateway.fault(Operation.REGISTER, Effect.NEVER_ACTIVE)
    outcome = gateway.rotate(patience=DAY)
    assert outcome.record.phase is Phase.REJECTED
    old, refused = waiting(gateway)
    assert refused.change == outcome.record.id
    gateway.retirements.retire(refused)

    assert waiting(gateway) == (old,)
    last = gateway.store.history()[-1]
    assert (last.phase, last.failure) == (Phase.REJECTED, outcome.record.failure)
    assert last.retired_at == gateway.clock.now()


def test_a_rollback_brings_a_certificate_back(gateway: Rig) -> None:
    """What is in use again is not retired; what was left instead is, and the next rotation leaves both behind."""
    first, second = gateway.certificate(1), gateway.certificate(2)
    gateway.run(Kind.ROLLBACK)
    assert only(gateway).certificate_id == second
    gateway.retirements.retire(only(gateway))
    assert waiting(gateway) == ()
    gateway.rotate()

    assert only(gateway).certificate_id == first
    gateway.retirements.retire(only(gateway))
    assert (gateway.entry(1).status, gateway.entry(2).status) == (Status.INACTIVE, Status.INACTIVE)
    assert gateway.connects()


def test_a_gateway_leaves_nothing_behind_over_the_years(gateway: Rig) -> None:
    """After five rotations, each with its retirement, one certificate of this thing is active."""
    for _ in range(5):
        gateway.retirements.retire(only(gateway))
        gateway.clock.advance(days=300)
        assert gateway.rotate().record.phase is Phase.COMMITTED
    gateway.retirements.retire(only(gateway))

    mine = [entry for entry in gateway.cloud.registry.values() if entry.thing_name == "gw-0042"]
    assert [entry.status for entry in mine].count(Status.ACTIVE) == 1
    assert len(mine) == 7
    assert gateway.asked(Operation.RETIRE, "200") == 6
    assert gateway.connects()


# -- when it does not work -----------------------------------------------------------------------------------------

REFUSALS = [
    (Effect.DENY, FailureClass.POLICY),
    (Effect.REJECT, FailureClass.PROTOCOL),
    (Effect.THROTTLE, FailureClass.THROTTLED),
    (Effect.UNAVAILABLE, FailureClass.NETWORK),
    (Effect.UNAUTHORISED, FailureClass.POLICY),
    (Effect.IGNORE, FailureClass.NETWORK),
    (Effect.LOSE, FailureClass.NETWORK),
    (Effect.HANG_UP, FailureClass.NETWORK),
    (Effect.GARBLE, FailureClass.NETWORK),
]


@pytest.mark.parametrize(("effect", "kind"), REFUSALS)
def test_a_retirement_that_was_not_accepted_is_asked_for_again(
    gateway: Rig, effect: Effect, kind: FailureClass
) -> None:
    """Nothing is written down; the second try is accepted, also when the first was carried out unheard."""
    due = only(gateway)
    gateway.fault(Operation.RETIRE, effect)
    with pytest.raises(CloudError) as refusal:
        gateway.retirements.retire(due)

    assert refusal.value.failure.kind is kind
    assert gateway.history[-1] == ("rotate", "committed", 2)
    assert waiting(gateway) == (due,)
    assert sessions(gateway) == 0
    gateway.retirements.retire(due)
    assert gateway.entry(1).status is Status.INACTIVE
    assert waiting(gateway) == ()


@pytest.mark.parametrize(
    "payload",
    [
        b"[]",
        b'{"clientToken": "%clientToken%", "clientToken": "x"}',
        b'{"clientToken": "another"}',
        b'{"clientToken": 7}',
        b"{}",
        b"\xff",
        b'{"clientToken": "' + TOKEN_MARK + b'", "a": NaN}',
    ],
    ids=lambda payload: repr(payload[:24]),
)
def test_no_answer_but_an_acceptance_retires_anything(gateway: Rig, payload: bytes) -> None:
    """Whatever comes instead of one is a failure of the cloud, and nothing is written down."""
    gateway.fault(Operation.RETIRE, Effect.HOSTILE, payload=payload)
    with pytest.raises(CloudError):
        gateway.retirements.retire(only(gateway))

    assert gateway.history[-1] == ("rotate", "committed", 2)


def test_without_a_network_nothing_is_retired(gateway: Rig) -> None:
    """Not even asked for."""
    gateway.endpoint.down = failures.unreachable("sandbox", 8883, "no route to host")
    with pytest.raises(CloudError, match="does not take connections"):
        gateway.retirements.retire(only(gateway))

    assert gateway.asked(Operation.RETIRE) == 0
    assert len(waiting(gateway)) == 1


def test_an_acceptance_that_cannot_be_written_down_is_asked_for_again(gateway: Rig) -> None:
    """The disk fails after the cloud has done its part: asking again is safe."""
    due = only(gateway)
    gateway.disk.fail("amend")
    with pytest.raises(StoreError, match="No space left"):
        gateway.retirements.retire(due)

    assert gateway.entry(1).status is Status.INACTIVE
    assert waiting(gateway) == (due,)
    gateway.retirements.retire(due)
    assert waiting(gateway) == ()
    assert gateway.asked(Operation.RETIRE, "200") == 2


def test_a_line_that_a_power_cut_tore_is_as_if_it_were_not_there(gateway: Rig) -> None:
    """The earlier line about the change counts, and the retirement is asked for again."""
    due = only(gateway)
    gateway.retirements.retire(due)
    history = gateway.path / "history.jsonl"
    history.write_bytes(history.read_bytes()[:-30])
    gateway.restart()

    assert gateway.history == [("enroll", "committed", 1), ("rotate", "committed", 2)]
    assert waiting(gateway) == (due,)
    gateway.retirements.retire(due)
    gateway.restart()
    assert gateway.history[-1] == ("rotate", "retired", 2)


def test_the_certificate_in_use_is_never_retired(gateway: Rig) -> None:
    """Whatever asks for it: the gateway would cut itself off."""
    due = Retirement(change="c", certificate_id=gateway.certificate(2), due=gateway.clock.now())
    with pytest.raises(RefusedError, match="in use is never retired"):
        gateway.retirements.retire(due)

    assert gateway.asked(Operation.RETIRE) == 0
    assert gateway.entry(2).status is Status.ACTIVE


def test_without_a_current_set_there_is_no_cloud_to_ask(rig: Rig) -> None:
    """The refusal says what helps."""
    due = Retirement(change="c", certificate_id="01" * 32, due=rig.clock.now())
    with pytest.raises(RefusedError, match="no current set") as refusal:
        rig.retirements.retire(due)

    assert "iot-cert rotate" in refusal.value.hint


def test_an_acceptance_is_noted_once(gateway: Rig) -> None:
    """A second note, or one about an unknown change, writes nothing."""
    due = only(gateway)
    gateway.retirements.note_retired("unknown")
    assert len(waiting(gateway)) == 1
    gateway.retirements.note_retired(due.change)
    size = (gateway.path / "history.jsonl").stat().st_size
    gateway.clock.advance(days=1)
    gateway.retirements.note_retired(due.change)

    assert (gateway.path / "history.jsonl").stat().st_size == size
    assert waiting(gateway) == ()


# -- what it means for going back ----------------------------------------------------------------------------------


def test_a_rollback_to_a_retired_set_is_refused_and_says_so(gateway: Rig) -> None:
    """Before anything is tried: when it was retired, that the current set stays, and what helps."""
    gateway.retirements.retire(only(gateway))
    retired_at = gateway.clock.now()
    gateway.clock.advance(days=3)
    before = len(gateway.endpoint.connections)
    with pytest.raises(RefusedError) as refusal:
        gateway.planner.begin(Kind.ROLLBACK, Origin.TECHNICIAN, "test")

    assert str(refusal.value) == (
        f"The certificate of generation 1 was retired at {retired_at:%Y-%m-%d %H:%M:%S} UTC, so the cloud does not "
        "accept it any more."
    )
    assert refusal.value.hint == "The current set stays in use; `iot-cert rotate` makes a new one."
    assert len(gateway.endpoint.connections) == before
    assert gateway.at_rest
    assert gateway.in_use() == (2, None)


def test_a_retired_certificates_key_is_destroyed(gateway: Rig) -> None:
    """Nothing on the disk holds it any more; the one in use and the next rotation go on as before."""
    key = (gateway.path / "generations/000001/key.pem").read_bytes().strip()
    gateway.retirements.retire(only(gateway))

    assert not [file for file in gateway.path.rglob("*") if file.is_file() and key in file.read_bytes()]
    gateway.restart()
    assert gateway.in_use() == (2, None)
    assert gateway.rotate().record.phase is Phase.COMMITTED
    assert gateway.in_use() == (3, 2)


def test_the_only_way_back_that_a_person_can_open_is_kept_until_there_is_another(gateway: Rig) -> None:
    """Without a claim certificate on the gateway: the next change that is final destroys the key."""
    gateway.claim_present = False
    gateway.retirements.retire(only(gateway))
    assert gateway.in_use() == (2, 1)
    gateway.rotate()

    assert gateway.in_use() == (3, 2)
    assert gateway.store.numbers().final == (2, 3)


def test_a_set_that_was_activated_again_and_gone_back_to_is_kept(gateway: Rig) -> None:
    """The history says that it was retired once; it is what a rollback returns to now."""
    gateway.claim_present = False
    gateway.retirements.retire(only(gateway))
    gateway.revoke(1, status=Status.ACTIVE)
    gateway.planner.begin(Kind.ROLLBACK, Origin.LADDER, "ladder: test")
    gateway.follow()
    assert gateway.in_use()[0] == 1
    gateway.rotate()

    assert gateway.in_use() == (3, 1)
    assert gateway.connects()


def test_the_key_of_a_failed_change_is_destroyed_with_its_certificate(gateway: Rig) -> None:
    """What a person may ask about is left: its certificate, its manifest, and the set to fall back on."""
    gateway.fault(Operation.REGISTER, Effect.NEVER_ACTIVE)
    gateway.rotate(patience=DAY)
    (left,) = (gateway.path / "generations").glob("*.rejected")
    assert (left / "key.pem").exists()
    gateway.retirements.retire(waiting(gateway)[1])

    assert sorted(file.name for file in left.iterdir()) == ["certificate.pem", "manifest.json", "trust.pem"]
    assert gateway.in_use() == (2, 1)


def test_a_key_that_cannot_be_destroyed_is_told_and_the_retirement_noted(gateway: Rig) -> None:
    """The cloud accepted it: asking again would not mend the disk."""
    gateway.disk.fail("destroy", error=StoreError("Cannot erase key.pem: Input/output error.", hint="See the disk."))
    gateway.retirements.retire(only(gateway))

    assert "could not be destroyed, and is tried again: Cannot erase key.pem: Input/output error." in gateway.log.text
    assert waiting(gateway) == ()
    gateway.restart()
    assert gateway.in_use() == (2, 1)
    gateway.retirements.destroy_left()
    assert gateway.in_use() == (2, None)
    assert not (gateway.path / "generations/000001").exists()


def test_nothing_is_destroyed_that_may_have_to_serve(gateway: Rig) -> None:
    """What was not retired, what a change rests on, the only way back, and what was activated again and in use."""
    gateway.retirements.destroy_left()
    assert gateway.in_use() == (2, 1)
    gateway.claim_present = False
    gateway.retirements.retire(only(gateway))
    gateway.revoke(1, status=Status.ACTIVE)
    gateway.planner.begin(Kind.ROLLBACK, Origin.LADDER, "ladder: test")
    gateway.follow()
    gateway.rotate()
    gateway.claim_present = True
    gateway.retirements.destroy_left()
    assert gateway.in_use() == (3, 1)
    assert gateway.store.generation(1).number == 1


def test_a_rotation_after_a_retirement_goes_back_within_probation(gateway: Rig) -> None:
    """What is retired is the one before the last: the base of a change in flight is never touched."""
    gateway.retirements.retire(only(gateway))
    gateway.to_probation()
    gateway.revoke(3)
    outcome = gateway.follow(patience=DAY)

    assert outcome.record.phase is Phase.ROLLED_BACK
    assert gateway.store.current() == 2
    assert gateway.connects()


# -- what other programs use still ---------------------------------------------------------------------------------


def test_what_another_program_may_use_is_not_asked_for(gateway: Rig) -> None:
    """Not even by a caller that has forgotten to look; a person's word is that nothing is waited for."""
    due = replace(only(gateway), waits_for=("bridge.service", "copy /etc/app.pem"))
    with pytest.raises(RefusedError, match=r"may use still: bridge\.service, copy /etc/app\.pem") as refusal:
        gateway.retirements.retire(due)

    assert gateway.asked(Operation.RETIRE) == 0
    assert gateway.entry(1).status is Status.ACTIVE
    assert "iot-cert retire --now" in refusal.value.hint
    gateway.retirements.retire(replace(due, waits_for=()))
    assert gateway.entry(1).status is Status.INACTIVE


def test_the_set_that_a_program_took_up_last_is_kept_on_disk(gateway: Rig) -> None:
    """However many rotations it fails at: what it reads by its number must not vanish; nor is all kept for ever."""
    gateway.configure(keep=0)
    gateway.programs.stubborn = True
    for _ in range(4):
        gateway.clock.advance(days=2)
        assert gateway.rotate().record.degraded is not None
    assert gateway.programs.uses == 2
    assert gateway.generations == ["000002", "000005", "000006"]
    gateway.programs.stubborn = False
    gateway.clock.advance(days=2)
    assert gateway.rotate().record.degraded is None
    assert gateway.generations == ["000006", "000007"]


def test_a_change_that_goes_on_without_a_program_names_it(gateway: Rig) -> None:
    """In the history, in the status and in what the command says at the end."""
    gateway.programs.stubborn = True
    outcome = gateway.rotate()
    record = gateway.store.history()[-1]

    assert outcome.record.degraded is not None
    assert "bridge.service" in outcome.record.degraded.message
    assert "(without this: bridge.service is failed" in history_line(gateway.store.history()[-1])
    assert "without this: bridge.service is failed" in told(record)
    gateway.programs.stubborn = False
    gateway.clock.advance(days=2)
    gateway.rotate()
    assert "without" not in told(gateway.store.history()[-1])


def told(record: ChangeRecord) -> str:
    """Return what the command says of a change that has ended."""
    output = Listener()
    tell_outcome(cast("Output", output), Ending(change=record, current=3, code=Exit.DEGRADED))
    return "\n".join(output.lines)


class Listener:
    """An output that keeps what it is told."""

    as_json = False

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        """Keep it."""
        self.lines.append(text)


# -- what is not asked for any more --------------------------------------------------------------------------------


def test_a_certificate_that_the_cloud_will_never_retire_can_be_dropped(gateway: Rig) -> None:
    """It was given to another thing, say. Written down once, it is not asked for again, ever."""
    due = only(gateway)
    gateway.entry(1).thing_name = "gw-0043"
    with pytest.raises(CloudError, match="no such certificate"):
        gateway.retirements.retire(due)
    said = gateway.retirements.drop(due.certificate_id[:8])

    assert said == (
        f"The certificate {due.certificate_id} is not asked to be retired any more; it may be active in the cloud."
    )
    assert waiting(gateway) == ()
    record = gateway.store.history()[-1]
    assert (record.phase, record.dropped_at, record.retired_at) == (Phase.COMMITTED, gateway.clock.now(), None)
    gateway.restart()
    assert waiting(gateway) == ()
    gateway.clock.advance(days=2)
    gateway.rotate()
    assert only(gateway).certificate_id == gateway.certificate(2)


def test_to_drop_it_again_says_so_and_writes_nothing(gateway: Rig) -> None:
    """A second request learns that it is done; so does one for what was retired."""
    due = only(gateway)
    gateway.retirements.drop(due.certificate_id)
    size, at = (gateway.path / "history.jsonl").stat().st_size, gateway.clock.now()
    gateway.clock.advance(days=1)

    assert gateway.retirements.drop(due.certificate_id[:12]) == (
        f"The certificate {due.certificate_id} was dropped at {clock_time(at)} already."
    )
    assert (gateway.path / "history.jsonl").stat().st_size == size
    gateway.rotate()
    last = only(gateway)
    gateway.retirements.retire(last)
    assert "was retired at" in gateway.retirements.drop(last.certificate_id)
    assert gateway.store.history()[-1].dropped_at is None


def test_neither_an_unknown_certificate_nor_the_one_in_use_can_be_dropped(gateway: Rig) -> None:
    """Nor what a change in flight rests on; nothing is written down."""
    for prefix in ("f" * 8, gateway.certificate(2)[:10]):
        with pytest.raises(RefusedError):
            gateway.retirements.drop(prefix)
    gateway.run(Kind.ROLLBACK)
    gateway.to_probation()
    with pytest.raises(RefusedError, match="is in use"):
        gateway.retirements.drop(gateway.certificate(1))
    assert all(record.dropped_at is None for record in gateway.store.history())


def test_a_retirement_that_was_under_way_when_it_was_dropped_is_noted_all_the_same(gateway: Rig) -> None:
    """The cloud's word counts, too."""
    due = only(gateway)
    gateway.retirements.drop(due.certificate_id)
    gateway.retirements.note_retired(due.change)

    assert gateway.store.history()[-1].phase is Phase.RETIRED
    assert waiting(gateway) == ()


# -- what a damaged record leaves behind ---------------------------------------------------------------------------


def lose_record(rig: Rig, data: bytes = bytes(400)) -> None:
    """Let the record of the change in flight be damaged while the gateway is off, and start it again."""
    (rig.path / "change.json").write_bytes(data)
    assert rig.restart() is None
    assert rig.at_rest


def half(rig: Rig) -> bytes:
    """Return the record of the change in flight as a write that was cut off leaves it: its end is zeros."""
    data = (rig.path / "change.json").read_bytes()
    return data[:-40] + bytes(40)


LEFT_BEHIND = [Phase.PREPARED, Phase.PROVEN]


@pytest.mark.parametrize("phase", LEFT_BEHIND)
@pytest.mark.parametrize("legible", [False, True])
def test_the_certificate_of_a_change_whose_record_was_damaged_is_retired(
    gateway: Rig, phase: Phase, *, legible: bool
) -> None:
    """Nothing of the record need be legible, since its generation says which certificate that is."""
    change = gateway.run_to(Kind.ROTATE, phase)
    orphan = gateway.certificate(3)
    assert gateway.cloud.registry[orphan].status is Status.ACTIVE
    lose_record(gateway, half(gateway) if legible else bytes(400))

    record = gateway.store.history()[-1]
    assert (record.id, record.generation, record.phase) == (change.id, 3, Phase.REJECTED)
    assert f"The certificate {orphan} that it had got is left behind" in gateway.log.text
    assert [item.certificate_id for item in waiting(gateway)] == [gateway.certificate(1), orphan]
    gateway.retirements.retire(waiting(gateway)[-1])
    assert gateway.cloud.registry[orphan].status is Status.INACTIVE
    assert gateway.in_use() == (2, 1)
    assert gateway.connects()
    assert gateway.rotate().record.generation == 4


def test_a_certificate_that_had_just_been_registered_is_known_by_the_text(gateway: Rig) -> None:
    """There is no generation yet; what is legible of the record names it."""
    gateway.run_to(Kind.ROTATE, Phase.REGISTERED)
    record = gateway.store.change()
    assert record is not None
    assert record.issued is not None
    lose_record(gateway, half(gateway))

    found = waiting(gateway)[-1]
    assert found.certificate_id == record.issued.certificate_id
    assert found.change == record.id
    gateway.retirements.retire(found)
    assert gateway.cloud.registry[found.certificate_id].status is Status.INACTIVE
    assert gateway.generations == ["000001", "000002"]


@pytest.mark.parametrize("legible", [False, True])
@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.DEPLOYED])
def test_a_set_in_use_stays_in_use_when_the_record_that_put_it_there_is_damaged(
    gateway: Rig, phase: Phase, *, legible: bool
) -> None:
    """What it replaced is left behind, and retired over the connection of what is in use."""
    gateway.run_to(Kind.ROTATE, phase)
    lose_record(gateway, half(gateway) if legible else bytes(400))

    assert gateway.in_use() == (3, 2)
    assert [item.certificate_id for item in waiting(gateway)] == [gateway.certificate(1), gateway.certificate(2)]
    assert "Generation 3, which it had put in use, stays in use." in gateway.log.text
    for due in waiting(gateway):
        gateway.retirements.retire(due)
    assert gateway.entry(3).status is Status.ACTIVE
    assert gateway.connects()
    gateway.clock.advance(days=2)
    assert gateway.rotate().record.phase is Phase.COMMITTED
    assert only(gateway).certificate_id == gateway.certificate(3)


def test_what_was_gone_back_to_is_in_use_whatever_a_damaged_record_left_behind(gateway: Rig) -> None:
    """A person goes back to the set that was replaced: now that one is spared, and the other is left behind."""
    gateway.run_to(Kind.ROTATE, Phase.DEPLOYED)
    lose_record(gateway)
    gateway.run(Kind.ROLLBACK)

    assert gateway.store.current() == 2
    assert [item.certificate_id for item in waiting(gateway)] == [gateway.certificate(1), gateway.certificate(3)]


def test_the_requests_of_a_change_whose_record_was_damaged_count(gateway: Rig) -> None:
    """A gateway that loses its record each time asks for no more than its daily limit all the same."""
    limit = gateway.settings.limits.daily_limit
    for number in range(limit):
        gateway.run_to(Kind.ROTATE, Phase.PREPARED)
        lost = gateway.path / "change.json"
        lost.write_bytes(bytes(400))
        os.utime(lost, (number, number))  # all of them were written at another time
        assert gateway.restart() is None
    gateway.planner.begin(Kind.ROTATE, Origin.TECHNICIAN, "test")
    outcome = gateway.follow(patience=timedelta(minutes=5))

    assert outcome.wait is not None
    assert outcome.wait.code == "budget"
    assert gateway.asked(Operation.CREATE, "200") == 2 + limit


def test_what_a_damaged_record_left_behind_may_be_with_other_programs(gateway: Rig) -> None:
    """Whether it was in use for a while is not known, so it waits for them."""
    gateway.run_to(Kind.ROTATE, Phase.PREPARED)
    lose_record(gateway)
    found = retirement.waiting(waiting(gateway), gateway.store.history(), ("bridge.service",))

    assert [item.waits_for for item in found] == [("bridge.service",)] * 2
