"""The word that a set on probation works: a person's, and where it is asked for, the gateway's own application's."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.change.decide import Limits
from agent.core.change.lifecycle import Phase
from agent.core.dependants import Occasion
from agent.core.exit_codes import Exit, of_outcome
from agent.core.failure.failure import FailureClass
from agent.core.values import Kind, Origin
from agent.core.when.renewal import RenewalPolicy
from agent.errors import RefusedError
from agent.sandbox.replies.faults import Effect, Operation
from support.simulated.outside import NO_ROUTE
from support.simulated.rig import is_told
from support.simulated.troubled import PowerCut

if TYPE_CHECKING:
    from agent.change.engine import Outcome
    from support.simulated.rig import Rig


# -- a person's word ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Kind.ENROLL, Kind.ROTATE, Kind.ROLLBACK])
def test_a_person_who_is_content_need_not_wait_for_the_end_of_probation(rig: Rig, kind: Kind) -> None:
    """One more proof, and the set is final minutes before its time."""
    if kind is not Kind.ENROLL:
        rig.enroll()
        rig.rotate()
    until = rig.to_probation(kind).record.probation_until
    assert until is not None
    proofs = len(rig.endpoint.connections)
    rig.engine.confirm()
    record = rig.follow().record

    assert record.phase is Phase.COMMITTED
    assert record.confirmed_at == rig.clock.now()
    assert rig.clock.now() < until
    assert [item.outcome for item in rig.endpoint.connections[proofs:]] == ["accepted"]
    assert rig.store.history()[-1].confirmed_at == record.confirmed_at


def test_a_word_makes_nothing_final_that_is_refused(gateway: Rig) -> None:
    """The certificate was deactivated; the person's word only has that found out now."""
    gateway.to_probation()
    gateway.revoke(3)
    gateway.engine.confirm()

    assert gateway.follow().record.phase is Phase.ROLLED_BACK
    assert gateway.in_use() == (2, 1)
    assert gateway.connects()


def test_a_word_without_a_network_is_kept_until_the_proof_can_be_made(gateway: Rig) -> None:
    """The last proof waits; the word need not be given again, and giving it again does no harm."""
    gateway.to_probation()
    gateway.fault(Operation.CONNECT, Effect.HANG_UP, times=None)
    first = gateway.engine.confirm()
    assert gateway.engine.run().wait is not None
    gateway.clock.advance(seconds=10)
    gateway.engine.confirm()
    gateway.cloud.faults.clear()
    record = gateway.follow().record

    assert record.phase is Phase.COMMITTED
    assert record.confirmed_at is not None
    assert record.confirmed_at < gateway.clock.now()
    assert first.id == record.id


@pytest.mark.parametrize("saved", [True, False])
def test_a_kill_between_word_and_end_keeps_the_one_or_the_other(gateway: Rig, *, saved: bool) -> None:
    """Once it is on disk it counts; before that it was not given. Either way the change ends as it should."""
    gateway.to_probation()
    gateway.disk.cut_power(Phase.DEPLOYED, saved=saved)
    with pytest.raises(PowerCut):
        gateway.engine.confirm()
    found = gateway.restart()
    assert found is not None
    assert (found.confirmed_at is not None) == saved

    record = gateway.follow().record
    assert record.phase is Phase.COMMITTED
    assert (record.confirmed_at is not None) == saved


def test_a_word_while_other_programs_are_told_comes_after_them(gateway: Rig) -> None:
    """The application was restarted and is content, while another program is not up yet: that one has its time."""
    gateway.programs.refused = {3}
    gateway.planner.begin(Kind.ROTATE, Origin.TECHNICIAN, "test")
    gateway.engine.run()
    assert gateway.engine.confirm().phase is Phase.ACTIVE
    gateway.programs.refused = set()
    record = gateway.follow().record

    assert (record.phase, record.degraded) == (Phase.COMMITTED, None)
    assert gateway.programs.uses == 3
    assert record.probation_until == dict(record.passed)[Phase.DEPLOYED]


