"""Orders about an operator's own CA that are cut off anywhere, and typed again."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from moto.iot import iot_backends

from agent.fleet.decide.own_ca import is_guarded
from agent.fleet.errors import AccountError
from support.aws.fleet_account import Interrupted
from support.suite import campaigns
from support.unit.own_ca import DAY, HOUR, YEAR, Provider, keys, prepared, row

# ---- interrupted and typed again -------------------------------------------------------------------------------------
MAKE = (
    "CreateKey",
    "GetPublicKey",
    "Sign",
    "GetRegistrationCode",
    "Sign",
    "RegisterCACertificate",
    "DescribeCACertificate",
    "GetItem",
    "PutItem",
)
ORDERS = {
    "--new": ("DescribeStacks", "GetItem", "ListKeys", *MAKE),
    "--renew 1": ("DescribeStacks", "GetItem", "ListKeys", "DescribeKey", *MAKE),
    "--retire 1": (
        "DescribeStacks", "GetItem", "ListCertificatesByCA", "UpdateCACertificate", "DisableKey", "PutItem"
    ),
    "--sign on": (
        "DescribeStacks", "GetItem", "ListCertificateProviders", "Invoke", "UpdateTerminationProtection",
        "GetStackPolicy", "SetStackPolicy", "CreateCertificateProvider", "PutItem",
    ),
    "--sign off": (
        "DescribeStacks", "GetItem", "ListCertificateProviders", "DescribeCertificateProvider",
        "DeleteCertificateProvider", "PutItem", "GetStackPolicy", "SetStackPolicy",
    ),
}  # fmt: skip
CUTS = [
    pytest.param(order, place, id=f"{order}, before {place}, {calls[place]}")
    for order, calls in ORDERS.items()
    for place in range(1, len(calls))
]


@pytest.mark.parametrize("order", ORDERS)
def test_what_an_order_asks_of_aws(provider: Provider, order: str) -> None:
    """So that it is cut off before each of these below."""
    operator = prepared(provider, order)
    assert operator.runs("ca", *order.split(), "--yes")[0] == 0
    assert operator.calls == list(ORDERS[order])


@pytest.mark.parametrize(("order", "place"), [CUTS[place] for place in campaigns.places(len(CUTS), 8)])
def test_an_order_that_was_cut_off_is_typed_again(provider: Provider, order: str, place: int) -> None:
    """Wherever: one key, one CA certificate and one provider, as was said at first, where that is on record."""
    operator = prepared(provider, order)
    before, begun = len(keys()), operator.now
    operator.cut_at = place
    years = ("--years", "3") if order == "--new" else ("--years", "3", "--from", "2026-12-20T00:00Z")
    making = "--new" in order or "--renew" in order
    with pytest.raises(Interrupted):
        operator.runs("ca", *order.split(), *(years if making else ()), "--yes")
    operator.cut_at = None
    is_made = len(keys()) > before
    operator.now += HOUR
    assert operator.runs("ca", *order.split(), "--yes")[0] == 0
    after = row(operator), len(keys()), provider.made_so_far
    assert operator.runs("ca", *order.split(), "--yes")[0] == 0, "its end was not told"
    assert (row(operator), len(keys()), provider.made_so_far) == after

    ends_as(provider, order)
    if making:
        assert len(keys()) == before + 1
        assert registered() == {item.pem for item in row(operator).cas}
        own = row(operator).cas[-1]
        assert own.ends == (begun + 3 * YEAR if is_made else operator.now + 10 * YEAR)
        if "--renew" in order:
            assert own.signs_from == (datetime(2026, 12, 20, tzinfo=UTC) if is_made else operator.now + 7 * DAY)


def ends_as(provider: Provider, order: str) -> None:
    """Check what is there after an order."""
    found = row(provider.operator)
    numbers = {"--renew 1": [1, 2], "--retire 1": [2]}.get(order, [1])
    assert [item.number for item in found.cas] == numbers
    assert (found.on, bool(provider.there)) == ((True, True) if order == "--sign on" else (False, False))
    assert provider.made_so_far == ("--sign" in order)
    assert is_guarded(provider.policy) is (order == "--sign on")
    enabled = [item["KeyId"] for item in keys() if item["KeyState"] == "Enabled"]
    assert sorted(enabled) == sorted(item.key for item in found.cas)


def registered() -> set[str]:
    """Return the CA certificates that AWS IoT knows."""
    return {item.certificate_pem for item in iot_backends["123456789012"]["eu-west-1"].ca_certificates.values()}


def test_a_provider_of_an_unforeseen_name_is_left_by_no_interruption(provider: Provider) -> None:
    """Cut off between its making and its taking back, the order typed again takes it back: it may call nothing."""
    operator = prepared(provider, "--sign on")
    provider.arn = "arn:aws:iot:eu-west-1:123456789012:certificateprovider:iot-cert"
    operator.cut_at = len(ORDERS["--sign on"]) - 1
    with pytest.raises(Interrupted):
        operator.runs("ca", "--sign", "on", "--yes")
    assert provider.there
    operator.cut_at = None
    code, said = operator.runs("ca", "--sign", "on")
    assert code == AccountError.exit
    assert "removed again" in said
    assert not provider.there
    assert not row(operator).on
