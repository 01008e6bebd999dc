"""Whether a local datagram socket takes one more message now, asked without sending one.

libsystemd waits in `sendmsg` for as long as the receiver's queue is full, with Python's lock held, and says nothing of
a journal that is not there. So the agent looks first. It owns no socket for longer than a look.
"""

from __future__ import annotations

import select
import socket


def has_room(address: str, patience: float = 0.0) -> bool:
    """Whether a process listens at an address, and a message to it would not have to wait.

    Args:
        address: A path, or a name in the abstract namespace after a null byte.
        patience: Seconds that the receiver may take to make room.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as looking:
            looking.connect(address)
            poll = select.poll()
            poll.register(looking, select.POLLOUT)
            return any(state & select.POLLOUT for _, state in poll.poll(patience * 1000))
    except OSError:
        return False