def test_a_word_given_twice_says_what_it_said(gateway: Rig) -> None:
    """The change it was about is final, and that is what it is answered with."""
    gateway.to_probation()
    gateway.engine.confirm()
    ended = gateway.follow().record

    assert gateway.engine.confirm() == ended
    assert gateway.at_rest


def test_a_word_about_nothing_is_refused(gateway: Rig) -> None:
    """Before a set is in use, while it is given up, and after it was."""
    gateway.run_to(Kind.ROTATE, Phase.PREPARED)
    with pytest.raises(RefusedError, match="in phase prepared; nothing is on probation yet"):
        gateway.engine.confirm()

    gateway.follow(patience=gateway.settings.limits.check_every)
    gateway.engine.give_up("test")
    with pytest.raises(RefusedError, match="is being given up: Given up: test"):
        gateway.engine.confirm()
    assert gateway.follow().record.phase is Phase.ROLLED_BACK
    with pytest.raises(RefusedError, match="Nothing is on probation"):
        gateway.engine.confirm()


def test_a_gateway_that_never_changed_anything_has_nothing_to_confirm(rig: Rig) -> None:
    """There is not even a last change."""
    with pytest.raises(RefusedError, match="Nothing is on probation"):
        rig.engine.confirm()


# -- the application's word --------------------------------------------------------------------------------------------

WITHIN = timedelta(minutes=15)  # the default probation, and five minutes


@pytest.fixture
def asked(gateway: Rig) -> Rig:
    """Return the gateway on which a new set is to be confirmed."""
    gateway.configure(limits=Limits(check_every=timedelta(minutes=2), confirm=WITHIN))
    return gateway


def to_the_word(rig: Rig, kind: Kind = Kind.ROTATE) -> Outcome:
    """Begin a change and follow it until the application's word is waited for."""
    rig.planner.begin(kind, Origin.TECHNICIAN, "test")
    outcome = rig.follow(patience=timedelta())
    assert outcome.wait is not None
    assert outcome.record.confirm_until == rig.clock.now() + WITHIN
    return outcome


def deployed_for(rig: Rig) -> timedelta:
    """Return how long the last change was on probation."""
    record = rig.store.history()[-1]
    return rig.clock.now() - dict(record.passed)[Phase.DEPLOYED]


def test_a_set_that_the_application_confirms_is_final_when_probation_is_over(asked: Rig) -> None:
    """The word does not cut the proofs short."""
    outcome = to_the_word(asked)
    assert outcome.wait is not None
    assert "waits for confirmation until" in outcome.wait.why
    assert "`iot-cert confirm`" in outcome.wait.why
    asked.clock.advance(seconds=7)
    asked.say_that_it_works(3)
    outcome = asked.engine.run()
    assert outcome.wait is not None
    assert "on probation until" in outcome.wait.why

    record = asked.follow().record
    assert (record.phase, record.degraded) == (Phase.COMMITTED, None)
    assert record.confirmed_at == record.passed[-2][1] + timedelta(seconds=7)
    assert deployed_for(asked) == asked.settings.limits.probation
    assert "Generation 3 is confirmed; it is final once probation is over." in asked.log.text


def test_a_word_after_probation_makes_the_set_final_at_once(asked: Rig) -> None:
    """It took the application twelve minutes; proofs went on until then."""
    to_the_word(asked)
    asked.follow(patience=timedelta(minutes=12))
    assert asked.in_use() == (3, 2)
    asked.say_that_it_works(3)

    assert asked.follow(patience=timedelta()).record.phase is Phase.COMMITTED


def test_a_person_confirms_for_the_application(asked: Rig) -> None:
    """`iot-cert confirm` is the word, and ends probation too."""
    to_the_word(asked)
    asked.engine.confirm()

    assert asked.follow(patience=timedelta()).record.phase is Phase.COMMITTED


