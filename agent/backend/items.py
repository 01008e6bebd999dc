"""Rows as DynamoDB has them, and back: one letter of type before each value, instants as whole seconds.

What a row lacks is None or nothing; DynamoDB has no empty set. An attribute that this version does not know is ignored
when it is read, and gone when the row is written; the stack's functions are all of one version.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias
from zlib import crc32

from agent.backend.names import DUE_REPLACEMENT, DUE_SHARDS, REPLACING, SIGNER
from agent.backend.values import CertificateOrigin, Device, DeviceState, Record, Replacement, Signer, SigningCa

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Item: TypeAlias = "dict[str, dict[str, Any]]"


def text(value: str) -> dict[str, str]:
    """Return a text."""
    return {"S": value}


def instant(value: datetime) -> dict[str, str]:
    """Return an instant, as whole seconds since 1970."""
    return {"N": str(int(value.timestamp()))}


def number(value: int) -> dict[str, str]:
    """Return a number."""
    return {"N": str(value)}


def names(value: Iterable[str]) -> dict[str, list[str]]:
    """Return a set of texts, which is not empty."""
    return {"SS": sorted(value)}


def of_device(device: Device) -> Item:
    """Return the row that follows the one whose version a device bears."""
    return {
        "serial": text(device.serial),
        "thing": text(device.thing),
        "state": text(device.state),
        **_texts(token_sha256=device.token_sha256),
        **({"claims": names(device.claims)} if device.claims else {}),
        **_instants(token_until=device.token_until, claimed_at=device.claimed_at, enrolled_at=device.enrolled_at),
        "version": number(device.version + 1),
    }


def device_of(item: Item) -> Device:
    """Return the device of a row."""
    return Device(
        serial=item["serial"]["S"],
        thing=item["thing"]["S"],
        state=DeviceState(item["state"]["S"]),
        token_sha256=_text_of(item, "token_sha256"),
        claims=frozenset(item["claims"]["SS"] if "claims" in item else ()),
        **_instants_of(item, "token_until", "claimed_at", "enrolled_at"),
        version=int(item["version"]["N"]),
    )


_OF_RECORD = (
    "issued_at", "proven_at", "retired_at", "delete_after", "detached_at", "ended_at", "expires_at",
)  # fmt: skip


def of_record(record: Record) -> Item:
    """Return the row that follows the one whose version a record bears; it is in the index if it waits for deletion."""
    return {
        "certificate_id": text(record.certificate_id),
        "thing": text(record.thing),
        "origin": text(record.origin),
        **_texts(serial=record.serial, csr_sha256=record.csr_sha256, retired_by=record.retired_by),
        **({"due": text(shard(record.certificate_id))} if record.delete_after is not None else {}),
        **_instants(**{name: getattr(record, name) for name in _OF_RECORD}),
        "version": number(record.version + 1),
    }


def record_of(item: Item) -> Record:
    """Return the record of a row."""
    return Record(
        certificate_id=item["certificate_id"]["S"],
        thing=item["thing"]["S"],
        origin=CertificateOrigin(item["origin"]["S"]),
        serial=_text_of(item, "serial"),
        csr_sha256=_text_of(item, "csr_sha256"),
        retired_by=_text_of(item, "retired_by"),
        **_instants_of(item, *_OF_RECORD),
        version=int(item["version"]["N"]),
    )


def of_replacement(replacement: Replacement) -> Item:
    """Return the row that follows the one whose version a replacement bears; it is in the index until it has ended."""
    sets = {"before": replacement.before, "retired": replacement.retired}
    looked = {} if replacement.look_at is None else {"due": text(DUE_REPLACEMENT)}
    return {
        "certificate_id": text(REPLACING + replacement.thing),
        "serial": text(replacement.serial),
        **{name: names(ids) for name, ids in sets.items() if ids},
        **looked,
        **_instants(delete_after=replacement.look_at, settles_at=replacement.settles_at),
        "version": number(replacement.version + 1),
    }


def replacement_of(item: Item) -> Replacement:
    """Return the replacement of a row."""
    sets: dict[str, frozenset[str]] = {
        name: frozenset(item[name]["SS"] if name in item else ()) for name in ("before", "retired")
    }
    found = _instants_of(item, "delete_after", "settles_at")
    return Replacement(
        thing=item["certificate_id"]["S"].removeprefix(REPLACING),
        serial=item["serial"]["S"],
        **sets,
        look_at=found["delete_after"],
        settles_at=found["settles_at"],
        version=int(item["version"]["N"]),
    )


def of_signer(signer: Signer) -> Item:
    """Return the row that follows the one whose version a signer bears."""
    return {
        "certificate_id": text(SIGNER),
        "cas": {"L": [{"M": _of_ca(ca)} for ca in signer.cas]},
        "on": {"BOOL": signer.on},
        "version": number(signer.version + 1),
    }


def _of_ca(ca: SigningCa) -> Item:
    texts = _texts(ca_id=ca.ca_id, pem=ca.pem, key=ca.key)
    return {"number": number(ca.number), **texts, **_instants(signs_from=ca.signs_from, ends=ca.ends)}


def signer_of(item: Item) -> Signer:
    """Return the signer of a row."""
    cas = tuple(_ca_of(entry["M"]) for entry in item["cas"]["L"])
    return Signer(cas=cas, on=bool(item["on"]["BOOL"]), version=int(item["version"]["N"]))


def _ca_of(item: Item) -> SigningCa:
    ca_id, pem, key = (_text_of(item, name) for name in ("ca_id", "pem", "key"))
    instants = _instants_of(item, "signs_from", "ends")
    return SigningCa(number=int(item["number"]["N"]), ca_id=ca_id, pem=pem, key=key, **instants)


def shard(certificate_id: str) -> str:
    """Return the part of the index that a certificate waits in: one part alone would be hot on a day of many."""
    return DUE_SHARDS[crc32(certificate_id.encode()) % len(DUE_SHARDS)]


def _texts(**values: str) -> Item:
    return {name: text(value) for name, value in values.items() if value}


def _instants(**values: datetime | None) -> Item:
    return {name: dict(instant(value)) for name, value in values.items() if value is not None}


def _text_of(item: Mapping[str, Mapping[str, Any]], name: str) -> str:
    return str(item[name]["S"]) if name in item else ""


def _instants_of(item: Item, *wanted: str) -> dict[str, Any]:
    return {name: datetime.fromtimestamp(int(item[name]["N"]), UTC) if name in item else None for name in wanted}
