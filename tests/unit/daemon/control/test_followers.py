"""The clients that wait: what each is told, when it is let go, and whose end counts as told."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from agent.core.change.progress import Progress
from agent.core.control_protocol import ErrorMessage, OutcomeMessage, encode_message
from agent.core.exit_codes import Exit
from agent.core.worker_protocol import WorkerError
from agent.daemon.control.followers import Followers
from agent.errors import RefusedError
from support import make
from support.make import NOW
from support.running.daemon_rig import Person

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.daemon.control.client import Client

STEP = Progress(at=NOW, code="issued", text="A step.", change="c-1")
ENDED = OutcomeMessage(change=make.finished(id="c-1"), exit=0)
TOLD, OUTCOME = (json.loads(encode_message(message)) for message in (STEP, ENDED))


class Leaver(Person):
    """A client that may leave."""

    def __init__(self) -> None:
        super().__init__()
        self._gone: list[Callable[[], None]] = []

    def on_gone(self, call: Callable[[], None]) -> None:  # type: ignore[override] # it does leave
        """Keep the call."""
        self._gone.append(call)

    def leave(self) -> None:
        """Hang up."""
        for call in self._gone:
            call()


class Room:
    """Followers, and which ends were noted as told."""

    def __init__(self) -> None:
        self.noted: list[str] = []
        self.followers = Followers(self.noted.append)

    def follow(self, *, brief: bool = False, change: str | None = None) -> Leaver:
        """Have a client follow."""
        person = Leaver()
        self.followers.follow(cast("Client", person), change, brief=brief)
        return person

    def wait(self, *, brief: bool = False) -> Leaver:
        """Have a client wait for its order to be begun."""
        person = Leaver()
        self.followers.wait(cast("Client", person), brief=brief)
        return person

    def start(self, person: Person) -> None:
        """Let its order be begun."""
        self.followers.started(cast("Client", person))


@pytest.fixture
def room() -> Room:
    """Give followers without any."""
    return Room()


def test_a_follower_hears_each_step_and_the_end(room: Room) -> None:
    """And that it did is noted, since the same order, typed again, is then another one."""
    person = room.follow(change="c-1")
    room.followers.progress(STEP)
    room.followers.ended(ENDED)
    room.followers.progress(STEP)
    assert person.told == [TOLD, OUTCOME]
    assert room.noted == ["c-1"]


def test_a_client_hears_nothing_of_what_it_did_not_order(room: Room) -> None:
    """Until its order is begun."""
    person = room.wait()
    room.followers.progress(STEP)
    room.followers.ended(ENDED)
    assert person.told == []
    room.start(person)
    room.followers.progress(STEP)
    assert person.told == [TOLD]


def test_a_client_that_waits_for_retirements_hears_what_came_of_each(room: Room) -> None:
    """That belongs to no change in flight; nothing of one does concern it."""
    person = Leaver()
    room.followers.wait_for_retirements(cast("Client", person))
    noted = replace(STEP, code="dropped", change="")
    room.followers.progress(STEP)
    room.followers.progress(noted)
    room.followers.retired(None)
    room.followers.progress(noted)
    assert [told["event"] for told in person.told] == ["progress", "retired"]
    assert person.told[0]["code"] == "dropped"


def test_a_brief_client_leaves_with_the_id(room: Room) -> None:
    """At once when the change is on record; else with its first step. Its end counts as told."""
    at_once, begun = room.follow(brief=True, change="c-0"), room.wait(brief=True)
    assert at_once.told == [{"event": "begun", "change": "c-0", "exit": 0}]
    room.start(begun)
    room.followers.progress(replace(STEP, text="No change yet.", change=""))
    assert begun.told == []
    room.followers.progress(STEP)
    assert begun.told == [{"event": "begun", "change": "c-1", "exit": 0}]
    assert room.noted == ["c-0", "c-1"]


def test_a_client_whose_order_is_put_off_hears_of_the_change_before_and_stays(room: Room) -> None:
    """The end of that one is not the end of what it ordered."""
    person = room.wait()
    room.start(person)
    room.followers.postponed(cast("Client", person))
    room.followers.progress(STEP)
    room.followers.ended(ENDED)
    assert person.told == [TOLD]
    assert room.noted == []
    room.start(person)
    room.followers.ended(ENDED)
    assert person.told == [TOLD, OUTCOME]


def test_what_fails_is_told_to_the_client_that_asked_for_it_alone(room: Room) -> None:
    """The others go on following."""
    other, person = room.follow(), room.wait()
    room.start(person)
    error = WorkerError(message="No.", hint="Why.", exit=4, died=True)
    room.followers.failed(cast("Client", person), error)
    room.followers.ended(ENDED)
    assert person.told == [{"event": "error", "message": "No.", "hint": "Why.", "exit": 4}]
    assert other.told == [OUTCOME]


def test_a_client_that_has_left_is_told_nothing(room: Room) -> None:
    """Wherever it waited; and no end counts as told for it."""
    people = [room.follow(), room.wait(), room.follow(brief=True)]
    put_off = room.wait()
    room.start(put_off)
    room.followers.postponed(cast("Client", put_off))
    room.followers.wait_for_retirements(cast("Client", retiring := Leaver()))
    for person in (*people, put_off, retiring):
        person.leave()
    room.followers.progress(STEP)
    room.followers.dismiss(ENDED)
    assert [person.told for person in (*people, put_off, retiring)] == [[]] * 5
    assert room.noted == []
    assert not room.followers.await_retirements


def test_all_are_told_when_the_daemon_stops(room: Room) -> None:
    """Whatever they wait for."""
    put_off = room.wait()
    room.start(put_off)
    room.followers.postponed(cast("Client", put_off))
    people: list[Person] = [room.follow(), room.wait(), room.follow(brief=True), put_off, Leaver()]
    room.followers.wait_for_retirements(cast("Client", people[-1]))
    end = {"event": "error", "message": "Stopped.", "hint": "", "exit": 5}
    room.followers.dismiss(ErrorMessage(message="Stopped.", exit=Exit.UNAVAILABLE))
    assert [person.told for person in people] == [[end]] * 5


@pytest.mark.parametrize(
    ("held", "told"),
    [
        (None, {"event": "retired", "left": 0, "exit": 0}),
        (RefusedError("Held.", hint="By a program."), {
            "event": "error", "message": "Held.", "hint": "By a program.", "exit": 4,
        }),
    ],
)  # fmt: skip
def test_what_is_left_of_retirements_is_told_once(room: Room, held: RefusedError | None, told: dict[str, Any]) -> None:
    """All is retired, or another program holds some of it back."""
    room.followers.wait_for_retirements(cast("Client", person := Person()))
    assert room.followers.await_retirements
    for _ in range(2):
        room.followers.retired(held)
    assert person.told == [told]


@pytest.mark.parametrize(("code", "drops"), [(Exit.REFUSED, True), (Exit.UNAVAILABLE, False)])
def test_a_retirement_that_is_refused_can_be_dropped(room: Room, code: Exit, *, drops: bool) -> None:
    """One that is not answered is only asked for again."""
    room.followers.wait_for_retirements(cast("Client", person := Person()))
    room.followers.not_retired("It is not.", code)
    assert (person.last["message"], person.last["exit"]) == ("It is not.", code)
    assert ("--drop" in person.last["hint"]) is drops
