"""The real command enrols at a vending machine over HTTPS, is refused there, and is rescued by a new token."""

from __future__ import annotations

import signal
import tarfile
from typing import TYPE_CHECKING

import pytest

from agent.core.change.lifecycle import Phase
from agent.sandbox.cloud import Status
from agent.store.store import Store
from support.running.dying import dies

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.running.gateway import Gateway

SERIAL = "0042"
SOLD = 46  # the step of an enrolment that puts what was sold in the record's place; see `support.running.dying`


class BuyingGateway:
    """A gateway that is configured to buy, and its token."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.file = gateway.directory / "token"
        text = gateway.config.read_text()
        before, _, rest = text.partition("enrollment:\n")
        own = (
            f"enrollment:\n  method: vending-machine\n  url: {gateway.service.vending.url}\n"
            f"  token: {{file: {self.file}}}\n  parameters: {{SerialNumber: '{SERIAL}'}}\n"
        )
        gateway.config.write_text(before + own + rest[rest.index("rotation:") :])
        self.lay()

    def lay(self, token: str = "") -> None:
        """Put a token into its file; a new one where none is given."""
        self.token = token or self.gateway.cloud.stack.arm(SERIAL)
        self.file.touch(0o600)
        self.file.write_text(f"{self.token}\n")


@pytest.fixture(name="shopper")
def _shopper(gateway: Gateway) -> Iterator[BuyingGateway]:
    shopper = BuyingGateway(gateway)
    yield shopper
    said = "".join(f"{ran.arguments}{ran.out}{ran.err}" for ran in gateway.ran)
    assert shopper.token not in said
    for path in gateway.state.rglob("*"):
        assert not path.is_file() or shopper.token.encode() not in path.read_bytes(), path


def test_a_gateway_enrols_rotates_and_is_rescued(shopper: BuyingGateway) -> None:
    """Its token's file is gone once the certificate is final; a new one brings it back when it is locked out."""
    gateway = shopper.gateway
    assert "ok; endpoint" in gateway.run("config", "check", expect=0).out
    assert f"{shopper.file} was removed" in gateway.run("enroll", expect=0).out
    assert not shopper.file.exists()
    assert "warning" not in gateway.run("config", "check", expect=0).out
    gateway.run("rotate", expect=0)
    for entry in gateway.cloud.certificates_of("gw-0042"):
        entry.status = Status.REVOKED
    locked_out = gateway.run("rotate", expect=3)
    assert "`iot-cert cloud readmit 0042 --for 24h`" in locked_out.out + locked_out.err
    shopper.lay()
    gateway.run("rotate", expect=0)
    assert not shopper.file.exists()
    assert len([one for one in gateway.cloud.certificates_of("gw-0042") if one.status is Status.ACTIVE]) == 1


def test_a_purchase_that_is_killed_is_sold_the_same_certificate(shopper: BuyingGateway) -> None:
    """The answer has come and is not written down: the command, typed again, asks with the same request."""
    gateway = shopper.gateway
    assert dies(gateway, SOLD, "enroll").code == -signal.SIGKILL
    (sold,) = gateway.cloud.certificates_of("gw-0042")
    with Store(gateway.state) as store:
        change = store.change()
        assert change is not None
        assert change.phase is Phase.REQUESTED
    gateway.run("enroll", expect=0)
    assert gateway.certificate_id() == sold.certificate_id
    assert [entry.status for entry in gateway.cloud.certificates_of("gw-0042")] == [Status.ACTIVE]
    assert [record.phase for record in gateway.history()] == [Phase.COMMITTED]
    assert gateway.service.vending.asked == 2


def test_a_rescue_needs_no_baked_copy(shopper: BuyingGateway) -> None:
    """The anchors of the gateway's sets verify the endpoint and the vending machine as well."""
    gateway = shopper.gateway
    gateway.run("enroll", expect=0)
    for entry in gateway.cloud.certificates_of("gw-0042"):
        entry.status = Status.REVOKED
    shopper.lay()
    (gateway.directory / "roots.pem").write_bytes(b"")
    gateway.run("rotate", expect=0)
    assert not shopper.file.exists()


def test_a_wrong_token_is_refused_with_what_mends_it(shopper: BuyingGateway) -> None:
    """The command ends at once; nothing on the gateway was changed."""
    shopper.lay("a-wrong-token")
    ran = shopper.gateway.run("enroll", expect=3)
    assert "refuses this gateway's serial number and token" in ran.out + ran.err
    assert "`iot-cert cloud readmit 0042 --for 24h`" in ran.out + ran.err
    assert shopper.file.exists()


def test_what_is_configured_wrongly_is_told_before_anything_is_asked(shopper: BuyingGateway) -> None:
    """A token that is not there, or that others may read, an authority that is none."""
    gateway, file = shopper.gateway, shopper.file
    file.chmod(0o640)
    assert f"sudo chmod 600 {file}" in gateway.run("config", "check", expect=2).err
    file.unlink()
    assert str(file) in gateway.run("enroll", expect=2).err
    assert "`iot-cert cloud arm` or `readmit`" in gateway.run("check").out
    shopper.lay()
    gateway.configure({"  parameters: {SerialNumber: '0042'}": f"  parameters: {{SerialNumber: '0042'}}\n  ca: {file}"})
    assert f"{file}: " in gateway.run("enroll", expect=2).err
    assert gateway.service.vending.asked == 0


def test_a_vending_machine_of_another_authority_is_not_asked(shopper: BuyingGateway, tmp_path: Path) -> None:
    """The remedy names the key that says who verifies it."""
    gateway = shopper.gateway
    other = tmp_path / "other.pem"
    other.write_bytes(gateway.cloud.authority.pem)
    gateway.configure({f"  token: {{file: {shopper.file}}}": f"  token: {{file: {shopper.file}}}\n  ca: {other}"})
    ran = gateway.run("enroll", "--wait", "0", expect=5)
    assert "The vending machine cannot be asked." in ran.out + ran.err
    assert "enrollment.ca" in ran.out + ran.err
    assert gateway.service.vending.asked == 0


def test_a_support_bundle_has_no_token(shopper: BuyingGateway) -> None:
    """Of one that lies there, armed for an outage."""
    gateway = shopper.gateway
    gateway.run("enroll", expect=0)
    shopper.lay()
    archive = gateway.directory / "bundle.tar.gz"
    gateway.run("support-bundle", "--output", str(archive), expect=0)
    with tarfile.open(archive) as bundle:
        found = [bundle.extractfile(member) for member in bundle.getmembers() if member.isfile()]
        assert all(shopper.token.encode() not in file.read() for file in found if file is not None)
