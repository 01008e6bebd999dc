"""Telling one story: its steps, its ending, the wait for the connection, and the promises it is held to."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from time import monotonic
from typing import TYPE_CHECKING, Self

from agent.errors import StoreError
from agent.store.store import Store
from support.walkkit import pairs, steps
from support.walkkit.endings import Rung
from support.walkkit.factory import BUDGET
from support.walkkit.scene import Breach, Scene

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.change.lifecycle import ChangeRecord
    from support.walkkit.endings import Ending
    from support.walkkit.factory import Start
    from support.walkkit.steps import Step

MINUTES = 300.0  # seconds within which the gateway must be connected: the promise's own
SAYS_OK = 120.0  # seconds for which it may go on saying ok
LOOK, LOOK_AT_STATUS = 0.1, 4.0
SETTLES = 120.0  # seconds for what follows the connection, such as a rotation
TAIL = 6_000  # characters of the daemon's log in a failed story


@dataclass(frozen=True, kw_only=True)
class Story:
    """One story.

    Attributes:
        name: Its name, or its seed.
        start: What the gateway is at the beginning.
        steps: What happens.
        ending: What is accepted at the end.
        repeat: The command that tells it again.
        connected_with: What it is connected with at the end, if that is known: see `Report.connected_with`.
        asked: The certificates that the ending may cost, if that is known.
    """

    name: str
    start: Start
    steps: tuple[Step, ...]
    ending: Ending
    repeat: str = ""
    connected_with: str = ""
    asked: int | None = None


@dataclass(kw_only=True)
class Report:
    """What became of a story.

    Attributes:
        name: Its name.
        repeat: The command that tells it again.
        rung: What was accepted.
        recovered: Seconds until the gateway was connected, or None.
        said_ok: Seconds for which it said ok at a stretch without being connected.
        by: Kind, origin and phase of the changes since everything behaved.
        asked: Certificates issued since then.
        connected_with: ``accepted``, ``brought`` or ``new``: the certificate at the end.
        took: Seconds for everything.
        breaches: What was not kept.
        lines: The story.
        last: What the gateway said of itself at the end.
    """

    name: str
    repeat: str = ""
    rung: str = ""
    recovered: float | None = None
    said_ok: float = 0.0
    by: list[str] = field(default_factory=list)
    asked: int = 0
    connected_with: str = ""
    took: float = 0.0
    breaches: list[Breach] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    last: str = ""

    def __str__(self) -> str:
        """Return the story as it is attached to a failure."""
        kept = "\n".join(str(breach) for breach in self.breaches) or "every promise was kept"
        story = "\n".join(self.lines)
        return f"story {self.name}\n{story}\n\n{kept}\n\n{self.last}\n\nagain: {self.repeat}\n"

    def to_json(self) -> str:
        """Return it as text that another process can read."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what another process has written."""
        plain = json.loads(text)
        return cls(**plain | {"breaches": [Breach(**item) for item in plain["breaches"]]})


def tell(story: Story, directory: Path, minutes: float = MINUTES) -> Report:
    """Tell a story in an empty directory; the gateway has so many seconds to be connected."""
    began, report = monotonic(), Report(name=story.name, repeat=story.repeat)
    with Scene(directory, story.start) as scene:
        report.lines, report.breaches = scene.lines, scene.breaches
        try:
            steps.carry_out(story.steps, scene)
            _end(story.ending, scene, report, minutes)
            _check_expected(story, scene, report)
        except Exception as error:
            error.add_note(f"{report}\n{_last_words(scene)}")
            raise
        report.last = _last_words(scene)
        scene.keeper.stop()
        scene.check_words()
    report.took = monotonic() - began
    return report


def _end(ending: Ending, scene: Scene, report: Report, minutes: float) -> None:
    rung = ending.set_up(scene)
    asked, before = scene.asked, len(_history(scene))
    report.rung = rung
    if ending.reboots:
        scene.tell("the gateway is switched off and on")
        scene.keeper.kill()
    scene.keeper.start()
    watch, began = Watch(scene, minutes), monotonic()
    if rung is Rung.TECHNICIAN:
        watch.until_not_ok()
        began = monotonic()
        steps.carry_out(ending.rescue, scene)
    if watch.until_connected():
        report.recovered = monotonic() - began
        scene.tell(f"connected after {report.recovered:.1f} s, with {scene.session[:12]}")
        watch.stays()
        report.connected_with = _kind_of(scene, scene.session)
        _check_store(scene)
    report.asked, report.said_ok = scene.asked - asked, watch.said_ok
    check_always(scene)
    report.by = [f"{item.origin} {item.kind} {item.phase}" for item in _history(scene)[before:]]
    scene.tell(f"since then: {', '.join(report.by) or 'no change'}; {report.asked} certificates")


def _kind_of(scene: Scene, certificate_id: str) -> str:
    if certificate_id in scene.accepted:
        return "accepted"
    return "brought" if certificate_id in scene.brought else "new"


