"""The change as a whole: whatever happens, in whatever order, the promises of the design hold."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from agent.core.change import decide, events, lifecycle, probation_events, transitions
from agent.core.change.advance import advance
from agent.core.change.decide import next_action
from agent.core.change.giving_up import after_failure
from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.change.records import decode_record, encode_outcome
from agent.core.failure.codes import traits
from agent.core.failure.failure import OF_THE_SET, Failure, FailureClass
from agent.core.values import Kind
from support import make
from support.make import DAY, HOUR, NOW
from support.suite import campaigns
from support.unit.core.driven_change import ENOUGH, KINDS, LIMITS, DrivenChange

PREPARED = {Phase.PREPARED, Phase.PROVEN, Phase.ACTIVE, Phase.DEPLOYED}
YEAR_1970 = datetime(1970, 1, 1, tzinfo=UTC)
WITH_A_KEY = {Phase.KEY_READY, Phase.REQUESTED, Phase.ISSUED, Phase.REGISTERED}
FAILURES = st.builds(
    make.failure,
    kind=st.sampled_from(FailureClass),
    code=st.sampled_from(["timeout", "hung-up", "token-invalid", "no-reply", "request-refused", "damaged"]),
    decisive=st.booleans(),
)


class TroubledChange(DrivenChange):
    """A change to which a disk, a clock, a network and people do what they like."""

    @rule(steps=st.integers(1, 4))
    def go_on_without_trouble(self, steps: int) -> None:
        """Some steps succeed, and waits are waited out."""
        for _ in range(steps):
            self._succeed()

    @rule(
        failure=FAILURES, jitter=st.floats(0, 1, exclude_max=True), again=st.integers(1, 6), base_accepted=st.booleans()
    )
    def fail(self, failure: Failure, jitter: float, again: int, *, base_accepted: bool) -> None:
        """The step fails in any way, some times in a row; only what is decisive may end what was prepared."""
        for _ in range(again):
            action = self._step()
            if action is None:
                return
            if isinstance(action, decide.RequestCertificate):
                self._perform(action)
            before = self.record
            facts = self._facts(base_accepted=base_accepted)
            self._take(after_failure(before, failure, facts, jitter, self.limits))
            self._judge_failure(before, failure)
            self._check()

    def _judge_failure(self, before: ChangeRecord, failure: Failure) -> None:
        after = self.record
        assert after.condemned is None or after.condemned.decisive
        if before.phase.activated and failure.kind in OF_THE_SET and not before.refusals:  # one may be a stray
            assert (after.condemned, after.phase) == (before.condemned, before.phase)
        if failure.decisive:
            if before.phase.activated:  # with something to go back to it goes back, otherwise the ladder goes on
                assert not after.phase.ended or (after.phase is Phase.REJECTED and before.base is None)
            return
        assert after.condemned == before.condemned
        if failure.kind is FailureClass.SERVER_TRUST and abs(self.now - before.entered_at) >= DAY:
            assert not after.phase.ended or not before.phase.activated  # others have their turn; nothing in use goes
            return
        if before.phase in PREPARED:
            goes_on = before.phase is Phase.ACTIVE and failure.kind is FailureClass.DEPENDANT
            assert after.phase is before.phase or (goes_on and after.degraded == failure)
        if failure.kind not in {FailureClass.POLICY, FailureClass.PROTOCOL}:
            assert not after.phase.ended

    @precondition(lambda self: self.record.phase in {Phase.KEY_READY, Phase.REQUESTED})
    @rule(
        kind=st.sampled_from(FailureClass),
        code=st.sampled_from(["no-reply", "throttled", "not-sent"]),
        times=st.integers(1, 6),
        wait=st.booleans(),
    )
    def ask_in_vain(self, kind: FailureClass, code: str, times: int, *, wait: bool) -> None:
        """Request after request brings nothing, by a failure or by a crash."""
        for _ in range(times * 2):
            action = self._step() if wait else self._action()
            if isinstance(action, decide.BeginRequest):
                self._take(make.success(action, self.now))
            elif isinstance(action, decide.RequestCertificate):
                self._perform(action)
                failure = make.failure(kind, code)
                lost = events.Resumed(at=self.now)
                self._take(after_failure(self.record, failure, self._facts(), 0.5, LIMITS) if wait else lost)
            self._check()

    @rule(done=st.booleans(), starts=st.sampled_from([1, 1, 1, 2, 3, 12]))
    def crash(self, starts: int, *, done: bool) -> None:
        """The power fails, with or without the step having reached the disk, and the agent starts some times."""
        action = self._action()
        if done:
            self._perform(action)
        for _ in range(starts):
            self._take(events.Resumed(at=self.now))
            self._check()

    @precondition(lambda self: (self.record.phase, events.Hastened) in transitions.TRANSITIONS)
    @rule()
    def hasten(self) -> None:
        """A person wants the step tried now."""
        self._take(events.Hastened(at=self.now))

    @precondition(lambda self: not self.record.phase.ended)
    @rule(times=st.integers(1, 5))
    def lose_the_session(self, times: int) -> None:
        """The daemon's session ends as if its certificate were refused, perhaps again and again."""
        for _ in range(times):
            action, event = self._action(), probation_events.doubted(self.record, self._facts(), self.limits)
            if event is None:
                return
            assert isinstance(action, decide.Wait)
            assert self.record.phase.activated
            assert self.now <= event.prove_at < action.until
            self._take(event)
            proof = self._action()
            assert isinstance(proof, decide.HoldProbation) or (
                isinstance(proof, decide.Wait) and proof.until == event.prove_at
            )
            self._check()

    @precondition(lambda self: lifecycle.waits_for_word(self.record))
    @rule()
    def hear_the_application(self) -> None:
        """The word that is waited for comes; probation runs its time."""
        before = self.record
        self._take(events.Confirmed(at=self.now, early=False))
        assert replace(self.record, confirmed_at=None) == before
        assert not isinstance(self._action(), decide.Unconfirmed)
        self._check()

    @rule(connects=st.booleans())
    def change_the_base(self, *, connects: bool) -> None:
        """What the cloud thinks of the base changes."""
        self.base_connects = connects

    @precondition(lambda self: self.record.phase in {Phase.ACTIVE, Phase.DEPLOYED})
    @precondition(lambda self: self.record.condemned is None)
    @rule()
    def confirm(self) -> None:
        """A person says that the set works; only a proof makes it final."""
        before = self.record
        self._take(events.Confirmed(at=self.now))
        assert (self.record.phase, self.record.failure) == (before.phase, before.failure)
        if self._facts().clock.believable and before.resumes <= LIMITS.resumes and before.phase is Phase.DEPLOYED:
            assert isinstance(self._action(), decide.EndProbation)
        self._check()

    @rule(failure=FAILURES)
    def fail_while_the_clock_is_lost(self, failure: Failure) -> None:
        """The clock falls back to 1970 within a step that then fails; nothing is concluded from that."""
        action = self._step()
        if action is None:
            return
        self._perform(action)
        before, self.now = self.record, YEAR_1970
        self._take(after_failure(before, failure, self._facts(), 0.5, LIMITS))
        if before.phase is Phase.ISSUED and failure.code == "token-invalid":
            assert self.record.phase in {Phase.PLANNED, Phase.REGISTERED}
        else:
            self._judge_failure_without_a_clock(before, failure)
        self._check()
        self.learn_the_time()

    def _judge_failure_without_a_clock(self, before: ChangeRecord, failure: Failure) -> None:
        after = self.record
        assert after.failure is not None
        found = (after.failure.kind, after.failure.code, after.failure.decisive)
        assert found == (FailureClass.CLOCK, failure.code, False)
        assert (after.condemned, after.refused_since) == (before.condemned, before.refused_since)
        assert after.phase is (Phase.KEY_READY if before.phase is Phase.REQUESTED else before.phase)
        unanswered = before.phase is Phase.ISSUED and traits(failure.code).unanswered
        assert after.unanswered == before.unanswered + unanswered

    @precondition(lambda self: self.record.condemned is not None and self.disk.current == self.record.generation)
    @rule()
    def find_nothing_to_go_back_to(self) -> None:
        """No other set on the disk is whole, so what was condemned stays where it is and the change ends."""
        if isinstance(self._action(), decide.RollBack):
            assert self.record.condemned is not None
            self._take(events.Rejected(at=self.now, failure=self.record.condemned))

    @precondition(lambda self: self.record.phase in WITH_A_KEY)
    @rule(jitter=st.floats(0, 1, exclude_max=True), times=st.integers(1, 4))
    def lose_the_key(self, jitter: float, times: int) -> None:
        """The staged key is damaged, and perhaps the next ones too; each time there is a delay."""
        failure = make.failure(FailureClass.STORE, "key-lost")
        for _ in range(times):
            if self.record.phase not in WITH_A_KEY:
                return
            self._take(after_failure(self.record, failure, self._facts(), jitter, LIMITS))
            assert isinstance(self._action(), decide.Wait)
            self._succeed()
            self._succeed()

    @rule(span=st.timedeltas(timedelta(), 3 * HOUR))
    def let_time_pass(self, span: timedelta) -> None:
        """The clock runs."""
        self.now += span

    @rule(span=st.timedeltas(-HOUR, HOUR) | st.timedeltas(-2 * DAY, 2 * DAY) | st.timedeltas(-40 * DAY, 400 * DAY))
    def set_the_clock(self, span: timedelta) -> None:
        """The clock is set, forward or backward."""
        self.now = max(self.now + span, YEAR_1970)
        self.requests_since_jump.clear()

    @rule(starts=st.integers(0, 2))
    def forget_the_time(self, starts: int) -> None:
        """The gateway starts in 1970 and later learns the time."""
        self.now = YEAR_1970
        for _ in range(starts):
            self._take(events.Resumed(at=self.now))
            self._succeed()
        self.learn_the_time()

    @rule()
    def lose_synchronisation(self) -> None:
        """The clock is not synchronised any more."""
        self.synchronised = False

    @precondition(lambda self: self.record.phase.ended)
    @rule(kind=KINDS)
    def begin_another_change(self, kind: Kind) -> None:
        """A finished change is archived and the next one planned, for which its requests count."""
        self._idle(self._action())
        self._plan(kind)


