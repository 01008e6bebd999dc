"""A gateway whose account signs by CAs of its own: certificates of a day, another CA, and a key that does not sign."""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from agent.core.change.lifecycle import Phase
from agent.core.values import Kind
from agent.sandbox.account.own_ca import make_ca
from agent.sandbox.cloud import CREATE_TOPIC
from agent.sandbox.network.front import Front
from support.aws.moto_account import signing_request
from support.simulated.rig import Rig

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


@pytest.fixture(name="daily")
def _daily(state: Path) -> Rig:
    """A gateway that is enrolled, with a certificate of a day."""
    rig = Rig(state, lifetime=DAY)
    assert rig.enroll().record.phase is Phase.COMMITTED
    return rig


def issuer(rig: Rig) -> str:
    """Return who has signed the certificate in use."""
    return rig.store.generation(rig.current or 0).credential.leaf.issuer


def test_the_ca_is_renewed_under_a_gateway(daily: Rig) -> None:
    """Certificates of both are sound at the same time; the gateway notices nothing."""
    store = daily.cloud.stack.store
    (old,) = store.signer().cas
    new = replace(make_ca(daily.clock.now(), 2), signs_from=daily.clock.now() + 12 * HOUR)
    store.save_signer(replace(store.signer(), cas=(old, new)))

    issuers = []
    for _ in range(4):
        daily.clock.advance(hours=8)
        assert daily.rotate().record.phase is Phase.COMMITTED
        assert daily.connects()
        issuers.append(issuer(daily))
    first, second = "CN=Sandbox gateway CA 1", "CN=Sandbox gateway CA 2"
    assert issuers == [first, second, second, second]


def test_a_key_that_does_not_sign_costs_time_and_nothing_else(daily: Rig) -> None:
    """The gateway goes on with what it has, asks again, and is served when the key signs."""
    store = daily.cloud.stack.store
    (own,) = store.signer().cas
    daily.clock.advance(hours=8)
    store.save_signer(replace(store.signer(), cas=(replace(own, key="another"),)))
    daily.run_to(Kind.ROTATE, Phase.KEY_READY)
    outcome = daily.follow(patience=MINUTE)
    assert outcome.record.phase is Phase.KEY_READY
    assert daily.connects()

    store.save_signer(replace(store.signer(), cas=(own,)))
    assert daily.follow().record.phase is Phase.COMMITTED
    assert daily.connects()


# ---- asked twice, as the cloud answers -------------------------------------------------------------------------------


def ask(rig: Rig, csr: str) -> dict[str, Any]:
    """Ask for a certificate over the claim's connection; return the answer's body."""
    cloud = rig.cloud
    entry = cloud.authenticate(next(iter(cloud.registry)))
    assert entry is not None
    answer = cloud.publish(entry, "a-claim", CREATE_TOPIC, json.dumps({"certificateSigningRequest": csr}).encode())
    found: dict[str, Any] = json.loads(answer.replies[0].payload)
    return found


def test_the_same_request_at_once_and_later(daily: Rig) -> None:
    """The same certificate and token, as long as it awaits its registration; after a minute another one."""
    csr = signing_request("gw-0077")
    first = ask(daily, csr)
    assert ask(daily, csr) == first
    daily.clock.advance(minutes=1)
    assert ask(daily, csr)["certificateId"] != first["certificateId"]


def test_the_same_request_when_its_certificate_is_in_use(daily: Rig) -> None:
    """What AWS makes of it is not known; if it refuses, the gateway's next attempt is another certificate."""
    csr = signing_request("gw-0077")
    first = ask(daily, csr)
    daily.cloud.registry[first["certificateId"]].status = daily.cloud.registry[next(iter(daily.cloud.registry))].status
    assert ask(daily, csr)["statusCode"] == 409
    daily.clock.advance(minutes=1)
    assert "certificateId" in ask(daily, csr)


def test_a_request_that_is_not_signed(daily: Rig) -> None:
    """The client hears why."""
    refused = ask(daily, "no request")
    assert refused["statusCode"] == 400
    assert "PKCS #10" in refused["errorMessage"]


class Counting(ssl.SSLContext):
    """Settings of a handshake that count how often CAs are loaded into them."""

    loaded = 0

    def load_verify_locations(self, *places: Any, **given: Any) -> None:
        """See `ssl.SSLContext`."""
        self.loaded += 1
        super().load_verify_locations(*places, **given)


def loaded(front: Front) -> int:
    """Return how often CAs were loaded into the settings of the next handshake."""
    found = front._settings()
    assert isinstance(found, Counting)
    return found.loaded


def test_a_handshake_loads_the_accounts_cas_when_they_have_changed(daily: Rig) -> None:
    """A new one before the next handshake, and none of them again for each; other settings get all of them."""

    async def shake_hands() -> list[int]:
        first, second = Counting(ssl.PROTOCOL_TLS_SERVER), Counting(ssl.PROTOCOL_TLS_SERVER)
        front = Front(daily.cloud, Path("no-broker"), first)
        seen = [loaded(front) for _ in range(3)]
        store = daily.cloud.stack.store
        store.save_signer(replace(store.signer(), cas=(*store.signer().cas, make_ca(daily.clock.now(), 2))))
        seen += [loaded(front) for _ in range(2)]
        assert len(first.get_ca_certs()) == 2
        front.change_context(second)
        seen += [loaded(front) for _ in range(2)]
        assert len(second.get_ca_certs()) == 2
        await front.close()
        return seen

    assert asyncio.run(shake_hands()) == [1, 1, 1, 2, 2, 1, 1]


def test_what_is_sold_is_of_the_same_ca(daily: Rig) -> None:
    """The vending machine of the sandbox has the signer behind it, too."""
    made = daily.cloud.provisioning.issue(signing_request("gw-0077"))
    assert made is not None
    ca = x509.load_pem_x509_certificate(daily.cloud.stack.store.signer().cas[0].pem.encode())
    x509.load_pem_x509_certificate(made.pem.encode()).verify_directly_issued_by(ca)
