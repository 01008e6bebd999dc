from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
import pytest

from agent.backend.aws.keys import AwsKeys
from agent.backend.errors import BackendError, MisconfiguredError, UnavailableError
from support.aws.moto_account import Refusal
from support.aws.own_signer import make_ca, sign_digests
from support.aws.strict import Strict

if TYPE_CHECKING:
    from support.aws.moto_account import AwsWorld


def test_a_digest_is_signed(world: AwsWorld) -> None:
    """As KMS's model has it, and the signature is the same each time: `decide.signing` rests on that."""
    own, kms, strict = make_ca(world.now), boto3.client("kms"), Strict()
    sign_digests(kms)
    strict.watch(kms)
    first = AwsKeys(kms).sign(own.key, b"d" * 32)
    assert AwsKeys(kms).sign(own.key, b"d" * 32) == first
    assert AwsKeys(kms).sign(own.key, b"e" * 32) != first
    assert set(strict.asked) == {"kms:Sign"}


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("ThrottlingException", 400, UnavailableError),
        ("KMSInternalException", 500, UnavailableError),
        ("KeyUnavailableException", 500, UnavailableError),
        ("DependencyTimeoutException", 503, UnavailableError),
        ("DisabledException", 409, MisconfiguredError),
        ("KMSInvalidStateException", 409, MisconfiguredError),
        ("NotFoundException", 400, MisconfiguredError),
        ("AccessDeniedException", 400, MisconfiguredError),
    ],
)
def test_a_key_that_does_not_sign(world: AwsWorld, code: str, status: int, expected: type[BackendError]) -> None:
    """What passes by itself, and what a person must mend; a gateway asks again in either case."""
    kms, _ = boto3.client("kms"), world

    def refuse(**_: object) -> tuple[object, dict[str, Any]]:
        error = {"Code": code, "Message": "no"}
        return Refusal(status), {"Error": error, "ResponseMetadata": {"HTTPStatusCode": status}}

    kms.meta.events.register_first("before-call.kms.Sign", refuse)
    with pytest.raises(expected):
        AwsKeys(kms).sign("alias/any", b"d" * 32)


def test_a_key_that_was_disabled(world: AwsWorld) -> None:
    """By moto's own word."""
    own, kms = make_ca(world.now), boto3.client("kms")
    sign_digests(kms)
    kms.disable_key(KeyId=own.key)
    with pytest.raises(MisconfiguredError):
        AwsKeys(kms).sign(own.key, b"d" * 32)
