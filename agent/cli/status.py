"""The verbs that look: status, history, config check. They take no lock, change nothing and work offline."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from agent.cli.compose import engine_settings, load_anchors, load_claim, open_store, renewal_policy
from agent.cli.exits import Exit
from agent.core import timekeeping
from agent.core.decide import Facts, Limits, Wait, clock_time, next_action
from agent.core.lifecycle import Phase
from agent.core.plain import to_plain
from agent.core.policy import renewal_window, splay
from agent.errors import ConfigError, DamagedError, MaterialError, RefusedError, StoreError

if TYPE_CHECKING:
    from datetime import datetime

    from agent.adapters.store import Store
    from agent.cli.output import Output
    from agent.config import Config
    from agent.core.lifecycle import ChangeRecord
    from agent.core.values import Generation

WARN_ANCHOR = timedelta(days=180)


@dataclass(kw_only=True)
class Findings:
    """What is wrong, worst last."""

    code: Exit = Exit.DONE
    texts: list[str]

    def add(self, code: Exit, text: str) -> None:
        """Note something and keep the worst code."""
        self.texts.append(text)
        if code is Exit.CRITICAL or self.code is Exit.DONE:
            self.code = code


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The store at one moment, as far as it can be read."""

    clock: timekeeping.Reading
    current: Generation | None
    previous: Generation | None
    change: ChangeRecord | None
    history: tuple[ChangeRecord, ...]
    findings: Findings


def take(config: Config) -> Snapshot:
    """Look at everything once.

    Raises:
        StoreError: The state directory is missing or not permitted.
    """
    from agent.adapters.clock import SystemClock  # noqa: PLC0415 - see agent.cli.compose

    findings = Findings(texts=[])
    clock = SystemClock(vouched=config.vouched_clock)
    if not config.state_dir.exists():  # before the first enrolment, which makes it
        reading = timekeeping.read(clock.now(), synchronised=clock.synchronised(), floors=())
        empty = Snapshot(clock=reading, current=None, previous=None, change=None, history=(), findings=findings)
        _judge(empty)
        return empty
    with open_store(config) as store:
        reading = timekeeping.read(clock.now(), synchronised=clock.synchronised(), floors=store.floors())
        current, previous = _generation(store, "current", findings), _generation(store, "previous", findings)
        change = _change(store, findings)
        history = store.history()
    snapshot = Snapshot(
        clock=reading, current=current, previous=previous, change=change, history=history, findings=findings
    )
    _judge(snapshot)
    return snapshot


def _generation(store: Store, link: str, findings: Findings) -> Generation | None:
    try:
        number = store.current() if link == "current" else store.previous()
        return None if number is None else store.generation(number)
    except DamagedError as error:
        code = Exit.CRITICAL if link == "current" else Exit.DEGRADED
        findings.add(code, f"The {link} set is not usable. {error} It is not used; `iot-cert rotate` puts this right.")
        return None


def _change(store: Store, findings: Findings) -> ChangeRecord | None:
    try:
        return store.change()
    except DamagedError as error:
        findings.add(Exit.DEGRADED, str(error))
        return None


def _judge(snapshot: Snapshot) -> None:
    findings, clock, current = snapshot.findings, snapshot.clock, snapshot.current
    if not clock.believable:
        findings.add(
            Exit.DEGRADED, f"The clock shows {clock_time(clock.now)}, which cannot be; nothing is judged by it."
        )
    if current is None:
        if not findings.texts:
            findings.add(Exit.CRITICAL, "This gateway has no certificate yet: run `iot-cert enroll`.")
        return
    if clock.believable:
        _judge_dates(current, clock.now, findings)
    last = snapshot.history[-1] if snapshot.history else None
    if last is not None and last.phase is Phase.ROLLED_BACK and last.failure is not None:
        findings.add(Exit.DEGRADED, f"The last change was rolled back: {last.failure.message}")
    if snapshot.change is not None and snapshot.change.failure is not None:
        findings.add(Exit.DEGRADED, f"The change in flight has trouble: {snapshot.change.failure.message}")


def _judge_dates(current: Generation, now: datetime, findings: Findings) -> None:
    leaf = current.credential.leaf
    if leaf.not_after <= now:
        findings.add(Exit.CRITICAL, f"The certificate expired at {clock_time(leaf.not_after)}: run `iot-cert rotate`.")
    for anchor in current.trust.anchors:
        if anchor.not_after <= now:
            findings.add(Exit.DEGRADED, f"The trust anchor {anchor.subject} expired at {clock_time(anchor.not_after)}.")
        elif anchor.not_after - now < WARN_ANCHOR:
            findings.add(Exit.DEGRADED, f"The trust anchor {anchor.subject} expires at {clock_time(anchor.not_after)}.")


def status(config: Config, output: Output) -> Exit:
    """Show one screen: who, what, until when, what is under way, what is wrong."""
    snapshot = take(config)
    if output.as_json:
        output.emit(_as_json(config, snapshot))
    else:
        _show(config, snapshot, output)
    return snapshot.findings.code


