from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from agent.core.failure.failure import FailureClass
from agent.core.values import Candidate
from agent.crypto import keys, x509
from agent.errors import CloudError
from agent.sandbox.account.authority import AWS_NOT_AFTER, Authority, key_to_pem, name
from agent.sandbox.account.policies import GATEWAY, Policy
from agent.sandbox.cloud import Cloud, Entry, Status
from agent.sandbox.replies.faults import Effect, Fault, Operation
from agent.sandbox.replies.topics import is_ours
from support.simulated.simulator import SimulatedEndpoint, SimulatedSession

if TYPE_CHECKING:
    from agent.sandbox.replies.answers import Reply

THING = "gw-1"
TOPIC = f"iot-cert-agent/{THING}/retire"
NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)


@dataclass
class RetiringAccount:
    """A cloud with one gateway, its old and its new certificate, and the certificates whose connections were cut."""

    cuts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cloud = Cloud(lambda: NOW)
        self.cloud.attach(self)
        self.old, _ = register(self.cloud, THING)
        self.new, _ = register(self.cloud, THING)

    def deliver(self, message: Reply, to: str | None) -> None:
        """Nothing is told to others."""
        raise AssertionError((message, to))

    def cut(self, certificate_id: str) -> None:
        """Note it."""
        self.cuts.append(certificate_id)

    def retire(self, certificate_id: object, *, caller: Entry | None = None) -> tuple[str, dict[str, Any]]:
        """Ask, and return whether it was accepted or rejected, and the reply."""
        return self.publish(json.dumps({"certificateId": certificate_id, "clientToken": "t"}).encode(), caller)

    def publish(self, payload: bytes, caller: Entry | None = None) -> tuple[str, dict[str, Any]]:
        """Publish to the topic of retirement, and return verdict and reply."""
        (reply,) = self.cloud.publish(caller or self.new, THING, TOPIC, payload).replies
        topic, _, verdict = reply.topic.rpartition("/")
        assert topic == TOPIC
        return verdict, json.loads(reply.payload)


