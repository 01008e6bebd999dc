from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from agent.backend.errors import MisconfiguredError, NotSignedError, UnavailableError
from agent.backend.handlers.signing import sign
from agent.backend.names import REASON, Metric
from agent.backend.values import Signer, SigningCa, Status
from agent.sandbox.account.own_ca import SandboxKeys, make_ca
from support.aws.account import DAY, HOUR, MINUTE, SETTINGS, World, request
from support.aws.moto_account import signing_request

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

KEYS = SandboxKeys()
CSR = signing_request("gw-0042")


@pytest.fixture(name="world")
def _world() -> World:
    """An account that signs."""
    world = World()
    world.store.save_signer(Signer(cas=(make_ca(world.now),), on=True))
    return world


def event(csr: object = CSR, principal: str = "c1" * 32) -> dict[str, Any]:
    """What AWS IoT Core sends."""
    return {"certificateSigningRequest": csr, "principalId": principal, "clientId": "gw-0042-cert-agent"}


def made(world: World, **given: Any) -> x509.Certificate:
    """Return what is answered to a request."""
    answer = sign(event(**given), world.account, KEYS)
    assert set(answer) == {"certificatePem"}
    return x509.load_pem_x509_certificate(str(answer["certificatePem"]).encode())


def test_a_request_is_answered_by_a_certificate(world: World) -> None:
    """And counted, with who asked and when it ends; nothing is written."""
    found = made(world)
    assert found.not_valid_after_utc - world.now >= DAY
    assert world.counts(Metric.SIGNED) == 1
    (about,) = [about for _, _, about in world.outbox.counted]
    assert about["ca"] == world.store.signer().cas[0].ca_id
    assert "c1c1" in str(about["caller"])
    assert world.verbs == ["signer", "count"]


def test_a_lifetime_is_what_the_operator_chose(world: World) -> None:
    """By a parameter of the stack."""
    week = replace(world.account, settings=replace(SETTINGS, lifetime=7 * DAY))
    answer = sign(event(), week, KEYS)
    found = x509.load_pem_x509_certificate(str(answer["certificatePem"]).encode())
    assert 7 * DAY <= found.not_valid_after_utc - world.now <= 7 * DAY + MINUTE


@pytest.mark.parametrize("csr", ["", "no request", None, 7, request("of no key"), CSR[:-100]])
def test_what_is_refused_is_told_by_an_error_and_is_no_fault(world: World, csr: object) -> None:
    """Asking again would be in vain; the alarm of faults is for what a person must mend."""
    with pytest.raises(NotSignedError):
        sign(event(csr), world.account, KEYS)
    assert world.counts(Metric.SIGNING_REFUSED) == 1
    assert world.counts(Metric.SIGNED) == 0
    assert next(about for _, _, about in world.outbox.counted)[REASON]


def test_without_a_ca_nothing_is_signed() -> None:
    """And the operator is told what makes one; nor does one sign before its time."""
    world = World()
    with pytest.raises(MisconfiguredError, match="iot-cert cloud ca --new"):
        sign(event(), world.account, KEYS)
    world.store.save_signer(Signer(cas=(make_ca(world.now + MINUTE),)))
    with pytest.raises(MisconfiguredError, match="iot-cert cloud ca --new"):
        sign(event(), world.account, KEYS)


def test_another_cas_key_hands_out_nothing(world: World) -> None:
    """A gateway would take the certificate for sound and find out at the endpoint."""
    (own,) = world.store.signer().cas
    world.store.save_signer(replace(world.store.signer(), cas=(replace(own, key="key 2"),)))
    with pytest.raises(MisconfiguredError, match="is not that of the CA"):
        sign(event(), world.account, KEYS)


@pytest.mark.parametrize("error", [UnavailableError("KMS is throttled"), MisconfiguredError("the key is disabled")])
def test_a_key_that_does_not_sign(world: World, error: Exception) -> None:
    """It could not be done: an error, after which the gateway comes again and is served."""

    class FailingKey:
        def sign(self, *_: object) -> bytes:
            raise error

    with pytest.raises(type(error)):
        sign(event(), world.account, FailingKey())
    assert world.counts(Metric.SIGNED) == world.counts(Metric.SIGNING_REFUSED) == 0
    assert made(world).not_valid_after_utc > world.now


# ---- asked twice ---------------------------------------------------------------------------------------------------


def test_asked_twice_at_the_same_time_and_out_of_order(world: World) -> None:
    """Two functions, one answer; another request in between changes nothing."""
    with ThreadPoolExecutor(4) as pool:
        answers = set(pool.map(lambda _: made(world), range(8)))
    assert len(answers) == 1
    between = made(world, csr=signing_request("gw-0043"))
    assert made(world) in answers
    assert between not in answers


