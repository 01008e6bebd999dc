"""What can go wrong with a step, by class, and how a control connection turns a doubt into a verdict.

Rules:

* A failure is a value. It says what happened, what to do, and whether it is *decisive*.
* *Decisive* means a positive refusal of the new credential, or an old one that works where the new one does
  not. Nothing else may reject a prepared generation or roll one back: no network is not a refusal.
* AWS IoT Core hangs up without a reason on an inactive, revoked or unknown certificate
  (aws/aws-iot-device-sdk-cpp-v2#247), which looks just like a bad network. Only a control with another
  credential over the same path can tell them apart; `judge` is the one place where that is done.
"""

from __future__ import annotations

from dataclasses import field, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

from agent.core.failure.codes import Code, traits
from agent.core.frozen import frozen
from agent.core.text import printable, sentence_of
from agent.core.timekeeping import ClockState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.core.timekeeping import Reading


class FailureClass(StrEnum):
    """The class of a failure decides what the agent does next."""

    NETWORK = "network"  # wait, back off; the change is kept
    CLOCK = "clock"  # wait until the clock can be believed
    SERVER_TRUST = "server-trust"  # the endpoint is not who it should be; alarm, never connect unverified
    CREDENTIAL = "credential"  # refused while the control is accepted; reject or roll back
    POLICY = "policy"  # not authorised; retried while policies spread, then as credential
    THROTTLED = "throttled"  # back off; never a refusal
    STORE = "store"  # the disk; nothing is lost
    PROTOCOL = "protocol"  # a reply that cannot be accepted; ask again on a new connection
    DEPENDANT = "dependant"  # another program does not take the set up; tried again, then as configured
    OPERATOR = "operator"  # nothing failed: a person decided so


@frozen
class Failure:
    """One failure of one step.

    Attributes:
        kind: The class.
        code: A `Code`, or that of another version, which was read from a record.
        message: One sentence: what happened.
        remedy: One sentence: what a person can do. It stays true when the change has ended.
        promise: One sentence: what the agent does by itself next; empty where it does nothing more. What ends a change
            takes it away.
        decisive: Whether it may reject or roll back a generation.
    """

    kind: FailureClass
    code: Annotated[str, 64]
    message: Annotated[str, 4096]
    remedy: Annotated[str, 4096] = ""
    promise: Annotated[str, 4096] = field(default="", metadata={"later": True})
    decisive: bool = False

    def __post_init__(self) -> None:
        """Keep every failure small, printable and encodable, whatever worded it: it goes to disks and terminals."""
        for name, limit in (("code", 64), ("message", 2000), ("remedy", 1000), ("promise", 1000)):
            object.__setattr__(self, name, printable(getattr(self, name).encode(errors="replace").decode(), limit))

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"

    @property
    def advice(self) -> str:
        """What a person can do and what the agent does by itself, in one text."""
        return f"{self.remedy} {self.promise}".strip()

    @property
    def final(self) -> Failure:
        """The same as what ended a change, of which nothing is tried again."""
        return replace(self, promise="")


# The classes of what a broker says about the set itself, as opposed to the path, the clock or other programs.
OF_THE_SET = frozenset({FailureClass.CREDENTIAL, FailureClass.POLICY})
_PERHAPS_OF_THE_SET = OF_THE_SET | {FailureClass.SERVER_TRUST}

RETRIES = "The agent retries."


LOCKED_OUT_REMEDY = (
    "Activate a certificate of this gateway again in AWS IoT Core, put a claim certificate that is accepted in place, "
    "or bring a set with `iot-cert import --from DIR`."
)
# The same, where no certificate of the gateway's own was tried: there may never have been one.
NEVER_IN_REMEDY = (
    "Put a claim certificate in place that AWS IoT Core accepts, for which it has to be active there, or bring a set "
    "with `iot-cert import --from DIR`."
)
KEEPS_TRYING = "The agent goes on trying by itself."

SET_THE_CLOCK = "Check time synchronisation (`timedatectl`)."
WHEN_THE_CLOCK_IS_SET = "The agent goes on as soon as the clock is set."

_SO_IT_IS_THE_SET = "So it is this set that does not work."
# What to do about a set that is refused where another one is accepted, when what it met does not say so itself.
_AGAINST_THE_SET = {
    FailureClass.CREDENTIAL: "Look up its certificate in AWS IoT Core: it has to be active and within its dates, and "
    "its policy to let this gateway in.",
    FailureClass.SERVER_TRUST: "Add the root that the endpoint chains to; `iot-cert status` names it.",
}

# Seconds. Policies need six to eight minutes to take effect everywhere (AWS IoT Core developer guide,
# "AWS IoT Core policies"), so "not authorised" on a fresh certificate proves nothing for ten.
POLICY_PATIENCE = 600.0

