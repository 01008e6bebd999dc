from __future__ import annotations

from agent.backend.decide.deletion import CertificateKind
from agent.backend.decide.orders import job_targets
from agent.backend.values import Status
from agent.fleet.certificates import classified, job_target
from support.aws.account import CLAIM, HOUR, World


def test_a_plan_orders_nothing_and_an_order_is_made_once() -> None:
    """A person looks at the plan first."""
    world = World()
    world.enrolled("0001")
    world.enrolled("0002")
    targets = [job_target(thing, world.registry) for thing in ("gw-0001", "gw-0002", "gw-0003")]
    planned = job_targets(targets, "ticket 17", "because")
    assert world.registry.jobs == {}
    assert planned.skipped == {"gw-0003": "There is no such thing."}
    for order in (*planned.orders, *planned.orders):
        world.registry.order(order)
    assert [order.things for order in world.registry.jobs.values()] == [("gw-0001", "gw-0002")]


def test_what_is_in_the_account_is_told_one_by_one() -> None:
    """Also what no gateway has."""
    world = World()
    old = world.enrolled()
    new = world.rotated(old)
    assert "code" not in world.retire(new, old)
    world.registry.add(CLAIM, world.now - 3 * HOUR, Status.ACTIVE)
    pending = world.issue()
    found = classified(world.registry, world.account.store, world.now)
    told = {certificate.certificate_id: judged.kind for certificate, judged in found}
    assert told == {
        old: CertificateKind.RETIRED,
        new: CertificateKind.IN_USE,
        CLAIM: CertificateKind.UNATTACHED,
        pending: CertificateKind.PENDING,
    }
