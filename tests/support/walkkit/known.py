"""Stories with names: states that a gateway is known to get into, the rung that is accepted then, and the end."""

from __future__ import annotations

from dataclasses import replace

from agent.sandbox.cloud import Status
from support.walkkit import disk, endings, steps
from support.walkkit.disk import Harm
from support.walkkit.endings import Ending, Rung
from support.walkkit.factory import Start
from support.walkkit.orders import Victim
from support.walkkit.steps import Brought, Whose
from support.walkkit.telling import Story

REPEAT = "make walks KNOWN={name}"
ONE, TWO = ("enroll",), ("enroll", "rotate")
YOUNG, SETTLED = Start(lived=ONE), Start(lived=TWO)
ON_TRIAL = Start(lived=TWO, settings=(("probation", "5s"),))
LONG_PROBATION = Start(lived=TWO, settings=(("probation", "20s"),))
SMALL_DISK = Start(lived=TWO, small_disk=True)

CONNECTED = (steps.until_connected(),)
WAITING_ROTATION = (
    *CONNECTED,
    steps.console("fault create throttle always"),
    steps.order("rotate", "--no-wait"),
    steps.until_waiting("throttled"),
)
ON_PROBATION = (*CONNECTED, steps.order("rotate", "--no-wait"), steps.until_phase("deployed"))


def accept(rung: Rung, dead: Status = Status.INACTIVE, harm: Harm = Harm.FLIP, *, reboots: bool = False) -> Ending:
    """Return the ending in which one rung is accepted."""
    return Ending(rungs=(rung,), dead=dead, harm=harm, reboots=reboots)


def rescued(*rescue: steps.Step) -> Ending:
    """Return the ending in which nothing is accepted before a technician comes."""
    return Ending(rungs=(Rung.TECHNICIAN,), rescue=rescue)


