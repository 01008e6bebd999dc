"""The command line: what it takes, and what is said of the rest."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from agent.cli.command_line.examples import EXAMPLES
from agent.cli.command_line.parser import parse


@pytest.mark.parametrize("arguments", [[], ["dance"], ["rotate", "--wait", "soon"], ["rotate", "--reason", ""]])
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Usage is shown on standard error."""
    with pytest.raises(SystemExit) as caught:
        parse(arguments)
    assert caught.value.code == 2
    assert "usage: iot-cert" in capsys.readouterr().err


def said(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[object, str, str]:
    """Return how a command line ends the parser, and what is on the two streams."""
    with pytest.raises(SystemExit) as caught:
        parse(arguments)
    out, err = capsys.readouterr()
    return caught.value.code, out, err


def test_the_command_alone_shows_what_it_can_do(capsys: pytest.CaptureFixture[str]) -> None:
    """It is a wrong command line nevertheless: nothing was ordered."""
    code, out, err = said([], capsys)
    assert (code, out) == (2, "")
    assert all(f"\n    {verb}" in err for verb in EXAMPLES if verb and " " not in verb)
    assert said(["--json"], capsys)[0] == 2


@pytest.mark.parametrize("words", [[], *([*words.split()] for words in EXAMPLES if words not in {"", "help"})])
def test_help_is_a_verb_too(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """`iot-cert help rotate` is `iot-cert rotate --help`, and each has examples."""
    asked, shown = said(["help", *words], capsys), said([*words, "--help"], capsys)
    assert asked == shown
    assert asked[0] == 0
    assert "\nexamples:\n  iot-cert " in asked[1]


@pytest.mark.parametrize("line", [line for lines in EXAMPLES.values() for line in lines])
def test_each_example_is_a_command_line_that_is_taken(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """And stands in the manual page."""
    words = shlex.split(line)[1:]
    if words[0] == "help":
        assert said(words, capsys)[0] == 0
    else:
        parse(words)
    page = Path(__file__).parents[4] / "packaging" / "man" / "iot-cert.1"
    assert line in page.read_text().replace("\\-", "-").replace("\\(aq", "'").splitlines()


@pytest.mark.parametrize(
    ("arguments", "guess"),
    [
        (["stauts"], "status"),
        (["Status"], "status"),
        (["rotat"], "rotate"),
        (["help", "enrol"], "enroll"),
        (["trust", "instal"], "install"),
        (["config", "chek"], "check"),
        (["check", "dsn"], "dns"),
        (["status", "--jsno"], "--json"),
        (["rotate", "--dryrun"], "--dry-run"),
        (["rotate", "--reson=visit"], "--reason"),
        (["dance"], ""),
    ],
)
def test_what_was_mistyped_is_guessed(arguments: list[str], guess: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Where a known word is like it."""
    code, _, err = said(arguments, capsys)
    assert code == 2
    assert (f"did you mean {guess}?" in err) if guess else ("did you mean" not in err)


@pytest.mark.parametrize("text", ["x", "", "1.5", "-1", "1e3", str(10**9 + 1), "9" * 5_000])
def test_what_is_no_number_of_seconds_is_told_what_is(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """And not by the name of a function."""
    code, _, err = said(["rotate", f"--wait={text}"], capsys)
    assert (code, "seconds from 0 to 10^9 are expected" in err, "_seconds" in err) == (2, True, False)


@pytest.mark.parametrize(
    "words",
    [
        ["--config", "/c", "--json", "trust", "list"],
        ["--config=/c", "trust", "--json", "list"],
        ["trust", "list", "--json", "--config", "/c"],
        ["--json", "trust", "--config", "/c", "list"],
    ],
)
def test_configuration_and_json_stand_on_either_side_of_the_verb(words: list[str]) -> None:
    """What is given later counts, and what is not given has its default."""
    found = parse(words)
    assert (str(found.config), found.json, found.action) == ("/c", True, "list")
    assert (str(parse(["--config", "/a", "status", "--config", "/b"]).config), parse(["status"]).json) == ("/b", False)
