"""Planning a change: whether it may begin, which generation it makes or goes back to, and its first record.

A generation whose content is known beforehand, because a person brings it or anchors alone change, is written here,
before its change is planned: what has no record yet is litter that the next start clears away.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.change.made_with import BECOME, other_thing
from agent.core.change.verbs import comes_first
from agent.core.text import clock_time, sentence_of
from agent.core.values import Kind, Manifest, Origin
from agent.core.when import retirement
from agent.core.when.renewal import renewal_window
from agent.errors import RefusedError

if TYPE_CHECKING:
    from agent.change.in_flight import InFlight
    from agent.change.sets import Sets
    from agent.change.world import Settings, World
    from agent.core.values import Candidate, CredentialSet, Handmade, TrustBundle

MAX_REASON = 500  # characters

ENROL_FIRST = "Run `iot-cert enroll` or `iot-cert rotate` first."


class Planner:
    """Begins changes; the engine carries them on."""

    def __init__(self, world: World, settings: Settings, sets: Sets, in_flight: InFlight) -> None:
        self._world = world
        self._settings = settings
        self._sets = sets
        self._in_flight = in_flight

    def begin(self, kind: Kind, origin: Origin, reason: str, order: str = "") -> ChangeRecord:
        """Plan a change and make it durable.

        Args:
            kind: What it is to do.
            origin: Who wants it.
            reason: Why, for people.
            order: What ordered it, for the part that must answer; see `ChangeRecord.order`.

        Raises:
            RefusedError: Another change is in flight, or this gateway is in no state for this kind.
            StoreInDoubtError: It is planned, but a power cut may undo that.
            StoreError: The disk does not let it; nothing was planned.
        """
        other = self._in_flight.record
        if other is not None:
            hint = "Run the same command again to go on with it, or `iot-cert rollback` to give it up."
            raise comes_first(other, hint)
        current = self._sets.current()
        if kind is Kind.ROLLBACK:
            draft = self._draft(kind, origin, reason, self._way_back(origin))
        else:
            self.check_start(kind, current)
            draft = replace(self._draft(kind, origin, reason), phase=Phase.PLANNED)
        return self._plan(replace(draft, order=order, replaces=self._replaced(current)))

    def adopt(self, found: Handmade) -> ChangeRecord:
        """Plan a change that proves and uses a key and certificate which were put in place by hand.

        Raises:
            RefusedError: Another change is in flight.
            StoreError: The generation could not be written; nothing was planned.
            MaterialError: There are no trust anchors to prove it with.
        """
        self._in_flight.refuse_a_second()
        why = f"the key and certificate of generation {found.number} were replaced by hand"
        self._in_flight.tell("by-hand", f"{sentence_of(why)}; they are proven before they are used.")
        trust = found.trust or self._sets.trusts()[0]
        draft = replace(self._draft(Kind.IMPORT, Origin.TECHNICIAN, why), replaces=found.replaced, asked_by=None)
        return self._bring_in(draft, found.credential, found.thing_name, trust)

    def adopt_salvaged(self, found: Candidate, where: str, why: str) -> ChangeRecord:
        """Plan a change that uses a salvaged set which a climb found accepted.

        Args:
            found: The set.
            where: Where it is from, as a sentence.
            why: Why the ladder was climbed, for people.

        Raises:
            RefusedError: Another change is in flight.
            StoreError: The generation could not be written; nothing was planned.
        """
        self._in_flight.refuse_a_second()
        draft = self._draft(Kind.IMPORT, Origin.LADDER, f"{why}; {where}")
        draft = replace(draft, replaces=self._replaced(draft.base))
        return self._bring_in(draft, found.credential, str(found.thing_name), found.trust)

    def bring_in(
        self, credential: CredentialSet, thing_name: str, trust: TrustBundle, reason: str, *, unproven: bool = False
    ) -> ChangeRecord | None:
        """Plan a change that uses a key and certificate which a person brings along.

        Args:
            credential: The key and certificate.
            thing_name: The thing they are for.
            trust: The anchors to go with them.
            reason: Why, for people.
            unproven: Activate them before they have proven themselves; probation proves them after.

        Returns:
            The planned change, or None when they are in use already, for this thing. A certificate that was attached
            to another thing is the same one, so nothing is left behind.

        Raises:
            RefusedError: Another change is in flight.
            StoreError: The generation could not be written; nothing was planned.
        """
        self._in_flight.refuse_a_second()
        current = self._sets.usable()
        replaces = current.manifest.certificate_id if current else None
        if current is not None and replaces == credential.leaf.sha256:
            if current.manifest.thing_name == thing_name:
                return None
            replaces = None
        draft = replace(self._draft(Kind.IMPORT, Origin.TECHNICIAN, reason), replaces=replaces)
        if unproven:
            draft = replace(draft, phase=Phase.PROVEN, unproven=True)
        return self._bring_in(draft, credential, thing_name, trust)

    def _bring_in(
        self, draft: ChangeRecord, credential: CredentialSet, thing_name: str, trust: TrustBundle
    ) -> ChangeRecord:
        leaf = credential.leaf
        manifest = Manifest(
            number=draft.generation,
            kind=draft.kind,
            change=draft.id,
            origin=draft.origin,
            thing_name=thing_name,
            created_at=draft.planned_at,
            certificate_id=leaf.sha256,
            not_before=leaf.not_before,
            not_after=leaf.not_after,
            files={},  # filled in when they are written
        )
        self._prepare(manifest, credential, trust)
        return self._plan(replace(draft, brings=leaf.sha256))

    def _prepare(self, manifest: Manifest, credential: CredentialSet, trust: TrustBundle) -> None:
        self._in_flight.write(manifest, self._world.store.room.preflight, back=manifest.leads_back)
        self._in_flight.write(manifest, self._world.store.prepare, manifest, credential, trust)

    def install(self, trust: TrustBundle, origin: Origin, reason: str, order: str = "") -> ChangeRecord | None:
        """Plan a change that gives the current certificate other trust anchors.

        They are proven alone against the live endpoint before they are used, so an anchor that is still needed cannot
        get lost: union before difference.

        Args:
            trust: The new anchors, verified and linted by the caller.
            origin: Who wants it.
            reason: Why, for people.
            order: What ordered it; see `ChangeRecord.order`.

        Returns:
            The planned change, or None when these very anchors are in use.

        Raises:
            RefusedError: Another change is in flight, or there is no set to put them into.
            StoreError: The generation could not be written; nothing was planned.
        """
        current = self._sets.usable()
        if current is not None and current.trust.fingerprints == trust.fingerprints:
            return None
        self._in_flight.refuse_a_second()
        if current is None:
            raise RefusedError("This gateway has no usable set to give other anchors to.", hint=ENROL_FIRST)
        draft = self._draft(Kind.TRUST, origin, reason)
        manifest = replace(
            current.manifest,
            number=draft.generation,
            kind=draft.kind,
            change=draft.id,
            origin=origin,
            created_at=draft.planned_at,
        )
        self._prepare(manifest, current.credential, trust)
        return self._plan(replace(draft, order=order, replaces=current.manifest.certificate_id))

    def is_about(self, credential: CredentialSet | None, trust: TrustBundle, thing_name: str | None = None) -> bool:
        """Whether the change in flight brings just this certificate and thing, if they are named, and these anchors."""
        record = self._in_flight.record
        if record is None or record.kind is not (Kind.IMPORT if credential else Kind.TRUST):
            return False
        made = self._sets.whole(record.generation)
        if made is None or made.trust.fingerprints != trust.fingerprints:
            return False
        if thing_name not in {None, made.manifest.thing_name}:
            return False
        return credential is None or made.manifest.certificate_id == credential.leaf.sha256

    def check_start(self, kind: Kind, current: int | None) -> None:
        """Refuse to begin what this gateway is in no state for.

        Raises:
            RefusedError: It is not enrolled, its set is damaged, or enrolment is not configured.
        """
        if kind is Kind.ROTATE and current is None:
            raise RefusedError("This gateway has no certificate to rotate yet.", hint="Run `iot-cert enroll`.")
        if kind is Kind.ROTATE and self._sets.usable() is None:
            raise RefusedError(
                f"Generation {current} is damaged, so there is no set to rotate from.",
                hint="`iot-cert rotate` looks for another way to a certificate.",
            )
        if kind is Kind.ROTATE:
            self._refuse_another_thing()
        if kind is Kind.ENROLL and self._settings.enrollment is None:
            raise RefusedError(
                "Enrolment is not configured.", hint="Add `enrollment:` with a template and a claim certificate."
            )

    def _refuse_another_thing(self) -> None:
        """Refuse to renew what is for another thing, unless the gateway would be cut off soon."""
        current = self._sets.usable()
        other = other_thing(self._settings.thing_name, current.manifest.thing_name if current else "")
        if current is None or not other:
            return
        leaf = current.credential.leaf
        emergency_at = renewal_window(leaf.not_before, leaf.not_after, self._settings.renewal).emergency_at
        if self._world.clock.now() < emergency_at:
            raise RefusedError(f"No rotation is begun: {other}", hint=BECOME)

    def _way_back(self, origin: Origin) -> int:
        previous = self._world.store.previous()
        if previous is None or previous == self._sets.current():
            self._refuse_destroyed()
            way = "`iot-cert rotate` makes a new one." if self._sets.current() else ENROL_FIRST
            raise RefusedError("There is no previous generation to go back to.", hint=way)
        found = self._world.store.generation(previous)
        if origin is not Origin.LADDER:  # which has just seen it accepted
            self._refuse_retired(found.manifest.certificate_id, previous)
        return previous

    def _refuse_destroyed(self) -> None:
        """Say why there is nothing to go back to, where that is for a retirement."""
        for record in self._world.store.history():
            if record.generation == self._sets.current() and record.base is not None and record.phase.succeeded:
                self._refuse_retired(record.replaces or "", record.base)

    def _refuse_retired(self, certificate_id: str, number: int) -> None:
        for record in self._world.store.history():
            if record.retired_at is not None and retirement.left_behind(record) == certificate_id:
                raise RefusedError(
                    f"The certificate of generation {number} was retired at {clock_time(record.retired_at)}, so "
                    "the cloud does not accept it any more.",
                    hint="The current set stays in use; `iot-cert rotate` makes a new one.",
                )

    def _draft(self, kind: Kind, origin: Origin, reason: str, generation: int | None = None) -> ChangeRecord:
        """Return the record of a change to a generation that is on disk by then: the next one, if no other is named."""
        now = self._world.clock.now()
        return ChangeRecord(
            id=self._world.new_id(),
            kind=kind,
            origin=origin,
            reason=reason.encode(errors="replace").decode()[:MAX_REASON],
            generation=self._world.store.next_number() if generation is None else generation,
            base=self._sets.current(),
            phase=Phase.PREPARED,
            planned_at=now,
            entered_at=now,
            asked_by=self._world.asked_by,
        )

    def _plan(self, draft: ChangeRecord) -> ChangeRecord:
        self._in_flight.begin(draft)
        does = "makes" if draft.kind.makes_a_generation else "goes back to"
        text = f"{draft.kind} planned: {draft.reason.rstrip('.')}; it {does} generation {draft.generation}."
        self._in_flight.tell(draft.phase, text)
        return draft

    def _replaced(self, current: int | None) -> str | None:
        generation = self._sets.whole(current)
        return generation.manifest.certificate_id if generation else None
