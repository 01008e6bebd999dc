"""What a worker is started for, and when: by what is due, what was touched, and what is waited for."""

from __future__ import annotations

import shutil
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from agent.config.values import RotationConfig
from agent.core.change.decide import Wait
from agent.core.change.ladder import Climb, Rung
from agent.core.change.lifecycle import Phase
from agent.core.change.reserve import Standing
from agent.core.failure.failure import KEEPS_TRYING
from agent.core.report.findings import judge
from agent.core.report.seen import Damage
from agent.core.values import Kind, Origin
from agent.core.when.schedule import LOOK_EVERY
from agent.core.worker_protocol import Do, Order
from agent.daemon.work.credential_watch import HALF
from agent.daemon.work.inbox_watch import QUIET
from agent.daemon.work.schedule_watch import WORD_LOOK
from agent.store.files import fingerprints
from support import make
from support.make import DAY, HOUR, MINUTE, NOW, SECOND
from support.running.daemon_rig import DaemonRig, seen_set

if TYPE_CHECKING:
    from pathlib import Path


BOOT_1970 = datetime(1970, 1, 1, 0, 2, tzinfo=UTC)


def test_before_anything_was_seen_a_worker_looks(blind: DaemonRig) -> None:
    """The store is recovered before anything else is thought of."""
    assert [order.do for order in blind.look()] == [Do.LOOK]


def test_what_is_not_due_is_left_alone(rig: DaemonRig) -> None:
    """And looked at again within ten minutes, whatever happens."""
    assert rig.look() == []
    assert 0 < rig.sleeps <= LOOK_EVERY.total_seconds()


def test_a_boot_in_1970_leads_to_one_right_decision(rig: DaemonRig) -> None:
    """No network and no clock: nothing. The clock is set: one rotation. The network comes: no second one."""
    rig.due()
    rig.clock.time, rig.clock.is_synchronised = BOOT_1970, False
    assert rig.look() == []
    assert rig.daemon.facts.plan().code == "clock"
    rig.clock.time, rig.clock.is_synchronised = NOW, True
    rig.daemon.surroundings._clock_watch = Stepped()  # type: ignore[assignment]
    rig.daemon.surroundings._on_clock()
    assert [order.do for order in rig.orders] == [Do.BEGIN]
    rig.daemon.cloud._network._on_uplink()
    assert rig.look() == []


class Stepped:
    """A clock watch that has seen the clock being set."""

    def read(self) -> bool:
        """Say so."""
        return True

    def arm(self, _at: datetime) -> None:
        """Nothing else will come."""

    def close(self) -> None:
        """There is nothing to let go of."""


def test_a_boot_in_1970_does_not_rotate_what_is_fresh(rig: DaemonRig) -> None:
    """Neither under the wrong clock nor after the step."""
    rig.clock.time, rig.clock.is_synchronised = BOOT_1970, False
    assert rig.look() == []
    rig.clock.time, rig.clock.is_synchronised = NOW, True
    assert rig.look() == []


def test_a_clock_that_runs_years_ahead_is_waited_for(rig: DaemonRig) -> None:
    """No source vouches for it, so the certificate is not taken for overdue before a day has passed."""
    rig.clock.time, rig.clock.is_synchronised = NOW + timedelta(days=500), False
    rig.see(age=-timedelta(days=119, hours=12))  # due half a day before what the clock shows
    assert rig.look() == []
    assert rig.daemon.facts.plan().code == "clock"
    rig.clock.advance(days=1)
    assert [order.kind for order in rig.look()] == [Kind.ROTATE]


def test_a_suspend_over_the_window_ends_in_a_rotation_on_wake(rig: DaemonRig) -> None:
    """The clock has moved on by two years; the first look after it sees that."""
    assert rig.look() == []
    rig.clock.advance(days=400)
    assert [order.kind for order in rig.look()] == [Kind.ROTATE]


def test_the_emergency_is_met_to_the_second_under_an_inhibit_file(tmp_path: Path) -> None:
    """The daemon is awake when the file stops to count, and not half a minute later."""
    busy = tmp_path / "busy"
    busy.touch()
    with closing(DaemonRig(tmp_path, rotation=RotationConfig(inhibit_file=busy))) as rig:
        rig.due()
        assert rig.look() == []
        plan = rig.daemon.facts.plan()
        assert plan.window is not None
        assert (plan.code, plan.at) == ("inhibited", plan.window.emergency_at)
        rig.clock.time = plan.window.emergency_at - 7 * SECOND
        assert rig.look() == []
        assert 6 < rig.sleeps <= 7
        rig.clock.time = plan.window.emergency_at
        assert [order.kind for order in rig.look()] == [Kind.ROTATE]


