from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.change.advance import advance
from agent.core.change.events import Dropped, Retired
from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.dependants import HOOKS, Report, Step
from agent.core.failure import failures
from agent.core.failure.codes import Code
from agent.core.failure.failure import Failure, FailureClass
from agent.core.text import clock_time
from agent.core.values import Kind
from agent.core.when.retirement import (
    Retirement,
    behind,
    dropped_already,
    find_dropped,
    is_refusal,
    last_taken_up,
    left_behind,
    never_registered,
    outstanding,
    spared,
    wait_after,
    waiting,
)
from agent.core.when.retirement import retired as no_more
from agent.errors import RefusedError
from support import make
from support.make import DAY, HOUR, MINUTE, NOW

GRACE = 7 * DAY
OLD, NEW, NEXT = "01" * 32, "02" * 32, "03" * 32
REGISTERED = ((Phase.REGISTERED, NOW - MINUTE), (Phase.REJECTED, NOW))


def rotated(old: str = OLD, at: datetime = NOW, **changes: Any) -> ChangeRecord:
    """Return a rotation that replaced a certificate."""
    return make.finished(Phase.COMMITTED, at, replaces=old, **changes)


def gave_up(phase: Phase = Phase.REJECTED, at: datetime = NOW, **changes: Any) -> ChangeRecord:
    """Return a rotation whose certificate was registered and then given up."""
    usual = {"replaces": OLD, "issued": make.issued(at), "passed": REGISTERED}
    return make.finished(phase, at, **{**usual, **changes})


def retired(record: ChangeRecord, at: datetime = NOW + 8 * DAY) -> ChangeRecord:
    """Return the record once the cloud accepted the retirement."""
    return advance(record, Retired(at=at))


def ids(*history: ChangeRecord, in_use: tuple[str, ...] = (NEW,), grace: timedelta = GRACE) -> list[str]:
    """Return the certificates that are still to be retired, in order."""
    return [item.certificate_id for item in outstanding(history, in_use, grace)]


# -- what a change leaves behind -----------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [Phase.COMMITTED, Phase.RETIRED])
def test_a_change_that_succeeded_leaves_what_it_replaced(phase: Phase) -> None:
    """Its own certificate is the one in use."""
    assert left_behind(make.finished(phase, replaces=OLD)) == OLD


@pytest.mark.parametrize("phase", [Phase.COMMITTED, Phase.RETIRED])
def test_a_first_certificate_leaves_nothing(phase: Phase) -> None:
    """There was none before."""
    assert left_behind(make.finished(phase, kind=Kind.ENROLL, base=None, replaces=None)) is None


@pytest.mark.parametrize("phase", [Phase.REJECTED, Phase.ROLLED_BACK])
def test_a_change_that_failed_leaves_its_own_certificate(phase: Phase) -> None:
    """What it was to replace is in use still."""
    assert left_behind(gave_up(phase)) == make.issued().certificate_id


def test_a_change_that_failed_without_a_certificate_leaves_nothing() -> None:
    """Nothing came, so nothing is to be taken back."""
    assert left_behind(make.finished(Phase.REJECTED, replaces=OLD, issued=None)) is None


def test_a_certificate_that_was_never_registered_is_left_to_the_cloud() -> None:
    """AWS deletes it within the hour; asking for its retirement would be refused for ever."""
    never = gave_up(passed=((Phase.ISSUED, NOW - MINUTE), (Phase.REJECTED, NOW)))

    assert left_behind(never) is None


@pytest.mark.parametrize("unanswered", [1, 5])
def test_a_certificate_that_may_have_been_registered_is_left_behind(unanswered: int) -> None:
    """A registration was sent and its answer lost: better to ask for too much than to leave a key alive."""
    doubtful = gave_up(passed=((Phase.ISSUED, NOW), (Phase.REJECTED, NOW)), unanswered=unanswered)

    assert left_behind(doubtful) == make.issued().certificate_id


def test_a_certificate_that_came_after_a_registered_one_is_judged_by_itself() -> None:
    """The first was registered and its key lost; the second was refused, and would be in its retirement for ever."""
    passed = ((Phase.ISSUED, NOW), *REGISTERED[:1], (Phase.PLANNED, NOW), (Phase.ISSUED, NOW), *REGISTERED[1:])

    assert left_behind(gave_up(passed=passed)) is None
    assert left_behind(gave_up(passed=passed, unanswered=1)) == make.issued().certificate_id
    assert [item.doubtful for item in outstanding([gave_up(passed=passed, unanswered=1)], [OLD], GRACE)] == [True]


