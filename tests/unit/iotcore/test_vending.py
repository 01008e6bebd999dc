"""The vending machine's client before servers that sell, refuse, are other ones, send too much or say nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.aws.endpoints import Endpoint, Proxy
from agent.core.failure.codes import Code
from agent.core.failure.failure import Failure, FailureClass
from agent.core.values import VENDED
from agent.crypto import x509
from agent.errors import CloudError
from agent.iotcore.client_options import Timeouts
from agent.iotcore.vending import Machine, Purse, VendingSession, connect
from agent.sandbox.account.authority import Authority
from agent.sandbox.network.vending import VendingFront
from support.network.tunnels import tunnelling_proxy
from support.simulated.rig import is_told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
ROOT, OTHER = Authority("vending root", NOW), Authority("another root", NOW)
TOKEN = "5ec2e7-token"  # noqa: S105 - what must not be told
SOLD = {"certificateId": "ab" * 32, "certificatePem": "-----BEGIN CERTIFICATE-----\nx\n", "thingName": "gw-0042"}
CSR = b"-----BEGIN CERTIFICATE REQUEST-----\nx\n-----END CERTIFICATE REQUEST-----\n"


class ScriptedShop:
    """A vending machine that answers what it is told to."""

    def __init__(self, *, authority: Authority = ROOT, not_after: timedelta = DAY) -> None:
        self.heard: list[dict[str, Any]] = []
        self.answer: Mapping[str, object] | None = {"statusCode": 200, "body": json.dumps(SOLD)}
        self.front = VendingFront(self._hear, authority.issue_server("localhost", NOW - 2 * DAY, NOW + not_after))

    def _hear(self, event: Mapping[str, object]) -> Mapping[str, object] | None:
        self.heard.append(json.loads(str(event["body"])))
        return self.answer

    def machine(self, *, trusts: Authority = ROOT, proxy: Proxy | None = None) -> Machine:
        """Return it as the client knows it."""
        timeouts = Timeouts(connect=60.0, request=60.0)
        return Machine(url=self.front.url, authorities=x509.read_bundle(trusts.pem), proxy=proxy, timeouts=timeouts)

    def buy(self, machine: Machine | None = None) -> Any:
        """Connect, where the endpoint is the shop's own server, and buy."""
        machine = machine or self.machine()
        purse = Purse(serial="0042", token=TOKEN)
        endpoint = Endpoint(host="localhost", port=machine.endpoint.port)
        return connect(machine, purse, endpoint, x509.read_bundle(ROOT.pem)).create_certificate(CSR)


@pytest.fixture(name="shop")
def _shop() -> Iterator[ScriptedShop]:
    shop = ScriptedShop()
    with shop.front:
        yield shop


def failure(act: Callable[[], object]) -> Failure:
    """Return why nothing was bought, once it is known to be told in sentences and to hold no secret."""
    with pytest.raises(CloudError) as caught:
        act()
    assert TOKEN not in str(caught.value) + repr(caught.value.failure)
    assert is_told(caught.value.failure), caught.value.failure
    return caught.value.failure


def test_a_certificate_is_bought(shop: ScriptedShop) -> None:
    """What is sent is what the page says; the thing's name stands in the ownership token's place."""
    made = shop.buy()
    assert (made.certificate_id, made.certificate_pem) == (SOLD["certificateId"], SOLD["certificatePem"])
    assert shop.heard == [
        {"serialNumber": "0042", "registrationToken": TOKEN, "certificateSigningRequest": CSR.decode()}
    ]
    session = VendingSession(shop.machine(), Purse(serial="0042", token=TOKEN), "anchor")
    assert made.token == f"{VENDED}gw-0042"
    assert session.register_thing("", made.token, {}) == "gw-0042"
    assert TOKEN not in repr(Purse(serial="0042", token=TOKEN))


def test_an_ownership_token_of_fleet_provisioning_is_none_of_its(shop: ScriptedShop) -> None:
    """The method was changed in between: the certificate is asked for anew."""
    session = VendingSession(shop.machine(), Purse(serial="0042", token=TOKEN), "anchor")
    with pytest.raises(CloudError) as caught:
        session.register_thing("gateway", "eyJ...", {})
    assert caught.value.failure.code == Code.TOKEN_INVALID


