"""What the CAs of the operator's own are in the account: keys in KMS, CA certificates and a provider in AWS IoT.

It decides nothing. What is to be there once is looked for first, so that an order that was interrupted goes on.
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

from agent.backend.aws.auditor import AwsAuditor
from agent.backend.aws.clients import Clients
from agent.backend.aws.keys import AwsKeys
from agent.backend.decide import signing
from agent.backend.names import KEY_TAG
from agent.fleet.errors import AccountError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from agent.backend.decide.signing import Signed, Unsigned
    from agent.backend.values import SigningCa
    from agent.fleet.aws import Fleet

_OPERATION = "CreateCertificateFromCsr"
_KIND = "RSA_3072"
_DAY = timedelta(days=1)


class OwnCas:
    """The keys and certificates of one stack's CAs, and whom AWS IoT asks to sign."""

    def __init__(self, fleet: Fleet) -> None:
        """Ask as the other verbs do."""
        self._fleet, self._iot, self._kms = fleet, fleet.iot, fleet.client("kms")
        self._prefix = fleet.stack.outputs["Prefix"]

    # -- keys ----------------------------------------------------------------------------------------------------------

    def key(self, number: int) -> Mapping[str, Any]:
        """Return the key of a CA, which is made where there is none (ListKeys, DescribeKey, CreateKey)."""
        named = f"{self._prefix} gateway CA {number}"
        pages = self._kms.get_paginator("list_keys").paginate()
        for page in pages:
            for item in page["Keys"]:
                found: Mapping[str, Any] = self._kms.describe_key(KeyId=item["KeyId"])["KeyMetadata"]
                if found.get("Description") == named and found["KeyState"] == "Enabled":
                    return found
        made: Mapping[str, Any] = self._kms.create_key(
            Description=named,
            KeySpec=_KIND,
            KeyUsage="SIGN_VERIFY",
            Tags=[{"TagKey": KEY_TAG, "TagValue": self._prefix}],
        )["KeyMetadata"]
        return made

    def key_state(self, key: str) -> str:
        """Return the state of a key, such as Enabled or PendingDeletion (DescribeKey)."""
        with suppress(self._kms.exceptions.NotFoundException):
            return str(self._kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"])
        return "gone"

    def disable_key(self, key: str) -> None:
        """Have a key sign nothing more, which can be taken back (DisableKey)."""
        self._kms.disable_key(KeyId=key)

    def root(self, key: Mapping[str, Any], number: int, lifetime: timedelta) -> Signed:
        """Return the certificate of a CA: the same one for the same key, since it begins a day before that was made."""
        public = self._kms.get_public_key(KeyId=key["KeyId"])["PublicKey"]
        begin = key["CreationDate"].astimezone(UTC).replace(microsecond=0) - _DAY
        return self._signed(signing.root(public, f"{self._prefix} gateway CA {number}", begin, lifetime), key["KeyId"])

    def _signed(self, unsigned: Unsigned, key: str) -> Signed:
        made = unsigned.signed(AwsKeys(self._kms).sign(key, unsigned.digest))
        if made is None:
            raise AccountError(f"What the key {key} signs does not verify.")
        return made

    # -- CA certificates -----------------------------------------------------------------------------------------------

    def register(self, ca: Signed, key: str, now: datetime) -> None:
        """Make a CA known to AWS IoT, ACTIVE, where no certificate of it registers itself (RegisterCACertificate).

        What is vended cannot be registered without, and no audit would tell of the CA's end.
        """
        code = self._iot.get_registration_code()["registrationCode"]
        proof = self._signed(signing.proof(code, ca.pem, now), key)
        with suppress(self._iot.exceptions.ResourceAlreadyExistsException):
            self._iot.register_ca_certificate(
                caCertificate=ca.pem,
                verificationCertificate=proof.pem,
                setAsActive=True,
                allowAutoRegistration=False,
            )

    def registered(self, ca_id: str) -> str:
        """Return the status of a CA in AWS IoT (DescribeCACertificate)."""
        with suppress(self._iot.exceptions.ResourceNotFoundException):
            return str(self._iot.describe_ca_certificate(certificateId=ca_id)["certificateDescription"]["status"])
        return "gone"

    def deactivate(self, ca_id: str) -> None:
        """Have AWS IoT register nothing more of a CA; certificates of it stay as they are (UpdateCACertificate)."""
        with suppress(self._iot.exceptions.ResourceNotFoundException):
            self._iot.update_ca_certificate(certificateId=ca_id, newStatus="INACTIVE")

    def resting_on(self, ca: SigningCa, now: datetime) -> Iterator[str]:
        """Yield the ACTIVE certificates of a CA that have not ended (ListCertificatesByCA, DescribeCertificate)."""
        auditor = AwsAuditor(Clients(iot=self._iot, data=None, tables=None))
        for name in auditor.signed_by(ca.ca_id):
            found = self._fleet.registry.certificate(name)
            if found is not None and (found.not_after is None or found.not_after > now):
                yield name

    # -- the signer ----------------------------------------------------------------------------------------------------

    def providers(self) -> list[Mapping[str, str]]:
        """Return the account's certificate providers (ListCertificateProviders, DescribeCertificateProvider)."""
        names = [
            item["certificateProviderName"] for item in self._iot.list_certificate_providers()["certificateProviders"]
        ]
        return [self._iot.describe_certificate_provider(certificateProviderName=name) for name in names]

    def provide(self, function: str) -> None:
        """Have AWS IoT ask a function for each certificate (CreateCertificateProvider).

        Raises:
            AccountError: It is called by a name that the function's permission does not know; it is not asked.
        """
        made = self._iot.create_certificate_provider(
            certificateProviderName=self._prefix, lambdaFunctionArn=function, accountDefaultForOperations=[_OPERATION]
        )["certificateProviderArn"]
        if made != self._fleet.stack.iot_arn("certificateprovider", self._prefix):
            self.withdraw()
            raise AccountError(
                f"AWS names the provider {made}, by which it may not call {function}. It was removed again."
            )

    def withdraw(self) -> None:
        """Have AWS IoT sign by itself again (DeleteCertificateProvider)."""
        with suppress(self._iot.exceptions.ResourceNotFoundException):
            self._iot.delete_certificate_provider(certificateProviderName=self._prefix)

    def tried(self, function: str, csr: str) -> str:
        """Return why a function signs nothing, as its own word; nothing where it does (Invoke)."""
        event = {"certificateSigningRequest": csr, "principalId": "iot-cert cloud ca", "clientId": ""}
        answer = self._fleet.client("lambda").invoke(FunctionName=function, Payload=json.dumps(event).encode())
        told = json.loads(answer["Payload"].read())
        return "" if "certificatePem" in told else str(told.get("errorMessage", told))
