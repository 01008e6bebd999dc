from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from cryptography import x509
from moto.iot import iot_backends

from agent.backend.aws.keys import AwsKeys
from agent.backend.handlers.signing import sign
from agent.backend.names import KEY_ENDS_TAG, KEY_FROM_TAG, KEY_TAG
from agent.backend.values import Signer
from agent.fleet.decide.own_ca import is_guarded
from agent.fleet.errors import AccountError
from support import campaigns
from support.fleet_account import NOW, Interrupted
from support.moto_account import ARN, signing_request
from support.own_signer import sign_digests
from support.stack import Stack

if TYPE_CHECKING:
    from support.fleet_account import Operator

FUNCTION = "arn:aws:lambda:eu-west-1:123456789012:function:iot-cert-sign"
PROVIDER = "arn:aws:iot:eu-west-1:123456789012:certificateprovider/iot-cert"
KEPT = ("Sign", "SignRole", "SignPermission")
DAY, HOUR, YEAR = timedelta(days=1), timedelta(hours=1), timedelta(days=365)
PAST, FUTURE = "2020-01-01T00:00:00Z", "2050-01-01T00:00:00Z"


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
    assert {item["TagKey"]: item["TagValue"] for item in tags} == {
        KEY_TAG: "iot-cert",
        KEY_FROM_TAG: "2026-11-28T12:00:00Z",
        KEY_ENDS_TAG: "2036-11-25T12:00:00Z",
    }
    (own,) = row(signing).cas
    made = x509.load_pem_x509_certificate(own.pem.encode())
    made.verify_directly_issued_by(made)
    known = boto3.client("iot").describe_ca_certificate(certificateId=own.ca_id)["certificateDescription"]
    assert known["status"] == "ACTIVE"
    assert known.get("autoRegistrationStatus") != "ENABLE"

    assert "There is a CA already: 1" in signing.runs("ca", "--new")[1]
    assert len(keys()) == 1
    assert not row(signing).on


def test_without_the_word_nothing_is_made(signing: Operator) -> None:
    """Neither key nor CA."""
    signing.typed = "no"
    assert signing.runs("ca", "--new")[0] == 4
    assert keys() == []
    assert row(signing) == Signer()


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
    assert provider.protected, "deleting the stack would leave the account without certificates"
    assert row(operator).on
    asked = len(operator.asked)
    assert operator.runs("ca", "--sign", "on")[0] == 0
    assert len(operator.asked) == asked, "typed again, there is nothing to ask"

    operator.typed = "amazon"
    code, said = operator.runs("ca", "--sign", "off")
    assert code == 0
    assert "--no-enable-termination-protection --stack-name iot-cert" in said
    assert not provider.there
    assert not row(operator).on
    assert operator.runs("ca", "--sign", "off")[0] == 0


def test_a_signer_that_is_asked_is_kept_from_a_deployment(provider: Provider) -> None:
    """CloudFormation refuses Signer=off until AWS signs; what the operator's own stack policy says stays."""
    operator = provider.operator
    theirs = {"Effect": "Allow", "Action": "Update:Modify", "Principal": "*", "Resource": "*"}
    provider.policy = json.dumps({"Statement": theirs})
    operator.runs("ca", "--new")
    operator.runs("ca", "--sign", "on", "--yes")
    first, ours = json.loads(provider.policy)["Statement"]
    assert first == theirs
    assert (ours["Effect"], ours["Action"]) == ("Deny", ["Update:Delete", "Update:Replace"])
    assert ours["Resource"] == [f"LogicalResourceId/{name}" for name in KEPT]

    provider.policy = ""
    operator.runs("ca", "--sign", "on", "--yes")
    assert is_guarded(provider.policy), "switched on by an earlier version, or lost: typed again"
    assert json.loads(provider.policy)["Statement"][0]["Effect"] == "Allow", "anything else may be updated"

    operator.runs("ca", "--sign", "off", "--yes")
    assert not is_guarded(provider.policy)
    before = operator.calls.count("SetStackPolicy")
    operator.runs("ca", "--sign", "off", "--yes")
    assert operator.calls.count("SetStackPolicy") == before


def test_what_is_kept_is_what_the_template_has() -> None:
    """By the names of its resources: all without which AWS IoT may not call the signer, or it cannot sign."""
    added = set(Stack(given={"Signer": "on"}).resources) - set(Stack().resources)
    assert set(KEPT) == added - {"SignErrors", "SignLog"}


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
    assert "has the certificate provider theirs" in operator.runs("ca", "--sign", "on", "--yes")[1]
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


