"""The stack's two tables in DynamoDB; see `agent.backend.names` for what is in them.

Each row is read consistently and written whole, on the condition that it is the one that was read. A write whose reply
is lost is tried again by botocore and then fails its condition; the handler reads, and finds that it is done.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from agent.backend import items
from agent.backend.aws.clients import Clients, asking
from agent.backend.errors import ChangedError
from agent.backend.names import DUE_INDEX, DUE_REPLACEMENT, DUE_SHARDS, REPLACING, SIGNER
from agent.backend.values import Signer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

    from agent.backend.items import Item
    from agent.backend.values import Device, Record, Replacement

T = TypeVar("T")

_FAILED = {"ConditionalCheckFailedException"}
_AFTERWARDS = timedelta(days=2)  # for which a row is kept after its end


class AwsStore:
    """Both tables, as `agent.backend.ports.StackStore` has them."""

    def __init__(self, clients: Clients, devices: str, certificates: str) -> None:
        """Use the tables of these names."""
        self._tables, self._devices, self._certificates = clients.tables, devices, certificates

    def device(self, serial: str) -> Device | None:
        """Return the row of a serial number."""
        return self._row(self._devices, "serial", serial, items.device_of)

    def save_device(self, device: Device) -> None:
        """Write the row of a serial number."""
        self._put(self._devices, "serial", items.of_device(device), device.version)

    def record(self, certificate_id: str) -> Record | None:
        """Return the row of a certificate."""
        return self._row(self._certificates, "certificate_id", certificate_id, items.record_of)

    def save_record(self, record: Record) -> None:
        """Write the row of a certificate."""
        self._put(self._certificates, "certificate_id", items.of_record(record), record.version)

    def due(self, now: datetime, limit: int) -> tuple[Record, ...]:
        """Return what may be deleted, the longest due first."""
        found = [items.record_of(item) for name in DUE_SHARDS for item in self._due_in(name, now, limit)]
        return tuple(sorted(found, key=lambda record: record.delete_after or now))[:limit]

    def replacement(self, thing: str) -> Replacement | None:
        """Return the row of a thing whose device is replaced."""
        return self._row(self._certificates, "certificate_id", REPLACING + thing, items.replacement_of)

    def save_replacement(self, replacement: Replacement) -> None:
        """Write the row of a thing whose device is replaced."""
        self._put(self._certificates, "certificate_id", items.of_replacement(replacement), replacement.version)

    def replacements(self, now: datetime, limit: int) -> tuple[Replacement, ...]:
        """Return what is to be looked at, the longest due first."""
        return tuple(items.replacement_of(item) for item in self._due_in(DUE_REPLACEMENT, now, limit))

    def signer(self) -> Signer:
        """Return the row of the signer."""
        return self._row(self._certificates, "certificate_id", SIGNER, items.signer_of) or Signer()

    def save_signer(self, signer: Signer) -> None:
        """Write the row of the signer."""
        self._put(self._certificates, "certificate_id", items.of_signer(signer), signer.version)

    def charge(self, thing: str, day: date, certificate_id: str, limit: int) -> bool:
        """Count a certificate once, in a set of which it may be a member already."""
        ends = datetime.combine(day, time(), UTC) + timedelta(days=1) + _AFTERWARDS
        return self._update(
            f"day#{thing}#{day:%Y%m%d}",
            "ADD ids :one SET expires_at = :end",
            "attribute_not_exists(ids) OR contains(ids, :id) OR size(ids) < :limit",
            {
                ":one": items.names([certificate_id]),
                ":id": items.text(certificate_id),
                ":limit": items.number(limit),
                ":end": items.instant(ends),
            },
        )

    def lease(self, thing: str, holder: str, now: datetime, until: datetime) -> bool:
        """Give a thing's lease to a holder, in one conditional write."""
        return self._update(
            f"retiring#{thing}",
            "SET holder = :holder, #until = :until, expires_at = :end",
            "attribute_not_exists(holder) OR holder = :holder OR #until <= :now",
            {
                ":holder": items.text(holder),
                ":until": items.instant(until),
                ":now": items.instant(now),
                ":end": items.instant(until + _AFTERWARDS),
            },
            {"#until": "until"},
        )

    def tally(self, name: str, end: datetime, times: int) -> int:
        """Count something in one write, which counts twice where its reply is lost: the caller refuses rather more."""
        with asking():
            answer = self._tables.update_item(
                TableName=self._devices,
                Key={"serial": items.text(f"tally#{name}")},
                UpdateExpression="ADD times :times SET expires_at = :end",
                ExpressionAttributeValues={":times": items.number(times), ":end": items.instant(end + _AFTERWARDS)},
                ReturnValues="ALL_NEW",  # UPDATED_NEW may leave out what 0 was added to
            )
        return int(answer["Attributes"]["times"]["N"])

    def _row(self, table: str, key: str, name: str, read: Callable[[Item], T]) -> T | None:
        with asking():
            answer = self._tables.get_item(TableName=table, Key={key: items.text(name)}, ConsistentRead=True)
        return read(answer["Item"]) if answer.get("Item") else None

    def _put(self, table: str, key: str, item: Item, version: int) -> None:
        condition: dict[str, Any] = {"ConditionExpression": f"attribute_not_exists({key})"}
        if version:
            values = {":version": items.number(version)}
            condition = {"ConditionExpression": "version = :version", "ExpressionAttributeValues": values}
        with asking(_FAILED):
            self._tables.put_item(TableName=table, Item=item, **condition)

    def _update(
        self, key: str, change: str, condition: str, values: Item, named: Mapping[str, str] | None = None
    ) -> bool:
        """Change a row of the devices' table if a condition holds; return whether it did."""
        try:
            with asking(_FAILED):
                self._tables.update_item(
                    TableName=self._devices,
                    Key={"serial": items.text(key)},
                    UpdateExpression=change,
                    ConditionExpression=condition,
                    ExpressionAttributeValues=values,
                    **({"ExpressionAttributeNames": named} if named else {}),
                )
        except ChangedError:
            return False
        return True

    def _due_in(self, shard: str, now: datetime, limit: int) -> list[Item]:
        """Return rows of one part of the index; a page may hold fewer than there are."""
        paginator = self._tables.get_paginator("query")
        pages = paginator.paginate(
            TableName=self._certificates,
            IndexName=DUE_INDEX,
            KeyConditionExpression="due = :due AND delete_after <= :now",
            ExpressionAttributeValues={":due": items.text(shard), ":now": items.instant(now)},
            PaginationConfig={"MaxItems": limit},
        )
        with asking():
            return [item for page in pages for item in page["Items"]]
