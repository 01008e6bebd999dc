"""A gateway without a claim certificate buys its certificates: first ones, lost answers, refusals and rescues."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.backend.errors import UnavailableError
from agent.core.change.ladder import REFUSED_FOR, VENDING_REMEDY, Rung
from agent.core.change.lifecycle import Phase
from agent.core.failure import failures
from agent.core.failure.codes import Code
from agent.core.failure.readmission import command
from agent.core.values import Kind
from agent.sandbox.cloud import Status
from agent.sandbox.network.vending import answer_of, said
from agent.sandbox.replies.faults import Effect, Operation
from support.aws.buyer import SERIAL, Buyer, buyer
from support.simulated.outside import THING
from support.simulated.rig import Rig, is_told
from support.simulated.troubled import PowerCut
from support.suite import campaigns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ASKING = (Phase.PLANNED, Phase.KEY_READY, Phase.REQUESTED, Phase.ISSUED, Phase.REGISTERED, Phase.PREPARED)
AFTER = (Phase.PROVEN, Phase.ACTIVE, Phase.DEPLOYED, Phase.COMMITTED)


@pytest.fixture(name="shop")
def _shop(rig: Rig) -> Iterator[Buyer]:
    """A gateway fresh from the factory, with a token."""
    with buyer(rig) as found:
        yield found


@pytest.fixture(name="owner")
def _owner(shop: Buyer) -> Buyer:
    """A gateway that has bought its first certificate and has rotated since."""
    assert shop.rig.run(Kind.ENROLL).record.phase is Phase.COMMITTED
    assert shop.rig.rotate().record.phase is Phase.COMMITTED
    shop.rig.clock.advance(days=2)
    return shop


def test_a_gateway_buys_its_first_certificate(shop: Buyer) -> None:
    """It is asked for once, whatever is told of it has no token, and the token's file is gone, which is told."""
    rig = shop.rig
    assert rig.run(Kind.ENROLL).record.phase is Phase.COMMITTED
    assert rig.store.generation(1).manifest.thing_name == THING
    assert (rig.in_use(), shop.front.asked) == ((1, None), 1)
    assert rig.connects()
    assert not shop.file.exists()
    assert f"note: {shop.file} was removed: its token has bought the certificate in use." in rig.log.text
    assert rig.rotate().record.phase is Phase.COMMITTED
    assert shop.front.asked == 1


def test_the_token_stays_while_the_new_set_is_on_probation(shop: Buyer) -> None:
    """Until then it is the way back."""
    shop.rig.to_probation(Kind.ENROLL)
    assert shop.file.exists()
    shop.rig.follow()
    assert not shop.file.exists()


@pytest.mark.parametrize(("phase", "saved"), campaigns.pairs([*ASKING[1:], *AFTER], [False, True]))
def test_the_power_fails_at_any_phase(shop: Buyer, phase: Phase, *, saved: bool) -> None:
    """One certificate is bought for one request, however often it is asked for, and the token is spent in the end."""
    rig = shop.rig
    rig.stop_at(Kind.ENROLL, phase, saved=saved)
    assert rig.restart() is not None
    assert rig.follow().record.phase is Phase.COMMITTED
    assert len(shop.bought) == 1
    assert rig.connects()
    assert not shop.file.exists()


@pytest.mark.parametrize("hours", [1, 30])
def test_a_certificate_that_was_sold_is_taken_up_after_any_outage(shop: Buyer, hours: int) -> None:
    """It is registered since it was sold: there is no hour after which it is dropped, as an ownership token's is."""
    rig = shop.rig
    rig.run_to(Kind.ENROLL, Phase.ISSUED)
    rig.clock.advance(hours=hours)
    assert rig.follow().record.phase is Phase.COMMITTED
    assert (len(shop.bought), shop.front.asked) == (1, 1)


