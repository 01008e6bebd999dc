"""What the engine needs from the world: small protocols, each with the errors that may come out of it.

An implementation MUST raise nothing but the errors named here. The adapters implement these against the real world,
the simulator against a cloud in memory.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

from agent.core.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from datetime import datetime

    from agent.core.change.lasting import Lasting
    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.change.progress import Progress
    from agent.core.dependants import Leave, Occasion, Report
    from agent.core.values import (
        Candidate,
        CertificateFacts,
        CredentialSet,
        Generation,
        Handmade,
        Manifest,
        Salvaged,
        TrustBundle,
    )


P = ParamSpec("P")
T = TypeVar("T")


class Clock(Protocol):
    """The wall clock and whether the system vouches for it."""

    def now(self) -> datetime:
        """Return the wall clock, UTC."""

    def synchronised(self) -> bool:
        """Whether the system says that its clock is synchronised."""


@frozen
class CreatedCertificate:
    """The reply to CreateCertificateFromCsr: nothing in it is trusted yet.

    Attributes:
        certificate_pem: One or more PEM blocks, as they came.
        certificate_id: The id, as it came.
        token: The ownership token; a secret.
    """

    certificate_pem: str = field(repr=False)
    certificate_id: str
    token: str = field(repr=False)


class Session(Protocol):
    """One MQTT connection, made with one candidate. Every method may raise CloudError, and only that.

    After a CloudError the session MUST NOT be used for another request: a late reply would be taken for the next one's.
    """

    @property
    def anchor(self) -> str:
        """SHA-256 of the trust anchor that the endpoint's chain ended in, or empty when it cannot be told."""

    def create_certificate(self, request_pem: bytes) -> CreatedCertificate:
        """Ask for a certificate (AWS: CreateCertificateFromCsr)."""

    def register_thing(self, template: str, token: str, parameters: Mapping[str, str]) -> str:
        """Register a certificate (AWS: RegisterThing) and return the thing's name."""

    def ask(self) -> None:
        """Have an authorised request answered, which proves more than a connection does."""

    def retire(self, certificate_id: str) -> None:
        """Ask the cloud to deactivate a certificate that this gateway has left behind."""

    def denied(self, topics: Iterable[str]) -> tuple[str, ...]:
        """Return those of the topics that this connection may not subscribe to."""

    def close(self) -> None:
        """End the connection cleanly; never raises."""


class CloudEndpoint(Protocol):
    """The endpoint."""

    def connect(self, candidate: Candidate) -> Session:
        """Connect with nothing but the candidate's own key, certificate and trust anchors.

        Raises:
            CloudError: There is no connection; the failure says why, as far as it can be known.
        """


class Materials(Protocol):
    """Keys, requests and certificates."""

    def new_key(self) -> bytes:
        """Make a private key of the configured kind and return it as PEM."""

    def request(self, key_pem: bytes, current_pem: bytes | None, fallback_name: str) -> bytes:
        """Return a certificate signing request as PEM.

        Raises:
            MaterialError: The key or the configured subject cannot be used.
        """

    def public_key_sha256(self, key_pem: bytes) -> str:
        """Return the SHA-256 of the key's public part.

        Raises:
            MaterialError: The key cannot be used.
        """

    def read_chain(self, pem: bytes) -> tuple[tuple[CertificateFacts, ...], bytes]:
        """Return the facts of a chain and its canonical PEM.

        Raises:
            MaterialError: A block cannot be parsed, or there is none.
        """

    def credential_set(self, key_pem: bytes, certificate_pem: bytes) -> CredentialSet:
        """Return key and chain as one.

        Raises:
            MaterialError: They do not belong together.
        """


class Deployment(Protocol):
    """The gateway's other programs that use the set."""

    def take_up(self, occasion: Occasion) -> None:
        """Have them use the current set, and return when they do; what they use already is left alone.

        Raises:
            CloudError: One of them does not; the failure is decisive when its owner wants to go back for that.
        """


class Gates(Protocol):
    """The operator's executables that are asked before a step of a change."""

    def ask(self, leave: Leave) -> Report:
        """Return what they say, each as a step of the report; may raise AgentError."""


