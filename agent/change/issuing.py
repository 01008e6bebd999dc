"""The actions that get a certificate: the key, the request, the registration, and the generation that is written.

How each is done. When, is `agent.core.change.decide`'s to say; what a failure means, `agent.core.change.giving_up`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.change import leave
from agent.core.change import acceptance, decide, events, made_with
from agent.core.change.lifecycle import Issued
from agent.core.dependants import Leave
from agent.core.failure import registration_failures
from agent.core.failure.codes import Code
from agent.core.failure.failure import Failure, FailureClass
from agent.core.values import FALLBACK_NAME, Kind, Manifest
from agent.errors import CloudError, DamagedError, MaterialError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.change.in_flight import InFlight
    from agent.change.sets import Sets
    from agent.change.source import SourceSession
    from agent.change.world import Provisioning, Settings, World
    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.values import CertificateFacts, Generation, TrustBundle
    from agent.ports import CreatedCertificate

ACTIONS = (
    decide.GenerateKey
    | decide.BeginRequest
    | decide.RequestCertificate
    | decide.RegisterThing
    | decide.AssumeRegistered
    | decide.DropCertificate
    | decide.PrepareGeneration
)


class Issuing:
    """Performs them, one at a time."""

    def __init__(
        self, world: World, settings: Settings, sets: Sets, source: SourceSession, in_flight: InFlight
    ) -> None:
        self._world = world
        self._settings = settings
        self._sets = sets
        self._source = source
        self._write, self._tell = in_flight.write, in_flight.tell

    def perform(self, action: decide.Action, record: ChangeRecord, facts: decide.Facts) -> events.ChangeEvent:
        """Perform one of `ACTIONS` and return what happened.

        Raises:
            AgentError: It failed.
        """
        match action:
            case decide.GenerateKey():
                return self._generate_key(record)
            case decide.BeginRequest():
                return self._begin_request(record)
            case decide.RequestCertificate():
                return self._request(record, facts)
            case decide.RegisterThing():
                return self._register(record, facts)
            case decide.AssumeRegistered(thing_name=thing_name):
                return events.Registered(at=facts.clock.now, thing_name=thing_name, assumed=True)
            case decide.DropCertificate():
                return events.TokenExpired(at=facts.clock.now)
            case decide.PrepareGeneration():
                return self._prepare(record)
            case _:
                raise RuntimeError(f"{type(action).__name__} gets no certificate")

    def _generate_key(self, record: ChangeRecord) -> events.ChangeEvent:
        self._write(record, self._world.store.room.preflight, back=record.leads_back)
        key_pem = self._world.materials.new_key()
        self._request_for(record, key_pem)  # a subject that cannot be asked for is found out before a key is kept
        self._write(record, self._world.store.stage_key, record.generation, key_pem)
        return events.KeyReady(at=self._world.clock.now())

    def _request_for(self, record: ChangeRecord, key_pem: bytes) -> bytes:
        """Return the request for a key, which is made when it is sent: it says nothing that the key does not prove."""
        current = self._sets.whole(record.base)
        thing = current.manifest.thing_name if current else self._settings.thing_name
        current_pem = current.credential.certificate_pem if current else None
        return self._world.materials.request(key_pem, current_pem, thing or FALLBACK_NAME)

    def _begin_request(self, record: ChangeRecord) -> events.ChangeEvent:
        """Connect before the request is counted: a connection that fails has asked for nothing.

        And have what the registration takes: a certificate that cannot be registered is worth nothing.
        """
        self._staged_key(record)
        self._provisioning(record).parameters()
        without = leave.have(Leave.REQUEST, record, self._world, self._settings, self._sets, self._tell)
        self._source.connected(record)
        return events.RequestBegun(at=self._world.clock.now(), problem=without)

    def _staged_key(self, record: ChangeRecord) -> bytes:
        try:
            return self._world.store.staged_key(record.generation)
        except DamagedError as error:
            promise = "A certificate for it would be worthless; another key is made."
            failure = Failure(kind=FailureClass.STORE, code=Code.KEY_LOST, message=str(error), promise=promise)
            raise CloudError(failure) from error

    def _request(self, record: ChangeRecord, facts: decide.Facts) -> events.ChangeEvent:
        key_pem = self._staged_key(record)
        request_pem = self._request_for(record, key_pem)
        session = self._source.connected(record)
        created = session.create_certificate(request_pem)
        leaf, canonical = self._accepted(created, key_pem, self._known_certificates(), facts)
        now = self._world.clock.now()
        return events.CertificateIssued(
            at=now,
            anchor=session.anchor,
            issued=Issued(
                certificate_pem=canonical,
                certificate_id=leaf.sha256,
                token=created.token,
                at=now,
            ),
        )

    def _accepted(
        self, created: CreatedCertificate, key_pem: bytes, known: frozenset[str], facts: decide.Facts
    ) -> tuple[CertificateFacts, str]:
        """Return the leaf that came and its chain in canonical form, once they have passed acceptance.

        Args:
            created: What came.
            key_pem: The key that it was asked for with.
            known: The ids of the certificates that this gateway has already.
            facts: The clock above all.

        Raises:
            CloudError: It is not acceptable.
        """
        pem = created.certificate_pem
        chain: tuple[CertificateFacts, ...] = ()
        canonical, problem = b"", ""
        try:
            if len(pem) <= acceptance.MAX_CERTIFICATE_PEM:
                chain, canonical = self._world.materials.read_chain(pem.encode())
        except MaterialError as error:
            problem = str(error)
        issuance = acceptance.Issuance(
            size=len(pem),
            chain=chain,
            problem=problem,
            claimed_id=created.certificate_id,
            token_size=len(created.token),
            key_sha256=self._world.materials.public_key_sha256(key_pem),
            known=known,
        )
        failure, warnings = acceptance.accept(issuance, facts.clock)
        if failure is not None:
            raise CloudError(failure)
        for warning in warnings:
            self._tell("note", warning)
        return chain[0], canonical.decode()

    def _known_certificates(self) -> frozenset[str]:
        found = (self._sets.usable(), self._sets.previous())
        return frozenset(generation.credential.leaf.sha256 for generation in found if generation)

    def _register(self, record: ChangeRecord, facts: decide.Facts) -> events.ChangeEvent:
        issued = record.issued
        if issued is None:
            raise RuntimeError("there is no certificate to register")
        session = self._source.connected(record)
        provisioning = self._provisioning(record)
        parameters = self._parameters(record, facts)
        try:
            thing_name = session.register_thing(provisioning.template, issued.token, parameters)
        except CloudError as error:
            failure = registration_failures.told(error.failure, record.kind, provisioning.template, parameters)
            raise CloudError(failure) from error
        if facts.expected_thing is not None and thing_name != facts.expected_thing:
            raise CloudError(_wrong_thing(thing_name, facts.expected_thing))
        return events.Registered(at=self._world.clock.now(), thing_name=thing_name)

    def _provisioning(self, record: ChangeRecord) -> Provisioning:
        if record.kind is Kind.ENROLL and self._settings.enrollment is not None:
            return self._settings.enrollment
        return self._settings.rotation

    def _parameters(self, record: ChangeRecord, facts: decide.Facts) -> Mapping[str, str]:
        parameters = dict(self._provisioning(record).parameters())
        if record.kind is Kind.ROTATE and facts.expected_thing is not None:
            parameters.setdefault("ThingName", facts.expected_thing)
        return parameters

    def _prepare(self, record: ChangeRecord) -> events.ChangeEvent:
        """Write the generation. A staged key that is gone makes the certificate worthless."""
        self._source.close()
        if record.issued is None or record.thing_name is None:
            raise RuntimeError("there is no registered certificate to prepare")
        now = self._world.clock.now()
        made = self._sets.whole(record.generation)
        if made is not None:  # before the record could say so; whether its name is durable is not known, so once more
            self._write(record, self._world.store.prepare, made.manifest, made.credential, made.trust)
            return events.GenerationPrepared(at=now)
        if self._world.store.others.holds(record.generation):
            raise DamagedError(f"Generation {record.generation} was written and is damaged.")
        key_pem = self._staged_key(record)
        content = self._world.materials.credential_set(key_pem, record.issued.certificate_pem.encode())
        base = self._sets.whole(record.base)
        manifest = Manifest(
            number=record.generation,
            kind=record.kind,
            change=record.id,
            origin=record.origin,
            thing_name=record.thing_name,
            created_at=now,
            made_with=made_with.kept(self._settings.made_with(key_pem), record.kind),
            certificate_id=content.leaf.sha256,
            not_before=content.leaf.not_before,
            not_after=content.leaf.not_after,
            files={},  # filled in when they are written
        )
        self._write(record, self._world.store.prepare, manifest, content, self._trust_for(record, base))
        return events.GenerationPrepared(at=self._world.clock.now())

    def _trust_for(self, record: ChangeRecord, base: Generation | None) -> TrustBundle:
        """Return the anchors of a new set: those before, unless others had to verify the endpoint."""
        if base is not None and (not record.anchor or record.anchor in base.trust.fingerprints):
            return base.trust
        trusts = self._sets.trusts()
        return next((trust for trust in trusts if record.anchor in trust.fingerprints), trusts[0])


def _wrong_thing(got: str, expected: str) -> Failure:
    return Failure(
        kind=FailureClass.PROTOCOL,
        code=Code.WRONG_THING,
        message=f"The cloud registered the certificate for {got!r}, but this gateway is {expected!r}.",
        remedy="Check `thing_name` and the template's parameters.",
    )
