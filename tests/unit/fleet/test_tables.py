from __future__ import annotations

from agent.fleet.tables import table


def test_a_table_fits_and_keeps_whole_what_is_to_be_copied() -> None:
    """What has to give way is the widest."""
    lines = table(("A", "Token"), [("a" * 90, "t" * 32), ("b", "t")], whole=("Token",))
    assert all(len(line) <= 80 for line in lines)
    assert lines[1].endswith("\N{HORIZONTAL ELLIPSIS}  " + "t" * 32)
    assert [line.index("t") for line in lines[1:]] == [48, 48]


def test_a_token_is_whole_also_where_the_table_gets_too_wide() -> None:
    """A part of it is worth nothing."""
    assert "t" * 100 in table(("A", "Token"), [("a" * 20, "t" * 100)], whole=("Token",))[1]
