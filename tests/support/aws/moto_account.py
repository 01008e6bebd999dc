"""The account of `support.aws.account`, with boto3 before moto instead of the ports in memory.

Each request is held to the model of its service. `AwsWorld.at_each_call` is called before each call of AWS with its
number; what it returns becomes of the call.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore.exceptions import ReadTimeoutError
from botocore.hooks import EventAliaser
from botocore.signers import RequestSigner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from moto import mock_aws
from moto.core import models, responses
from moto.dynamodb import dynamodb_backends
from moto.iot import iot_backends

from agent.backend.aws.clients import CallPatience, Clients, connect
from agent.backend.aws.outbox import AwsOutbox
from agent.backend.aws.registry import AwsRegistry
from agent.backend.aws.store import AwsStore
from agent.backend.handlers.account import Account
from agent.backend.names import DUE_INDEX, Metric, Variable
from agent.backend.values import Certificate, Status
from support.aws import client_pool
from support.aws.account import OWN, SETTINGS, World
from support.aws.rsa_keys import known_key
from support.aws.strict import Strict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime

    from agent.backend.settings import StackSettings

REGION, NUMBER = "eu-west-1", "123456789012"
ARN = f"arn:aws:iot:{REGION}:{NUMBER}:cert/"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": REGION,
    Variable.DEVICES: "fleet-devices",
    Variable.CERTIFICATES: "fleet-certificates",
    Variable.ENROLMENT_TEMPLATE: "gateway",
    Variable.ROTATION_TEMPLATE: "gateway-rotation",
    Variable.OWN_POLICIES: ",".join(OWN),
    Variable.CERTIFICATE_ARN: ARN,
    Variable.KEEP_DAYS: "30",
    Variable.DAILY_LIMIT: "6",
    Variable.SIGNER: "",
    Variable.LIFETIME: "24",
    Variable.SIGNER_FUNCTION: "fleet-sign",
    Variable.RE_ENROL: "armed",
    Variable.STACK: "fleet",
}


# An account's policies and tables as they begin: six requests, half of what a test's account costs.
_kept: list[Any] = []


class Fate(Enum):
    """What becomes of a call."""

    ANSWERED = auto()
    REFUSED = auto()  # by a server that is not well; nothing is done
    LOST = auto()  # it is done, and the answer does not arrive


@dataclass
class Refusal:
    """As much of an HTTP response as botocore looks at."""

    status_code: int = 503


class MotoRegistry(AwsRegistry):
    """The registry, with what AWS and the account's owner do besides."""

    def __init__(self, clients: Clients, owner: Any) -> None:
        super().__init__(clients, ARN)
        self._owner = owner

    def make_certificate(self, csr: str, now: datetime) -> Certificate | None:
        """Make a certificate; moto makes it active whatever is asked for."""
        made = super().make_certificate(csr, now)
        if made is not None:
            self.set_status(made.certificate_id, Status.INACTIVE)
        return made

    def delete(self, certificate_id: str) -> None:
        """Delete a certificate; moto keeps its policies, and then stumbles over them."""
        super().delete(certificate_id)
        attached = iot_backends[NUMBER][REGION].principal_policies
        for key in [key for key in attached if key[0] == ARN + certificate_id]:
            del attached[key]

    def set_status(self, certificate_id: str, status: Status) -> None:
        """UpdateCertificate."""
        self._owner.update_certificate(certificateId=certificate_id, newStatus=status.value)

    def register(self, thing: str, certificate_id: str, policies: Iterable[str]) -> None:
        """RegisterThing by a template."""
        self._owner.create_thing(thingName=thing)
        self._owner.attach_thing_principal(thingName=thing, principal=ARN + certificate_id)
        for policy in policies:
            self._owner.attach_policy(policyName=policy, target=ARN + certificate_id)
        self.set_status(certificate_id, Status.ACTIVE)


class MotoOutbox(AwsOutbox):
    """What was told, remembered."""

    answers: list[tuple[str, Mapping[str, object]]]
    counted: list[tuple[Metric, int, Mapping[str, object]]]

    def answer(self, topic: str, body: Mapping[str, object]) -> None:
        """Publish an answer."""
        super().answer(topic, body)
        self.answers.append((topic, body))

    def count(self, metric: Metric, *, value: int = 1, about: Mapping[str, object] | None = None) -> None:
        """Write a line of the log."""
        super().count(metric, value=value, about=about)
        self.counted.append((metric, value, about or {}))


