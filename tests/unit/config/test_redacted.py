"""A configuration that leaves the gateway: without what may be a secret, however it is written, and with the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.config.reader import parse
from agent.config.redacted import without_parameters

ONE_TIME = "canary-one-time-token-0123"


@pytest.mark.parametrize(
    "parameters",
    [
        '{SerialNumber: "0042", Token: "%s"}',
        '{Key: {file: /etc/key}, Token: "%s"}',
        '{Token: "a}b%s"}',
        '{\n    Token: "%s",\n    Key: {file: /etc/key},\n    Other: "%s"}',
        '\n    Token: "%s"\n    Other: %s',
        '  # given by the factory\n    Token: "%s"',
        '\n    SerialNumber: "0042"\n\n    Token: "%s"',
        '\n    SerialNumber: "0042"\n# a remark\n    Token: "%s"',
        '\n    SerialNumber: "0042"\n    # Token: "%s"\n    Key:\n      file: /etc/key',
        "\n    Token: |\n      %s\n    Other: >-\n      a\n\n      %s",
        "\n      {SerialNumber: a,\n\n       Token: %s}",
        "!!map {Token: %s}",
        "&anchor {Token: %s}",
    ],
)
@pytest.mark.parametrize("key", ["parameters:", '"parameters":', "parameters :"])
def test_parameters_are_cut_out_however_they_are_written(key: str, parameters: str) -> None:
    """Each of them is a configuration that the agent takes; what stands around them is kept."""
    written = parameters.replace("%s", ONE_TIME)
    text = (
        "endpoint: example-ats.iot.eu-west-1.amazonaws.com\n"
        "enrollment:\n"
        "  template: gateway\n"
        f"  {key} {written}\n"
        "  claim: {certificate: /claim.pem, key: /claim.key}\n"
        "rotation:\n"
        f"  parameters: {{Token: {ONE_TIME}}}\n"
        "  daily_limit: 7\n"
    )
    before = parse(text, Path("config.yaml"))
    assert before.enrollment is not None
    assert before.enrollment.parameters

    cut = without_parameters(text)
    assert ONE_TIME not in cut
    after = parse(cut, Path("config.yaml"))
    assert after.enrollment is not None
    assert not after.enrollment.parameters
    assert after.enrollment.claim == before.enrollment.claim
    assert after.rotation.daily_limit == 7


def test_parameters_are_cut_out_of_one_flowing_line() -> None:
    """YAML may be written like JSON."""
    text = json.dumps(
        {
            "endpoint": "example-ats.iot.eu-west-1.amazonaws.com",
            "enrollment": {
                "template": "gateway",
                "parameters": {"Key": {"file": "/etc/key"}, "Token": ONE_TIME},
                "claim": {"certificate": "/claim.pem", "key": "/claim.key"},
            },
        }
    )
    assert parse(text, Path("config.yaml")).enrollment is not None
    assert ONE_TIME not in without_parameters(text)


def test_arguments_of_a_command_are_cut_out() -> None:
    """Any of them may be a password; which program it is, is told."""
    text = (
        "endpoint: example-ats.iot.eu-west-1.amazonaws.com\n"
        "dependants:\n"
        f"  - {{unit: app.service, verify: {{command: [/usr/bin/curl, -H, {ONE_TIME}]}}}}\n"
    )
    assert parse(text, Path("config.yaml")).dependants.units
    assert ONE_TIME not in without_parameters(text)
    assert "/usr/bin/curl" in without_parameters(text)


def test_nothing_else_is_cut_out_of_a_configuration() -> None:
    """Without parameters it says all it said."""
    text = "endpoint: example-ats.iot.eu-west-1.amazonaws.com\ntrust: {inbox: /var/inbox}\n"
    assert parse(without_parameters(text), Path("c")) .trust == parse(text, Path("c")).trust  # fmt: skip
