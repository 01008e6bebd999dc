"""The short-lived process that does what the daemon must not: everything heavy, hostile or secret.

``python -m agent.worker.main --config FILE`` reads one order from standard input, carries it out with the same engine
on the same persisted record as the command, and ends. Progress goes to standard output, a JSON object a line; the last
line is the `end`. Rules:

* The record on disk is the only hand-over, the store's lock the only arbiter.
* It waits no longer than `SHORT` for anything: a longer wait is the daemon's, and costs no process.
* Told to stop, it ends between two steps, so that nothing is cut off.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.core import exit_codes
from agent.core.aws import client_ids
from agent.core.change.records import public
from agent.core.change.verbs import Verb
from agent.core.dependants import Occasion
from agent.core.exit_codes import Exit
from agent.core.jsonio import PlainError, encode, to_plain
from agent.core.report import broker_checks, seen
from agent.core.values import ByHand, Kind
from agent.core.when import schedule
from agent.core.worker_protocol import MAX_LINE, Do, Order, decode_order
from agent.errors import AgentError, BundleError, RefusedError, StoreBusyError
from agent.operations import snapshot
from agent.operations.execute import Operations
from agent.store import fingerprints
from agent.trust import install

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.change.engine import Outcome
    from agent.config.values import Config
    from agent.operations.execute import Done
    from agent.operations.wiring import Parts
    from agent.ports import Progress

SHORT = timedelta(seconds=1)  # the session belongs to no process while it waits


class Wire:
    """Standard output, as a reporter. Where no process reads, the daemon is gone and the worker stops, too."""

    def __init__(self) -> None:
        self._cut = False
        self.on_cut: Callable[[], None] = lambda: None

    def report(self, progress: Progress) -> None:
        """Hand a step on to the daemon."""
        self.send({"event": "progress", **to_plain(progress)})

    def send(self, message: dict[str, Any]) -> None:
        """Write one line, whole."""
        line = memoryview(encode(message) + b"\n")
        try:
            while line and not self._cut:
                line = line[os.write(1, line) :]
        except BrokenPipeError:
            self._cut = True
            self.on_cut()


class Worker:
    """One order."""

    def __init__(self, config: Config, order: Order, wire: Wire) -> None:
        self._config = config
        self._order = order
        self._wire = wire
        self._stop = threading.Event()
        wire.on_cut = self._stop.set
        self._end: dict[str, Any] = {"event": "end"}

    def stop(self, *_: object) -> None:
        """End between two steps; a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Carry the order out and write the end."""
        try:
            with ExitStack() as stack:
                task = self._begin(stack)
                if task is not None:
                    task.run()
        except AgentError as error:
            self._fail(error)
        if self._order.do is Do.SERVE:
            self._wire.send(self._end)
            return
        try:
            self._end["traces"] = fingerprints.of(self._config.state_dir, self._config.foundations)
            found = snapshot.seen(self._config, snapshot.take(self._config))
            self._end["seen"] = seen.plainly(found)
        except AgentError as error:
            if "error" not in self._end:
                self._fail(error)
        self._wire.send(self._end)

    def _fail(self, error: AgentError) -> None:
        busy = isinstance(error, StoreBusyError)
        self._end["error"] = {
            "message": str(error),
            "hint": error.hint,
            "exit": int(exit_codes.of_error(error)),
            "busy": busy,
        }

    def _begin(self, stack: ExitStack) -> Task | None:
        """Return what is to be done on an open store, which the stack closes; None where nothing is left to do."""
        from agent.operations.wiring import deployment, open_parts  # noqa: PLC0415 - looking without a state directory needs none

        order = self._order
        if order.do is Do.SERVE:
            deployment(self._config).take_up(Occasion.AGAIN)
            return None
        if order.do is Do.LOOK and not self._config.state_dir.exists():
            return None
        first = (order.do, order.kind) == (Do.BEGIN, Kind.ENROLL) or (order.do, order.verb) == (Do.ORDER, Verb.ENROLL)
        parts = stack.enter_context(open_parts(self._config, self._wire, create=first, asked_by=order.asked_by))
        return Task(self._config, order, parts, self._stop, self._end)


class Task:
    """One order on an open store."""

    def __init__(self, config: Config, order: Order, parts: Parts, stop: threading.Event, end: dict[str, Any]) -> None:
        self._config = config
        self._order = order
        self._parts = parts
        self._change = parts.change
        self._engine = parts.change.engine
        self._operations = Operations(
            parts.change,
            parts.store,
            parts.clock,
            self._carry,
            by_hand=config.rotation.by_hand,
            told=lambda: order.told,
        )
        self._stop = stop
        self._end = end

    def run(self) -> None:
        """Recover, do it, and note how it ended."""
        self._note_connections()
        store, adopts = self._parts.store, self._config.rotation.by_hand is ByHand.ADOPT
        if adopts and self._order.patient and store.others.handmade() is None and store.others.half_replaced():
            self._end["half"] = True  # a person who copies a key and a certificate copies one of them first
            return
        self._operations.take_up(orderly=self._order.orderly)
        self._obey()
        install.conclude(self._config, self._parts.store.history())
        client_id = self._client_id()
        if client_id is not None:
            self._end["connected_at"] = self._parts.broker.last_connect(client_id)

    def _note_connections(self) -> None:
        client_id = self._client_id()
        if client_id is not None and self._order.connected_at is not None:
            self._parts.broker.note_connect(client_id, self._order.connected_at)

    def _client_id(self) -> str | None:
        usable = self._change.sets.usable()
        return client_ids.made(self._config.client_id, usable.manifest.thing_name) if usable else None

    def _obey(self) -> None:
        order, operations = self._order, self._operations
        match order.do:
            case Do.BEGIN:
                self._note(operations.begin(order.kind, order.origin, order.reason, order.order))
            case Do.ORDER:
                self._note(operations.order(order.verb, order.reason, joins=order.joins))
            case Do.GO_ON:
                self._note(operations.go_on(hasten=order.hasten, doubt=order.doubt))
            case Do.CONFIRM:
                self._note(operations.confirm())
            case Do.CLIMB:
                self._note(operations.climb(order.reason))
            case Do.REHEARSE | Do.EXAMINE:
                self._try_out(order.do)
            case Do.NOTE_RETIRED:
                self._change.retirements.note_retired(order.change)
            case Do.DROP_RETIREMENT:
                self._end["dropped"] = self._change.retirements.drop(order.certificate)
            case Do.TAKE_DROP | Do.DOWNLOAD:
                self._take_in()
            case _:  # to look; what needs no store does not get here
                self._look_around()

    def _try_out(self, what: Do) -> None:
        if what is Do.REHEARSE:
            self._end["rehearsal"] = self._change.rehearsal.rehearse()
            return
        found = self._change.examiner.examine()
        lines = (broker_checks.of_connection(found), broker_checks.of_permissions(found))
        self._end["examination"] = [to_plain(line) for line in lines]

    def _take_in(self) -> None:
        """Take a bundle in; that it is refused is an answer to its pipeline, and no trouble of the worker's."""
        receiver, order = install.Receiver(self._config, self._parts), self._order
        try:
            if order.do is Do.TAKE_DROP:
                change = receiver.take_drop(order.drop)
            else:
                current = self._change.sets.usable()
                trust = current.trust if current else None
                source = install.remote_at(order.url, self._config, trust, order.digest or None)
                change = receiver.take_in(source, order.origin, order.reason, order.order).change
        except (BundleError, RefusedError) as error:
            passing = getattr(error, "passing", True)
            told = {"code": getattr(error, "code", "not-now"), "message": str(error), "hint": error.hint}
            self._end["bundle"] = {**told, "passing": passing}
            return
        if change is None:
            self._end["bundle"] = {"code": "unchanged", "message": "These anchors are in use already.", "hint": ""}
            return
        self._note(self._operations.go_on())

    def _look_around(self) -> None:
        """Go on with what is in flight, or take the baked copy up when an OS image brought a newer one."""
        install.make_inbox(self._config)
        self._note(self._operations.go_on())
        if self._engine.change is not None or not schedule.is_free(
            self._config.rotation.holds(snapshot.pause_of(self._config)), self._parts.clock.now()
        ):
            return
        if install.Receiver(self._config, self._parts).take_baked() is not None:
            self._note(self._operations.go_on())

    def _carry(self) -> Outcome:
        """Run until the change ends or has to wait for longer than a moment."""
        while True:
            outcome = self._engine.run(self._stop.is_set)
            if outcome.wait is None or outcome.wait.code == "stopped":
                return outcome
            left = outcome.wait.until - self._parts.clock.now()
            if left > SHORT or self._stop.wait(max(left.total_seconds(), 0.05)):
                return outcome

    def _note(self, done: Done) -> None:
        """Write into the end what became of an order; a later one that changed nothing leaves it as it is."""
        if done.climb is not None:
            self._end["climb"] = {"use": done.climb.use, "why": done.climb.why, "remedy": done.climb.remedy}
        if done.repeats is not None:
            self._end["repeats"] = public(done.repeats)
        self._end["postponed"] = done.postponed
        if done.outcome is None:
            return
        record, wait = done.outcome.record, done.outcome.wait
        has_set = self._change.sets.usable() is not None
        self._end["change"] = public(record)
        self._end["wait"] = None if wait is None else to_plain(wait)
        code = Exit.CRITICAL if done.locked_out else exit_codes.of_outcome(record, wait, has_set=has_set)
        self._end["exit"] = int(code)


def main() -> int:
    """Carry out the order on standard input."""
    from agent.config.reader import load, parse  # noqa: PLC0415
    from agent.store import ownership  # noqa: PLC0415

    os.umask(0o077)
    wire = Wire()
    try:
        order = decode_order(sys.stdin.buffer.readline(MAX_LINE))
        path = Path(sys.argv[2])
        config = parse(order.configuration, path) if order.configuration else load(path)
    except (AgentError, PlainError) as error:
        hint = error.hint if isinstance(error, AgentError) else ""
        wire.send({"event": "end", "error": {"message": str(error), "hint": hint, "exit": int(Exit.USAGE)}})
        return Exit.USAGE
    worker = Worker(config, order, wire)
    signal.signal(signal.SIGTERM, worker.stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # the daemon starts it with this one held back
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the daemon, which tells its worker
    ownership.keep_memory_private()
    ownership.stop_with_parent()
    worker.run()
    return Exit.DONE


if __name__ == "__main__":
    sys.exit(main())