@pytest.mark.parametrize("effect", campaigns.take([Effect.LOSE, Effect.IGNORE, Effect.UNAVAILABLE, Effect.THROTTLE], 2))
def test_an_answer_that_does_not_come_costs_nothing(shop: Buyer, effect: Effect) -> None:
    """More often than certificates may be asked for in a day: the same request is sold the same certificate."""
    rig = shop.rig
    rig.fault(Operation.VEND, effect, times=12)
    outcome = rig.run(Kind.ENROLL, patience=timedelta(hours=12))
    assert outcome.record.phase is Phase.COMMITTED
    assert (len(outcome.record.requests), len(shop.bought), shop.front.asked) == (1, 1, 13)


def test_the_account_s_function_dies_at_each_of_its_steps(shop: Buyer) -> None:
    """Before the first verb, then before the second, and so on, while the gateway asks again: one certificate."""
    rig, verbs, died = shop.rig, [0], [0]

    def step(_: str) -> None:
        verbs[0] += 1
        if verbs[0] > died[0]:
            died[0] += 1
            raise UnavailableError("It has died.")

    def answer(event: Mapping[str, object]) -> Mapping[str, object] | None:
        verbs[0] = 0
        try:
            return answer_of(rig.cloud, event)
        except UnavailableError:
            return said(500, "Internal Server Error")

    shop.front.answer = answer
    shop.watch(step)
    assert rig.run(Kind.ENROLL, patience=timedelta(days=1)).record.phase is Phase.COMMITTED
    assert died[0] > 10
    assert len(shop.bought) == 1
    assert rig.connects()


@pytest.mark.parametrize("effect", [Effect.GARBLE, Effect.OVERSIZE])
def test_an_answer_that_cannot_be_read_is_not_used(shop: Buyer, effect: Effect) -> None:
    """It is asked again, over another connection, and the certificate is the one that was sold before."""
    rig = shop.rig
    rig.fault(Operation.VEND, effect)
    assert rig.run(Kind.ENROLL).record.phase is Phase.COMMITTED
    assert len(shop.bought) == 1
    assert "The reply to the request for a certificate cannot be read" in rig.log.text


def test_a_wrong_token_ends_the_change_at_once_and_says_who_mends_it(shop: Buyer) -> None:
    """It is shown once: an address that shows ten wrong ones is not heard any more."""
    rig = shop.rig
    shop.lay("wrong")
    record = rig.run(Kind.ENROLL).record
    assert (record.phase, shop.front.asked) == (Phase.REJECTED, 1)
    assert record.failure is not None
    assert record.failure.code == Code.TOKEN_REFUSED
    assert command(SERIAL) in record.failure.remedy
    assert is_told(record.failure)
    assert shop.file.exists()
    shop.lay(rig.token)
    assert rig.run(Kind.ENROLL).record.phase is Phase.COMMITTED


def test_a_token_that_another_one_has_spent_is_refused(shop: Buyer) -> None:
    """One identity for one token, whatever asks."""
    rig = shop.rig
    assert rig.run(Kind.ENROLL).record.phase is Phase.COMMITTED
    rig.rotate()
    shop.lay(rig.token)
    record = rig.run(Kind.ENROLL).record
    assert record.failure is not None
    assert (record.phase, record.failure.code) == (Phase.REJECTED, Code.TOKEN_REFUSED)
    assert rig.connects()


@pytest.mark.parametrize("text", ["", "\n", "two\nlines", "\x00"])
def test_a_file_without_a_token_is_waited_for(shop: Buyer, text: str) -> None:
    """Nothing is asked; the change goes on once there is one."""
    rig = shop.rig
    shop.file.write_text(text)
    outcome = rig.run(Kind.ENROLL, patience=timedelta(minutes=1))
    assert outcome.wait is not None
    assert outcome.wait.failure is not None
    assert outcome.wait.failure.code == Code.MATERIAL
    assert shop.front.asked == 0
    shop.lay(rig.token)
    assert rig.follow().record.phase is Phase.COMMITTED


