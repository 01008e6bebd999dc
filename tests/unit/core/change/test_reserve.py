"""How much is set aside for falling back, and when it may be."""

from __future__ import annotations

import pytest

from agent.core.change import reserve
from agent.core.change.reserve import BYTES, INODES, NEEDED_BYTES, NEEDED_INODES, PLENTY, Standing, standing


def test_it_is_enough_for_a_new_generation_and_for_what_goes_before() -> None:
    """192 KiB in pieces of whole blocks, and an inode for each and for their directory."""
    assert (BYTES, INODES) == (196_608, 17)
    assert reserve.PIECES * reserve.PIECE_BYTES == BYTES
    assert reserve.PIECE_BYTES % 4096 == 0
    assert BYTES > reserve.GENERATION_BYTES
    assert INODES >= reserve.GENERATION_INODES + 6  # those of a generation that is on no record


@pytest.mark.parametrize(
    ("free_bytes", "free_inodes", "expected"),
    [
        (PLENTY * BYTES, PLENTY * INODES, Standing.MISSING),
        (PLENTY * BYTES, None, Standing.MISSING),
        (PLENTY * BYTES - 1, None, Standing.NO_ROOM),
        (1 << 40, PLENTY * INODES - 1, Standing.NO_ROOM),
        (0, 0, Standing.NO_ROOM),
    ],
)
def test_it_is_made_only_where_there_is_plenty(free_bytes: int, free_inodes: int | None, expected: Standing) -> None:
    """Four times as much as it takes, of bytes and of inodes where these are numbered."""
    assert standing(free_bytes, free_inodes, kept=False) is expected


@pytest.mark.parametrize(
    ("free_bytes", "free_inodes", "expected"),
    [
        (NEEDED_BYTES, NEEDED_INODES, Standing.KEPT),
        (NEEDED_BYTES, None, Standing.KEPT),
        (NEEDED_BYTES - 1, None, Standing.LAST),
        (1 << 40, NEEDED_INODES - 1, Standing.LAST),
        (0, 0, Standing.LAST),
    ],
)
def test_what_is_kept_needs_no_room(free_bytes: int, free_inodes: int | None, expected: Standing) -> None:
    """A full disk is what it is there for; that nothing else finds room any more is told."""
    found = standing(free_bytes, free_inodes, kept=True)
    assert (found, found.kept) == (expected, True)
