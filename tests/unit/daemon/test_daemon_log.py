"""The daemon's records: each has the fields that the daemon's page promises and the catalogue shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.report.journal_events import SHOWN, Event
from agent.daemon.daemon_log import DaemonLog
from support import make

if TYPE_CHECKING:
    from support.running.daemon_rig import DaemonRig

REFUSED = make.failure()
OF_FAILURE = {"failure_class": REFUSED.kind.value, "failure_code": REFUSED.code}


class Records:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written: list[tuple[Event, dict[str, Any]]] = []

    def log(self, event: Event, _text: str, /, **fields: Any) -> None:
        """See `agent.system.service.journal.EventLog`."""
        self.written.append((event, fields))

    def close(self) -> None:
        """Nothing is held."""


def records_of(rig: DaemonRig) -> Records:
    """Have a daemon's records kept."""
    records = Records()
    rig.daemon._log._log = records  # type: ignore[assignment]
    return records


@pytest.mark.parametrize("event", list(Event))
def test_what_the_catalogue_shows_is_there_also_where_nothing_is_known(rig: DaemonRig, event: Event) -> None:
    """Otherwise `journalctl -x` prints the field's name to the letter."""
    records = Records()
    log = DaemonLog(rig.daemon.facts)
    log._log = records  # type: ignore[assignment]
    log.tell(event, "It happened.", change=None, failure_class=None)
    assert set(records.written[0][1]) >= set(SHOWN.get(event, ()))
    assert None not in records.written[0][1].values()


@pytest.mark.parametrize("phase", [Phase.REJECTED, Phase.ROLLED_BACK])
def test_the_end_of_a_change_that_failed_has_its_phase_and_its_failure(rig: DaemonRig, phase: Phase) -> None:
    """The change is not in flight any more when its end is told, so the end itself has them."""
    records = records_of(rig)
    rig.due()
    rig.look()
    rig.finish(change=make.finished(phase, id="c-1", failure=REFUSED), exit=1)
    event = Event.CHANGE_REJECTED if phase is Phase.REJECTED else Event.CHANGE_ROLLED_BACK
    (fields,) = (fields for found, fields in records.written if found is event)
    assert fields.items() >= {"change": "c-1", "phase": phase.value, **OF_FAILURE}.items()


def test_a_record_about_another_change_does_not_borrow_the_failure_of_the_one_in_flight(rig: DaemonRig) -> None:
    """What is at hand belongs to the change in flight alone."""
    records = records_of(rig)
    rig.change(make.record(Phase.KEY_READY, id="c-2", failure=REFUSED))
    rig.daemon._log.tell(Event.PROGRESS, "One.")
    rig.daemon._log.tell(Event.PROGRESS, "Another.", change="c-1", phase="rejected")
    (_, own), (_, others) = records.written[-2:]
    assert own.items() >= {"change": "c-2", **OF_FAILURE}.items()
    assert (others["change"], others["phase"], "failure_code" in others) == ("c-1", "rejected", False)
