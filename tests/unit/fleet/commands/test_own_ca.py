"""An operator's own CA, made, renewed and removed by the verbs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import boto3
import pytest
from cryptography import x509

from agent.backend.names import KEY_ENDS_TAG, KEY_FROM_TAG, KEY_TAG
from agent.backend.values import Signer
from support.aws.fleet_account import NOW
from support.aws.moto_account import ARN
from support.unit.own_ca import DAY, HOUR, YEAR, keys, row

if TYPE_CHECKING:
    from support.aws.fleet_account import Operator

PAST, FUTURE = "2020-01-01T00:00:00Z", "2050-01-01T00:00:00Z"


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
