"""The signer of an operator's own CA, switched on and off beside other programs' providers."""

from __future__ import annotations

import json

import boto3

from agent.fleet.decide.own_ca import is_guarded
from agent.fleet.errors import AccountError
from support.aws.stack import Stack
from support.unit.own_ca import Provider, prepared, row

KEPT = ("Sign", "SignRole", "SignPermission")


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


def test_a_provider_whose_signer_signs_nothing_is_told_of(provider: Provider) -> None:
    """Typed again, the signer is tried again, and what is said fits an account that asks it."""
    operator = prepared(provider, "--sign off")
    boto3.client("kms").disable_key(KeyId=row(operator).cas[0].key)
    code, said = operator.runs("ca", "--sign", "on", "--yes")
    assert code == AccountError.exit
    assert "AWS IoT asks it: `--sign off` has AWS sign" in said
