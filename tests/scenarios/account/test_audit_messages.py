"""An audit's message, told once, twice, late and out of order, from the message to the jobs, with boto3 before moto.

moto has no audits; its answers are those of `support.aws.audits`, of the shapes of botocore's model. None has run on
AWS.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from typing import TYPE_CHECKING

import pytest

from agent.backend.aws.auditor import AwsAuditor
from agent.backend.errors import BackendError
from agent.backend.handlers import audits
from agent.backend.names import SHADOW, Metric
from agent.backend.values import Check, Status
from support.aws.account import DAY, HOUR, NOW, SETTINGS
from support.aws.audits import Defender, found
from support.aws.moto_account import AwsWorld, Fate, emulated
from support.suite import campaigns

if TYPE_CHECKING:
    from collections.abc import Iterator


CA, SIGNER = "ca" * 32, "cb" * 32
TWO_CHECKS = list(zip(Check, [*Check][1:] + [*Check][:1], strict=True))
ORDERS = sorted(set(permutations(["a-1", "a-2", "a-2"])))


@pytest.fixture(name="world")
def _world() -> Iterator[AwsWorld]:
    """An account that signs with a CA of its own, so that a rotation leaves one that expires."""
    with emulated():
        yield AwsWorld(replace(SETTINGS, provider_ca=SIGNER))


@pytest.fixture
def defender(world: AwsWorld) -> Defender:
    """Return Device Defender."""
    return Defender(world)


def gateway(
    world: AwsWorld, defender: Defender, serial: str, *, age: timedelta = 85 * DAY, life: timedelta = 90 * DAY
) -> str:
    """Enrol a gateway whose certificate has reached an age."""
    made = world.enrolled(serial)
    defender.lives[made] = (world.now - age, world.now - age + life)
    return made


def find(defender: Defender, task: str, check: Check, *certificates: str) -> None:
    """Have an audit find certificates by a check; one of a CA names the CA that has signed them."""
    audit = defender.audits.setdefault(task, [])
    if check is Check.CA_EXPIRING:
        defender.signed[CA] = [(name, "ACTIVE") for name in certificates]
        audit.append(found(task, check, CA, ends=NOW + 20 * DAY))
    else:
        audit.extend(found(task, check, name) for name in certificates)


def tell(world: AwsWorld, task: str) -> None:
    """Deliver a message, as SNS puts it into the queue."""
    details = [{"checkName": check.value, "nonCompliantResourcesCount": 1} for check in Check]
    body = json.dumps({"accountId": "123456789012", "taskId": task, "auditDetails": details})
    event = {"Records": [{"messageId": "1", "body": body}]}
    audits.hear(event, world.account, AwsAuditor(world.clients), lambda: timedelta(minutes=15))


def ordered(world: AwsWorld) -> list[str]:
    """Return the things of all jobs."""
    jobs = [world.owner.describe_job(jobId=job["jobId"])["job"] for job in world.owner.list_jobs()["jobs"]]
    return sorted(arn.rpartition("/")[2] for job in jobs for arn in job["targets"])


def end_jobs(world: AwsWorld) -> None:
    """Have every job be over."""
    for job in world.owner.list_jobs()["jobs"]:
        for thing in ordered(world):
            world.owner.cancel_job_execution(jobId=job["jobId"], thingName=thing, force=True)


@pytest.mark.parametrize(("check", "times"), campaigns.pairs([*Check], [1, 2, 3]))
def test_a_message_once_and_again(world: AwsWorld, defender: Defender, check: Check, times: int) -> None:
    """One order for what is due, and none for what rests on a CA but renews by itself before that ends."""
    due = [gateway(world, defender, f"000{number}") for number in range(3)]
    other = gateway(world, defender, "0009", age=DAY if check is Check.EXPIRING else 70 * DAY)
    find(defender, "a-1", check, *due, other)
    for _ in range(times):
        tell(world, "a-1")
    assert ordered(world) == ["gw-0000", "gw-0001", "gw-0002"]


@pytest.mark.parametrize("check", campaigns.take([*Check], 3))
def test_a_message_that_comes_late(world: AwsWorld, defender: Defender, check: Check) -> None:
    """When a certificate is in its grace, retired or deleted; when the job is over, and did not help."""
    first, second = gateway(world, defender, "0001"), gateway(world, defender, "0002")
    retired, gone = gateway(world, defender, "0003"), gateway(world, defender, "0004")
    find(defender, "a-1", check, first, second, retired, gone)
    world.rotated(first)
    for name, serial in ((retired, "0003"), (gone, "0004")):
        world.retire(world.rotated(name), name, f"gw-{serial}")
    world.registry.detach_thing("gw-0004", gone)
    world.registry.delete(gone)
    tell(world, "a-1")
    assert ordered(world) == ["gw-0002"]
    end_jobs(world)
    tell(world, "a-1")
    assert ordered(world) == ["gw-0002"]
    end_jobs(world)  # moto makes a job anew that is there, which AWS refuses
    find(defender, "a-2", check, first, second)
    tell(world, "a-2")
    assert ordered(world) == ["gw-0002", "gw-0002"], "the next audit tries again"
    assert world.status(second) is Status.ACTIVE


def test_a_message_of_an_audit_that_is_known_no_more(world: AwsWorld, defender: Defender) -> None:
    """AWS keeps findings for 90 days; a message that names none of them orders nothing, and is not delivered again."""
    gateway(world, defender, "0001")
    tell(world, "a-0")
    assert ordered(world) == []


@pytest.mark.parametrize(("checks", "order"), campaigns.pairs(TWO_CHECKS, ORDERS))
def test_messages_out_of_order(
    world: AwsWorld, defender: Defender, checks: tuple[Check, Check], order: tuple[str, ...]
) -> None:
    """Each thing is ordered once, whichever checks have found it."""
    first, second = gateway(world, defender, "0001"), gateway(world, defender, "0002")
    find(defender, "a-1", checks[0], first)
    find(defender, "a-2", checks[1], first, second)
    for task in order:
        tell(world, task)
    assert ordered(world) == ["gw-0001", "gw-0002"]


@pytest.mark.parametrize("times", [1, 2])
def test_a_ca_that_expires_orders_nothing_where_a_rotation_would_not_leave_it(times: int) -> None:
    """Without a signer of the stack's own the operator is told what rests on it, as often as the message comes."""
    with emulated():
        world = AwsWorld()
        defender = Defender(world)
        find(defender, "a-1", Check.CA_EXPIRING, *(gateway(world, defender, f"000{number}") for number in range(3)))
        for _ in range(times):
            tell(world, "a-1")
        told = [about["things"] for name, _, about in world.outbox.counted if name is Metric.CA_EXPIRING]
        assert told == [["gw-0000", "gw-0001", "gw-0002"]] * times
        assert ordered(world) == []


