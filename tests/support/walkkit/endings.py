"""The rungs of which exactly one is accepted when a story ends, and what a technician does where none is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from agent.core.change.lifecycle import Phase
from agent.sandbox.account.authority import fingerprint
from agent.sandbox.account.policies import CLAIM, GATEWAY
from agent.sandbox.cloud import Status
from support.walkkit import disk, pairs, steps
from support.walkkit.disk import Harm
from support.walkkit.factory import SECOND_ROOT, union_pem
from support.walkkit.pairs import THING
from support.walkkit.steps import Brought, Whose, certificates

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.walkkit.pairs import Found
    from support.walkkit.scene import Scene
    from support.walkkit.steps import Step


class Rung(StrEnum):
    """What is accepted, and nothing else."""

    CURRENT = "the current set"
    PREVIOUS = "the previous set"
    OTHER_ANCHORS = "the current certificate with other anchors"
    CLAIM = "the claim"
    DAMAGED_MANIFEST = "a set whose manifest is damaged"
    TECHNICIAN = "nothing, before a technician comes"


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a story ends.

    Attributes:
        rungs: The rungs in the order of trying: the first that this gateway has is accepted.
        dead: What the certificates are that are not accepted.
        harm: What happens to the manifest that is to be damaged.
        rescue: What a technician does where nothing is accepted.
        spoils: The link whose manifest is damaged.
        reboots: Whether the gateway is switched off and on then.
    """

    rungs: tuple[Rung, ...]
    dead: Status = Status.INACTIVE
    harm: Harm = Harm.FLIP
    rescue: tuple[Step, ...] = ()
    spoils: str = "current"
    reboots: bool = False

    def set_up(self, scene: Scene) -> Rung:
        """Let everything behave and exactly one rung be accepted; return which."""
        with scene.keeper.held_still():
            scene.calm()
            for rung in (*self.rungs, Rung.CLAIM):
                accepted = _RUNGS[rung](scene, self)
                if accepted is not None:
                    self._accept_only(scene, accepted)
                    scene.cut_all()
                    scene.accepted = accepted
                    ids = " ".join(item[:12] for item in sorted(accepted)) or "none"
                    scene.tell(f"everything behaves, and {rung} is accepted: {ids}")
                    return rung
        raise AssertionError("there is always a claim")

    def _accept_only(self, scene: Scene, accepted: set[str]) -> None:
        for certificate_id in certificates(scene, Whose.ALL):
            if certificate_id not in accepted:
                steps.set_status(scene, certificate_id, self.dead)
        for certificate_id in accepted:
            _accept(scene, certificate_id)


def _accept(scene: Scene, certificate_id: str) -> None:
    entry = scene.gateway.cloud.registry[certificate_id]
    entry.status, entry.policy_from, entry.revoke_at_connection = Status.ACTIVE, None, None
    entry.policies = entry.policies or [GATEWAY]
    if CLAIM not in entry.policies:
        entry.thing_name = THING


def _root(scene: Scene, name: str) -> str:
    return fingerprint(scene.gateway.console.roots[name].certificate)


def _usable(scene: Scene, found: Found | None) -> bool:
    known = found is not None and found.certificate_id in scene.gateway.cloud.registry
    return known and found is not None and _root(scene, "a") in found.anchors


def _current(scene: Scene, _ending: Ending) -> set[str] | None:
    found = scene.linked("current")
    if found is None or not (found.whole or found.by_hand) or not _usable(scene, found):
        return None
    return {found.certificate_id}


def _previous(scene: Scene, _ending: Ending) -> set[str] | None:
    found, current = scene.linked("previous"), scene.linked("current")
    if found is None or not found.whole or not _usable(scene, found):
        return None
    # A change that is proven takes effect, and then this set is not the previous one any more.
    settled = scene.phase is not Phase.PROVEN
    distinct = current is None or current.certificate_id != found.certificate_id
    return {found.certificate_id} if settled and distinct else None


def _other_anchors(scene: Scene, _ending: Ending) -> set[str] | None:
    """The endpoint has moved to a root that the previous anchors hold, or that an OS image has brought."""
    found, previous = scene.linked("current"), scene.linked("previous")
    moved = _root(scene, SECOND_ROOT)
    if found is None or not found.whole or not _usable(scene, found) or moved in found.anchors:
        return None
    if previous is None or not previous.whole or moved not in previous.anchors:
        (scene.directory / "roots.pem").write_bytes(union_pem(scene.gateway))
    scene.gateway.order(f"root use {SECOND_ROOT}")
    return {found.certificate_id}


def _claim(scene: Scene, _ending: Ending) -> set[str] | None:
    steps.carry_out([steps.claim_files(there=True)], scene)
    return {certificates(scene, Whose.CLAIM)[-1]}


def _damaged_manifest(scene: Scene, ending: Ending) -> set[str] | None:
    """One set is damaged in nothing but its manifest, and accepted."""
    found = scene.linked(ending.spoils)
    if found is None or not found.whole or not _usable(scene, found) or not scene.start.names_thing:
        return None
    alike = [item for item in pairs.generations(scene.state) if item.certificate_id == found.certificate_id]
    if len(alike) > 1:  # another set would be accepted, too
        return None
    came = disk.harm(found.directory / "manifest.json", ending.harm)
    scene.tell(f"manifest.json of {ending.spoils} ({found.directory.name}) {ending.harm} {came}")
    return {found.certificate_id}


def _technician(_scene: Scene, ending: Ending) -> set[str] | None:
    return set() if ending.rescue else None


_RUNGS: dict[Rung, Callable[[Scene, Ending], set[str] | None]] = {
    Rung.CURRENT: _current,
    Rung.PREVIOUS: _previous,
    Rung.OTHER_ANCHORS: _other_anchors,
    Rung.CLAIM: _claim,
    Rung.DAMAGED_MANIFEST: _damaged_manifest,
    Rung.TECHNICIAN: _technician,
}


# -- what a technician does ------------------------------------------------------------------------------------------


def new_claim() -> tuple[Step, ...]:
    """Put a new claim in place."""

    def do(scene: Scene) -> str:
        claim = scene.gateway.cloud.claim = scene.gateway.cloud.add_claim()
        for name, data in (("key.pem", claim.key_pem), ("certificate.pem", claim.certificate_pem)):
            path = scene.directory / "claim" / name
            path.unlink(missing_ok=True)
            path.write_bytes(data)
            path.chmod(0o600)
        return ""

    return (steps.Step("a technician puts a new claim in place", do),)


def activate_again() -> tuple[Step, ...]:
    """Activate a certificate of the gateway again: that of a set which is whole, or else the claim's."""

    def do(scene: Scene) -> str:
        linked = [scene.linked("current"), scene.linked("previous")]
        whole = [found for found in linked if found is not None and found.whole and _usable(scene, found)]
        if not whole:
            steps.carry_out([steps.claim_files(there=True)], scene)
        chosen = whole[0].certificate_id if whole else certificates(scene, Whose.CLAIM)[-1]
        _accept(scene, chosen)
        scene.accepted = {chosen}
        return chosen[:12]

    return (steps.Step("an operator activates the certificate again", do),)


def import_stick() -> tuple[Step, ...]:
    """Come with a stick, and type the import until it is taken, within half a minute."""
    words = ("import", "--from", steps.STICK, "--thing", THING, "--wait", "60")
    return steps.stick(Brought.GOOD), steps.insist(*words)
