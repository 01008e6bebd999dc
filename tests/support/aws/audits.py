"""Device Defender before moto, which has none: answers of the shapes of botocore's model, two entries a page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from agent.backend.values import Check
from support.aws.account import NOW
from support.aws.strict import complaints_about

if TYPE_CHECKING:
    from datetime import datetime

    from support.aws.moto_account import AwsWorld

_PAGE = 2


class _Answered:
    """As much of an HTTP response as botocore looks at."""

    status_code = 200


class Defender:
    """Audits, and what CAs have signed.

    Attributes:
        audits: The findings of each audit, as AWS describes them.
        signed: The certificates of each CA, with their state.
        lives: The validity of each certificate; moto gives all of them a day.
    """

    def __init__(self, world: AwsWorld) -> None:
        self.audits: dict[str, list[dict[str, Any]]] = {}
        self.signed: dict[str, list[tuple[str, str]]] = {}
        self.lives: dict[str, tuple[datetime, datetime]] = {}
        self._own = world
        self.attend(world.clients.iot)

    def attend(self, client: Any) -> None:
        """Answer a client."""
        events = client.meta.events
        events.register("before-call.iot.ListAuditFindings", self._findings)
        events.register("before-call.iot.ListCertificatesByCA", self._signed)
        events.register("after-call.iot.DescribeCertificate", self._described)

    def _findings(self, model: Any, params: dict[str, Any], **_: Any) -> Any:
        asked = json.loads(params["body"])
        there = [item for item in self.audits.get(asked["taskId"], []) if item["checkName"] == asked["checkName"]]
        return _page(model, there, "findings", "nextToken", asked.get("nextToken", ""))

    def _signed(self, model: Any, params: dict[str, Any], **_: Any) -> Any:
        ca = params["url_path"].rpartition("/")[2]
        there = [
            {"certificateId": name, "status": status, "creationDate": NOW, "certificateMode": "DEFAULT"}
            for name, status in self.signed.get(ca, [])
        ]
        return _page(model, there, "certificates", "nextMarker", params["query_string"].get("marker", ""))

    def _described(self, parsed: dict[str, Any], **_: Any) -> None:
        described = parsed.get("certificateDescription", {})
        life = self.lives.get(described.get("certificateId", ""))
        if life:
            described["validity"] = {"notBefore": life[0], "notAfter": life[1]}


def _page(model: Any, there: list[dict[str, Any]], name: str, marker: str, after: str) -> Any:
    start = len(after) * _PAGE  # the marker has a letter for each page before
    answer: dict[str, Any] = {name: there[start : start + _PAGE]}
    if start + _PAGE < len(there):
        answer[marker] = after + "x"
    complaints = complaints_about(answer, model.output_shape, model.name)
    assert not complaints, complaints
    return _Answered(), {**answer, "ResponseMetadata": {"HTTPStatusCode": 200}}


def found(
    task: str,
    check: Check,
    certificate_id: str,
    *,
    ends: datetime | None = None,
    additional: dict[str, str] | None = None,
    **more: object,
) -> dict[str, Any]:
    """Return a finding, as ListAuditFindings has it.

    Args:
        task: The audit.
        check: The check.
        certificate_id: The certificate; empty for a finding that names none.
        ends: When it ends.
        additional: What else is said of it.
        more: Other members of the finding.
    """
    kind, name = ("CA_CERTIFICATE", "caCertificateId") if check is Check.CA_EXPIRING else _DEVICE
    told = {"EXPIRATION_TIME": str(int(ends.timestamp() * 1000))} if ends else {}
    return {
        "findingId": f"{check.value}-{certificate_id[:8] or 'none'}",
        "taskId": task,
        "checkName": check.value,
        "taskStartTime": NOW,
        "findingTime": NOW,
        "severity": "MEDIUM",
        "nonCompliantResource": {
            "resourceType": kind,
            "resourceIdentifier": {name: certificate_id} if certificate_id else {},
            "additionalInfo": told if additional is None else additional,
        },
        "reasonForNonCompliance": "Certificate is approaching its expiration.",
        "reasonForNonComplianceCode": "CERTIFICATE_APPROACHING_EXPIRATION",
        "isSuppressed": False,
        **more,
    }


_DEVICE = ("DEVICE_CERTIFICATE", "deviceCertificateId")
