from __future__ import annotations

import pytest

from agent.cli.command_line.parser import parse


def test_options_stand_on_either_side_of_serial_numbers() -> None:
    """As on the other verbs."""
    read = parse(["cloud", "arm", "1", "2", "--stack", "x", "--for", "2h", "--json"])
    assert (read.serials, read.stack, read.span, read.json) == (["1", "2"], "x", 7200, True)


@pytest.mark.parametrize(
    "words",
    [
        ["arm", "a b"],
        ["arm", "x" * 129],
        ["readmit", "1", "--for", "forever"],
        ["readmit", "1", "--for", "0h"],
        ["readmit"],
        ["rotate", "x", "--reason", "a\nb"],
        ["rotate", "x", "--by", "mail"],
        ["devices", "--state", "gone"],
        [],
    ],
)
def test_what_cannot_be_meant_so_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Before AWS is asked anything."""
    with pytest.raises(SystemExit) as ended:
        parse(["cloud", *words])
    assert ended.value.code == 2
    assert capsys.readouterr().err