TestGateway = TroubledChange.TestCase
TestGateway.settings = settings(make.FEW, max_examples=len(campaigns.places(200, 5)), stateful_step_count=40)


def drive(record: ChangeRecord, now: datetime = NOW) -> tuple[ChangeRecord, list[str]]:
    """Return the record after nothing but successes, and the names of the actions that led there."""
    taken: list[str] = []
    while not record.phase.ended and len(taken) < ENOUGH:
        action = next_action(record, make.facts(now), LIMITS)
        taken.append(type(action).__name__)
        if isinstance(action, decide.Wait):
            now = action.until
        else:
            record = advance(record, make.success(action, now))
    return record, taken


def test_an_untrusted_server_under_a_clock_that_was_set_back_by_a_month_ends_what_nothing_uses() -> None:
    """Waiting is counted either way: by the difference alone the ladder would be kept away for that month."""
    story = TroubledChange()
    story.start(Kind.ENROLL, steps=0, confirm=None)
    story.forget_the_time(starts=0)
    story.fail(make.failure(FailureClass.SERVER_TRUST, "timeout"), jitter=0, again=1, base_accepted=False)

    assert story.record.phase is Phase.REJECTED


def test_a_rotation_without_trouble_takes_each_step_once() -> None:
    """With only successes a rotation is committed, by the steps of the design and a proof each minute of probation."""
    record, taken = drive(make.record())

    assert record.phase is Phase.COMMITTED
    assert taken[:9] == [
        "GenerateKey", "BeginRequest", "RequestCertificate", "RegisterThing", "PrepareGeneration",
        "Prove", "Activate", "Deploy", "Wait",
    ]  # fmt: skip
    assert taken[9:] == ["HoldProbation", "Wait"] * 9 + ["EndProbation"]


