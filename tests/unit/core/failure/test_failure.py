from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.failure.codes import Code
from agent.core.failure.failure import (
    LOCKED_OUT_REMEDY,
    NEVER_IN_REMEDY,
    POLICY_PATIENCE,
    Control,
    Failure,
    FailureClass,
    in_the_light_of,
    judge,
    needs_control,
)
from agent.core.timekeeping import ClockState
from support import make

AMBIGUOUS = make.codes("ambiguous")
TIME_CODES = make.codes("blames_the_clock")
TURNED_AWAY = make.codes("turned_away")

F = FailureClass
ACCEPTED = Control(name="the current set")
FAILED = Control(name="the current set", failure=make.failure(code="hung-up"))

AMBIGUOUS_CODES = sorted(AMBIGUOUS)
# Lone surrogates included; short enough for any of a failure's texts.
ANY_TEXT = st.text(st.characters(), max_size=60)


def among(control: Control | None) -> list[Control]:
    """Return the controls that there are."""
    return [control] if control else []


# What judging must come to: a class, and whether the failure is decisive.
Verdict = tuple[FailureClass, str]

# (class, code) → verdict without a control, with an accepted one, with one that failed too.
TABLE: dict[tuple[FailureClass, str], tuple[Verdict, Verdict, Verdict]] = {
    **{
        (F.NETWORK, code): ((F.NETWORK, "in doubt"), (F.CREDENTIAL, "decisive"), (F.NETWORK, "in doubt"))
        for code in AMBIGUOUS_CODES
    },
    **{
        (F.CREDENTIAL, code): ((F.NETWORK, "in doubt"), (F.CREDENTIAL, "decisive"), (F.NETWORK, "in doubt"))
        for code in ("not-authorised", *AMBIGUOUS_CODES)
    },
    (F.POLICY, "not-authorised"): ((F.POLICY, "decisive"), (F.POLICY, "decisive"), (F.POLICY, "in doubt")),
    (F.SERVER_TRUST, "unknown-issuer"): (
        (F.SERVER_TRUST, "in doubt"),
        (F.SERVER_TRUST, "decisive"),
        (F.SERVER_TRUST, "in doubt"),
    ),
    **{
        (kind, code): ((kind, "in doubt"),) * 3
        for kind in (F.CLOCK, F.THROTTLED, F.STORE, F.PROTOCOL)
        for code in ("other", *AMBIGUOUS_CODES)
    },
    **{(F.NETWORK, code): ((F.NETWORK, "in doubt"),) * 3 for code in ("timeout", "dns", "refused")},
}
CASES = [
    pytest.param(kind, code, control, verdict, id=f"{kind}-{code}-{name}")
    for (kind, code), verdicts in TABLE.items()
    for name, control, verdict in zip(
        ("no control", "control accepted", "control failed"), (None, ACCEPTED, FAILED), verdicts, strict=True
    )
]


@pytest.mark.parametrize(("kind", "code", "control", "verdict"), CASES)
def test_a_control_turns_a_doubt_into_a_verdict(
    kind: FailureClass, code: str, control: Control | None, verdict: Verdict
) -> None:
    """Class and decisiveness follow from class, code and control alone, as the table says."""
    judged = judge(make.failure(kind, code), among(control))

    assert (judged.kind, "decisive" if judged.decisive else "in doubt") == verdict
    turned_away = code in TURNED_AWAY and kind in {F.NETWORK, F.CREDENTIAL} and control is not ACCEPTED
    assert judged.code == (Code.LOCKED_OUT if turned_away else code)


@pytest.mark.parametrize(("kind", "code"), TABLE)
@pytest.mark.parametrize("control", [None, FAILED], ids=["no control", "control failed"])
def test_nothing_but_the_brokers_own_word_decides_without_an_accepted_control(
    kind: FailureClass, code: str, control: Control | None
) -> None:
    """No network is not a refusal: without a control that works, at most "not authorised" is decisive."""
    judged = judge(make.failure(kind, code), among(control))

    assert not judged.decisive or (judged.kind is F.POLICY and control is None)


@pytest.mark.parametrize(("kind", "code"), TABLE)
def test_a_control_is_needed_exactly_where_it_can_change_the_verdict(kind: FailureClass, code: str) -> None:
    """Where no control is needed, the failure comes back unchanged whatever the control met."""
    failure = make.failure(kind, code)
    unchanged = all(judge(failure, among(control)) == failure for control in (None, ACCEPTED, FAILED))

    assert needs_control(failure) != unchanged


