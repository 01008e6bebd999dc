"""What was ordered: each order once, one after the other, and not before what it has to wait for has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from agent.core.change.verbs import Verb
from agent.core.values import Kind
from agent.core.worker_protocol import Do, Order
from agent.daemon.work.queue import Work, WorkQueue
from support.running.daemon_rig import Person

if TYPE_CHECKING:
    from agent.daemon.control.client import Client

LOOK, GO_ON = Order(do=Do.LOOK), Order(do=Do.GO_ON)


class Queue(WorkQueue):
    """A queue that counts how often it told of an order."""

    def __init__(self) -> None:
        self.news = 0
        super().__init__(self._count)

    def _count(self) -> None:
        self.news += 1


def client() -> Client:
    """Return as much of a client as waits."""
    return cast("Client", Person())


def of_job(number: int) -> Order:
    """Return what an execution orders."""
    return Order(do=Do.BEGIN, order=f"job:{number}:1")


def put_off(queue: WorkQueue) -> Work:
    """Take the first of those that wait for the change in flight to end."""
    taken = queue.put_off()
    assert taken is not None
    return taken


def test_what_was_submitted_comes_in_its_order_and_once() -> None:
    """The same order twice is one, as long as no client waits for either."""
    queue = Queue()
    for order in (LOOK, GO_ON, LOOK):
        queue.submit(order)
    assert queue.news == 2
    assert [queue.submitted(), queue.submitted(), queue.submitted()] == [Work(LOOK), Work(GO_ON), None]


def test_each_client_has_its_order_carried_out() -> None:
    """Each waits for an answer of its own."""
    queue, first, second = Queue(), client(), client()
    queue.submit(LOOK, first)
    queue.submit(LOOK, second)
    assert [queue.submitted(), queue.submitted()] == [Work(LOOK, first), Work(LOOK, second)]


def test_what_a_client_asked_for_can_be_taken_out_of_turn() -> None:
    """What no client waits for stays where it was."""
    queue, waits = Queue(), client()
    queue.submit(GO_ON)
    queue.submit(LOOK, waits)
    assert queue.asked_for() == Work(LOOK, waits)
    assert queue.asked_for() is None
    assert queue.submitted() == Work(GO_ON)


def test_what_could_not_begin_comes_before_all_else() -> None:
    """Another process had the store; what it was to do has not changed."""
    queue = Queue()
    queue.submit(GO_ON)
    queue.put_back(Work(LOOK))
    assert queue.submitted() == Work(LOOK)


def test_a_job_that_could_not_begin_waits_on_for_the_change_in_flight() -> None:
    """It comes before the other jobs, and what was put off before it; and so for that."""
    queue = Queue()
    waits = client()
    queue.postpone(Work(GO_ON, waits))
    for number in (1, 2):
        queue.submit_for_job(of_job(number))
    for expected in (Work(GO_ON, waits), Work(of_job(1))):
        queue.put_back(put_off(queue))
        assert queue.submitted() is None
        assert queue.put_off() == expected
    assert [queue.put_off(), queue.put_off()] == [Work(of_job(2)), None]


def test_a_job_that_is_cancelled_while_it_cannot_begin_does_not_come() -> None:
    """Nor one that was put off by its worker."""
    queue = Queue()
    queue.submit_for_job(of_job(1))
    taken = put_off(queue)
    queue.withdraw("job:1:1")
    queue.put_back(taken)
    queue.postpone(Work(of_job(2)))
    queue.withdraw("job:2:1")
    assert [queue.submitted(), queue.put_off()] == [None, None]


def test_what_the_plan_began_is_not_kept() -> None:
    """It is due anew if it still is, after what the process in the way has begun."""
    queue = Queue()
    queue.put_back(Work(Order(do=Do.BEGIN, kind=Kind.ROTATE)))
    assert queue.submitted() is None


def test_what_waits_for_a_change_to_end_is_not_among_the_submitted() -> None:
    """What was put off comes first, then the jobs in their order; one that is cancelled meanwhile does not come."""
    queue = Queue()
    for number in (1, 2, 3):
        queue.submit_for_job(of_job(number))
    queue.postpone(Work(GO_ON))
    queue.withdraw("job:2:1")
    queue.withdraw("job:9:1")
    assert queue.submitted() is None
    assert [queue.put_off() for _ in range(4)] == [Work(GO_ON), Work(of_job(1)), Work(of_job(3)), None]


@pytest.mark.parametrize(
    ("order", "kind"),
    [
        (LOOK, None),
        (Order(do=Do.BEGIN, kind=Kind.TRUST), Kind.TRUST),
        (Order(do=Do.ORDER, verb=Verb.ROLLBACK), Kind.ROLLBACK),
        (Order(do=Do.ORDER, verb=Verb.GIVE_UP), None),
    ],
)
def test_what_an_order_begins_is_known_before_it_is_on_record(order: Order, kind: Kind | None) -> None:
    """So that the same order, typed again, joins it."""
    queue = Queue()
    queue.submit(GO_ON)
    queue.submit(order)
    assert queue.begins is kind
