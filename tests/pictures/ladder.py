"""The ladder, drawn from what `agent.core.change.ladder.climb` decides: each rung is tried with each kind of answer."""

from __future__ import annotations

from typing import NamedTuple

from agent.core.change.ladder import Attempt, Climb, Rung, climb, missing
from agent.core.failure.codes import Code
from agent.core.failure.failure import Failure, FailureClass
from pictures.svg import Picture, wrapped

AT, WIDE, HIGH, STEP = 250, 420, 66, 104

# What each rung is, and what follows where it is accepted.
TOLD = {
    Rung.CURRENT: ("the set in use", "nothing is wrong with it: the connection comes back"),
    Rung.PREVIOUS_ANCHORS: ("the certificate in use, the anchors before", "these anchors are put in use"),
    Rung.BAKED_ANCHORS: ("the certificate in use, the anchors of the package", "these anchors are put in use"),
    Rung.PREVIOUS: ("the set before", "it is put back and rotated from"),
    Rung.CLAIM: ("the claim certificate", "the gateway enrols anew"),
    Rung.SALVAGED: ("a key and certificate that are left on the disk", "they are proven and imported"),
    Rung.TECHNICIAN: ("the endpoint accepts no set of this gateway", "goes on trying; a person is told what helps"),
}


def _failure(kind: FailureClass, code: Code) -> Failure:
    return Failure(kind=kind, code=code, message="It was not accepted.", decisive=False)


ANSWERS = {
    "refused": _failure(FailureClass.CREDENTIAL, Code.HUNG_UP),
    "missing": None,
    "server not trusted": _failure(FailureClass.SERVER_TRUST, Code.UNKNOWN_ROOT),
    "no network": _failure(FailureClass.NETWORK, Code.DNS),
}


# A gateway with a claim certificate; one that buys its certificates has the vending machine instead, as its last rung.
RUNGS: tuple[Rung, ...] = tuple(rung for rung in Rung if rung is not Rung.VENDING)


class Move(NamedTuple):
    """One move: from a rung, at an answer, to the rung that follows, or None where the gateway waits."""

    rung: Rung
    answer: str
    to: Rung | None


def moves() -> set[Move]:
    """Return every move that is decided, whatever was met on the way to a rung."""
    found: set[Move] = set()
    ways: list[tuple[Attempt, ...]] = [()]
    while ways:
        way = ways.pop()
        rung = climb(way).try_next
        if rung is None:
            continue
        for answer, failure in ANSWERS.items():
            attempt = Attempt(rung=rung, failure=failure) if failure else missing(rung, "It is not there.")
            following = climb((*way, attempt))
            found.add(Move(rung, answer, _next(following)))
            ways.append((*way, attempt))
        assert climb((*way, Attempt(rung=rung))).use is rung, "what is accepted is used"
    return found


def _next(climbed: Climb) -> Rung | None:
    return climbed.try_next or climbed.use


def draw() -> str:
    """Return the picture."""
    picture = Picture(
        960,
        "The ladder",
        "What a gateway tries when its set does not connect, from bottom to top: other anchors where the server "
        "is not trusted, the previous set, the claim certificate and what is left on the disk where sets are refused. "
        "A failure that any path may have leads to no other rung.",
    )
    rungs = list(RUNGS)
    places = {rung: 60.0 + STEP * (len(rungs) - 1 - number) for number, rung in enumerate(rungs)}
    picture.text(AT - 24, 34, "where the server is not trusted", "small wary", "end")
    picture.text(AT + WIDE + 24, 34, "where a set is refused, or missing", "small bad")
    for (rung, to), answers in _ways().items():
        with picture.group(**{"from": rung, "to": to, "answers": ", ".join(answers)}):
            _arrow(picture, places, (rung, to), answers)
    for rung, y in places.items():
        with picture.group(rung=rung):
            _rung(picture, y, rung)
    foot = places[Rung.CURRENT] + HIGH + 34
    picture.text(AT, foot, "No network: any rung would meet that, so the gateway waits and tries again.", "small")
    vends = "A gateway that buys its certificates has no claim. A new token for the vending machine is its last rung."
    picture.text(AT, foot + 19, vends, "small")
    return picture.svg(foot + 41)


def _ways() -> dict[tuple[Rung, Rung], list[str]]:
    """Return which answers lead from a rung to another one."""
    rungs, answers = list(RUNGS), list(ANSWERS)
    ways: dict[tuple[Rung, Rung], list[str]] = {}
    for rung, answer, to in sorted(moves(), key=lambda move: (rungs.index(move.rung), answers.index(move.answer))):
        if to is not None:
            ways.setdefault((rung, to), []).append(answer)
    return ways


def _rung(picture: Picture, y: float, rung: Rung) -> None:
    is_set, then = TOLD[rung]
    picture.box(AT, y, WIDE, HIGH, "bad" if rung is Rung.TECHNICIAN else "main" if rung is Rung.CURRENT else "")
    picture.text(AT + 14, y + 21, rung, "head")
    picture.text(AT + 14, y + 39, is_set, "small quiet")
    mark = "" if rung is Rung.TECHNICIAN else "accepted: "
    picture.text(AT + 14, y + 56, f"{mark}{then}", "small bad" if rung is Rung.TECHNICIAN else "small good")


def _arrow(picture: Picture, places: dict[Rung, float], way: tuple[Rung, Rung], answers: list[str]) -> None:
    rung, to = way
    kind, side = ("bad", 1) if "refused" in answers else ("wary", -1)
    far = places[rung] - places[to]
    edge = AT + WIDE if side > 0 else AT
    lane = edge + side * (18 + 60 * (far / STEP - 1))
    start, end = places[rung] + 20, places[to] + HIGH - 12
    picture.arrow((edge, start), (lane, start), (lane, end), (edge, end), kind=kind)
    for number, line in enumerate(wrapped(", ".join(answers), 22)):
        picture.text(
            lane + side * 8, start - 6 - 15 * (1 - number), line, f"small {kind}", "start" if side > 0 else "end"
        )
