"""The desk: what people ask for over the control socket, and whoever follows a change.

It knows the verbs and which role each needs. What is to be done it hands to the daemon; nobody at the desk waits for
anything in the daemon's own time.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from agent.core.change import probation, verbs
from agent.core.change.records import public
from agent.core.change.verbs import Verb
from agent.core.exit_codes import Exit, of_error, of_outcome
from agent.core.jsonio import PlainError, to_plain
from agent.core.report.document import document, trust
from agent.core.report.screen import explain, history_line, screen
from agent.core.values import Kind, Origin
from agent.core.when import retirement
from agent.core.when.schedule import Pause
from agent.core.worker_protocol import Do, Order
from agent.errors import AgentError, RefusedError
from agent.system.peers import Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.report.status import Status
    from agent.daemon.control_client import Client, ControlRequest
    from agent.daemon.facts import Outlook

LONGEST_PAUSE = timedelta(days=90)  # a pause that is forgotten must end by itself

_READ = frozenset({"status", "history"})

# The change that an order begins on a gateway with nothing in flight.
_BEGINS = {Verb.ENROLL: Kind.ENROLL, Verb.ROTATE: Kind.ROTATE, Verb.ROLLBACK: Kind.ROLLBACK}


class Daemon(Protocol):
    """What the desk needs of the daemon."""

    @property
    def outlook(self) -> Outlook:
        """What is known of the gateway."""

    def status(self) -> Status:
        """How the gateway stands."""

    def submit(self, order: Order, client: Client | None = None) -> None:
        """Have a worker do something as soon as none is busy."""

    @property
    def making(self) -> Kind | None:
        """The kind of change that was ordered and may not be on record yet."""

    @property
    def contested(self) -> str:
        """Why another client is believed to use the agent's client id, as a sentence, or empty."""

    def interrupt(self) -> None:
        """Stop the worker between two steps."""

    def told(self) -> str:
        """The id of the last change whose end was told to the person who ordered it, or empty."""

    def note_told(self, change: str) -> None:
        """Note that the end of a change was told to the person who ordered it."""

    def set_pause(self, pause: Pause | None) -> None:
        """Pause, or end the pause; raises StoreError."""

    def retire_now(self, *, over: bool) -> int:
        """Ask for the retirement of everything left behind, now; return how much that is.

        Args:
            over: Whether also that is asked for which other programs may use still.

        Raises:
            AgentError: It cannot be asked for.
        """


