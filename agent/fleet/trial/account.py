"""What the steps and the clean-up ask of AWS besides what the operator's other verbs do. It decides nothing."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from agent.backend import items
from agent.backend.names import SHADOW

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from agent.fleet.aws import Fleet


class TrialAccount:
    """The stack's account, for a test device."""

    def __init__(self, fleet: Fleet) -> None:
        """Ask as the other verbs do."""
        self._fleet, self._iot = fleet, fleet.iot

    def application_policy(self, policy: str, client_id: str) -> None:
        """Make a policy that allows one client id, which may be there already (CreatePolicy)."""
        allowed = {
            "Effect": "Allow",
            "Action": "iot:Connect",
            "Resource": self._fleet.stack.iot_arn("client", client_id),
        }
        document = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        with suppress(self._iot.exceptions.ResourceAlreadyExistsException):
            self._iot.create_policy(policyName=policy, policyDocument=document)

    def told(self, function: str, certificate_id: str, key: str) -> list[str]:
        """Return what a function's log says under a key, in its lines about a certificate (FilterLogEvents)."""
        pages = (
            self._fleet.client("logs")
            .get_paginator("filter_log_events")
            .paginate(
                logGroupName=f"/aws/lambda/{function}", filterPattern=f'{{ $.certificateId = "{certificate_id}" }}'
            )
        )
        texts = [event["message"] for page in pages for event in page["events"]]
        lines = [json.loads(text) for text in texts if text.startswith("{")]
        return [str(line[key]) for line in lines if line.get("certificateId") == certificate_id and key in line]

    def make_due(self, certificate_id: str, at: datetime) -> None:
        """Have a retired certificate be due for deletion since an instant (UpdateItem)."""
        self._fleet.client("dynamodb").update_item(
            TableName=self._fleet.stack.outputs["CertificatesTable"],
            Key={"certificate_id": items.text(certificate_id)},
            UpdateExpression="SET delete_after = :at",
            ConditionExpression="attribute_exists(due)",
            ExpressionAttributeValues={":at": items.instant(at)},
        )

    def attach_plainly(self, thing: str, certificate_id: str) -> None:
        """Attach a certificate to a thing as nothing of the stack does (AttachThingPrincipal)."""
        principal = self._fleet.stack.iot_arn("cert", certificate_id)
        self._iot.attach_thing_principal(thingName=thing, principal=principal, thingPrincipalType="NON_EXCLUSIVE_THING")

    def report(self, thing: str, reported: Mapping[str, Any]) -> None:
        """Have a thing's shadow report something (UpdateThingShadow)."""
        payload = json.dumps({"state": {"reported": reported}}).encode()
        self._fleet.client("iot-data").update_thing_shadow(thingName=thing, shadowName=SHADOW, payload=payload)

    def deactivate(self, certificate_id: str) -> None:
        """Make a certificate INACTIVE, unless it is gone or in a state that cannot change (UpdateCertificate)."""
        gone = self._iot.exceptions
        with suppress(gone.ResourceNotFoundException, gone.CertificateStateException):
            self._iot.update_certificate(certificateId=certificate_id, newStatus="INACTIVE")

    def remove(self, certificate_id: str) -> bool:
        """Delete a certificate that is INACTIVE and on no thing; return whether it is gone (DeleteCertificate)."""
        gone = self._iot.exceptions
        try:
            self._iot.delete_certificate(certificateId=certificate_id, forceDelete=True)
        except gone.ResourceNotFoundException:
            return True
        except (gone.DeleteConflictException, gone.CertificateStateException):
            return False
        return True

    def forget(self, serial: str, thing: str, certificates: Iterable[str], policy: str) -> None:
        """Delete the thing with its shadow, the application's policy and the rows (DeleteThing, DeletePolicy)."""
        missing = self._iot.exceptions.ResourceNotFoundException
        data = self._fleet.client("iot-data")
        with suppress(data.exceptions.ResourceNotFoundException):
            data.delete_thing_shadow(thingName=thing, shadowName=SHADOW)
        with suppress(missing):
            self._iot.delete_thing(thingName=thing)
        with suppress(missing):
            self._iot.delete_policy(policyName=policy)
        outputs, tables = self._fleet.stack.outputs, self._fleet.client("dynamodb")
        tables.delete_item(TableName=outputs["DevicesTable"], Key={"serial": items.text(serial)})
        for name in certificates:
            tables.delete_item(TableName=outputs["CertificatesTable"], Key={"certificate_id": items.text(name)})

    def forget_job(self, job_id: str) -> None:
        """Delete a job in whatever state it is (DeleteJob)."""
        with suppress(self._iot.exceptions.ResourceNotFoundException):
            self._iot.delete_job(jobId=job_id, force=True)
