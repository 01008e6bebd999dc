"""The short-lived process that does what the daemon must not: everything heavy, hostile or secret.

``python -m agent.worker --config FILE`` reads one order from standard input, carries it out with the same engine on the
same persisted record as the command, and ends. Progress goes to standard output, a JSON object a line; the last line is
the `end`. Rules:

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

from agent import delivery, survey
from agent.adapters import traces
from agent.core import diagnosis, exits, schedule
from agent.core.dependants import Occasion
from agent.core.exits import Exit
from agent.core.orders import MAX_LINE, Do, Order, decode_order
from agent.core.plain import PlainError, encode, to_plain
from agent.core.records import public
from agent.core.values import ByHand, Kind
from agent.errors import AgentError, BundleError, RefusedError, StoreBusyError
from agent.healing import heal, locked_out

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.compose import Parts
    from agent.config import Config
    from agent.core.values import Origin
    from agent.engine import Outcome
    from agent.ports import Progress

SHORT = timedelta(seconds=1)  # the session is nobody's while it waits


class Wire:
    """Standard output, as a reporter. When nobody reads any more, the daemon is gone and the worker stops like it."""

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
            self._carry_out()
        except AgentError as error:
            self._fail(error)
        if self._order.do is Do.SERVE:
            self._wire.send(self._end)
            return
        try:
            self._end["traces"] = traces.of(self._config.state_dir, self._config.foundations)
            self._end["document"] = survey.document(self._config, survey.take(self._config))
        except AgentError as error:
            if "error" not in self._end:
                self._fail(error)
        self._wire.send(self._end)

    def _fail(self, error: AgentError) -> None:
        busy = isinstance(error, StoreBusyError)
        self._end["error"] = {
            "message": str(error),
            "hint": error.hint,
            "exit": int(exits.of_error(error)),
            "busy": busy,
        }

    def _carry_out(self) -> None:
        from agent.compose import deployment, open_parts  # noqa: PLC0415 - looking without a state directory needs none

        order = self._order
        if order.do is Do.SERVE:
            deployment(self._config).take_up(Occasion.AGAIN)
            return
        if order.do is Do.LOOK and not self._config.state_dir.exists():
            return
        first = order.do is Do.BEGIN and order.kind is Kind.ENROLL
        with ExitStack() as stack:
            parts = stack.enter_context(open_parts(self._config, self._wire, create=first))
            Task(self._config, order, parts, self._stop, self._end).run()


class Task:
    """One order on an open store."""

    def __init__(self, config: Config, order: Order, parts: Parts, stop: threading.Event, end: dict[str, Any]) -> None:
        self._config = config
        self._order = order
        self._parts = parts
        self._engine = parts.engine
        self._stop = stop
        self._end = end

    def run(self) -> None:
        """Recover, do it, and note how it ended."""
        self._note_connections()
        adopts = self._config.rotation.by_hand is ByHand.ADOPT
        handmade = self._parts.store.handmade() if adopts else None
        if adopts and handmade is None and self._order.patient and self._parts.store.half_replaced():
            self._end["half"] = True  # whoever copies a key and a certificate into place copies one of them first
            return
        found = self._engine.recover(orderly=self._order.orderly)
        if handmade is not None and found is None and self._order.do is not Do.NOTE_RETIRED:
            self._engine.adopt(handmade)
            self._note(self._carry())
        else:
            self._obey()
        delivery.conclude(self._config, self._parts.store.history())
        client_id = self._client_id()
        if client_id is not None:
            self._end["connected_at"] = self._parts.broker.last_connect(client_id)

    def _note_connections(self) -> None:
        client_id = self._client_id()
        if client_id is not None and self._order.connected_at is not None:
            self._parts.broker.note_connect(client_id, self._order.connected_at)

    def _client_id(self) -> str | None:
        usable = self._engine.usable()
        return self._config.client_id.replace("{thing}", usable.manifest.thing_name) if usable else None

    def _obey(self) -> None:
        order, engine = self._order, self._engine
        match order.do:
            case Do.BEGIN:
                self._note(self._begin(order.kind, order.origin, order.reason))
            case Do.GO_ON:
                self._go_on()
            case Do.GIVE_UP if engine.change is None:  # it ended in the meantime; what is wanted is the set before
                self._note(self._begin(Kind.ROLLBACK, order.origin, order.reason))
            case Do.GIVE_UP:
                engine.give_up(order.reason)
                self._note(self._carry())
            case Do.CLIMB:
                self._climb()
            case Do.REHEARSE | Do.EXAMINE:
                self._try_out(order.do)
            case Do.NOTE_RETIRED:
                engine.note_retired(order.change)
            case Do.TAKE_DROP | Do.DOWNLOAD:
                self._take_in()
            case _:  # to look; what needs no store does not get here
                self._look_at_image()

    def _try_out(self, what: Do) -> None:
        if what is Do.REHEARSE:
            self._end["rehearsal"] = self._engine.rehearse()
            return
        found = self._engine.examine()
        lines = (diagnosis.of_connection(found), diagnosis.of_permissions(found))
        self._end["examination"] = [to_plain(line) for line in lines]

    def _take_in(self) -> None:
        """Take a bundle in; that it is refused is an answer to whoever shipped it, and no trouble of the worker's."""
        receiver, order = delivery.Receiver(self._config, self._parts), self._order
        try:
            if order.do is Do.TAKE_DROP:
                change = receiver.take_drop(order.drop)
            else:
                current = self._engine.usable()
                trust = current.trust if current else None
                source = delivery.remote_at(order.url, self._config, trust, order.digest or None)
                change = receiver.take_in(source, order.origin, order.reason, order.order).change
        except (BundleError, RefusedError) as error:
            passing = getattr(error, "passing", True)
            told = {"code": getattr(error, "code", "not-now"), "message": str(error), "hint": error.hint}
            self._end["bundle"] = {**told, "passing": passing}
            return
        if change is None:
            self._end["bundle"] = {"code": "unchanged", "message": "These anchors are in use already.", "hint": ""}
            return
        self._note(self._carry())

    def _look_at_image(self) -> None:
        """Take the baked copy up when an OS image brought a newer one, unless somebody holds changes."""
        delivery.make_inbox(self._config)
        if self._engine.change is not None or not schedule.is_free(survey.holds(self._config), self._parts.clock.now()):
            return
        if delivery.Receiver(self._config, self._parts).take_baked() is not None:
            self._note(self._carry())

    def _begin(self, kind: Kind, origin: Origin, reason: str) -> Outcome:
        self._engine.begin(kind, origin, reason, self._order.order)
        return self._carry()

    def _go_on(self) -> None:
        if self._engine.change is None:
            return
        if self._order.hasten:
            self._engine.hasten()
        self._note(self._carry())

    def _climb(self) -> None:
        if self._engine.change is not None:
            raise RefusedError(f"Change {self._engine.change.id} is in flight; it comes first.")
        healed = heal(self._engine, self._begin, self._carry, self._order.reason, rotate_from_current=False)
        self._end["climb"] = {"use": healed.climb.use, "why": healed.climb.why}
        if healed.outcome is not None:
            self._note(healed.outcome)

    def _carry(self) -> Outcome:
        """Run until the change ends or has to wait for longer than a moment."""
        while True:
            outcome = self._engine.run(self._stop.is_set)
            if outcome.wait is None or outcome.wait.code == "stopped":
                return outcome
            left = outcome.wait.until - self._parts.clock.now()
            if left > SHORT or self._stop.wait(max(left.total_seconds(), 0.05)):
                return outcome

    def _note(self, outcome: Outcome) -> None:
        wait = outcome.wait
        has_set = self._engine.usable() is not None
        self._end["change"] = public(outcome.record)
        self._end["locked_out"] = locked_out(outcome.record)
        self._end["wait"] = None if wait is None else to_plain(wait)
        self._end["exit"] = int(exits.of_outcome(outcome.record, wait, has_set=has_set))


def main() -> int:
    """Carry out the order on standard input."""
    from agent.adapters import privileges  # noqa: PLC0415
    from agent.config import load, parse  # noqa: PLC0415

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
    privileges.keep_memory_private()
    privileges.stop_with_parent()
    worker.run()
    return Exit.DONE


if __name__ == "__main__":
    sys.exit(main())
