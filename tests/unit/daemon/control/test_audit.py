"""Who asked for what: each order names its user in the journal, and a flood of refusals is a few records."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.report.journal_events import Event
from agent.core.values import User
from agent.daemon import quiet
from agent.daemon.control.audit import QUIET, Audit
from agent.daemon.quiet import MOST
from agent.errors import RefusedError
from agent.system.peers import Peer, Role, behind, user_of
from support.running.daemon_rig import Person
from support.running.office import HandClock

if TYPE_CHECKING:
    from pathlib import Path

    from support.running.daemon_rig import DaemonRig

NAMELESS = 4_000_000_000  # as directories of large organisations number their users


class KeptJournal:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written: list[tuple[Event, str, dict[str, Any]]] = []

    def tell(self, event: Event, text: str, /, **fields: Any) -> None:
        """See `agent.daemon.daemon_log.DaemonLog.tell`."""
        self.written.append((event, text, fields))


def peer(uid: int) -> Peer:
    """Return a process of this user."""
    return Peer(pid=1, uid=uid, gid=uid, groups=frozenset())


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> HandClock:
    """Give a clock that the test moves."""
    clock = HandClock()
    monkeypatch.setattr(quiet, "monotonic", clock)
    return clock


def test_an_order_names_its_user_by_number_and_name() -> None:
    """A number without a name stands for itself."""
    journal = KeptJournal()
    for uid in (0, NAMELESS):
        Audit(journal.tell).taken(user_of(uid), "rotate (visit 2)")
    assert journal.written == [
        (Event.ORDER_TAKEN, "root (uid 0) orders: rotate (visit 2).", {"uid": 0, "user": "root"}),
        (
            Event.ORDER_TAKEN,
            "uid 4000000000 orders: rotate (visit 2).",
            {"uid": NAMELESS, "user": "4000000000"},
        ),
    ]


def test_a_user_who_is_refused_again_and_again_is_told_of_once_a_minute(passed: HandClock) -> None:
    """And so are many users: a name space of users has thousands of numbers."""
    journal = KeptJournal()
    told = Audit(journal.tell)
    for uid in (*[NAMELESS] * 100, *range(NAMELESS + 1, NAMELESS + 1000)):
        told.turned_away(peer(uid))
    assert len(journal.written) == MOST
    assert journal.written[0][1] == f"uid {NAMELESS} was refused (a connection): this user may not talk to the agent."
    passed.now += QUIET
    told.refused(peer(NAMELESS), "rotate", "No.")
    assert journal.written[-1][0] is Event.ORDER_REFUSED
    assert journal.written[-1][1:] == (
        f"uid {NAMELESS} was refused (rotate): No. {1000 - MOST} more were kept back before it.",
        {"uid": NAMELESS, "user": str(NAMELESS)},
    )
    assert len(journal.written) == MOST + 1


def test_what_else_a_user_is_refused_is_told_at_once(passed: HandClock) -> None:
    """Another order, and another reason; the same not again."""
    journal = KeptJournal()
    told = Audit(journal.tell)
    for what, why in (
        ("a look", "No."),
        ("rotate", "No."),
        ("rotate", "Another change is in flight."),
        ("rotate", "No."),
    ):
        passed.now += 1.0
        told.refused(peer(NAMELESS), what, why)
    assert [text.partition("refused ")[2] for _, text, _ in journal.written] == [
        "(a look): No.", "(rotate): No.", "(rotate): Another change is in flight.",
    ]  # fmt: skip


def test_root_is_told_with_the_person_who_logged_in() -> None:
    """`sudo` makes every technician root; which one it was the session's number says."""
    journal = KeptJournal()
    Audit(journal.tell).taken(behind(0, NAMELESS), "rotate")
    ((_, text, fields),) = journal.written
    assert text == f"root (uid 0), logged in as uid {NAMELESS} orders: rotate."
    assert fields == {"uid": 0, "user": "root", "login": str(NAMELESS)}


@pytest.fixture
def journal(rig: DaemonRig) -> KeptJournal:
    """Give a daemon's journal."""
    kept = KeptJournal()
    rig.daemon.verbs._calls.audit._log = kept.tell
    return kept


def test_a_worker_is_told_who_ordered_and_a_look_is_no_order(rig: DaemonRig, journal: KeptJournal) -> None:
    """What only looks or tries is asked for every minute by a monitor."""
    for verb in ("status", "history", "examine"):
        rig.say(verb)
    assert journal.written == []
    rig.see()
    rig.look()
    rig.finish(exit=0)
    rig.say("rotate")
    assert [(event, fields["uid"]) for event, _, fields in journal.written] == [(Event.ORDER_TAKEN, 0)]
    rig.look()
    assert rig.orders[-1].asked_by == User(uid=0, name="root")


@pytest.mark.parametrize(("uid", "login"), [(0, NAMELESS), (NAMELESS, None)])
def test_root_alone_is_believed_who_logged_in(
    rig: DaemonRig, monkeypatch: pytest.MonkeyPatch, uid: int, login: int | None
) -> None:
    """Any other user is who the kernel says, whatever the request holds."""
    rig.see()
    monkeypatch.setattr(Person, "peer", peer(uid))
    rig.say("rotate", login_uid=NAMELESS)
    rig.look()
    asked_by = rig.orders[-1].asked_by
    assert asked_by is not None
    assert (asked_by.uid, asked_by.login_uid) == (uid, login)


def test_orders_that_are_refused_are_told_with_the_reason(
    rig: DaemonRig, journal: KeptJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the role of the user as well as by the state of the gateway."""
    with pytest.raises(RefusedError):
        rig.say("confirm")
    monkeypatch.setattr(Person, "role", Role.READER)
    monkeypatch.setattr(Person, "peer", peer(NAMELESS))
    assert rig.say("pause").told[-1]["exit"]
    refused = [text for event, text, _ in journal.written if event is Event.ORDER_REFUSED]
    assert [text.split(":")[0] for text in refused] == [
        "root (uid 0) was refused (confirm)",
        "uid 4000000000 was refused (pause)",
    ]


def test_the_process_that_acts_without_a_daemon_knows_its_user() -> None:
    """Before it becomes the owner of the state directory."""
    from agent.system.peers import this_user  # noqa: PLC0415

    assert this_user().uid == os.getuid()


@pytest.mark.parametrize(
    ("kernel", "sudo", "login"),
    [("1000", "1001", 1000), (str(2**32 - 1), "1001", 1001), (str(2**32 - 1), "", None), ("", "1x", None)],
)
def test_the_kernels_word_of_the_login_goes_before_sudos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: str, sudo: str, login: int | None
) -> None:
    """A service or a container has no login."""
    from agent.system import peers  # noqa: PLC0415

    (tmp_path / "loginuid").write_text(kernel)
    monkeypatch.setattr(peers, "_LOGIN", tmp_path / "loginuid")
    monkeypatch.setenv("SUDO_UID", sudo)
    assert peers.login_uid() == login