class AwsWorld(World):
    """The account before moto.

    Attributes:
        clients: What the handlers ask with.
        strict: What was asked.
        calls: How many calls of AWS there were.
        at_each_call: Called with the number of each call.
    """

    def __init__(self, settings: StackSettings = SETTINGS) -> None:
        super().__init__(settings)
        self.owner = boto3.client("iot")
        backend = iot_backends[NUMBER][REGION]  # which signs each certificate with a new RSA key
        backend._generate_certificate_pem = partial(backend._generate_certificate_pem, key=known_key(2048))
        _give_account(self.owner)
        self.clients = connect(CallPatience(connect=1.0, read=3.0, attempts=1))
        self.strict, self.calls = Strict(), 0
        self.at_each_call: Callable[[int], Fate] = lambda _: Fate.ANSWERED
        self._lost = False
        for client in (self.clients.iot, self.clients.data, self.clients.tables):
            self.watch(client)
        self.registry: Any = MotoRegistry(self.clients, self.owner)
        self.store: Any = AwsStore(self.clients, ENVIRONMENT[Variable.DEVICES], ENVIRONMENT[Variable.CERTIFICATES])
        self.outbox: Any = MotoOutbox(self.clients, "fleet", lambda: self.now)
        self.outbox.answers, self.outbox.counted = [], []
        self.account = Account(
            registry=self.registry, store=self.store, outbox=self.outbox, now=lambda: self.now, settings=settings
        )

    def _forget(self) -> None:
        """Moto removes no row by itself."""

    def watch(self, client: Any) -> None:
        """Hold a client to its model, and let `at_each_call` decide over its calls."""
        self.strict.watch(client)
        client.meta.events.register("before-call.*.*", self._before)
        client.meta.events.register("after-call.*.*", self._after)

    def _before(self, **_: Any) -> tuple[Refusal, dict[str, Any]] | None:
        self.calls += 1
        fate = self.at_each_call(self.calls)
        self._lost = fate is Fate.LOST
        if fate is not Fate.REFUSED:
            return None
        error = {"Code": "InternalFailureException", "Message": "An unexpected error has occurred."}
        return Refusal(), {"Error": error, "ResponseMetadata": {"HTTPStatusCode": 503}}

    def _after(self, **_: Any) -> None:
        if self._lost:
            raise ReadTimeoutError(endpoint_url="https://iot.eu-west-1.amazonaws.com")

    def failing_call(self, number: int, fate: Fate, *, for_good: bool = False) -> Callable[[int], Fate]:
        """Return what gives a fate to the call of a number, counted from now on; with `for_good`, to all after it."""
        done = self.calls

        def decide(call: int) -> Fate:
            struck = call - done == number or (for_good and call - done > number)
            return fate if struck else Fate.ANSWERED

        return decide

    def issue(self) -> str:
        """Make a certificate, as from a request; moto takes any text for one, and signing takes long."""
        self._made += 1
        answer = self.owner.register_certificate_without_ca(
            certificatePem=f"certificate {self._made}", status=Status.PENDING_ACTIVATION.value
        )
        made: str = answer["certificateId"]
        return made


def _give_account(owner: Any) -> None:
    """Have what `make_account` makes; the second time, a copy of what it made."""
    policies, tables = iot_backends[NUMBER][REGION], dynamodb_backends[NUMBER][REGION]
    if not _kept:
        make_account(owner)
        _kept.append(deepcopy((policies.policies, tables.tables)))
    policies.policies, tables.tables = deepcopy(_kept[0])


def make_account(owner: Any) -> None:
    """Make what the stack's template makes, as far as the ports meet it."""
    for policy in (*OWN, "application"):
        owner.create_policy(policyName=policy, policyDocument="{}")
    tables = boto3.client("dynamodb")
    tables.create_table(
        TableName=ENVIRONMENT[Variable.DEVICES],
        KeySchema=[{"AttributeName": "serial", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "serial", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    tables.create_table(
        TableName=ENVIRONMENT[Variable.CERTIFICATES],
        KeySchema=[{"AttributeName": "certificate_id", "KeyType": "HASH"}],
        AttributeDefinitions=[
            {"AttributeName": "certificate_id", "AttributeType": "S"},
            {"AttributeName": "due", "AttributeType": "S"},
            {"AttributeName": "delete_after", "AttributeType": "N"},
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": DUE_INDEX,
                "KeySchema": [
                    {"AttributeName": "due", "KeyType": "HASH"},
                    {"AttributeName": "delete_after", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
        BillingMode="PAY_PER_REQUEST",
    )


@cache
def signing_request(name: str) -> str:
    """Return a request for a certificate in PEM, which moto signs."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    key = ec.generate_private_key(ec.SECP256R1())
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


# What moto makes anew for each account, so that `requests` may ask it, which no test does; and for each request.
models.RESPONSES_METHODS = []
responses.method_names_from_class = cache(responses.method_names_from_class)

# What each of botocore's clients finds out for itself: by which name an event goes that once had another.
EventAliaser._alias_event_name = staticmethod(cache(EventAliaser(None)._alias_event_name))

# Each session reads the services' models for itself, 85 % of what a client costs; one of these reads each once.
_models = cache(botocore.session.create_loader)


_sign = RequestSigner.sign


def _without_signature(signer: Any, *words: Any, **named: Any) -> None:
    """Sign nothing, since moto looks at no signature: a tenth of a call. To have no credentials is an error as ever."""
    if signer._credentials is None:
        _sign(signer, *words, **named)
    else:
        signer._credentials.get_frozen_credentials()


@contextmanager
def emulated() -> Iterator[None]:
    """Have boto3 meet moto, in an environment as the functions' is."""
    before, reader = dict(os.environ), botocore.session.create_loader
    os.environ.update(ENVIRONMENT)
    botocore.session.create_loader, RequestSigner.sign = _models, _without_signature
    try:
        with mock_aws(), client_pool.lending():
            yield
    finally:
        botocore.session.create_loader, RequestSigner.sign = reader, _sign
        os.environ.clear()
        os.environ.update(before)
