"""When everything is refused, or a change ends in a refusal: the rescue works, and the ladder goes on."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.change.ladder import Rung
from agent.core.change.lifecycle import Phase
from agent.core.change.verbs import Verb
from agent.core.failure.codes import Code
from agent.core.values import Kind, Origin
from agent.errors import RefusedError
from agent.sandbox.cloud import Status
from agent.sandbox.replies.faults import Effect, Operation
from support.simulated.outside import NO_ROUTE, THING
from support.simulated.rig import MINUTES

if TYPE_CHECKING:
    from support.simulated.rig import Rig

# -- everything is refused ---------------------------------------------------------------------------------------------


def refuse_everything(gateway: Rig) -> None:
    """Deactivate every certificate of this gateway, and take its claim away."""
    for entry in gateway.cloud.certificates_of(THING):
        entry.status = Status.INACTIVE
    gateway.claim_present = False


def test_when_everything_is_refused_it_is_said_with_what_helps(gateway: Rig) -> None:
    """An order waits, and its failure is no "network, nothing speaks against this set"."""
    refuse_everything(gateway)
    done = gateway.operate(patience=timedelta(seconds=20)).order(Verb.ROTATE, "a visit")

    assert done.locked_out is not None
    assert done.outcome is not None
    assert done.outcome.record.failure is not None
    assert done.outcome.record.failure.code == Code.LOCKED_OUT
    assert "iot-cert import" in done.outcome.record.failure.remedy


@pytest.mark.parametrize("rescue", ["claim", "current", "previous", "import"])
def test_the_rescue_works_whatever_waits(gateway: Rig, rescue: str) -> None:
    """A new claim, an activated certificate or a set that a person brings ends it within minutes."""
    refuse_everything(gateway)
    gateway.operate(patience=timedelta(seconds=20)).order(Verb.ROTATE, "a visit")
    assert gateway.engine.change is not None
    match rescue:
        case "claim":
            gateway.claim_present = True
        case "current" | "previous":
            gateway.entry(2 if rescue == "current" else 1).status = Status.ACTIVE
        case _:
            credential, trust = gateway.outside_set(), gateway.anchors()
            assert gateway.operations.make_way(credential, trust)
            gateway.planner.bring_in(credential, THING, trust, "from a stick")
    gateway.operate(patience=MINUTES).go_on()
    gateway.operations.go_on()

    assert gateway.at_rest
    assert gateway.connects()


def test_an_import_that_is_typed_again_joins_its_own_change(gateway: Rig) -> None:
    """It was killed while it waited for a network."""
    credential, trust = gateway.outside_set(), gateway.anchors()
    gateway.endpoint.down = NO_ROUTE
    planned = gateway.planner.bring_in(credential, THING, trust, "from a stick")
    gateway.follow(patience=timedelta(0))
    gateway.restart()

    assert not gateway.operations.make_way(credential, trust)
    assert gateway.engine.change is not None
    assert planned is not None
    assert gateway.engine.change.id == planned.id


def test_an_import_for_a_thing_that_was_mistyped_gives_way_to_the_right_one(gateway: Rig) -> None:
    """The certificate and the anchors are the same; the thing's name, which the client id is made of, is not."""
    credential, trust = gateway.outside_set(), gateway.anchors()
    gateway.endpoint.down = NO_ROUTE
    gateway.planner.bring_in(credential, "gw-0024", trust, "from a stick")
    gateway.follow(patience=timedelta(0))

    assert not gateway.operations.make_way(credential, trust, "gw-0024")
    assert gateway.operations.make_way(credential, trust, THING)
    gateway.endpoint.down = None
    gateway.planner.bring_in(credential, THING, trust, "from a stick")
    assert gateway.follow().record.phase is Phase.COMMITTED
    assert gateway.connects()


def test_anchors_that_are_in_use_already_leave_a_rotation_that_waits_alone(gateway: Rig) -> None:
    """The new certificate comes with them: an OTA pipeline that installs them again ends no order of a person's."""
    gateway.endpoint.down = NO_ROUTE
    waiting = gateway.rotate(patience=timedelta(0)).record

    assert gateway.operations.make_way(None, gateway.anchors())
    assert gateway.planner.install(gateway.anchors(), Origin.TECHNICIAN, "again") is None
    assert gateway.engine.change is not None
    assert gateway.engine.change.id == waiting.id
    gateway.endpoint.down = None
    assert gateway.follow().record.phase is Phase.COMMITTED


