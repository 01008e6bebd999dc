"""The handlers of the account in the sandbox: what they are asked, and what becomes of their answers.

What they decide is tested beside them (`scenarios/test_account_*.py`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from agent.backend.decide.audits import Left
from agent.backend.names import Metric
from agent.backend.values import Check, DeviceState, Status
from agent.sandbox.account.authority import AWS_NOT_AFTER, name
from agent.sandbox.account.policies import GATEWAY, Policy, PolicyAction
from agent.sandbox.cloud import Cloud, Entry
from agent.sandbox.services.jobs import JobStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.sandbox.replies.answers import Reply

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
THING = "gw-0042"
ENROL = "$aws/provisioning-templates/gateway/provision/json"
ROTATE = "$aws/provisioning-templates/gateway-rotation/provision/json"


@dataclass
class AccountWithToken:
    """A sandbox in which 0042 has a token, and the certificates whose connections were cut."""

    cuts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cloud = Cloud(lambda: NOW)
        self.cloud.attach(self)
        self.token = self.cloud.stack.arm("0042")
        self.claim = next(iter(self.cloud.registry.values()))

    def deliver(self, message: Reply, to: str | None) -> None:
        """What subscribers hear is not looked at."""

    def cut(self, certificate_id: str) -> None:
        """Note it."""
        self.cuts.append(certificate_id)

    def issue(self) -> Entry:
        """Return a certificate that awaits its registration."""
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
        made = self.cloud.authority.issue_client(name("x"), key, NOW, AWS_NOT_AFTER)
        entry = self.cloud.registry.add(made, Status.PENDING_ACTIVATION)
        entry.token = entry.certificate_id
        return entry

    def register(self, caller: Entry, entry: Entry, topic: str, parameters: object) -> dict[str, Any]:
        """Ask for a registration, and return the reply."""
        request = {"certificateOwnershipToken": entry.token, "parameters": parameters}
        (reply,) = self.cloud.publish(caller, "x", topic, json.dumps(request).encode()).replies
        return dict(json.loads(reply.payload))

    def enrolled(self, token: str = "") -> Entry:
        """Enrol, and return the certificate."""
        entry = self.issue()
        given = {"SerialNumber": "0042", "RegistrationToken": token or self.token}
        assert self.register(self.claim, entry, ENROL, given)["thingName"] == THING
        return entry

    def rotated(self, caller: Entry) -> Entry:
        """Rotate, and return the new certificate."""
        entry = self.issue()
        # The thing's topics are tried by others; here any client id will do.
        self.cloud.registry.documents[GATEWAY] = Policy(connect=("*",), publish=("*",), subscribe=("*",))
        assert self.register(caller, entry, ROTATE, {"ThingName": THING})["thingName"] == THING
        return entry

    def counted(self) -> Mapping[Metric, int]:
        """Return how much was counted of each metric."""
        told = [metric for metric, _, _ in self.cloud.stack.outbox.counted]
        return {metric: told.count(metric) for metric in told}


@pytest.fixture
def account() -> AccountWithToken:
    """Return a sandbox."""
    return AccountWithToken()


def test_the_hook_admits_a_serial_number_with_its_token(account: AccountWithToken) -> None:
    """As the thing of its row, attached exclusively, with the template's policy."""
    entry = account.enrolled()
    assert (entry.status, entry.things, entry.policies, entry.exclusive) == (Status.ACTIVE, [THING], [GATEWAY], True)
    assert account.counted() == {Metric.ENROLMENTS: 1}


@pytest.mark.parametrize(
    "parameters",
    [
        {"SerialNumber": "0042", "RegistrationToken": "wrong"},
        {"SerialNumber": "0042"},
        {"SerialNumber": "0043", "RegistrationToken": "wrong"},
        {"SerialNumber": ["0042"], "RegistrationToken": None},
        {},
        None,
        "0042",
    ],
)
def test_the_hook_refuses_all_others_alike(account: AccountWithToken, parameters: object) -> None:
    """The certificate stays what it was, for the right request to register."""
    entry = account.issue()
    answer = account.register(account.claim, entry, ENROL, parameters)
    assert (answer["statusCode"], answer["errorCode"]) == (403, "ACCESS_DENIED")
    assert (entry.status, entry.things, entry.policies) == (Status.PENDING_ACTIVATION, [], [])
    assert account.counted() == {Metric.ENROLMENTS_REFUSED: 1}


def test_the_hook_copies_the_policy_of_an_application(account: AccountWithToken) -> None:
    """Before the registration, which adds the template's own."""
    old = account.enrolled()
    account.cloud.stack.grant(old.certificate_id, "telemetry")
    new = account.rotated(old)
    assert sorted(new.policies) == [GATEWAY, "telemetry"]
    del account.cloud.registry.documents[GATEWAY], new.policies[new.policies.index(GATEWAY)]
    assert account.cloud.may(new, f"{THING}-telemetry", PolicyAction.CONNECT, f"{THING}-telemetry")
    assert account.cloud.may(new, f"{THING}-telemetry", PolicyAction.PUBLISH, f"telemetry/{THING}/data")
    assert not account.cloud.may(new, f"{THING}-telemetry", PolicyAction.PUBLISH, "telemetry/gw-0043/data")


