"""Other programs on the gateway use the set, too: they come after the gateway's own connection, and before success."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.change.decide import Limits
from agent.core.change.lifecycle import Phase
from agent.core.dependants import Occasion
from agent.core.exit_codes import Exit, of_outcome
from agent.core.failure import failures
from agent.core.failure.failure import FailureClass
from agent.core.text import clock_time
from agent.core.values import Kind
from agent.core.when.renewal import RenewalPolicy
from agent.sandbox.replies.faults import Effect, Operation

if TYPE_CHECKING:
    from support.simulated.rig import Rig

PATIENCE = timedelta(minutes=2)
LIFETIME = timedelta(days=10)
EMERGENCY = timedelta(hours=12)  # the last part of it


def test_dependants_take_a_set_up_once_it_is_in_use(gateway: Rig) -> None:
    """They are asked after the swap and before probation, and not before the set has proven itself."""
    seen: list[tuple[int | None, Phase | None]] = []
    gateway.programs.meanwhile = lambda: seen.append((gateway.store.current(), phase_on_disk(gateway)))
    gateway.programs.asked.clear()
    outcome = gateway.rotate()

    assert (outcome.record.phase, outcome.record.degraded) == (Phase.COMMITTED, None)
    assert gateway.programs.asked == [Occasion.ACTIVATED]
    assert gateway.programs.uses == 3
    assert seen == [(3, Phase.ACTIVE)]


def phase_on_disk(gateway: Rig) -> Phase | None:
    """Return the phase that a restart would find."""
    record = gateway.store.change()
    return record.phase if record else None


def test_a_set_that_is_refused_never_reaches_them(gateway: Rig) -> None:
    """What fails its proof is not served."""
    gateway.programs.asked.clear()
    gateway.fault(Operation.REGISTER, Effect.NEVER_ACTIVE)

    assert gateway.rotate().record.phase is Phase.REJECTED
    assert gateway.programs.asked == []


def test_a_dependant_that_comes_up_in_time_costs_a_wait(gateway: Rig) -> None:
    """A failure that passes leaves nothing behind but a line in the log."""
    left = [3]

    def come_up() -> None:
        left[0] -= 1
        gateway.programs.stubborn = left[0] > 0

    gateway.programs.meanwhile = come_up
    before = gateway.clock.now()
    outcome = gateway.rotate()

    assert (outcome.record.phase, outcome.record.degraded) == (Phase.COMMITTED, None)
    assert gateway.programs.uses == 3
    assert "bridge.service is failed" in gateway.log.text
    assert gateway.clock.now() - before < PATIENCE + gateway.settings.limits.probation


def test_a_change_goes_on_without_a_dependant(gateway: Rig) -> None:
    """It is degraded: the history says by what, and the command ends with 1, but the gateway has its certificate."""
    gateway.programs.stubborn = True
    outcome = gateway.rotate()
    record = gateway.store.history()[-1]

    assert record.phase is Phase.COMMITTED
    assert record.degraded is not None
    assert (record.degraded.kind, record.degraded.decisive) == (FailureClass.DEPENDANT, False)
    assert of_outcome(outcome.record, None, has_set=True) is Exit.DEGRADED
    assert gateway.in_use() == (3, 2)
    assert gateway.connects()


def test_a_change_goes_back_for_a_dependant_that_matters(gateway: Rig) -> None:
    """After its patience, no sooner; then everybody uses the set before, and the new one is set aside."""
    gateway.programs.goes_back = True
    gateway.programs.refused = {3}
    before = gateway.clock.now()
    outcome = gateway.rotate()

    assert outcome.record.phase is Phase.ROLLED_BACK
    assert outcome.record.failure is not None
    assert outcome.record.failure.kind is FailureClass.DEPENDANT
    assert gateway.clock.now() - before >= PATIENCE
    assert gateway.in_use()[0] == 2
    assert gateway.programs.asked[-1] is Occasion.ROLLED_BACK
    assert gateway.programs.uses == 2
    assert gateway.connects()
    assert gateway.rotate().record.generation == 4


def test_a_dependant_never_takes_a_gateway_back_to_a_set_that_does_not_connect(gateway: Rig) -> None:
    """The set before was revoked meanwhile: the gateway keeps the one that works, whatever its programs say."""
    gateway.programs.goes_back = True
    gateway.programs.refused = {3}
    gateway.programs.meanwhile = lambda: gateway.revoke(2)
    outcome = gateway.rotate()

    assert outcome.record.phase is Phase.COMMITTED
    assert outcome.record.degraded is not None
    assert "Generation 2 does not connect now" in outcome.record.degraded.message
    assert gateway.in_use()[0] == 3
    assert gateway.connects()


def test_without_a_network_a_dependant_takes_nothing_back(gateway: Rig) -> None:
    """That the set before connects cannot be told, so it is not gone back to."""
    gateway.programs.goes_back = True
    gateway.programs.refused = {3}

    def cut() -> None:
        gateway.endpoint.down = failures.unreachable("localhost", 8883, "No route to host")

    gateway.programs.meanwhile = cut
    gateway.rotate(patience=timedelta(minutes=30))
    record = gateway.engine.change
    assert record is not None
    assert (record.phase, record.condemned) == (Phase.DEPLOYED, None)

    gateway.endpoint.down = None
    assert gateway.follow().record.phase is Phase.COMMITTED
    assert gateway.in_use()[0] == 3


def test_the_first_certificate_stays_though_a_dependant_fails(rig: Rig) -> None:
    """There is nothing to go back to."""
    rig.programs.goes_back = rig.programs.stubborn = True
    outcome = rig.enroll()

    assert outcome.record.phase is Phase.COMMITTED
    assert outcome.record.degraded is not None
    assert rig.connects()


def test_a_rollback_does_not_wait_for_dependants(gateway: Rig) -> None:
    """The cloud refuses the new set in probation; that a program fails as well must not keep the gateway on it."""
    gateway.run_to(Kind.ROTATE, Phase.DEPLOYED)
    gateway.programs.stubborn = True
    gateway.revoke(3)
    outcome = gateway.follow()

    assert outcome.record.phase is Phase.ROLLED_BACK
    assert gateway.in_use()[0] == 2
    assert gateway.programs.asked[-1] is Occasion.ROLLED_BACK
    assert gateway.connects()


@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.DEPLOYED, Phase.COMMITTED])
def test_dependants_are_asked_again_after_a_power_cut(gateway: Rig, phase: Phase) -> None:
    """How far they came is unknown, so a step that was not noted is taken again; one that was is not."""
    gateway.stop_at(Kind.ROTATE, phase)
    before = list(gateway.programs.asked)
    gateway.programs.uses = None if phase is Phase.ACTIVE else gateway.programs.uses
    gateway.restart()
    outcome = gateway.follow()

    assert outcome.record.phase is Phase.COMMITTED
    assert gateway.programs.asked[len(before) :] == ([Occasion.ACTIVATED] if phase is Phase.ACTIVE else [])
    assert gateway.programs.uses == 3


def test_a_person_may_go_back_while_dependants_fail(gateway: Rig) -> None:
    """Giving the change up works in the middle of their patience, and they are served the set before."""
    gateway.programs.refused = {3}
    gateway.planner.begin(Kind.ROTATE, gateway.store.history()[-1].origin, "test")
    outcome = gateway.engine.run()
    assert (outcome.record.phase, outcome.wait is not None) == (Phase.ACTIVE, True)
    gateway.engine.give_up("the bridge fails")

    assert gateway.follow().record.phase is Phase.ROLLED_BACK
    assert gateway.programs.uses == 2


# -- certificates that end soon ----------------------------------------------------------------------------------------


@pytest.fixture(name="brief")
def _brief(rig: Rig) -> Rig:
    """A gateway on generation 2, which ends in ten days, with a program that takes back whatever comes after it."""
    rig.cloud.provisioning.lifetime = LIFETIME
    rig.configure(limits=Limits(probation=timedelta(minutes=1)))
    rig.enroll()
    rig.rotate()
    rig.programs.goes_back = True
    rig.programs.refused = set(range(3, 10))
    return rig


def wait_until_left(gateway: Rig, left: timedelta) -> str:
    """Move the clock to where generation 2 has so much time left, and return its end as people are told it."""
    end = gateway.store.generation(2).credential.leaf.not_after
    gateway.clock.advance(seconds=(end - left - gateway.clock.now()).total_seconds())
    return clock_time(end)


def test_a_dependant_takes_nothing_back_to_a_set_that_ends_soon(brief: Rig) -> None:
    """Going back, each time anew, would in the end leave the gateway without a certificate; it says why it does not."""
    end = wait_until_left(brief, timedelta(hours=4))
    outcome = brief.rotate()

    assert outcome.record.phase is Phase.COMMITTED
    assert outcome.record.degraded is not None
    assert (outcome.record.degraded.kind, outcome.record.degraded.decisive) == (FailureClass.DEPENDANT, False)
    assert outcome.record.degraded.message.endswith(f"Generation 2 ends at {end}, so this set stays.")
    assert brief.in_use() == (3, 2)
    assert Occasion.ROLLED_BACK not in brief.programs.asked
    assert brief.connects()


def test_a_dependant_that_stays_broken_never_lets_a_certificate_run_out(brief: Rig) -> None:
    """It takes one change after another back, until the set before is in its emergency window; then one stays."""
    ends: list[Phase] = []
    while brief.in_use()[0] == 2 and len(ends) < 9:
        brief.clock.advance(days=2)
        ends.append(brief.rotate().record.phase)

    assert ends == [Phase.ROLLED_BACK] * 4 + [Phase.COMMITTED]
    assert brief.connects()


@pytest.mark.parametrize(
    ("left", "end"),
    [
        (EMERGENCY + timedelta(hours=1), Phase.ROLLED_BACK),
        (EMERGENCY, Phase.COMMITTED),
        (timedelta(minutes=30), Phase.COMMITTED),
    ],
)
def test_what_is_soon_is_the_emergency_window(brief: Rig, left: timedelta, end: Phase) -> None:
    """While its end is far off, a dependant that matters is heeded."""
    wait_until_left(brief, left)
    outcome = brief.rotate()

    assert outcome.record.phase is end
    assert brief.in_use()[0] == (2 if end is Phase.ROLLED_BACK else 3)
    assert brief.connects()


@pytest.mark.parametrize(("fraction", "end"), [(0.5, Phase.COMMITTED), (0.3, Phase.ROLLED_BACK)])
def test_the_emergency_window_is_the_configured_one(brief: Rig, fraction: float, end: Phase) -> None:
    """With four of ten days left."""
    brief.configure(renewal=RenewalPolicy(emergency_fraction=fraction))
    wait_until_left(brief, timedelta(days=4))

    assert brief.rotate().record.phase is end


def test_a_new_set_that_ends_even_sooner_is_taken_back(brief: Rig) -> None:
    """It would gain the gateway nothing."""
    wait_until_left(brief, timedelta(hours=4))
    brief.cloud.provisioning.lifetime = timedelta(hours=2)

    assert brief.rotate().record.phase is Phase.ROLLED_BACK
    assert brief.in_use()[0] == 2
    assert brief.connects()
