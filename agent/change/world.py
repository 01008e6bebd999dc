"""What the engine is given: what the operator wants, and the ports to the world."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from agent.core import timekeeping
from agent.core.change.decide import Limits
from agent.core.change.lifecycle import good_times
from agent.core.frozen import frozen
from agent.core.when.renewal import RenewalPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from agent.core.dependants import Occasion
    from agent.core.values import Candidate, CertificateFacts, TrustBundle, User
    from agent.ports import Clock, CloudEndpoint, Confirmations, Deployment, Gates, Materials, Reporter, Session, Store


@frozen
class Provisioning:
    """How certificates are registered.

    Attributes:
        template: The fleet provisioning template.
        parameters: Returns what it is given; raises MaterialError. Asked when a certificate is, and never before: what
            this needs must not stand in the way of going back, of a repair or of a look.
    """

    template: str
    parameters: Callable[[], Mapping[str, str]] = dict


@frozen
class Vending:
    """The vending machine that a gateway enrols with.

    Attributes:
        connect: Returns a session over which a certificate is bought, for an endpoint that some anchors are to verify;
            raises CloudError, and MaterialError where the token or an authority cannot be used.
        laid: Returns when the token's file was touched last, or None where there is none.
        spend: Removes the token's file, whose certificate is in use for good, and returns its path; None where there is
            none. Raises StoreError; what is in it is overwritten then, if that can be.
        readmit: What the operator runs for another token, in backticks.
    """

    connect: Callable[[TrustBundle], Session]
    laid: Callable[[], datetime | None]
    spend: Callable[[], str | None]
    readmit: str


@frozen
class Settings:
    """What the operator configured, as far as the engine is concerned.

    Attributes:
        enrollment: For the first certificate; None when this gateway is never to enrol itself.
        rotation: For the next ones.
        client_id: The MQTT client id for a thing name.
        claim: Returns what to connect with, by some anchors, before there is a certificate; raises MaterialError or
            RefusedError.
        vending: What is asked in place of a claim certificate's session; None where a gateway enrols by a claim.
        anchors: Returns the trust anchors of a first generation; raises MaterialError.
        thing_name: The thing this gateway is meant to be, or None to take the cloud's word.
        limits: Patience and budgets.
        renewal: When certificates are renewed, and when that is an emergency.
        keep: How many generations to keep besides current and previous.
        retire: Whether the cloud is asked to deactivate certificates that were left behind.
        made_with: Returns what a set with this private key (PEM) is made with, see `agent.core.change.made_with`.
        distrust: Returns why a trust anchor is distrusted, as a clause, or an empty text.
    """

    enrollment: Provisioning | None
    rotation: Provisioning
    client_id: Callable[[str], str]
    claim: Callable[[TrustBundle], Candidate]
    anchors: Callable[[], TrustBundle]
    vending: Vending | None = None
    thing_name: str | None = None
    limits: Limits = field(default_factory=Limits)
    renewal: RenewalPolicy = field(default_factory=RenewalPolicy)
    keep: int = 3
    retire: bool = True
    made_with: Callable[[bytes], Mapping[str, str]] = lambda _: {}
    distrust: Callable[[CertificateFacts], str] = lambda _: ""


class NoDependants:
    """The dependants of a gateway on which no other program needs to be told."""

    def take_up(self, occasion: Occasion) -> None:
        """See `agent.ports.Deployment`."""


class NoConfirmations:
    """A gateway whose application says nothing."""

    def expect(self) -> None:
        """See `agent.ports.Confirmations`."""

    def given(self, _generation: int) -> bool:
        """See `agent.ports.Confirmations`."""
        return False


@frozen
class World:
    """The ports, chance, and the user whose order this process carries out, if it is a user's.

    Where there are no gates, none is asked.
    """

    clock: Clock
    store: Store
    cloud: CloudEndpoint
    materials: Materials
    reporter: Reporter
    chance: Callable[[], float]
    new_id: Callable[[], str]
    dependants: Deployment = field(default_factory=NoDependants)
    confirmations: Confirmations = field(default_factory=NoConfirmations)
    gates: Gates | None = None
    asked_by: User | None = None

    def reading(self) -> timekeeping.Reading:
        """Return a reading of the clock, judged by all that is known to lie in the past.

        Raises:
            StoreError: The store cannot be read.
        """
        return read_clock(self.clock, self.store)


def read_clock(clock: Clock, store: Store) -> timekeeping.Reading:
    """Return a reading of a clock, judged by all that a store knows to lie in the past.

    Raises:
        StoreError: The store cannot be read.
    """
    return timekeeping.read(
        clock.now(), synchronised=clock.synchronised(), floors=store.floors(), notes=good_times(store.history())
    )