def test_the_anchor_is_that_of_the_endpoint(shop: ScriptedShop) -> None:
    """Not that of the vending machine, whose authority may be another one."""
    other = ScriptedShop(authority=OTHER)
    with other.front:
        endpoint = Endpoint(host="localhost", port=shop.machine().endpoint.port)
        purse = Purse(serial="0042", token=TOKEN)
        session = connect(other.machine(trusts=OTHER), purse, endpoint, x509.read_bundle(ROOT.pem))
        assert session.anchor == x509.read_bundle(ROOT.pem).anchors[0].sha256


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (400, '{"code": 400, "message": "no CSR"}', FailureClass.PROTOCOL, Code.REQUEST_REFUSED),
        (403, '{"code": 403, "message": "No."}', FailureClass.PROTOCOL, Code.TOKEN_REFUSED),
        (403, '{"message": "Forbidden"}', FailureClass.PROTOCOL, Code.REQUEST_REFUSED),
        (404, '{"message": "Not Found"}', FailureClass.PROTOCOL, Code.REQUEST_REFUSED),
        (302, "", FailureClass.PROTOCOL, Code.REQUEST_REFUSED),
        (429, '{"code": 429, "message": "x"}', FailureClass.THROTTLED, Code.THROTTLED),
        (429, '{"message": "Too Many Requests"}', FailureClass.THROTTLED, Code.THROTTLED),
        (500, '{"message": "Internal Server Error"}', FailureClass.NETWORK, Code.VENDING_UNHEARD),
        (503, "<html>", FailureClass.NETWORK, Code.VENDING_UNHEARD),
        (408, "", FailureClass.NETWORK, Code.VENDING_UNHEARD),
        (403, '{"code": 403, "message": 7}', FailureClass.PROTOCOL, Code.TOKEN_REFUSED),
    ],
)
def test_each_status_has_its_class(shop: ScriptedShop, status: int, body: str, kind: FailureClass, code: Code) -> None:
    """It decides what the agent does next."""
    shop.answer = {"statusCode": status, "body": body}
    found = failure(shop.buy)
    assert (found.kind, found.code) == (kind, code)
    assert not found.decisive


def test_the_message_is_quoted_on_one_line_and_the_token_is_not(shop: ScriptedShop) -> None:
    """Whatever a server that repeats what it heard says."""
    shop.answer = {"statusCode": 400, "body": json.dumps({"code": 400, "message": f"no\x1b[31m\nuse for {'x' * 900}"})}
    found = failure(shop.buy)
    assert found.message.startswith("The vending machine sold nothing (400): no [31m use for xxx")
    assert len(found.message) < 300


