from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.backend.decide.admission import Enrolment, KnownSerial, admit, fingerprint
from agent.backend.values import DeviceState, Status
from support.aws.account import HOUR, certificate_id
from support.aws.fleet_account import NOW

if TYPE_CHECKING:
    from pathlib import Path

    from support.aws.fleet_account import Operator


def row(operator: Operator, serial: str = "0042") -> object:
    """Return a row, as the functions read it."""
    device = operator.world.store.device(serial)
    assert device is not None
    return device


def test_a_token_that_is_armed_is_the_one_that_the_hook_admits(operator: Operator) -> None:
    """It is printed once, and the table knows its fingerprint alone."""
    (armed,) = operator.rows("arm", "0042", "--thing-prefix", "gw-", "--for", "7d")
    assert armed["thing"] == "gw-0042"
    assert re.fullmatch("[a-z2-7]{32}", armed["token"])
    device = operator.world.store.device("0042")
    assert device.state is DeviceState.ARMED
    assert device.token_sha256 == fingerprint("0042", armed["token"])
    assert device.token_until == NOW + timedelta(days=7)
    asked = Enrolment(serial="0042", token=armed["token"], certificate_id=certificate_id("new"))
    assert admit(asked, KnownSerial(device=device), NOW).allowed
    _, said = operator.runs("devices")
    assert armed["token"] not in said


def test_a_csv_file_is_armed_whole_or_not_at_all(operator: Operator, tmp_path: Path) -> None:
    """A line that cannot be meant so is named before the first token."""
    path = tmp_path / "devices.csv"
    path.write_text("serial,thing\n0042,gw-a\n0043,\n")
    assert [item["thing"] for item in operator.rows("arm", "--csv", str(path))] == ["gw-a", "0043"]
    path.write_text("serial,thing\n0050,gw-b\n0 1,\n")
    code, said = operator.runs("arm", "--csv", str(path))
    assert code == 2
    assert "Line 3" in said
    assert "Nothing was armed" in said
    assert operator.world.store.device("0050") is None


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_a_csv_file_is_read_as_windows_writes_it(operator: Operator, tmp_path: Path, encoding: str) -> None:
    """The "Unicode Text" of a spreadsheet is UTF-16 with tabs."""
    path = tmp_path / "devices.csv"
    path.write_bytes("Serial\tThing\r\n0042\tgw-a\r\n".encode(encoding))
    assert [item["thing"] for item in operator.rows("arm", "--csv", str(path))] == ["gw-a"]


def test_a_csv_file_that_is_no_text_is_said_so(operator: Operator, tmp_path: Path) -> None:
    """A workbook instead of what is saved from it."""
    path = tmp_path / "devices.xlsx"
    path.write_bytes(b"PK\x03\x04\xff\0\0\0")
    code, said = operator.runs("arm", "--csv", str(path))
    assert (code, "Nothing was armed" in said, "text" in said) == (2, True, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "Name serial numbers"),
        (["0042", "0042"], "there twice"),
        (["0042", "0043", "--thing", "gw-1"], "one serial number"),
        (["--csv", "/nowhere.csv"], "cannot be read"),
    ],
)
def test_what_cannot_be_meant_so_is_a_sentence(operator: Operator, words: list[str], told: str) -> None:
    """And exit 2."""
    code, said = operator.runs("arm", *words)
    assert code == 2
    assert told in said


def test_arming_takes_nothing_from_a_gateway(operator: Operator) -> None:
    """What is enrolled, or another device's thing, gets no token in passing; the others do."""
    operator.world.enrolled()
    code, said = operator.runs("arm", "0042", "0044")
    assert code == 4
    assert "0042 got no token" in said
    assert "readmit" in said
    code, said = operator.runs("arm", "0077", "--thing", "gw-0042")
    assert code == 0
    assert "keeps working until the new one is in use" in said
    code, said = operator.runs("arm", "0042")
    assert code == 4


def test_a_thing_with_an_active_certificate_is_given_away_by_its_name_alone(operator: Operator) -> None:
    """A prefix and a serial number may meet it by chance."""
    operator.world.enrolled()
    code, said = operator.runs("arm", "42", "--thing-prefix", "gw-00")
    assert code == 4
    assert "arm 42 --thing gw-0042" in said
    assert operator.world.store.device("42") is None


def test_a_device_that_is_replaced_is_retired_by_the_functions_after_the_new_ones_first_use(
    operator: Operator,
) -> None:
    """What the command writes is what they read."""
    world = operator.world
    old = world.enrolled()
    (armed,) = operator.rows("arm", "0077", "--thing", "gw-0042")
    new = world.issue()
    assert world.enrol(new, "0077", armed["token"]) == "gw-0042"
    world.replacing()
    assert world.status(old) is Status.ACTIVE
    world.rotated(new)
    world.replacing()
    assert world.status(old) is Status.INACTIVE


