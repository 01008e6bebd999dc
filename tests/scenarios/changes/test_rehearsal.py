"""A rehearsal costs nothing, and a run that is told to stop loses nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.failure import failures
from agent.core.values import Kind, Origin
from agent.errors import CloudError, RefusedError, StoreError
from agent.sandbox.account.policies import GATEWAY
from agent.sandbox.replies.faults import Effect, Operation
from support.simulated.outside import THING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.simulated.rig import Rig

SENTENCE = (
    "A rotation would make generation 3 with a new key, ask for one certificate and register it by the template "
    "gateway-rotation."
)


def files(path: Path) -> dict[str, bytes]:
    """Return every file below a directory."""
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


# -- a rehearsal ---------------------------------------------------------------------------------------------------


def test_where_nothing_is_to_be_retired_its_topics_are_not_needed(gateway: Rig) -> None:
    """A policy without them is sound there; anywhere else the rehearsal and the doctor name them."""
    documents, own = gateway.cloud.registry.documents, "iot-cert-agent/"
    policy = documents[GATEWAY]
    documents[GATEWAY] = replace(policy, subscribe=tuple(item for item in policy.subscribe if not item.startswith(own)))
    topics = tuple(f"{own}{THING}/retire/{verdict}" for verdict in ("accepted", "rejected"))

    assert gateway.examiner.examine().denied == topics
    with pytest.raises(CloudError, match=rf"subscribe to {topics[0]}, {topics[1]}"):
        gateway.rehearsal.rehearse()
    gateway.configure(retire=False)
    assert gateway.examiner.examine().denied == ()
    assert gateway.rehearsal.rehearse() == SENTENCE


def test_a_rehearsal_does_all_that_costs_nothing(gateway: Rig) -> None:
    """The disk is tried, the set in use connects and asks, and what a rotation would do is told."""
    before, connections = files(gateway.path), len(gateway.endpoint.connections)
    links = gateway.in_use()
    said = gateway.rehearsal.rehearse()

    assert said == SENTENCE
    assert [item.candidate for item in gateway.endpoint.connections[connections:]] == ["generation 2"]
    assert gateway.disk.calls[-20:].count("preflight") == 1
    assert "note: The state directory has room and can be written." in gateway.log.text
    assert "note: Generation 2 connects and its request is answered." in gateway.log.text
    assert (files(gateway.path), gateway.in_use()) == (before, links)
    assert gateway.at_rest


def test_a_rehearsal_asks_for_no_certificate(gateway: Rig) -> None:
    """However often it is done, the budget and the account's registry stay as they are."""
    creates, registers = gateway.asked(Operation.CREATE), gateway.asked(Operation.REGISTER)
    registry, history = set(gateway.cloud.registry), gateway.history
    for _ in range(10):
        gateway.rehearsal.rehearse()

    assert (gateway.asked(Operation.CREATE), gateway.asked(Operation.REGISTER)) == (creates, registers)
    assert set(gateway.cloud.registry) == registry
    assert gateway.history == history
    assert gateway.rotate().record.generation == 3


def test_a_rehearsal_tells_that_the_budget_is_used_up(gateway: Rig) -> None:
    """A real rotation would be begun and wait, so the rehearsal is no failure."""
    gateway.use_up_budget()
    said = gateway.rehearsal.rehearse()

    assert said.startswith("A rotation would make generation 5 ")
    assert " It would wait first: 4 certificates were asked for within 24 hours and the limit is 4; " in said
    assert said.endswith(" UTC.")


def test_a_gateway_without_a_certificate_has_nothing_to_rehearse(rig: Rig) -> None:
    """Nothing is tried."""
    with pytest.raises(RefusedError, match="no certificate to rotate yet"):
        rig.rehearsal.rehearse()
    assert rig.endpoint.connections == []


def test_a_full_disk_fails_the_rehearsal_before_anything_is_connected(gateway: Rig) -> None:
    """As it would fail the rotation."""
    gateway.disk.fail("preflight")
    connections = len(gateway.endpoint.connections)
    with pytest.raises(StoreError, match="No space left"):
        gateway.rehearsal.rehearse()
    assert len(gateway.endpoint.connections) == connections


def test_a_damaged_set_fails_the_rehearsal(gateway: Rig) -> None:
    """There is nothing to rotate from."""
    gateway.damage(2)
    with pytest.raises(RefusedError, match="Generation 2 is damaged"):
        gateway.rehearsal.rehearse()


@pytest.mark.parametrize("trouble", ["revoked", "unauthorised", "no network", "no answer"])
def test_a_set_that_does_not_get_through_fails_the_rehearsal(gateway: Rig, trouble: str) -> None:
    """With the failure as it was met; nothing is concluded from it and nothing changes."""
    before = files(gateway.path)
    match trouble:
        case "revoked":
            gateway.revoke(2)
        case "unauthorised":
            gateway.fault(Operation.CONNECT, Effect.UNAUTHORISED)
        case "no network":
            gateway.endpoint.down = failures.unreachable("sandbox", 8883, "no route to host")
        case _:
            gateway.fault(Operation.ASK, Effect.SILENCE)
    with pytest.raises(CloudError):
        gateway.rehearsal.rehearse()

    assert files(gateway.path) == before
    assert len(gateway.endpoint._live) == 0