@pytest.mark.parametrize("phase", make.UNFINISHED)
@pytest.mark.parametrize("kind", Kind)
def test_every_phase_leads_to_committed(phase: Phase, kind: Kind) -> None:
    """From any phase a change of any kind is committed when nothing goes wrong."""
    record, _ = drive(make.record(phase, kind=kind))

    assert record.phase is Phase.COMMITTED


@pytest.mark.parametrize("phase", make.BEFORE_ACTIVATION)
def test_a_crash_loop_before_activation_ends_itself(phase: Phase) -> None:
    """An agent that only ever starts again gives up what it has not activated, after a bounded number of starts."""
    record, starts = crash_until(make.record(phase), (decide.Reject,))

    assert starts == LIMITS.resumes + 1
    action = next_action(record, make.facts(), LIMITS)
    assert isinstance(action, decide.Reject)
    rejected = advance(record, make.success(action))
    assert rejected.phase is Phase.REJECTED
    assert rejected.failure is not None
    assert rejected.failure.code == "crash-loop"
    assert phase in (rejected.failure.message if phase is not Phase.REQUESTED else phase)


@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.DEPLOYED])
def test_a_crash_loop_after_activation_slows_down(phase: Phase) -> None:
    """A crash of the agent says nothing against the credential: the set stays, and is tried every few minutes."""
    record, starts = crash_until(make.record(phase, checked_at=NOW - HOUR), (decide.Wait,))

    assert starts == LIMITS.resumes + 1
    action = next_action(record, make.facts(), LIMITS)
    assert isinstance(action, decide.Wait)
    assert (action.code, action.until) == ("crash-loop", NOW + decide.CRASH_PAUSE)
    later = next_action(record, make.facts(NOW + DAY), LIMITS)
    assert isinstance(later, decide.Deploy | decide.EndProbation)


