"""`status --watch`: shows how the gateway stands again and again, until the person has seen enough.

A terminal's screen is drawn over each second. Where no person looks nothing is drawn: the same lines as ever follow
each other, once at first and once after each change; the clock alone is no change. It imports next to nothing, since it
may run for a whole visit.
"""

from __future__ import annotations

import select
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.cli.writing.output import Output, Shown

SECOND = 1000  # milliseconds
INTERRUPTED = 130  # `agent.core.exit_codes.Exit.INTERRUPTED`, whose module brings more along than all of this


def watch(look: Callable[[], Shown | None], output: Output, pause: int = SECOND) -> int | None:
    """Show each look, and return the exit code once the person or the reader of standard output has left.

    Args:
        look: Has a look. None ends this.
        output: Where to.
        pause: Milliseconds between two looks.

    Returns:
        `INTERRUPTED` after Ctrl-C, which is how a person ends it; the gateway's own when the reader has left; None when
        there is no look any more.

    Raises:
        AgentError: As `look` does.
    """
    before = None
    try:
        while (told := look()) is not None:
            before = _show(told, output, before)
            if _reader_left(pause):
                return told.exit
    except KeyboardInterrupt:
        if output.drawn_on:
            output.line()  # the shell's prompt begins on a line of its own
        return INTERRUPTED
    return None


def _show(told: Shown, output: Output, before: Mapping[str, object] | None) -> Mapping[str, object]:
    """Show a look if it differs from the one before; return what the next one is compared with."""
    news = {key: value for key, value in told.document.items() if key != "clock"}
    if output.drawn_on:
        output.draw(told.screen)
    elif news != before:
        if before is not None and not output.as_json:
            output.line()
        output.show(told)
    return news


def _reader_left(pause: int) -> bool:
    """Wait; return at once, with True, when standard output has no reader any more."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # hang-ups and errors alone
    return bool(poll.poll(pause))