def test_a_rehearsal_is_refused_while_a_change_is_in_flight(gateway: Rig) -> None:
    """A real rotation would be refused, and so would what the rehearsal tells of its generation be wrong."""
    gateway.to_probation()
    with pytest.raises(RefusedError, match="is in flight"):
        gateway.rehearsal.rehearse()


# -- told to stop --------------------------------------------------------------------------------------------------


def after(steps: int) -> Callable[[], bool]:
    """Return something that says stop once it was asked so many times."""
    left = iter([False] * steps)
    return lambda: next(left, True)


@pytest.mark.parametrize("steps", range(10))
def test_a_run_that_is_told_to_stop_ends_between_two_steps_and_goes_on_later(gateway: Rig, steps: int) -> None:
    """Whichever step it is, the record on disk is the one in memory, and nothing is done twice."""
    gateway.planner.begin(Kind.ROTATE, Origin.SCHEDULE, "test")
    outcome = gateway.engine.run(after(steps))
    if steps < 8:
        assert outcome.wait is not None
        assert (outcome.wait.code, outcome.wait.until) == ("stopped", gateway.clock.now())
        assert gateway.store.change() == outcome.record
        assert list(Phase).index(outcome.record.phase) == steps
    final = gateway.follow()

    assert final.record.phase is Phase.COMMITTED
    assert (gateway.asked(Operation.CREATE), gateway.asked(Operation.REGISTER)) == (3, 3)
    assert len(final.record.requests) == 1
    assert gateway.connects()


@pytest.mark.parametrize("steps", range(8))
def test_a_stop_that_was_orderly_is_no_crash_of_the_next_process(gateway: Rig, steps: int) -> None:
    """The next one goes on where the last one ended: no start without progress is counted, no request twice."""
    gateway.planner.begin(Kind.ROTATE, Origin.SCHEDULE, "test")
    stopped = gateway.engine.run(after(steps)).record
    found = gateway.restart(orderly=True)

    assert found == stopped
    final = gateway.follow()
    assert final.record.phase is Phase.COMMITTED
    assert gateway.asked(Operation.CREATE) == 3
    assert len(final.record.requests) == 1


@pytest.mark.parametrize("steps", range(8))
def test_a_stop_that_is_not_known_as_orderly_counts_as_a_start_without_progress(gateway: Rig, steps: int) -> None:
    """A kill looks the same from the next process, which must be careful with a request."""
    gateway.planner.begin(Kind.ROTATE, Origin.SCHEDULE, "test")
    stopped = gateway.engine.run(after(steps)).record
    found = gateway.restart()

    assert found is not None
    assert found.resumes == stopped.resumes + 1
    assert found.phase is (Phase.KEY_READY if stopped.phase is Phase.REQUESTED else stopped.phase)
    assert gateway.follow().record.phase is Phase.COMMITTED


def test_a_hundred_orderly_stops_are_no_crash_loop(gateway: Rig) -> None:
    """A gateway that is switched off each evening comes to its certificate all the same."""
    gateway.planner.begin(Kind.ROTATE, Origin.SCHEDULE, "test")
    for _ in range(100):
        gateway.engine.run(after(0))
        gateway.restart(orderly=True)

    assert gateway.engine.change is not None
    assert (gateway.engine.change.phase, gateway.engine.change.resumes) == (Phase.PLANNED, 0)
    assert gateway.follow().record.phase is Phase.COMMITTED


def test_one_step_at_a_time_leads_to_the_end(gateway: Rig) -> None:
    """Stopped and restarted after each single step, the change comes to the same end."""
    gateway.planner.begin(Kind.ROTATE, Origin.SCHEDULE, "test")
    phases = []
    for _ in range(100):
        outcome = gateway.engine.run(after(1))
        phases.append(outcome.record.phase)
        if outcome.wait is None:
            break
        gateway.clock.time = max(gateway.clock.time, outcome.wait.until)
        gateway.restart(orderly=True)

    assert phases[-1] is Phase.COMMITTED
    assert set(phases) >= {Phase.KEY_READY, Phase.REQUESTED, Phase.ISSUED, Phase.REGISTERED, Phase.PREPARED}
    assert gateway.asked(Operation.CREATE) == 3
    assert gateway.in_use() == (3, 2)


def test_a_wait_is_told_rather_than_a_stop(gateway: Rig) -> None:
    """Where nothing would be done anyway, why that is so is worth more."""
    gateway.to_probation()
    wait = gateway.engine.run(after(0)).wait

    assert wait is not None
    assert wait.code == "probation"


def test_a_change_that_has_ended_is_written_down_although_the_run_is_told_to_stop(gateway: Rig) -> None:
    """That is no step which could be cut off: an order that stops the run wants to know how the change ended."""
    gateway.to_probation()
    gateway.engine.give_up("test")
    outcome = gateway.engine.run(after(1))

    assert (outcome.record.phase, outcome.wait) == (Phase.ROLLED_BACK, None)
    assert gateway.history[-1] == ("rotate", "rolled-back", 3)
    assert gateway.at_rest
    assert gateway.connects()
