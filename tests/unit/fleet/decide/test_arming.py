from __future__ import annotations

import pytest

from agent.backend.values import Device, DeviceState, Record, Replacement
from agent.fleet.decide import arming
from support.aws.account import NOW


def test_a_token_needs_no_quotes_and_holds_all_of_its_chance() -> None:
    """It may be typed on a console, and stand in a YAML file."""
    assert arming.token_of(b"\xff" * arming.ENTROPY) == "7" * 32
    assert len({arming.token_of(bytes([n]) * arming.ENTROPY) for n in range(256)}) == 256


def test_a_token_is_in_no_representation() -> None:
    """A traceback or a log shows what a value says of itself."""
    armed = arming.arm(arming.Wanted(serial="1", thing="1"), arming.KnownBefore(), "sesame", None, NOW)
    assert "sesame" not in repr(armed)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "column `serial`"),
        ("serial\n", "no serial number"),
        ("thing\ngw-1\n", "column `serial`"),
        ("serial,thing\n1,gw\n2,gw\n", "thing gw is there twice"),
        ("serial\n1\n1\n", "serial number 1 is there twice"),
        ('serial\n"1\n', "cannot be read as CSV"),
        ("serial\n\xe4\n", "Line 2"),
    ],
)
def test_a_file_that_cannot_be_meant_so(text: str, told: str) -> None:
    """The sentence says where and what."""
    with pytest.raises(ValueError, match=told):
        arming.read_csv(text.splitlines())


def test_a_file_with_more_columns_and_blanks_is_read() -> None:
    """It comes from a factory's own list."""
    (wanted,) = arming.read_csv(["model,serial", "x, 7 "], prefix="gw-")
    assert wanted == arming.Wanted(serial="7", thing="gw-7")


@pytest.mark.parametrize(
    "text",
    [
        "serial,thing\n7,gw-7\n8,\n",
        "Serial;Thing\n7;gw-7\n8;\n",  # where a comma is for decimals
        "sep=;\nserial;thing;note\n7;gw-7;1,5\n8\n",
        "SERIAL\tTHING\n7\tgw-7\n8\t\n",
        "serial | thing\n7 | gw-7\n8 | \n",
        '\n"serial", "thing"\n"7", "gw-7"\n"8"\n',
        "serial,thing,\n,,\n7,gw-7,\n\n8,,\n , ,\n",
        "note,thing,serial\nx,gw-7,7\ny,,\u00a08 \n",
    ],
)
def test_a_file_is_read_as_spreadsheets_write_it(text: str) -> None:
    """What is between the columns differs by country, and rows that were emptied stay."""
    assert arming.read_csv(text.splitlines(), prefix="gw-") == [
        arming.Wanted(serial="7", thing="gw-7"),
        arming.Wanted(serial="8", thing="gw-8"),
    ]


def test_a_line_is_counted_from_the_top_of_the_file() -> None:
    """An editor shows the same number."""
    with pytest.raises(ValueError, match="Line 5: "):
        arming.read_csv(["sep=;", "", "serial;thing", "7;gw-7", "0 8;"])


@pytest.mark.parametrize("state", [DeviceState.BOUGHT, DeviceState.ENROLLED, DeviceState.BLOCKED])
def test_only_what_has_bought_nothing_is_armed_again(state: DeviceState) -> None:
    """The others have a verb of their own."""
    known = Device(serial="1", thing="gw", state=state, version=3)
    armed = arming.arm(arming.Wanted(serial="1", thing="gw"), arming.KnownBefore(device=known), "sesame", None, NOW)
    assert armed.device is None
    assert "`readmit`" in armed.why


def test_what_replaced_a_device_is_not_cut_off_with_it() -> None:
    """Certificates that are no device's by the table are the old device's: it was there before the stack."""
    records = [Record(certificate_id="b", thing="gw", serial="2"), Record(certificate_id="c", thing="gw", serial="1")]
    assert arming.to_cut_off("1", ["a", "b", "c"], records) == ("a", "c")


def test_the_same_token_needs_one() -> None:
    """A row that was adopted has none."""
    known = Device(serial="1", thing="gw", state=DeviceState.ENROLLED)
    assert arming.readmit(known, "", None).device is None


def test_a_thing_that_is_given_to_another_device_is_noted_with_what_it_has() -> None:
    """The last device that is named is the one that counts; the row follows the one of before."""
    wanted = arming.Wanted(serial="2", thing="gw", replaces=True)
    before = Replacement(thing="gw", serial="1", retired=frozenset({"a"}), settles_at=NOW, version=4)
    armed = arming.arm(wanted, arming.KnownBefore(in_use=("a", "b"), replacement=before), "sesame", None, NOW)
    assert armed.replacement == Replacement(
        thing="gw", serial="2", before=frozenset({"a", "b"}), look_at=NOW, version=4
    )
    assert "made INACTIVE" in armed.why
    assert arming.arm(wanted, arming.KnownBefore(replacement=before), "sesame", None, NOW).replacement is None
