"""Draws a story from a seed: what the gateway is, six to fourteen events, and the one rung that is accepted at the end.

The same seed gives the same story. What comes of it may differ, since commands, daemon and blows run in real time.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, TypeVar

from agent.sandbox.cloud import Status
from agent.sandbox.replies.faults import Effect, Operation
from support.walkkit import disk, endings, steps
from support.walkkit.disk import Harm
from support.walkkit.endings import Ending, Rung
from support.walkkit.factory import Start
from support.walkkit.orders import Blow, Victim
from support.walkkit.pairs import THING
from support.walkkit.steps import STICK, Brought, Step, Whose
from support.walkkit.telling import Story

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

FEWEST, MOST = 6, 14
REPEAT = "make walks SEED={seed}"

LIVES: Sequence[tuple[int, tuple[str, ...]]] = (
    (2, ()),
    (3, ("enroll",)),
    (8, ("enroll", "rotate")),
    (3, ("enroll", "rotate", "rotate")),
    (2, ("enroll", "union", "baked")),
    (2, ("enroll", "rotate", "union", "baked")),
    (2, ("enroll", "union", "rotate")),
)
FILES = ("key.pem", "certificate.pem", "credential.pem", "trust.pem", "manifest.json")
LINKS = ("current", "current", "previous")
FOLLOWED: Sequence[tuple[int, tuple[str, ...]]] = (
    (6, ("rotate",)),
    (3, ("rollback",)),
    (3, ("import", "--from", STICK, "--thing", THING)),
    (2, ("enroll",)),
    (1, ("trust", "install", "BUNDLE")),
    (1, ("trust", "restore")),
)
SHORT = (("retire",), ("pause", "1h"), ("resume",), ("rotate", "--dry-run"), ("check",), ("status",))
BROUGHT = ((4, Brought.GOOD), (2, Brought.INACTIVE), (1, Brought.REVOKED), (1, Brought.MISFIT))

NO_LUCK = (Effect.THROTTLE, Effect.UNAVAILABLE, Effect.HANG_UP, Effect.SILENCE, Effect.UNAUTHORISED)
REPLIES = (Effect.LOSE, Effect.IGNORE, Effect.LATE, Effect.DUPLICATE, Effect.HANG_UP, Effect.GARBLE, Effect.OVERSIZE)
ANSWERS = (*REPLIES, *NO_LUCK, Effect.REJECT, Effect.DENY)
FAULTS: Sequence[tuple[Operation, Sequence[Effect]]] = (
    (Operation.CONNECT, NO_LUCK),
    (Operation.CREATE, (*ANSWERS, Effect.WRONG_KEY, Effect.EXPIRED, Effect.NOT_YET_VALID, Effect.NO_TOKEN)),
    (Operation.REGISTER, (*ANSWERS, Effect.NEVER_ACTIVE, Effect.REVOKE, Effect.WRONG_THING)),
    (Operation.ASK, (*REPLIES, Effect.UNAUTHORISED, Effect.THROTTLE)),
)


def story(seed: int) -> Story:
    """Return the story of a seed."""
    draw = Draw(seed)
    start = draw.start()
    first = [steps.start()] if draw.chance.random() < 0.6 else []
    events = [step for _ in range(draw.chance.randint(FEWEST, MOST)) for step in draw.event(start)]
    return Story(
        name=f"seed {seed}",
        start=start,
        steps=(*first, *events),
        ending=draw.ending(),
        repeat=REPEAT.format(seed=seed),
    )


class Draw:
    """Draws the parts of one story."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - a story must be the same in each run

    def one(self, weighted: Sequence[tuple[int, T]]) -> T:
        """Draw one of some things."""
        return self.chance.choices([item for _, item in weighted], [weight for weight, _ in weighted])[0]

    def start(self) -> Start:
        """Draw what the gateway is."""
        probation = self.one(((6, "1s"), (3, "5s"), (1, "60s")))
        return Start(
            lived=self.one(LIVES),
            names_thing=self.chance.random() < 0.75,
            retires_at_once=self.chance.random() < 0.25,
            small_disk=self.chance.random() < 0.25,
            settings=(("probation", probation),),
        )

    def ending(self) -> Ending:
        """Draw the rung that is accepted at the end; those after it are for a gateway that does not have it."""
        weights = {
            Rung.CURRENT: 1,
            Rung.PREVIOUS: 3,
            Rung.OTHER_ANCHORS: 2,
            Rung.CLAIM: 2,
            Rung.DAMAGED_MANIFEST: 2,
            Rung.TECHNICIAN: 2,
        }
        left, rungs = dict(weights), []
        while left:
            rungs.append(self.one([(weight, rung) for rung, weight in left.items()]))
            del left[rungs[-1]]
        rescues = (endings.new_claim, endings.activate_again, endings.import_stick)
        return Ending(
            rungs=tuple(rungs),
            dead=self.chance.choice((Status.INACTIVE, Status.REVOKED)),
            harm=self.chance.choice((Harm.FLIP, Harm.CUT, Harm.DELETE)),
            rescue=self.chance.choice(rescues)(),
            spoils=self.chance.choice(LINKS),
            reboots=self.chance.random() < 0.4,
        )

    def event(self, start: Start) -> list[Step]:
        """Draw one event; a few take more than one step."""
        events: list[tuple[int, Callable[[], list[Step]]]] = [
            (9, self._order),
            (2, self._short_order),
            (4, self._damage),
            (1, self._damage_record),
            (1, self._links),
            (3, self._by_hand),
            (4, self._refuse),
            (2, self._activate),
            (3, self._away),
            (4, self._fault),
            (1, self._other_root),
            (2, self._claim_files),
            (3, lambda: [steps.start()]),
            (3, self._strike_daemon),
            (1, lambda: [steps.short_starts(self.chance.choice((2, 4, 12)), 2.0)]),
            (2, lambda: [steps.wait(self.chance.uniform(0.5, 4.0))]),
            (2, lambda: [steps.calm()]),
            (4 if start.small_disk else 0, self._disk),
        ]
        return self.one(events)()

    def _order(self) -> list[Step]:
        words = self.one(FOLLOWED)
        patience = ("--no-wait",) if self.chance.random() < 0.4 else ("--wait", str(self.chance.choice((0, 3, 8))))
        times = 2 if self.chance.random() < 0.1 else 1
        blow = self._blow() if times == 1 and self.chance.random() < 0.4 else None
        order = steps.order(*words, *patience, blow=blow, times=times)
        return [steps.stick(self.one(BROUGHT)), order] if words[0] == "import" else [order]

    def _short_order(self) -> list[Step]:
        return [steps.order(*self.chance.choice(SHORT))]

    def _blow(self) -> Blow:
        if self.chance.random() < 0.25:
            return Blow(interrupt=True, after=round(self.chance.uniform(0.3, 4.0), 2))
        victim = self.chance.choice(tuple(Victim))
        if self.chance.random() < 0.5:
            return Blow(victim=victim, record=self.chance.randint(1, 9), after=8.0)
        return Blow(victim=victim, after=round(self.chance.uniform(0.05, 4.0), 2))

    def _harm(self) -> tuple[Harm, float]:
        return self.chance.choice(tuple(Harm)), round(self.chance.random(), 3)

    def _damage(self) -> list[Step]:
        return [disk.damage(self.chance.choice(LINKS), self.chance.choice(FILES), *self._harm())]

    def _damage_record(self) -> list[Step]:
        return [disk.damage_record(self.chance.choice(("change.json", "history.jsonl")), *self._harm())]

    def _links(self) -> list[Step]:
        return [self.chance.choice((disk.unlink("current"), disk.unlink("previous"), disk.swap_links()))]

    def _by_hand(self) -> list[Step]:
        return [steps.by_hand(self.chance.choice(LINKS), self.one(BROUGHT))]

    def _refuse(self) -> list[Step]:
        whose = self.one(((4, Whose.CURRENT), (3, Whose.PREVIOUS), (1, Whose.CLAIM), (2, Whose.ALL)))
        return [steps.status(whose, self.chance.choice((Status.INACTIVE, Status.REVOKED)))]

    def _activate(self) -> list[Step]:
        return [steps.status(self.chance.choice(tuple(Whose)), Status.ACTIVE)]

    def _away(self) -> list[Step]:
        how = self.chance.choice(("down", "rude", "silent"))
        lasts = round(self.chance.uniform(0.5, 6.0), 1)
        return [steps.away(how), *([steps.wait(lasts), steps.calm()] if self.chance.random() < 0.5 else [])]

    def _fault(self) -> list[Step]:
        operation, effects = self.chance.choice(FAULTS)
        times = self.chance.choice(("1", "1", "2", "5", "always"))
        return [steps.console(f"fault {operation} {self.chance.choice(effects)} {times}")]

    def _other_root(self) -> list[Step]:
        lasts = round(self.chance.uniform(0.5, 4.0), 1)
        return [steps.console("server other-root"), steps.wait(lasts), steps.console("server good")]

    def _claim_files(self) -> list[Step]:
        return [steps.claim_files(there=self.chance.random() < 0.4)]

    def _strike_daemon(self) -> list[Step]:
        struck = self.chance.choice((steps.stop(), steps.kill(Victim.DAEMON), steps.kill(Victim.WORKER)))
        return [struck, *([steps.start()] if self.chance.random() < 0.5 else [])]

    def _disk(self) -> list[Step]:
        return [
            disk.free_disk() if self.chance.random() < 0.3 else disk.full_disk(self.chance.choice((0, 0, 8, 40, 200)))
        ]
