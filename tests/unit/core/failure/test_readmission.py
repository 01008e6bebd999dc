from __future__ import annotations

import pytest

from agent.cli.command_line.parser import parse
from agent.core.failure.readmission import SERIAL, command, serial_of, way_back


@pytest.mark.parametrize("serial", ["0042", "A:b_c-9", "x" * 128])
def test_the_command_is_one_that_the_operator_has(serial: str) -> None:
    """With the gateway's own serial number."""
    words = command(serial_of({SERIAL: serial})).strip("`").split()
    arguments = parse(words[1:])
    assert (arguments.verb, arguments.action, arguments.serial) == ("cloud", "readmit", serial)


@pytest.mark.parametrize("value", ["", "$(reboot)", "a b", "0042; x", "x" * 129, "0042\n", None, 42, object()])
def test_what_is_no_serial_number_is_not_in_a_command(value: object) -> None:
    """It is copied into a shell."""
    assert serial_of({SERIAL: value}) == serial_of({}) == ""
    assert command("") == "`iot-cert cloud readmit SERIAL --for 24h`"


def test_what_brings_a_gateway_back() -> None:
    """By a claim that needs no token; by a token, which has to be put in place first; or by hand."""
    assert "`iot-cert cloud readmit 0042 --for 24h`; then the daemon" in way_back("0042", enrols=True)
    by_token = way_back("0042", enrols=True, token_at="/etc/token")  # noqa: S106 - a path
    assert "prints a new token. Put that into /etc/token; then the daemon enrols by itself" in by_token
    assert "`iot-cert import`" in way_back("0042", enrols=False)