def test_a_token_s_file_that_others_may_read_is_not_used(shop: Buyer) -> None:
    """The exact remedy is said."""
    shop.file.chmod(0o644)
    outcome = shop.rig.run(Kind.ENROLL, patience=timedelta(minutes=1))
    assert outcome.wait is not None
    assert outcome.wait.failure is not None
    assert outcome.wait.failure.remedy == f"sudo chmod 600 {shop.file}"


# -- the ladder --------------------------------------------------------------------------------------------------------


def test_a_gateway_that_is_locked_out_takes_a_new_token_by_itself(owner: Buyer) -> None:
    """After all its sets were refused; nothing of it is needed for that but the file."""
    rig = owner.rig
    rig.revoke(1, 2)
    done = rig.operations.climb("refused")
    assert done.locked_out is not None
    assert done.locked_out.remedy == VENDING_REMEDY.format(readmit=command(SERIAL))
    owner.lay_a_new_one()
    done = rig.operations.climb("refused")
    assert done.rung is Rung.VENDING
    assert done.outcome is not None
    assert done.outcome.record.phase is Phase.COMMITTED
    assert rig.connects()
    assert not owner.file.exists()


def test_a_set_that_works_is_never_left_for_a_token(owner: Buyer) -> None:
    """A token that lies there for an outage that is known of is not shown before."""
    owner.lay_a_new_one()
    done = owner.rig.operations.climb("lost")
    assert done.rung is Rung.CURRENT
    assert owner.front.asked == 1


def test_what_can_be_salvaged_goes_before_a_token(owner: Buyer) -> None:
    """It costs nothing to find out whether it is accepted."""
    rig = owner.rig
    assert rig.rotate().record.phase is Phase.COMMITTED
    rig.revoke(2, 3)
    owner.lay_a_new_one()
    done = rig.operations.climb("refused")
    assert done.rung is Rung.SALVAGED
    assert owner.front.asked == 1


def test_a_token_buys_by_the_anchors_that_came_since_the_package_was_made(owner: Buyer) -> None:
    """The endpoint is looked at before a token is shown; the baked copy does not know it any more."""
    rig = owner.rig
    rig.install(rig.bundle(rig.second_root, rig.root))
    assert rig.rotate().record.phase is Phase.COMMITTED
    rig.move_endpoint(rig.second_root)
    rig.revoke(1, 2, 3, 4)
    owner.lay_a_new_one()
    done = rig.operations.climb("refused")
    assert (done.rung, rig.connects()) == (Rung.VENDING, True)
    assert rig.store.generation(rig.current or 0).trust.fingerprints == rig.store.generation(4).trust.fingerprints


def test_a_baked_copy_that_cannot_be_read_keeps_no_token_away(owner: Buyer) -> None:
    """The sets have anchors."""
    rig = owner.rig
    rig.baked = None
    rig.revoke(1, 2)
    owner.lay_a_new_one()
    done = rig.operations.climb("refused")
    assert (done.rung, rig.connects()) == (Rung.VENDING, True)


def test_older_anchors_beside_an_older_set_keep_no_token_away(owner: Buyer) -> None:
    """The set before last does not know the endpoint any more, which says nothing of the vending machine."""
    rig = owner.rig
    rig.install(rig.bundle(rig.second_root, rig.root))
    for _ in range(2):
        assert rig.rotate().record.phase is Phase.COMMITTED
        rig.clock.advance(days=2)
    rig.baked = rig.bundle(rig.second_root)
    rig.move_endpoint(rig.second_root)
    rig.revoke(1, 2, 3, 4, 5)
    owner.lay_a_new_one()
    done = rig.operations.climb("refused")
    assert (done.rung, rig.connects()) == (Rung.VENDING, True)