def test_asked_again_after_a_while(world: World) -> None:
    """A lost answer costs a certificate that is not used, as with AWS's own; both are sound."""
    first = made(world)
    world.now += 5 * MINUTE
    again = made(world)
    assert first.serial_number != again.serial_number
    assert first.public_key() == again.public_key()


# ---- the change of the CA ------------------------------------------------------------------------------------------


def test_the_ca_changes_at_the_moment_that_is_said(world: World) -> None:
    """Before it the old one signs, from it on the new one, for every function at once; no one has to do anything."""
    (old,) = world.store.signer().cas
    new = replace(make_ca(world.now - HOUR, 2), signs_from=world.now + DAY)
    world.store.save_signer(replace(world.store.signer(), cas=(old, new)))
    for ahead, by in ((timedelta(), old), (DAY - timedelta(seconds=1), old), (DAY, new), (30 * DAY, new)):
        at = world.now + ahead
        answer = sign(event(), replace(world.account, now=partial(_same, at)), KEYS)
        ca = x509.load_pem_x509_certificate(by.pem.encode())
        x509.load_pem_x509_certificate(str(answer["certificatePem"]).encode()).verify_directly_issued_by(ca)


def _same(at: datetime) -> datetime:
    return at


def test_which_ca_signs_does_not_hang_on_their_order() -> None:
    """The one that began last."""
    begin = World().now
    cas = [SigningCa(ca_id=str(n), pem="", key="", signs_from=begin + n * DAY, ends=begin + 9 * DAY) for n in range(3)]
    for listed in (cas, cas[::-1]):
        signer = Signer(cas=tuple(listed))
        found = [signer.at(begin + days * DAY) for days in (-1, 0, 1, 1.5, 9)]
        assert [item.ca_id if item else None for item in found] == [None, "0", "1", "1", "2"]


# ---- what is vended ------------------------------------------------------------------------------------------------


class Direct:
    """The signer, without Lambda in between."""

    def __init__(self, world: World, before: Callable[[], None] = lambda: None) -> None:
        self._world, self._before = world, before

    def sign(self, csr: str, caller: str) -> str | None:
        """Ask as the vending machine's function does."""
        self._before()
        try:
            return str(sign(event(csr, caller), self._world.account, KEYS)["certificatePem"])
        except NotSignedError:
            return None


@pytest.fixture(name="seller")
def _seller(world: World) -> World:
    """The account with the vending machine before the signer."""
    world.account = replace(world.account, signer=Direct(world))
    world.arm()
    return world


def test_what_is_vended_is_signed_by_the_same_ca(seller: World) -> None:
    """The API that makes AWS's own certificates does not ask the provider, so the vending machine asks by itself."""
    sold = seller.vend(CSR)
    found = x509.load_pem_x509_certificate(sold["certificatePem"].encode())
    found.verify_directly_issued_by(x509.load_pem_x509_certificate(seller.store.signer().cas[0].pem.encode()))
    assert seller.status(sold["certificateId"]) is Status.ACTIVE
    assert "make_certificate" not in seller.verbs
    seller.now += HOUR
    assert seller.vend(CSR) == sold, "what was bought is bought"


def test_what_is_vended_is_awss_own_where_the_signer_is_off(seller: World) -> None:
    """A CA alone changes nothing."""
    seller.store.save_signer(replace(seller.store.signer(), on=False))
    seller.vend(CSR)
    assert "make_certificate" in seller.verbs
    assert seller.counts(Metric.SIGNED) == 0


def test_a_request_that_the_signer_refuses_is_no_request_to_the_vending_machine(seller: World) -> None:
    """And spends nothing."""
    assert seller.vend(request("of no key"))["code"] == 400
    assert seller.vend(CSR)["certificateId"]


def test_the_same_request_under_two_serial_numbers_is_two_certificates(seller: World) -> None:
    """Who has seen another's request buys no share in the other's certificate."""
    seller.arm("0043", "other")
    first, second = seller.vend(CSR), seller.vend(CSR, "0043", "other")
    assert first["certificateId"] != second["certificateId"]
    assert (first["thingName"], second["thingName"]) == ("gw-0042", "gw-0043")


def test_the_vending_machine_dies_at_any_step_and_the_request_comes_again(world: World) -> None:
    """Within the minute and after it: sold at once, with one certificate that is active."""
    for wait in (timedelta(), 2 * MINUTE):
        for step in range(1, 40):
            begun = World()
            begun.store.signing = world.store.signing
            begun.account = replace(begun.account, signer=Direct(begun))
            begun.arm()
            begun.at_each_step = begun.failing(step)
            with suppress(UnavailableError):
                begun.vend(CSR)
            begun.at_each_step = lambda _: None
            begun.now += wait
            sold = begun.vend(CSR)["certificateId"]
            assert begun.active() == {sold}, step
            assert set(begun.registry.entries) - set(begun.store.records) == set() or wait, "it is known, and is swept"