def test_a_set_without_a_word_is_left_for_the_one_before(asked: Rig) -> None:
    """When the time is up, once the set before has connected; the other programs are told, and the reason is plain."""
    to_the_word(asked)
    outcome = asked.follow()
    record = outcome.record

    assert record.phase is Phase.ROLLED_BACK
    assert record.failure is not None
    assert (record.failure.kind, record.failure.code) == (FailureClass.DEPENDANT, "not-confirmed")
    assert record.failure.message == "Generation 3 was not confirmed within 15 min."
    assert is_told(record.failure)
    assert deployed_for(asked) == WITHIN
    assert asked.connections_of("generation 2")[-1].at == asked.clock.now()
    assert asked.programs.asked[-1] is Occasion.ROLLED_BACK
    assert asked.in_use() == (2, 1)
    assert asked.generations == ["000001", "000002", "000003.rejected"]
    assert of_outcome(record, outcome.wait, has_set=True) is Exit.DEGRADED
    assert asked.connects()


def test_a_set_without_a_word_stays_where_the_one_before_does_not_connect(asked: Rig) -> None:
    """The base was revoked meanwhile: a gateway is never left unable to connect, and it says what it is without."""
    to_the_word(asked)
    asked.revoke(2)
    outcome = asked.follow()
    record = outcome.record

    assert record.phase is Phase.COMMITTED
    assert record.degraded is not None
    assert record.degraded.code == "not-confirmed"
    assert "Generation 2 does not connect now" in record.degraded.message
    assert record.degraded.message.endswith("so this set stays.")
    assert of_outcome(record, outcome.wait, has_set=True) is Exit.DEGRADED
    assert asked.in_use() == (3, 2)
    assert asked.connects()


def test_a_first_certificate_without_a_word_stays(rig: Rig) -> None:
    """There is nothing to go back to; a gateway that connects is worth more than one without a certificate."""
    rig.configure(limits=Limits(confirm=WITHIN))
    to_the_word(rig, Kind.ENROLL)
    record = rig.follow().record

    assert record.phase is Phase.COMMITTED
    assert record.degraded is not None
    assert "There is no set to go back to, so this set stays." in record.degraded.message
    assert rig.connects()


def test_without_a_network_nothing_is_decided_about_a_set_without_a_word(asked: Rig) -> None:
    """Neither set connects when the time is up; once one does, that is looked into, and a late word counts still."""
    to_the_word(asked)
    asked.endpoint.down = NO_ROUTE
    outcome = asked.follow(patience=timedelta(hours=3))
    assert outcome.wait is not None
    assert outcome.record.phase is Phase.DEPLOYED
    assert outcome.record.condemned is None
    asked.endpoint.down = None
    asked.say_that_it_works(3)
    record = asked.follow().record

    assert (record.phase, record.degraded) == (Phase.COMMITTED, None)


def test_a_set_without_a_word_is_left_when_the_network_is_back(asked: Rig) -> None:
    """The same without a late word."""
    to_the_word(asked)
    asked.endpoint.down = NO_ROUTE
    asked.follow(patience=timedelta(hours=3))
    asked.endpoint.down = None

    assert asked.follow().record.phase is Phase.ROLLED_BACK
    assert asked.connects()


def test_a_set_before_that_ends_soon_is_not_gone_back_to(rig: Rig) -> None:
    """Going back each time would leave the gateway without a certificate in the end."""
    rig.cloud.provisioning.lifetime = timedelta(days=10)
    rig.enroll()
    rig.configure(limits=Limits(confirm=WITHIN), renewal=RenewalPolicy(before_expiry=timedelta(days=2)))
    rig.clock.advance(days=9, hours=20)
    to_the_word(rig)
    record = rig.follow().record

    assert record.phase is Phase.COMMITTED
    assert record.degraded is not None
    assert "Generation 1 ends at" in record.degraded.message
    assert rig.connects()


def test_a_set_that_is_refused_while_it_waits_for_its_word_is_left_for_that(asked: Rig) -> None:
    """The broker's word comes first."""
    to_the_word(asked)
    asked.clock.advance(seconds=20)
    asked.revoke(3)
    asked.engine.doubt()
    record = asked.follow().record

    assert record.phase is Phase.ROLLED_BACK
    assert record.failure is not None
    assert record.failure.kind is FailureClass.CREDENTIAL


