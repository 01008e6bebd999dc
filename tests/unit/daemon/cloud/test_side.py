"""What follows when the session comes and goes, and when the fleet suggests a window."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from agent.config.values import EnrollmentConfig, FileValue, Method
from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.failure import failures
from agent.core.failure.codes import Code
from agent.core.report.checks import Line, failure, ok, warning
from agent.core.report.known import ConnectionState
from agent.core.values import Kind, Origin
from agent.core.when.schedule import Suggestion
from agent.core.worker_protocol import Do, Order
from agent.system.clock import monotonic
from support import make
from support.make import HOUR, NOW, SECOND

if TYPE_CHECKING:
    from pathlib import Path

    from support.running.daemon_rig import DaemonRig


def test_a_suggested_window_moves_the_rotation(rig: DaemonRig) -> None:
    """And the change answers to the job that suggested it."""
    rig.daemon.cloud._on_suggestion(
        Suggestion(opens_at=NOW - HOUR, closes_at=NOW + HOUR / 2, source="job 7", order="job:7:1")
    )
    begun = rig.look()
    assert [(order.origin, order.order) for order in begun] == [(Origin.JOB, "job:7:1")]


def test_a_session_that_is_lost_on_probation_has_the_set_proven_once(rig: DaemonRig) -> None:
    """Long before it is due; while that is ordered a second loss orders nothing more."""
    rig.change(make.record(Phase.DEPLOYED, checked_at=NOW - 30 * SECOND))
    assert rig.look() == []
    rig.stand(generation=7)
    rig.daemon.cloud._on_suspicion()
    rig.daemon.cloud._on_suspicion()
    assert [(order.do, order.doubt, order.hasten) for order in rig.look()] == [(Do.GO_ON, True, False)]
    rig.finish()
    assert rig.look() == []


@pytest.mark.parametrize(
    ("generation", "record"),
    [
        (6, make.record(Phase.DEPLOYED)),  # the session of the set before
        (7, make.record(Phase.DEPLOYED, checked_at=NOW - 58 * SECOND, prove_at=NOW + SECOND)),
        (7, make.record(Phase.PREPARED, retry_at=NOW + HOUR)),
        (7, None),
    ],
)
def test_a_session_that_is_lost_orders_no_proof_otherwise(
    rig: DaemonRig, generation: int, record: ChangeRecord | None
) -> None:
    """Of another set, or of one that is proven in a moment, or with nothing on probation: two doubts are needed."""
    if record is not None:
        rig.change(record)
    rig.stand(generation=generation)
    rig.daemon.cloud._on_suspicion()
    assert rig.look() == []


def timer(rig: DaemonRig) -> float:
    """Return the seconds until a new connection is tried."""
    found = rig.daemon.cloud._anew._timer
    return found.due - monotonic() if found is not None and found.pending else float("inf")


@pytest.mark.parametrize(("chance", "hours"), [(0.0, 12), (0.999, 24)])
def test_a_connection_that_lasts_is_compared_with_a_new_one_within_a_day(
    rig: DaemonRig, chance: float, hours: int
) -> None:
    """By a worker, as the doctor does; the fleet does so spread over half a day, and the connection stays."""
    rig.see()
    rig.daemon.cloud._chance = lambda: chance
    rig.stand(state=ConnectionState.UP, generation=7)
    rig.daemon.cloud._connect_anew()
    assert [order.do for order in rig.look()] == [Do.EXAMINE]
    assert timer(rig) == pytest.approx(hours * 3600, abs=60)
    rig.finish(examination=(ok("connect", "The broker accepts the current set."),))
    assert rig.look() == []
    assert timer(rig) == pytest.approx(hours * 3600, abs=60)


@pytest.mark.parametrize(
    ("state", "rival", "record"),
    [
        (ConnectionState.DOWN, "", None),
        (ConnectionState.TAKEN_OVER, "Another client connected.", None),
        (ConnectionState.UP, "Another client connected.", None),  # a moment ago, so it may be a fight
        (ConnectionState.UP, "", make.record(Phase.DEPLOYED, checked_at=NOW)),
    ],
)
def test_no_new_connection_is_tried_that_would_cost_more_than_it_tells(
    rig: DaemonRig, state: ConnectionState, rival: str, record: ChangeRecord | None
) -> None:
    """Where there is none to compare with, where it is another client's, and where a change proves its set."""
    rig.see()
    if record is not None:
        rig.change(record)
    rig.stand(state=state, generation=7, rival=rival, since=monotonic())
    rig.daemon.cloud._connect_anew()
    assert rig.look() == []
    assert timer(rig) > 3600


def test_another_span_takes_effect_with_the_configuration(rig: DaemonRig) -> None:
    """Counted from then."""
    config = replace(rig.config, fresh_connection=HOUR)
    rig.daemon.facts.configure(config)
    rig.daemon.cloud.configure(config, moved=False)
    assert 1800 - 60 < timer(rig) <= 3600


@pytest.mark.parametrize(
    "line",
    [
        failure("connect", "certificate-refused", "The broker hangs up on this certificate.", "Look it up."),
        failure("connect", "connect-denied", "The broker does not authorise it.", "Allow it."),
        failure("connect", Code.LOCKED_OUT, "The endpoint accepts no set of this gateway.", "Go there."),
        failure("connect", Code.UNKNOWN_ROOT, "Trust anchors do not verify the endpoint.", "Bring others."),
    ],
)
def test_a_new_connection_that_is_refused_has_the_ladder_climbed(rig: DaemonRig, line: Line) -> None:
    """Whatever had it tried; and it is tried again within minutes, while the old connection lives on."""
    rig.see()
    rig.stand(state=ConnectionState.UP, generation=7)
    rig.ask(Order(do=Do.EXAMINE))
    rig.look()
    rig.finish(examination=(line, ok("permissions", "All is allowed.")))
    (order,) = rig.orders[-1:]
    assert (order.do, order.origin, order.reason) == (Do.CLIMB, Origin.LADDER, line.text)
    assert timer(rig) == pytest.approx(240, abs=60)