def register(cloud: Cloud, thing: str | None, status: Status = Status.ACTIVE) -> tuple[Entry, bytes]:
    """Give a thing a certificate without asking, and return its entry and key."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = cloud.authority.issue_client(name("x"), key.public_key(), NOW, AWS_NOT_AFTER)
    entry = cloud.registry.add(certificate, status)
    entry.policies, entry.thing_name = [GATEWAY], thing
    return entry, key_to_pem(key)


@pytest.fixture
def account() -> RetiringAccount:
    """Return an account with a gateway that has just rotated."""
    return RetiringAccount()


def test_the_certificate_left_behind_becomes_inactive_and_its_connections_end(account: RetiringAccount) -> None:
    """The reply names it and repeats the token; the request is noted."""
    assert account.retire(account.old.certificate_id) == (
        "accepted",
        {"certificateId": account.old.certificate_id, "clientToken": "t"},
    )
    assert (account.old.status, account.new.status) == (Status.INACTIVE, Status.ACTIVE)
    assert account.cuts == [account.old.certificate_id]
    (request,) = account.cloud.requests
    assert (request.operation, request.outcome, request.principal) == ("retire", "200", account.new.certificate_id)


@pytest.mark.parametrize("status", [Status.INACTIVE, Status.REVOKED])
def test_to_retire_again_is_accepted_again(account: RetiringAccount, status: Status) -> None:
    """A reply may have been lost; what was revoked stays revoked."""
    account.old.status = status
    assert account.retire(account.old.certificate_id)[0] == "accepted"
    assert account.old.status is status


def test_a_certificate_cannot_retire_itself(account: RetiringAccount) -> None:
    """Else a gateway could lock itself out with one message."""
    verdict, body = account.retire(account.new.certificate_id)
    assert verdict == "rejected"
    assert body == {
        "certificateId": account.new.certificate_id,
        "clientToken": "t",
        "code": 409,
        "message": "A certificate cannot retire itself: connect with its successor.",
    }
    assert (account.new.status, account.cuts) == (Status.ACTIVE, [])


@pytest.mark.parametrize("whose", ["another thing's", "a claim", "unknown", "not registered yet", "its successor"])
def test_what_is_not_the_things_is_refused_without_telling_whose_it_is(account: RetiringAccount, whose: str) -> None:
    """One answer for all of them, and nothing changes."""
    claim, pending = next(iter(account.cloud.registry)), register(account.cloud, None, Status.PENDING_ACTIVATION)[0]
    other, successor = register(account.cloud, "gw-2")[0], register(account.cloud, None)[0]
    wanted = {
        "another thing's": other.certificate_id,
        "a claim": claim,
        "unknown": "0" * 64,
        "not registered yet": pending.certificate_id,
        "its successor": successor.certificate_id,
    }[whose]
    before = {key: entry.status for key, entry in account.cloud.registry.items()}
    verdict, body = account.retire(wanted)
    assert verdict == "rejected"
    assert body == {
        "certificateId": wanted,
        "clientToken": "t",
        "code": 403,
        "message": "gw-1 has no such certificate.",
    }
    assert {key: entry.status for key, entry in account.cloud.registry.items()} == before
    assert account.cuts == []


@pytest.mark.parametrize(
    "certificate_id", [None, 7, "", "ab" * 31, "AB" * 32, "zz" * 32, "ab" * 32 + "\n", ["ab" * 32]]
)
def test_what_is_no_certificate_id_is_refused(account: RetiringAccount, certificate_id: object) -> None:
    """With a sentence; what came is not repeated."""
    assert account.retire(certificate_id) == (
        "rejected",
        {
            "certificateId": None,
            "clientToken": "t",
            "code": 400,
            "message": "certificateId must be 64 hexadecimal digits.",
        },
    )


@pytest.mark.parametrize("payload", [b"", b"[]", b"{", b"\xff"])
def test_what_is_no_json_object_is_refused(account: RetiringAccount, payload: bytes) -> None:
    """With 400."""
    verdict, body = account.publish(payload)
    assert (verdict, body["code"]) == ("rejected", 400)


@pytest.mark.parametrize("status", [Status.INACTIVE, Status.REVOKED, Status.PENDING_ACTIVATION])
def test_only_an_active_certificate_may_retire_another(account: RetiringAccount, status: Status) -> None:
    """A connection may outlive its certificate for minutes."""
    account.new.status = status
    verdict, body = account.retire(account.old.certificate_id)
    assert (verdict, body["code"]) == ("rejected", 403)
    assert body["message"] == "The certificate that asks is not an active one of gw-1."
    assert account.old.status is Status.ACTIVE


def test_the_policy_keeps_other_gateways_from_the_topic(account: RetiringAccount) -> None:
    """They are refused before anything is looked at."""
    other, _ = register(account.cloud, "gw-2")
    payload = json.dumps({"certificateId": account.old.certificate_id}).encode()
    assert not account.cloud.publish(other, "gw-2", TOPIC, payload).authorised
    assert account.old.status is Status.ACTIVE


def test_a_careless_policy_does_not_open_the_rule(account: RetiringAccount) -> None:
    """The rule itself looks at whose certificate asks."""
    other, _ = register(account.cloud, "gw-2")
    account.cloud.registry.documents[GATEWAY] = Policy(connect=("*",), publish=("*",), subscribe=("*",))
    verdict, body = account.retire(account.old.certificate_id, caller=other)
    assert (verdict, body["code"]) == ("rejected", 403)
    assert account.old.status is Status.ACTIVE


@pytest.mark.parametrize(
    ("topic", "ours"),
    [
        (TOPIC, True),
        ("$aws/anything", True),
        (f"{TOPIC}/accepted", False),
        ("iot-cert-agent/gw-1/other", False),
        ("iot-cert-agent/retire", False),
        ("other/gw-1/retire", False),
        ("gateways/gw-1/data", False),
    ],
)
def test_the_cloud_answers_its_own_topics_only(topic: str, *, ours: bool) -> None:
    """All others are the broker's."""
    assert is_ours(topic) == ours


# -- in the simulator --------------------------------------------------------------------------------------------------


