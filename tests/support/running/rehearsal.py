"""The rehearsal of docs/start.md as a story: what is typed in which terminal, and what is seen of it.

Who types is the caller's: a process on this machine, or one on a machine that is booted for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from support.documents.pages import lines
from support.running.fleet import until

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path


class Terminals(Protocol):
    """Where a person types."""

    def types(self, line: str, expect: int | None = 0) -> str:
        """Type a line, hold it to its exit code, and return what is printed."""

    def beside(self, line: str) -> AbstractContextManager[None]:
        """Let a line run in another terminal, until Ctrl-C."""

    def until_up(self, *, after: str = "") -> str:
        """Return the certificate in use once the daemon is connected with it, and it is another one than `after`."""


CODES = {"status": 1}  # no daemon runs: that is not healthy


def rehearse(terminal: Terminals, in_one: str, in_another: str, cloud: Path) -> None:
    """Type the page's blocks: a rotation falls back, the daemon heals, the doctor names what is wrong.

    Args:
        terminal: Where.
        in_one: The block that starts the sandbox.
        in_another: The block of what is typed beside it.
        cloud: The sandbox's directory, as this process finds it.
    """
    (sandbox,), then = lines(in_one), lines(in_another)
    by_hand, daemon, with_daemon = then[:6], then[6], then[7:]
    assert (by_hand[-1].split()[-1], daemon.split()[-1], len(with_daemon)) == ("rotate", "run", 5)
    job, revoke, new, use, check = with_daemon
    with terminal.beside(sandbox):
        until((cloud / "config.yaml").exists, "the sandbox has written a configuration")
        for line in by_hand[:-1]:
            assert terminal.types(line, expect=CODES.get(line.split()[-1], 0)).strip(), line
        assert "is in use" in terminal.types(by_hand[-1], expect=1)
        terminal.types(".venv/bin/iot-cert sandbox --dir /tmp/cloud clear")
        with terminal.beside(daemon):
            before = terminal.until_up()
            terminal.types(job)
            rotated = terminal.until_up(after=before)
            terminal.types(revoke)
            terminal.until_up(after=rotated)
            terminal.types(new)
            assert (cloud / "roots" / "b.pem").exists()
            terminal.types(use)
            told = terminal.types(check, expect=None)
            assert "failure   server" in told
            assert "root b" in told
