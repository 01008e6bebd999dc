"""Device Defender's audits by the control plane API of AWS IoT.

An audit is kept for 90 days; one that AWS does not know, or no longer, has no findings.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from agent.backend.aws.clients import MISSING, Clients, asking
from agent.backend.errors import ChangedError
from agent.backend.values import AuditFinding, Check, Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_UNKNOWN = MISSING | {"InvalidRequestException"}
_PAGE = 250
_NAMED_BY = {Check.CA_EXPIRING: "caCertificateId"}
_ENDS = "EXPIRATION_TIME"  # milliseconds since 1970, as text


class AwsAuditor:
    """The audits of one account and region, as `agent.backend.ports.Auditor` has them."""

    def __init__(self, clients: Clients) -> None:
        """Use clients."""
        self._iot = clients.iot

    def findings(self, task: str, check: Check) -> Iterator[AuditFinding]:
        """Yield what an audit has found by one check (ListAuditFindings)."""
        for page in self._pages("list_audit_findings", taskId=task, checkName=check.value):
            for described in page.get("findings", ()):
                resource = described.get("nonCompliantResource", {})
                name = resource.get("resourceIdentifier", {}).get(_NAMED_BY.get(check, "deviceCertificateId"), "")
                if name:
                    yield AuditFinding(
                        check=check,
                        certificate_id=name.lower().removeprefix("0x"),
                        ends=_instant(resource.get("additionalInfo", {}).get(_ENDS, "")),
                        suppressed=bool(described.get("isSuppressed")),
                    )

    def signed_by(self, ca: str) -> Iterator[str]:
        """Yield the ACTIVE certificates that a CA has signed (ListCertificatesByCA)."""
        for page in self._pages("list_certificates_by_ca", caCertificateId=ca):
            yield from (item["certificateId"] for item in page["certificates"] if item["status"] == Status.ACTIVE.value)

    def _pages(self, operation: str, **options: str) -> Iterator[Mapping[str, Any]]:
        with suppress(ChangedError), asking(_UNKNOWN):
            yield from self._iot.get_paginator(operation).paginate(**options, PaginationConfig={"PageSize": _PAGE})


def _instant(milliseconds: str) -> datetime | None:
    try:
        return datetime.fromtimestamp(int(milliseconds) // 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
