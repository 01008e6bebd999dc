"""The clients that wait for something, and what each is told and when it is let go.

A client waits until its order is begun, follows the change under way, or wants to hear that everything is retired. One
that is brief leaves with the id of its change; one whose order was put off stays until that is done, too.

It owns the groups. What a message says is for the caller to know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.control_protocol import BegunMessage, ErrorMessage, OutcomeMessage, RetiredMessage
from agent.core.exit_codes import Exit

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.change.progress import Progress
    from agent.core.control_protocol import LastMessage, WaitMessage
    from agent.core.worker_protocol import WorkerError
    from agent.daemon.control.client import Client
    from agent.errors import RefusedError


class Followers:
    """The clients of one daemon that wait for something."""

    def __init__(self, note_told: Callable[[str], None]) -> None:
        """Have none yet.

        Args:
            note_told: Takes the id of a change whose end a client was told, or needs not be told.
        """
        self._note_told = note_told
        self._waiting: list[tuple[Client, bool]] = []  # and whether it is brief
        self._following: list[Client] = []
        self._brief: list[Client] = []
        self._put_off: list[Client] = []
        self._retiring: list[Client] = []

    @property
    def await_retirements(self) -> bool:
        """Whether a client waits for retirements."""
        return bool(self._retiring)

    # -- who comes and goes ----------------------------------------------------------------------------------------

    def wait(self, client: Client, *, brief: bool) -> None:
        """Have a client hear of the change that it ordered, once that is begun."""
        client.on_gone(lambda: self._drop(client))
        self._waiting.append((client, brief))

    def follow(self, client: Client, change: str | None, *, brief: bool) -> None:
        """Have a client hear of the change under way, or of one that is just being begun.

        Args:
            client: The client.
            change: The id of the change in flight; None when there is none on record yet.
            brief: Whether it only wants to hear the id.
        """
        client.on_gone(lambda: self._drop(client))
        if brief and change is not None:
            client.end(BegunMessage(change=change))
            self._note_told(change)
        else:
            (self._brief if brief else self._following).append(client)

    def wait_for_retirements(self, client: Client) -> None:
        """Have a client hear that everything is retired, or why it is not."""
        client.on_gone(lambda: self._drop(client))
        self._retiring.append(client)

    def started(self, client: Client) -> None:
        """What a client asked for is being done."""
        for waiting, brief in self._waiting:
            if waiting is client:
                (self._brief if brief else self._following).append(client)
        self._waiting = [item for item in self._waiting if item[0] is not client]
        if client in self._put_off:
            self._put_off.remove(client)
            self._following.append(client)

    def postponed(self, client: Client | None) -> None:
        """What a client asked for is done once the change in flight has ended; until then it hears of that one."""
        if client is not None and client in self._following:
            self._following.remove(client)
            self._put_off.append(client)

    def _drop(self, client: Client) -> None:
        for group in (self._following, self._brief, self._retiring, self._put_off):
            if client in group:
                group.remove(client)
        self._waiting = [item for item in self._waiting if item[0] is not client]

    # -- what they are told ----------------------------------------------------------------------------------------

    def progress(self, step: Progress) -> None:
        """Tell each that follows; what is of no change goes to those that wait for retirements, too."""
        for client in [*self._following, *self._put_off, *([] if step.change else self._retiring)]:
            client.send(step)
        if step.change:
            if self._brief:
                self._note_told(step.change)  # that it goes on is all they wanted to hear
            for client in self._brief:
                client.end(BegunMessage(change=step.change))
            self._brief.clear()

    def waits(self, message: WaitMessage) -> None:
        """Tell that the change waits for longer than a moment; a client without patience leaves."""
        for client in [*self._following, *self._put_off]:
            client.send(message)

    def ended(self, message: LastMessage) -> None:
        """Tell each the end and let it go."""
        if self._following and isinstance(message, OutcomeMessage):
            self._note_told(message.change.id)
        leaving, self._following, self._brief = [*self._following, *self._brief], [], []
        for client in leaving:
            client.end(message)

    def dismiss(self, message: LastMessage) -> None:
        """Tell each that waits for anything, and let it go: the daemon stops."""
        self.ended(message)
        left = [*(client for client, _ in self._waiting), *self._retiring, *self._put_off]
        self._waiting, self._retiring, self._put_off = [], [], []
        for client in left:
            client.end(message)

    def failed(self, client: Client, error: WorkerError) -> None:
        """Tell one client that what it asked for could not be done."""
        self.answer(client, ErrorMessage(message=error.message, hint=error.hint, exit=error.exit))

    def answer(self, client: Client, message: LastMessage) -> None:
        """Tell one client what came of what it asked for, and let it go."""
        self._drop(client)
        client.end(message)

    def retired(self, held: RefusedError | None) -> None:
        """Tell that all is retired that is not held back by another program.

        Args:
            held: What is held back, and why; None when nothing is.
        """
        leaving, self._retiring = self._retiring, []
        for client in leaving:
            if held is not None:
                client.refuse(str(held), held.hint, Exit.REFUSED)
            else:
                client.end(RetiredMessage())

    def not_retired(self, why: str, code: Exit) -> None:
        """Tell that a retirement was refused, or not answered."""
        hint = "It is asked for again by itself; `iot-cert status` shows what is left."
        if code is Exit.REFUSED:
            hint += " `iot-cert retire --drop ID` stops that."
        leaving, self._retiring = self._retiring, []
        for client in leaving:
            client.refuse(why, hint, code)