@pytest.mark.parametrize(
    ("kind", "code"), [*TABLE, (F.CREDENTIAL, "tls-context")], ids=lambda value: str(value).replace("_", "-")
)
@pytest.mark.parametrize("control", [None, ACCEPTED, FAILED], ids=["no control", "control accepted", "control failed"])
def test_what_is_decisive_by_itself_needs_no_witness(kind: FailureClass, code: str, control: Control | None) -> None:
    """Key and certificate that do not match cannot work on any path, so no control acquits or convicts them."""
    failure = make.failure(kind, code, decisive=True)

    assert judge(failure, among(control)) == failure


def test_a_verdict_says_what_the_control_met() -> None:
    """A judged failure names the control as a sentence after what happened to the candidate."""
    failure = make.failure(code="hung-up", message="The broker hung up.")

    assert judge(failure, [ACCEPTED]).message == (
        "The broker hung up. The current set is accepted over the same path. So it is this set that does not work."
    )
    silent = make.failure(code="connack-timeout", message="No answer.")
    assert judge(silent, [Control(name="the claim certificate", failure=silent)]).message == (
        "No answer. The claim certificate meets the same, so nothing speaks against this set."
    )
    assert "compare" in judge(silent, []).message


@pytest.mark.parametrize("kind", [F.CREDENTIAL, F.NETWORK, F.POLICY, F.SERVER_TRUST])
@pytest.mark.parametrize("controls", [[], [ACCEPTED], [Control(name="the claim", failure=make.failure(code="dns"))]])
def test_a_verdict_leaves_something_to_do_under_its_remedy(kind: FailureClass, controls: list[Control]) -> None:
    """A conclusion stands in what happened; what a person can do about a policy or a server stays what it was."""
    met = make.failure(kind, "tls-failed", message="It failed.", remedy="Look at the policy.")
    judged = judge(met, controls)

    kept = controls != [ACCEPTED] or kind is F.POLICY
    assert (judged.remedy == "Look at the policy.") == kept
    assert judged.remedy.startswith(("Look ", "Add "))
    assert ("So it is this set" in judged.message) == (controls == [ACCEPTED])


def test_one_accepted_control_is_enough() -> None:
    """The verdict rests on the set that got through, however many did not."""
    judged = judge(make.failure(code="hung-up", message="The broker hung up."), [FAILED, FAILED, ACCEPTED])

    assert judged.decisive
    assert judged.message.startswith("The broker hung up. The current set is accepted over the same path.")


def test_when_every_set_is_turned_away_the_gateway_is_locked_out() -> None:
    """A server that was verified and hangs up on each set leaves nothing that the agent could use: it says so."""
    claim = Control(name="the claim certificate", failure=make.failure(F.CREDENTIAL, "tls-alert"))
    judged = judge(make.failure(code="hung-up", message="The broker hung up."), [FAILED, claim])

    assert (judged.kind, judged.code, judged.decisive) == (F.NETWORK, Code.LOCKED_OUT, False)
    assert judged.message == (
        "The broker hung up. The current set and the claim certificate meet the same, so no set of this gateway is "
        "accepted now."
    )
    assert judged.remedy == LOCKED_OUT_REMEDY


@pytest.mark.parametrize(("controls", "said"), [([], NEVER_IN_REMEDY), ([FAILED], LOCKED_OUT_REMEDY)])
def test_a_claim_that_is_refused_alone_asks_for_no_certificate_of_the_gateway(
    controls: list[Control], said: str
) -> None:
    """There may never have been one; a set of its own that was tried beside it can be activated again."""
    judged = judge(make.failure(code="hung-up"), controls, of_a_claim=True)

    assert (judged.code, judged.remedy) == (Code.LOCKED_OUT, said)


@pytest.mark.parametrize(
    "other", [make.failure(code="dns"), make.failure(code="connack-timeout"), make.failure(F.CLOCK)]
)
def test_a_set_that_never_got_to_the_server_leaves_the_question_open(other: Failure) -> None:
    """One of the sets was not turned away, so it is not known that all are."""
    judged = judge(make.failure(code="hung-up"), [FAILED, Control(name="the claim certificate", failure=other)])

    assert judged.code == "hung-up"
    assert judged.kind is F.NETWORK


def test_a_control_that_fails_in_another_way_does_not_meet_the_same() -> None:
    """What the control met is told when it is not what the candidate met."""
    failure = make.failure(code="hung-up", message="The broker hung up.")
    control = Control(name="the claim certificate", failure=make.failure(code="dns", message="No such name."))

    assert judge(failure, [control]).message == (
        "The broker hung up. The claim certificate does not get through either (network: No such name.), "
        "so nothing speaks against this set."
    )


