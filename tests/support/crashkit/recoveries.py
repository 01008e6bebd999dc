"""Stores that need a recovery, and what breaking the recovery itself does to them.

Whatever happens to a recovery, a later one that is left in peace must come to the same end.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

from agent.core.change import reserve
from agent.core.change.records import decode_record
from agent.core.change.reserve import LACKING
from agent.core.jsonio import PlainError
from agent.errors import AgentError
from agent.store.store import Store
from support.crashkit import campaign, failing, invariants, stepper
from support.crashkit.alice import CrashState, Recorder, numbered_states
from support.crashkit.invariants import InvariantError
from support.crashkit.material import NOW
from support.crashkit.scenarios import Workplace, rotated
from support.crashkit.stepper import Failing, Raised
from support.crashkit.tree import DIRECTORY, FILE, LINK, Tree, differences, frozen, snapshot
from support.suite import campaigns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from support.crashkit.campaign import CampaignReport, Case
    from support.crashkit.tree import Frozen


@dataclass(frozen=True, kw_only=True)
class Damage:
    """A store that is not as it should be.

    Attributes:
        name: For people.
        before: The store.
        after: The store after a recovery in peace.
        current: What is current then.
    """

    name: str
    before: Tree
    after: Tree
    current: int


def open_and_recover(path: Path) -> None:
    """Do what a starting agent does."""
    with Store(path) as store:
        store.lock()
        store.recover(NOW)


def _changed(**changes: tuple[str, int, bytes] | None) -> Tree:
    """Return a store with three generations and some names changed or, with None, removed."""
    wanted = {_NAMES[name]: entry for name, entry in changes.items()}
    tree = {name: entry for name, entry in rotated(3).items() if name not in wanted}
    return tree | {name: entry for name, entry in wanted.items() if entry is not None}


_NAMES = {
    "certificate": "generations/000003/certificate.pem",
    "previous_key": "generations/000002/key.pem",
    "current": "current",
    "previous": "previous",
    "change": "change.json",
    "history": "history.jsonl",
    "litter": ".new-change.json",
    "probe": "generations/.new-preflight",
    "probed": "generations/.new-preflight/file",
    "stage": "generations/.000009",
    "staged": "generations/.000009/key.pem",
    "last_piece": f"reserve/{reserve.PIECES - 1:02}",
}


@cache
def _trees() -> dict[str, Tree]:
    junk = (FILE, 0o600, b"\xa5" * 64)
    tree = _changed(change=junk)
    folder = (DIRECTORY, 0o700, b"")
    return {
        "litter": _changed(litter=junk, probe=folder, probed=junk, stage=folder, staged=junk),
        "damaged current": _changed(certificate=junk),
        "lost current": _changed(current=None),
        "current to nowhere": _changed(current=(LINK, 0, b"generations/000099")),
        "damaged previous": _changed(previous_key=junk),
        "lost previous": _changed(previous=(LINK, 0, b"generations/000003")),
        "damaged record": _changed(change=junk, stage=folder, staged=junk),
        "reserve given up": _changed(last_piece=None),
        "damaged record of a set": _changed(change=junk) | _generation(4),
        "damaged record of the set in use": rotated(4)
        | {name: tree[name] for name in ("history.jsonl", "change.json")},
    }


def _generation(number: int) -> Tree:
    """Return a whole generation, which no link and no line of the history knows."""
    return {name: entry for name, entry in rotated(number).items() if name.startswith(f"generations/{number:06d}")}


@cache
def damage(name: str) -> Damage:
    """Return a damaged store; it alone is recovered."""
    tree = _trees()[name]
    with Workplace() as workplace:
        path = workplace.lay_out(tree)
        open_and_recover(path)
        after = snapshot(path)
    current = int(after["current"][2].decode().rpartition("/")[2])
    return Damage(name=name, before=tree, after=after, current=current)


DAMAGES = (
    *("litter", "damaged current", "lost current", "current to nowhere"),
    *("damaged previous", "lost previous", "damaged record", "damaged record of a set", "reserve given up"),
    "damaged record of the set in use",
)


def _told(tree: Tree) -> Tree:
    """Return a store without the lines of its history that a power cut tore: they stay, and tell nothing."""
    kind, mode, data = tree["history.jsonl"]
    return tree | {
        "history.jsonl": (kind, mode, b"".join(line for line in data.splitlines(keepends=True) if _is_sound(line)))
    }


def _is_sound(line: bytes) -> bool:
    try:
        decode_record(line, "a line")
    except PlainError:
        return False
    return True


class _Judge:
    """Judges what a broken recovery left, each distinct store once."""

    def __init__(self, workplace: Workplace, damage: Damage, *, exact: bool = True) -> None:
        self.damage, self.exact = damage, exact
        self._workplace = workplace
        self._verdicts: dict[Frozen, str] = {}
        self._ends: dict[Frozen, str] = {}  # by what a recovery in peace has left

    def __call__(self, left: Tree) -> str:
        key = frozen(left)
        if key not in self._verdicts:
            self._verdicts[key] = self._judge(left)
        return self._verdicts[key]

    def _judge(self, left: Tree) -> str:
        path = self._workplace.lay_out(left)
        try:
            open_and_recover(path)
        except (InvariantError, AgentError, OSError) as error:
            return f"{type(error).__name__}: {error}"
        key = frozen(snapshot(path))
        if key not in self._ends:
            self._ends[key] = self._judge_recovered(path)
        return self._ends[key]

    def _judge_recovered(self, path: Path) -> str:
        allowed = frozenset({self.damage.current}) if self.exact else frozenset({1, 2, 3, self.damage.current})
        try:
            self._check_end(path)
            invariants.check_store(path, before=allowed, after=allowed)
        except (InvariantError, AgentError, OSError) as error:
            return f"{type(error).__name__}: {error}"
        return ""

    def _check_end(self, path: Path) -> None:
        wrong = differences(_told(self.damage.after), _told(snapshot(path)))
        if wrong and self.exact:
            raise InvariantError(f"a later recovery came to another end: {wrong}")


def _calls(damage: Damage) -> list[str]:
    with Workplace() as workplace:
        path = workplace.lay_out(damage.before)
        return stepper.dry(lambda: partial(open_and_recover, path)).calls


def kill_everywhere(damage: Damage, *, one_in: int) -> CampaignReport:
    """Kill the recovery at every call."""
    return campaign.spread(partial(_kill_each, damage), range(len(_calls(damage))), one_in=one_in)


def _kill_each(damage: Damage, points: Sequence[Case[int]]) -> list[str]:
    found = []
    with Workplace() as workplace:
        judge = _Judge(workplace, damage)
        for case, point in points:
            path = workplace.lay_out(damage.before)
            stepper.kill(lambda path=path: partial(open_and_recover, path), point)  # type: ignore[misc]
            complaint = judge(snapshot(path))
            found.append(campaigns.told(case, complaint and f"killed at call {point}: {complaint}"))
    return found


def fail_everywhere(damage: Damage, *, every: int, one_in: int) -> CampaignReport:
    """Let file calls of locking and recovering fail with every errno, once and sticky; every so many faults only.

    Success must mean that all was done, and a later recovery must come to the end of an undisturbed one. Where a block
    cannot be read, the generation in it may be given up; then only safety is judged.
    """
    with Workplace() as workplace:
        calls = stepper.dry(_work(workplace.lay_out(damage.before))).calls
    return campaign.spread(partial(_fail_each, damage, calls), failing.faults_of(calls)[::every], one_in=one_in)


def _work(path: Path) -> Callable[[], Callable[[], object]]:
    def prepare() -> Callable[[], object]:
        store = Store(path)
        return lambda: _recover(store)

    return prepare


def _recover(store: Store) -> tuple[str, ...]:
    store.lock()
    return store.recover(NOW).notes


def _fail_each(damage: Damage, calls: Sequence[str], faults: Sequence[Case[Failing]]) -> list[str]:
    found = []
    with Workplace() as workplace:
        judges = {exact: _Judge(workplace, damage, exact=exact) for exact in (False, True)}
        for case, fault in faults:
            judge = judges[failing.says_nothing_about_data(fault, calls[fault.at])]
            found.append(campaigns.told(case, _fail_once(workplace, judge, fault)))
    return found


def _fail_once(workplace: Workplace, judge: _Judge, fault: Failing) -> str:
    damage = judge.damage
    path = workplace.lay_out(damage.before)
    result = stepper.fail(_work(path), fault).result
    left = snapshot(path)
    complaint = judge(left)
    try:
        failing.check_kind(result)
    except InvariantError as error:
        complaint = str(error)
    # What cannot be erased or set aside must not keep the agent from starting; it is said, and tried again next time.
    said = isinstance(result, tuple) and any("left lying" in note or LACKING in note for note in result)
    if judge.exact and not isinstance(result, Raised) and not said and left != damage.after:
        complaint = f"it reported success and did not do it all: {differences(damage.after, left)}"
    return complaint and f"{fault}: {complaint}"


def cut_power_everywhere(damage: Damage, *, one_in: int) -> CampaignReport:
    """Judge every disk that a power cut during the recovery may leave."""
    with Workplace() as workplace:
        path = workplace.lay_out(damage.before)
        with Recorder(path, damage.before) as recorder:
            open_and_recover(path)
    states = list(numbered_states(recorder.base, recorder.operations, one_in=one_in))
    return campaign.share(partial(_judge_each, damage), states)


def _judge_each(damage: Damage, states: Sequence[Case[CrashState]]) -> list[str]:
    with Workplace() as workplace:
        judge = _Judge(workplace, damage)
        return [
            campaigns.told(case, (complaint := judge(state.tree)) and f"{state.how}: {complaint}")
            for case, state in states
        ]
