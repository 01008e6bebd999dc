"""AWS IoT Core's registry, shadows and jobs, by its control plane and data plane APIs.

What a call may raise is in the API reference of each. A certificate that is gone is an answer where one is looked up,
and a change where something is to be done with it.
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from agent.backend.aws.clients import MISSING, Clients, GoneError, asking
from agent.backend.errors import ChangedError
from agent.backend.names import SHADOW
from agent.backend.values import Certificate, ShadowReport, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from agent.backend.decide.orders import JobOrder

_STATE = MISSING | {"CertificateStateException"}
_PAGE = 250
_UNFINISHED = ("QUEUED", "IN_PROGRESS")


class AwsRegistry:
    """The registry of one account and region, as `agent.backend.ports.Registry` has it."""

    def __init__(self, clients: Clients, certificate_arn: str) -> None:
        """Use clients; `certificate_arn` is what stands before the id in a certificate's ARN."""
        self._iot, self._data = clients.iot, clients.data
        self._certificate_arn = certificate_arn
        self._thing_arn = certificate_arn.removesuffix("cert/") + "thing/"

    def _arn(self, certificate_id: str) -> str:
        return self._certificate_arn + certificate_id

    # -- what is there -------------------------------------------------------------------------------------------------

    def certificate(self, certificate_id: str) -> Certificate | None:
        """Return a certificate (DescribeCertificate)."""
        with suppress(GoneError), asking(MISSING):
            answer = self._iot.describe_certificate(certificateId=certificate_id)
            return _certificate(answer["certificateDescription"])
        return None

    def things_of(self, certificate_id: str) -> tuple[str, ...]:
        """Return what a certificate is attached to (ListPrincipalThings)."""
        pages = self._pages("list_principal_things", principal=self._arn(certificate_id))
        return tuple(thing for page in pages for thing in page["things"])

    def certificates_of(self, thing: str) -> tuple[str, ...] | None:
        """Return what is attached to a thing (ListThingPrincipals, and DescribeThing where there is nothing)."""
        pages = self._pages("list_thing_principals", thingName=thing)
        principals = [principal for page in pages for principal in page["principals"]]
        found = (name for name in principals if name.startswith(self._certificate_arn))
        if not principals and not self.is_thing(thing):
            return None
        return tuple(name.removeprefix(self._certificate_arn) for name in found)

    def policies_of(self, certificate_id: str) -> tuple[str, ...]:
        """Return the policies of a certificate (ListAttachedPolicies)."""
        pages = self._pages("list_attached_policies", target=self._arn(certificate_id))
        return tuple(policy["policyName"] for page in pages for policy in page["policies"])

    def report(self, thing: str) -> ShadowReport:
        """Return what the thing's shadow reports (GetThingShadow)."""
        with suppress(GoneError), asking(MISSING):
            answer = self._data.get_thing_shadow(thingName=thing, shadowName=SHADOW)
            return _report(answer["payload"].read())
        return ShadowReport()

    def everything(self) -> Iterator[Certificate]:
        """Yield each certificate, page by page: a function cannot hold all of a fleet (ListCertificates)."""
        pages = self._iot.get_paginator("list_certificates").paginate(PaginationConfig={"PageSize": _PAGE})
        with asking():
            for page in pages:
                yield from map(_certificate, page["certificates"])

    def orders_of(self, thing: str) -> tuple[str, ...]:
        """Return the jobs that a thing has not finished (ListJobExecutionsForThing)."""
        return tuple(
            execution["jobId"]
            for status in _UNFINISHED
            for page in self._pages("list_job_executions_for_thing", thingName=thing, status=status)
            for execution in page["executionSummaries"]
        )

    def is_thing(self, thing: str) -> bool:
        """Return whether there is a thing of a name (DescribeThing)."""
        with suppress(GoneError), asking(MISSING):
            self._iot.describe_thing(thingName=thing)
            return True
        return False

    def _pages(self, operation: str, **options: str) -> Iterable[Mapping[str, Any]]:
        """Return the pages of a list; none where the thing or certificate that it belongs to does not exist."""
        paginator = self._iot.get_paginator(operation)
        pages: list[Mapping[str, Any]] = []
        with suppress(GoneError), asking(MISSING):
            pages.extend(paginator.paginate(**options, PaginationConfig={"PageSize": _PAGE}))
        return pages

    # -- what is done --------------------------------------------------------------------------------------------------

    def attach_policy(self, policy: str, certificate_id: str) -> None:
        """Attach a policy (AttachPolicy)."""
        with asking(MISSING | {"LimitExceededException"}):
            self._iot.attach_policy(policyName=policy, target=self._arn(certificate_id))

    def make_certificate(self, csr: str, now: datetime) -> Certificate | None:
        """Make a certificate (CreateCertificateFromCsr)."""
        with suppress(ChangedError), asking({"InvalidRequestException"}):
            made = self._iot.create_certificate_from_csr(certificateSigningRequest=csr, setAsActive=False)
            name, pem = made["certificateId"], made["certificatePem"]
            return Certificate(certificate_id=name, status=Status.INACTIVE, created_at=now, pem=pem)
        return None

    def take_in(self, pem: str, now: datetime) -> Certificate:
        """Register a certificate of a CA that is registered itself (RegisterCertificate)."""
        with asking({"ResourceAlreadyExistsException"}):
            name = self._iot.register_certificate(certificatePem=pem, status=Status.INACTIVE.value)["certificateId"]
        return Certificate(certificate_id=name, status=Status.INACTIVE, created_at=now, pem=pem)

    def activate(self, certificate_id: str) -> None:
        """Make a certificate ACTIVE (UpdateCertificate)."""
        with asking(_STATE | {"InvalidRequestException"}):
            self._iot.update_certificate(certificateId=certificate_id, newStatus=Status.ACTIVE.value)

    def deactivate(self, certificate_id: str) -> None:
        """Make a certificate INACTIVE (UpdateCertificate)."""
        with asking(_STATE):
            self._iot.update_certificate(certificateId=certificate_id, newStatus=Status.INACTIVE.value)

    def make_thing(self, thing: str) -> None:
        """Make a thing (CreateThing); one that has attributes or a type is a conflict to AWS, and stays as it is."""
        with suppress(ChangedError), asking({"ResourceAlreadyExistsException"}):
            self._iot.create_thing(thingName=thing)

    def attach_thing(self, thing: str, certificate_id: str) -> None:
        """Attach a certificate to a thing exclusively (AttachThingPrincipal)."""
        with asking(MISSING | {"InvalidRequestException", "ResourceConflictException"}):
            self._iot.attach_thing_principal(
                thingName=thing, principal=self._arn(certificate_id), thingPrincipalType="EXCLUSIVE_THING"
            )

    def detach_thing(self, thing: str, certificate_id: str) -> None:
        """Take a certificate off a thing (DetachThingPrincipal)."""
        with suppress(GoneError), asking(MISSING):
            self._iot.detach_thing_principal(thingName=thing, principal=self._arn(certificate_id))

    def delete(self, certificate_id: str) -> None:
        """Delete a certificate with its attachments to policies (DeleteCertificate)."""
        with asking(_STATE | {"DeleteConflictException"}):
            self._iot.delete_certificate(certificateId=certificate_id, forceDelete=True)

    def order(self, order: JobOrder) -> bool:
        """Make a job (CreateJob); its id follows from what it is for, so one that is there is of the same audit."""
        with suppress(ChangedError), asking({"ResourceAlreadyExistsException"}):
            self._iot.create_job(**order.request([self._thing_arn + thing for thing in order.things]))
            return True
        return False


def _certificate(described: Mapping[str, Any]) -> Certificate:
    made: datetime = described["creationDate"]
    valid: Mapping[str, datetime] = described.get("validity", {})
    return Certificate(
        certificate_id=described["certificateId"],
        status=Status(described["status"]),
        created_at=made.astimezone(UTC),
        pem=described.get("certificatePem", ""),
        not_before=_in_utc(valid.get("notBefore")),
        not_after=_in_utc(valid.get("notAfter")),
    )


def _in_utc(at: datetime | None) -> datetime | None:
    return at.astimezone(UTC) if at else None


def _report(payload: bytes) -> ShadowReport:
    """Return what a shadow's document reports; the document is the gateway's, of any shape."""
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError):
        return ShadowReport()
    return ShadowReport.of(document)
