from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from cryptography import x509
from moto.iot import iot_backends

from agent.backend.aws.keys import AwsKeys
from agent.backend.handlers.signing import sign
from agent.backend.names import KEY_TAG
from agent.backend.values import Signer
from agent.fleet.errors import AccountError
from support.moto_account import ARN, signing_request
from support.own_signer import sign_digests

if TYPE_CHECKING:
    from support.fleet_account import Operator

FUNCTION = "arn:aws:lambda:eu-west-1:123456789012:function:iot-cert-sign"
PROVIDER = "arn:aws:iot:eu-west-1:123456789012:certificateprovider/iot-cert"
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


class Provider:
    """AWS IoT's certificate provider, which moto lacks, and the function that it asks."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        self.there: dict[str, str] = {}
        self.arn = PROVIDER
        operator.has_answered("ListCertificateProviders", self.listed)
        operator.has_answered("DescribeCertificateProvider", lambda: {**self.there})
        operator.has_answered("CreateCertificateProvider", self.made)
        operator.has_answered("DeleteCertificateProvider", self.deleted)
        operator.has_answered("Invoke", self.invoked)

    def listed(self) -> dict[str, Any]:
        """ListCertificateProviders."""
        return {"certificateProviders": [self.there] if self.there else []}

    def made(self) -> dict[str, Any]:
        """CreateCertificateProvider."""
        self.there = {"certificateProviderName": "iot-cert", "lambdaFunctionArn": FUNCTION}
        return {"certificateProviderName": "iot-cert", "certificateProviderArn": self.arn}

    def deleted(self) -> dict[str, Any]:
        """DeleteCertificateProvider."""
        self.there = {}
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


@pytest.fixture(name="signing")
def _signing(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> Operator:
    """An operator whose stack has a signer, in an account with the same clock."""
    monkeypatch.setattr("moto.kms.models.unix_time", operator.now.timestamp)
    operator.deploy(outputs={"SignerFunction": FUNCTION}, Signer="on", LifetimeHours="24")
    operator.answers("ListCertificatesByCA", {"certificates": []})
    operator.typed = "ca"
    return operator


@pytest.fixture(name="provider")
def _provider(signing: Operator) -> Provider:
    return Provider(signing)


def row(operator: Operator) -> Signer:
    """Return the row of the signer."""
    found: Signer = operator.world.store.signer()
    return found


def keys() -> list[dict[str, Any]]:
    """Return the keys of the account."""
    kms = boto3.client("kms")
    return [kms.describe_key(KeyId=item["KeyId"])["KeyMetadata"] for item in kms.list_keys()["Keys"]]


def test_a_ca_is_made_once(signing: Operator) -> None:
    """A key that bears the stack's tag, a root, and a CA that AWS IoT knows and takes no strange device for."""
    code, said = signing.runs("ca", "--new")
    assert code == 0, said
    assert "CA 1 signs from 2026-11-28 12:00 UTC" in said
    (key,) = keys()
    assert (key["KeySpec"], key["KeyUsage"], key["Description"]) == ("RSA_3072", "SIGN_VERIFY", "iot-cert gateway CA 1")
    tags = boto3.client("kms").list_resource_tags(KeyId=key["KeyId"])["Tags"]
    assert tags == [{"TagKey": KEY_TAG, "TagValue": "iot-cert"}]
    (own,) = row(signing).cas
    made = x509.load_pem_x509_certificate(own.pem.encode())
    made.verify_directly_issued_by(made)
    known = boto3.client("iot").describe_ca_certificate(certificateId=_registered())["certificateDescription"]
    assert known["status"] == "ACTIVE"
    assert known.get("autoRegistrationStatus") != "ENABLE"

    assert "There is a CA already: 1" in signing.runs("ca", "--new")[1]
    assert len(keys()) == 1
    assert not row(signing).on


def _registered() -> str:
    """Return the id under which moto has the CA, which is not AWS's."""
    (name,) = iot_backends["123456789012"]["eu-west-1"].ca_certificates
    return str(name)


def test_without_the_word_nothing_is_made(signing: Operator) -> None:
    """Neither key nor CA."""
    signing.typed = "no"
    assert signing.runs("ca", "--new")[0] == 4
    assert keys() == []
    assert row(signing) == Signer()


