"""Records on a disk that changes bits, tears files, and holds what no agent wrote; and how large they may be."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.change.lifecycle import MAX_PASSED, MAX_REQUESTS, ChangeRecord, Issued, Phase
from agent.core.change.records import (
    MAX_MANIFEST,
    MAX_RECORD,
    decode_manifest,
    decode_record,
    encode_manifest,
    encode_record,
)
from agent.core.failure.failure import Failure, FailureClass
from agent.core.jsonio import PlainError
from support import make
from support.make import NOW
from support.suite import campaigns
from support.unit.core.changes import FULL, GOES_BACK

CONDEMNED = replace(FULL, phase=Phase.DEPLOYED, condemned=make.failure(FailureClass.CREDENTIAL, decisive=True))


def test_an_oversize_record_is_refused() -> None:
    """The bound on a record and on a manifest is in bytes."""
    with pytest.raises(PlainError, match="bytes and 262144 are allowed"):
        decode_record(encode_record(FULL).ljust(MAX_RECORD + 1), "change.json")
    with pytest.raises(PlainError, match="bytes and 16384 are allowed"):
        decode_manifest(encode_manifest(make.manifest()).ljust(MAX_MANIFEST + 1), "manifest.json")
    assert decode_record(encode_record(FULL).ljust(MAX_RECORD), "change.json") == FULL


def test_the_largest_certificate_and_token_fit() -> None:
    """A certificate and a token of the largest size that acceptance allows can be kept and read back."""
    pem = ("x" * 64 + "\n") * 1008
    record = make.record(Phase.ISSUED, issued=Issued(certificate_pem=pem, certificate_id="a", token="t" * 4096, at=NOW))

    assert decode_record(encode_record(record), "change.json") == record


@pytest.mark.parametrize("phase", [Phase.ISSUED, Phase.DEPLOYED])
def test_a_record_that_is_full_in_every_place_fits(phase: Phase) -> None:
    """The longest texts, in characters that take the most room, leave a record that can be read back."""
    long = "😀" * 9999
    worst = Failure(kind=FailureClass.PROTOCOL, code="😀" * 99, message=long, remedy=long, promise=long)
    record = make.record(
        phase,
        reason="😀" * 500,
        issued=Issued(certificate_pem=("x" * 64 + "\n") * 1008, certificate_id="a" * 64, token="t" * 4096, at=NOW),
        passed=((Phase.REQUESTED, NOW.replace(microsecond=1)),) * MAX_PASSED,
        requests=(NOW.replace(microsecond=1),) * MAX_REQUESTS,
        thing_name="😀" * 128,
        order="😀" * 128,
        replaces="😀" * 64,
        retired_at=NOW.replace(microsecond=1),
        failure=worst,
        condemned=worst if phase in GOES_BACK else None,
    )

    assert decode_record(encode_record(record), "change.json") == record


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"null", b"[]", b"{}", b"[" * 200_000, b'{"format":' + b"1" * 200_000 + b"}", b"\x00" * 4096]
)
def test_what_is_no_record_at_all_is_refused(data: bytes) -> None:
    """Nothing, zeros, brackets and digits are complaints like any other."""
    with pytest.raises(PlainError):
        decode_record(data, "change.json")
    with pytest.raises(PlainError):
        decode_manifest(data, "manifest.json")


@pytest.mark.parametrize("record", [FULL, CONDEMNED], ids=["issued", "condemned"])
def test_every_single_bit_flip_gives_a_record_or_a_complaint(record: ChangeRecord) -> None:
    """Whichever bit of a record flips on flash, nothing but the module's own error comes of it."""
    data = encode_record(record)
    taken = campaigns.places(len(data) * 8, 5)
    refused = 0
    for place in taken:
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        refused += _read(bytes(flipped)) is None

    assert len(taken) * 3 // 8 <= refused <= len(taken)


@pytest.mark.parametrize("record", [FULL, CONDEMNED], ids=["issued", "condemned"])
def test_every_cut_of_a_record_is_refused(record: ChangeRecord) -> None:
    """A record of which the end is missing is never taken for a whole one."""
    data = encode_record(record)

    assert all(_read(data[:end]) is None for end in range(len(data) - 1))
    assert _read(data[:-1]) == record  # only the newline is missing


@make.MANY
@given(
    wounds=st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=4), st.integers(0, 40)), min_size=1, max_size=5)
)
def test_any_damage_gives_a_record_or_a_complaint(wounds: list[tuple[int, bytes, int]]) -> None:
    """Bytes that are replaced, inserted and torn out raise nothing but the module's own error."""
    data = encode_record(FULL)
    for place, filling, length in wounds:
        start = place % (len(data) + 1)
        data = data[:start] + filling + data[start + length :]
    found = _read(data)

    assert found is None or _read(encode_record(found)) == found


def _read(data: bytes) -> ChangeRecord | None:
    """Return the record in `data`, or None when it is refused; any other error is one of the test."""
    try:
        return decode_record(data, "change.json")
    except PlainError:
        return None
