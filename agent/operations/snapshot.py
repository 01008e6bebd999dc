"""Looking at everything on disk once: the status as far as it does not need the daemon.

It takes no lock, changes nothing and works offline. A worker tells the daemon what it saw; where no daemon runs, the
status is made here, of the same facts by the same rules.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from agent import __version__
from agent.config.asked import asked_of
from agent.config.files import read_bounded
from agent.core.aws.endpoints import chains_to_amazon
from agent.core.change.lifecycle import good_times
from agent.core.change.reserve import Standing
from agent.core.report.known import Known, Unattended
from agent.core.report.seen import (
    MAX_GENERATIONS,
    MAX_WATCHED,
    Damage,
    OnDisk,
    Seen,
    SetInUse,
    WatchedEnd,
    WatchedFile,
    within_bounds,
)
from agent.core.report.status import status_of
from agent.core.trust import anchor_lint
from agent.core.when.renewal import splay
from agent.errors import ConfigError, DamagedError, MaterialError, StoreError
from agent.operations.made_with import differs
from agent.operations.opening import clock_of, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.config.values import Config, WatchConfig
    from agent.core import timekeeping
    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.dependants import Served
    from agent.core.report.status import Status
    from agent.core.values import Generation, TrustBundle
    from agent.core.when.schedule import Pause
    from agent.store.files.modes import Exposed
    from agent.store.store import Store


PUT_RIGHT = "`iot-cert rotate` puts this right."

_DOUBTFUL = frozenset({"distrusted", "old-version", "not-a-ca", "weak-key"})  # of an anchor that should not be there


@dataclass(kw_only=True)
class Snapshot:
    """The store at one moment, as far as it can be read."""

    clock: timekeeping.Reading
    current: Generation | None = None
    previous: Generation | None = None
    change: ChangeRecord | None = None
    history: tuple[ChangeRecord, ...] = ()
    generations: tuple[OnDisk, ...] = ()
    damage: list[Damage] = field(default_factory=list)
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
    from agent.store.files.disk import explained  # noqa: PLC0415 - see agent.operations.wiring

    with explained(f"look for {config.state_dir}"):
        # Before the first enrolment, which makes it. A link to a disk that is not mounted is something else.
        fresh = not config.state_dir.exists() and not config.state_dir.is_symlink()
    if fresh:
        return Snapshot(clock=clock_of(config))
    with open_store(config) as store:
        return look(store, clock_of(config, store.floors(), good_times(store.history())))


def look(store: Store, clock: timekeeping.Reading) -> Snapshot:
    """Look at an open store."""
    snapshot = Snapshot(clock=clock, reserve=store.room.reserve())
    snapshot.current, of_current = _generation(store, "current")
    snapshot.previous, of_previous = _generation(store, "previous")
    snapshot.damage += [*of_current, *of_previous]
    newest = sorted(store.numbers().final, reverse=True)[:MAX_GENERATIONS]
    snapshot.generations = tuple(_on_disk(store, number) for number in newest)
    try:
        snapshot.change = store.change()
    except DamagedError as error:
        snapshot.damage.append(Damage(critical=False, text=str(error)))
    snapshot.history = store.history()
    return snapshot


def _on_disk(store: Store, number: int) -> OnDisk:
    try:
        manifest = store.generation(number).manifest
    except StoreError:  # one that is not in use keeps no status from being told
        return OnDisk(generation=number)
    return OnDisk(generation=number, certificate_id=manifest.certificate_id, not_after=manifest.not_after)


def _generation(store: Store, link: str) -> tuple[Generation | None, list[Damage]]:
    """Return the set that a link leads to, if it is whole, and what is damaged about it."""
    try:
        number = store.current() if link == "current" else store.previous()
        if number is not None:
            return store.generation(number), []
        if link == "current" and next(store.others.whole(()), None) is not None:
            text = f"There is no current generation, though there has been one; {PUT_RIGHT}"
            return None, [Damage(critical=True, text=text)]
    except DamagedError as error:
        text = f"The {link} set is not usable. {error} It is not used; {PUT_RIGHT}"
        return None, [Damage(critical=link == "current", text=text)]
    return None, []


def seen(config: Config, snapshot: Snapshot) -> Seen:
    """Return what was found, as a worker tells it and as the status has it."""
    distrusted, lacking = _against(config, snapshot.current.trust) if snapshot.current else ((), "")
    return Seen(
        floor=snapshot.clock.certain,
        current=_in_use(config, snapshot.current) if snapshot.current else None,
        previous=snapshot.previous.number if snapshot.previous else None,
        generations=snapshot.generations,
        damage=tuple(snapshot.damage),
        reserve=snapshot.reserve,
        watched=within_bounds(watched(config, item) for item in config.watch),
        exposed=_exposed(config, enrolled=snapshot.current is not None),
        distrusted=distrusted,
        lacking=lacking,
    )


def exposed(config: Config, *, enrolled: bool) -> Iterator[Exposed]:
    """Return whose mode or owner is wrong of the agent's files, its configuration, and what it enrols with.

    Of the latter only where there is a set.

    Raises:
        OSError: This user may not look.
    """
    from agent.store.files import modes  # noqa: PLC0415 - see agent.operations.wiring

    secret = config.enrollment.secret if config.enrollment and enrolled else None  # before, enrolment refuses it
    operators = (config.path, config.path.parent, *((secret.parent,) if secret else ()))
    return modes.exposed(config.state_dir, secret, operators)


def _exposed(config: Config, *, enrolled: bool) -> tuple[str, ...]:
    try:
        found = list(exposed(config, enrolled=enrolled))
    except OSError:
        return ()  # which another look tells
    if not found:
        return ()
    more = f" And {len(found) - 1} more." if found[1:] else ""
    return (f"{found[0].text} Run `{found[0].remedy}`.{more}",)


def _against(config: Config, trust: TrustBundle) -> tuple[tuple[str, ...], str]:
    """Return why anchors are distrusted whatever the date is, and which of AWS IoT Core's roots they lack."""
    from agent.crypto.root_lists import known as lists  # noqa: PLC0415 - see agent.operations.wiring

    entries, amazon = anchor_lint.entries_of(trust.anchors), chains_to_amazon(config.endpoint)
    found = anchor_lint.lint(entries, lists(), None, soon=timedelta(), amazon=amazon)
    doubtful = (item for item in found if item.code in _DOUBTFUL)
    missing = {item.sha256 for item in found if item.code == "missing"}
    names = [root.name for root in lists().amazon if root.sha256 in missing]
    lacking = f"The anchors lack what AWS IoT Core may chain to at any time: {', '.join(names)}." if names else ""
    return tuple(f"{item.message} {item.remedy}" for item in doubtful), lacking


