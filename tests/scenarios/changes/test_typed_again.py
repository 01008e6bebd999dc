"""A command that was interrupted and is typed again does what it said, once: each order, cut off at each durable step.

The table below has a row for each order that the command line knows and that changes the set in use or its anchors; a
test holds it against the parser, so that a new one cannot be forgotten. Each row is cut off around each record that it
writes, and after its end; then the same order is given again, or the daemon goes on, or another order is given. A
sample has a part of these cuts.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from agent.cli.command_line import parser
from agent.core.change.lifecycle import Phase
from agent.core.change.verbs import Verb
from agent.core.values import Kind, Origin
from agent.errors import RefusedError
from agent.sandbox.replies.faults import Operation
from support.simulated.outside import THING
from support.simulated.troubled import PowerCut
from support.suite import campaigns

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.values import CredentialSet, TrustBundle
    from support.simulated.rig import Rig

ISSUING = (
    Phase.PLANNED, Phase.KEY_READY, Phase.REQUESTED, Phase.ISSUED, Phase.REGISTERED,
)  # fmt: skip
IN_PLACE = (Phase.PREPARED, Phase.PROVEN, Phase.ACTIVE, Phase.DEPLOYED, Phase.COMMITTED)


class OrderedGateway:
    """A gateway, and what a person has on a stick."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.stick: CredentialSet | None = None
        self.bundle: TrustBundle | None = None

    def order(self, verb: Verb) -> None:
        """Type one of the orders about the set."""
        operations = self.rig.operations
        operations.take_up()
        operations.order(verb, "a visit")

    def bring(self) -> None:
        """Type `import`."""
        rig, operations = self.rig, self.rig.operations
        self.stick = self.stick or rig.outside_set()
        operations.take_up()
        if operations.make_way(self.stick, rig.anchors()):
            rig.planner.bring_in(self.stick, THING, rig.anchors(), "from a stick")
        operations.go_on()

    def install(self) -> None:
        """Type `trust install`, or `trust restore`."""
        rig, operations = self.rig, self.rig.operations
        self.bundle = self.bundle or rig.bundle(rig.root, rig.second_root)
        operations.take_up()
        if operations.make_way(None, self.bundle):
            rig.planner.install(self.bundle, Origin.TECHNICIAN, "a visit")
        operations.go_on()

    def confirm(self) -> None:
        """Type `confirm`."""
        operations = self.rig.operations
        operations.take_up()
        operations.confirm()

    def daemon(self) -> None:
        """Go on as the daemon's workers do, until nothing is in flight."""
        for _ in range(4):
            operations = self.rig.operations
            operations.take_up()
            operations.go_on()


@dataclass(frozen=True)
class OrderRow:
    """One order.

    Attributes:
        give: Gives it.
        phases: The records around which it is cut off.
        end: Kind and end of the one change that it comes to.
        current: The generation that is in use then.
        begin: Brings the gateway into the state in which it is given.
        asks: Certificates that are asked for.
    """

    give: Callable[[OrderedGateway], None]
    phases: tuple[Phase, ...]
    end: tuple[str, str]
    current: int
    begin: Callable[[OrderedGateway], object] = lambda house: house
    asks: int = 0


def on_probation(house: OrderedGateway) -> None:
    """Let a rotation be on probation."""
    house.rig.to_probation()


def waiting(house: OrderedGateway) -> None:
    """Let a rotation have its key, and nothing more."""
    house.rig.run_to(Kind.ROTATE, Phase.KEY_READY)


ROWS: dict[str, OrderRow] = {
    "rotate": OrderRow(
        lambda house: house.order(Verb.ROTATE), (*ISSUING, *IN_PLACE), ("rotate", "committed"), current=3, asks=1
    ),
    "rollback": OrderRow(lambda house: house.order(Verb.ROLLBACK), IN_PLACE, ("rollback", "committed"), current=1),
    "rollback on probation": OrderRow(
        lambda house: house.order(Verb.ROLLBACK), (Phase.DEPLOYED, Phase.ROLLED_BACK), ("rotate", "rolled-back"),
        current=2, begin=on_probation,
    ),
    "rollback before activation": OrderRow(
        lambda house: house.order(Verb.ROLLBACK), (Phase.REJECTED,), ("rotate", "rejected"), current=2, begin=waiting
    ),
    "rollback --give-up": OrderRow(
        lambda house: house.order(Verb.GIVE_UP), (Phase.REJECTED,), ("rotate", "rejected"), current=2, begin=waiting
    ),
    "import": OrderRow(OrderedGateway.bring, IN_PLACE, ("import", "committed"), current=3),
    "trust install": OrderRow(OrderedGateway.install, IN_PLACE, ("trust", "committed"), current=3),
    "confirm": OrderRow(
        OrderedGateway.confirm, (Phase.DEPLOYED, Phase.COMMITTED), ("rotate", "committed"),
        current=3, begin=on_probation
    ),
}  # fmt: skip

