"""From every state in which some rung would be accepted, the gateway gets there by itself: no change keeps it away."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.change.ladder import Rung
from agent.core.change.lifecycle import Phase
from agent.core.change.verbs import Verb
from agent.core.values import Kind, Origin
from agent.errors import RefusedError
from agent.sandbox.cloud import Status
from agent.sandbox.replies.faults import Effect, Operation
from support.simulated.outside import NO_ROUTE
from support.simulated.rig import MINUTES

if TYPE_CHECKING:
    from agent.core.change.lifecycle import ChangeRecord
    from support.simulated.rig import Rig


def alone(rig: Rig) -> Rig:
    """Enrol a gateway that has one generation and nothing to go back to."""
    rig.enroll()
    rig.clock.advance(days=2)
    return rig


def waiting(rig: Rig, kind: Kind) -> ChangeRecord:
    """Begin a change that waits for a network, with its key made, and return it."""
    rig.endpoint.down = NO_ROUTE
    outcome = rig.run(kind, patience=timedelta(minutes=1))
    rig.endpoint.down = None
    assert outcome.wait is not None
    assert outcome.record.phase is Phase.KEY_READY
    return outcome.record


# -- what a change rests on breaks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["key.pem", "certificate.pem", "trust.pem", "manifest.json", "credential.pem"])
def test_a_rotation_whose_base_breaks_gives_way_to_the_claim(rig: Rig, file: str) -> None:
    """The only generation is damaged while a rotation waits: that rotation ends, and the gateway enrols anew."""
    gateway = alone(rig)
    waiting(gateway, Kind.ROTATE)
    gateway.damage(1, file)
    gateway.restart()
    start = gateway.clock.now()
    done = gateway.operate(patience=MINUTES).go_on()

    assert done.rung is Rung.CLAIM
    assert gateway.history[1][:2] == ("rotate", "rejected")
    gateway.operations.go_on()
    assert gateway.history[-1][:2] == ("enroll", "committed")
    assert gateway.clock.now() - start < MINUTES + gateway.settings.limits.probation
    assert gateway.connects()


@pytest.mark.parametrize("file", ["key.pem", "trust.pem"])
def test_a_rotation_ordered_on_a_damaged_set_is_an_enrolment(rig: Rig, file: str) -> None:
    """`rotate` is what every message recommends, so it leads out whatever is broken."""
    gateway = alone(rig)
    gateway.damage(1, file)
    gateway.restart()
    gateway.operations.order(Verb.ROTATE, "a visit")

    assert [end[:2] for end in gateway.history] == [("enroll", "committed"), ("enroll", "committed")]
    assert gateway.connects()


def test_no_rotation_is_planned_on_a_damaged_set(rig: Rig) -> None:
    """Not even by an order that was given before it broke."""
    gateway = alone(rig)
    gateway.damage(1)
    with pytest.raises(RefusedError, match="Generation 1 is damaged"):
        gateway.planner.begin(Kind.ROTATE, Origin.SCHEDULE, "its turn")

    assert gateway.at_rest


def test_an_enrolment_whose_claim_is_gone_ends_when_the_set_in_use_works_again(gateway: Rig) -> None:
    """The operator activated the certificate again; the change that needs a claim waits no more."""
    gateway.revoke(1, 2, status=Status.INACTIVE)
    gateway.fault(Operation.CREATE, Effect.THROTTLE, times=None)
    assert gateway.operate(patience=timedelta(0)).climb("refused").rung is Rung.CLAIM
    gateway.claim_present = False
    gateway.follow(patience=timedelta(minutes=1))
    assert gateway.engine.change is not None
    gateway.entry(2).status = Status.ACTIVE
    gateway.operate(patience=MINUTES).go_on()

    assert gateway.at_rest
    assert gateway.connects()


# -- a change that waits keeps no rung away ----------------------------------------------------------------------------


@pytest.mark.parametrize("rung", [Rung.PREVIOUS, Rung.CLAIM])
def test_a_rotation_that_waits_for_its_budget_gives_way(gateway: Rig, rung: Rung) -> None:
    """The set in use is refused meanwhile, which the daemon's session tells; the next rung that works is used."""
    gateway.use_up_budget()
    outcome = gateway.rotate(patience=timedelta(minutes=1))
    assert outcome.wait is not None
    assert outcome.wait.code == "budget"
    gateway.revoke(2, *([1] if rung is Rung.CLAIM else []))
    done = gateway.operate(patience=MINUTES).climb("refused")

    assert done.rung is rung
    assert gateway.history[-1][:2] == ("rotate", "rejected") or gateway.history[-2][:2] == ("rotate", "rejected")
    if rung is Rung.PREVIOUS:
        assert gateway.current == 1
        assert gateway.connects()


def test_a_rotation_that_waits_gives_way_to_the_set_before(gateway: Rig) -> None:
    """The set in use is refused and the claim with it, so no control of the rotation's own is accepted but one."""
    waiting(gateway, Kind.ROTATE)
    gateway.revoke(2)
    gateway.claim_present = False
    gateway.operate(patience=MINUTES).go_on(hasten=True)
    gateway.operations.go_on()

    assert gateway.connects()
    assert gateway.current != 2