def test_a_job_whose_answer_is_lost_is_made_once(world: AwsWorld, defender: Defender) -> None:
    """Every call is refused once, and every answer is lost once, or every third; then the queue delivers again."""
    defender.audits["a-1"] = [found("a-1", Check.EXPIRING, gateway(world, defender, "0001"))]
    before = world.calls
    tell(world, "a-1")
    steps = world.calls - before
    for fate in (Fate.REFUSED, Fate.LOST):
        for step in campaigns.take(range(1, steps + 1), 3):
            world.at_each_call = world.failing_call(step, fate)
            tell_or_fail(world)
            world.at_each_call = lambda _: Fate.ANSWERED
            tell(world, "a-1")
            assert ordered(world) == ["gw-0001"]


def tell_or_fail(world: AwsWorld) -> None:
    """Deliver a message of which a call may fail."""
    with suppress(BackendError):
        tell(world, "a-1")


def test_what_a_gateway_renews_by_itself_is_left_to_it(world: AwsWorld, defender: Defender) -> None:
    """By its shadow; a certificate of a day is left whatever that says."""
    slow, short = gateway(world, defender, "0001"), gateway(world, defender, "0002", age=20 * HOUR, life=DAY)
    at = (world.now + HOUR).isoformat()
    for thing, name, renews in (("gw-0001", slow, at), ("gw-0002", short, None)):
        reported = json.dumps({"state": {"reported": {"certificateId": name, "renewAt": renews}}})
        world.clients.data.update_thing_shadow(thingName=thing, shadowName=SHADOW, payload=reported)
    defender.audits["a-1"] = [found("a-1", Check.EXPIRING, name) for name in (slow, short)]
    tell(world, "a-1")
    assert ordered(world) == []
    assert {world.status(name) for name in (slow, short)} == {Status.ACTIVE}