@dataclass
class Rehearsal:
    """A simulated endpoint, and candidates for the old and the new certificate."""

    def __post_init__(self) -> None:
        self.cloud = Cloud(lambda: NOW)
        self.trust = x509.read_bundle(Authority("Sandbox endpoint root A", NOW).pem)
        self.endpoint = SimulatedEndpoint(cloud=self.cloud, root_sha256=self.trust.anchors[0].sha256)
        self.old, self.new = register(self.cloud, THING), register(self.cloud, THING)

    def connect(self, registered: tuple[Entry, bytes], client_id: str = f"{THING}-cert-agent") -> SimulatedSession:
        """Connect with a registered certificate."""
        entry, key_pem = registered
        candidate = Candidate(
            name="a set",
            credential=keys.credential_set(key_pem, entry.pem.encode()),
            trust=self.trust,
            client_id=client_id,
            thing_name=THING,
        )
        return self.endpoint.connect(candidate)


@pytest.fixture
def rehearsal() -> Rehearsal:
    """Return a simulated endpoint with a gateway that has just rotated."""
    return Rehearsal()


def test_a_simulated_session_retires_a_certificate_and_ends_those_that_use_it(rehearsal: Rehearsal) -> None:
    """The old one's session is lost, the new one's goes on, and the old one does not come in again."""
    session = rehearsal.connect(rehearsal.new)
    application = rehearsal.connect(rehearsal.old, THING)
    session.retire(rehearsal.old[0].certificate_id)
    assert rehearsal.old[0].status is Status.INACTIVE
    with pytest.raises(CloudError) as caught:
        application.ask()
    assert caught.value.failure.code == "session-lost"
    session.ask()
    with pytest.raises(CloudError) as refused:
        rehearsal.connect(rehearsal.old, THING)
    assert refused.value.failure.code == "hung-up"


def test_a_simulated_refusal_says_why(rehearsal: Rehearsal) -> None:
    """The status decides the class, and the rule's own sentence is told."""
    with pytest.raises(CloudError) as caught:
        rehearsal.connect(rehearsal.new).retire("0" * 64)
    assert caught.value.failure.kind is FailureClass.POLICY
    assert "gw-1 has no such certificate" in caught.value.failure.message


@pytest.mark.parametrize(
    ("effect", "code", "status"),
    [
        (Effect.LOSE, "no-reply", Status.INACTIVE),
        (Effect.LATE, "no-reply", Status.INACTIVE),
        (Effect.DUPLICATE, "", Status.INACTIVE),
        (Effect.IGNORE, "no-reply", Status.ACTIVE),
        (Effect.SILENCE, "no-reply", Status.ACTIVE),
        (Effect.GARBLE, "no-reply", Status.ACTIVE),  # without its token the SDK takes no answer for its own
        (Effect.OVERSIZE, "no-reply", Status.ACTIVE),
        (Effect.HANG_UP, "session-lost", Status.ACTIVE),
        (Effect.UNAUTHORISED, "not-authorised", Status.ACTIVE),
        (Effect.DENY, "denied", Status.ACTIVE),
        (Effect.THROTTLE, "throttled", Status.ACTIVE),
        (Effect.UNAVAILABLE, "cloud-unavailable", Status.ACTIVE),
    ],
)
def test_faults_strike_a_simulated_retirement(rehearsal: Rehearsal, effect: Effect, code: str, status: Status) -> None:
    """Each is told by its name; one that strikes after the fact leaves the certificate inactive."""
    rehearsal.cloud.faults.add(Fault(operation=Operation.RETIRE, effect=effect))
    session, told = rehearsal.connect(rehearsal.new), ""
    try:
        session.retire(rehearsal.old[0].certificate_id)
    except CloudError as error:
        told = error.failure.code
    assert told == code
    assert rehearsal.old[0].status is status
    assert rehearsal.cloud.count(Operation.RETIRE) == 1


def test_what_the_cloud_says_by_itself_is_kept_by_the_simulator(rehearsal: Rehearsal) -> None:
    """A test that plays a daemon reads it there."""
    rehearsal.cloud.push(THING, "a/b", b"\x00", retain=True)
    (message,) = rehearsal.endpoint.pushed
    assert (message.topic, message.payload, message.retain) == ("a/b", b"\x00", True)
