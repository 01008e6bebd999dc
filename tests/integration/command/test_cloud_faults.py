"""What the cloud does wrong or late, as a person meets it: told in a sentence, and nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.sandbox.cloud import Status
from agent.sandbox.replies.faults import Effect, Fault, Operation
from support.suite import campaigns

if TYPE_CHECKING:
    from support.running.gateway import Gateway

# Each: the fault, how the first try ends (exit code, class, code), and whether a second one makes it good.
FAULTS = [
    ("create lose", 5, "network", "no-reply"),
    ("create ignore", 5, "network", "no-reply"),
    ("create reject", 1, "protocol", "request-refused"),
    ("create deny", 5, "policy", "denied"),
    ("create throttle", 5, "throttled", "throttled"),
    ("create unavailable", 5, "network", "cloud-unavailable"),
    ("create garble", 5, "protocol", "garbled"),
    ("create oversize", 5, "protocol", "garbled"),
    ("create wrong-key", 5, "protocol", "certificate-unacceptable"),
    ("create expired", 5, "protocol", "certificate-unacceptable"),
    ("create not-yet-valid", 5, "protocol", "certificate-unacceptable"),
    ("create no-token", 5, "protocol", "garbled"),
    ("create hang-up", 5, "network", "session-lost"),
    ("create unauthorised", 5, "policy", "not-authorised"),
    ("register lose", 5, "network", "no-reply"),
    ("register ignore", 5, "network", "no-reply"),
    ("register reject", 1, "protocol", "request-refused"),
    ("register deny", 5, "policy", "denied"),
    ("register throttle", 5, "throttled", "throttled"),
    ("register unavailable", 5, "network", "cloud-unavailable"),
    ("register garble", 5, "protocol", "garbled"),
    ("register wrong-thing", 1, "protocol", "wrong-thing"),
    ("register hang-up", 5, "network", "session-lost"),
    ("connect hang-up", 3, "network", "locked-out"),
    ("connect throttle", 5, "throttled", "throttled"),
    ("connect unavailable", 5, "network", "cloud-unavailable"),
    ("connect unauthorised", 5, "policy", "not-authorised"),
    ("ask ignore", 5, "network", "no-reply"),
]


@pytest.mark.parametrize("operation", ["create", "register", "connect", "ask"])
def test_every_fault_has_its_class_and_sentence(enrolled: Gateway, operation: str) -> None:
    """A fault is told by class, code and sentence; the set in use still connects, and the next try succeeds."""
    enrolled.expect_silence()
    for fault in campaigns.one_of_each(FAULTS, lambda item: item[3]):
        if fault[0].startswith(operation):
            a_fault_has_its_class_and_sentence(enrolled, *fault)


def a_fault_has_its_class_and_sentence(gateway: Gateway, fault: str, code: int, kind: str, name: str) -> None:
    """One after the other on one gateway: each begins with a set that works, and ends so."""
    before = gateway.generations()[0] or 0
    gateway.order("fault " + fault + (" always" if fault.startswith("connect hang-up") else ""))
    tried = gateway.run("rotate", "--json", "--wait", "0", *_impatient(kind))
    failure = tried.outcome["change"]["failure"]
    assert (tried.code, failure["kind"], failure["code"]) == (code, kind, name), fault
    assert failure["message"].endswith("."), fault
    assert tried.outcome["current"] == gateway.generations()[0] == before, fault
    gateway.order("clear")
    gateway.run("rotate", expect=0)
    current, previous = gateway.generations()
    assert current in {before + 1, before + 2}, fault
    assert previous == before, fault
    assert gateway.cloud.registry[gateway.certificate_id()].status is Status.ACTIVE, fault


def _impatient(kind: str) -> list[str]:
    """Refusals that may be the cloud's own delay are waited out in the foreground unless the caller says no."""
    return ["--no-wait"] if kind == "policy" else []


def test_a_certificate_that_never_becomes_active_is_set_aside(enrolled: Gateway) -> None:
    """Refused while the current set is accepted: rejected, and the gateway keeps what works."""
    enrolled.order("fault register never-active")
    ended = enrolled.run("rotate", "--json", expect=1).outcome
    assert ended["change"]["failure"]["kind"] == "credential"
    assert enrolled.generations() == (1, None)
    assert (enrolled.state / "generations" / "000002.rejected").is_dir()


@pytest.mark.whole
def test_a_certificate_revoked_on_probation_is_rolled_back(enrolled: Gateway) -> None:
    """The new set passed its proof and is refused later: the previous one is put back."""
    enrolled.order("fault register revoke")
    ended = enrolled.run("rotate", "--json", expect=1).outcome
    assert ended["change"]["phase"] == "rolled-back"
    assert enrolled.generations() == (1, None)
    assert "rolled back" in enrolled.run("status", expect=1).out
    enrolled.run("rotate", expect=0)
    assert enrolled.generations() == (3, 1)


