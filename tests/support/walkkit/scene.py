"""The scene of a story: one gateway, its cloud, its daemon and its surroundings, with everything that was said."""

from __future__ import annotations

import signal
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from subprocess import TimeoutExpired
from time import monotonic, sleep
from typing import TYPE_CHECKING, Self

from agent.errors import StoreError
from agent.sandbox.account.authority import fingerprint
from agent.sandbox.cloud import Status
from agent.store.store import Store
from support.running.daemon import CLIENT_ID, RunningDaemon
from support.running.gateway import Gateway
from support.suite.ran import Ran
from support.walkkit import pairs
from support.walkkit.factory import furnish
from support.walkkit.keeper import Keeper
from support.walkkit.pairs import THING
from support.walkkit.surroundings import SmallDisk, StandIn

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.change.lifecycle import Phase
    from support.walkkit.factory import Start
    from support.walkkit.pairs import Found

TRACES = ("Traceback (most recent call last)", "This is a defect in iot-cert")


@dataclass(frozen=True, kw_only=True)
class Breach:
    """A promise that was not kept.

    Attributes:
        promise: A short name of the promise.
        text: What was seen instead.
    """

    promise: str
    text: str

    def __str__(self) -> str:
        """Say it in a line."""
        return f"{self.promise}: {self.text}"