def test_a_key_of_that_name_may_be_of_another_program(signing: Operator) -> None:
    """It is another stack's, or bears no tag, or no promise: a CA gets a key of its own."""
    kms, named = boto3.client("kms"), "iot-cert gateway CA 1"
    for value in ({}, {KEY_TAG: "other", KEY_FROM_TAG: PAST, KEY_ENDS_TAG: FUTURE}, {KEY_TAG: "iot-cert"}):
        tags = [{"TagKey": key, "TagValue": text} for key, text in value.items()]
        kms.create_key(Description=named, KeySpec="RSA_3072", KeyUsage="SIGN_VERIFY", Tags=tags)
    others = {item["KeyId"] for item in keys()}
    assert signing.runs("ca", "--new")[0] == 0
    assert row(signing).cas[0].key not in others


def test_a_key_that_may_not_be_looked_at_is_another_programs(signing: Operator) -> None:
    """Its own policy can keep an administrator out. A throttled look tells nothing of whose it is."""
    boto3.client("kms").create_key()
    signing.refuses("DescribeKey", "AccessDeniedException", "x", 400)
    assert signing.runs("ca", "--new")[0] == 0
    signing.refuses("DescribeKey", "ThrottlingException", "x", 400)
    signing.typed = "renew"
    assert signing.runs("ca", "--renew", "1")[0] == 5
    assert len(keys()) == 2


def test_a_renewal_whose_time_has_passed_begins_anew(signing: Operator) -> None:
    """Interrupted and typed again a month later: those who must know the CA get their overlap still."""
    signing.runs("ca", "--new")
    signing.typed = "renew"
    signing.refuses("GetPublicKey", "ThrottlingException", "x", 400)
    assert signing.runs("ca", "--renew", "1", "--years", "3")[0] == 5
    del signing._answers["GetPublicKey"]
    signing.now += 30 * DAY
    code, said = signing.runs("ca", "--renew", "1")
    assert code == 0
    assert "An earlier order has made the key of CA 2" in said
    _, new = row(signing).cas
    assert (new.signs_from, new.ends) == (signing.now + 7 * DAY, NOW + 3 * YEAR)


@pytest.mark.parametrize("code", ["NotFoundException", "KMSInvalidStateException"])
def test_a_ca_goes_whose_key_was_deleted(signing: Operator, code: str) -> None:
    """It signs nothing any more: there is nothing to disable."""
    renewed(signing)
    signing.refuses("DisableKey", code, "x", 400)
    assert signing.runs("ca", "--retire", "1")[0] == 0


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
BEFORE = {"--new": (), "--renew 1": ("--new",), "--retire 1": ("--new", "--renew 1"), "--sign on": ("--new",)}
BEFORE["--sign off"] = ("--new", "--sign on")
CUTS = [
    pytest.param(order, place, id=f"{order}, before {place}, {calls[place]}")
    for order, calls in ORDERS.items()
    for place in range(1, len(calls))
]


def prepared(provider: Provider, order: str) -> Operator:
    """Return an operator before an order, who is as good as their word."""
    operator = provider.operator
    for words in BEFORE[order]:
        assert operator.runs("ca", *words.split(), "--yes")[0] == 0
    if order == "--retire 1":
        operator.now += 14 * DAY
    operator.calls.clear()
    return operator


@pytest.mark.parametrize("order", ORDERS)
def test_what_an_order_asks_of_aws(provider: Provider, order: str) -> None:
    """So that it is cut off before each of these below."""
    operator = prepared(provider, order)
    assert operator.runs("ca", *order.split(), "--yes")[0] == 0
    assert operator.calls == list(ORDERS[order])


@pytest.mark.parametrize(("order", "place"), [CUTS[place] for place in campaigns.places(len(CUTS), 4)])
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


def test_a_provider_whose_signer_signs_nothing_is_told_of(provider: Provider) -> None:
    """Typed again, the signer is tried again, and what is said fits an account that asks it."""
    operator = prepared(provider, "--sign off")
    boto3.client("kms").disable_key(KeyId=row(operator).cas[0].key)
    code, said = operator.runs("ca", "--sign", "on", "--yes")
    assert code == AccountError.exit
    assert "AWS IoT asks it: `--sign off` has AWS sign" in said
