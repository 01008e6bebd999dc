"""The desk: what people ask for over the control socket, and whoever follows a change.

It knows the verbs and which role each needs. What is to be done it hands to the daemon; nobody at the desk waits for
anything in the daemon's own time.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from agent.adapters.peers import Role
from agent.core import probation
from agent.core.exits import Exit, of_error, of_outcome
from agent.core.orders import Do, Order
from agent.core.plain import PlainError
from agent.core.records import public
from agent.core.schedule import Pause
from agent.core.values import Kind, Origin
from agent.errors import AgentError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.daemon.control import Client, Request
    from agent.daemon.outlook import Outlook

LONGEST_PAUSE = timedelta(days=90)  # a pause that is forgotten must end by itself

_READ = frozenset({"status", "history"})


class Daemon(Protocol):
    """What the desk needs of the daemon."""

    @property
    def outlook(self) -> Outlook:
        """What is known of the gateway."""

    def status(self) -> dict[str, Any]:
        """The status document."""

    def submit(self, order: Order, client: Client | None = None) -> None:
        """Have a worker do something as soon as none is busy."""

    @property
    def making(self) -> Kind | None:
        """The kind of change that was ordered and may not be on record yet."""

    def interrupt(self) -> None:
        """Stop the worker between two steps."""

    def set_pause(self, pause: Pause | None) -> None:
        """Pause, or end the pause; raises StoreError."""

    def retire_now(self) -> int:
        """Ask for the retirement of everything left behind, now; return how much that is."""


class Desk:
    """Takes requests and keeps followers up to date."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._early: list[tuple[Client, Request]] = []
        self._waiting: list[tuple[Client, bool]] = []
        self._followers: list[Client] = []
        self._brief: list[Client] = []
        self._retiring: list[Client] = []

    def handle(self, client: Client, request: Request) -> None:
        """Do what a request asks for.

        Raises:
            AgentError: It is refused, or cannot be done.
        """
        verbs: dict[str, Callable[[Client, Request], None]] = {
            "status": self._status,
            "history": self._history,
            "rotate": self._rotate,
            "enroll": self._enroll,
            "rollback": self._rollback,
            "confirm": self._confirm,
            "rehearse": self._rehearse,
            "examine": self._examine,
            "go-on": self._go_on,
            "retire": self._retire,
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
    def _carry_out(verb: Callable[[Client, Request], None], client: Client, request: Request) -> None:
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

    def _status(self, client: Client, _request: Request) -> None:
        document = self._daemon.status()
        client.end({"event": "status", "document": document, "exit": document["exit"]})

    def _history(self, client: Client, _request: Request) -> None:
        records = [public(record) for record in self._daemon.outlook.history[-100:]]
        client.end({"event": "history", "records": records, "exit": int(Exit.DONE)})

    # -- changing --------------------------------------------------------------------------------------------------

    def _rotate(self, client: Client, request: Request) -> None:
        change = self._daemon.outlook.change
        if change is None and self._daemon.making is Kind.ROTATE:
            self._follow(client, request, at_once=True)
            return
        if change is not None and not change.kind.issues:
            raise RefusedError(
                f"Change {change.id} ({change.kind}) is in flight, in phase {change.phase}.",
                hint="Wait for it, or give it up with `iot-cert rollback`.",
            )
        if not self._daemon.outlook.has_enrolled and change is None:
            raise RefusedError("This gateway has no certificate to rotate yet.", hint="Run `iot-cert enroll`.")
        self._follow(client, request, at_once=change is not None)
        reason = _reason(request)
        if change is not None:
            self._daemon.submit(Order(do=Do.GO_ON, hasten=True, orderly=True), client)
        elif self._daemon.outlook.has_set:
            order = Order(do=Do.BEGIN, kind=Kind.ROTATE, origin=Origin.TECHNICIAN, reason=reason)
            self._daemon.submit(order, client)
        else:
            self._daemon.submit(Order(do=Do.CLIMB, reason=reason), client)

    def _enroll(self, client: Client, request: Request) -> None:
        if self._daemon.outlook.has_set and self._daemon.outlook.change is None:
            raise RefusedError("This gateway is enrolled already.", hint="`iot-cert rotate` gets a new certificate.")
        self._follow(client, request, at_once=self._daemon.outlook.change is not None)
        if self._daemon.outlook.change is not None:
            self._daemon.submit(Order(do=Do.GO_ON, hasten=True, orderly=True), client)
        else:
            order = Order(do=Do.BEGIN, kind=Kind.ENROLL, origin=Origin.TECHNICIAN, reason=_reason(request))
            self._daemon.submit(order, client)

    def _rollback(self, client: Client, request: Request) -> None:
        self._follow(client, request, at_once=False)
        if self._daemon.outlook.change is not None or self._daemon.making is not None:
            self._daemon.interrupt()
            order = Order(do=Do.GIVE_UP, origin=Origin.TECHNICIAN, reason=_reason(request), orderly=True)
            self._daemon.submit(order, client)
        else:
            order = Order(do=Do.BEGIN, kind=Kind.ROLLBACK, origin=Origin.TECHNICIAN, reason=_reason(request))
            self._daemon.submit(order, client)

    def _confirm(self, client: Client, request: Request) -> None:
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

    def _examine(self, client: Client, request: Request) -> None:
        self._follow(client, request, at_once=False)
        self._daemon.submit(Order(do=Do.EXAMINE, orderly=True), client)

    def _go_on(self, client: Client, request: Request) -> None:
        """Carry on what a command has planned."""
        self._daemon.outlook.refresh()
        if self._daemon.outlook.change is None:
            raise RefusedError("No change is in flight.", hint="`iot-cert history` shows how the last one ended.")
        self._follow(client, request, at_once=True)
        self._daemon.submit(Order(do=Do.GO_ON, hasten=True, orderly=True), client)

    def _rehearse(self, client: Client, request: Request) -> None:
        if self._daemon.outlook.change is not None:
            raise RefusedError(f"Change {self._daemon.outlook.change.id} is in flight.", hint="`iot-cert status`.")
        self._follow(client, request, at_once=False)
        self._daemon.submit(Order(do=Do.REHEARSE), client)

    def _follow(self, client: Client, request: Request, *, at_once: bool) -> None:
        """Have a client hear of the change under way, or of the one it asked for, once that is begun."""
        client.send({"event": "accepted"})
        client.on_gone(lambda: self._drop(client))
        brief, change = request.node.flag("no_wait"), self._daemon.outlook.change
        if at_once and brief and change is not None:
            client.end(_begun(change.id))
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

    def _drop(self, client: Client) -> None:
        for group in (self._followers, self._brief, self._retiring):
            if client in group:
                group.remove(client)
        self._waiting = [item for item in self._waiting if item[0] is not client]

    # -- what workers say ------------------------------------------------------------------------------------------

    def progress(self, message: dict[str, Any]) -> None:
        """Tell everybody who follows."""
        for client in list(self._followers):
            client.send(message)
        if message.get("change"):
            for client in self._brief:
                client.end(_begun(message["change"]))
            self._brief.clear()

    def waits(self, message: dict[str, Any]) -> None:
        """Tell that the change waits for longer than a moment; whoever has no patience leaves."""
        for client in list(self._followers):
            client.send({"event": "waiting", **message})

    def ended(self, message: dict[str, Any]) -> None:
        """Tell everybody the end and let them go."""
        everybody, self._followers, self._brief = [*self._followers, *self._brief], [], []
        for client in everybody:
            client.end(message)

    def dismiss(self, message: dict[str, Any]) -> None:
        """Tell everybody who waits for anything, and let them go: the daemon stops."""
        self.ended(message)
        left = [*(client for client, _ in (*self._waiting, *self._early)), *self._retiring]
        self._waiting, self._early, self._retiring = [], [], []
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

    def _retire(self, client: Client, _request: Request) -> None:
        count = self._daemon.retire_now()
        if count == 0:
            client.end({"event": "retired", "left": 0, "exit": int(Exit.DONE)})
            return
        client.send({"event": "accepted"})
        self._retiring.append(client)
        client.on_gone(lambda: self._drop(client))

    def retirement(self, left: int, refusal: str = "") -> None:
        """Tell how far the retirements are."""
        if left and not refusal:
            return
        waiting, self._retiring = self._retiring, []
        for client in waiting:
            if refusal:
                hint = "It is asked for again by itself; `iot-cert status` shows what is left."
                client.refuse(refusal, hint, Exit.UNAVAILABLE)
            else:
                client.end({"event": "retired", "left": left, "exit": int(Exit.DONE)})

    def _pause(self, client: Client, request: Request) -> None:
        until = request.node.time("until")
        if not self._daemon.outlook.now() < until <= self._daemon.outlook.now() + LONGEST_PAUSE:
            raise RefusedError("A pause ends in the future, within 90 days.")
        self._daemon.set_pause(Pause(until=until, reason=_reason(request)))
        client.end({"event": "paused", "until": until.isoformat(), "exit": int(Exit.DONE)})

    def _resume(self, client: Client, _request: Request) -> None:
        self._daemon.set_pause(None)
        client.end({"event": "resumed", "exit": int(Exit.DONE)})


def _reason(request: Request) -> str:
    return request.node.optional_text("reason", limit=500) or "asked for by a technician"


def _begun(change: str) -> dict[str, Any]:
    return {"event": "begun", "change": change, "exit": int(Exit.DONE)}