@pytest.mark.parametrize("phase", make.UNFINISHED)
def test_a_change_in_flight_leaves_nothing_yet(phase: Phase) -> None:
    """What it replaces is what a rollback returns to."""
    assert left_behind(make.record(phase, replaces=OLD, unanswered=1)) is None


# -- what is outstanding -------------------------------------------------------------------------------------------


def test_a_replaced_certificate_is_due_when_the_grace_is_over() -> None:
    """The grace counts from when the change became final, and the change that left it is named."""
    (found,) = outstanding([rotated(id="c-7")], [NEW], GRACE)

    assert found == Retirement(change="c-7", certificate_id=OLD, due=NOW + GRACE)


def test_the_grace_counts_from_the_commitment_and_not_from_a_later_line() -> None:
    """The history may have been amended since."""
    record = rotated(entered_at=NOW + DAY)

    assert outstanding([record], [], GRACE)[0].due == NOW + GRACE


def test_a_failed_certificate_is_due_when_the_grace_is_over_too() -> None:
    """A person can still look into it until then."""
    (found,) = outstanding([gave_up(Phase.ROLLED_BACK)], [OLD], GRACE)

    assert (found.certificate_id, found.due) == (make.issued().certificate_id, NOW + GRACE)


@pytest.mark.parametrize("grace", [timedelta(), HOUR, 365 * DAY])
def test_the_grace_is_the_operators(grace: timedelta) -> None:
    """None at all is allowed."""
    assert outstanding([rotated()], [NEW], grace)[0].due == NOW + grace


def test_the_first_due_comes_first() -> None:
    """Whatever the order of the history."""
    history = [rotated(NEW, NOW), rotated(OLD, NOW - DAY), gave_up(at=NOW - 2 * DAY)]

    assert ids(*history, in_use=(NEXT,)) == [make.issued().certificate_id, OLD, NEW]


def test_what_was_retired_is_settled() -> None:
    """Whether the change had succeeded or not."""
    assert ids(retired(rotated())) == []
    assert ids(retired(gave_up())) == []
    assert ids(retired(gave_up(Phase.ROLLED_BACK)), rotated(at=NOW + HOUR)) == [OLD]


def test_a_certificate_that_two_changes_left_behind_is_settled_once() -> None:
    """It was replaced, came back by a rollback and was replaced again: one acceptance is enough."""
    history = [retired(rotated(OLD)), rotated(OLD, NOW + DAY)]

    assert ids(*history) == []


def test_what_the_cloud_accepts_no_more_is_by_its_last_word() -> None:
    """One that was in use again was active again, and is a way back."""
    assert no_more([retired(rotated(OLD)), rotated(NEW, NOW + DAY)]) == {OLD}
    assert no_more([retired(rotated(OLD)), rotated(OLD, NOW + DAY)]) == set()
    assert no_more([rotated(OLD), retired(rotated(OLD, NOW + DAY))]) == {OLD}


def test_the_last_change_that_left_it_behind_counts() -> None:
    """The grace begins anew when a certificate was in use again."""
    history = [rotated(OLD, NOW, id="c-1"), rotated(OLD, NOW + 5 * DAY, id="c-2")]
    (found,) = outstanding(history, [NEW], GRACE)

    assert found == Retirement(change="c-2", certificate_id=OLD, due=NOW + 5 * DAY + GRACE)


def test_what_is_in_use_is_never_retired() -> None:
    """A rollback brought it back, whatever the history says of the change that had replaced it."""
    back = make.finished(Phase.COMMITTED, NOW + DAY, kind=Kind.ROLLBACK, generation=6, replaces=NEW)

    assert ids(rotated(OLD), in_use=(OLD,)) == []
    assert ids(rotated(OLD), back, in_use=(OLD,)) == [NEW]
    assert ids(rotated(OLD), back, rotated(OLD, NOW + 2 * DAY), in_use=(NEXT,)) == [NEW, OLD]


def test_what_a_change_in_flight_rests_on_is_in_use() -> None:
    """The certificate that is being replaced and the one that has just come are both spared."""
    history = [rotated(OLD), gave_up()]

    assert ids(*history, in_use=(NEW, OLD, make.issued().certificate_id)) == []


def test_given_up_by_a_person_is_given_up() -> None:
    """The class of the failure plays no part."""
    record = gave_up(failure=make.failure(FailureClass.OPERATOR, "given-up", decisive=True))

    assert ids(record, in_use=(OLD,)) == [make.issued().certificate_id]


