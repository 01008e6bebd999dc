"""Sets that are brought to a gateway and taken in."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from agent.core.change.lifecycle import Phase
from agent.crypto import keys
from agent.sandbox.account.authority import key_to_pem, name
from agent.sandbox.account.policies import GATEWAY
from agent.sandbox.cloud import Status
from support.simulated.outside import DECADE, THING

if TYPE_CHECKING:
    from agent.change.engine import Outcome
    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.values import CredentialSet, TrustBundle
    from support.simulated.rig import Rig

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
PHASES = (Phase.PREPARED, Phase.PROVEN, Phase.ACTIVE, Phase.DEPLOYED, Phase.COMMITTED)


def brought(
    rig: Rig,
    *,
    status: Status = Status.ACTIVE,
    registered: bool = True,
    ahead: timedelta = timedelta(),
) -> CredentialSet:
    """Return a new key and certificate that the cloud knows, or does not, as a technician has them on a stick."""
    pair = ec.generate_private_key(ec.SECP256R1())
    now = rig.clock.now()
    certificate = rig.cloud.authority.issue_client(name("brought"), pair.public_key(), now + ahead, now + DECADE)
    if registered:
        entry = rig.cloud.registry.add(certificate, status)
        entry.policies, entry.thing_name = [GATEWAY], THING
    return keys.credential_set(key_to_pem(pair), certificate.public_bytes(Encoding.PEM))


def plan(
    rig: Rig, credential: CredentialSet, *, unproven: bool = False, trust: TrustBundle | None = None
) -> ChangeRecord | None:
    """Plan to use it."""
    return rig.planner.bring_in(credential, THING, trust or rig.anchors(), "from a stick", unproven=unproven)


def bring_in(rig: Rig, credential: CredentialSet, *, unproven: bool = False, patience: timedelta = 2 * HOUR) -> Outcome:
    """Plan to use it and follow that."""
    assert plan(rig, credential, unproven=unproven) is not None
    return rig.follow(patience=patience)


def last(rig: Rig) -> ChangeRecord:
    """Return the last finished change."""
    return rig.store.history()[-1]


def uses(rig: Rig, credential: CredentialSet) -> bool:
    """Whether a set is the current one, whole and to the byte."""
    current = rig.sets.usable()
    return current is not None and current.credential == credential
