"""What can happen to a change. Each event says what, and when; what it does to the record is in `advance`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.frozen import frozen

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from agent.core.change.lifecycle import Issued
    from agent.core.failure.failure import Failure


@frozen
class ChangeEvent:
    """Something that happened to a change, at a time."""

    at: datetime


class Resumed(ChangeEvent):
    """The agent started and found the change; whatever step was under way is unknown."""


class Hastened(ChangeEvent):
    """A person wants the step tried now, whatever delay a failure left behind."""


@frozen
class Doubted(ChangeEvent):
    """The daemon's session with the set on probation was lost or refused; see `probation_events.doubted`.

    Attributes:
        prove_at: From when the set is to be proven.
    """

    prove_at: datetime


@frozen
class Confirmed(ChangeEvent):
    """A person or program says that the activated set works.

    Attributes:
        early: Whether probation ends with it, after one more proof, instead of running its time.
    """

    early: bool = True


class KeyReady(ChangeEvent):
    """Key and request are durable."""


@frozen
class KeyLost(ChangeEvent):
    """The staged key is missing or damaged, so a certificate for it is worthless."""

    failure: Failure
    retry_at: datetime


@frozen
class RequestBegun(ChangeEvent):
    """A certificate is about to be asked for; this is durable before the request leaves.

    Attributes:
        problem: Why gates were not asked for it, or None.
    """

    problem: Failure | None = None


@frozen
class RequestFailed(ChangeEvent):
    """The request brought no usable certificate: lost, refused, or one that fails acceptance."""

    failure: Failure
    retry_at: datetime


@frozen
class CertificateIssued(ChangeEvent):
    """An acceptable certificate and its token are in hand.

    Attributes:
        issued: The certificate and its ownership token.
        anchor: SHA-256 of the trust anchor that the endpoint chained to, or empty.
    """

    issued: Issued
    anchor: str = ""


@frozen
class Registered(ChangeEvent):
    """The cloud registered the certificate, or may have: the proof decides.

    Attributes:
        thing_name: The thing.
        assumed: Whether the answer was lost.
    """

    thing_name: str
    assumed: bool = False


class TokenExpired(ChangeEvent):
    """The certificate was not registered within the token's life; the cloud has deleted it."""


class GenerationPrepared(ChangeEvent):
    """The generation is whole and durable on disk."""


@frozen
class Proven(ChangeEvent):
    """The prepared set connected and had an authorised request answered.

    Attributes:
        synchronised: Whether the clock was, so that `at` may serve as a floor for later clocks.
        anchor: SHA-256 of the trust anchor that the endpoint chained to, or empty.
    """

    synchronised: bool = False
    anchor: str = ""


@frozen
class Activated(ChangeEvent):
    """`current` points at the generation, durably.

    Attributes:
        problem: Why gates were not asked for it, or None.
    """

    problem: Failure | None = None


@frozen
class Deployed(ChangeEvent):
    """The dependants use the new set, as far as they can.

    Attributes:
        probation: How long it lasts, from now on.
        confirm: How long the word is waited for that the set works, or None where none is asked for.
        problem: What a dependant failed with that the change goes on without, or None.
    """

    probation: timedelta
    confirm: timedelta | None = None
    problem: Failure | None = None


class ProbationHeld(Proven):
    """The new set was proven again within probation."""


@frozen
class ProbationPassed(Proven):
    """The new set was proven again at the end of probation.

    Attributes:
        problem: What it is final without, such as the word that was asked for, or None.
    """

    problem: Failure | None = None


@frozen
class StepFailed(ChangeEvent):
    """A step failed in a way that ends nothing; it is tried again."""

    failure: Failure
    retry_at: datetime


@frozen
class Rejected(ChangeEvent):
    """The change ends where it is: it has activated nothing, or there is nothing whole to go back to."""

    failure: Failure


@frozen
class Condemned(ChangeEvent):
    """The activated set must be given up; the links have not moved yet."""

    failure: Failure


class RolledBack(ChangeEvent):
    """`current` points at the base generation again, durably."""


class Retired(ChangeEvent):
    """The cloud accepted the retirement of the certificate that was replaced, or of the new one that was given up."""


class Dropped(ChangeEvent):
    """What was left behind is not asked for any more: a person's word, or the cloud never registered it."""