def test_a_rollback_by_command_needs_no_word(asked: Rig) -> None:
    """A person has decided, and the set was in use before."""
    record = asked.run(Kind.ROLLBACK).record

    assert (record.phase, record.confirm_until, record.degraded) == (Phase.COMMITTED, None, None)


@pytest.mark.parametrize("said", [True, False])
def test_new_anchors_are_confirmed_like_a_certificate(asked: Rig, *, said: bool) -> None:
    """An application may trust by them, too."""
    asked.planner.install(asked.bundle(asked.root, asked.second_root), Origin.INBOX, "test")
    asked.follow(patience=timedelta())
    if said:
        asked.say_that_it_works(3)

    assert asked.follow().record.phase is (Phase.COMMITTED if said else Phase.ROLLED_BACK)
    assert asked.in_use()[0] == (3 if said else 2)


def test_a_word_from_before_is_about_nothing(asked: Rig) -> None:
    """A file of the same name that lay there, or the word on another set, confirms nothing."""
    asked.said.mkdir(mode=0o700)
    asked.say_that_it_works(3)
    to_the_word(asked)
    assert list(asked.said.iterdir()) == []
    asked.say_that_it_works(2)
    asked.say_that_it_works(4)

    assert asked.follow().record.phase is Phase.ROLLED_BACK


def test_a_word_that_others_could_have_said_is_none(asked: Rig) -> None:
    """Any user may write to the directory; that is told, and the set before comes back."""
    to_the_word(asked)
    asked.said.chmod(0o777)
    asked.say_that_it_works(3)

    assert asked.follow().record.phase is Phase.ROLLED_BACK
    assert f"may write to {asked.said}, so no word in it counts." in asked.log.text


def test_a_place_that_cannot_be_made_keeps_no_set_from_being_used(asked: Rig) -> None:
    """It is told, and a person may confirm."""
    asked.said.write_text("in the way")
    to_the_word(asked)
    assert f"{asked.said} is a file, where a directory is expected" in asked.log.text
    asked.engine.confirm()

    assert asked.follow().record.phase is Phase.COMMITTED


@pytest.mark.parametrize("saved", [True, False])
def test_a_kill_as_the_word_is_taken_down_does_not_lose_it(asked: Rig, *, saved: bool) -> None:
    """It lies where it was until it is on disk."""
    to_the_word(asked)
    asked.say_that_it_works(3)
    asked.disk.cut_power(Phase.DEPLOYED, saved=saved)
    with pytest.raises(PowerCut):
        asked.engine.run()
    asked.restart()
    record = asked.follow().record

    assert (record.phase, record.degraded) == (Phase.COMMITTED, None)
    assert record.confirmed_at is not None


def test_a_word_that_comes_in_a_power_cut_within_the_activation_counts(asked: Rig) -> None:
    """The set was in use before the record could say so; the application was quick, and is not unheard for that."""
    asked.stop_at(Kind.ROTATE, Phase.ACTIVE, saved=False)
    asked.say_that_it_works(3)
    asked.restart()
    record = asked.follow().record

    assert (record.phase, record.degraded) == (Phase.COMMITTED, None)


@pytest.mark.parametrize("saved", [True, False])
def test_a_kill_in_the_rollback_of_a_set_without_a_word_goes_on_with_it(asked: Rig, *, saved: bool) -> None:
    """Or looks once more, when nothing was on disk yet."""
    to_the_word(asked)
    asked.follow(patience=timedelta(minutes=14))
    asked.clock.advance(minutes=1)
    asked.disk.cut_power(Phase.ROLLED_BACK, saved=saved)
    with pytest.raises(PowerCut):
        asked.follow()
    asked.restart()

    assert asked.follow().record.phase is Phase.ROLLED_BACK
    assert asked.in_use() == (2, 1)
    assert asked.connects()
