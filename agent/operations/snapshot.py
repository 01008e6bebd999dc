"""Looking at everything on disk once: the status document as far as it does not need the daemon.

It takes no lock, changes nothing and works offline. What the daemon knows besides (connection, plan in force, jobs) it
adds itself; where none runs, the plan is computed here from the same facts by the same rules.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent import __version__
from agent.config import read_bounded
from agent.core import timekeeping
from agent.core.change.decide import Facts, next_action, plainly, requests_of
from agent.core.change.records import public
from agent.core.change.reserve import Standing
from agent.core.jsonio import to_plain
from agent.core.report import status
from agent.core.when import retirement, schedule
from agent.core.when.renewal import renewal_window, splay
from agent.core.when.schedule import Subject, Wishes
from agent.errors import ConfigError, DamagedError, MaterialError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from agent.config import Config, WatchConfig
    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.values import Generation
    from agent.core.when.schedule import Holds
    from agent.store.store import Store

DEGRADED, CRITICAL = status.DEGRADED, status.CRITICAL


@dataclass(kw_only=True)
class Snapshot:
    """The store at one moment, as far as it can be read."""

    clock: timekeeping.Reading
    current: Generation | None = None
    previous: Generation | None = None
    change: ChangeRecord | None = None
    history: tuple[ChangeRecord, ...] = ()
    damage: list[tuple[int, str]] = field(default_factory=list)
    reserve: Standing = Standing.MISSING

    @property
    def thing(self) -> str:
        """The name of the thing that the current set is for, or empty."""
        return self.current.manifest.thing_name if self.current else ""


def take(config: Config) -> Snapshot:
    """Look at the store.

    Raises:
        StoreError: The state directory is not permitted.
    """
    from agent.operations.wiring import open_store  # noqa: PLC0415
    from agent.store.durable import explained  # noqa: PLC0415 - see agent.operations.wiring

    with explained(f"look for {config.state_dir}"):
        fresh = not config.state_dir.exists()  # before the first enrolment, which makes it
    if fresh:
        return Snapshot(clock=clock_of(config))
    with open_store(config) as store:
        return look(store, clock_of(config, store.floors()))


def clock_of(config: Config, floors: tuple[datetime, ...] = ()) -> timekeeping.Reading:
    """Look at the clock, by the instants that are known to lie in the past."""
    from agent.system.clock import SystemClock  # noqa: PLC0415 - see agent.operations.wiring

    clock = SystemClock(vouched=config.vouched_clock)
    return timekeeping.read(clock.now(), synchronised=clock.synchronised(), floors=floors)


def look(store: Store, clock: timekeeping.Reading) -> Snapshot:
    """Look at an open store."""
    snapshot = Snapshot(clock=clock, reserve=store.reserve())
    snapshot.current = _generation(store, "current", snapshot)
    snapshot.previous = _generation(store, "previous", snapshot)
    try:
        snapshot.change = store.change()
    except DamagedError as error:
        snapshot.damage.append((DEGRADED, str(error)))
    snapshot.history = store.history()
    return snapshot


def _generation(store: Store, link: str, snapshot: Snapshot) -> Generation | None:
    try:
        number = store.current() if link == "current" else store.previous()
        return None if number is None else store.generation(number)
    except DamagedError as error:
        text = f"The {link} set is not usable. {error} It is not used; `iot-cert rotate` puts this right."
        snapshot.damage.append((CRITICAL if link == "current" else DEGRADED, text))
        return None


def document(config: Config, snapshot: Snapshot) -> dict[str, Any]:
    """Return the status document."""
    plain: dict[str, Any] = {
        "version": __version__,
        "config": str(config.path.absolute()),
        "endpoint": config.endpoint,
        "port": config.port,
        "thing_name": config.thing_name,
        "clock": to_plain(snapshot.clock),
        "current": _current(config, snapshot),
        "previous": snapshot.previous and snapshot.previous.number,
        "change": snapshot.change and public(snapshot.change),
        "next": _following(config, snapshot),
        "last": public(snapshot.history[-1]) if snapshot.history else None,
        "damage": snapshot.damage,
        "warnings": config.concerns(snapshot.thing),
        "reserve": snapshot.reserve,
        "warn_anchors": [span.total_seconds() for span in config.trust.warn],
        "watched": [watched(item) for item in config.watch],
        "dependants": _standing(config),
        "plan": to_plain(plan_of(config, snapshot)),
        "retirements": retirement.plainly(retirements(config, snapshot), retirement.Answers()),
        "not_asked_for": 0 if config.rotation.retire else len(_left_behind(config, snapshot)),
    }
    plain["health"], plain["exit"] = status.judge(plain, snapshot.clock.now)
    return plain


def _standing(config: Config) -> dict[str, Any] | None:
    from agent.dependants import report_file  # noqa: PLC0415 - see agent.operations.wiring

    return report_file.document(config.dependants, config.deploy_dir)


MAX_WATCHED = 20  # certificates of one watched file that the document names: those that end first


def watched(item: WatchConfig) -> dict[str, Any]:
    """Return what a watched file holds, as far as somebody may have to act on it."""
    from agent.crypto import x509  # noqa: PLC0415 - see agent.operations.wiring

    found: dict[str, Any] = {"path": str(item.path), "warn": item.warn.total_seconds()}
    try:
        entries = x509.read_store(read_bounded(item.path, x509.MAX_STORE, "watched file"))
    except (ConfigError, MaterialError) as error:
        return {**found, "problem": str(error)}
    facts = sorted((entry.facts for entry in entries if entry.facts), key=lambda facts: facts.not_after)
    if not facts:
        return {**found, "problem": f"{item.path}: there is no certificate in it that can be read"}
    ends = [{"subject": one.subject, "sha256": one.sha256, "not_after": to_plain(one.not_after)} for one in facts]
    return {**found, "certificates": len(facts), "unreadable": len(entries) - len(facts), "ends": ends[:MAX_WATCHED]}


def _anchor_in_use(generation: int, records: Iterable[ChangeRecord]) -> str:
    """Return the anchor that the endpoint chained to when this generation was proven last, or nothing."""
    return next((item.anchor for item in records if item.generation == generation and item.anchor), "")


def _current(config: Config, snapshot: Snapshot) -> dict[str, Any] | None:
    generation = snapshot.current
    if generation is None:
        return None
    newest_first = [*([snapshot.change] if snapshot.change else []), *reversed(snapshot.history)]
    manifest, leaf = generation.manifest, generation.credential.leaf
    window = renewal_window(leaf.not_before, leaf.not_after, config.renewal_policy)
    place = splay(manifest.thing_name, leaf.sha256)
    return {
        "generation": manifest.number,
        "kind": manifest.kind,
        "thing_name": manifest.thing_name,
        "created_at": to_plain(manifest.created_at),
        "certificate": to_plain(leaf),
        "anchors": to_plain(generation.trust.anchors),
        "anchor_in_use": _anchor_in_use(manifest.number, newest_first),
        "trust": to_plain(manifest.trust) if manifest.trust else None,
        "splay": place,
        "renewal": {"at": to_plain(window.renew_at(place)), **to_plain(window)},
    }


def _following(config: Config, snapshot: Snapshot) -> dict[str, Any] | None:
    if snapshot.change is None:
        return None
    earlier = requests_of(record for record in snapshot.history if record.id != snapshot.change.id)
    facts = Facts(clock=snapshot.clock, requests=earlier)
    return plainly(next_action(snapshot.change, facts, config.limits))


def subject_of(generation: Generation) -> Subject:
    """Return what the schedule needs to know of a generation."""
    leaf = generation.credential.leaf
    place = splay(generation.manifest.thing_name, leaf.sha256)
    return Subject(not_before=leaf.not_before, not_after=leaf.not_after, splay=place)


def plan_of(config: Config, snapshot: Snapshot) -> schedule.Plan:
    """Return the plan as a daemon would make it, without what it hears from the fleet."""
    wishes = Wishes(policy=config.renewal_policy, limits=config.limits, holds=holds(config))
    return schedule.plan(
        subject_of(snapshot.current) if snapshot.current else None,
        wishes,
        schedule.past_of(snapshot.history),
        snapshot.clock,
        enrolled=bool(snapshot.damage) or any(record.phase.succeeded for record in snapshot.history),
        configured=config.enrollment is not None,
    )


def holds(config: Config) -> Holds:
    """Return what may hold a change, from the disk."""
    from agent.store import pauses  # noqa: PLC0415 - see agent.operations.wiring

    try:
        pause = pauses.read(config.state_dir)
    except StoreError:
        pause = None  # what cannot be read holds nothing
    return config.rotation.holds(pause)


def retirements(config: Config, snapshot: Snapshot) -> tuple[retirement.Retirement, ...]:
    """Return the certificates that are still to be retired, and what each waits for."""
    from agent.dependants import report_file  # noqa: PLC0415 - see agent.operations.wiring

    found = _left_behind(config, snapshot)
    if not found or not config.rotation.retire:
        return ()
    generation = snapshot.current.number if snapshot.current else None
    behind = report_file.behind(config.dependants, config.deploy_dir, generation)
    return retirement.waiting(found, snapshot.history, behind)


def _left_behind(config: Config, snapshot: Snapshot) -> tuple[retirement.Retirement, ...]:
    current = snapshot.current.manifest.certificate_id if snapshot.current else None
    in_use = retirement.resting_on(current, snapshot.change)
    return retirement.outstanding(snapshot.history, in_use, config.rotation.grace)