# What else the command line has, and why it has no row here: it plans no change, or does so through another row.
WITHOUT_A_ROW = {
    "enroll": "begins on a gateway without a set; see below",
    "trust restore": "installs anchors as `trust install` does",
    "retire": "asks for each certificate until the history says that it is retired, or was never registered",
    "pause": "says until when, and is the same when said again",
    "resume": "ends what is there",
    "deploy": "leaves alone what uses the set already",
    "run": "is the daemon",
    "help": "only looks",
    "config hand-over": "writes the same values down",
    **dict.fromkeys(
        [
            f"cloud {name}"
            for name in (
                "adopt",
                "arm",
                "block",
                "ca",
                "check",
                "devices",
                "first-deployment",
                "orphans",
                "readmit",
                "rotate",
                "setup",
                "status",
            )
        ],
        "asks the operator's account, and no gateway",
    ),
    **dict.fromkeys(["status", "explain", "history", "check", "config check"], "only looks"),
    **dict.fromkeys(["trust list", "trust check", "support-bundle", "report"], "only looks"),
    **dict.fromkeys(["trust publish", "sandbox"], "has nothing to do with a gateway"),
}

CUTS = [
    pytest.param(name, phase, saved, id=f"{name}, {phase} {'written' if saved else 'not yet written'}")
    for name, row in ROWS.items()
    for phase in row.phases
    for saved in (False, True)
]


@pytest.fixture(name="house")
def _house(gateway: Rig) -> OrderedGateway:
    return OrderedGateway(gateway)


def cut_off(house: OrderedGateway, name: str, phase: Phase, *, saved: bool) -> OrderRow:
    """Give an order and lose power around a record; return its row."""
    row = ROWS[name]
    row.begin(house)
    house.rig.disk.cut_power(phase, saved=saved)
    with pytest.raises(PowerCut):
        row.give(house)
    house.rig.restart()
    return row


def ends_as(house: OrderedGateway, row: OrderRow, before: int, *, made_twice: bool = False) -> None:
    """Check that one change came of it, with its end, and what it leaves in use."""
    rig = house.rig
    assert rig.at_rest
    assert [end[:2] for end in rig.history[before:]] == [row.end]
    assert rig.current == row.current + made_twice
    assert rig.connects()


@pytest.mark.parametrize(("name", "phase", "saved"), campaigns.take(CUTS, 3))
def test_the_same_order_again(house: OrderedGateway, name: str, phase: Phase, *, saved: bool) -> None:
    """It comes to one change with the end that was ordered, wherever the first one was cut off."""
    rig = house.rig
    before, asked = len(rig.history), rig.asked(Operation.CREATE)
    row = cut_off(house, name, phase, saved=saved)
    row.give(house)

    # A generation that is written before its change is planned is written anew, since numbers only grow.
    ends_as(house, row, before, made_twice=row.end[0] in {"import", "trust"} and phase is Phase.PREPARED and not saved)
    lost = phase is Phase.ISSUED and not saved  # a reply that no record tells of; the request was counted
    on_the_way = 1 if row.begin is on_probation else 0
    assert rig.asked(Operation.CREATE) - asked == row.asks + on_the_way + lost


@pytest.mark.parametrize("name", ROWS)
def test_the_same_order_after_its_end(house: OrderedGateway, name: str) -> None:
    """The command was killed before it could say how it ended: it says so now, and nothing is done twice."""
    row, before = ROWS[name], len(house.rig.history)
    row.begin(house)
    row.give(house)
    house.rig.restart()
    row.give(house)

    ends_as(house, row, before)


