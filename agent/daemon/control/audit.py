"""Who asked for what over the control socket, as the journal has it: users by the kernel's word, refused ones too.

It owns how often that is told: a client that is refused as often as it connects must not fill the journal. What another
order is refused for, or another reason, is told at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.report.journal_events import Event
from agent.daemon.quiet import Quiet
from agent.system.peers import user_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.values import User
    from agent.system.peers import Peer

QUIET = 60.0  # seconds in which the same refusals of one user are one record


class Audit:
    """What users have asked of one daemon."""

    def __init__(self, log: Callable[..., None]) -> None:
        """Have told nothing yet.

        Args:
            log: Writes to the journal; see `agent.daemon.daemon_log.DaemonLog.tell`.
        """
        self._log = log
        self._quiet = Quiet(QUIET)

    def taken(self, user: User, what: str) -> None:
        """Tell that an order was taken.

        Args:
            user: Whose it is.
            what: The order, for people.
        """
        self._log(Event.ORDER_TAKEN, f"{user} orders: {what}.", **user.fields)

    def refused(self, peer: Peer, what: str, why: str) -> None:
        """Tell that a client was refused something.

        Args:
            peer: The client.
            what: What it asked for.
            why: Why it does not get that, as a sentence.
        """
        user = user_of(peer.uid)
        told = self._quiet.news(peer.uid, f"{user} was refused ({what}): {why}")
        if told:
            self._log(Event.ORDER_REFUSED, told, **user.fields)

    def turned_away(self, peer: Peer) -> None:
        """Tell that a user connected who may not even look."""
        self.refused(peer, "a connection", "this user may not talk to the agent.")
