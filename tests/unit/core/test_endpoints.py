from __future__ import annotations

import pytest

from agent.core.endpoints import EndpointKind, classify, is_host


@pytest.mark.parametrize(
    ("host", "kind", "instead"),
    [
        ("a1b2c3d4e5f6g7-ats.iot.eu-west-1.amazonaws.com", EndpointKind.ATS, ""),
        ("A1B2-ats.iot.us-gov-west-1.amazonaws.com", EndpointKind.ATS, ""),
        ("a1b2.ats.iot.cn-north-1.amazonaws.com.cn", EndpointKind.ATS, ""),
        ("a1b2-ats.iot.cn-northwest-1.amazonaws.com.cn", EndpointKind.ATS, ""),
        ("a1b2.iot.eu-west-1.amazonaws.com", EndpointKind.LEGACY, "a1b2-ats.iot.eu-west-1.amazonaws.com"),
        ("a1b2.iot.eu-west-1.amazonaws.com.", EndpointKind.LEGACY, "a1b2-ats.iot.eu-west-1.amazonaws.com"),
        ("a1b2.iot.cn-north-1.amazonaws.com.cn", EndpointKind.LEGACY, "a1b2.ats.iot.cn-north-1.amazonaws.com.cn"),
        ("a1b2.iot.us-gov-west-1.amazonaws.com", EndpointKind.LEGACY, "a1b2-ats.iot.us-gov-west-1.amazonaws.com"),
        ("data.iot-fips.us-east-1.amazonaws.com", EndpointKind.FIPS, ""),
        ("data-ats.iot.eu-west-1.api.aws", EndpointKind.DUAL_STACK, ""),
        ("iot.example.com", EndpointKind.CUSTOM, ""),
        ("localhost", EndpointKind.CUSTOM, ""),
    ],
)
def test_every_form_of_endpoint_is_known(host: str, kind: EndpointKind, instead: str) -> None:
    """The form is told from the name alone, and a legacy name gives the ATS name."""
    name = classify(host)
    assert (name.kind, name.instead) == (kind, instead)


@pytest.mark.parametrize("name", ["", "https://x", "x:8883", "x/y", "-x.example", "x..y", "x y", "a" * 300, "x\n"])
def test_what_is_no_host_name_is_seen(name: str) -> None:
    """Schemes, ports, paths and white space do not pass for a host name."""
    assert not is_host(name)
