"""What other projects' cloud sides do to a gateway, by the name of the flaw; here each ends well.

The projects and where in them each flaw is: certificate vending machine, IoT Atlas, automated fleet provisioning by
claim, rotation by audit and jobs, the Greengrass rotator, the advanced learning path, Device Defender's mitigation.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from agent.backend.decide.orders import job_targets
from agent.backend.errors import ChangedError, UnavailableError
from agent.backend.names import Metric
from agent.backend.values import Status
from agent.fleet.certificates import job_target
from support.aws.account import CLAIM, DAY, HOUR, MINUTE, OWN, SETTINGS, World

if TYPE_CHECKING:
    from agent.backend.decide.orders import JobPlan


def test_revoke_before_issue(world: World) -> None:
    """The old certificate goes when the new one asks for that, whatever becomes of the new one."""
    old = world.enrolled()
    for step in range(1, 12):
        world.at_each_step = world.failing(step, for_good=True)
        try:
            world.rotate(old, world.issue())
        except UnavailableError:
            assert world.active() == {old}
    world.at_each_step = lambda _: None
    assert world.active() >= {old}


def test_spent_on_request(world: World) -> None:
    """A reply that is lost five times in a row leaves the token good."""
    world.arm()
    parameters = {"SerialNumber": "0042", "RegistrationToken": "t0ken-of-0042"}
    for _ in range(4):
        assert world.ask_hook("gateway", CLAIM, world.issue(), parameters)["allowProvisioning"]
    assert world.enrol(world.issue()) == "gw-0042"


def test_deactivate_in_hook(world: World) -> None:
    """No registration deactivates, detaches or deletes anything."""
    old = world.enrolled()
    world.verbs.clear()
    for _ in range(3):
        world.rotated(old)
    assert not {"deactivate", "detach_thing", "delete"} & set(world.verbs)
    assert len(world.active()) == 4


def test_revoke_all_others(world: World) -> None:
    """One certificate is retired for one request, and only over another one of its own thing."""
    first = world.enrolled()
    spare, current = world.rotated(first), world.rotated(first)
    assert "code" not in world.retire(current, first)
    assert world.active() == {spare, current}


def test_wedge(world: World) -> None:
    """A gateway with any number of certificates rotates; nothing waits for a job to have ended well."""
    current = world.enrolled()
    for _ in range(5):
        current = world.rotated(current)
        world.now += DAY
    assert len(world.active()) == 6
    for name in sorted(world.active() - {current}):
        assert "code" not in world.retire(current, name)
    assert world.active() == {current}


def test_keep_the_last_signed(world: World) -> None:
    """The survivor is the one that asks, whenever it was issued."""
    old = world.enrolled()
    cut_over_to = world.rotated(old)
    signed_last = world.rotated(old)
    assert "code" not in world.retire(cut_over_to, old)
    assert "code" not in world.retire(cut_over_to, signed_last)
    assert world.active() == {cut_over_to}


def test_mitigation_as_outage(world: World) -> None:
    """A finding about the certificate in use becomes an order to rotate; nothing touches its status."""
    current = world.enrolled()
    planned = job_targets([job_target("gw-0042", world.registry)], "finding 1", "it is 400 days old")
    _order(world, planned)
    assert world.active() == {current}
    assert [order.things for order in world.registry.jobs.values()] == [("gw-0042",)]
    _order(world, planned)
    again = job_targets([job_target("gw-0042", world.registry)], "finding 2", "it is 401 days old")
    assert again.orders == ()
    assert "already" in again.skipped["gw-0042"]
    assert len(world.registry.jobs) == 1


def _order(world: World, planned: JobPlan) -> None:
    for order in planned.orders:
        world.registry.order(order)


def test_claim_holder_names_any_thing(world: World) -> None:
    """A template without a hook lets a claim's holder take a thing over."""
    victim = world.enrolled()
    parameters = {"SerialNumber": "0042", "RegistrationToken": "x", "ThingName": "gw-0042"}
    assert not world.ask_hook("gateway", CLAIM, world.issue(), parameters)["allowProvisioning"]
    world.arm("0666", "t")
    own = world.issue()
    answer = world.ask_hook("gateway", CLAIM, own, {**parameters, "SerialNumber": "0666", "RegistrationToken": "t"})
    assert answer["parameterOverrides"] == {"ThingName": "gw-0666"}
    assert world.active() == {victim}


def test_a_weaker_certificate(world: World) -> None:
    """The new one has every right of the old one before it is registered, or is not registered."""
    old = world.enrolled()
    for name in ("greengrass-v2", "role-alias"):
        world.registry.attach_policy(name, old)
    new = world.rotated(old)
    assert set(world.registry.policies_of(new)) == {*OWN, "greengrass-v2", "role-alias"}
    for number in range(6):
        world.registry.attach_policy(f"more-{number}", old)
    assert len(world.registry.policies_of(old)) == 10
    assert world.rotated(old)
    world.registry.entries[old].policies.append("one-too-many")
    assert world.rotate(old, world.issue()) == ""
    assert "Merge some" in str(world.outbox.counted[-1][2]["reason"])


def test_a_policy_that_cannot_be_copied_is_no_registration(world: World) -> None:
    """AWS refuses to attach it, so the rotation is refused, with the reason in the operator's log."""
    old = world.enrolled()
    world.registry.attach_policy("application", old)

    def refuse(verb: str) -> None:
        if verb == "attach_policy":
            raise ChangedError("The policy is gone.")

    world.at_each_step = refuse
    assert world.rotate(old, world.issue()) == ""
    assert "The policy is gone." in str(world.outbox.counted[-1][2]["reason"])
    assert world.active() == {old}


def test_clean_up_that_hangs_on_an_event(world: World) -> None:
    """What was retired is found by the table, however many rounds were left out."""
    old = world.enrolled()
    new = world.rotated(old)
    assert "code" not in world.retire(new, old)
    world.now += SETTINGS.keep + timedelta(days=200)
    world.swept()
    assert world.status(old) is None
    assert world.counts(Metric.DELETED) == 1


def test_no_grace_at_all(world: World) -> None:
    """A certificate that was retired by mistake is back by one call, for as long as it is kept."""
    old = world.enrolled()
    new = world.rotated(old)
    assert "code" not in world.retire(new, old)
    for _ in range(24 * 29):
        world.sweep()
        world.now += HOUR
    assert world.status(old) is Status.INACTIVE
    assert world.registry.things_of(old) == ("gw-0042",)
    assert world.registry.policies_of(old) == OWN
    world.now += MINUTE
    world.rescue(old)
    assert world.active() == {old, new}