def test_touched_files_are_looked_at(rig: DaemonRig, tmp_path: Path) -> None:
    """Another process wrote into the current generation."""
    assert rig.look() == []
    (tmp_path / "state" / "generations" / "000007" / "certificate.pem").write_text("by hand")
    assert [order.do for order in rig.look()] == [Do.LOOK]


def test_a_link_that_another_program_moved_is_looked_at(rig: DaemonRig) -> None:
    """`previous` as well, which a rollback would go to."""
    state = rig.config.state_dir
    (state / "previous").symlink_to("generations/000007")
    assert [order.do for order in rig.look()] == [Do.LOOK]
    rig.finish(seen=seen_set(NOW - 10 * DAY, 8000 * DAY))
    for name in ("previous", "current"):
        (state / name).unlink()
        assert [order.do for order in rig.look()] == [Do.LOOK], name
        rig.finish(seen=seen_set(NOW - 10 * DAY, 8000 * DAY))
    assert rig.look() == []


def test_what_is_touched_while_a_worker_looks_is_looked_at_again(rig: DaemonRig) -> None:
    """The worker says what the files were like before it looked."""
    key = rig.config.state_dir / "current" / "key.pem"
    key.write_text("by hand")
    assert [order.do for order in rig.look()] == [Do.LOOK]
    before = fingerprints.of(rig.config.state_dir, rig.config.foundations)
    key.write_text("by hand, again")
    rig.finish(seen=seen_set(NOW - 10 * DAY, 8000 * DAY), traces=before)
    assert [order.do for order in rig.orders] == [Do.LOOK] * 2
    rig.finish(
        seen=seen_set(NOW - 10 * DAY, 8000 * DAY),
        traces=fingerprints.of(rig.config.state_dir, rig.config.foundations),
    )
    assert rig.look() == []


def test_half_of_a_pair_is_given_half_a_minute_before_the_ladder(rig: DaemonRig) -> None:
    """The other half ends that wait; where it does not come, the gateway is put on a set that works."""
    seen = seen_set(NOW - DAY, 90 * DAY, current=None, damage=(Damage(critical=True, text="The key is another one."),))
    (rig.config.state_dir / "current" / "key.pem").write_text("by hand")
    assert [order.do for order in rig.look()] == [Do.LOOK]
    rig.finish(seen=seen, half=True)
    assert rig.look() == []
    assert judge(rig.status()).exit == 3
    assert rig.holds.delays == [HALF]
    rig.wait(HALF)
    assert [(order.do, order.patient) for order in rig.look()] == [(Do.CLIMB, False)]


def test_room_for_falling_back_is_set_aside_as_soon_as_there_is_some(rig: DaemonRig, tmp_path: Path) -> None:
    """A worker found the disk full; now it is not, and the next one sets aside what is lacking. Then all is as seen."""
    rig.daemon.facts.take(seen_set(NOW - 10 * DAY, timedelta(days=8000), reserve=Standing.NO_ROOM))
    assert [order.do for order in rig.look()] == [Do.LOOK]
    rig.finish(seen=seen_set(NOW - 10 * DAY, timedelta(days=8000), reserve=Standing.KEPT))
    assert rig.look() == []

    shutil.rmtree(tmp_path / "state" / "reserve")
    assert [order.do for order in rig.look()] == [Do.LOOK]
    rig.finish(seen=seen_set(NOW - 10 * DAY, timedelta(days=8000), reserve=Standing.MISSING))
    assert rig.look() == [], "one that could not be made is not tried at every look"


def test_without_a_set_the_ladder_is_climbed(blind: DaemonRig) -> None:
    """The set is damaged and there is none to go back to."""
    rig = blind
    seen = seen_set(NOW - DAY, 90 * DAY, current=None, damage=(Damage(critical=True, text="It is damaged."),))
    rig.daemon.facts.take(seen)
    assert [(order.do, order.origin) for order in rig.look()] == [(Do.CLIMB, Origin.LADDER)]
    rig.finish(seen=seen, climb=Climb(use=Rung.TECHNICIAN, why="there is no set left", remedy="Help it."))
    assert rig.look() == [], "climbing again waits"
    assert f"There is no set left. Help it. {KEEPS_TRYING}" in judge(rig.status()).health