def test_a_history_can_be_read_once_only() -> None:
    """An iterator does as well as a list."""
    assert len(outstanding(iter([rotated()]), iter([NEW]), GRACE)) == 1


CERTIFICATES = st.sampled_from(["aa" * 32, "bb" * 32, "cc" * 32, "dd" * 32])


@st.composite
def histories(draw: st.DrawFn) -> list[ChangeRecord]:
    """Return any finished changes over four certificates, some of them retired."""
    found = []
    for number in range(draw(st.integers(0, 8))):
        at = NOW + number * DAY
        phase = draw(st.sampled_from([Phase.COMMITTED, Phase.REJECTED, Phase.ROLLED_BACK]))
        if phase is Phase.COMMITTED:
            record = rotated(draw(CERTIFICATES), at)
        else:
            record = gave_up(
                phase, at, unanswered=draw(st.integers(0, 1)), passed=draw(st.just(REGISTERED) | st.just(()))
            )
        found.append(retired(record, at + GRACE) if draw(st.booleans()) else record)
    return found


@make.MANY
@given(history=histories(), in_use=st.sets(CERTIFICATES))
def test_whatever_happened_only_what_was_left_and_is_not_used_is_retired_and_once(
    history: list[ChangeRecord], in_use: set[str]
) -> None:
    """No certificate twice, none in use, none settled, none that no change left behind, and no other is forgotten."""
    found = [item.certificate_id for item in outstanding(history, in_use, GRACE)]
    left = {left_behind(record) for record in history} - {None}
    settled = {left_behind(record) for record in history if record.retired_at is not None}

    assert len(found) == len(set(found))
    assert set(found) == left - settled - in_use
    assert all(item.due >= NOW + GRACE for item in outstanding(history, in_use, GRACE))
    assert found == [item.certificate_id for item in sorted(outstanding(history, in_use, GRACE), key=lambda it: it.due)]


# -- changes of trust anchors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase.ended])
def test_a_change_of_trust_anchors_leaves_nothing_behind(phase: Phase) -> None:
    """Both generations have the same certificate, whichever of them is in use in the end."""
    record = make.finished(phase, kind=Kind.TRUST, replaces=OLD, issued=None)

    assert left_behind(record) is None
    assert ids(record) == []


def test_a_certificate_is_retired_once_however_often_its_anchors_changed() -> None:
    """A rotation replaced it, which is what counts; what was replaced before is still to be retired, too."""
    history = (
        rotated(OLD, NOW - 9 * DAY),
        make.finished(at=NOW - 8 * DAY, kind=Kind.TRUST, replaces=NEW),
        make.finished(Phase.REJECTED, NOW - 7 * DAY, kind=Kind.TRUST, replaces=NEW, issued=None),
        rotated(NEW, NOW - 6 * DAY),
    )

    assert ids(*history[:3]) == [OLD]
    assert ids(*history, in_use=(NEXT,)) == [OLD, NEW]


# -- what other programs may use still ---------------------------------------------------------------------------------

NGINX, BRIDGE, COPY, HOOK = "nginx.service", "bridge.service", "copy /etc/app/gateway.pem", "hook 10-app"
ALL = (COPY, HOOK, NGINX, BRIDGE)


def report(*steps: Step, generation: int = 7) -> Report:
    """Return how dependants stood when they were served last; all of them well, unless told otherwise."""
    known = {step.name: step for step in steps}
    whole = tuple(known.get(name, Step(name=name)) for name in ALL)
    return Report(at=NOW, generation=generation, set="ab" * 32, steps=whole)


def fails(name: str) -> Step:
    """Return the step of a dependant that does not use the set."""
    return Step(name=name, problem=f"{name} is failed after its restart.")