KNOWN = (
    # -- refused sets
    Story(
        name="current-revoked",
        start=SETTLED,
        steps=CONNECTED,
        ending=accept(Rung.PREVIOUS, dead=Status.REVOKED),
        asked=1,
    ),
    Story(
        name="all-revoked-but-the-claim",
        start=SETTLED,
        steps=CONNECTED,
        ending=accept(Rung.CLAIM, dead=Status.REVOKED),
        connected_with="new",
        asked=1,
    ),
    Story(
        name="root-moved-to-the-previous-anchors",
        start=Start(lived=("enroll", "union", "baked")),
        steps=CONNECTED,
        ending=accept(Rung.OTHER_ANCHORS),
        connected_with="accepted",
        asked=0,
    ),
    Story(
        name="root-moved-to-the-baked-anchors",
        start=SETTLED,
        steps=CONNECTED,
        ending=accept(Rung.OTHER_ANCHORS),
        connected_with="accepted",
        asked=0,
    ),
    Story(
        name="root-moved-on-probation",
        start=LONG_PROBATION,
        steps=ON_PROBATION,
        ending=accept(Rung.OTHER_ANCHORS),
        connected_with="accepted",
        asked=0,
    ),
    # -- a change that waits
    Story(
        name="one-byte-of-the-only-key-while-a-rotation-waits",
        start=YOUNG,
        steps=(*WAITING_ROTATION, disk.damage("current", "key.pem", Harm.FLIP)),
        ending=accept(Rung.CLAIM),
        connected_with="new",
        asked=1,
    ),
    Story(
        name="the-only-anchors-cut-while-a-rotation-waits",
        start=YOUNG,
        steps=(*WAITING_ROTATION, disk.damage("current", "trust.pem", Harm.CUT)),
        ending=accept(Rung.CLAIM),
        connected_with="new",
        asked=1,
    ),
    Story(
        name="all-refused-and-current-damaged-while-a-rollback-waits",
        start=SETTLED,
        steps=(
            *CONNECTED,
            steps.status(Whose.ALL, Status.INACTIVE),
            steps.order("rollback", "--no-wait"),
            steps.until_waiting("locked-out"),
            steps.kill(Victim.DAEMON),
            disk.damage("current", "manifest.json", Harm.DELETE),
        ),
        ending=accept(Rung.CLAIM),
        connected_with="new",
        asked=1,
    ),
    # -- something that is no file any more
    *(
        Story(
            name=f"{word}-replaced-by-a-directory-and-{rung.name.lower()}-accepted",
            start=start,
            steps=(*CONNECTED, step),
            ending=accept(rung, reboots=True),
            asked=1,
        )
        for start, rung in ((SETTLED, Rung.PREVIOUS), (YOUNG, Rung.CLAIM))
        for word, step in (
            ("key", disk.damage("current", "key.pem", Harm.DIRECTORY)),
            ("manifest", disk.damage("current", "manifest.json", Harm.DIRECTORY)),
            ("history", disk.damage_record("history.jsonl", Harm.DIRECTORY)),
        )
    ),
    Story(
        name="record-of-a-waiting-rotation-replaced-by-a-directory",
        start=SETTLED,
        steps=(*WAITING_ROTATION, disk.damage_record("change.json", Harm.DIRECTORY)),
        ending=accept(Rung.PREVIOUS, reboots=True),
        asked=1,
    ),
    # -- sets that were put in by hand
    Story(
        name="inactive-pair-by-hand-with-a-previous-set",
        start=SETTLED,
        steps=(steps.by_hand("current", Brought.INACTIVE),),
        ending=accept(Rung.PREVIOUS),
        asked=1,
    ),
    Story(
        name="inactive-pair-by-hand-over-the-only-set",
        start=YOUNG,
        steps=(*CONNECTED, steps.by_hand("current", Brought.INACTIVE), steps.wait(5)),
        ending=accept(Rung.CLAIM),
        connected_with="new",
        asked=1,
    ),
    Story(
        name="good-pair-by-hand",
        start=YOUNG,
        steps=(*CONNECTED, steps.by_hand("current", Brought.GOOD), steps.wait(8)),
        ending=accept(Rung.CURRENT),
        connected_with="accepted",
        asked=0,
    ),
    # -- starts that end at once
    Story(
        name="probation-refused-and-twelve-short-starts",
        start=ON_TRIAL,
        steps=(
            *ON_PROBATION,
            steps.kill(Victim.DAEMON),
            steps.status(Whose.CURRENT, Status.INACTIVE),
            steps.wait(6),  # so that a proof is due at each start
            steps.short_starts(12, 20.0),
        ),
        ending=accept(Rung.PREVIOUS),
    ),
    # -- everything is refused
    Story(
        name="all-refused-then-an-import",
        start=SETTLED,
        steps=CONNECTED,
        ending=rescued(*endings.import_stick()),
        connected_with="brought",
        asked=0,
    ),
    Story(
        name="all-refused-while-a-rotation-waits-then-an-import",
        start=SETTLED,
        steps=WAITING_ROTATION,
        ending=rescued(*endings.import_stick()),
        connected_with="brought",
    ),
    Story(
        name="all-refused-then-a-new-claim",
        start=SETTLED,
        steps=CONNECTED,
        ending=rescued(*endings.new_claim()),
        connected_with="new",
        asked=1,
    ),
    Story(
        name="all-refused-then-activated-again",
        start=SETTLED,
        steps=CONNECTED,
        ending=rescued(*endings.activate_again()),
        connected_with="accepted",
        asked=0,
    ),
    # -- the disk
    Story(
        name="disk-full-and-current-revoked",
        start=SMALL_DISK,
        steps=(
            *CONNECTED,
            disk.full_disk(0),
            steps.status(Whose.CURRENT, Status.REVOKED),
            steps.wait(10),
        ),
        ending=accept(Rung.PREVIOUS, dead=Status.REVOKED),
        asked=1,
    ),
    *(
        Story(
            name=f"manifest-of-the-{word}-set-{how.name.lower()}",
            start=start,
            steps=(),
            ending=accept(Rung.DAMAGED_MANIFEST, harm=how, reboots=True),
            connected_with="accepted",
            asked=0,
        )
        for word, start in (("only", YOUNG), ("last", SETTLED))
        for how in (Harm.FLIP, Harm.CUT, Harm.DELETE)
    ),
)


def story(name: str) -> Story:
    """Return one of them.

    Raises:
        KeyError: There is none with this name.
    """
    found = {item.name: item for item in KNOWN}[name]
    return replace(found, repeat=REPEAT.format(name=name))
