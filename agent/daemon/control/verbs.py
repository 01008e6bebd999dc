"""What is asked for over the control socket: the verbs, which role each needs, and what each has done.

A verb answers at once or hands an order on; what waits for the end of that is among the `Followers`. It refuses to wait
for anything in the daemon's own time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from agent.core.change import probation, verbs
from agent.core.change.progress import Progress
from agent.core.change.verbs import Situation, Verb, comes_first
from agent.core.checksum import checksum
from agent.core.control_protocol import (
    AcceptedMessage,
    ExaminationMessage,
    HistoryMessage,
    OutcomeMessage,
    PausedMessage,
    ResumedMessage,
    StatusMessage,
)
from agent.core.exit_codes import Exit, of_error, of_outcome
from agent.core.frozen import frozen
from agent.core.report.document import document, trust
from agent.core.report.findings import judge
from agent.core.values import Kind, Origin
from agent.core.when import retirement
from agent.core.when.schedule import LONGEST_PAUSE, Pause
from agent.core.worker_protocol import Do, Order
from agent.errors import AgentError, RefusedError
from agent.store.notes import reported
from agent.system.peers import Role, behind

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.control_protocol import ControlRequest, LastMessage
    from agent.core.report.status import Status
    from agent.core.values import User
    from agent.daemon.control.audit import Audit
    from agent.daemon.control.client import Client
    from agent.daemon.control.followers import Followers
    from agent.daemon.facts import GatewayFacts

    _CarryOut = Callable[["ControlVerbs", Client, ControlRequest], None]

_READ = frozenset({"status", "history"})
_TRIES = frozenset({"examine", "rehearse"})  # what changes nothing, and may be asked for every minute

# The change that an order begins on a gateway with nothing in flight.
_BEGINS = {Verb.ENROLL: Kind.ENROLL, Verb.ROTATE: Kind.ROTATE, Verb.ROLLBACK: Kind.ROLLBACK}


@frozen
class VerbCalls:
    """What the verbs have done, and whom they ask.

    Attributes:
        status: Returns how the gateway stands.
        submit: Have a worker do something as soon as none is busy. Takes the client that waits for it.
        making: Returns the kind of change that was ordered and may not be on record yet.
        interrupt: Stop the worker between two steps.
        contested: Returns why another client is believed to use the agent's client id, as a sentence, or empty.
        set_pause: Pause, or end the pause; raises StoreError.
        retire: Ask for the retirement of everything left behind, now, and return how much that is. Takes whether also
            that is asked for which other programs may use still; raises AgentError when it cannot be asked for.
        audit: Is told who asked.
    """

    status: Callable[[], Status]
    submit: Callable[[Order, Client | None], None]
    making: Callable[[], Kind | None]
    interrupt: Callable[[], None]
    contested: Callable[[], str]
    set_pause: Callable[[Pause | None], None]
    retire: Callable[[bool], int]
    audit: Audit


class ControlVerbs:
    """Carries requests out."""

    def __init__(self, facts: GatewayFacts, followers: Followers, calls: VerbCalls) -> None:
        """Carry none out yet.

        Args:
            facts: What is known of the gateway.
            followers: The clients that wait for something.
            calls: What the verbs have done.
        """
        self._facts = facts
        self._followers = followers
        self._calls = calls
        self._early: list[tuple[Client, ControlRequest]] = []

    def handle(self, client: Client, request: ControlRequest) -> None:
        """Do what a request asks for.

        Raises:
            AgentError: It is refused, or cannot be done.
        """
        carry_out = self._VERBS.get(request.verb)
        if carry_out is None:
            known = ", ".join(self._VERBS)
            client.refuse(f"There is no request {request.verb[:40]!r}.", f"Known: {known}.", Exit.USAGE)
        elif request.verb not in _READ and client.role < Role.ADMIN:
            text = "Only root and members of the group iot-cert-admin may change anything."
            self._calls.audit.refused(client.peer, request.verb, text)
            client.refuse(text, "Run the command with sudo.", Exit.REFUSED)
        elif not self._facts.complete:
            if request.verb not in _READ:
                client.send(AcceptedMessage())
            self._early.append((client, request))  # it is judged by what is on disk, which was not looked at yet
        else:
            self._carry_out(carry_out, client, request)

    def _carry_out(self, verb: _CarryOut, client: Client, request: ControlRequest) -> None:
        try:
            if request.verb not in _READ | _TRIES:
                self._calls.audit.taken(_asker(client, request), _ordered(request))
            verb(self, client, request)
        except AgentError as error:
            self._calls.audit.refused(client.peer, request.verb, str(error))
            raise

    def look_back(self) -> None:
        """Take up what was asked for before anything was known of the gateway."""
        early, self._early = self._early, []
        for client, request in early:
            try:
                self.handle(client, request)
            except AgentError as error:
                client.refuse(str(error), error.hint, of_error(error))

    def dismiss(self, message: LastMessage) -> None:
        """Tell each client that waits for anything, and let it go: the daemon stops."""
        self._followers.dismiss(message)
        early, self._early = self._early, []
        for client, _ in early:
            client.end(message)

    # -- looking ---------------------------------------------------------------------------------------------------

    def _status(self, client: Client, _request: ControlRequest) -> None:
        from agent.core.report.screen import explain, screen  # noqa: PLC0415 - as in `_not_examined`

        status = self._calls.status()
        message = StatusMessage(
            document=document(status),
            trust=trust(status),
            screen=tuple(screen(status)),
            why=tuple(explain(status)),
            configuration=checksum(self._facts.config.source.encode()),
            exit=judge(status).exit,
        )
        client.end(message)

    def _history(self, client: Client, _request: ControlRequest) -> None:
        from agent.core.report.screen import history_line  # noqa: PLC0415 - as in `_not_examined`

        found = self._facts.history[-100:]
        client.end(HistoryMessage(records=found, lines=tuple(map(history_line, found))))

    # -- changing --------------------------------------------------------------------------------------------------

    def _order(self, client: Client, request: ControlRequest) -> None:
        """Have a person's order carried out; what it means `agent.core.change.verbs` says, here and in the worker."""
        verb = Verb.GIVE_UP if request.give_up else Verb(request.verb)
        change, kind, making = self._facts.change, _BEGINS.get(verb), self._calls.making()
        if change is None and kind is not None and making is kind:
            self._follow(client, request)
            return
        told = reported.read(self._facts.config.state_dir)
        if change is None and making is None:
            meaning = verbs.meaning(verb, self._situation(told))  # which may refuse it
            if meaning.done is not None:
                self._repeat(client, meaning.done)
                return
        ends_it = verb is Verb.GIVE_UP or (verb is Verb.ROLLBACK and not (change and verbs.goes_back(change)))
        if ends_it:
            self._calls.interrupt()
        if change is not None and not ends_it:
            self._follow(client, request)
        else:
            self._wait(client, request)
        order = Order(
            do=Do.ORDER,
            verb=verb,
            origin=Origin.TECHNICIAN,
            reason=_reason(request),
            joins=verbs.joins(verb, change),
            asked_by=_asker(client, request),
            told=told,
        )
        self._calls.submit(order, client)

    def _situation(self, told: str) -> Situation:
        """Return what the meaning of a person's order depends on."""
        facts = self._facts
        return Situation(
            change=facts.change, history=facts.history, current=facts.generation, now=facts.clock.now(), told=told
        )

    def _repeat(self, client: Client, record: ChangeRecord) -> None:
        """Tell the end of the change that did already what is ordered."""
        client.end(self._outcome(record, repeated=True))
        reported.write(self._facts.config.state_dir, record.id)

    def _outcome(self, record: ChangeRecord, *, repeated: bool = False) -> OutcomeMessage:
        current = self._facts.generation
        code = of_outcome(record, None, has_set=current is not None)
        return OutcomeMessage(change=record, current=current, exit=code, repeated=repeated)

    def _confirm(self, client: Client, request: ControlRequest) -> None:
        """Take the word that the set on probation works; said again of a change that is final, it is true still."""
        outlook = self._facts
        last = outlook.history[-1] if outlook.history else None
        if outlook.change is None and self._calls.making() is None and last is not None and last.phase.succeeded:
            client.end(self._outcome(last))
            return
        refusal = probation.unconfirmable(outlook.change)
        if refusal:
            raise RefusedError(refusal, hint="`iot-cert status` shows how things are.")
        self._follow(client, request)
        self._calls.submit(Order(do=Do.CONFIRM, origin=Origin.TECHNICIAN), client)

    def _examine(self, client: Client, request: ControlRequest) -> None:
        contested = self._calls.contested()
        if contested:
            client.send(AcceptedMessage())
            client.end(_not_examined(contested))
            return
        self._wait(client, request)
        self._calls.submit(Order(do=Do.EXAMINE), client)

    def _go_on(self, client: Client, request: ControlRequest) -> None:
        """Carry on what a command has planned."""
        self._facts.refresh()
        if self._facts.change is None:
            raise RefusedError("No change is in flight.", hint="`iot-cert history` shows how the last one ended.")
        self._follow(client, request)
        self._calls.submit(Order(do=Do.GO_ON, hasten=True), client)

    def _rehearse(self, client: Client, request: ControlRequest) -> None:
        if self._facts.change is not None:
            raise comes_first(self._facts.change)
        contested = self._calls.contested()
        if contested:
            text = f"{contested} A rehearsal would connect, and end that one's connection."
            raise RefusedError(text, hint="Give the agent a `client_id` of its own first; `iot-cert check` says more.")
        self._wait(client, request)
        self._calls.submit(Order(do=Do.REHEARSE), client)

    def _follow(self, client: Client, request: ControlRequest) -> None:
        """Have a client hear of the change under way, or of one that is just being begun."""
        self._accept(client)
        change = self._facts.change
        self._followers.follow(client, change.id if change else None, brief=request.no_wait)

    def _wait(self, client: Client, request: ControlRequest) -> None:
        """Have a client hear of what it ordered, once that is begun."""
        self._accept(client)
        self._followers.wait(client, brief=request.no_wait)

    def _accept(self, client: Client) -> None:
        client.send(AcceptedMessage())
        contested = self._calls.contested()
        if contested:  # what only looks does not get here then
            text = f"{contested} This change connects nevertheless, and ends that one's connection."
            client.send(Progress(at=self._facts.clock.now(), code="note", text=text))

    # -- the rest --------------------------------------------------------------------------------------------------

    def _retire(self, client: Client, request: ControlRequest) -> None:
        count = self._calls.retire(request.now)
        self._followers.wait_for_retirements(client)
        if count == 0:
            self._followers.retired(retirement.spared(self._facts.retirements()))
            return
        client.send(AcceptedMessage())

    def _drop_retirement(self, client: Client, request: ControlRequest) -> None:
        order = Order(do=Do.DROP_RETIREMENT, certificate=request.certificate)
        self._wait(client, request)
        self._calls.submit(order, client)

    def _pause(self, client: Client, request: ControlRequest) -> None:
        until, now = request.until, self._facts.clock.now()
        if until is None or not now < until <= now + LONGEST_PAUSE:
            raise RefusedError("A pause ends in the future, within 90 days.")
        self._calls.set_pause(Pause(until=until, reason=_reason(request), begun=now))
        client.end(PausedMessage(until=until))

    def _resume(self, client: Client, _request: ControlRequest) -> None:
        self._calls.set_pause(None)
        client.end(ResumedMessage())

    _VERBS: ClassVar[dict[str, _CarryOut]] = {
        "status": _status,
        "history": _history,
        "rotate": _order,
        "enroll": _order,
        "rollback": _order,
        "confirm": _confirm,
        "rehearse": _rehearse,
        "examine": _examine,
        "go-on": _go_on,
        "retire": _retire,
        "drop": _drop_retirement,
        "pause": _pause,
        "resume": _resume,
    }


def _ordered(request: ControlRequest) -> str:
    """Return what an order is, for people."""
    verb = "rollback --give-up" if request.give_up else request.verb
    return f"{verb} ({request.reason})" if request.reason else verb


def _asker(client: Client, request: ControlRequest) -> User:
    return behind(client.peer.uid, request.login_uid)


def _reason(request: ControlRequest) -> str:
    return request.reason or "asked for by a technician"


def _not_examined(rival: str) -> ExaminationMessage:
    from agent.core.report import broker_checks  # noqa: PLC0415 - seldom needed, and the idle daemon is small

    return ExaminationMessage(lines=tuple(broker_checks.of_rival(rival)))