def test_extra_fields_and_duplicate_replies_do_no_harm(enrolled: Gateway) -> None:
    """A newer service may say more, and a broker may say it twice."""
    enrolled.order("fault create extra-fields")
    enrolled.run("rotate", expect=0)
    enrolled.order("fault create duplicate")
    enrolled.order("fault register duplicate")
    enrolled.run("rotate", expect=0)
    assert enrolled.generations() == (3, 2)


@pytest.mark.whole
def test_a_late_reply_is_never_taken_for_another(enrolled: Gateway) -> None:
    """It is not registered: the next request is another, and brings another certificate."""
    enrolled.expect_silence()
    enrolled.order("fault create late")
    enrolled.run("rotate", expect=0)
    assert enrolled.generations() == (2, 1)
    assert enrolled.cloud.count(Operation.CREATE) == 3


NOT_ITSELF = [
    ("down", "network", "unreachable"),
    ("server other-root", "server-trust", "unknown-root"),
    ("server expired", "server-trust", "server-certificate-expired"),
    ("server wrong-host", "server-trust", "wrong-host"),
]


def test_an_endpoint_that_is_down_or_not_itself_costs_nothing(enrolled: Gateway) -> None:
    """No certificate is asked for, nothing is rolled back, and the change goes on when the endpoint is itself again."""
    for number, (order, kind, code) in enumerate(NOT_ITSELF, 1):
        enrolled.order(order)
        tried = enrolled.run("rotate", "--json", "--wait", "0", expect=5).outcome
        assert (tried["change"]["failure"]["kind"], tried["change"]["failure"]["code"]) == (kind, code)
        assert enrolled.cloud.count(Operation.CREATE) == number
        assert enrolled.generations()[0] == number
        enrolled.order("up" if order == "down" else "server good")
        enrolled.run("rotate", expect=0)
        assert enrolled.generations() == (number + 1, number)


def test_a_gateway_that_is_locked_out_climbs_the_ladder(enrolled: Gateway) -> None:
    """Current revoked: the previous set is put back and rotated from. Both revoked: the claim enrols anew."""
    enrolled.run("rotate", expect=0)
    enrolled.order("revoke current")
    enrolled.run("rotate", expect=0)
    assert [record.kind for record in enrolled.history()][-2:] == ["rollback", "rotate"]
    for entry in enrolled.cloud.certificates_of("gw-0042"):
        enrolled.service.revoke(entry.certificate_id)
    enrolled.run("rotate", expect=0)
    assert enrolled.history()[-1].kind == "enroll"
    assert enrolled.cloud.registry[enrolled.certificate_id()].status is Status.ACTIVE


def test_a_rollback_the_cloud_does_not_allow_is_refused(enrolled: Gateway) -> None:
    """A previous certificate that the cloud has deactivated is not gone back to; the gateway stays where it works."""
    enrolled.run("rotate", expect=0)
    enrolled.order(f"deactivate {enrolled.cloud.certificates_of('gw-0042')[0].certificate_id}")
    ended = enrolled.run("rollback", expect=1)
    assert "Generation 2 is accepted over the same path" in ended.out
    assert enrolled.generations() == (2, 1)


@pytest.mark.whole
def test_a_policy_that_takes_its_time_is_waited_for(enrolled: Gateway) -> None:
    """Not authorised on a fresh certificate is no refusal."""
    enrolled.order("policy-delay 4")
    enrolled.run("rotate", expect=0)
    assert enrolled.generations() == (2, 1)


HOSTILE = {
    "brackets": b"[" * 200_000,
    "digits": b'{"certificateId": ' + b"9" * 5_000_000 + b"}",
    "nan": b'{"certificateId": NaN, "certificatePem": NaN, "certificateOwnershipToken": NaN}',
    "twice": b'{"certificateId": "a", "certificateId": "b"}',
    "surrogate": b'{"certificatePem": "\\ud800", "certificateId": "x", "certificateOwnershipToken": "y"}',
    "types": b'{"certificatePem": {"a": 1}, "certificateId": [], "certificateOwnershipToken": 7}',
    "null": b"null",
    "list": b"[]",
    "text": b'"text"',
    "empty": b"",
    "zeros": b"\x00\x01\x02",
    "bytes": b"\xff" * 1000,
}


def test_a_hostile_reply_is_a_sentence(enrolled: Gateway) -> None:
    """Whatever the broker sends in place of a reply: class protocol, a sentence, and the next try succeeds."""
    for kind in campaigns.take(list(HOSTILE), 3):
        enrolled.cloud.faults.add(Fault(operation=Operation.CREATE, effect=Effect.HOSTILE, payload=HOSTILE[kind]))
        failure = enrolled.run("rotate", "--json", "--wait", "0", expect=5).outcome["change"]["failure"]
        assert (failure["kind"], failure["code"]) == ("protocol", "garbled"), kind
        enrolled.run("rotate", expect=0)
