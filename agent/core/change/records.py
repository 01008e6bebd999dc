"""The change record and the manifest as bytes on disk, and back. Both carry the version of their format.

The formats: ``change.json`` is one record; ``history.jsonl`` holds one finished record a line, without anything
secret; ``manifest.json`` is one manifest. A reader refuses a newer version than its own: an agent that was downgraded
must not guess.
"""

from __future__ import annotations

from dataclasses import replace

from agent.core.change.lifecycle import MAX_MATERIAL, ChangeRecord, Phase
from agent.core.jsonio import Node, PlainError, decode, encode_plain, to_plain
from agent.core.values import Manifest

FORMAT = 1

MAX_RECORD = MAX_MATERIAL  # bytes
MAX_MANIFEST = 16_384


def encode_record(record: ChangeRecord) -> bytes:
    """Return the record with everything in it, the ownership token included: for ``change.json`` alone."""
    return encode_plain({"format": FORMAT, **to_plain(record)}) + b"\n"


def encode_outcome(record: ChangeRecord) -> bytes:
    """Return a finished record as a line of the history: the certificate id stays, PEM and token go."""
    issued = record.issued and replace(record.issued, certificate_pem="", token="")
    return encode_plain({"format": FORMAT, **to_plain(replace(record, issued=issued))}) + b"\n"


def public(record: ChangeRecord) -> ChangeRecord:
    """Return the record as people and programs are shown it: without the certificate in hand and its token."""
    return replace(record, issued=None)


def decode_record(data: bytes, what: str) -> ChangeRecord:
    """Return the record that `data` holds.

    Raises:
        PlainError: It is not a record of this or an earlier format.
    """
    node = decode(data, what, limit=MAX_RECORD)
    _check_format(node)
    record = node.record(ChangeRecord)
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


def _check_format(node: Node) -> None:
    found = node.number("format")
    if found > FORMAT:
        raise PlainError(f"{node.path}: format {found} was written by a newer agent; this one reads up to {FORMAT}")
    if found < 1:
        raise PlainError(f"{node.path}: there is no format {found}")


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the manifest as the bytes of ``manifest.json``, sealed with a hash over itself."""
    plain = {"format": FORMAT, **to_plain(manifest)}
    return encode_plain({**plain, "seal": _seal(encode_plain(plain))}) + b"\n"


def _seal(data: bytes) -> str:
    import hashlib  # noqa: PLC0415 - it brings the whole cryptographic library, and records are read without it

    return hashlib.sha256(data).hexdigest()


def _check_seal(node: Node, told: str) -> None:
    """Refuse a manifest in which anything changed: a thing's name decides client id and topics."""
    try:
        seal = _seal(encode_plain(node.without("seal")))
    except (ValueError, RecursionError):
        raise PlainError(f"{node.path}: it holds what no manifest holds") from None
    if told != seal:
        raise PlainError(f"{node.path}: it changed since it was written")


def decode_manifest(data: bytes, what: str) -> Manifest:
    """Return the manifest that `data` holds.

    Raises:
        PlainError: It is not a manifest of this or an earlier format.
    """
    node = decode(data, what, limit=MAX_MANIFEST)
    _check_format(node)
    _check_seal(node, node.text("seal", limit=64))
    return node.record(Manifest)