@dataclass
class Scene:
    """Everything that a story plays with; a context manager.

    Attributes:
        directory: Where everything lies.
        start: What the gateway is at the beginning.
        lines: What has happened so far, a line each.
        breaches: What was not kept so far.
        records_damaged: How often the history was damaged, with which the count of requests is lost.
        brought: The certificates that a person has brought.
        accepted: The certificates that alone are accepted at the end.
    """

    directory: Path
    start: Start
    lines: list[str] = field(default_factory=list)
    breaches: list[Breach] = field(default_factory=list)
    records_damaged: int = 0
    brought: list[str] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)
    _stand_in: StandIn | None = None
    _secrets: set[str] = field(default_factory=set)
    _began: float = field(default_factory=monotonic)

    def __enter__(self) -> Self:
        (self.directory / "typed").mkdir()
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell leaves it in the background
            signal.signal(signal.SIGINT, signal.default_int_handler)
        with ExitStack() as stack:
            self.gateway = stack.enter_context(Gateway(self.directory))
            self.disk = SmallDisk(self.gateway.state)
            if self.start.small_disk:
                stack.enter_context(self.disk)
            furnish(self.gateway, self.start)
            self.asked_before = self.asked
            self.daemon = RunningDaemon(self.gateway)
            self.keeper = stack.enter_context(Keeper(self.daemon, self.tell))
            self._stack = stack.pop_all()
        self.tell(f"a gateway: {self.start}")
        return self

    def __exit__(self, *_: object) -> None:
        self.calm()
        try:
            self._stack.close()
        except (AssertionError, TimeoutExpired) as error:
            self.breach("an orderly end", str(error))

    # -- the story -------------------------------------------------------------------------------------------------

    def tell(self, text: str) -> None:
        """Add a line to the story."""
        self.lines.append(f"{monotonic() - self._began:6.1f} s  {text}")

    def breach(self, promise: str, text: str) -> None:
        """Note what was not kept."""
        self.breaches.append(Breach(promise=promise, text=text))
        self.tell(f"NOT KEPT: {self.breaches[-1]}")

    def remember(self, ran: Ran) -> None:
        """Keep what was said, and the secrets that must not be in it."""
        self.gateway.remember(ran)
        self._look_for_traces(" ".join(ran.arguments), ran.out + ran.err)
        self.keep_secrets()

    def _look_for_traces(self, who: str, said: str) -> None:
        for trace in TRACES:
            found = said[said.index(trace) :][:4000] if trace in said else ""
            if found:
                self.breach("no traceback", f"{who}: {found}")

    def keep_secrets(self) -> None:
        """Remember the keys that are on the gateway now, since they may be gone at the end."""
        with suppress(OSError):
            self._secrets |= self.gateway.secrets()

    def check_words(self) -> None:
        """Note what was said that must not be: secrets anywhere, and traces of a defect in the daemon's log."""
        self.keep_secrets()
        said = self.gateway.everything_said()
        leaked = [secret[:6] for secret in self._secrets if secret in said]
        if leaked:
            self.breach("no secret", f"secrets that begin with {leaked} were printed, logged or recorded")
        self._look_for_traces("the daemon", self.daemon.said())

    # -- the surroundings ------------------------------------------------------------------------------------------

    def stand_in(self, *, silent: bool) -> None:
        """Let something else answer in the endpoint's place."""
        self.back()
        self.gateway.service.take_down()
        self._stand_in = StandIn(self.gateway.service.port, silent=silent)

    def back(self) -> None:
        """Let the endpoint be there again."""
        if self._stand_in is not None:
            self._stand_in.close()
            self._stand_in = None
        self.gateway.service.bring_up()

    def calm(self) -> None:
        """Let cloud, network and disk behave; what was revoked stays so, and the operator readmits the gateway."""
        self.gateway.order("readmit 0042")
        if self.disk.mounted:
            self.disk.free()
        self.back()
        self.gateway.order("clear")
        self.gateway.order("root use a")

    def cut_all(self) -> None:
        """Hang up on every client."""
        self.gateway.service.take_down()
        self.gateway.service.bring_up()

    # -- what can be seen ------------------------------------------------------------------------------------------

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.gateway.state

    def linked(self, link: str) -> Found | None:
        """Return what lies where `current` or `previous` points."""
        number = pairs.linked(self.state, link)
        return None if number is None else pairs.look(self.state, number)

    @property
    def phase(self) -> Phase | None:
        """The phase of the change in flight, if there is one that can be read."""
        try:
            with Store(self.state) as store:
                change = store.change()
        except StoreError:
            return None
        return change.phase if change else None

    @property
    def connected(self) -> bool:
        """Whether the gateway has a session with an active certificate of this thing, as it says and the cloud sees."""
        return bool(self.session) and self.keeper.runs and self.daemon.connection == "up"

    @property
    def session(self) -> str:
        """The certificate of its session, if that is an active one of this thing; else empty."""
        registry = self.gateway.cloud.registry
        for live in self.gateway.service.front.live:
            entry = registry.get(live.certificate_id)
            if live.client_id == CLIENT_ID and entry and entry.status is Status.ACTIVE and entry.thing_name == THING:
                return live.certificate_id
        return ""

    def some_set_works(self) -> bool:
        """Whether a whole set on the gateway would be accepted by the cloud, and would accept its server."""
        root = fingerprint(self.gateway.service.endpoint_authority.certificate)
        whole = [item for item in pairs.generations(self.state) if item.whole]
        return any(self.accepts(item.certificate_id) and root in item.anchors for item in whole)

    def accepts(self, certificate_id: str) -> bool:
        """Whether the cloud accepts a certificate as this thing's."""
        entry = self.gateway.cloud.registry.get(certificate_id)
        return entry is not None and entry.status is Status.ACTIVE and entry.thing_name == THING

    @property
    def asked(self) -> int:
        """How many certificates the cloud has issued on request."""
        return sum(item.operation == "create" and item.outcome == "200" for item in self.gateway.cloud.requests)

    def status(self) -> int:
        """Return what `iot-cert status` ends with."""
        number = len(list((self.directory / "typed").iterdir()))
        log = self.directory / "typed" / f"{number:04d}-status.log"
        process = self.gateway.fork("status", log=log)
        try:
            code = process.wait(120)
        except TimeoutExpired:
            process.kill()
            code = process.wait()
            self.breach("every command ends", "status took longer than two minutes")
        self.remember(Ran(arguments=("status",), code=code, out=log.read_text(errors="replace"), err=""))
        return code

    def rest(self, seconds: float) -> None:
        """Let time pass."""
        sleep(seconds)
