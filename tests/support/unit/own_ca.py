"""An operator's account with a signer, for the verbs about the operator's own CA."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3

from agent.backend.aws.keys import AwsKeys
from agent.backend.handlers.signing import sign
from agent.fleet.decide.own_ca import is_guarded
from support.aws.moto_account import signing_request
from support.aws.own_signer import sign_digests

if TYPE_CHECKING:
    from agent.backend.values import Signer
    from support.aws.fleet_account import Operator

FUNCTION = "arn:aws:lambda:eu-west-1:123456789012:function:iot-cert-sign"
PROVIDER = "arn:aws:iot:eu-west-1:123456789012:certificateprovider/iot-cert"
DAY, HOUR, YEAR = timedelta(days=1), timedelta(hours=1), timedelta(days=365)


class Provider:
    """AWS IoT's certificate provider, which moto lacks, and the function that it asks."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        self.there: dict[str, str] = {}
        self.arn = PROVIDER
        self.made_so_far = 0
        self.protected, self.policy = False, ""
        operator.has_answered("ListCertificateProviders", self.listed)
        operator.has_answered("DescribeCertificateProvider", lambda: {**self.there})
        operator.has_answered("CreateCertificateProvider", self.made)
        operator.has_answered("DeleteCertificateProvider", self.deleted)
        operator.has_answered("UpdateTerminationProtection", self.guarded)
        operator.has_answered("GetStackPolicy", lambda: {"StackPolicyBody": self.policy} if self.policy else {})
        operator.has_answered("SetStackPolicy", self.kept)
        operator.has_answered("Invoke", self.invoked)

    def listed(self) -> dict[str, Any]:
        """ListCertificateProviders."""
        return {"certificateProviders": [self.there] if self.there else []}

    def made(self) -> dict[str, Any]:
        """CreateCertificateProvider."""
        assert self.protected, "before AWS IoT asks the function"
        assert is_guarded(self.policy), "the same"
        self.made_so_far += 1
        self.there = {
            "certificateProviderName": "iot-cert",
            "certificateProviderArn": self.arn,
            "lambdaFunctionArn": FUNCTION,
        }
        return self.there

    def deleted(self) -> dict[str, Any]:
        """DeleteCertificateProvider."""
        self.there = {}
        return {}

    def guarded(self) -> dict[str, Any]:
        """UpdateTerminationProtection."""
        self.protected = True
        return {"StackId": "iot-cert"}

    def kept(self) -> dict[str, Any]:
        """SetStackPolicy."""
        self.policy = self.operator.given["SetStackPolicy"]["StackPolicyBody"]
        assert is_guarded(self.policy) or not self.there, "as long as AWS IoT asks the function"
        return {}

    def invoked(self) -> dict[str, Any]:
        """Run the signer for a request, which is not looked at."""
        kms = boto3.client("kms")
        sign_digests(kms)
        event = {"certificateSigningRequest": signing_request("trial"), "principalId": "", "clientId": ""}
        account = replace(self.operator.world.account, now=lambda: self.operator.now)
        try:
            told: object = sign(event, account, AwsKeys(kms))
        except Exception as error:  # noqa: BLE001 - as Lambda has it
            told = {"errorMessage": str(error), "errorType": type(error).__name__}
        return {"StatusCode": 200, "Payload": io.BytesIO(json.dumps(told).encode())}


def row(operator: Operator) -> Signer:
    """Return the row of the signer."""
    found: Signer = operator.world.store.signer()
    return found


def keys() -> list[dict[str, Any]]:
    """Return the keys of the account."""
    kms = boto3.client("kms")
    return [kms.describe_key(KeyId=item["KeyId"])["KeyMetadata"] for item in kms.list_keys()["Keys"]]


BEFORE = {
    "--new": (),
    "--renew 1": ("--new",),
    "--retire 1": ("--new", "--renew 1"),
    "--sign on": ("--new",),
    "--sign off": ("--new", "--sign on"),
}


def prepared(provider: Provider, order: str) -> Operator:
    """Return an operator before an order, who is as good as their word."""
    operator = provider.operator
    for words in BEFORE[order]:
        assert operator.runs("ca", *words.split(), "--yes")[0] == 0
    if order == "--retire 1":
        operator.now += 14 * DAY
    operator.calls.clear()
    return operator