@pytest.mark.parametrize(
    "body",
    [
        "", "{", "[]", "{}", "x" * 200_000,
        json.dumps(SOLD | {"thingName": "gw 42"}), json.dumps(SOLD | {"thingName": ""}),
        json.dumps(SOLD | {"thingName": "x" * 129}), json.dumps(SOLD | {"certificatePem": 7}),
        json.dumps(SOLD | {"certificatePem": "x" * 100_000}), json.dumps({"certificatePem": "x", "thingName": "gw"}),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_not_used(shop: ScriptedShop, body: str) -> None:
    """Too much, no JSON, or a field that is missing, too long or of another type."""
    shop.answer = {"statusCode": 200, "body": body}
    assert failure(shop.buy).code == Code.GARBLED


def test_a_connection_that_ends_without_a_word_is_asked_again(shop: ScriptedShop) -> None:
    """The request may have been carried out."""
    shop.answer = None
    found = failure(shop.buy)
    assert (found.kind, found.code) == (FailureClass.NETWORK, Code.VENDING_UNHEARD)
    assert "the same request is sold the same certificate" in found.promise


def test_a_server_of_another_authority_is_shown_nothing(shop: ScriptedShop) -> None:
    """The remedy names the key of the configuration that says who verifies it."""
    found = failure(lambda: shop.buy(shop.machine(trusts=OTHER)))
    assert (found.kind, found.code) == (FailureClass.SERVER_TRUST, Code.UNKNOWN_ROOT)
    assert "enrollment.ca" in found.remedy
    assert shop.heard == []


def test_a_server_whose_certificate_has_ended_is_shown_nothing() -> None:
    """The gateway's clock is named, too."""
    shop = ScriptedShop(not_after=-DAY)
    with shop.front:
        machine = shop.machine()
        sound = ScriptedShop()
        with sound.front:
            endpoint = Endpoint(host="localhost", port=sound.machine().endpoint.port)
            purse = Purse(serial="0042", token=TOKEN)
            found = failure(lambda: connect(machine, purse, endpoint, x509.read_bundle(ROOT.pem)))
    assert found.code == Code.SERVER_EXPIRED
    assert shop.heard == []


def test_a_server_for_another_name_is_shown_nothing(shop: ScriptedShop) -> None:
    """By its address it is not the one that is configured."""
    machine = replace(shop.machine(), url=shop.front.url.replace("localhost", "127.0.0.1"))
    found = failure(lambda: shop.buy(machine))
    assert (found.code, "enrollment.url" in found.remedy) == (Code.WRONG_HOST, True)
    assert shop.heard == []


def test_an_endpoint_that_is_not_there_keeps_the_token_in_its_file(shop: ScriptedShop) -> None:
    """A certificate that cannot be used is not bought."""
    purse, nowhere = Purse(serial="0042", token=TOKEN), Endpoint(host="localhost", port=1)
    found = failure(lambda: connect(shop.machine(), purse, nowhere, x509.read_bundle(ROOT.pem)))
    assert found.message == "localhost does not take connections on port 1 (Connection refused)."
    assert shop.heard == []


def test_a_machine_that_is_not_there_is_told_by_its_own_key(shop: ScriptedShop) -> None:
    """Not by the endpoint's."""
    machine = replace(shop.machine(), url="https://localhost:1/v1/certificates")
    purse, endpoint = Purse(serial="0042", token=TOKEN), Endpoint(host="localhost", port=shop.machine().endpoint.port)
    found = failure(lambda: connect(machine, purse, endpoint, x509.read_bundle(ROOT.pem)))
    assert found.message.startswith("The vending machine cannot be asked. localhost does not take connections")
    assert "enrollment.url" in found.remedy


def test_it_is_asked_through_the_proxy(shop: ScriptedShop) -> None:
    """The look at it, and the request."""
    with tunnelling_proxy() as (port, asked):
        shop.buy(shop.machine(proxy=Proxy(host="127.0.0.1", port=port)))
    assert asked == [f"CONNECT localhost:{shop.machine().endpoint.port}"] * 2


def test_a_proxy_that_wants_a_name_is_blamed_itself(shop: ScriptedShop) -> None:
    """With the keys of the proxy."""
    with tunnelling_proxy(credentials="gateway:secret") as (port, _):
        found = failure(lambda: shop.buy(shop.machine(proxy=Proxy(host="127.0.0.1", port=port))))
    assert found.code == Code.PROXY
    assert "`user` and `password_file` below `proxy`" in found.remedy
    assert shop.heard == []


def test_an_answer_that_drips_has_an_end(shop: ScriptedShop) -> None:
    """The time is for all of it."""
    machine = replace(shop.machine(), timeouts=Timeouts(connect=60.0, request=0.0))
    assert failure(lambda: shop.buy(machine)).code == Code.VENDING_UNHEARD


@pytest.mark.parametrize("act", ["ask", "retire", "denied"])
def test_it_does_nothing_but_sell(shop: ScriptedShop, act: str) -> None:
    """What a set is asked to do is a defect in the caller here."""
    session = VendingSession(shop.machine(), Purse(serial="0042", token=TOKEN), "anchor")
    with pytest.raises(ValueError, match="vending machine"):
        getattr(session, act)(*([] if act == "ask" else [()]))
    session.close()


def test_the_port_is_443_where_none_is_named() -> None:
    """As a URL has it, with IPv6 addresses in brackets."""
    machine = replace(ScriptedShop().machine(), url="https://[fd00::1]/v1/certificates")
    assert (machine.endpoint.host, machine.endpoint.port) == ("fd00::1", 443)
