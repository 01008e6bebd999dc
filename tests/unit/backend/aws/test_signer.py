from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
import pytest

from agent.backend.aws.keys import AwsKeys
from agent.backend.aws.signer import AwsSigner
from agent.backend.errors import ChangedError, UnavailableError
from agent.backend.values import Status
from support.aws.moto_account import signing_request
from support.aws.own_signer import OwnSigner, keep_keys, make_ca, sign_digests, switched_on
from support.aws.strict import Strict

if TYPE_CHECKING:
    from support.aws.moto_account import AwsWorld

CSR = signing_request("gw-0042")


@pytest.fixture(name="signer")
def _signer(world: AwsWorld, monkeypatch: pytest.MonkeyPatch) -> AwsSigner:
    """The account's signer, before a function that does what Lambda would."""
    keep_keys(monkeypatch)
    world.store.save_signer(switched_on(make_ca(world.now)))
    kms, functions = boto3.client("kms"), boto3.client("lambda")
    sign_digests(kms)
    OwnSigner(world.account, AwsKeys(kms)).attend(functions)
    Strict().watch(functions)
    return AwsSigner(lambda: functions, "fleet-sign")


def test_a_request_is_signed_by_another_function(signer: AwsSigner) -> None:
    """Its answer is the certificate."""
    pem = signer.sign(CSR, "serial 0042")
    assert pem is not None
    assert pem.startswith("-----BEGIN CERTIFICATE-----")
    assert signer.sign(CSR, "serial 0042") == pem


def test_what_the_function_refuses_is_no_certificate(signer: AwsSigner) -> None:
    """And no fault."""
    assert signer.sign("no request", "serial 0042") is None


def test_a_function_that_fails_is_asked_again(world: AwsWorld, signer: AwsSigner) -> None:
    """The key is disabled, say: the client of the vending machine comes again."""
    boto3.client("kms").disable_key(KeyId=world.store.signer().cas[0].key)
    with pytest.raises(UnavailableError, match="fleet-sign has failed"):
        signer.sign(CSR, "serial 0042")


def test_what_was_signed_is_taken_in_once(world: AwsWorld, signer: AwsSigner) -> None:
    """INACTIVE, under the id that its bytes give."""
    pem = signer.sign(CSR, "serial 0042")
    assert pem is not None
    made = world.registry.take_in(pem, world.now)
    assert world.status(made.certificate_id) is Status.INACTIVE
    with pytest.raises(ChangedError):
        world.registry.take_in(pem, world.now)