def test_a_waiting_change_gives_way_to_what_can_be_salvaged(gateway: Rig) -> None:
    """Everything is refused but the certificate of the previous generation, whose manifest is damaged."""
    waiting(gateway, Kind.ROTATE)
    certificate = gateway.certificate(1)
    gateway.revoke(2)
    gateway.claim_present = False
    gateway.damage(1, "manifest.json")
    gateway.restart()
    done = gateway.operations.go_on(hasten=True)

    assert done.rung is Rung.SALVAGED
    assert gateway.current is not None
    assert gateway.certificate(gateway.current) == certificate
    assert gateway.connects()


def test_without_a_network_no_change_gives_way(gateway: Rig) -> None:
    """Every rung would meet the same, so none is tried and nothing ends."""
    record = waiting(gateway, Kind.ROTATE)
    gateway.endpoint.down = NO_ROUTE
    before = len(gateway.endpoint.connections)
    gateway.operate(patience=timedelta(0)).go_on(hasten=True)

    assert gateway.engine.change is not None
    assert gateway.engine.change.id == record.id
    assert {item.candidate for item in gateway.endpoint.connections[before:]} == {"generation 2"}


# -- a set that was put in place by hand -------------------------------------------------------------------------------


def test_a_refused_set_by_hand_is_taken_up_once(rig: Rig) -> None:
    """It is planned, refused and not taken up again; the ladder goes on to what works."""
    gateway = alone(rig)
    gateway.replace_by_hand(1, status=Status.INACTIVE)
    gateway.restart()
    operations = gateway.operations
    assert operations.take_up() is not None
    operations.go_on()
    if gateway.engine.change is not None:
        gateway.follow(patience=timedelta(days=3))
    for _ in range(3):
        gateway.restart()
        operations = gateway.operations
        operations.take_up()
        operations.climb("there is no usable set") if gateway.engine.change is None else operations.go_on()

    imports = [end for end in gateway.history if end[0] == "import"]
    assert [end[1] for end in imports] == ["rejected"]
    assert gateway.at_rest
    assert gateway.connects()


def test_another_set_by_hand_is_taken_up_after_a_refused_one(gateway: Rig) -> None:
    """What changed is another wish."""
    gateway.replace_by_hand(2, status=Status.INACTIVE)
    gateway.operations.take_up()
    gateway.operations.go_on()
    assert gateway.history[-1][:2] == ("import", "rejected")

    good = gateway.replace_by_hand(1)
    gateway.restart()
    gateway.operations.take_up()
    gateway.operations.go_on()

    assert gateway.history[-1][:2] == ("import", "committed")
    assert gateway.current is not None
    assert gateway.certificate(gateway.current) == good


@pytest.mark.parametrize("kind", [Kind.ROTATE])
def test_a_set_by_hand_goes_before_a_change_that_waits(gateway: Rig, kind: Kind) -> None:
    """A person's hand is a rescue; the command takes it up as the daemon does."""
    waiting(gateway, kind)
    by_hand = gateway.replace_by_hand(2)
    gateway.restart()
    gateway.operations.take_up()
    gateway.operations.go_on()

    assert [end[:2] for end in gateway.history[-2:]] == [("rotate", "rejected"), ("import", "committed")]
    assert gateway.current is not None
    assert gateway.certificate(gateway.current) == by_hand
    assert gateway.connects()


def test_an_order_takes_a_set_by_hand_up_first(gateway: Rig) -> None:
    """`rotate` without a daemon adopts it, and then rotates from it."""
    by_hand = gateway.replace_by_hand(2)
    gateway.restart()
    operations = gateway.operations
    operations.take_up()
    operations.order(Verb.ROTATE, "a visit")

    assert [end[:2] for end in gateway.history[-2:]] == [("import", "committed"), ("rotate", "committed")]
    assert gateway.store.history()[-1].replaces == by_hand


# -- guards ------------------------------------------------------------------------------------------------------------


def test_a_crash_loop_does_not_keep_a_refused_set_in_use(gateway: Rig) -> None:
    """Ten starts that end at once, and the certificate on probation deactivated: the one before is back in minutes."""
    gateway.to_probation()
    gateway.clock.advance(minutes=2)
    for _ in range(12):
        gateway.clock.advance(seconds=2)
        gateway.restart()
    gateway.revoke(3, status=Status.INACTIVE)
    start = gateway.clock.now()
    outcome = gateway.follow(patience=timedelta(hours=1))

    assert outcome.record.phase is Phase.ROLLED_BACK
    assert gateway.clock.now() - start <= MINUTES
    assert gateway.current == 2
    assert gateway.connects()


# -- the wrong kind of object ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["current", "previous", "history.jsonl", "change.json"])
@pytest.mark.parametrize("twice", [False, True])
def test_a_directory_in_place_of_a_link_or_a_file_is_moved_out_of_the_way(
    gateway: Rig, name: str, *, twice: bool
) -> None:
    """As a backup leaves it that followed links: the gateway goes on, and what stood there is kept."""
    waiting(gateway, Kind.ROTATE)
    for _ in range(2 if twice else 1):
        path = gateway.path / name
        path.unlink(missing_ok=True)
        path.mkdir()
        (path / "kept").write_text("by hand")
        gateway.restart()
    gateway.operations.go_on()
    gateway.operations.order(Verb.ROTATE, "a visit")

    kept = [found.parent.name for found in gateway.path.glob(f"{name}.damaged*/kept")]
    assert sorted(kept) == [f"{name}.damaged", *([f"{name}.damaged.2"] if twice else [])]
    assert gateway.history[-1][:2] == ("rotate", "committed")
    assert gateway.connects()
