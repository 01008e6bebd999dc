"""Retirements that other programs, the cloud's answers or an operator's word decide."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from agent.core.change.advance import advance
from agent.core.change.events import Dropped
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
from agent.errors import RefusedError
from support import make
from support.make import DAY, NOW
from support.unit.core.left_behind import GRACE, NEW, NEXT, OLD, REGISTERED, gave_up, ids, retired, rotated

if TYPE_CHECKING:
    from datetime import datetime

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
