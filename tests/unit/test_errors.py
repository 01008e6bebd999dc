"""What an error says of its cause."""

from __future__ import annotations

import errno

import pytest

from agent.errors import AgentError, ConfigError, StoreError, StoreInDoubtError
from agent.store.files import disk


@pytest.mark.parametrize(
    ("number", "expected"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False), (errno.EROFS, False)]
)
def test_want_of_room_is_told_from_other_trouble(number: int, *, expected: bool) -> None:
    """By the number of the call that failed, however far behind it is."""
    with pytest.raises(StoreError) as error, disk.explained("write here"):
        raise OSError(number, "")
    further = StoreInDoubtError("In doubt.")
    further.__cause__ = error.value

    assert error.value.no_room is further.no_room is expected


def test_an_error_without_a_cause_is_no_want_of_room() -> None:
    """Nothing is concluded from words."""
    assert not StoreError("Cannot write here: No space left on device.").no_room


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (AgentError("x"), "own"),
        (AgentError("x", hint="Mount it."), "Mount it."),
        (ConfigError("x", hint="Put it in place.", general=True), "own"),
    ],
)
def test_a_caller_that_knows_what_belongs_there_says_so(error: AgentError, said: str) -> None:
    """What the error knows beyond that goes before."""
    assert error.hint_or("own") == said