def crash_until(record: ChangeRecord, ends: tuple[type[decide.Action], ...]) -> tuple[ChangeRecord, int]:
    """Start the agent again and again, with no outcome ever, until the next action is one of `ends`."""
    starts = 0
    while not isinstance(next_action(record, make.facts(), LIMITS), ends) and starts < ENOUGH:
        record = advance(record, events.Resumed(at=NOW))
        starts += 1
    return record, starts


def test_a_crash_loop_while_asking_is_bounded_by_the_budget_and_by_itself() -> None:
    """Crashing in every request uses the day's budget at most, and over days ends the change."""
    record, now = make.record(Phase.KEY_READY), NOW
    for _ in range(ENOUGH):
        action = next_action(record, make.facts(now), LIMITS)
        if isinstance(action, decide.Reject):
            break
        if isinstance(action, decide.Wait):
            now = action.until
        elif isinstance(action, decide.BeginRequest):
            record = advance(record, events.RequestBegun(at=now))
        else:
            record = advance(record, events.Resumed(at=now))
    else:
        pytest.fail("the change does not end")

    assert len(record.requests) == LIMITS.resumes + 1
    assert all(later - at >= DAY for at, later in zip(record.requests, record.requests[4:], strict=False))


def test_one_change_after_another_shares_the_budget() -> None:
    """However many changes are made in a row, no day sees more requests than the limit."""
    history: tuple[datetime, ...] = ()
    now = NOW
    for _ in range(10):
        record = make.record(planned_at=now)
        while not record.phase.ended:
            action = next_action(record, make.facts(now, requests=history), LIMITS)
            if isinstance(action, decide.Wait):
                now = action.until
            else:
                record = advance(record, make.success(action, now))
        history += decide.requests_of([decode_record(encode_outcome(record), "history.jsonl")])

    assert len(history) == 10
    assert all(later - at >= DAY for at, later in zip(history, history[4:], strict=False))
    assert history[8] - history[0] < 3 * DAY