def _show(config: Config, snapshot: Snapshot, output: Output) -> None:
    current, previous, now = snapshot.current, snapshot.previous, snapshot.clock.now
    thing = current.manifest.thing_name if current else config.thing_name or "not enrolled"
    output.field("gateway", f"{thing} at {config.endpoint}:{config.port}")
    output.field("clock", f"{clock_time(now)}, {snapshot.clock.state}")
    if current is not None:
        since = clock_time(current.manifest.created_at)
        back = f"previous is {previous.number}" if previous else "no previous"
        output.field("generation", f"{current.number} since {since} ({current.manifest.kind}), {back}")
        leaf = current.credential.leaf
        output.field("certificate", f"{leaf.subject}, {leaf.key}, {_until(leaf.not_after, now)}\nid {leaf.sha256}")
        due, opens = _renewal(config, current)
        output.field("renewal", f"due {clock_time(due)}, in the window from {opens:%Y-%m-%d %H:%M} UTC")
        lines = [f"{_common_name(anchor.subject)}, {_until(anchor.not_after, now)}" for anchor in current.trust.anchors]
        output.field("anchors", "\n".join(lines))
    output.field("change", _change_text(snapshot))
    if snapshot.history:
        output.field("last", _history_line(snapshot.history[-1]))
    output.field("health", "\n".join(snapshot.findings.texts) or "ok")


def _until(at: datetime, now: datetime) -> str:
    days = (at - now) / timedelta(days=1)
    left = f"{days:.0f} days left" if days >= 2 else f"{days * 24:.1f} h left"  # noqa: PLR2004 - below, hours tell more
    return f"until {at:%Y-%m-%d %H:%M} UTC ({left if days > 0 else 'EXPIRED'})"


def _common_name(subject: str) -> str:
    parts = [part for part in subject.split(",") if part.startswith("CN=")]
    return parts[0][3:] if parts else subject


def _renewal(config: Config, current: Generation) -> tuple[datetime, datetime]:
    """Return when this gateway's turn is, and when the window opens."""
    leaf = current.credential.leaf
    window = renewal_window(leaf.not_before, leaf.not_after, renewal_policy(config))
    return window.renew_at(splay(current.manifest.thing_name, leaf.sha256)), window.opens_at


def _change_text(snapshot: Snapshot) -> str:
    change = snapshot.change
    if change is None:
        return "none in flight"
    action = next_action(change, Facts(clock=snapshot.clock), Limits())
    until = f" until {clock_time(action.until)}" if isinstance(action, Wait) else ""
    return (
        f"{change.kind} {change.id} ({change.reason}), in phase {change.phase} since {clock_time(change.entered_at)}\n"
        f"next: {action.why}{until}"
    )


def _as_json(config: Config, snapshot: Snapshot) -> dict[str, Any]:
    current, previous, change = snapshot.current, snapshot.previous, snapshot.change
    plain: dict[str, Any] = {
        "endpoint": config.endpoint,
        "port": config.port,
        "clock": to_plain(snapshot.clock),
        "current": None,
        "previous": previous and previous.number,
        "change": None,
        "health": snapshot.findings.texts,
        "exit": snapshot.findings.code,
    }
    if current is not None:
        plain["current"] = {
            "generation": current.number,
            "thing_name": current.manifest.thing_name,
            "created_at": to_plain(current.manifest.created_at),
            "certificate": to_plain(current.credential.leaf),
            "anchors": to_plain(current.trust.anchors),
            "renew_at": to_plain(_renewal(config, current)[0]),
        }
    if change is not None:
        plain["change"] = {name: value for name, value in to_plain(change).items() if name != "issued"}
    return plain


def history(config: Config, output: Output) -> Exit:
    """Show the finished changes, oldest first."""
    with open_store(config) as store:
        records = store.history()
    for record in records:
        if output.as_json:
            output.emit({name: value for name, value in to_plain(record).items() if name != "issued"})
        else:
            output.line(_history_line(record))
    if not records and not output.as_json:
        output.line("Nothing has been changed yet.")
    return Exit.DONE


def _history_line(record: ChangeRecord) -> str:
    failure = f": {record.failure.message}" if record.failure else ""
    return (
        f"{clock_time(record.entered_at)}  {record.kind:<8} {record.phase:<11} generation {record.generation:<4} "
        f"{record.origin}: {record.reason}{failure}"
    )


def check_config(config: Config, output: Output) -> Exit:
    """Check what the configuration names, after the file itself was found sound.

    Raises:
        ConfigError: Something it names cannot be used; one line for each.
    """
    complaints = [*_check_files(config), *_check_state_dir(config)]
    if complaints:
        raise ConfigError("\n".join(complaints))
    if output.as_json:
        output.emit({"config": str(config.path), "exit": Exit.DONE})
    else:
        output.line(f"{config.path}: ok; endpoint {config.endpoint}:{config.port}, state in {config.state_dir}")
    return Exit.DONE


def _check_files(config: Config) -> list[str]:
    complaints = []
    for load in (engine_settings, load_anchors, load_claim):
        try:
            load(config)
        except RefusedError:
            continue  # without enrolment there is no claim to check
        except (ConfigError, MaterialError) as error:
            complaints.append(f"{error}{f' ({error.hint})' if error.hint else ''}")
    return complaints


def _check_state_dir(config: Config) -> list[str]:
    try:
        with open_store(config):
            return []
    except StoreError as error:
        if config.state_dir.exists():
            return [f"state_dir: {error}"]
    if config.state_dir.parent.is_dir() and os.access(config.state_dir.parent, os.W_OK):
        return []  # `enroll` makes it
    return [f"state_dir: {config.state_dir} does not exist and cannot be made by this user"]
