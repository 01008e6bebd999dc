"""The command line: what it takes, and what is said of the rest."""

from __future__ import annotations

import pytest

from agent.cli.parser import parse, span


@pytest.mark.parametrize("arguments", [[], ["dance"], ["rotate", "--wait", "soon"], ["rotate", "--reason", ""]])
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Usage is shown on standard error."""
    with pytest.raises(SystemExit) as caught:
        parse(arguments)
    assert caught.value.code == 2
    assert "usage: iot-cert" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90m", 5400), ("12h", 43_200), ("7d", 604_800), ("30s", 30), ("0s", 0)]
    + [(wrong, 0) for wrong in ("", "m", "7", "7w", "-7d", "1.5h", "7 d", "\u0663d\u0661", "9999999999999d")],
)
def test_a_duration_is_read_or_is_none(text: str, seconds: int) -> None:
    """A number and one unit."""
    assert span(text) == seconds