def status(config: Config, snapshot: Snapshot, unattended: Unattended | None = None) -> Status:
    """Return how the gateway stands, as far as that can be known without its daemon.

    Args:
        config: The configuration.
        snapshot: What was found.
        unattended: Why there is no daemon's word, where it should be there.
    """
    return status_of(known(config, snapshot, unattended))


def known(config: Config, snapshot: Snapshot, unattended: Unattended | None = None) -> Known:
    """Return what is known of the gateway without its daemon; see `status`."""
    from agent.dependants import hooks, report_file  # noqa: PLC0415 - see agent.operations.wiring

    bare = Known(
        version=__version__,
        asked=asked_of(config, snapshot.thing, pause_of(config)),
        clock=snapshot.clock,
        seen=seen(config, snapshot),
        change=snapshot.change,
        history=snapshot.history,
        served=served(config),
        unasked=tuple(hooks.unfit(config.dependants.gates)),
        unattended=unattended,
    )
    return report_file.add_behind(bare, config.dependants, config.deploy_dir)


def served(config: Config) -> Served | None:
    """Return how the dependants stand; None where nothing is configured."""
    from agent.dependants import helper, report_file  # noqa: PLC0415 - see agent.operations.wiring

    found = helper.blocked(config.deploy_socket)
    unserved = f"{found.message} {found.remedy}" if found else ""
    return report_file.served(config.dependants, config.deploy_dir, unserved)


def pause_of(config: Config) -> Pause | None:
    """Return the pause on disk."""
    from agent.store.notes import pauses  # noqa: PLC0415 - see agent.operations.wiring

    try:
        return pauses.read(config.state_dir)
    except StoreError:
        return None  # what cannot be read holds nothing


def watched(config: Config, item: WatchConfig) -> WatchedFile:
    """Return what a watched file holds, as far as a person may have to act on it and this user may read it."""
    from agent.crypto import x509  # noqa: PLC0415 - see agent.operations.wiring
    from agent.operations.owners_eyes import not_for_this_user  # noqa: PLC0415

    path = str(item.path)
    try:
        entries = x509.read_store(read_bounded(item.path, x509.MAX_STORE, "watched file"))
    except (ConfigError, MaterialError) as error:
        problem = "" if not_for_this_user(config, error) else str(error)
        return WatchedFile(path=path, warn=item.warn, problem=problem)
    facts = sorted((entry.facts for entry in entries if entry.facts), key=lambda facts: facts.not_after)
    if not facts:
        problem = f"{item.path}: there is no certificate in it that can be read"
        return WatchedFile(path=path, warn=item.warn, problem=problem)
    ends = (WatchedEnd(subject=one.subject, sha256=one.sha256, not_after=one.not_after) for one in facts[:MAX_WATCHED])
    return WatchedFile(
        path=path,
        warn=item.warn,
        certificates=len(facts),
        unreadable=len(entries) - len(facts),
        ends=tuple(ends),
    )


def _in_use(config: Config, generation: Generation) -> SetInUse:
    manifest = generation.manifest
    return SetInUse(
        generation=manifest.number,
        kind=manifest.kind,
        thing_name=manifest.thing_name,
        created_at=manifest.created_at,
        certificate=generation.credential.leaf,
        anchors=generation.trust.anchors,
        splay=splay(manifest.thing_name, generation.credential.leaf.sha256),
        trust=manifest.trust,
        differs=differs(config, generation),
    )
