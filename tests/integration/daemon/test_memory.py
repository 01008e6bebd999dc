"""A broker that answers a CONNECT with the largest packet there is, and a gateway whose memory has a bound.

The SDK keeps a packet as it comes, however long its sender says it is, and ends the process when it gets no memory. The
unit's MemoryMax= is held here by RLIMIT_DATA, which bounds each process by itself.
"""

from __future__ import annotations

import re
import resource
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from agent.core.change.lifecycle import Phase
from agent.sandbox.replies.faults import Effect, Fault, Operation
from support.running.daemon import PATIENCE, RunningDaemon
from support.suite import warm

if TYPE_CHECKING:
    from support.running.gateway import Gateway

ROOM = 30 << 20  # bytes beyond what a daemon has, and what its workers are forked with
LARGEST = b"\x20\xff\xff\xff\x7f"  # the head of a CONNACK that goes on for 256 MB
# As much of it as is needed, where what is kept is copied to twice the room, and no more: it has 20 s to come in.
COMING = bytes(ROOM)


def bounded(daemon: RunningDaemon) -> None:
    """Bound the memory of a daemon and of the workers that it starts, which have the bound of what forks them."""
    children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()
    for pid in [daemon.pid, *(int(child) for child in children if warm.forks_workers(int(child)))]:
        found = re.search(r"^VmData:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        assert found
        bound = (int(found[1]) << 10) + ROOM
        resource.prlimit(pid, resource.RLIMIT_DATA, (bound, bound))


def answer_without_end(gateway: Gateway, times: int) -> None:
    """Have the next connections answered so."""
    gateway.cloud.faults.add(
        Fault(operation=Operation.CONNECT, effect=Effect.HOSTILE, times=times, payload=LARGEST + COMING)
    )


def test_a_daemon_that_its_connection_costs_all_memory_comes_back_with_its_set(enrolled: Gateway) -> None:
    """It is ended, and the service manager starts it again: it connects with the same set as if nothing had been."""
    before = enrolled.certificate_id()
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        bounded(daemon)
        answer_without_end(enrolled, 1)
        enrolled.service.disconnect(before)
        assert daemon.process.wait(PATIENCE) == -signal.SIGABRT
        daemon.start()
        daemon.until_up(1)
    assert (enrolled.certificate_id(), enrolled.generations()) == (before, (1, None))


def test_a_worker_that_its_connection_costs_all_memory_is_a_step_that_failed(enrolled: Gateway) -> None:
    """The daemon goes on, stays connected, and carries the rotation out by its own rules."""
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        bounded(daemon)
        answer_without_end(enrolled, 1)
        enrolled.run("rotate", "--no-wait", expect=0)
        daemon.until_finished(2)
        daemon.until_up(2)
        assert "ended by signal 6" in daemon.said()
    assert enrolled.history()[-1].phase is Phase.COMMITTED