def test_a_wait_between_two_climbs_holds_nothing_else(blind: DaemonRig) -> None:
    """What may have mended the set is looked at, and what was noted is written down."""
    seen = seen_set(NOW - DAY, 90 * DAY, current=None, damage=(Damage(critical=True, text="It is damaged."),))
    blind.daemon.facts.take(seen)
    blind.look()
    blind.finish(seen=seen, climb=Climb(why="nothing gets through"))
    assert blind.look() == []
    blind.daemon.work.submit(Order(do=Do.LOOK))
    assert [order.do for order in blind.look()] == [Do.LOOK]


def test_a_proof_that_was_not_written_down_is_known_from_the_worker_that_made_it(rig: DaemonRig) -> None:
    """The record on disk knows of an earlier one only; by it the set would be proven again at once, and for ever."""
    rig.change(make.record(Phase.DEPLOYED, checked_at=NOW - 2 * MINUTE))
    assert [order.do for order in rig.look()] == [Do.GO_ON]
    wait = Wait(why="on probation", until=NOW + MINUTE, code="probation")
    rig.finish(change=make.record(Phase.DEPLOYED, checked_at=NOW), wait=wait, exit=0)
    assert rig.look() == []
    assert rig.daemon.facts.change is not None
    assert rig.daemon.facts.change.checked_at == NOW
    rig.daemon.facts.refresh()
    assert rig.look() == []
    rig.clock.advance(seconds=60)
    assert [order.do for order in rig.look()] == [Do.GO_ON]


def test_what_is_known_of_one_change_is_not_held_for_another(rig: DaemonRig) -> None:
    """The next change has a probation of its own."""
    rig.finish_change(make.record(Phase.DEPLOYED, id="c-0", checked_at=NOW))
    rig.change(make.record(Phase.DEPLOYED, checked_at=NOW - 2 * MINUTE))
    assert [order.do for order in rig.look()] == [Do.GO_ON]


def test_the_word_of_the_application_is_looked_for_every_few_seconds(rig: DaemonRig) -> None:
    """And taken down by a worker at once, so that no power cut can lose it; until it comes nothing is done."""
    rig.change(make.record(Phase.DEPLOYED, checked_at=NOW, confirm_until=NOW + HOUR))
    assert rig.look() == []
    assert rig.sleeps <= WORD_LOOK
    said = rig.config.confirm_dir
    said.mkdir(mode=0o700)
    (said / "000007").touch()
    assert rig.look() == [], "it was looked for a moment ago"
    rig.wait(WORD_LOOK)
    assert [order.do for order in rig.look()] == [Do.GO_ON]
    rig.change(make.record(Phase.DEPLOYED, checked_at=NOW, confirm_until=NOW + HOUR, confirmed_at=NOW))
    rig.finish()
    assert rig.look() == []


@pytest.mark.parametrize(("name", "mode"), [("000006", 0o700), ("confirmed", 0o700), ("000007", 0o777)])
def test_a_word_about_another_set_or_of_any_user_is_none(rig: DaemonRig, name: str, mode: int) -> None:
    """Only who may order changes can say it, and only about the set that is in use."""
    rig.change(make.record(Phase.DEPLOYED, checked_at=NOW, confirm_until=NOW + HOUR))
    said = rig.config.confirm_dir
    said.mkdir()
    said.chmod(mode)
    (said / name).touch()
    assert rig.look() == []


def test_a_word_that_was_not_asked_for_starts_no_worker(rig: DaemonRig) -> None:
    """Where `rotation.confirm` is not set, what lies there means nothing."""
    rig.change(make.record(Phase.DEPLOYED, checked_at=NOW))
    rig.config.confirm_dir.mkdir(mode=0o700)
    (rig.config.confirm_dir / "000007").touch()
    assert rig.look() == []


def test_an_inbox_is_not_looked_at_while_a_change_is_in_flight(tmp_path: Path) -> None:
    """Nor does the daemon wake for it: what is not complete yet waits for the change's end."""
    with closing(DaemonRig(tmp_path)) as rig:
        rig.see()
        rig.config.inbox.mkdir(parents=True)
        (rig.config.inbox / "half.tar").touch()
        assert rig.look() == []
        assert rig.sleeps <= QUIET
        rig.change(make.record(Phase.DEPLOYED, checked_at=NOW))
        assert rig.look() == []
        assert rig.sleeps > QUIET