class Desk:
    """Takes requests and keeps followers up to date."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._early: list[tuple[Client, ControlRequest]] = []
        self._waiting: list[tuple[Client, bool]] = []
        self._followers: list[Client] = []
        self._brief: list[Client] = []
        self._retiring: list[Client] = []
        self._patient: list[Client] = []

    def handle(self, client: Client, request: ControlRequest) -> None:
        """Do what a request asks for.

        Raises:
            AgentError: It is refused, or cannot be done.
        """
        verbs: dict[str, Callable[[Client, ControlRequest], None]] = {
            "status": self._status,
            "history": self._history,
            "rotate": self._order,
            "enroll": self._order,
            "rollback": self._order,
            "confirm": self._confirm,
            "rehearse": self._rehearse,
            "examine": self._examine,
            "go-on": self._go_on,
            "retire": self._retire,
            "drop": self._drop_retirement,
            "pause": self._pause,
            "resume": self._resume,
        }
        verb = verbs.get(request.verb)
        if verb is None:
            client.refuse(f"There is no request {request.verb[:40]!r}.", f"Known: {', '.join(verbs)}.", Exit.USAGE)
        elif request.verb not in _READ and client.role < Role.ADMIN:
            text = "Only root and members of the group iot-cert-admin may change anything."
            client.refuse(text, "Run the command with sudo.", Exit.REFUSED)
        elif not self._daemon.outlook.complete:
            if request.verb not in _READ:
                client.send({"event": "accepted"})
            self._early.append((client, request))  # it is judged by what is on disk, which nobody has looked at yet
        else:
            self._carry_out(verb, client, request)

    @staticmethod
    def _carry_out(verb: Callable[[Client, ControlRequest], None], client: Client, request: ControlRequest) -> None:
        try:
            verb(client, request)
        except PlainError as error:
            client.refuse(f"The request cannot be read: {error}.", "", Exit.USAGE)

    def look_back(self) -> None:
        """Take up what was asked for before anything was known of the gateway."""
        early, self._early = self._early, []
        for client, request in early:
            try:
                self.handle(client, request)
            except AgentError as error:
                client.refuse(str(error), error.hint, of_error(error))

    # -- looking ---------------------------------------------------------------------------------------------------

    def _status(self, client: Client, _request: ControlRequest) -> None:
        status = self._daemon.status()
        told = document(status)
        client.end({
            "event": "status",
            "document": told,
            "trust": trust(status),
            "screen": list(screen(status)),
            "why": explain(status),
            "exit": told["exit"],
        })  # fmt: skip

    def _history(self, client: Client, _request: ControlRequest) -> None:
        found = self._daemon.outlook.history[-100:]
        records, lines = [public(record) for record in found], [history_line(record) for record in found]
        client.end({"event": "history", "records": records, "lines": lines, "exit": int(Exit.DONE)})

    # -- changing --------------------------------------------------------------------------------------------------

    def _order(self, client: Client, request: ControlRequest) -> None:
        """Have a person's order carried out; what it means `agent.core.change.verbs` says, here and in the worker."""
        daemon = self._daemon
        verb = Verb.GIVE_UP if request.node.flag("give_up") else Verb(request.verb)
        change, kind = daemon.outlook.change, _BEGINS.get(verb)
        if change is None and kind is not None and daemon.making is kind:
            self._follow(client, request, at_once=True)
            return
        told = daemon.told()
        if change is None and daemon.making is None:
            meaning = verbs.meaning(verb, daemon.outlook.situation(told))  # which may refuse it
            if meaning.done is not None:
                self._repeat(client, meaning.done)
                return
        ends_it = verb is Verb.GIVE_UP or (verb is Verb.ROLLBACK and not (change and verbs.goes_back(change)))
        if ends_it:
            daemon.interrupt()
        self._follow(client, request, at_once=change is not None and not ends_it)
        daemon.submit(
            Order(
                do=Do.ORDER,
                verb=verb,
                origin=Origin.TECHNICIAN,
                reason=_reason(request),
                joins=verbs.joins(verb, change),
                told=told,
                orderly=True,
            ),
            client,
        )

    def _repeat(self, client: Client, record: ChangeRecord) -> None:
        """Tell the end of the change that did already what is ordered."""
        has_set = self._daemon.outlook.has_set
        client.end(
            {
                "event": "outcome",
                "change": public(record),
                "current": self._daemon.outlook.generation,
                "repeated": True,
                "exit": int(of_outcome(record, None, has_set=has_set)),
            }
        )
        self._daemon.note_told(record.id)

    def _confirm(self, client: Client, request: ControlRequest) -> None:
        """Take the word that the set on probation works; said again of a change that is final, it is true still."""
        outlook = self._daemon.outlook
        last = outlook.history[-1] if outlook.history else None
        if outlook.change is None and self._daemon.making is None and last is not None and last.phase.succeeded:
            code = of_outcome(last, None, has_set=outlook.has_set)
            told = {"event": "outcome", "change": public(last), "current": outlook.generation, "exit": int(code)}
            client.end(told)
            return
        refusal = probation.unconfirmable(outlook.change)
        if refusal:
            raise RefusedError(refusal, hint="`iot-cert status` shows how things are.")
        self._follow(client, request, at_once=True)
        self._daemon.submit(Order(do=Do.CONFIRM, origin=Origin.TECHNICIAN, orderly=True), client)

    def _examine(self, client: Client, request: ControlRequest) -> None:
        if self._daemon.contested:
            client.send({"event": "accepted"})
            client.end(_not_examined(self._daemon.contested))
            return
        self._follow(client, request, at_once=False)
        self._daemon.submit(Order(do=Do.EXAMINE, orderly=True), client)

    def _go_on(self, client: Client, request: ControlRequest) -> None:
        """Carry on what a command has planned."""
        self._daemon.outlook.refresh()
        if self._daemon.outlook.change is None:
            raise RefusedError("No change is in flight.", hint="`iot-cert history` shows how the last one ended.")
        self._follow(client, request, at_once=True)
        self._daemon.submit(Order(do=Do.GO_ON, hasten=True, orderly=True), client)

    def _rehearse(self, client: Client, request: ControlRequest) -> None:
        if self._daemon.outlook.change is not None:
            raise RefusedError(f"Change {self._daemon.outlook.change.id} is in flight.", hint="`iot-cert status`.")
        if self._daemon.contested:
            text = f"{self._daemon.contested} A rehearsal would connect, and end that one's connection."
            raise RefusedError(text, hint="Give the agent a `client_id` of its own first; `iot-cert check` says more.")
        self._follow(client, request, at_once=False)
        self._daemon.submit(Order(do=Do.REHEARSE), client)

    def _follow(self, client: Client, request: ControlRequest, *, at_once: bool) -> None:
        """Have a client hear of the change under way, or of the one it asked for, once that is begun."""
        client.send({"event": "accepted"})
        client.on_gone(lambda: self._drop(client))
        if self._daemon.contested:  # what only looks does not get here then
            text = f"{self._daemon.contested} This change connects nevertheless, and ends that one's connection."
            at = self._daemon.outlook.now().isoformat()
            client.send({"event": "progress", "at": at, "code": "note", "text": text})
        brief, change = request.node.flag("no_wait"), self._daemon.outlook.change
        if at_once and brief and change is not None:
            client.end(_begun(change.id))
            self._daemon.note_told(change.id)
        elif at_once:
            (self._brief if brief else self._followers).append(client)
        else:
            self._waiting.append((client, brief))

    def started(self, client: Client) -> None:
        """What a client asked for is being done."""
        for waiting, brief in self._waiting:
            if waiting is client:
                (self._brief if brief else self._followers).append(client)
        self._waiting = [item for item in self._waiting if item[0] is not client]
        if client in self._patient:
            self._patient.remove(client)
            self._followers.append(client)

    def _drop(self, client: Client) -> None:
        for group in (self._followers, self._brief, self._retiring, self._patient):
            if client in group:
                group.remove(client)
        self._waiting = [item for item in self._waiting if item[0] is not client]

    # -- what workers say ------------------------------------------------------------------------------------------

    def progress(self, message: dict[str, Any]) -> None:
        """Tell everybody who follows."""
        for client in [*self._followers, *self._patient]:
            client.send(message)
        if message.get("change"):
            if self._brief:
                self._daemon.note_told(str(message["change"]))  # that it goes on is all they wanted to hear
            for client in self._brief:
                client.end(_begun(message["change"]))
            self._brief.clear()

    def waits(self, message: dict[str, Any]) -> None:
        """Tell that the change waits for longer than a moment; whoever has no patience leaves."""
        for client in [*self._followers, *self._patient]:
            client.send({"event": "waiting", **message})

    def ended(self, message: dict[str, Any]) -> None:
        """Tell everybody the end and let them go."""
        if self._followers and message["event"] == "outcome":
            self._daemon.note_told(str(message["change"]["id"]))
        everybody, self._followers, self._brief = [*self._followers, *self._brief], [], []
        for client in everybody:
            client.end(message)

    def postponed(self, client: Client | None) -> None:
        """What a client asked for is done once the change in flight has ended; until then it hears of that one."""
        if client is not None and client in self._followers:
            self._followers.remove(client)
            self._patient.append(client)

    def dismiss(self, message: dict[str, Any]) -> None:
        """Tell everybody who waits for anything, and let them go: the daemon stops."""
        self.ended(message)
        left = [*(client for client, _ in (*self._waiting, *self._early)), *self._retiring, *self._patient]
        self._waiting, self._early, self._retiring, self._patient = [], [], [], []
        for client in left:
            client.end(message)

    def failed(self, client: Client | None, error: dict[str, Any]) -> None:
        """Tell one client, or everybody, that it could not be done."""
        message = {"event": "error", "message": error["message"], "hint": error["hint"], "exit": error["exit"]}
        if client is None:
            self.ended(message)
            return
        self._drop(client)
        client.end(message)

    # -- the rest --------------------------------------------------------------------------------------------------

    def _retire(self, client: Client, request: ControlRequest) -> None:
        count = self._daemon.retire_now(over=request.node.flag("now"))
        self._retiring.append(client)
        if count == 0:
            self.retired()
            return
        client.send({"event": "accepted"})
        client.on_gone(lambda: self._drop(client))

    def retired(self) -> None:
        """Tell that all is retired that is not held back by another program, and what is."""
        if not self._retiring:
            return
        held = retirement.spared(self._daemon.outlook.retirements())
        waiting, self._retiring = self._retiring, []
        for client in waiting:
            if held is not None:
                client.refuse(str(held), held.hint, Exit.REFUSED)
            else:
                client.end({"event": "retired", "left": 0, "exit": int(Exit.DONE)})

    def not_retired(self, why: str, code: Exit) -> None:
        """Tell that a retirement was refused, or not answered."""
        hint = "It is asked for again by itself; `iot-cert status` shows what is left."
        if code is Exit.REFUSED:
            hint += " `iot-cert retire --drop ID` stops that."
        waiting, self._retiring = self._retiring, []
        for client in waiting:
            client.refuse(why, hint, code)

    def _drop_retirement(self, client: Client, request: ControlRequest) -> None:
        order = Order(do=Do.DROP_RETIREMENT, certificate=request.node.text("certificate", limit=64), orderly=True)
        self._follow(client, request, at_once=False)
        self._daemon.submit(order, client)

    def answer(self, client: Client, message: dict[str, Any]) -> None:
        """Tell the client that asked for something what came of it."""
        self._drop(client)
        client.end(message)

    def _pause(self, client: Client, request: ControlRequest) -> None:
        until = request.node.time("until")
        if not self._daemon.outlook.now() < until <= self._daemon.outlook.now() + LONGEST_PAUSE:
            raise RefusedError("A pause ends in the future, within 90 days.")
        self._daemon.set_pause(Pause(until=until, reason=_reason(request)))
        client.end({"event": "paused", "until": until.isoformat(), "exit": int(Exit.DONE)})

    def _resume(self, client: Client, _request: ControlRequest) -> None:
        self._daemon.set_pause(None)
        client.end({"event": "resumed", "exit": int(Exit.DONE)})


def _reason(request: ControlRequest) -> str:
    return request.node.optional_text("reason", limit=500) or "asked for by a technician"


def _not_examined(rival: str) -> dict[str, Any]:
    from agent.core.report import checks  # noqa: PLC0415 - seldom needed, and the idle daemon is small

    lines = [to_plain(line) for line in checks.of_rival(rival)]
    return {"event": "examination", "lines": lines, "exit": int(Exit.DONE)}


def _begun(change: str) -> dict[str, Any]:
    return {"event": "begun", "change": change, "exit": int(Exit.DONE)}