def test_a_token_that_was_refused_is_not_shown_again_before_it_is_another(owner: Buyer) -> None:
    """And then at once; the refusal is told beside what became of the sets."""
    rig = owner.rig
    rig.revoke(1, 2)
    owner.lay("wrong")
    assert rig.operations.climb("refused").rung is Rung.VENDING
    asked = owner.front.asked
    for _ in range(5):
        rig.clock.advance(minutes=5)
        done = rig.operations.climb("refused")
        assert done.locked_out is not None
        assert "refuses this gateway's serial number and token" in done.locked_out.why
    assert owner.front.asked == asked
    rig.clock.time += REFUSED_FOR
    assert rig.operations.climb("refused").rung is Rung.VENDING
    assert owner.front.asked == asked + 1
    rig.clock.advance(minutes=1)
    owner.lay_a_new_one()
    assert rig.operations.climb("refused").rung is Rung.VENDING
    assert rig.connects()


def test_a_vending_machine_that_is_away_hides_nothing_that_the_sets_met(owner: Buyer) -> None:
    """The gateway is locked out, and says so with both reasons."""
    rig = owner.rig
    rig.revoke(1, 2)
    owner.lay_a_new_one()
    owner.away = failures.unreachable("vending.example", 443, "no route to host")
    done = rig.operations.climb("refused")
    assert done.locked_out is not None
    assert "vending machine: vending.example does not take connections" in done.locked_out.why
    owner.away = None
    assert rig.operations.climb("refused").rung is Rung.VENDING


def test_without_a_network_no_token_is_shown(owner: Buyer) -> None:
    """What any path may have says nothing about the sets."""
    rig = owner.rig
    owner.lay_a_new_one()
    rig.endpoint.down = failures.unreachable("x", 8883, "no route to host")
    done = rig.operations.climb("lost")
    assert (done.rung, done.locked_out) == (None, None)
    assert owner.front.asked == 1


def test_a_gateway_that_has_lost_its_disk_s_content_comes_back_by_a_new_token(owner: Buyer) -> None:
    """Damaged sets, and none that can be salvaged."""
    rig = owner.rig
    for number in (1, 2):
        for path in (rig.path / "generations" / f"{number:06d}").iterdir():
            path.write_bytes(b"")
    owner.lay_a_new_one()
    assert rig.operations.climb("damaged").rung is Rung.VENDING
    assert rig.connects()


def test_nothing_of_before_is_taken_away(owner: Buyer) -> None:
    """What the thing had stays as it is, until the gateway asks for it to be retired."""
    rig = owner.rig
    before = {rig.certificate(number): rig.entry(number).status for number in (1, 2)}
    rig.revoke(1)
    rig.revoke(2, status=Status.INACTIVE)
    owner.lay_a_new_one()
    assert rig.operations.climb("refused").rung is Rung.VENDING
    assert {rig.cloud.registry[name].status for name in before} == {Status.REVOKED, Status.INACTIVE}
    assert SERIAL in rig.cloud.stack.store.devices


def test_a_power_cut_after_the_token_is_removed_leaves_a_whole_gateway(shop: Buyer) -> None:
    """The end of the change is written when it starts again."""
    rig = shop.rig
    rig.to_probation(Kind.ENROLL)
    finish = rig.store.finish

    def cut(_: object) -> None:
        raise PowerCut

    rig.store.finish = cut  # type: ignore[method-assign, assignment]
    with pytest.raises(PowerCut):
        rig.follow()
    assert not shop.file.exists()
    rig.store.finish = finish  # type: ignore[method-assign]
    assert rig.restart() is not None
    assert rig.follow().record.phase is Phase.COMMITTED
    assert rig.connects()


def test_a_token_s_file_that_cannot_be_removed_is_told_and_keeps_nothing_up(shop: Buyer) -> None:
    """Something else has taken its place."""
    shop.rig.to_probation(Kind.ENROLL)
    shop.file.unlink()
    shop.file.mkdir()
    assert shop.rig.follow().record.phase is Phase.COMMITTED
    assert "trouble: The token's file could not be removed" in shop.rig.log.text
