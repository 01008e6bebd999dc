"""The change record and the manifest as bytes on disk, and back. Both carry the version of their format.

The formats: ``change.json`` is one record; ``history.jsonl`` holds one finished record a line, without anything
secret; ``manifest.json`` is one manifest. A reader refuses a newer version than its own: an agent that was downgraded
must not guess.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agent.core.change.lifecycle import ChangeRecord, Issued, Phase
from agent.core.failure.failure import Failure, FailureClass
from agent.core.jsonio import Node, PlainError, decode, encode, to_plain
from agent.core.values import Kind, Manifest, Origin, Provenance, TrustSource

FORMAT = 1

MAX_RECORD = 262_144  # bytes; the largest certificate AWS returns is a quarter of it
MAX_MANIFEST = 16_384


def encode_record(record: ChangeRecord) -> bytes:
    """Return the record with everything in it, the ownership token included: for ``change.json`` alone."""
    return encode({"format": FORMAT, **to_plain(record)}) + b"\n"


def encode_outcome(record: ChangeRecord) -> bytes:
    """Return a finished record as a line of the history: the certificate id stays, PEM and token go."""
    issued = record.issued and replace(record.issued, certificate_pem="", token="")
    return encode({"format": FORMAT, **to_plain(replace(record, issued=issued))}) + b"\n"


def public(record: ChangeRecord) -> dict[str, Any]:
    """Return the record for people and programs: without the certificate in hand and its token."""
    return {name: value for name, value in to_plain(record).items() if name != "issued"}


def decode_record(data: bytes, what: str) -> ChangeRecord:
    """Return the record that `data` holds.

    Raises:
        PlainError: It is not a record of this or an earlier format.
    """
    node = decode(data, what, limit=MAX_RECORD)
    _check_format(node)
    record = _record(node)
    _check_whole(record, node)
    return record


def _check_whole(record: ChangeRecord, node: Node) -> None:
    """Refuse a record that lacks what its own phase rests on: going on from it would fail at every start."""
    _check_condemned(record, node)
    issued = record.issued
    if record.phase is Phase.ISSUED and not (issued and issued.token and issued.certificate_pem):
        raise PlainError(f"{node.path}: phase issued without certificate and token")
    if record.phase is Phase.REGISTERED and not (issued and issued.certificate_pem and record.thing_name):
        raise PlainError(f"{node.path}: phase registered without certificate and thing name")


def _check_condemned(record: ChangeRecord, node: Node) -> None:
    goes_back = record.phase in {Phase.ACTIVE, Phase.DEPLOYED} and record.base is not None
    if record.condemned is not None and not goes_back and not record.phase.ended:
        raise PlainError(f"{node.path}: condemned in phase {record.phase}, where there is nothing to go back from")


def _record(node: Node) -> ChangeRecord:
    return ChangeRecord(
        id=node.text("id", limit=64),
        kind=node.choice("kind", Kind),
        origin=node.choice("origin", Origin),
        reason=node.text("reason"),
        generation=node.number("generation"),
        base=node.optional_number("base"),
        phase=node.choice("phase", Phase),
        planned_at=node.time("planned_at"),
        entered_at=node.time("entered_at"),
        passed=node.steps("passed", Phase),
        requests=node.times("requests"),
        issued=_issued(node.optional_node("issued")),
        unanswered=node.number("unanswered", 0),
        thing_name=node.optional_text("thing_name", limit=128),
        attempts=node.number("attempts", 0),
        resumes=node.number("resumes", 0),
        resumed_at=node.optional_time("resumed_at"),
        retry_at=node.optional_time("retry_at"),
        failure=_failure(node.optional_node("failure")),
        refused_since=node.optional_time("refused_since"),
        condemned=_failure(node.optional_node("condemned")),
        probation_until=node.optional_time("probation_until"),
        checked_at=node.optional_time("checked_at"),
        prove_at=node.optional_time("prove_at"),
        doubts=node.number("doubts", 0),
        refusals=node.number("refusals", 0),
        confirm_until=node.optional_time("confirm_until"),
        confirmed_at=node.optional_time("confirmed_at"),
        good_time=node.optional_time("good_time"),
        order=node.optional_text("order", limit=128) or "",
        replaces=node.optional_text("replaces", limit=64),
        retired_at=node.optional_time("retired_at"),
        anchor=node.optional_text("anchor", limit=64) or "",
        unproven=node.flag("unproven"),
        degraded=_failure(node.optional_node("degraded")),
        brings=node.optional_text("brings", limit=64) or "",
        dropped_at=node.optional_time("dropped_at"),
    )


def _check_format(node: Node) -> None:
    found = node.number("format")
    if found > FORMAT:
        raise PlainError(f"{node.path}: format {found} was written by a newer agent; this one reads up to {FORMAT}")
    if found < 1:
        raise PlainError(f"{node.path}: there is no format {found}")


def _issued(node: Node | None) -> Issued | None:
    if node is None:
        return None
    return Issued(
        certificate_pem=node.text("certificate_pem", limit=MAX_RECORD),
        certificate_id=node.text("certificate_id", limit=64),
        token=node.text("token", limit=MAX_RECORD),
        at=node.time("at"),
    )


def _failure(node: Node | None) -> Failure | None:
    if node is None:
        return None
    return Failure(
        kind=node.choice("kind", FailureClass),
        code=node.text("code", limit=64),
        message=node.text("message", limit=4096),
        remedy=node.text("remedy", limit=4096),
        decisive=node.flag("decisive"),
    )


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the manifest as the bytes of ``manifest.json``, sealed with a hash over itself."""
    plain = {"format": FORMAT, **to_plain(manifest)}
    return encode({**plain, "seal": _seal(encode(plain))}) + b"\n"


def _seal(data: bytes) -> str:
    import hashlib  # noqa: PLC0415 - it brings the whole cryptographic library, and records are read without it

    return hashlib.sha256(data).hexdigest()


def _check_seal(node: Node) -> None:
    """Refuse a manifest in which anything changed: a thing's name decides client id and topics."""
    try:
        seal = _seal(encode(node.without("seal")))
    except (ValueError, RecursionError):
        raise PlainError(f"{node.path}: it holds what no manifest holds") from None
    if node.text("seal", limit=64) != seal:
        raise PlainError(f"{node.path}: it changed since it was written")


def decode_manifest(data: bytes, what: str) -> Manifest:
    """Return the manifest that `data` holds.

    Raises:
        PlainError: It is not a manifest of this or an earlier format.
    """
    node = decode(data, what, limit=MAX_MANIFEST)
    _check_format(node)
    _check_seal(node)
    files = node.node("files")
    return Manifest(
        number=node.number("number"),
        kind=node.choice("kind", Kind),
        change=node.text("change", limit=64),
        origin=node.choice("origin", Origin),
        thing_name=node.text("thing_name", limit=128),
        certificate_id=node.text("certificate_id", limit=64),
        not_before=node.time("not_before"),
        not_after=node.time("not_after"),
        created_at=node.time("created_at"),
        files={name: files.text(name, limit=64) for name in files.names()},
        trust=decode_provenance(node.optional_node("trust")),
    )


def decode_provenance(node: Node | None) -> Provenance | None:
    """Return where trust anchors came from; None when that is not told.

    Raises:
        PlainError: It is no such thing.
    """
    if node is None:
        return None
    return Provenance(
        source=node.choice("source", TrustSource),
        version=node.number("version", 0),
        issued_at=node.optional_time("issued_at"),
    )
