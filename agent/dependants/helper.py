"""How an agent without privileges has its dependants served: a socket, one of five words, one report.

``iot-cert-agent-deploy.socket`` belongs to root and lets the agent's user alone connect; systemd starts the helper
behind it, as root, when it does. Rules:

* The helper takes one word of `Occasion` or `Leave` and nothing else. What is served is in root's own configuration.
* A peer is looked up with the kernel, says its word within seconds, and is served after those before it.
* It ends when no peer is waiting. A connection that comes in that instant is kept by systemd, which starts it again.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.core.dependants import (
    LONGEST,
    MAX_REPORT,
    Leave,
    Occasion,
    Report,
    decode_report,
    encode_report,
    failure_of,
    trouble,
    untried,
    with_names,
)
from agent.core.jsonio import PlainError, decode, encode
from agent.dependants.copies import only_a_person_ends
from agent.errors import AgentError, CloudError
from agent.system.clock import monotonic
from agent.system.files import kind_of
from agent.system.peers import peer_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.core.failure.failure import Failure

WORDS: dict[str, Occasion | Leave] = {word.value: word for word in (*Occasion, *Leave)}
MAX_WORD = 32  # bytes
CONNECTING = 5.0  # seconds to be let in: a listening socket takes connections at once
SAYING = 2.0  # seconds for a peer to say its word, and to take the answer
IDLE = 3.0  # seconds before the helper ends
SPARE = 30.0  # seconds for the helper to start, and for the peers before

_MOVE_IT = "Move it out of the way, then `sudo systemctl restart iot-cert-agent-deploy.socket`."


class Helper:
    """The helper, from the agent's side."""

    def __init__(self, path: Path, names: tuple[str, ...] = ()) -> None:
        """Prepare.

        Args:
            path: The helper's socket.
            names: What the dependants are called, for when it serves none of them.
        """
        self._path = path
        self._names = names

    def take_up(self, occasion: Occasion) -> None:
        """See `agent.ports.Deployment`."""
        try:
            report = self.ask(occasion)
        except CloudError as error:
            raise CloudError(with_names(error.failure, self._names)) from error
        failure = failure_of(report)
        if failure is not None:
            raise CloudError(failure)

    def ask(self, occasion: Occasion | Leave) -> Report:
        """Have the dependants served, and return how they stand; or the gates asked, and return what they say.

        Raises:
            CloudError: The helper cannot be reached, refuses, or does not answer.
        """
        start = "Is it enabled? `sudo systemctl enable --now iot-cert-agent-deploy.socket`."
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
                connection.settimeout(CONNECTING)
                connection.connect(str(self._path))
                connection.sendall(occasion.encode() + b"\n")
                data = _read_line(connection, MAX_REPORT, monotonic() + LONGEST.total_seconds() + SPARE)
        except TimeoutError:
            raise CloudError(trouble("The dependants were not served: the helper does not answer.")) from None
        except OSError as error:
            message = (
                f"The dependants are not served: {self._path} cannot be reached ({os.strerror(error.errno or 0)})."
            )
            raise CloudError(blocked(self._path) or trouble(message, start)) from None
        return _understood(data)


def blocked(path: Path) -> Failure | None:
    """Return what stands in the place of the helper's socket, which only a person can move, or None where it is one."""
    try:
        found = path.stat().st_mode
        kind = "" if stat.S_ISSOCK(found) else kind_of(found)
    except OSError as error:
        kind = "a link that leads back to itself" if error.errno == errno.ELOOP else ""
    if not kind:
        return None
    text = f"The dependants are not served: {path} is {kind}, where the helper's socket is expected."
    return replace(untried(trouble(text)), remedy=_MOVE_IT)


def _understood(data: bytes) -> Report:
    try:
        if not data:
            raise CloudError(trouble("The dependants were not served: the helper ended without an answer."))
        answer = decode(data, "the helper's answer", limit=MAX_REPORT)
        if answer.has("error"):
            text = f"The dependants were not served: {answer.text('error', limit=4096)}"
            hint = answer.optional_text("hint") or ""
            failure = trouble(text, hint)
            raise CloudError(untried(failure, hint) if answer.has("untried") else failure)
        return decode_report(data, "the helper's answer")
    except PlainError as error:
        raise CloudError(trouble(f"The dependants were not served: {error}.")) from None


def _read_line(connection: socket.socket, limit: int, deadline: float) -> bytes:
    """Return what comes until a line break or the end, without it.

    Raises:
        OSError: Nothing came in time.
    """
    data = b""
    while len(data) <= limit and not data.endswith(b"\n"):
        left = deadline - monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        part = connection.recv(4096)
        if not part:
            break
        data += part
    return data.rstrip(b"\n")


def serve(listener: socket.socket, owner: Callable[[], int], deploy: Callable[[Occasion | Leave], Report]) -> None:
    """Serve each peer, one after the other, until none has come for a while.

    Args:
        listener: The socket.
        owner: Returns the user that may ask, besides root; may raise AgentError.
        deploy: Serves the dependants, or asks the gates; may raise AgentError.
    """
    listener.settimeout(IDLE)
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # no peer came; systemd starts it again for the next
        with connection:
            answer = _answer(connection, owner, deploy)
            with suppress(OSError):  # the peer has gone
                connection.settimeout(SAYING)
                connection.sendall(answer + b"\n")


def _answer(connection: socket.socket, owner: Callable[[], int], deploy: Callable[[Occasion | Leave], Report]) -> bytes:
    try:
        # Read first: an answer that comes before the word is lost with the connection.
        word = _read_line(connection, MAX_WORD, monotonic() + SAYING).decode(errors="replace")
        if peer_of(connection).uid not in {0, owner()}:
            return encode({"error": "only the agent's user may ask for this."})
        if word not in WORDS:
            return encode({"error": f"one of {', '.join(WORDS)} is expected."})
        return encode_report(deploy(WORDS[word]))
    except AgentError as error:
        barred = {"untried": True} if only_a_person_ends(error) else {}
        return encode({"error": str(error)[:2000], "hint": error.hint[:1000], **barred})
    except OSError as error:
        return encode({"error": f"it could not be done ({error.strerror or 'no word came in time'})."})
