from __future__ import annotations

import re

import pytest

from agent.backend.decide.orders import JOB_PREFIX, MOST_TARGETS, JobTarget, job_id, job_targets
from agent.backend.values import Certificate, Status
from support.aws.account import NOW, certificate_id

OLD = certificate_id("old")


def candidate(thing: str = "gw-0042", **more: object) -> JobTarget:
    """A thing with one certificate."""
    made = Certificate(certificate_id=OLD, status=Status.ACTIVE, created_at=NOW)
    return JobTarget(**({"thing": thing, "certificates": (made,)} | more))  # type: ignore[arg-type]


def test_a_jobs_id_follows_from_what_it_is_for() -> None:
    """The same for the same things in any order, and of a form that AWS takes."""
    assert job_id("ticket 17", ["a", "b"]) == job_id("ticket 17", ["b", "a"])
    assert len({job_id("17", ["a", "b"]), job_id("18", ["a", "b"]), job_id("17", ["ab"]), job_id("17", ["a"])}) == 4
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", job_id("x" * 1000, []))
    assert job_id("", []).startswith(JOB_PREFIX)


def test_a_fleet_is_ordered_in_jobs_of_a_hundred() -> None:
    """Each thing once, also one that is named twice."""
    things = [f"gw-{number:04}" for number in range(250)]
    plan = job_targets([candidate(thing) for thing in [*things, *things[:10]]], "ticket 17", "because")
    assert [len(order.things) for order in plan.orders] == [MOST_TARGETS, MOST_TARGETS, 50]
    assert sorted(thing for order in plan.orders for thing in order.things) == things
    assert plan.orders[0].document == {
        "operation": "rotate-certificate",
        "agent": "iot-cert-agent",
        "reason": "because",
    }
    assert plan.skipped == {}


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (candidate("gw 0042"), "no such thing"),
        (candidate(certificates=None), "no such thing"),
        (candidate(certificates=()), "cannot connect"),
        (
            candidate(certificates=(Certificate(certificate_id=OLD, status=Status.INACTIVE, created_at=NOW),)),
            "cannot connect",
        ),
        (candidate(jobs=("other", f"{JOB_PREFIX}1")), f"{JOB_PREFIX}1 orders"),
    ],
)
def test_what_is_not_ordered(asked: JobTarget, why: str) -> None:
    """With the reason."""
    plan = job_targets([asked], "ticket 17", "because")
    assert plan.orders == ()
    assert why in plan.skipped[asked.thing]


def test_other_jobs_do_not_stand_in_the_way() -> None:
    """They are other programs'."""
    assert job_targets([candidate(jobs=("firmware-7",))], "t", "r").orders
