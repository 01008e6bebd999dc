"""What the CAs of the operator's own are in the account: keys in KMS, CA certificates and a provider in AWS IoT.

It decides nothing. What is to be there once is looked for first, so that an order that was interrupted goes on.
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from agent.backend.aws.auditor import AwsAuditor
from agent.backend.aws.clients import Clients
from agent.backend.aws.keys import AwsKeys
from agent.backend.decide import signing
from agent.backend.names import KEY_ENDS_TAG, KEY_FROM_TAG, KEY_ISSUER_TAG, KEY_TAG, signer_event
from agent.core.frozen import frozen
from agent.crypto.materials import SoftwareMaterials
from agent.fleet.decide import own_ca
from agent.fleet.decide.own_ca import Promise
from agent.fleet.errors import AccountError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.backend.decide.signing import Signed, Unsigned
    from agent.backend.values import SigningCa
    from agent.fleet.aws import Fleet

_Made = TypeVar("_Made")
_OPERATION = "CreateCertificateFromCsr"
_KIND = "RSA_3072"
_DAY = timedelta(days=1)
_INSTANT = "%Y-%m-%dT%H:%M:%SZ"


@frozen
class CaKey:
    """A CA's key in KMS.

    Attributes:
        key_id: Its id.
        created: When it was made.
        promise: What the order that made it has said of the CA.
    """

    key_id: str
    created: datetime
    promise: Promise


class OwnCas:
    """The keys and certificates of one stack's CAs, and whom AWS IoT asks to sign."""

    def __init__(self, fleet: Fleet) -> None:
        """Ask as the other verbs do."""
        self._fleet, self._iot, self._kms = fleet, fleet.iot, fleet.client("kms")
        self._prefix, self._stack = fleet.stack.outputs["Prefix"], fleet.stack.arn
        self._formation = fleet.client("cloudformation")

    # -- keys ----------------------------------------------------------------------------------------------------------

    def key(self, number: int, now: datetime) -> CaKey | None:
        """Return the key that was made for a CA that has not ended (ListKeys, DescribeKey, ListResourceTags).

        There are two where AWS's answer to CreateKey was lost, and boto3 asked again: the later one is then in use.
        """
        found = (self._of_tags(item) for item in self._described() if item.get("Description") == self.name(number))
        mine = [item for item in found if item is not None and item.promise.ends > now]
        return max(mine, key=lambda item: item.created, default=None)

    def make_key(self, number: int, promise: Promise) -> CaKey:
        """Make a CA's key, with tags that name the stack and hold the promise about the CA (CreateKey)."""
        tags = {
            KEY_TAG: self._prefix,
            KEY_FROM_TAG: promise.signs_from.astimezone(UTC).strftime(_INSTANT),
            KEY_ENDS_TAG: promise.ends.astimezone(UTC).strftime(_INSTANT),
        }
        if promise.by_another:
            tags[KEY_ISSUER_TAG] = "another"
        made = self._kms.create_key(
            Description=self.name(number),
            KeySpec=_KIND,
            KeyUsage="SIGN_VERIFY",
            Tags=[{"TagKey": key, "TagValue": value} for key, value in tags.items()],
        )["KeyMetadata"]
        return CaKey(key_id=made["KeyId"], created=made["CreationDate"], promise=promise)

    def name(self, number: int) -> str:
        """Return the common name of a CA."""
        return f"{self._prefix} gateway CA {number}"

    def _described(self) -> Iterator[Mapping[str, Any]]:
        """Yield the keys that are enabled. One whose own policy keeps these credentials out is another program's."""
        for page in self._kms.get_paginator("list_keys").paginate():
            for item in page["Keys"]:
                try:
                    found: Mapping[str, Any] = self._kms.describe_key(KeyId=item["KeyId"])["KeyMetadata"]
                except self._kms.exceptions.ClientError as error:
                    if error.response["Error"]["Code"] != "AccessDeniedException":
                        raise
                    continue
                if found["KeyState"] == "Enabled":
                    yield found

    def _of_tags(self, found: Mapping[str, Any]) -> CaKey | None:
        """Return a key by its tags, or None for one that is not this stack's, whatever it is called."""
        pages = self._kms.get_paginator("list_resource_tags").paginate(KeyId=found["KeyId"])
        tags = {item["TagKey"]: item["TagValue"] for page in pages for item in page["Tags"]}
        if tags.get(KEY_TAG) != self._prefix:
            return None
        with suppress(KeyError, ValueError):
            signs_from, ends = (datetime.fromisoformat(tags[key]) for key in (KEY_FROM_TAG, KEY_ENDS_TAG))
            promise = Promise(signs_from=signs_from, ends=ends, by_another=KEY_ISSUER_TAG in tags)
            return CaKey(key_id=found["KeyId"], created=found["CreationDate"], promise=promise)
        return None

    def key_state(self, key: str) -> str:
        """Return the state of a key, such as Enabled or PendingDeletion (DescribeKey)."""
        with suppress(self._kms.exceptions.NotFoundException):
            return str(self._kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"])
        return "gone"

    def disable_key(self, key: str) -> None:
        """Have a key sign nothing more, which can be taken back (DisableKey); one that is to be deleted does not."""
        with suppress(self._kms.exceptions.NotFoundException, self._kms.exceptions.KMSInvalidStateException):
            self._kms.disable_key(KeyId=key)

    def root(self, key: CaKey, number: int) -> Signed:
        """Return the certificate of a CA.

        Its validity follows from the key, so a repeated order yields the same certificate.
        """
        begin = key.created.astimezone(UTC).replace(microsecond=0) - _DAY
        unsigned = signing.root(self.public_key(key), self.name(number), begin, key.promise.ends - begin)
        return self._signed(unsigned, key.key_id)

    def request(self, key: CaKey, number: int) -> str:
        """Return the request for a CA's certificate in PEM, for another CA to sign: the same one for the same key."""
        unsigned = signing.request(self.public_key(key), self.name(number))
        return _sound(unsigned.signed(self._signature(unsigned.digest, key.key_id)), key.key_id)

    def public_key(self, key: CaKey) -> bytes:
        """Return a key's SubjectPublicKeyInfo in DER (GetPublicKey)."""
        public: bytes = self._kms.get_public_key(KeyId=key.key_id)["PublicKey"]
        return public

    def _signed(self, unsigned: Unsigned, key: str) -> Signed:
        return _sound(unsigned.signed(self._signature(unsigned.digest, key)), key)

    def _signature(self, digest: bytes, key: str) -> bytes:
        return AwsKeys(self._kms).sign(key, digest)

    # -- CA certificates -----------------------------------------------------------------------------------------------

    def register(self, ca: Signed, key: str, now: datetime) -> None:
        """Register a CA with AWS IoT as ACTIVE, without automatic registration of certificates (RegisterCACertificate).

        Without that, a vended certificate cannot be registered, and no audit reports the CA's end.

        Raises:
            AccountError: AWS IoT does not know it afterwards by its fingerprint, or not as ACTIVE.
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
        status = self.registered(ca.certificate_id)
        if status == "gone":
            text = (
                f"AWS IoT took the CA certificate, and has none of its id, {ca.certificate_id}. The CA signs nothing."
            )
            raise AccountError(
                text, hint="`aws iot list-ca-certificates` lists what is there. Run the same command again."
            )
        if status != "ACTIVE":
            again = f"aws iot update-ca-certificate --certificate-id {ca.certificate_id} --new-status ACTIVE"
            text = f"AWS IoT has the CA certificate {ca.certificate_id} already, {status}. The CA signs nothing."
            raise AccountError(text, hint=f"Run `{again}`, and then the same command again.")

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

    def protect(self) -> None:
        """Have CloudFormation keep the function that AWS IoT asks (UpdateTerminationProtection, SetStackPolicy).

        It refuses then to delete the stack, and any update that would take the function away or give it another name.
        """
        self._formation.update_termination_protection(StackName=self._stack, EnableTerminationProtection=True)
        self._guard(own_ca.guarded(self.stack_policy()))

    def release(self) -> None:
        """Have CloudFormation take the function away when it is told to; the stack stays protected (SetStackPolicy)."""
        policy = self.stack_policy()
        if own_ca.is_guarded(policy):
            self._guard(own_ca.released(policy))

    def stack_policy(self) -> str:
        """Return the stack's policy; empty for none (GetStackPolicy)."""
        return str(self._formation.get_stack_policy(StackName=self._stack).get("StackPolicyBody") or "")

    def _guard(self, policy: str) -> None:
        self._formation.set_stack_policy(StackName=self._stack, StackPolicyBody=policy)

    def provide(self, function: str) -> Mapping[str, str]:
        """Have AWS IoT ask a function for each certificate (CreateCertificateProvider); return the provider."""
        made: Mapping[str, str] = self._iot.create_certificate_provider(
            certificateProviderName=self._prefix, lambdaFunctionArn=function, accountDefaultForOperations=[_OPERATION]
        )
        return made

    def hold(self, provider: Mapping[str, str], function: str) -> None:
        """Check that the provider has the ARN that the function's permission names; else remove it.

        Raises:
            AccountError: It had another ARN, by which it may not call the function, and was removed.
        """
        made = provider["certificateProviderArn"]
        if made != self._fleet.stack.iot_arn("certificateprovider", self._prefix):
            self.withdraw()
            raise AccountError(
                f"AWS names the provider {made}, by which it may not call {function}. It was removed again."
            )

    def withdraw(self) -> None:
        """Have AWS IoT sign by itself again (DeleteCertificateProvider)."""
        with suppress(self._iot.exceptions.ResourceNotFoundException):
            self._iot.delete_certificate_provider(certificateProviderName=self._prefix)

    def tried(self, function: str) -> tuple[str, str]:
        """Have a function sign for a key that is thrown away (Invoke).

        Returns:
            The certificate in PEM, and why there is none, as the function's own word; one of the two is empty.
        """
        materials = SoftwareMaterials()
        csr = materials.request(materials.new_key(), None, "iot-cert cloud ca").decode()
        event = signer_event(csr, "iot-cert cloud ca")
        answer = self._fleet.client("lambda").invoke(FunctionName=function, Payload=json.dumps(event).encode())
        told = json.loads(answer["Payload"].read())
        pem = told.get("certificatePem", "")
        return pem, "" if pem else str(told.get("errorMessage", told))


def _sound(made: _Made | None, key: str) -> _Made:
    if made is None:
        raise AccountError(f"What the key {key} signs does not verify.")
    return made
