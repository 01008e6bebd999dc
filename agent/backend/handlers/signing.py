"""AWS IoT Core's certificate provider: a gateway's request is signed by a CA of the operator's own.

The event is ``certificateSigningRequest`` in PEM, ``principalId`` and ``clientId``; the answer is ``certificatePem``.
The vending machine asks in the same way. An answer that is no certificate is not foreseen, so what is refused ends
with a `NotSignedError`, and what cannot be done with a `BackendError`: AWS IoT Core answers the gateway with an error,
and the gateway asks again.

Source: "Self-managed certificate signing using AWS IoT Core certificate provider", AWS IoT Core developer guide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.backend.decide import signing
from agent.backend.decide.signing import Refused
from agent.backend.errors import MisconfiguredError, NotSignedError
from agent.backend.names import REASON, Metric

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.backend.handlers.account import Account
    from agent.backend.ports import Keys


def sign(event: Mapping[str, object], account: Account, keys: Keys) -> Mapping[str, object]:
    """Answer AWS IoT Core.

    Args:
        event: What it sends.
        account: The account.
        keys: The keys of the CAs.

    Raises:
        NotSignedError: The request is not signed.
        BackendError: It could not be.
    """
    now = account.now()
    own = account.store.signer().at(now)
    if own is None:
        raise MisconfiguredError("There is no CA that signs yet; `iot-cert cloud ca --new` makes one.")
    csr, caller = str(event.get("certificateSigningRequest")), _caller(event)
    unsigned = signing.certificate(csr, own.pem, account.settings.lifetime, now, caller)
    if isinstance(unsigned, Refused):
        account.outbox.count(Metric.SIGNING_REFUSED, about={REASON: unsigned.why, "caller": caller})
        raise NotSignedError(unsigned.why)
    made = unsigned.signed(keys.sign(own.key, unsigned.digest))
    if made is None:
        raise MisconfiguredError(f"The key {own.key} is not that of the CA {own.ca_id}.")
    about = {"certificateId": made.certificate_id, "ca": own.ca_id, "ends": str(made.ends), "caller": caller}
    account.outbox.count(Metric.SIGNED, about=about)
    return {"certificatePem": made.pem}


def _caller(event: Mapping[str, object]) -> str:
    return f"{event.get('principalId', '')} {event.get('clientId', '')}"
