"""The function that AWS IoT Core asks to sign, as its certificate provider.

It is apart from the other functions, because it alone needs `cryptography`: no one else's zip carries that.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from agent.backend.aws.clients import OF_THE_HOOK, client
from agent.backend.aws.keys import AwsKeys
from agent.backend.handlers import signing
from agent.backend.lambdas import run

if TYPE_CHECKING:
    from collections.abc import Mapping


def sign(event: Mapping[str, Any], _: object) -> dict[str, Any]:
    """Answer a request for a certificate.

    Raises:
        NotSignedError: It is not signed.
        BackendError: It could not be.
    """
    return dict(run(OF_THE_HOOK, lambda account: signing.sign(event, account, keys())))


@cache
def keys() -> AwsKeys:
    """Return the keys, made once for each execution environment of Lambda."""
    return AwsKeys(client("kms", OF_THE_HOOK))