class Watch:
    """Waits for what was promised, and looks at what the gateway says meanwhile."""

    def __init__(self, scene: Scene, minutes: float) -> None:
        self._scene = scene
        self._minutes = minutes
        self._looked = 0.0
        self._code: int | None = None
        self._lies_since: float | None = None
        self._told = False
        self._ok_since: float | None = None
        self.said_ok = 0.0

    def until_connected(self) -> bool:
        """Return whether the gateway was connected within minutes, as soon as it is."""
        scene, began = self._scene, monotonic()
        while monotonic() - began < self._minutes:
            scene.keeper.keep_running()
            if scene.connected:
                self._ok_since = None
                return True
            self._look()
            scene.rest(LOOK)
        seen = scene.session[:12] or "none"
        scene.breach("connected within minutes", f"not within {self._minutes:g} s; the cloud sees {seen}")
        return False

    def until_not_ok(self) -> None:
        """Return once the gateway does not say ok any more, which it must in time."""
        began = monotonic()
        while not self._code and monotonic() - began < 2 * SAYS_OK:
            self._scene.keeper.keep_running()
            self._look()
            self._scene.rest(LOOK)
        self._scene.tell(f"its status is {self._code} after {monotonic() - began:.1f} s")

    def _look(self) -> None:
        """Look at the status from time to time."""
        now = monotonic()
        if now - self._looked < LOOK_AT_STATUS:
            return
        self._looked, self._code = now, self._scene.status()
        self._ok_since = (self._ok_since or now) if self._code == 0 else None
        self.said_ok = max(self.said_ok, now - (self._ok_since or now))
        if self._code != 0 or self._scene.some_set_works():
            self._lies_since = None
            return
        self._lies_since = now if self._lies_since is None else self._lies_since
        if now - self._lies_since > SAYS_OK and not self._told:
            self._told = True
            self._scene.breach("nothing says ok while no set works", f"it did for {SAYS_OK:g} s")

    def stays(self) -> None:
        """What follows the connection, such as a rotation, must not lose it again."""
        scene, began = self._scene, monotonic()
        while monotonic() - began < SETTLES and not (scene.keeper.runs and scene.daemon.at_rest()):
            scene.rest(LOOK)
        if not self.until_connected():
            scene.breach("stays connected", "the connection was lost again")


# -- what must hold at the end -----------------------------------------------------------------------------------------


def _history(scene: Scene) -> tuple[ChangeRecord, ...]:
    try:
        with Store(scene.state) as store:
            return store.history()
    except StoreError:
        return ()


def _check_store(scene: Scene) -> None:
    """A gateway that is connected has a current set, which is whole."""
    with scene.keeper.held_still():
        found = scene.linked("current")
        if found is None or not found.whole:
            scene.breach("current resolves", f"it is {found}")


def _check_expected(story: Story, scene: Scene, report: Report) -> None:
    """What a story says of its end holds, once it has come to it."""
    if len(story.ending.rungs) == 1 and report.rung != story.ending.rungs[0]:
        scene.breach("ends as expected", f"this gateway has no such rung as {story.ending.rungs[0]}")
    if story.asked is not None and report.asked > story.asked:
        scene.breach("ends as expected", f"{report.asked} certificates were issued instead of {story.asked}")
    if story.connected_with and report.recovered is not None and report.connected_with != story.connected_with:
        scene.breach("ends as expected", f"it is connected with one that is {report.connected_with}")


def check_always(scene: Scene) -> None:
    """Note what is not kept of the promises that hold however a story ends."""
    asked = scene.asked - scene.asked_before
    if asked > BUDGET * (1 + scene.records_damaged):
        scene.breach("the budget", f"{asked} certificates were issued, and the limit is {BUDGET}")
    staged = [path.name for path in (scene.state / "generations").glob(".0*")] if scene.state.exists() else []
    if len(staged) > 1:
        scene.breach("one change at a time", f"there are {', '.join(staged)}")
    records = [] if scene.records_damaged else _history(scene)
    for earlier, later in pairwise(records):
        ended = next((at for phase, at in earlier.passed if phase.ended), None)
        if ended is not None and later.planned_at < ended:
            scene.breach("one change at a time", f"{later.id} was planned before {earlier.id} had ended")


def _last_words(scene: Scene) -> str:
    """Return what is left: files, the change in flight, status, and the end of the log."""
    lines = []
    for found in pairs.generations(scene.state):
        state = scene.gateway.cloud.registry.get(found.certificate_id)
        whole = "whole" if found.whole else "damaged"
        lines.append(f"{found.directory.name}: {whole}, {found.certificate_id[:12]} {state.status if state else ''}")
    lines += [f"{link} -> {pairs.linked(scene.state, link)}" for link in ("current", "previous")]
    document = scene.daemon.published() if scene.keeper.runs else {}
    lines += [f"{key}: {document.get(key)}" for key in ("connection", "change", "next", "plan", "health", "stuck")]
    log = scene.daemon.said()
    return "\n".join([*lines, "daemon.log:", log[-TAIL:]])
