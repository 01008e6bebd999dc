"""A generation's manifest on disk, sealed so that nothing in it changes unseen."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.change.records import decode_manifest, encode_manifest
from agent.core.jsonio import PlainError, encode
from agent.core.values import Kind, Manifest, Origin, Provenance, TrustSource
from support import make
from support.unit.core.changes import COUNTS, TIMES

HASHES = st.text("0123456789abcdef", min_size=64, max_size=64)
MANIFESTS = st.builds(
    Manifest,
    number=COUNTS,
    kind=st.sampled_from(Kind),
    change=st.text(max_size=64),
    origin=st.sampled_from(Origin),
    thing_name=st.text(max_size=128),
    certificate_id=HASHES,
    not_before=TIMES,
    not_after=TIMES,
    created_at=TIMES,
    files=st.dictionaries(st.sampled_from(["key.pem", "key.uri", "certificate.pem", "trust.pem"]), HASHES, min_size=1),
    trust=st.builds(Provenance, source=st.sampled_from(TrustSource), version=COUNTS, issued_at=TIMES | st.none())
    | st.none(),
)


@make.FEW
@given(manifest=MANIFESTS)
def test_any_manifest_survives_the_disk(manifest: Manifest) -> None:
    """A manifest reads back as it was written."""
    assert decode_manifest(encode_manifest(manifest), "manifest.json") == manifest


def test_every_single_bit_flip_of_a_manifest_is_refused() -> None:
    """A manifest is sealed with a hash over itself, so that not even a thing's name can turn into another."""
    data = encode_manifest(make.manifest())

    for position in range(len(data) - 1):  # the newline at the end means nothing
        for bit in range(8):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            with pytest.raises(PlainError, match=r"^manifest\.json: "):
                decode_manifest(bytes(flipped), "manifest.json")


@pytest.mark.parametrize(
    "changes",
    [
        {"thing_name": "gw-0043"},
        {"number": 8},
        {"colour": "red"},
        {"colour": json.loads("[" * 600 + "]" * 600)},
        {"seal": "00" * 32},
        {"seal": ""},
    ],
    ids=["thing", "number", "more", "deep", "another seal", "empty seal"],
)
def test_a_manifest_that_was_changed_is_refused(changes: dict[str, Any]) -> None:
    """The seal covers every value and every name, known or not."""
    manifest = {**json.loads(encode_manifest(make.manifest())), **changes}

    with pytest.raises(PlainError, match=r"^manifest\.json: it changed since it was written$"):
        decode_manifest(json.dumps(manifest).encode(), "manifest.json")


@pytest.mark.parametrize("value", ["1e999", "[-1e999]"], ids=["infinite", "inner"])
def test_a_manifest_that_holds_what_cannot_be_written_is_refused(value: str) -> None:
    """What parses and yet cannot be sealed is a complaint like any other."""
    data = encode_manifest(make.manifest()).replace(b"{", b'{"colour":' + value.encode() + b",", 1)

    with pytest.raises(PlainError, match=r"^manifest\.json: it holds what no manifest holds$"):
        decode_manifest(data, "manifest.json")


def test_a_manifest_without_its_seal_is_refused() -> None:
    """What nothing vouches for is not used."""
    manifest = json.loads(encode_manifest(make.manifest()))
    del manifest["seal"]

    with pytest.raises(PlainError, match=r"^manifest\.json: seal: "):
        decode_manifest(json.dumps(manifest).encode(), "manifest.json")


@pytest.mark.parametrize(
    ("trust", "complaint"),
    [
        (7, "trust: an object is expected"),
        ({}, "trust: source"),
        ({"source": "rumour"}, "trust: source"),
        ({"source": "bundle", "version": "7"}, "trust: version"),
        ({"source": "bundle", "version": -1}, "trust: version"),
        ({"source": "bundle", "issued_at": "yesterday"}, "trust: issued_at"),
    ],
)
def test_a_provenance_that_is_none_is_refused(trust: object, complaint: str) -> None:
    """With the manifest that it stands in, which is damaged then."""
    plain = {**json.loads(encode_manifest(make.manifest())), "trust": trust}
    plain.pop("seal")
    sealed = {**plain, "seal": hashlib.sha256(encode(plain)).hexdigest()}

    with pytest.raises(PlainError, match=rf"^manifest\.json: {complaint}"):
        decode_manifest(json.dumps(sealed).encode(), "manifest.json")


def test_a_manifest_from_before_provenance_was_known_is_read() -> None:
    """The generations of a gateway in the field have none, and no agent may call them damaged."""
    plain = json.loads(encode_manifest(make.manifest()))
    del plain["seal"]
    plain.pop("trust", None)
    sealed = {**plain, "seal": hashlib.sha256(encode(plain)).hexdigest()}

    assert decode_manifest(json.dumps(sealed).encode(), "manifest.json") == make.manifest()