@pytest.mark.parametrize(("name", "phase", "saved"), campaigns.take(CUTS, 5))
def test_the_daemon_goes_on(house: OrderedGateway, name: str, phase: Phase, *, saved: bool) -> None:
    """What was written down comes to its end without a person; what was not yet is as if it had not been ordered."""
    rig, before = house.rig, len(house.rig.history)
    row = cut_off(house, name, phase, saved=saved)
    change = rig.engine.change
    on_record = change is not None and (change.condemned or change.confirmed_at or row.begin is not on_probation)
    house.daemon()

    if on_record and (saved or phase is not Phase.REJECTED):
        ends_as(house, row, before)
    else:
        assert rig.at_rest
        assert rig.connects()


OTHERS = {
    "rotate": lambda house: house.order(Verb.ROTATE),
    "rollback": lambda house: house.order(Verb.ROLLBACK),
    "import": OrderedGateway.bring,
    "trust install": OrderedGateway.install,
}


AFTER_ANOTHER = [
    pytest.param(*cut.values, other, id=f"{cut.id}, {other}")
    for cut in CUTS
    for other in OTHERS
    if not str(cut.values[0]).startswith(other)
]


@pytest.mark.parametrize(("name", "phase", "saved", "other"), campaigns.take(AFTER_ANOTHER, 11))
def test_another_order(house: OrderedGateway, name: str, phase: Phase, other: str, *, saved: bool) -> None:
    """It is carried out, after what was begun or instead of it; the gateway connects, and each change has one end."""
    rig, before = house.rig, len(house.rig.history)
    cut_off(house, name, phase, saved=saved)
    try:
        OTHERS[other](house)
    except RefusedError as refusal:
        assert refusal.hint, "a refusal says what to do"  # noqa: PT017 - there may be none
        house.daemon()
        OTHERS[other](house)

    assert rig.at_rest
    assert rig.connects()
    was_carried_out(house, other, [end[:2] for end in rig.history[before:]])


def was_carried_out(house: OrderedGateway, other: str, ends: list[tuple[str, str]]) -> None:
    """Check that the other order did what it says."""
    rig = house.rig
    assert rig.current is not None
    match other:
        case "rotate":
            assert ends[-1] == ("rotate", "committed")
        case "rollback":
            assert ends[-1] == ("rollback", "committed") or ends[-1][1] in {"rejected", "rolled-back"}
        case "import":
            assert house.stick is not None
            assert rig.certificate(rig.current) == house.stick.leaf.sha256
        case _:
            assert house.bundle is not None
            assert rig.store.generation(rig.current).trust.fingerprints == house.bundle.fingerprints


@pytest.mark.parametrize(("phase", "saved"), campaigns.pairs([*ISSUING, *IN_PLACE], [True, False]))
def test_an_enrolment_again(rig: Rig, phase: Phase, *, saved: bool) -> None:
    """The first certificate is asked for once, and the gateway has it in the end."""
    house = OrderedGateway(rig)
    rig.disk.cut_power(phase, saved=saved)
    with pytest.raises(PowerCut):
        house.order(Verb.ENROLL)
    rig.restart()
    house.order(Verb.ENROLL)
    house.order(Verb.ENROLL)  # and once more, since its end was not told

    assert [end[:2] for end in rig.history] == [("enroll", "committed")]
    assert rig.current == 1
    assert rig.connects()


def test_every_order_of_the_command_line_has_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new one is entered above, with what becomes of it when it is typed again."""
    known = {*(name.split(" on ")[0].split(" before ")[0].split(" --")[0] for name in ROWS), *WITHOUT_A_ROW}
    seen: list[argparse.ArgumentParser] = []
    parse_known_args = argparse.ArgumentParser.parse_known_args

    def remember(self: argparse.ArgumentParser, *given: Any) -> tuple[argparse.Namespace, list[str]]:
        seen.append(self)
        return parse_known_args(self, *given)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", remember)
    parser.parse(["status"])

    assert set(_verbs(seen[0])) == known


def _verbs(found: argparse.ArgumentParser, before: str = "") -> list[str]:
    """Return the verbs of a parser, with those below them."""
    below = [action for action in found._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        return [before]
    choices: dict[str, argparse.ArgumentParser] = below[0].choices
    return [verb for name, child in choices.items() for verb in _verbs(child, f"{before} {name}".strip())]
