"""A gateway that enrols at the vending machine: the real client over HTTPS, before the account's own handler."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from agent.change.world import Vending
from agent.core.failure import failures, readmission
from agent.core.failure.codes import Code
from agent.crypto import x509
from agent.errors import CloudError
from agent.iotcore.client_options import Timeouts
from agent.iotcore.vending import Machine, Purse, VendingSession
from agent.operations.wiring import load_token
from agent.sandbox.account.authority import Authority
from agent.sandbox.network.vending import VendingFront, answer_of
from agent.store.files import secret_files
from support.aws.account import WatchedPort

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from agent.core.failure.failure import Failure
    from agent.core.values import TrustBundle
    from support.simulated.rig import Rig

SERIAL = "0042"


class Buyer:
    """A rig's gateway with a token file in place of a claim certificate.

    Attributes:
        rig: The gateway.
        front: The vending machine.
        file: The token's file.
        answers: What the account's function answered, in order.
        away: Why the vending machine cannot be reached, or None.
        laid_at: When the token was put there, by the gateway's clock.
    """

    def __init__(self, rig: Rig, file: Path) -> None:
        self.rig, self.file = rig, file
        now = datetime.now(UTC)  # TLS goes by the real clock
        authority = Authority("Vending root", now)
        server = authority.issue_server("localhost", now - timedelta(days=1), now + timedelta(days=1))
        self.authorities = x509.read_bundle(authority.pem)
        self.answers: list[Mapping[str, object] | None] = []
        self.front = VendingFront(self._answer, server)
        self.laid_at: datetime | None = None
        self.away: Failure | None = None
        rig.claim_present = False
        self.lay(rig.token)
        vending = Vending(
            connect=self._connect, laid=lambda: self.laid_at, spend=self._spend, readmit=readmission.command(SERIAL)
        )
        rig.configure(vending=vending)

    def lay(self, token: str) -> None:
        """Put a token into its file, as a technician does."""
        self.file.write_text(f"{token}\n")
        self.file.chmod(0o600)
        self.laid_at = self.rig.clock.now()

    def lay_a_new_one(self) -> None:
        """Do it after the operator has made another one."""
        self.rig.token = self.rig.cloud.stack.arm(SERIAL)
        self.lay(self.rig.token)

    def watch(self, step: Callable[[str], None]) -> None:
        """Have each verb of the account's ports told of before it is carried out."""
        stack = self.rig.cloud.stack
        ports = {name: WatchedPort(getattr(stack._account, name), step) for name in ("registry", "store", "outbox")}
        stack._account = replace(stack._account, **ports)  # type: ignore[arg-type]

    @property
    def bought(self) -> list[str]:
        """The certificates that were sold, each once, oldest first."""
        return [entry.certificate_id for entry in self.rig.cloud.registry.values() if entry.things]

    def _answer(self, event: Mapping[str, object]) -> Mapping[str, object] | None:
        self.answers.append(answer_of(self.rig.cloud, event))
        return self.answers[-1]

    def _connect(self, anchors: TrustBundle) -> VendingSession:
        failure = self.rig.endpoint.down or self.away
        if self.rig.endpoint.root_sha256 not in anchors.fingerprints:
            failure = failure or failures.server_certificate("sandbox", Code.UNKNOWN_ROOT, "no anchor signs its chain")
        if failure is not None:
            raise CloudError(failure)
        machine = Machine(
            url=self.front.url, authorities=self.authorities, proxy=None, timeouts=Timeouts(connect=60.0, request=60.0)
        )
        return VendingSession(machine, Purse(serial=SERIAL, token=load_token(self.file)), self.rig.endpoint.root_sha256)

    def _spend(self) -> str | None:
        return str(self.file) if secret_files.remove(self.file) else None


@contextmanager
def buyer(rig: Rig, **settings: Any) -> Iterator[Buyer]:
    """Run a vending machine and give a gateway that may buy there; further settings of the engine as for `Rig`."""
    found = Buyer(rig, rig.path.with_name("token"))
    if settings:
        rig.configure(**settings)
    with found.front:
        yield found
    assert rig.token not in rig.log.text
    for path in rig.path.rglob("*"):
        assert path.is_dir() or rig.token.encode() not in path.read_bytes(), path