def test_the_hook_refuses_another_things_name(account: AccountWithToken) -> None:
    """The registry says which thing it is."""
    old, entry = account.enrolled(), account.issue()
    assert account.register(old, entry, ROTATE, {"ThingName": "gw-0001"})["errorCode"] == "ACCESS_DENIED"
    assert account.register(old, entry, ROTATE, {})["thingName"] == THING


def test_a_shadow_that_reports_the_certificate_spends_the_token(account: AccountWithToken) -> None:
    """Until the operator arms the serial number again, with the same token or another one."""
    entry, again = account.enrolled(), account.issue()
    report = {"state": {"reported": {"certificateId": entry.certificate_id}}}
    account.cloud.publish(
        entry, THING, f"$aws/things/{THING}/shadow/name/certificate/update", json.dumps(report).encode()
    )
    given = {"SerialNumber": "0042", "RegistrationToken": account.token}
    assert account.register(account.claim, again, ENROL, given)["errorCode"] == "ACCESS_DENIED"
    row = account.cloud.stack.store.device("0042")
    assert row is not None
    assert row.state is DeviceState.ENROLLED

    account.cloud.stack.readmit("0042")
    account.enrolled()
    account.enrolled(account.cloud.stack.arm("0042"))


def test_what_is_attached_to_another_thing_is_not_registered(account: AccountWithToken) -> None:
    """AWS refuses it, whatever the hook says."""
    entry = account.issue()
    entry.things = ["gw-0001"]
    given = {"SerialNumber": "0042", "RegistrationToken": account.token}
    assert account.register(account.claim, entry, ENROL, given)["errorCode"] == "ProvisioningFailed"


def test_a_retirement_is_carried_out_and_swept_in_time(account: AccountWithToken) -> None:
    """Connections end at once; the certificate is kept for thirty days, and its thing keeps the other."""
    old = account.enrolled()
    new = account.rotated(old)
    request = json.dumps({"certificateId": old.certificate_id, "clientToken": "t"}).encode()
    (reply,) = account.cloud.publish(new, THING, f"iot-cert-agent/{THING}/retire", request).replies
    assert json.loads(reply.payload) == {"certificateId": old.certificate_id, "clientToken": "t"}
    assert (old.status, account.cuts) == (Status.INACTIVE, [old.certificate_id])
    assert account.cloud.stack.sweep(timedelta(days=29)) == []
    assert account.cloud.stack.sweep(timedelta(days=30)) == [
        f"{old.certificate_id[:12]}  CertificatesDeleted: Nothing needs it."
    ]
    assert old.certificate_id not in account.cloud.registry
    assert account.cloud.registry[new.certificate_id].status is Status.ACTIVE


def test_a_topic_of_no_thing_is_left_unanswered(account: AccountWithToken) -> None:
    """However careless the policy is."""
    account.cloud.registry.documents[GATEWAY] = Policy(connect=("*",), publish=("*",), subscribe=("*",))
    answer = account.cloud.publish(account.enrolled(), THING, "iot-cert-agent/no thing/retire", b"{}")
    assert (answer.replies, answer.authorised) == ((), True)


def test_an_audit_becomes_a_job_of_the_thing_until_that_has_rotated(account: AccountWithToken) -> None:
    """One job at a time, with the document of the deployed handler; a replaced certificate is left in its grace."""
    old, audit = account.enrolled(), account.cloud.stack.audit
    assert audit(account.claim.certificate_id, Check.AGE) == f"nothing is ordered: {Left.NO_GATEWAY}"
    assert audit(old.certificate_id, Check.EXPIRING) == f"nothing is ordered: {Left.RENEWS}"
    told = audit(old.certificate_id, Check.AGE)
    (job,) = account.cloud.jobs(THING)
    assert told == f"{THING} is ordered to rotate, by {job.job_id}"
    assert json.loads(job.document)["operation"] == "rotate-certificate"
    assert audit(old.certificate_id, Check.AGE) == f"nothing is ordered: {Left.WAITS}"

    account.cloud.end_job(THING, job.job_id, JobStatus.CANCELED)
    old.certificate = replace(old.certificate, created_at=NOW - timedelta(days=1))
    account.rotated(old)
    assert audit(old.certificate_id, Check.AGE) == f"nothing is ordered: {Left.REPLACED}"
    assert len(account.cloud.jobs(THING)) == 1


@pytest.mark.parametrize("check", [Check.AGE, Check.EXPIRING])
def test_an_audit_orders_nothing_for_a_certificate_of_a_day(account: AccountWithToken, check: Check) -> None:
    """Its gateway renews it, as its dates and its shadow say."""
    entry = account.enrolled()
    entry.certificate = replace(entry.certificate, not_before=NOW, not_after=NOW + timedelta(days=1))
    reported = {"certificateId": entry.certificate_id, "renewAt": (NOW + timedelta(hours=18)).isoformat()}
    topic = f"$aws/things/{THING}/shadow/name/certificate/update"
    account.cloud.publish(entry, THING, topic, json.dumps({"state": {"reported": reported}}).encode())
    assert account.cloud.stack.registry.report(THING).renews_at == NOW + timedelta(hours=18)
    assert account.cloud.stack.audit(entry.certificate_id, check) == f"nothing is ordered: {Left.RENEWS}"
    assert account.cloud.jobs(THING) == []
