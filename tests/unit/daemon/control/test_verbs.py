"""What a person is told at once, what a worker is ordered to do for it, and what a rival costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agent.core.change.decide import Wait
from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.report.known import ConnectionState
from agent.core.worker_protocol import Do
from agent.errors import RefusedError
from support import make
from support.make import DAY, NOW

if TYPE_CHECKING:
    from support.running.daemon_rig import DaemonRig


PROBATION = Wait(why="It is on probation.", until=NOW + DAY, code="probation")


def confirms(rig: DaemonRig) -> list[dict[str, Any]]:
    """Return what a person is told at once who says that the set works."""
    return rig.say("confirm").told


def test_a_confirmation_is_handed_to_a_worker_and_its_outcome_back(rig: DaemonRig) -> None:
    """The desk only looks whether there is something to confirm."""
    rig.change(make.record(Phase.DEPLOYED, checked_at=NOW))
    told = confirms(rig)
    assert [order.do for order in rig.look()] == [Do.CONFIRM]
    rig.finish(change=make.finished(id="c-1"), exit=0)
    assert [message["event"] for message in told] == ["accepted", "outcome"]
    assert told[-1]["exit"] == 0


def test_a_confirmation_of_what_is_final_is_true_still(rig: DaemonRig) -> None:
    """Typed twice, it says what it said; a change that went on without a dependant is no more than that."""
    rig.record(make.finished(Phase.COMMITTED))
    assert [(message["event"], message["exit"]) for message in confirms(rig)] == [("outcome", 0)]
    rig.record(make.finished(Phase.RETIRED, degraded=make.failure()))
    assert [(message["event"], message["exit"]) for message in confirms(rig)] == [("outcome", 1)]
    assert rig.look() == []


@pytest.mark.parametrize(
    ("change", "last", "why"),
    [
        (None, None, "Nothing is on probation"),
        (None, make.finished(Phase.ROLLED_BACK), "Nothing is on probation"),
        (make.record(Phase.ISSUED), make.finished(), "in phase issued; nothing is on probation yet"),
        (make.record(Phase.DEPLOYED, condemned=make.failure(decisive=True)), None, "is being given up"),
    ],
)
def test_a_confirmation_of_nothing_is_refused(
    rig: DaemonRig, change: ChangeRecord | None, last: ChangeRecord | None, why: str
) -> None:
    """With the reason, and without a worker."""
    if last is not None:
        rig.record(last)
    if change is not None:
        rig.change(change)
    with pytest.raises(RefusedError, match=why):
        confirms(rig)
    assert all(order.do is not Do.CONFIRM for order in rig.look())


def test_a_change_that_is_only_being_begun_is_not_confirmed_by_the_one_before(rig: DaemonRig) -> None:
    """The last change is final, and another one was ordered: what the person means is not on probation yet."""
    rig.record(make.finished(at=NOW - 399 * DAY))
    rig.due()
    assert [order.do for order in rig.look()] == [Do.BEGIN]
    with pytest.raises(RefusedError, match="Nothing is on probation"):
        confirms(rig)


RIVAL = "Another client connected as gw-0042; every client needs an id of its own."


@pytest.fixture
def contested(rig: DaemonRig) -> DaemonRig:
    """Give a daemon that was cut off by another client with its id, and keeps away."""
    rig.stand(rival=RIVAL, state=ConnectionState.TAKEN_OVER, why=f"{RIVAL} It keeps away.")
    return rig


def test_a_check_makes_no_connection_that_would_end_another_clients(contested: DaemonRig) -> None:
    """It says so in the line about the connection, which is a failure, and that of the permissions is passed over."""
    person = contested.say("examine")
    connect, permissions = person.told[-1]["lines"]
    assert [event["event"] for event in person.told] == ["accepted", "examination"]
    assert (connect["check"], connect["verdict"], connect["code"], connect["exit"]) == (
        "connect", "failure", "taken-over", 1,
    )  # fmt: skip
    assert connect["text"].startswith(RIVAL)
    assert (permissions["check"], permissions["verdict"]) == ("permissions", "skipped")
    assert contested.look() == []


def test_a_rehearsal_is_refused_while_it_would_end_another_clients_connection(contested: DaemonRig) -> None:
    """The reason is a sentence, and nothing is ordered."""
    with pytest.raises(RefusedError, match="A rehearsal would connect") as caught:
        contested.say("rehearse")
    assert str(caught.value).startswith(RIVAL)
    assert contested.look() == []


@pytest.mark.parametrize("verb", ["rotate", "rollback"])
def test_a_change_that_a_person_orders_is_made_after_a_warning(contested: DaemonRig, verb: str) -> None:
    """It has to connect; the person who ordered it knows beforehand what that costs."""
    person = contested.say(verb)
    assert [event["event"] for event in person.told] == ["accepted", "progress"]
    assert person.told[1]["text"] == f"{RIVAL} This change connects nevertheless, and ends that one's connection."
    assert [order.verb.value for order in contested.look()] == [verb]


@pytest.mark.parametrize("verb", ["examine", "rehearse", "rotate"])
def test_without_a_rival_everything_connects_without_a_warning(rig: DaemonRig, verb: str) -> None:
    """As ever."""
    person = rig.say(verb)
    assert [event["event"] for event in person.told] == ["accepted"]
    assert len(rig.look()) == 1


def test_what_only_looks_ends_no_following_of_a_change(rig: DaemonRig) -> None:
    """`check`, `support-bundle` and `rotate --dry-run` of one person, while another waits for the end of probation."""
    rig.change(make.record(Phase.DEPLOYED, checked_at=NOW))
    follower, looker = rig.say("rotate"), rig.say("examine")
    rig.look()
    rig.finish(change=make.record(Phase.DEPLOYED), wait=PROBATION, exit=1)
    assert rig.orders[-1].do is Do.EXAMINE
    rig.finish(examination=())
    assert looker.told[-1] == {"event": "examination", "lines": [], "exit": 0}
    assert [message["event"] for message in follower.told] == ["accepted", "waiting"]
