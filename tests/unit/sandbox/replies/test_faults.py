from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from agent.backend.names import SERIAL_PARAMETER, TOKEN_PARAMETER
from agent.sandbox.account.authority import AWS_NOT_AFTER, fingerprint, name
from agent.sandbox.account.policies import GATEWAY
from agent.sandbox.cloud import CREATE_TOPIC, Cloud, Entry, Status
from agent.sandbox.network.vending import answer_of
from agent.sandbox.replies.faults import EFFECTS, Effect, Fault, Operation

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.sandbox.replies.answers import Answer

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
THING, SERIAL, TOKEN = "gw-0042", "0042", "sesame"
KEY = ec.generate_private_key(ec.SECP256R1())
CSR = x509.CertificateSigningRequestBuilder().subject_name(name("gw")).sign(KEY, hashes.SHA256())
CSR_PEM = CSR.public_bytes(Encoding.PEM).decode()


class Struck:
    """A cloud with a gateway, and what a client sees of an operation that a fault may strike."""

    def __init__(self, operation: Operation, effect: Effect | None) -> None:
        self.cloud = Cloud(lambda: NOW)
        self.claim = next(iter(self.cloud.registry.values()))
        self.cloud.stack.arm(SERIAL, TOKEN)
        self.cloud.desire(THING, "certificate", {"report": 1})
        self.old, self.entry = self._gateway(), self._gateway()
        self.ownership = self.cloud.provisioning.create(
            self.claim.certificate_id, {"certificateSigningRequest": CSR_PEM}, None
        )
        if effect is not None:
            self.cloud.faults.add(Fault(operation=operation, effect=effect))

    def _gateway(self) -> Entry:
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
        entry = self.cloud.registry.add(
            self.cloud.authority.issue_client(name("x"), key, NOW, AWS_NOT_AFTER), Status.ACTIVE
        )
        entry.policies, entry.thing_name = [GATEWAY], THING
        return entry

    def publish(self, topic: str, *, caller: Entry | None = None, **body: Any) -> tuple[Any, ...]:
        """Return what becomes of a request: what a client sees, but for what differs each time."""
        caller = caller or self.entry
        client_id = THING if caller.thing_name else "any"
        answer = self.cloud.publish(caller, client_id, topic, json.dumps(body).encode())
        return answer.hang_up, answer.authorised, len(answer.held), *_seen(answer)

    def create(self) -> tuple[Any, ...]:
        """Ask for a certificate; return also whether it is sound."""
        answer = self.publish(CREATE_TOPIC, caller=self.claim, certificateSigningRequest=CSR_PEM)
        made = x509.load_pem_x509_certificate(list(self.cloud.registry.values())[-1].pem.encode())
        valid = made.not_valid_before_utc <= NOW < made.not_valid_after_utc
        return *answer, len(self.cloud.registry), valid, made.public_key() == KEY.public_key()

    def register(self) -> tuple[Any, ...]:
        """Register one; return also what it is good for at its first two connections."""
        answer = self.publish(
            "$aws/provisioning-templates/gateway/provision/json",
            caller=self.claim,
            certificateOwnershipToken=self.ownership["certificateOwnershipToken"],
            parameters={SERIAL_PARAMETER: SERIAL, TOKEN_PARAMETER: TOKEN},
        )
        made = fingerprint(x509.load_pem_x509_certificate(self.ownership["certificatePem"].encode()))
        return *answer, *(self.cloud.authenticate(made) is not None for _ in range(2))

    def vend(self) -> tuple[Any, ...]:
        """Buy one."""
        fields = {"serialNumber": SERIAL, "registrationToken": TOKEN, "certificateSigningRequest": CSR_PEM}
        http = {"method": "POST", "sourceIp": "192.0.2.7"}
        answer = answer_of(self.cloud, {"requestContext": {"http": http}, "body": json.dumps(fields)})
        return () if answer is None else (answer["statusCode"], *_read(str(answer["body"]).encode()))


def _seen(answer: Answer) -> list[Any]:
    return [(reply.topic.rpartition("/")[2], *_read(reply.payload)) for reply in answer.replies]


def _read(payload: bytes) -> tuple[Any, ...]:
    try:
        told = json.loads(payload)
    except ValueError:
        return ("garbled", len(payload))
    return *sorted(told), told.get("thingName"), len(payload) > 100_000  # more than any sound answer


SHADOW = f"$aws/things/{THING}/shadow/name/certificate"
ACTS: dict[Operation, Callable[[Struck], tuple[Any, ...]]] = {
    Operation.CREATE: Struck.create,
    Operation.REGISTER: Struck.register,
    Operation.ASK: lambda here: here.publish(f"{SHADOW}/get"),
    Operation.SHADOW: lambda here: here.publish(f"{SHADOW}/update", state={"reported": {}}),
    Operation.JOBS: lambda here: here.publish(f"$aws/things/{THING}/jobs/get"),
    Operation.RETIRE: lambda here: here.publish(
        f"iot-cert-agent/{THING}/retire", certificateId=here.old.certificate_id
    ),
    Operation.VEND: Struck.vend,
}


@pytest.mark.parametrize("operation", ACTS)
def test_what_the_table_has_changes_something_and_nothing_else_does(operation: Operation) -> None:
    """A rehearsal with a fault that does nothing shows nothing; those at connect are met over the network."""
    act = ACTS[operation]
    ordinary = act(Struck(operation, None))
    changes = {effect for effect in Effect if act(Struck(operation, effect)) != ordinary}
    assert changes == {*EFFECTS[operation]}


def test_each_operation_is_met() -> None:
    """Here or over the network."""
    assert {*ACTS, Operation.CONNECT} == {*Operation} == {*EFFECTS}