def test_replacements_that_wait_are_listed(operator: Operator) -> None:
    """Until the first use of the new one, and then for as long as what was the old one's may still turn up."""
    world = operator.world
    operator.now = world.now
    world.enrolled()
    (armed,) = operator.rows("arm", "0077", "--thing", "gw-0042")

    def listed() -> tuple[dict[str, str | None], str]:
        rows = {row["serial"]: row["replacement"] for row in operator.rows("devices")}
        return rows, operator.runs("devices")[1]

    rows, said = listed()
    assert rows == {"0042": None, "0077": "waits"}
    assert "gw-0042 is given to 0077. The device that it had goes on working until 0077 is in use." in said
    new = world.issue()
    assert world.enrol(new, "0077", armed["token"]) == "gw-0042"
    world.rotated(new)
    world.replacing()
    rows, said = listed()
    assert rows == {"0042": None, "0077": "retiring"}
    assert "gw-0042 is 0077 now." in said
    world.now += 3 * HOUR
    world.replacing()
    rows, said = listed()
    assert rows == {"0042": None, "0077": None}
    assert "0077 is" not in said + "is given to"


def test_a_second_token_makes_the_first_worthless(operator: Operator) -> None:
    """And says so."""
    (first,) = operator.rows("arm", "0042")
    (second,) = operator.rows("arm", "0042")
    assert first["token"] != second["token"]
    assert "worthless" in second["note"]
    assert operator.world.store.device("0042").token_sha256 == fingerprint("0042", second["token"])


def test_devices_fit_a_terminal(operator: Operator) -> None:
    """Whatever their names are; and what is not known is told."""
    operator.runs("arm", "a" * 60, "b" * 60)
    code, said = operator.runs("devices")
    assert code == 0
    assert all(len(line) <= 80 for line in said.splitlines())
    assert said.count("ARMED") == 2
    code, said = operator.runs("devices", "0099")
    assert code == 1
    assert "0099 is not known" in said
    assert [row["event"] for row in operator.rows("devices", "--state", "blocked")] == ["nothing"]


def test_block_refuses_and_leaves_the_gateway_its_connection(operator: Operator) -> None:
    """Cutting off is another word."""
    made = operator.world.enrolled()
    code, said = operator.runs("block", "0042")
    assert code == 0
    assert "go on working" in said
    assert operator.world.store.device("0042").state is DeviceState.BLOCKED
    assert operator.world.status(made) is Status.ACTIVE


def test_cutting_off_is_typed_out_and_says_how_to_take_it_back(operator: Operator) -> None:
    """A gateway cannot mend that."""
    made = operator.world.enrolled()
    code, said = operator.runs("block", "0042", "--cut-off")
    assert code == 4
    assert "--yes" in said
    operator.typed = "yes"
    assert operator.runs("block", "0042", "--cut-off")[0] == 4
    assert operator.world.status(made) is Status.ACTIVE
    assert operator.world.store.device("0042").state is not DeviceState.BLOCKED
    operator.typed = "gw-0042"
    code, said = operator.runs("block", "0042", "--cut-off")
    assert code == 0
    assert f"--new-status ACTIVE --certificate-id {made}" in said
    assert operator.world.status(made) is Status.INACTIVE


def test_readmitted_with_another_token_or_with_the_same(operator: Operator) -> None:
    """For a while; its certificates stay, and a block is lifted."""
    made = operator.world.enrolled()
    before = operator.world.store.device("0042")
    (opened,) = operator.rows("readmit", "0042", "--for", "24h")
    device = operator.world.store.device("0042")
    assert device.token_sha256 == fingerprint("0042", opened["token"])
    assert device.token_until == NOW + timedelta(hours=24)
    assert (device.bought, device.state) == (frozenset(), DeviceState.ARMED)
    assert device.enrolled_at == before.enrolled_at
    assert operator.world.status(made) is Status.ACTIVE
    operator.runs("block", "0042")
    code, said = operator.runs("readmit", "0042", "--same-token")
    assert code == 0
    assert "not any more" in said
    assert operator.world.store.device("0042").token_sha256 == device.token_sha256


def test_what_is_not_known_is_neither_blocked_nor_readmitted(operator: Operator) -> None:
    """The sentence says what it is already, and what to do."""
    for verb in ("block", "readmit"):
        code, said = operator.runs(verb, "0099")
        assert code == 2
        assert "refused already" in said


def test_enrolments_that_were_refused_with_the_right_token_are_listed(operator: Operator) -> None:
    """From the hook's log, since nothing else knows of them."""
    message = '{"serial":"0042","reason":"Its token is spent","ReEnrolmentsRefused":1}'
    event = {"timestamp": 1764331200000, "message": message}
    operator.answers("FilterLogEvents", {"events": [event], "ResponseMetadata": {"HTTPStatusCode": 200}})
    code, said = operator.runs("devices", "--refused")
    assert code == 1
    assert "0042" in said
    assert "`readmit SERIAL`" in said