@pytest.mark.parametrize(
    "operation", ["GetPublicKey", "Sign", "GetRegistrationCode", "RegisterCACertificate", "PutItem"]
)
def test_an_order_that_was_cut_off_is_typed_again(signing: Operator, operation: str) -> None:
    """Wherever: one key, one CA, as it said at first."""
    real = signing._answers.copy()
    signing.refuses(operation, "ThrottlingException", "slow down", 400)
    assert signing.runs("ca", "--new")[0] == 5
    assert row(signing) == Signer()
    signing._answers = real
    signing.now += HOUR
    code, said = signing.runs("ca", "--new")
    assert code == 0, said
    assert len(keys()) == 1
    (own,) = row(signing).cas
    assert own.number == 1
    begin = keys()[0]["CreationDate"].replace(microsecond=0) - DAY
    assert x509.load_pem_x509_certificate(own.pem.encode()).not_valid_before_utc == begin


# ---- renewal -------------------------------------------------------------------------------------------------------


def test_a_ca_is_renewed_with_an_overlap(signing: Operator) -> None:
    """Another key and CA beside the old; typed again, it is the same one."""
    signing.runs("ca", "--new")
    signing.typed = "renew"
    code, said = signing.runs("ca", "--renew", "1", "--from", "2026-12-08T00:00Z")
    assert code == 0, said
    old, new = row(signing).cas
    assert (old.number, new.number, f"{new.signs_from:%Y-%m-%d}") == (1, 2, "2026-12-08")
    assert old.key != new.key
    assert "CA 2 is there, and signs from 2026-12-08" in signing.runs("ca", "--renew", "1")[1]
    assert len(keys()) == 2

    assert [item["state"] for item in signing.rows("ca")] == ["signs", "next"]
    signing.now += 20 * DAY
    assert [item["state"] for item in signing.rows("ca")] == ["before", "signs"]


@pytest.mark.parametrize("words", [("--renew", "1", "--from", "2026-11-01T00:00Z"), ("--renew", "2")])
def test_a_renewal_that_cannot_be(signing: Operator, words: tuple[str, ...]) -> None:
    """In the past, or of what is not there."""
    signing.runs("ca", "--new")
    assert signing.runs("ca", *words)[0] == 2
    assert len(keys()) == 1


def renewed(signing: Operator) -> None:
    """Renew the CA, and let it sign for a week."""
    signing.runs("ca", "--new")
    signing.typed = "renew"
    signing.runs("ca", "--renew", "1")
    signing.typed = "retire"
    signing.now += 14 * DAY


def test_a_ca_goes_when_nothing_rests_on_it(signing: Operator) -> None:
    """Its key signs nothing more, and can be enabled again; typed again, nothing happens."""
    renewed(signing)
    old, new = row(signing).cas
    code, said = signing.runs("ca", "--retire", "1")
    assert code == 0, said
    assert "schedule-key-deletion" in said
    assert row(signing).cas == (new,)
    assert {item["KeyId"]: item["KeyState"] for item in keys()} == {old.key: "Disabled", new.key: "Enabled"}
    assert "There is no CA 1 any more" in signing.runs("ca", "--retire", "1")[1]


def test_a_ca_stays_while_its_certificates_live(signing: Operator) -> None:
    """For a lifetime after the other one has begun to sign; and that one stays anyway."""
    renewed(signing)
    signing.now -= 7 * DAY - HOUR
    assert "lives until" in signing.runs("ca", "--retire", "1")[1]
    assert "signs, or will" in signing.runs("ca", "--retire", "2")[1]
    assert len(row(signing).cas) == 2


def test_a_ca_stays_while_a_certificate_of_it_is_active(signing: Operator) -> None:
    """One that was made when lifetimes were longer, say; one that has ended does not count."""
    renewed(signing)
    name = signing.world.issue()
    listed = {"certificateId": name, "status": "ACTIVE", "creationDate": signing.now, "certificateMode": "DEFAULT"}
    signing.answers("ListCertificatesByCA", {"certificates": [listed]})
    described = {
        "certificateId": name,
        "certificateArn": ARN + name,
        "status": "ACTIVE",
        "creationDate": signing.now,
        "validity": {"notBefore": signing.now - DAY, "notAfter": signing.now + DAY},
    }
    signing.answers("DescribeCertificate", {"certificateDescription": described})
    code, said = signing.runs("ca", "--retire", "1")
    assert code == 4
    assert name in said
    assert len(row(signing).cas) == 2
    signing.now += 2 * DAY
    assert signing.runs("ca", "--retire", "1")[0] == 0


