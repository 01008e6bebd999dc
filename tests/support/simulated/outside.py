"""What a gateway of the simulator has around it: the cloud, its endpoint and roots, a claim, other programs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec

from agent.core.dependants import trouble
from agent.core.failure import failures
from agent.core.values import Candidate, Provenance, TrustSource
from agent.crypto import keys, x509
from agent.errors import CloudError, MaterialError
from agent.sandbox.account.authority import Authority, fingerprint, key_to_pem, name
from agent.sandbox.account.policies import GATEWAY
from agent.sandbox.cloud import Cloud, Status
from agent.sandbox.replies.faults import Effect, Fault, Operation
from support.simulated.simulator import SimulatedClock, SimulatedEndpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.dependants import Occasion
    from agent.core.values import CredentialSet, TrustBundle
    from support.simulated.simulator import Attempt

START = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
THING = "gw-0042"
DECADE = timedelta(days=3650)
NO_ROUTE = failures.unreachable("sandbox", 8883, "no route to host")


class Programs:
    """The gateway's other programs: which set they use, as far as they take one up. They outlive a restart."""

    def __init__(self, current: Callable[[], int | None]) -> None:
        self._current = current
        self.asked: list[Occasion] = []
        self.uses: int | None = None
        self.refused: set[int] = set()
        self.stubborn = False
        self.goes_back = False
        self.meanwhile: Callable[[], None] = lambda: None

    def take_up(self, occasion: Occasion) -> None:
        """See `agent.ports.Deployment`."""
        self.asked.append(occasion)
        self.meanwhile()
        current = self._current()
        assert current is not None
        if self.stubborn or current in self.refused:
            raise CloudError(trouble("bridge.service is failed after its restart.", decisive=self.goes_back))
        self.uses = current


_read_once = cache(keys.credential_set)  # in a day of outage the claim is asked for hundreds of times


class Outside:
    """The cloud that a gateway meets, and what the gateway brings from the factory."""

    def __init__(self, *, lifetime: timedelta | None = None) -> None:
        self.clock = SimulatedClock(START)
        self.root = Authority("Sandbox endpoint root A", START)
        self.second_root = Authority("Sandbox endpoint root B", START)
        self.baked: TrustBundle | None = x509.read_bundle(self.root.pem)
        self.cloud = Cloud(self.clock.now, lifetime=lifetime)
        self.token = self.cloud.stack.arm("0042")
        self.endpoint = SimulatedEndpoint(cloud=self.cloud, root_sha256=self.anchors().anchors[0].sha256)
        self.claim_present = True

    def anchors(self) -> TrustBundle:
        """Return the baked trust anchors, as long as they can be read."""
        if self.baked is None:
            raise MaterialError("there is no certificate in the baked copy")
        return self.baked

    def bundle(self, *authorities: Authority, version: int = 1) -> TrustBundle:
        """Return a signed bundle's anchors, as they are once it is verified."""
        pem = b"".join(authority.pem for authority in authorities)
        provenance = Provenance(source=TrustSource.BUNDLE, version=version, issued_at=START)
        return replace(x509.read_bundle(pem), provenance=provenance)

    def move_endpoint(self, authority: Authority) -> None:
        """Let the endpoint chain to another root from now on."""
        self.endpoint.root_sha256 = fingerprint(authority.certificate)

    def claim(self, anchors: TrustBundle) -> Candidate:
        """Return the claim certificate, as long as it lies on the gateway."""
        if not self.claim_present:
            raise MaterialError("there is no claim certificate on this gateway")
        pair = self.cloud.claim
        return Candidate(
            name="the claim certificate",
            credential=_read_once(pair.key_pem, pair.certificate_pem),
            trust=anchors,
            client_id="iot-cert-agent-0042",
            thing_name=None,
        )

    def parameters(self) -> dict[str, str]:
        """Return what the gateway registers with."""
        return {"SerialNumber": "0042", "RegistrationToken": self.token}

    def readmit(self) -> None:
        """Let the gateway's token buy a certificate once more, as the operator of a gateway that lost all of them."""
        self.cloud.stack.readmit("0042")

    def outside_set(self, *, status: Status = Status.ACTIVE, thing: str = THING) -> CredentialSet:
        """Return a key and certificate that were made outside this gateway, as the cloud knows them."""
        pair, now = ec.generate_private_key(ec.SECP256R1()), self.clock.now()
        certificate = self.cloud.authority.issue_client(name("by hand"), pair.public_key(), now, now + DECADE)
        entry = self.cloud.registry.add(certificate, status)
        entry.policies, entry.thing_name = [GATEWAY], thing
        return keys.credential_set(key_to_pem(pair), entry.pem.encode())

    def fault(self, operation: Operation, effect: Effect, times: int | None = 1, payload: bytes = b"") -> None:
        """Let something go wrong in the cloud."""
        self.cloud.faults.add(Fault(operation=operation, effect=effect, times=times, payload=payload))

    def true_time(self) -> SimulatedClock:
        """Give the cloud a clock of its own, which goes right whatever the gateway's shows, and return it."""
        clock = SimulatedClock(self.clock.time)
        self.cloud._now = clock.now
        return clock

    def asked(self, operation: Operation, outcome: str = "") -> int:
        """Return how often the cloud was asked, with this outcome or with any."""
        return sum(
            request.operation == operation and outcome in {"", request.outcome} for request in self.cloud.requests
        )

    def connections_of(self, candidate: str) -> list[Attempt]:
        """Return the connections that were tried with one set."""
        return [connection for connection in self.endpoint.connections if connection.candidate == candidate]