BEHIND: dict[str, tuple[tuple[str, ...], Report | None, tuple[str, ...]]] = {
    "none is configured": ((), None, ()),
    "none is configured any more": ((), report(fails(NGINX)), ()),
    "all use it": (ALL, report(), ()),
    "one does not": (ALL, report(fails(NGINX)), (NGINX,)),
    "some do not, in the order in which they are served": (ALL, report(fails(BRIDGE), fails(COPY)), (COPY, BRIDGE)),
    "nothing is known of them": (ALL, None, ALL),
    "they were never served this set": (ALL, report(generation=6), ALL),
    "they were served a set that was given up": (ALL, report(generation=8), ALL),
    "serving was begun and cut off": (ALL, replace(report(), steps=()), ALL),
    "one was never come to": ((*ALL, "new.service"), report(), ("new.service",)),
    "one that fails is not configured any more": ((COPY,), report(fails(NGINX)), (NGINX,)),
    "hooks that cannot be listed from here": ((HOOKS, NGINX), report(), ()),
    "hooks that cannot be listed from here, one of which fails": ((HOOKS, NGINX), report(fails(HOOK)), (HOOK,)),
    "hooks that root cannot list either": (
        (HOOKS,),
        Report(at=NOW, generation=7, set="", steps=(fails(HOOKS),)),
        (HOOKS,),
    ),
}


@pytest.mark.parametrize("case", BEHIND)
def test_who_is_not_known_to_use_the_current_set(case: str) -> None:
    """What is not known counts as not done: a certificate too many in the cloud costs less than a connection."""
    names, last, expected = BEHIND[case]

    assert behind(names, last, 7) == expected


def test_without_a_current_set_no_dependant_uses_it() -> None:
    """There is none that they could have been served."""
    assert behind(ALL, report(), None) == ALL


def waits(*history: ChangeRecord, behind: tuple[str, ...] = (NGINX,)) -> dict[str, tuple[str, ...]]:
    """Return what each certificate waits for that is to be retired."""
    found = outstanding(history, (NEXT,), GRACE)
    return {item.certificate_id: item.waits_for for item in waiting(found, history, behind)}


def test_a_replaced_certificate_waits_for_the_program_that_may_use_it() -> None:
    """And for nothing else once that uses the new one."""
    assert waits(rotated(OLD)) == {OLD: (NGINX,)}
    assert waits(rotated(OLD), behind=()) == {OLD: ()}


def test_a_program_may_be_more_than_one_set_behind() -> None:
    """Which of the older ones it uses is not known."""
    assert waits(rotated(OLD), rotated(NEW, NOW + DAY), behind=(NGINX, BRIDGE)) == dict.fromkeys(
        (OLD, NEW), (NGINX, BRIDGE)
    )


GIVEN_UP: list[tuple[ChangeRecord, bool]] = [
    (gave_up(Phase.REJECTED), False),
    (gave_up(Phase.ROLLED_BACK), True),
    (gave_up(Phase.REJECTED, passed=(*REGISTERED[:1], (Phase.ACTIVE, NOW))), True),
    (gave_up(Phase.REJECTED, failure=make.failure(FailureClass.STORE, Code.RECORD_DAMAGED)), True),
]


@pytest.mark.parametrize(("record", "given"), GIVEN_UP)
def test_only_what_was_in_use_was_given_to_other_programs(record: ChangeRecord, *, given: bool) -> None:
    """A set that was given up before it was used waits for none of them; where that is not known, it does."""
    assert waits(record) == {make.issued().certificate_id: (NGINX,) if given else ()}


def test_a_certificate_that_was_in_use_and_came_a_second_time_is_one_that_was_in_use() -> None:
    """By a rollback and a rotation, whatever the last line says."""
    history = (rotated(make.issued().certificate_id), gave_up(at=NOW + DAY))

    assert waits(*history) == {make.issued().certificate_id: (NGINX,)}


def test_what_is_spared_is_told_with_the_names() -> None:
    """And with what helps, or goes over it."""
    found = (
        Retirement(change="c-1", certificate_id=OLD, due=NOW),
        Retirement(change="c-2", certificate_id=NEW, due=NOW, waits_for=(NGINX,)),
        Retirement(change="c-3", certificate_id=NEXT, due=NOW, waits_for=(NGINX, COPY)),
    )
    told = spared(found)

    assert told is not None
    assert str(told) == (
        "Not retired: 020202020202, 030303030303, which other programs of this gateway may use still: "
        "nginx.service, copy /etc/app/gateway.pem."
    )
    assert "iot-cert retire --now" in told.hint
    assert "sudo iot-cert deploy" in told.hint
    assert spared(found[:1]) is None


