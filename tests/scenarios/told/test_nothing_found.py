"""What a program reads where there is nothing: each verb with `--json` prints a line that fits its schema, always.

Each line is held to the schema of its verb where it is printed: by `support.aws.fleet_account` and
`support.running.gateway`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from agent import cli
from support.aws.fleet_account import Operator
from support.aws.moto_account import emulated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(name="operator")
def _operator(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Operator]:
    """An operator whose account has a stack, and not one gateway."""
    with emulated():
        operator = Operator(capsys, monkeypatch)
        operator.deploy(ReEnrol="armed")
        operator.answers("SearchIndex", {"things": []})
        operator.answers("GetStatistics", {"statistics": {"count": 0}})
        operator.answers("FilterLogEvents", {"events": []})
        operator.answers("ListCertificateProviders", {"certificateProviders": []})
        operator.answers("GetStackPolicy", {})
        yield operator


NOTHING = {
    "devices": ("There is no such serial number.", 0),
    "devices 0042": ("0042 is not known: `iot-cert cloud arm 0042`", 1),
    "devices --state armed": ("There is no such serial number.", 0),
    "devices --refused": ("No enrolment with the right token was refused since 2026-11-21 12:00 UTC.", 0),
    "rotate --query thingName:gw-*": ("The query finds nothing. Nothing was ordered.", 1),
    "rotate --query thingName:gw-* --by shadow": ("The query finds nothing. Nothing was ordered.", 1),
    "orphans": ("0 certificates, none of them to be looked at.", 0),
    "orphans --all": ("0 certificates, none of them to be looked at.", 0),
    "adopt --query thingName:gw-*": ("The query finds nothing.", 0),
    "ca": ("There is no CA. `iot-cert cloud ca --new` makes one. AWS signs; the signer is not asked.", 0),
}


@pytest.mark.parametrize("words", NOTHING)
def test_a_verb_of_the_operator_that_finds_nothing(operator: Operator, words: str) -> None:
    """It says the same to a person."""
    text, code = NOTHING[words]
    assert operator.rows(*words.split()) == [{"event": "nothing", "text": text, "exit": code}]
    assert operator.runs(*words.split()) == (code, f"{text}\n")


def test_each_serial_number_that_is_not_known_has_a_line(operator: Operator) -> None:
    """Beside those that are."""
    operator.world.arm("0042")
    rows = operator.rows("devices", "0042", "0043", "0044")
    assert [row.get("serial") or row["text"][:4] for row in rows] == ["0042", "0043", "0044"]


@pytest.mark.parametrize("words", ["retire 1", "sign off"])
def test_an_order_that_is_carried_out_already_says_so(operator: Operator, words: str) -> None:
    """In a line, too."""
    option, value = words.split()
    (told,) = operator.rows("ca", f"--{option}", value)
    assert told["what"] == "ca"


def test_an_empty_journal_names_nothing(operator: Operator, tmp_path: Path) -> None:
    """There is nothing to be taken back, and nothing is asked."""
    (tmp_path / "journal").write_text("")
    (told,) = operator.rows("adopt", "--undo", "--journal", str(tmp_path / "journal"))
    assert told["event"] == "nothing"


def test_what_aws_refuses_is_a_line(operator: Operator) -> None:
    """Of the form that every verb's errors have."""
    operator.refuses("Scan", "AccessDeniedException", "no")
    (told,) = operator.rows("devices")
    assert (told["event"], told["exit"]) == ("error", 4)


WRONG = ["status --watched --json", "--json rotat", "--json", "cloud --json", "cloud rotate --per-minute x --json"]


@pytest.mark.parametrize("words", [*WRONG, "trust check --json --any=x"])
def test_a_command_line_that_is_wrong(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is wrong with it stands on standard output in a line, and on standard error as ever."""
    assert cli.main(words.split()) == 2
    out, err = capsys.readouterr()
    (told,) = [json.loads(line) for line in out.splitlines()]
    assert (told["event"], told["exit"]) == ("error", 2)
    assert told["message"] in err
    assert "usage: iot-cert" in err


def test_a_command_line_that_is_wrong_for_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    """It has nothing on standard output."""
    assert cli.main(["status", "--watched"]) == 2
    assert capsys.readouterr().out == ""


def test_a_gateway_without_a_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing has been changed yet, and that is told."""
    path = tmp_path / "config.yaml"
    path.write_text(f"endpoint: x.example\nstate_dir: {tmp_path}/state\nruntime_dir: {tmp_path}/run\n")
    (tmp_path / "state").mkdir(mode=0o700)
    assert cli.main(["--config", str(path), "history", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "event": "nothing",
        "text": "Nothing has been changed yet.",
        "exit": 0,
    }


def test_a_daemon_that_cannot_begin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where JSON is asked for."""
    assert cli.main(["--config", str(tmp_path / "none.yaml"), "run", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["event"] == "error"
