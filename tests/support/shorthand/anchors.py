"""Changes of trust anchors, as far as a test wants them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from agent.sandbox.account.authority import Authority, fingerprint

if TYPE_CHECKING:
    from agent.core.values import TrustBundle
    from agent.operations.execute import Done
    from support.simulated.rig import Rig

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


def anchors(rig: Rig) -> frozenset[str]:
    """Return the anchors in use."""
    generation = rig.sets.usable()
    assert generation is not None
    return generation.trust.fingerprints


def of(*authorities: Authority) -> frozenset[str]:
    """Return the fingerprints of roots."""
    return frozenset(fingerprint(authority.certificate) for authority in authorities)


def both(rig: Rig) -> TrustBundle:
    """Return the union: the root in use and the one to come."""
    return rig.bundle(rig.root, rig.second_root, version=2)


def failed(rig: Rig, since: int = 0) -> list[tuple[str, str]]:
    """Return the connections that failed, by set and reason."""
    tried = rig.endpoint.connections[since:]
    return [(item.candidate, item.outcome) for item in tried if item.outcome != "accepted"]


def to_probation(rig: Rig, bundle: TrustBundle) -> None:
    """Install anchors and stop in the first minutes of their probation."""
    wait = rig.install(bundle, patience=MINUTE).wait
    assert wait is not None
    assert wait.code == "probation"


def healed(rig: Rig) -> Done:
    """Climb, and carry out what follows."""
    return rig.operations.climb("the server is not trusted")
