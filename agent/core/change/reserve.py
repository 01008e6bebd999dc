"""What is set aside for falling back: how much, when it may be made, and what its absence means.

A gateway falls back when its set is refused, and the disk may be full just then. Its records need little, but not
nothing, so that much is held by a file of no use until a step that leads back finds no room.
"""

from __future__ import annotations

from enum import StrEnum

# What one new generation needs: the ladder's other anchors, or an enrolment by the claim.
#
# Bytes, in blocks of 4 KiB: directory, key, request and manifest take 4, certificate and credential 5, Amazon's anchors
# 2, the record with the certificate in it, old and new, 4, and a line of the history 1: 64 KiB. The preflight's probe,
# which is gone by then, takes 68 KiB. The rest is for longer chains and anchors, and for the file system itself.
#
# Inodes: the record and the next one beside it, the directory, five files, and `previous` where there was none.
GENERATION_BYTES = 131_072
GENERATION_INODES = 9

# What may go before it. A rollback: the record and the next one beside it, a line of the history, and a link at a time,
# which is 16 KiB in blocks of 4 KiB and two inodes that it gives back. And a generation that a killed process left
# behind before its change was on record: 40 KiB and six inodes. The rest is for larger blocks, and for copies that the
# gateway's other programs read, where these lie on the same file system.
BEFORE_BYTES = 65_536

PIECES = 16  # files, because each holds an inode, too
BYTES = GENERATION_BYTES + BEFORE_BYTES  # 192 KiB
PIECE_BYTES = BYTES // PIECES
INODES = PIECES + 1  # the directory's

# What a change needs that does not lead back, with room to spare for a file system's own bookkeeping.
NEEDED_BYTES = 262_144
NEEDED_INODES = 16

# It is made only while so many times as much is free: it must not be the reason why something else finds no room.
PLENTY = 4


class Standing(StrEnum):
    """How the reserve stands."""

    KEPT = "kept"
    MISSING = "missing"  # and there is room to make it
    NO_ROOM = "no-room"
    LAST = "last"  # kept, with too little room besides for any other change

    @property
    def kept(self) -> bool:
        """Whether it is there."""
        return self in {Standing.KEPT, Standing.LAST}


def is_full(free_bytes: int, free_inodes: int | None) -> bool:
    """Whether a change that does not lead back would find too little; see `standing`."""
    return free_bytes < NEEDED_BYTES or (free_inodes is not None and free_inodes < NEEDED_INODES)


def standing(free_bytes: int, free_inodes: int | None, *, kept: bool) -> Standing:
    """Return how the reserve stands.

    Args:
        free_bytes: What is free on its file system.
        free_inodes: The same for inodes; None where they are made as needed.
        kept: Whether it is there.
    """
    if kept:
        return Standing.LAST if is_full(free_bytes, free_inodes) else Standing.KEPT
    enough = free_bytes >= PLENTY * BYTES and (free_inodes is None or free_inodes >= PLENTY * INODES)
    return Standing.MISSING if enough else Standing.NO_ROOM


RESERVED = "What falling back needs is set aside."
LACKING = "Nothing is set aside for falling back should the disk be full"
REMEDY = (
    f"Free {PLENTY * BYTES >> 10} KiB and {PLENTY * INODES} inodes on the file system of the state directory; "
    "then it is set aside by itself."
)
FREE = "Free some space or inodes on the file system of the state directory."
SPENT = (
    "There is no room for this step, which leads back to a set that works: what was set aside for that is given up. "
    "Free some space on this file system."
)