def test_a_rescue_does_not_end_a_probation_that_holds(gateway: Rig) -> None:
    """The set in use works, so it comes first."""
    gateway.to_probation()
    with pytest.raises(RefusedError, match="it comes first"):
        gateway.operations.make_way(gateway.outside_set(), gateway.anchors())

    assert gateway.engine.change is not None


def test_a_rescue_ends_a_probation_whose_set_fails(gateway: Rig) -> None:
    """Old and new are refused alike; what a person brings goes before."""
    gateway.to_probation()
    gateway.clock.advance(minutes=5)
    refuse_everything(gateway)
    gateway.follow(patience=timedelta(seconds=30))
    credential, trust = gateway.outside_set(), gateway.anchors()

    assert gateway.operations.make_way(credential, trust)
    gateway.planner.bring_in(credential, THING, trust, "from a stick")
    gateway.operations.go_on()
    assert gateway.connects()


def test_a_throttled_gateway_is_not_locked_out(gateway: Rig) -> None:
    """The broker throttles and refuses no client."""
    gateway.fault(Operation.CONNECT, Effect.THROTTLE, times=None)
    done = gateway.operate(patience=timedelta(seconds=20)).order(Verb.ROTATE, "a visit")

    assert done.locked_out is None


# -- a change that ends in a refusal -----------------------------------------------------------------------------------


def waiting_rollback(gateway: Rig) -> None:
    """Let a rollback wait for a network, and then have the set in use damaged, so that its goal becomes current."""
    gateway.endpoint.down = NO_ROUTE
    gateway.run(Kind.ROLLBACK, patience=timedelta(minutes=1))
    gateway.damage(2, "manifest.json")
    gateway.restart()
    gateway.endpoint.down = None
    assert gateway.current == 1
    assert gateway.engine.change is not None


def test_a_rollback_whose_goal_became_current_gives_way_to_the_claim(gateway: Rig) -> None:
    """It was a recovery that moved `current` there; the rollback has put nothing in use and waits for nothing more."""
    waiting_rollback(gateway)
    gateway.revoke(1)
    for entry in gateway.cloud.certificates_of(THING):
        entry.status = Status.INACTIVE
    start = gateway.clock.now()
    done = gateway.operate(patience=timedelta(0)).go_on(hasten=True)
    gateway.operations.go_on()

    assert done.rung is Rung.CLAIM
    assert gateway.clock.now() - start < MINUTES + gateway.settings.limits.probation
    assert [end[:2] for end in gateway.history[-2:]] == [("rollback", "rejected"), ("enroll", "committed")]
    assert gateway.connects()


@pytest.mark.parametrize("by", ["go on", "climb"])
def test_the_ladder_is_climbed_after_a_rejected_change_when_the_set_in_use_is_refused_too(
    gateway: Rig, by: str
) -> None:
    """The claim alone spoke against it, so nothing says that what is in use works; no later doubt is waited for."""
    gateway.run_to(Kind.ROTATE, Phase.PREPARED)
    gateway.claim_present = True
    for entry in gateway.cloud.certificates_of(THING):
        entry.status = Status.INACTIVE
    operations = gateway.operations
    done = operations.go_on() if by == "go on" else operations.climb("the session was refused")
    gateway.operations.go_on()

    assert done.rung is Rung.CLAIM
    assert [end[:2] for end in gateway.history[-2:]] == [("rotate", "rejected"), ("enroll", "committed")]
    assert gateway.connects()


def test_a_rejected_change_whose_base_works_costs_no_climb(gateway: Rig) -> None:
    """The set in use was the witness against it."""
    gateway.run_to(Kind.ROTATE, Phase.PREPARED)
    gateway.revoke(3)
    done = gateway.operations.go_on()

    assert done.climb is None
    assert "current set is tried first" not in gateway.log.text
    assert gateway.history[-1][:2] == ("rotate", "rejected")
