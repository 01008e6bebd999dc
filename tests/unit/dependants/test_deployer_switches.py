"""Sets that come and go are not served without end."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from agent.core.dependants import Occasion, Report, Unit, encode_report
from agent.core.failure.failure import FailureClass
from agent.dependants import deployer as module
from agent.dependants.report_file import REPORT, last_report
from agent.errors import CloudError, RefusedError
from support.running.systemd import go_back, lay
from support.shorthand.dependants import OTHER, House

pytestmark = pytest.mark.root


def switch(house: House, times: int) -> None:
    """Have generation 1 and 2 served in turns; 1 is first."""
    for number in range(times):
        go_back(house.state, 1 + number % 2)
        house.serve()


@pytest.fixture(name="flooded")
def _flooded(house: House, monkeypatch: pytest.MonkeyPatch) -> House:
    """A gateway with a copy, a hook and a unit, on which the set has changed as often as it may; 1 is served."""
    monkeypatch.setattr(module, "MAX_SWITCHES", 3)
    house.copy()
    house.hook("10-first")
    house.unit()
    lay(house.state, 2)
    switch(house, 3)
    assert (house.ran, len(house.systemctl.orders)) == (["10-first"] * 3, 3)
    return house


def age(house: House, by: timedelta) -> Report:
    """Let the clock have gone on since the sets were switched, or back; return the report as it is then."""
    report = last_report(house.directory)
    assert report is not None
    report = replace(report, switched=tuple(at - by for at in report.switched))
    (house.directory / REPORT).write_bytes(encode_report(report))
    return report


def test_sets_that_come_and_go_are_not_served_without_end(flooded: House) -> None:
    """A user who moves the link to and fro has no unit restarted more often than rotations would, nor anything written.

    It is said, it decides nothing, and those who have the set in use are looked after as before.
    """
    before, content = last_report(flooded.directory), (flooded.place / "copy.pem").read_bytes()
    go_back(flooded.state, 2)
    for occasion in Occasion:
        with pytest.raises(RefusedError, match=r"^The set in use has changed 3 times within 10 min, .+\.$") as refused:
            flooded.serve(occasion)
        assert "iot-cert history" in refused.value.hint
        with pytest.raises(CloudError, match="could not be served: The set in use has changed 3 times") as caught:
            flooded.deployer.take_up(occasion)
        assert (caught.value.failure.kind, caught.value.failure.decisive) == (FailureClass.DEPENDANT, False)
    assert (flooded.ran, len(flooded.systemctl.orders)) == (["10-first"] * 3, 3)
    assert (last_report(flooded.directory), (flooded.place / "copy.pem").read_bytes()) == (before, content)

    go_back(flooded.state, 1)
    (flooded.place / "copy.pem").unlink()
    assert flooded.serve().problems == ()
    assert (flooded.place / "copy.pem").read_bytes() == content


def test_old_switches_are_forgotten(flooded: House) -> None:
    """A set that comes later is served, and they are not kept for ever."""
    age(flooded, module.SWITCHING - timedelta(minutes=1))
    go_back(flooded.state, 2)
    with pytest.raises(RefusedError):
        flooded.serve()
    age(flooded, timedelta(minutes=1))
    report = flooded.serve()

    assert (report.generation, report.problems, len(report.switched)) == (2, (), 1)
    assert len(flooded.systemctl.orders) == 4


@pytest.mark.parametrize("by", [timedelta(days=-400), timedelta(minutes=-1), timedelta(days=400)])
def test_a_clock_that_is_set_locks_no_dependant_out(
    flooded: House, monkeypatch: pytest.MonkeyPatch, by: timedelta
) -> None:
    """What was noted lies in its future, or far behind it: neither counts, nor is waited for."""
    monkeypatch.setattr(module, "SPACING", timedelta(minutes=5))
    age(flooded, by)
    go_back(flooded.state, 2)

    assert (flooded.serve().generation, len(flooded.systemctl.orders)) == (2, 4)


def test_the_same_set_is_no_switch(flooded: House) -> None:
    """However often it is looked at, and whichever is new or fails; another generation of it is none either."""
    before = age(flooded, timedelta(0))
    flooded.systemctl.has(OTHER, exit="1")
    flooded.units = (*flooded.units, Unit(name=OTHER, healthy=timedelta(0)))
    for occasion in Occasion:
        report = flooded.serve(occasion)
        assert (list(flooded.problems(report)), report.switched) == ([OTHER], before.switched)


def test_a_technician_is_not_kept_from_it(flooded: House) -> None:
    """Afresh, everybody is served whatever was before."""
    go_back(flooded.state, 2)
    assert flooded.serve(afresh=True).problems == ()


def test_between_two_switches_there_is_time(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or systemd would start a unit no more; for the first set, and for the same again, there is no wait."""
    waits: list[float] = []
    monkeypatch.setattr("agent.system.clock.sleep", waits.append)
    monkeypatch.setattr(module, "SPACING", timedelta(minutes=5))
    house.copy()
    switch(house, 1)
    house.serve(Occasion.ACTIVATED)
    assert waits == []

    lay(house.state, 2)
    house.serve(Occasion.ACTIVATED)
    assert waits == [pytest.approx(300, abs=60)]


def test_that_time_is_waited_before_a_dependant_is_given_the_set(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """From one to the next."""
    spacing = timedelta(seconds=0.3)
    monkeypatch.setattr(module, "SPACING", spacing)
    lay(house.state, 2)
    house.hook("10-when", f"date +%s.%N >> {house.log}")
    switch(house, 3)

    report = last_report(house.directory)
    assert report is not None
    first, second, third = report.switched
    assert min(second - first, third - second) >= spacing
    assert all(float(at) >= by.timestamp() for at, by in zip(house.ran[1::2], report.switched, strict=True))


def test_another_generation_of_the_same_set_is_noted(house: House) -> None:
    """Else the daemon would think that no dependant was served it; those who use the set are left alone."""
    house.hook("10-first")
    laid = lay(house.state, 2)
    first = house.serve(Occasion.ACTIVATED)
    lay(house.state, 3, like=laid)
    report = house.serve(Occasion.AGAIN)

    assert (report.generation, report.set, report.steps) == (3, first.set, first.steps)
    assert last_report(house.directory) == report
    assert house.ran == ["10-first"]