def test_a_distrusted_root_that_other_anchors_do_without_has_the_ladder_climbed_once(rig: DaemonRig) -> None:
    """The set works meanwhile, so there is no hurry: it is looked at again at the next new connection."""
    rig.see()
    rig.stand(state=ConnectionState.UP, generation=7)
    rig.daemon.cloud._connect_anew()
    rig.look()
    line = warning("connect", "distrusted-root", "The broker accepts the current set, but it is distrusted.", "Wait.")
    rig.finish(examination=(warning("permissions", "distrusted-root", "Not this.", "Wait."), line))
    (order,) = rig.orders[-1:]
    assert (order.do, order.origin, order.reason) == (Do.CLIMB, Origin.LADDER, line.text)
    assert timer(rig) > 3600


@pytest.mark.parametrize("code", [Code.DNS, Code.UNREACHABLE, Code.PROXY, Code.THROTTLED, Code.CONNACK_TIMEOUT])
def test_a_path_that_is_down_for_new_connections_ends_nothing(rig: DaemonRig, code: Code) -> None:
    """It says nothing of the set, and the one that lasts may be all there is."""
    rig.see()
    rig.stand(state=ConnectionState.UP, generation=7)
    rig.daemon.cloud._connect_anew()
    rig.look()
    rig.finish(examination=(failure("connect", code, "It cannot be reached.", "Wait."),))
    assert rig.look() == []
    assert (rig.orders[-1].do, timer(rig) > 3600) == (Do.EXAMINE, True)


def test_a_refusal_during_probation_is_the_changes_own_business(rig: DaemonRig) -> None:
    """Its proofs compare with the set before."""
    rig.change(make.record(Phase.DEPLOYED, checked_at=NOW))
    rig.daemon.cloud.examined("The broker hangs up on this certificate.", "")
    assert rig.look() == []


def test_repeated_doubts_hasten_no_proof_on_probation(rig: DaemonRig) -> None:
    """The first suspicion has brought it forward. A change that has put nothing in use may give way to another rung."""
    failure = failures.hung_up()
    rig.change(make.record(Phase.DEPLOYED, prove_at=NOW, retry_at=NOW + 3 * SECOND, failure=failure))
    rig.daemon.cloud._on_doubt(failure)
    assert rig.look() == []
    rig.change(make.record(Phase.PREPARED, retry_at=NOW + HOUR, failure=failure))
    rig.daemon.cloud._on_doubt(failure)
    assert [order.do for order in rig.look()] == [Do.CLIMB]


# -- a token that is put into its file ---------------------------------------------------------------------------------


@pytest.fixture(name="token")
def _token(rig: DaemonRig, tmp_path: Path) -> Path:
    """Return where a gateway that enrols at a vending machine looks for its token."""
    file = tmp_path / "token"
    enrollment = EnrollmentConfig(method=Method.VENDING_MACHINE, url="https://x/", token=FileValue(path=file))
    rig.daemon.facts.configure(replace(rig.daemon.facts.config, enrollment=enrollment))
    return file


def test_a_token_is_heard_of_while_there_is_no_connection(rig: DaemonRig, token: Path) -> None:
    """And shown by a climb, without waiting for the next attempt to connect."""
    rig.stand(state=ConnectionState.DOWN)
    rig.daemon.cloud._on_disconnected("The broker hung up.")
    token.write_text("new")
    deadline = monotonic() + 60
    while not rig.orders and monotonic() < deadline:
        rig.daemon.loop.turn()
    assert [(order.do, order.origin) for order in rig.orders] == [(Do.CLIMB, Origin.LADDER)]


@pytest.mark.parametrize(
    ("state", "record"),
    [
        (ConnectionState.UP, None),
        (ConnectionState.LENT, None),
        (ConnectionState.TAKEN_OVER, None),
        (ConnectionState.DOWN, make.record(Phase.DEPLOYED, checked_at=NOW - 30 * SECOND)),
    ],
)
def test_a_token_that_is_armed_in_advance_orders_nothing(
    rig: DaemonRig, state: ConnectionState, record: ChangeRecord | None
) -> None:
    """While the set in use may be accepted, and while one is on probation."""
    if record is not None:
        rig.change(record)
    rig.stand(state=state, generation=7)
    rig.daemon.cloud._on_token()
    assert rig.look() == []


def test_a_token_is_shown_at_once_where_the_one_before_was_refused(rig: DaemonRig, token: Path) -> None:
    """By a gateway without a set, whose work is put off for minutes then."""
    del token
    rig.daemon.work._schedule._holds.work_failed()
    assert rig.daemon.work._schedule._holds.failed
    rig.daemon.cloud._on_token()
    assert not rig.daemon.work._schedule._holds.failed


@pytest.mark.parametrize("generation", [None, 6])
def test_a_token_is_shown_at_once_by_an_enrolment_that_waits(
    rig: DaemonRig, token: Path, generation: int | None
) -> None:
    """For another token, or for whatever kept the one before from being shown; also where a set was refused."""
    del token
    failure = failures.no_reply("the request for a certificate")
    waits = make.record(Phase.KEY_READY, kind=Kind.ENROLL, base=generation, retry_at=NOW + HOUR, failure=failure)
    rig.change(waits)
    rig.stand(state=ConnectionState.DOWN)
    assert rig.look() == []
    rig.daemon.cloud._on_token()
    assert [(order.do, order.hasten) for order in rig.orders] == [(Do.GO_ON, True)]