def test_a_control_is_accepted_when_it_has_no_failure() -> None:
    """A control without a failure got through, one with a failure did not."""
    assert ACCEPTED.accepted
    assert not FAILED.accepted


@pytest.mark.parametrize("code", sorted(TIME_CODES))
@pytest.mark.parametrize("state", [ClockState.UNSYNCHRONISED, ClockState.IMPLAUSIBLE])
@pytest.mark.parametrize("decisive", [True, False])
def test_an_unsynchronised_clock_takes_the_blame(code: str, state: ClockState, *, decisive: bool) -> None:
    """An expired or early server certificate under an unsynchronised clock is the clock's fault and decides nothing."""
    failure = in_the_light_of(make.reading(state=state), make.failure(F.SERVER_TRUST, code, decisive=decisive))

    assert failure.kind is F.CLOCK
    assert failure.code == code
    assert "2027-03-01 12:00 UTC" in failure.message
    assert "timedatectl" in failure.remedy
    assert not failure.decisive


@pytest.mark.parametrize("code", sorted(TIME_CODES))
def test_a_synchronised_clock_takes_no_blame(code: str) -> None:
    """When the clock is vouched for, the server's certificate is what it seems."""
    failure = make.failure(F.SERVER_TRUST, code)

    assert in_the_light_of(make.reading(), failure) == failure


@pytest.mark.parametrize("code", ["unknown-issuer", "hung-up", "timeout"])
@pytest.mark.parametrize("state", ClockState)
def test_no_clock_explains_what_has_nothing_to_do_with_time(code: str, state: ClockState) -> None:
    """A failure that does not depend on the time is left as it is."""
    failure = make.failure(F.SERVER_TRUST, code)

    assert in_the_light_of(make.reading(state=state), failure) == failure


def test_a_failure_reads_as_class_and_sentence() -> None:
    """Printed, a failure is its class and what happened."""
    assert str(make.failure(F.SERVER_TRUST, message="No name matches.")) == "server-trust: No name matches."


def test_policies_get_the_time_that_aws_says_they_need() -> None:
    """The patience for "not authorised" is more than the eight minutes that AWS names."""
    assert POLICY_PATIENCE >= 10 * 60


@make.FEW
@given(code=ANY_TEXT, message=ANY_TEXT, remedy=ANY_TEXT)
def test_a_failure_can_always_be_written(code: str, message: str, remedy: str) -> None:
    """Lone surrogates, which no file can hold, and what no terminal should be told are replaced; the rest stays."""
    failure = Failure(kind=F.STORE, code=code, message=message, remedy=remedy)

    for kept, said in ((failure.code, code), (failure.message, message), (failure.remedy, remedy)):
        assert kept.isprintable()
        assert kept == "".join(_shown(char) for char in said)


def _shown(char: str) -> str:
    if "\ud800" <= char <= "\udfff":
        return "?"
    return char if char.isprintable() else " "


def test_a_failure_cannot_draw_on_a_terminal_or_forge_a_line() -> None:
    """Escape sequences, line breaks, zero bytes and marks that turn the reading direction become spaces."""
    said = "a\x1b[2Jb\nc\rd\x00e\u202ef\u2028g\x85h\tä😀."
    failure = Failure(kind=F.STORE, code=said, message=said, remedy=said, promise=said)

    for kept in (failure.code, failure.message, failure.remedy, failure.promise):
        assert kept == "a [2Jb c d e f g h ä😀."


def test_a_failure_is_clipped_to_what_a_record_can_hold() -> None:
    """A text of any length is cut, and one that just fits is not."""
    failure = Failure(kind=F.STORE, code="c" * 65, message="m" * 2001, remedy="\ud800" * 10**5)
    fits = Failure(kind=F.STORE, code="c" * 64, message="m" * 2000, remedy="r" * 1000)

    assert (failure.code, failure.message, failure.remedy) == ("c" * 64, "m" * 2000, "?" * 1000)
    assert (fits.code, fits.message, fits.remedy) == ("c" * 64, "m" * 2000, "r" * 1000)


def test_a_judged_failure_is_clipped_like_any_other() -> None:
    """What is added to a message that is full already does not make it longer."""
    judged = judge(make.failure(code="hung-up", message="m" * 2000), [ACCEPTED])

    assert judged.message == "m" * 2000
    assert judged.decisive