# How long a process stays with a certificate that the disk does not take, however little patience it has otherwise.
HOLDING = timedelta(minutes=10)


@frozen
class Control:
    """What became of the control connection.

    Attributes:
        name: Who was tried, as a reader knows it: "the current set", "the claim certificate".
        failure: Why it failed, or None when it was accepted.
    """

    name: str
    failure: Failure | None = None

    @property
    def accepted(self) -> bool:
        """Whether the control got through."""
        return self.failure is None


def needs_control(failure: Failure) -> bool:
    """Whether a control connection could change the verdict on a candidate's failure."""
    return failure.kind in _PERHAPS_OF_THE_SET or (
        failure.kind is FailureClass.NETWORK and traits(failure.code).ambiguous
    )


def judge(failure: Failure, controls: Sequence[Control] = (), *, of_a_claim: bool = False) -> Failure:
    """Judge a candidate's failure in the light of controls.

    Args:
        failure: How the candidate failed.
        controls: What other credentials met on the same path at the same time; none when there is no other.
        of_a_claim: Whether the candidate is a claim certificate, and no certificate of this gateway's own.

    Returns:
        The failure with its final class. It is decisive only when a control was accepted. When every set on the gateway
        is turned away by a verified server, its code is `Code.LOCKED_OUT`.
    """
    if not needs_control(failure) or failure.decisive:  # some need no witness: key and certificate that do not match
        return failure
    if all(_turned_away(item) for item in (failure, *(control.failure for control in controls))):
        return _locked_out(failure, controls, of_a_claim=of_a_claim)
    control = next((item for item in controls if item.accepted), controls[-1] if controls else None)
    if control is None:
        if failure.kind is FailureClass.SERVER_TRUST:
            return failure
        # "Not authorised" is said by the broker itself; a hang-up or an alert may come from any peer.
        if failure.kind is FailureClass.POLICY:
            return replace(failure, decisive=True)
        message = f"{failure.message} There is no other certificate to compare with, so this is not taken as a refusal."
        return replace(failure, kind=_undecided(failure), decisive=False, message=message, promise=RETRIES)
    if control.accepted:
        return _refused(failure, control)
    same = control.failure is not None and control.failure.code == failure.code
    why = "meets the same" if same or control.failure is None else f"does not get through either ({control.failure})"
    return replace(
        failure,
        kind=_undecided(failure),
        decisive=False,
        message=f"{failure.message} {sentence_of(control.name)} {why}, so nothing speaks against this set.",
        promise=f"Nothing is rolled back. {RETRIES}",
    )


def _turned_away(failure: Failure | None) -> bool:
    if failure is None:
        return False
    return failure.kind is not FailureClass.POLICY and traits(failure.code).turned_away


def _locked_out(failure: Failure, controls: Sequence[Control], *, of_a_claim: bool) -> Failure:
    *others, last = [control.name for control in controls] or [""]
    names = sentence_of(f"{', '.join(others)} and {last}" if others else last)
    tried = "There is no other set on this gateway to compare with, so none is accepted now."
    if controls:
        tried = (
            f"{names} {'meets' if len(controls) == 1 else 'meet'} the same, so no set of this gateway is accepted now."
        )
    return replace(
        failure,
        kind=FailureClass.NETWORK,
        code=Code.LOCKED_OUT,
        decisive=False,
        message=f"{failure.message} {tried}",
        remedy=NEVER_IN_REMEDY if of_a_claim and not controls else LOCKED_OUT_REMEDY,
        promise=KEEPS_TRYING,
    )


def _undecided(failure: Failure) -> FailureClass:
    return FailureClass.NETWORK if failure.kind is FailureClass.CREDENTIAL else failure.kind


def _refused(failure: Failure, control: Control) -> Failure:
    kind = failure.kind
    if kind is FailureClass.NETWORK:
        kind = FailureClass.CREDENTIAL
    return replace(
        failure,
        kind=kind,
        decisive=True,
        message=f"{failure.message} {sentence_of(control.name)} is accepted over the same path. {_SO_IT_IS_THE_SET}",
        remedy=_AGAINST_THE_SET.get(kind, failure.remedy),
        promise="",
    )


def in_the_light_of(clock: Reading, failure: Failure) -> Failure:
    """Blame the clock, not the certificate, when the clock is not vouched for."""
    if not traits(failure.code).blames_the_clock or clock.state is ClockState.SYNCHRONISED:
        return failure
    return replace(
        failure,
        kind=FailureClass.CLOCK,
        decisive=False,
        message=f"{failure.message} The clock shows {clock.now:%Y-%m-%d %H:%M} UTC and is not synchronised.",
        remedy=SET_THE_CLOCK,
        promise=WHEN_THE_CLOCK_IS_SET,
    )
