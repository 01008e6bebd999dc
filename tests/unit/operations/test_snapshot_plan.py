"""A snapshot's plan and retirements: what is due, and what is still waited for."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.dependants import Report, Step, encode_report
from agent.core.exit_codes import Exit
from agent.core.values import Kind
from agent.core.when.schedule import Pause, Plan
from agent.dependants.report_file import REPORT
from agent.errors import StoreError
from agent.operations import snapshot
from agent.sandbox.replies.faults import Effect, Operation
from agent.store.notes import pauses
from support.unit.snapshot import DAY, ENROLMENT, HOUR, config, document, look

if TYPE_CHECKING:
    from agent.core.when.retirement import Retirement
    from support.simulated.rig import Rig


def left(rig: Rig, more: str = ENROLMENT) -> tuple[Retirement, ...]:
    """Return what is to be retired."""
    return snapshot.known(config(rig, more), look(rig)).retirements()


def plan(rig: Rig, more: str = ENROLMENT) -> Plan:
    """Return the plan."""
    return snapshot.known(config(rig, more), look(rig)).plan()


# -- the plan ----------------------------------------------------------------------------------------------------------


def test_a_new_gateway_is_to_enrol_if_it_may(rig: Rig) -> None:
    """Without `enrollment:` it waits for its owner."""
    assert (plan(rig).code, plan(rig).kind) == ("due", Kind.ENROLL)
    assert plan(rig, "").code == "not-configured"


def test_a_link_to_what_is_not_mounted_is_no_new_gateway(rig: Rig) -> None:
    """It has its certificate, on a disk that is missing; to enrol would not bring that back."""
    rig.path.rename(rig.path.with_name("elsewhere"))
    rig.path.symlink_to("/nonexistent/state")
    with pytest.raises(StoreError, match="is a symbolic link") as raised:
        snapshot.take(config(rig))
    assert "mount its file system" in raised.value.hint


def test_a_first_enrolment_that_failed_is_tried_again_after_a_delay(rig: Rig) -> None:
    """A gateway that never had a certificate has no ladder to climb: it enrols, as with a daemon."""
    rig.fault(Operation.CREATE, Effect.REJECT)
    assert rig.enroll().record.phase is Phase.REJECTED
    found = plan(rig)

    assert (found.kind, found.code) == (Kind.ENROLL, "back-off")
    rig.clock.advance(hours=1)
    assert (plan(rig).kind, plan(rig).code) == (Kind.ENROLL, "due")


def test_a_gateway_whose_set_is_gone_climbs_the_ladder(rig: Rig) -> None:
    """It had a certificate, so it does not simply enrol."""
    rig.be_enrolled()
    (rig.path / "current").unlink()
    found = plan(rig)

    assert (found.due, found.kind) == (True, Kind.ROTATE)
    assert "ladder" in found.why


def test_a_rotation_is_due_when_the_turn_comes_and_not_before(rig: Rig) -> None:
    """The certificate's own dates and this device's place decide."""
    rig.be_enrolled()
    at = plan(rig).at
    assert at is not None
    rig.clock.time = at - timedelta(seconds=1)
    assert plan(rig).code == "scheduled"
    rig.clock.time = at
    assert plan(rig).due


@pytest.fixture
def due(rig: Rig) -> Rig:
    """Return a gateway whose turn came a minute ago, on a Monday at noon."""
    rig.be_enrolled()
    at = plan(rig).at
    assert at is not None
    monday = at + timedelta(days=7 - at.weekday())
    rig.clock.time = monday.replace(hour=12, minute=0, second=0, microsecond=0)
    assert plan(rig).due
    return rig


def test_a_pause_on_disk_holds_a_rotation_until_it_is_over(due: Rig) -> None:
    """It is read at each look."""
    until = due.clock.now() + HOUR
    pauses.write(due.path, Pause(until=until, reason="harvest"))
    assert (plan(due).code, plan(due).at) == ("paused", until)
    due.clock.advance(hours=1)

    assert plan(due).due


def test_a_pause_that_cannot_be_read_holds_nothing(due: Rig) -> None:
    """Whatever lies in its place."""
    (due.path / pauses.PAUSE).mkdir()

    assert plan(due).due


def test_an_inhibit_file_holds_a_rotation_while_it_exists(due: Rig) -> None:
    """It need not hold anything itself."""
    busy = due.path.parent / "busy"
    more = f"rotation: {{inhibit_file: {busy}}}\n"
    assert plan(due, more).due
    busy.touch()
    found = plan(due, more)

    assert found.window is not None
    assert (found.code, found.at) == ("inhibited", found.window.emergency_at)
    assert found.why.startswith(f"{busy} exists")


def test_a_maintenance_window_holds_a_rotation_until_it_opens(due: Rig) -> None:
    """By the configured zone: two in the morning in Berlin is no later than one in London."""
    more = 'rotation: {maintenance: [{from: "02:00", to: "04:00", time_zone: Europe/Berlin}]}\n'
    found = plan(due, more)

    assert found.code == "window"
    assert found.at is not None
    assert found.at.hour in {0, 1, 2}  # and at this gateway's own place in it
    assert found.at - due.clock.now() < DAY


# -- retirements -------------------------------------------------------------------------------------------------------


def test_a_replaced_certificate_waits_for_its_retirement(rig: Rig) -> None:
    """It is due when the configured grace is over."""
    rig.be_enrolled()
    old = rig.certificate(1)
    rig.rotate()
    (found,) = left(rig, "rotation: {grace: 2d}\n")
    last = rig.store.history()[-1]

    assert (found.certificate_id, found.change) == (old, last.id)
    assert last.committed_at is not None
    assert found.due == last.committed_at + 2 * DAY
    assert document(rig)["retirements"][0]["certificate_id"] == old


DEPENDANTS = "dependants: [{unit: nginx.service}, {unit: bridge.service}]\n"


def served(rig: Rig, generation: int, **problems: str) -> None:
    """Write down how the two dependants stand."""
    steps = tuple(Step(name=f"{name}.service", problem=problems.get(name, "")) for name in ("nginx", "bridge"))
    report = Report(at=rig.clock.now(), generation=generation, set="ab" * 32, steps=steps)
    (rig.path.parent / REPORT).write_bytes(encode_report(report))


def test_a_replaced_certificate_waits_for_programs_that_may_use_it(rig: Rig) -> None:
    """Before anything is known of them, while one of them fails, and while they have the set before."""
    more = f"{DEPENDANTS}deploy_dir: {rig.path.parent}\n"
    rig.be_enrolled()
    rig.rotate()

    def waits_for() -> list[str]:
        (found,) = document(rig, more)["retirements"]
        names: list[str] = found["waits_for"]
        return names

    assert waits_for() == ["nginx.service", "bridge.service"]
    served(rig, 1)
    assert waits_for() == ["nginx.service", "bridge.service"]
    served(rig, 2, bridge="bridge.service is failed.")
    assert waits_for() == ["bridge.service"]
    served(rig, 2)
    assert waits_for() == []
    assert document(rig)["retirements"][0]["waits_for"] == []


def test_where_nothing_is_to_be_asked_for_nothing_is_listed(rig: Rig) -> None:
    """What was left behind is counted all the same, and is no fault."""
    rig.be_enrolled()
    rig.rotate()
    rig.clock.advance(days=30)
    found = document(rig, "rotation: {retire: false}\n")

    assert (found["retirements"], found["not_asked_for"]) == ([], 1)
    assert (found["exit"], found["health"]) == (Exit.DONE, [])
    assert left(rig, "rotation: {retire: false}\n") == ()
    assert document(rig)["not_asked_for"] == 0


def test_what_a_change_in_flight_replaces_is_in_use(rig: Rig) -> None:
    """Until it is final, neither the old certificate nor the new one may be retired."""
    rig.be_enrolled()
    old = rig.certificate(1)
    rig.rotate()
    rig.run(Kind.ROLLBACK)
    rig.clock.advance(days=30)
    rig.to_probation()
    found = left(rig)

    assert old not in {item.certificate_id for item in found}
    assert {item.certificate_id for item in found} == {rig.certificate(2)}