def test_the_generation_that_a_program_took_up_last_is_known_from_what_went_on_without_it() -> None:
    """It is the one before the first of the changes in a row that went on without a dependant."""
    trouble = make.failure(FailureClass.DEPENDANT, "dependant")
    well = rotated(generation=5, base=4)
    without = [rotated(at=NOW + n * DAY, generation=5 + n, base=4 + n, degraded=trouble) for n in (1, 2, 3)]

    assert last_taken_up([]) is None
    assert last_taken_up([well]) is None
    assert last_taken_up([well, *without]) == 5
    assert last_taken_up([*without, gave_up(at=NOW + 5 * DAY)]) == 5
    assert last_taken_up([*without, rotated(at=NOW + 5 * DAY, generation=9, base=8)]) is None
    assert last_taken_up([rotated(kind=Kind.ENROLL, base=None, degraded=trouble)]) is None


# -- what the cloud says -----------------------------------------------------------------------------------------------

ANSWERS: list[tuple[Failure, bool]] = [
    (failures.no_reply("retire"), False),
    (failures.session_lost("x"), False),
    (failures.not_sent("x"), False),
    (failures.unreachable("x", 8883, "y"), False),
    (failures.garbled("retire", "no JSON"), False),
    (failures.declined("retire", 429, "later"), False),
    (failures.declined("retire", 500, "oops"), False),
    (failures.declined("retire", "InternalError", "oops"), False),
    (failures.not_authorised("ask for retire"), True),
    (failures.declined("retire", 403, "not yours"), True),
    (failures.declined("retire", 404, "there is none"), True),
    (failures.declined("retire", 409, "not itself"), True),
    (failures.declined("retire", "NotSo", "no"), True),
    (failures.declined("retire", None, ""), True),
]


@pytest.mark.parametrize(("failure", "refused"), ANSWERS, ids=lambda value: getattr(value, "code", None))
def test_only_a_policy_and_an_answer_refuse(failure: Failure, *, refused: bool) -> None:
    """That no answer came, none that can be read, or one that asks for patience, is no refusal."""
    assert is_refusal(failure) == refused


NEVER = replace(gave_up(unanswered=1), passed=((Phase.ISSUED, NOW), (Phase.REJECTED, NOW)))
ASSUMED = ((Phase.ISSUED, NOW), *REGISTERED)
DOUBTS: dict[str, tuple[list[ChangeRecord], bool]] = {
    "sent and never answered": ([NEVER], True),
    "taken for registered, and refused by the broker": ([replace(NEVER, passed=ASSUMED)], True),
    "the record was damaged": (
        [replace(NEVER, passed=(), failure=make.failure(FailureClass.STORE, Code.RECORD_DAMAGED))],
        True,
    ),
    "answered": ([replace(NEVER, passed=ASSUMED, unanswered=0)], False),
    "proven": ([replace(NEVER, passed=(*ASSUMED[:2], (Phase.PROVEN, NOW), ASSUMED[2]))], False),
    "it was in use": ([rotated(OLD)], False),
    "it was in use, by another change": ([rotated(make.issued().certificate_id), NEVER], False),
    "it was in use, says a damaged record": (
        [
            gave_up(
                replaces=OLD, issued=None, unanswered=1, failure=make.failure(FailureClass.STORE, Code.RECORD_DAMAGED)
            )
        ],
        False,
    ),
}
NONE_SUCH = failures.declined("retire", 403, "gw-0042 has no such certificate.")


@pytest.mark.parametrize("case", DOUBTS)
def test_only_what_may_never_have_been_registered_is_settled_by_a_refusal(case: str) -> None:
    """An answer to the registration, an accepted proof and a time in use say that it was."""
    history, doubtful = DOUBTS[case]
    (found,) = outstanding(history, [NEXT], GRACE)

    assert found.doubtful == doubtful
    assert never_registered(found, NONE_SUCH) == doubtful
    (waits,) = waiting([found], history, (NGINX,))
    assert waits.doubtful == doubtful


NO_PROOF = [
    *(failure for failure, _ in ANSWERS),
    failures.declined("retire", 403, "The certificate that asks is not an active one of gw-0042."),
    failures.declined("retire", 403, "gw-0042 was given to another device, which alone has its certificates retired."),
    failures.declined("retire", 429, "gw-0042 has no such certificate."),
    failures.declined("retire", 409, "gw-0042 has no such certificate."),
    failures.declined("retire", 500, "gw-0042 has no such certificate."),
    failures.garbled("retire", "gw-0042 has no such certificate"),
    failures.not_authorised("ask for retire", "It has no such certificate."),
]


@pytest.mark.parametrize("failure", NO_PROOF, ids=lambda failure: failure.message[:60])
def test_no_other_refusal_shows_that_it_was_never_registered(failure: Failure) -> None:
    """It may be active still: the person is told, and it is asked for again."""
    assert not never_registered(outstanding([NEVER], [OLD], GRACE)[0], failure)