# ---- the switch ----------------------------------------------------------------------------------------------------


def test_the_signer_is_switched_on_and_off(provider: Provider) -> None:
    """With the consequence for everyone in a line of its own, and a word for it; it was tried before."""
    operator = provider.operator
    operator.runs("ca", "--new")
    code, said = operator.runs("ca", "--sign", "on")
    assert code == 4, "another word is asked for"
    (line,) = [line for line in said.splitlines() if line.startswith("EVERYONE")]
    assert "Every client of this account and region" in line
    assert "24 hours" in line
    assert not provider.there
    operator.typed = "everyone"
    assert operator.runs("ca", "--sign", "on")[0] == 0
    assert provider.there
    assert row(operator).on
    asked = len(operator.asked)
    assert operator.runs("ca", "--sign", "on")[0] == 0
    assert len(operator.asked) == asked, "typed again, there is nothing to ask"

    operator.typed = "amazon"
    assert operator.runs("ca", "--sign", "off")[0] == 0
    assert not provider.there
    assert not row(operator).on
    assert operator.runs("ca", "--sign", "off")[0] == 0


def test_it_was_cut_off_between_both(provider: Provider) -> None:
    """Typed again, the vending machine asks too."""
    operator = provider.operator
    operator.runs("ca", "--new")
    operator.typed = "everyone"
    operator.refuses("PutItem", "ThrottlingException", "x", 400)
    assert operator.runs("ca", "--sign", "on")[0] == 5
    assert provider.there
    del operator._answers["PutItem"]
    assert operator.runs("ca", "--sign", "on")[0] == 0
    assert row(operator).on


def test_a_signer_that_signs_nothing_is_not_switched_on(provider: Provider) -> None:
    """The whole account would be without certificates."""
    operator = provider.operator
    assert "no CA that signs" in operator.runs("ca", "--sign", "on")[1]
    operator.runs("ca", "--new")
    boto3.client("kms").disable_key(KeyId=row(operator).cas[0].key)
    code, said = operator.runs("ca", "--sign", "on", "--yes")
    assert code == AccountError.exit
    assert "signs nothing" in said
    assert not provider.there


def test_another_provider_is_left_alone(provider: Provider) -> None:
    """It is someone's, and there can be one; switched off, it stays as well."""
    operator = provider.operator
    operator.runs("ca", "--new")
    provider.there = {"certificateProviderName": "theirs", "lambdaFunctionArn": "arn:aws:lambda:x:1:function:theirs"}
    assert "another certificate provider's function" in operator.runs("ca", "--sign", "on", "--yes")[1]
    operator.runs("ca", "--sign", "off", "--yes")
    assert provider.there["certificateProviderName"] == "theirs"


def test_a_provider_of_an_unforeseen_name_is_taken_back(provider: Provider) -> None:
    """AWS could not call the function, and no client of the account would get a certificate."""
    operator, provider.arn = provider.operator, "arn:aws:iot:eu-west-1:123456789012:certificateprovider:iot-cert"
    operator.runs("ca", "--new")
    code, said = operator.runs("ca", "--sign", "on", "--yes")
    assert code == AccountError.exit
    assert "removed again" in said
    assert not provider.there
    assert not row(operator).on


def test_a_stack_without_a_signer(operator: Operator) -> None:
    """A CA may be made; it cannot be switched on."""
    assert "There is no CA" in operator.runs("ca")[1]
    code, said = operator.runs("ca", "--sign", "on", "--yes")
    assert code == 2
    assert "Signer=on" in said


def test_what_another_operator_wrote_meanwhile_stays(signing: Operator) -> None:
    """The row follows the one that was read."""
    signing.refuses("PutItem", "ConditionalCheckFailedException", "x", 400)
    code, said = signing.runs("ca", "--new")
    assert code == 5
    assert "another operator" in said


def test_no_key_is_shown(signing: Operator) -> None:
    """There is none to show: what is printed is public."""
    said = signing.runs("ca", "--new", "--yes")[1] + json.dumps(signing.rows("ca"))
    assert "PRIVATE KEY" not in said