class Confirmations(Protocol):
    """Where the gateway's own application says that it works with a new set. Its methods may raise StoreError alone."""

    def expect(self) -> None:
        """Get ready for the word on a set that is about to be used: nothing said before counts for it."""

    def given(self, generation: int) -> bool:
        """Whether the word on a generation has come."""


@frozen
class Recovery:
    """What the store's recovery found and did.

    Attributes:
        change: The change in flight, or None.
        notes: What was put right or is wrong, a sentence each; empty after a clean stop.
    """

    change: ChangeRecord | None
    notes: tuple[str, ...]


class Room(Protocol):
    """The room that the store finds. Every method may raise StoreError and its kinds, and only those."""

    def preflight(self, *, back: bool = False) -> None:
        """Prove that there is room, of which a change that leads `back` needs less, and that files can be written."""

    def on_reserve(self, tell: Callable[[str], object], step: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Take a step that leads back; when it finds no room, give up what is set aside for it and try once more."""

    def keep_reserve(self) -> None:
        """Set room aside for steps that lead back, unless that is done or there is too little."""


class OtherSets(Protocol):
    """The sets besides the one in use. Every method may raise StoreError and its kinds, and only those."""

    def holds(self, number: int) -> bool:
        """Whether a generation was written, be it whole or not."""

    def fallbacks(self, excluded: int) -> tuple[int, ...]:
        """Return the whole generations that were proven once, best first, without one."""

    def handmade(self) -> Handmade | None:
        """Return a key and certificate that were put into the set in use by hand and were not turned down before."""

    def salvage(self) -> tuple[Salvaged, ...]:
        """Return what can be saved from generations that are damaged, or that the links do not stand for."""

    def damaged_trusts(self, after: int) -> tuple[TrustBundle, ...]:
        """Return the anchors of damaged generations that were final and came after one, as written, newest first."""


class RetiredKeys(Protocol):
    """The keys of certificates that were retired."""

    def destroy(self, retired: Collection[str], spared: Collection[int] = ()) -> None:
        """Destroy those of certificates that neither the current set nor a spared one has; may raise StoreError."""


class Store(Protocol):
    """The state directory. Every method may raise StoreError and its kinds, and only those."""

    @property
    def room(self) -> Room:
        """The room on its file system."""

    @property
    def others(self) -> OtherSets:
        """The sets besides the one in use."""

    @property
    def retired_keys(self) -> RetiredKeys:
        """The keys of certificates that were retired."""

    def recover(self, now: datetime) -> Recovery:
        """Bring the store into a sound state; the time is for what has to be dated."""

    def current(self) -> int | None:
        """Return the current generation's number."""

    def previous(self) -> int | None:
        """Return the previous generation's number."""

    def generation(self, number: int) -> Generation:
        """Return a whole generation; DamagedError when it is not."""

    def history(self) -> tuple[ChangeRecord, ...]:
        """Return the finished changes, oldest first."""

    def floors(self) -> tuple[datetime, ...]:
        """Return instants that certainly lie in the past."""

    def next_number(self) -> int:
        """Return the next generation's number."""

    def save_change(self, record: ChangeRecord, needed: Lasting) -> None:
        """Make the record as durable as the next step needs it to be; a change that held goes to the history."""

    def stage_key(self, number: int, key_pem: bytes) -> None:
        """Make a new key durable."""

    def staged_key(self, number: int) -> bytes:
        """Return the staged key; DamagedError when it cannot be used."""

    def prepare(self, manifest: Manifest, content: CredentialSet, trust: TrustBundle) -> None:
        """Write a generation whole."""

    def activate(self, number: int) -> None:
        """Point `current` at a generation, `previous` at the one before."""

    def roll_back(self, number: int, condemned: int) -> None:
        """Point `current` back from a condemned generation."""

    def finish(self, record: ChangeRecord) -> None:
        """Write the outcome to the history and clear the change away."""

    def amend(self, record: ChangeRecord) -> None:
        """Add what became known of a finished change."""

    def prune(self, keep: int, held: frozenset[int]) -> None:
        """Erase old generations, but none that is held."""


class Reporter(Protocol):
    """What follows the engine: a terminal, the journal, a test."""

    def report(self, progress: Progress) -> None:
        """Take note of it; never raises."""