def test_a_long_name_hides_no_answer() -> None:
    """Names have 128 characters at most, and a service's words are repeated up to a bound."""
    said = failures.declined("retire", 403, f"{'g' * 128} has no such certificate.")

    assert never_registered(outstanding([NEVER], [OLD], GRACE)[0], said)


# -- what is not asked for any more ------------------------------------------------------------------------------------


def dropped(record: ChangeRecord, at: datetime = NOW + 8 * DAY) -> ChangeRecord:
    """Return the record once a person does not want its certificate to be asked for any more."""
    return advance(record, Dropped(at=at))


@pytest.mark.parametrize("record", [rotated(), gave_up(), gave_up(Phase.ROLLED_BACK)], ids=lambda item: item.phase)
def test_what_was_dropped_is_settled_and_nothing_else_of_the_change_is_touched(record: ChangeRecord) -> None:
    """A change that succeeded has done so still, and is not said to have retired anything."""
    after = dropped(record)

    assert ids(after) == []
    assert (after.phase, after.retired_at, after.dropped_at) == (record.phase, None, NOW + 8 * DAY)
    assert left_behind(after) == left_behind(record)
    assert ids(retired(after)) == []  # an acceptance may have been under way


HISTORY = (rotated(OLD), rotated(NEW, NOW + DAY), gave_up(at=NOW + 2 * DAY))


@pytest.mark.parametrize("prefix", [OLD, OLD[:8], OLD[:40]])
def test_a_certificate_is_found_by_the_beginning_of_its_id(prefix: str) -> None:
    """What left it behind is what notes that it is dropped."""
    assert find_dropped(HISTORY, (NEXT,), prefix) is HISTORY[0]
    assert find_dropped((*HISTORY, rotated(OLD, NOW + 4 * DAY)), (NEXT,), prefix).entered_at == NOW + 4 * DAY


UNDROPPABLE = {
    "another's": ("ff" * 4, (NEXT,), "No change of this gateway left a certificate ffffffff behind."),
    "the one in use": (NEXT[:10], (NEXT,), "The certificate 0303030303 is in use and is not asked for anyway."),
    "one that is in use again": (OLD[:8], (OLD,), "The certificate 01010101 is in use and is not asked for anyway."),
}


@pytest.mark.parametrize("case", UNDROPPABLE)
def test_what_cannot_be_dropped_is_refused(case: str) -> None:
    """The refusal says what it is about, and where to look."""
    prefix, in_use, expected = UNDROPPABLE[case]
    with pytest.raises(RefusedError) as refusal:
        find_dropped(HISTORY, in_use, prefix)

    assert str(refusal.value) == expected
    assert "iot-cert status" in refusal.value.hint


def test_a_beginning_that_two_certificates_share_is_refused_with_both() -> None:
    """More digits tell them apart."""
    one, other = "abcdef01" + "1" * 56, "abcdef01" + "2" * 56
    history = (rotated(other), rotated(one, NOW + DAY))
    with pytest.raises(RefusedError, match=f"2 certificates begin with abcdef01: {one}, {other}"):
        find_dropped(history, (NEXT,), "abcdef01")

    assert find_dropped(history, (NEXT,), other[:9]) is history[0]


def test_what_is_settled_is_found_as_such() -> None:
    """Dropped twice, or retired before: either says so, whichever of two changes was settled."""
    assert dropped_already(HISTORY[0]) == ""
    assert dropped_already(find_dropped([dropped(rotated(OLD))], (), OLD)) == (
        f"was dropped at {clock_time(NOW + 8 * DAY)} already"
    )
    settled = retired(rotated(OLD))
    assert find_dropped([settled, rotated(OLD, NOW + DAY)], (), OLD) is settled
    assert dropped_already(settled) == f"was retired at {clock_time(NOW + 8 * DAY)}"


@pytest.mark.parametrize(("outage", "most"), [(0, 0), (60, 30), (21_600, 10_800), (86_400, 43_200), (10**7, 43_200)])
def test_what_came_due_in_an_outage_is_asked_for_within_half_of_it(outage: float, most: float) -> None:
    """So at twice the usual pace, and within half a day; the first gateway waits for nothing."""
    assert wait_after(outage, 0.0) == 0
    assert wait_after(outage, 0.5) == most / 2
    assert wait_after(outage, 1 - 2**-53) <= most
