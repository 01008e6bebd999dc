"""The short-lived process that does what the daemon must not: everything heavy, hostile or secret.

``python -m agent.worker.main --config FILE`` reads one order from standard input, carries it out with the same engine
on the same persisted record as the command, and ends. Progress goes to standard output, a JSON object a line; the last
line is the `end`. Rules:

* The record on disk is the only hand-over, the store's lock the only arbiter.
* It waits no longer than a moment for anything else than `agent.worker.carrying` names: a longer wait is the daemon's.
* Told to stop, it ends between two steps, so that nothing is cut off.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from agent.core import exit_codes
from agent.core.aws import client_ids
from agent.core.change.records import public
from agent.core.change.verbs import Verb
from agent.core.dependants import Occasion
from agent.core.exit_codes import Exit
from agent.core.jsonio import PlainError
from agent.core.values import ByHand, Kind
from agent.core.when import schedule
from agent.core.worker_protocol import (
    MAX_LINE,
    Do,
    End,
    NoChange,
    Order,
    WorkerError,
    decode_order,
    encode_answer,
)
from agent.errors import AgentError, BundleError, RefusedError, StoreBusyError
from agent.operations import snapshot
from agent.operations.execute import Operations
from agent.store.files import fingerprints
from agent.system.files import is_there
from agent.trust import install
from agent.worker.carrying import Carrying

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.config.values import Config
    from agent.core.change.progress import Progress
    from agent.iotcore.sync_client import BrokerSession
    from agent.operations.execute import Done
    from agent.operations.wiring import Parts

TAKEOVER = 10.0  # seconds; the daemon may connect a second after the worker did, and takes its time for it


class Wire:
    """Standard output, as a reporter. Where no process reads, the daemon is gone and the worker stops, too."""

    def __init__(self) -> None:
        self._cut = False
        self.on_cut: Callable[[], None] = lambda: None

    def report(self, progress: Progress) -> None:
        """Hand a step on to the daemon."""
        self.send(progress)

    def send(self, answer: Progress | End) -> None:
        """Write one line, whole."""
        line = memoryview(encode_answer(answer))
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
        self._connected: BrokerSession | None = None
        wire.on_cut = self._stop.set

    def stop(self, *_: object) -> None:
        """End between two steps; a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Carry the order out and write the end; what is connected then stays so until the daemon takes it over."""
        end = self._carry_out()
        self._wire.send(end if self._order.do is Do.SERVE else self._look_at(end))
        if self._connected is not None:
            self._connected.wait_for_takeover(TAKEOVER, self._stop)
            self._connected.end()

    def _carry_out(self) -> End:
        task, failed = None, None
        try:
            with ExitStack() as stack:
                task = self._begin(stack)
                if task is not None:
                    stack.callback(self._keep_connected, task)
                    task.run()
        except AgentError as error:
            failed = _failed(error)
        return replace(task.end if task is not None else End(), error=failed)

    def _keep_connected(self, task: Task) -> None:
        self._connected = task.connected()

    def _look_at(self, end: End) -> End:
        """Return the end with what the disk shows now."""
        try:
            end = replace(end, traces=fingerprints.of(self._config.state_dir, self._config.foundations))
            return replace(end, seen=snapshot.seen(self._config, snapshot.take(self._config)))
        except AgentError as error:
            return replace(end, error=end.error or _failed(error))

    def _begin(self, stack: ExitStack) -> Task | None:
        """Return what is to be done on an open store, which the stack closes; None where nothing is left to do."""
        from agent.operations.wiring import deployment, open_parts  # noqa: PLC0415 - looking without a state directory needs none

        order = self._order
        if order.do is Do.SERVE:
            deployment(self._config).take_up(Occasion.AGAIN)
            return None
        if order.do is Do.LOOK and not is_there(self._config.state_dir):
            return None
        first = (order.do, order.kind) == (Do.BEGIN, Kind.ENROLL) or (order.do, order.verb) == (Do.ORDER, Verb.ENROLL)
        parts = stack.enter_context(open_parts(self._config, self._wire, create=first, asked_by=order.asked_by))
        return Task(self._config, order, parts, self._stop)


def _failed(error: AgentError) -> WorkerError:
    code, busy = int(exit_codes.of_error(error)), isinstance(error, StoreBusyError)
    return WorkerError(message=str(error), hint=error.hint, exit=code, busy=busy)


class Task:
    """One order on an open store."""

    def __init__(self, config: Config, order: Order, parts: Parts, stop: threading.Event) -> None:
        self._config = config
        self._order = order
        self._parts = parts
        self._change = parts.change
        self._engine = parts.change.engine
        self._operations = Operations(
            parts.change,
            parts.store,
            parts.clock,
            Carrying(self._engine, parts.clock, stop).carry,
            by_hand=config.rotation.by_hand,
            told=lambda: order.told,
        )
        self._stop = stop
        self.end = End()

    def run(self) -> None:
        """Recover, do it, and note how it ended."""
        self._note_connections()
        store, adopts = self._parts.store, self._config.rotation.by_hand is ByHand.ADOPT
        if adopts and self._order.patient and store.others.handmade() is None and store.others.half_replaced():
            self._tell(half=True)  # a person who copies a key and a certificate copies one of them first
            return
        self._operations.take_up(orderly=self._order.orderly)
        self._obey()
        self._change.retirements.destroy_left()
        install.conclude(self._config, self._parts.store.history())
        client_id = self._client_id()
        if client_id is not None:
            self._tell(connected_at=self._parts.broker.last_connect(client_id))

    def _tell(self, **known: object) -> None:
        """Add to the end."""
        self.end = replace(self.end, **known)  # type: ignore[arg-type]  # each name is one of `End`

    def connected(self) -> BrokerSession | None:
        """Return what is still connected with the daemon's client id; it is the caller's to end."""
        self._engine.close()
        client_id = self._client_id()
        return None if client_id is None else self._parts.broker.hand_over(client_id)

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
            case Do.NOTE_RETIRED | Do.NOTE_UNREGISTERED:
                retirements = self._change.retirements
                note = retirements.note_retired if order.do is Do.NOTE_RETIRED else retirements.note_unregistered
                note(order.change)
            case Do.DROP_RETIREMENT:
                self._tell(dropped=self._change.retirements.drop(order.certificate))
            case Do.TAKE_DROP | Do.DOWNLOAD:
                self._take_in()
            case _:  # to look; what needs no store does not get here
                self._look_around()

    def _try_out(self, what: Do) -> None:
        if what is Do.REHEARSE:
            self._tell(rehearsal=self._change.rehearsal.rehearse())
            return
        from agent.core.report import broker_checks  # noqa: PLC0415 - a rotation waits for no more than it needs

        found = self._change.examiner.examine()
        self._tell(examination=(broker_checks.of_connection(found), broker_checks.of_permissions(found)))

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
            code, passing = getattr(error, "code", "not-now"), getattr(error, "passing", True)
            self._tell(bundle=NoChange(code=code, message=str(error), hint=error.hint, passing=passing))
            return
        if change is None:
            self._tell(bundle=NoChange(code="unchanged", message="These anchors are in use already."))
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

    def _note(self, done: Done) -> None:
        """Write into the end what became of an order; a later one that changed nothing leaves it as it is."""
        climb, repeats = done.climb, done.repeats
        if climb is not None:
            self._tell(climb=climb)
        if repeats is not None:
            self._tell(repeats=public(repeats))
        self._tell(postponed=done.postponed)
        if done.outcome is None:
            return
        record, wait = done.outcome.record, done.outcome.wait
        has_set = self._change.sets.usable() is not None
        code = Exit.CRITICAL if done.locked_out else exit_codes.of_outcome(record, wait, has_set=has_set)
        self._tell(change=public(record), wait=wait, exit=int(code))


def main() -> int:
    """Carry out the order on standard input."""
    from agent.config.reader import load, parse  # noqa: PLC0415
    from agent.store.files import ownership  # noqa: PLC0415

    os.umask(0o077)
    wire = Wire()
    try:
        order = decode_order(sys.stdin.buffer.readline(MAX_LINE))
        path = Path(sys.argv[2])
        config = parse(order.configuration, path) if order.configuration else load(path)
    except (AgentError, PlainError) as error:
        hint = error.hint if isinstance(error, AgentError) else ""
        wire.send(End(error=WorkerError(message=str(error), hint=hint, exit=int(Exit.USAGE))))
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
