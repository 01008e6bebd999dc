"""The agent dies while it removes the token that has bought the certificate in use."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from agent.store.files import secret_files
from support.crashkit import stepper

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TOKEN = "5f0c1e7a9b3d2c4e6f81"  # noqa: S105 - of no account


def _as_after_commit(path: Path) -> Callable[[], object]:
    """Begin as the engine does; what is returned is traced."""
    return partial(secret_files.remove, path)


def test_a_token_is_gone_in_the_end_at_whatever_call_its_removal_is_killed(tmp_path: Path) -> None:
    """It is overwritten before its name goes, nothing beside it ever holds it, and the next attempt finishes."""
    path = tmp_path / "token"
    path.write_text(TOKEN)
    calls = stepper.dry(partial(_as_after_commit, path)).calls
    assert not path.exists()
    left = []
    for at in range(len(calls)):
        path.write_text(TOKEN)
        stepper.kill(partial(_as_after_commit, path), at)
        assert {item.name for item in tmp_path.iterdir()} <= {path.name}
        left.append(path.read_text() if path.exists() else "gone")
        stepper.dry(partial(_as_after_commit, path))
        assert list(tmp_path.iterdir()) == []
    whole, overwritten = left.count(TOKEN), len(left) - left.count(TOKEN) - left.count("gone")
    assert overwritten > 0
    assert left[:whole] == [TOKEN] * whole
    assert "gone" not in left[: whole + overwritten]
