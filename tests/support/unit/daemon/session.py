"""A session whose link obeys the test, and a diary of what the daemon hears of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from agent.core.failure import failures
from agent.daemon.cloud.session import CloudSession, SessionCalls
from agent.daemon.facts import Current
from agent.daemon.loop import Loop

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.failure.failure import Failure
    from support.running.office import HandClock


class ObedientLink:
    """A connection that comes up and ends when the test says so."""

    made: ClassVar[list[ObedientLink]]

    def __init__(self, _connector: object, _post: object, listener: Any) -> None:
        self._listener = listener
        self.up = self.closed = self.over = False
        self.silent = False
        self.client_id = ""
        type(self).made.append(self)

    def open(self, _name: str, client_id: str, _credential: object, _trust: object) -> None:
        """Begin to connect."""
        self.client_id = client_id

    def expire(self) -> None:
        """It never takes long."""

    def abandon(self) -> None:
        """Be over, where the SDK has not said so."""
        if self.closed and not self.over:
            self.end(None)

    def lose(self, failure: Failure) -> None:
        """Be over where it is up."""
        if self.up:
            self.end(failure)

    def close(self) -> None:
        """End it from this side; a silent SDK never says so."""
        self.closed = True
        if not self.silent:
            self.end(None)

    def come_up(self) -> None:
        """Let the broker accept it."""
        self.up = True
        self._listener.on_up(self)

    def end(self, failure: Failure | None, *, taken_over: bool = False) -> None:
        """Let it be over."""
        self.up, self.over = False, True
        self._listener.on_over(self, failure, taken_over=taken_over)


@dataclass
class Diary:
    """What the session told; of what its own status says only that it was told."""

    takeovers: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    @property
    def calls(self) -> SessionCalls:
        """What the session calls."""
        return SessionCalls(
            recovered=lambda: self.events.append("recovered"),
            connected=lambda _link: self.events.append("connected"),
            disconnected=lambda _why: self.events.append("disconnected"),
            doubted=lambda failure: self.doubts.append(failure.code),
            suspected=lambda: self.events.append("suspected"),
            taken_over=self.takeovers.append,
        )


class SessionScene:
    """A session, its clock and its links."""

    def __init__(self, path: Path, clock: HandClock, link: type[ObedientLink]) -> None:
        self.path = path
        self.clock = clock
        self.diary = Diary()
        self._link = link
        self.loop = Loop()
        self.session = CloudSession(self.loop, Connector(), self.diary.calls, lambda: 0.5)  # type: ignore[arg-type]
        self.use("gw-0042")

    def use(self, client_id: str, generation: int = 1) -> None:
        """Have it connect with a set."""
        self.session.use(Current(generation=generation, thing="gw-0042", client_id=client_id, directory=self.path))

    @property
    def made(self) -> list[ObedientLink]:
        """Every attempt so far."""
        return self._link.made

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and what is due happen."""
        self.clock.now += seconds
        self.loop.post(lambda: None)
        self.loop.turn()

    def until_tried(self) -> float:
        """Let time pass until the next attempt, and return how much that was."""
        attempts, start = len(self.made), self.clock.now
        while len(self.made) == attempts:
            self.pass_time(0.5)
            assert self.clock.now - start < 4000, "it has given up"
        return self.clock.now - start

    def brief(self) -> None:
        """Let the next attempt come up and be hung up on."""
        self.until_tried()
        self.made[-1].come_up()
        self.pass_time(3.0)
        self.made[-1].end(failures.hung_up())


class Connector:
    """As much of a connector as a session looks at."""

    class timeouts:  # noqa: N801 - an attribute of the real one
        """Seconds."""

        connect = 60.0
