"""Fleet provisioning: certificates for signing requests, and templates that register them.

It owns the templates and how long certificates live; whom a template registers is the hook's to say. See "Device
provisioning MQTT API" in the developer guide. Certificates that live for less than AWS's own are signed by the stack's
signer, as where it is the account's certificate provider.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from agent.backend.errors import BackendError, ChangedError, NotSignedError
from agent.backend.values import Status
from agent.core.frozen import frozen
from agent.sandbox.account.authority import AWS_NOT_AFTER, Authority, fingerprint
from agent.sandbox.replies.answers import BAD_REQUEST, CONFLICT, FORBIDDEN, INTERNAL, NOT_FOUND, ServiceRefusalError
from agent.sandbox.replies.faults import Effect, Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.backend.values import Certificate
    from agent.sandbox.account.registry import CertificateRegistry, Entry
    from agent.sandbox.services.stack import Stack

MAX_CSR = 4096
_OF_THE_CERTIFICATE = {Effect.EXPIRED, Effect.NOT_YET_VALID, Effect.WRONG_KEY}


@frozen
class Template:
    """A provisioning template; whom it may register, and as which thing, is its hook's to say.

    Attributes:
        policies: The names of those that it attaches.
        exclusive: Whether it attaches certificates with `ThingPrincipalType: EXCLUSIVE_THING`.
    """

    policies: tuple[str, ...]
    exclusive: bool = True


class ProvisioningService:
    """What answers requests for a certificate and for its registration.

    Attributes:
        lifetime: How long certificates live; None for AWS's own, to 2049.
        policy_delay: How long the policy of a new certificate takes to spread.
        templates: All templates, by name.
    """

    def __init__(
        self,
        now: Callable[[], datetime],
        *,
        authority: Authority,
        registry: CertificateRegistry,
        stack: Stack,
        templates: dict[str, Template],
        lifetime: timedelta | None,
    ) -> None:
        """Issue by an authority, into a registry, and register what the stack's hook allows."""
        self._now = now
        self._authority = authority
        self._registry = registry
        self._stack = stack
        self.templates = templates
        self.lifetime = lifetime
        self.policy_delay = timedelta()

    def create(self, caller: str, body: dict[str, Any], fault: Fault | None) -> dict[str, Any]:
        """Answer CreateCertificateFromCsr to the connection of a certificate.

        Raises:
            ServiceRefusalError: The request is not acceptable.
        """
        entry = self._issue(str(body.get("certificateSigningRequest")), caller, fault)
        entry.token = entry.token or secrets.token_urlsafe(48)
        reply = {
            "certificateId": entry.certificate_id,
            "certificatePem": entry.pem,
            "certificateOwnershipToken": entry.token,
        }
        if fault and fault.effect is Effect.NO_TOKEN:
            del reply["certificateOwnershipToken"]
        if fault and fault.effect is Effect.EXTRA_FIELDS:
            reply |= {"futureField": {"nested": [1, 2.5, None]}, "": "x"}  # type: ignore[dict-item]
        return reply

    def issue(self, csr: str) -> Certificate | None:
        """Do what the call CreateCertificateFromCsr does: make a certificate, INACTIVE, unless the request is none."""
        try:
            entry = self._issue(csr, "the vending machine", None)
        except ServiceRefusalError:
            return None
        entry.policy_from = self._now() + self.policy_delay
        entry.certificate = replace(entry.certificate, status=Status.INACTIVE, pem=entry.pem)
        return entry.certificate

    def _issue(self, csr: str, caller: str, fault: Fault | None) -> Entry:
        effect = fault.effect if fault else None
        if self.lifetime is None or effect in _OF_THE_CERTIFICATE:
            return self._registry.add(self._made(_request(csr), effect), Status.PENDING_ACTIVATION)
        certificate = self._signed(csr, caller, self.lifetime)
        known = self._registry.get(fingerprint(certificate))
        if known is None:
            return self._registry.add(certificate, Status.PENDING_ACTIVATION)
        if known.status is not Status.PENDING_ACTIVATION:
            raise ServiceRefusalError(CONFLICT, "ResourceAlreadyExists", "The certificate is registered already")
        return known

    def _signed(self, csr: str, caller: str, lifetime: timedelta) -> x509.Certificate:
        """Return what the account's signer makes; that AWS refuses in these words is a guess."""
        try:
            pem = self._stack.sign(csr, caller, lifetime)
        except BackendError as error:
            raise ServiceRefusalError(INTERNAL, "InternalFailure", str(error)) from None
        except NotSignedError as error:
            raise ServiceRefusalError(BAD_REQUEST, "InvalidRequest", str(error)) from None
        return x509.load_pem_x509_certificate(pem.encode())

    def _made(self, request: x509.CertificateSigningRequest, effect: Effect | None) -> x509.Certificate:
        """Return a certificate of AWS's own, or one that something is wrong with."""
        now = self._now().replace(microsecond=0)
        not_before, not_after = now - timedelta(minutes=2), AWS_NOT_AFTER
        if self.lifetime is not None:
            not_before, not_after = now, now + self.lifetime
        if effect is Effect.EXPIRED:
            not_before, not_after = now - timedelta(days=30), now - timedelta(days=1)
        if effect is Effect.NOT_YET_VALID:
            not_before = now + timedelta(days=1)
            not_after = max(not_after, not_before + timedelta(days=1))
        public_key = request.public_key()
        if effect is Effect.WRONG_KEY:
            public_key = ec.generate_private_key(ec.SECP256R1()).public_key()
        return self._authority.issue_client(request.subject, public_key, not_before, not_after)

    def register(self, caller: Entry, template_name: str, body: dict[str, Any], fault: Fault | None) -> dict[str, Any]:
        """Answer RegisterThing.

        Raises:
            ServiceRefusalError: The template, the token or the hook does not allow it.
        """
        template = self.templates.get(template_name)
        if template is None:
            raise ServiceRefusalError(NOT_FOUND, "ResourceNotFound", f"Template {template_name} does not exist")
        token = body.get("certificateOwnershipToken")
        if not token:
            raise ServiceRefusalError(
                BAD_REQUEST, "InvalidCertificateOwnershipToken", "Certificate ownership token cannot be empty"
            )
        entry = next((item for item in self._registry.values() if item.token == token), None)
        if entry is None:
            raise ServiceRefusalError(
                BAD_REQUEST, "InvalidCertificateOwnershipToken", "Certificate ownership token is not valid"
            )
        parameters = body.get("parameters")
        given = parameters if isinstance(parameters, dict) else {}
        thing_name = self._stack.hook(caller.certificate_id, entry.certificate_id, template_name, given)
        if not thing_name:
            raise ServiceRefusalError(FORBIDDEN, "ACCESS_DENIED", "Pre-provisioning hook denied the request")
        return self._activate(entry, template, thing_name, fault)

    def _activate(self, entry: Entry, template: Template, thing_name: str, fault: Fault | None) -> dict[str, Any]:
        effect = fault.effect if fault else None
        before = entry.status
        try:
            self._stack.registry.register(thing_name, entry.certificate_id, template.policies)
        except ChangedError as error:
            raise ServiceRefusalError(BAD_REQUEST, "ProvisioningFailed", str(error)) from None
        entry.exclusive = template.exclusive
        if entry.policy_from is None:
            entry.policy_from = self._now() + self.policy_delay
        if before is not Status.PENDING_ACTIVATION:
            entry.status = before
        elif effect is Effect.NEVER_ACTIVE:
            entry.status = Status.INACTIVE
        if effect is Effect.REVOKE:
            entry.revoke_at_connection = 2
        shown = "someone-else" if effect is Effect.WRONG_THING else thing_name
        return {"deviceConfiguration": {}, "thingName": shown}


def _request(pem: str) -> x509.CertificateSigningRequest:
    """Return a signing request.

    Raises:
        ServiceRefusalError: It is not acceptable.
    """
    try:
        request = x509.load_pem_x509_csr(pem.encode())
    except (ValueError, x509.InvalidVersion):
        raise ServiceRefusalError(
            BAD_REQUEST, "InvalidRequest", "The certificate signing request cannot be parsed"
        ) from None
    if len(pem) > MAX_CSR or not request.is_signature_valid:
        raise ServiceRefusalError(BAD_REQUEST, "InvalidRequest", "The certificate signing request is not acceptable")
    return request
