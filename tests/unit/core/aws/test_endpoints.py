from __future__ import annotations

import pytest

from agent.core.aws.endpoints import REGIONS, EndpointKind, chains_to_amazon, classify, in_ascii, is_host, misspelling


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
        ("a1b2.iot.cn-north-1.amazonaws.com", EndpointKind.LEGACY, "a1b2.ats.iot.cn-north-1.amazonaws.com.cn"),
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


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("bücher.example", "xn--bcher-kva.example"),
        ("Bücher.Example", "xn--bcher-kva.example"),
        ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
        ("straße.example", ""),  # strasse.example by the old standard, xn--strae-oqa.example by the new one
        ("a1b2\u2013ats.iot.eu-west-1.amazonaws.com", ""),  # a dash of a text program's
        ("bücher.example:8883", ""),
        ("ü" * 70 + ".example", ""),
        ("iot.example.com", ""),
    ],
)
def test_a_name_in_other_letters_has_one_spelling_in_dns(name: str, plain: str) -> None:
    """Only where there is no doubt which."""
    assert in_ascii(name) == plain


NO_FORM = "looks like an endpoint of AWS and has not its form, <prefix>-ats.iot.<region>.amazonaws.com."


@pytest.mark.parametrize(
    ("host", "words"),
    [
        (
            "abc123-ats.iot.eu-wset-1.amazonaws.com",
            "AWS region eu-wset-1 that has AWS IoT Core; eu-west-1 was probably",
        ),
        ("abc123-ats.iot.eu-west1.amazonaws.com", "AWS region eu-west1 that has AWS IoT Core; eu-west-1 was"),
        (
            "ABC123-ats.iot.EU-WSET-1.amazonaws.com",
            "AWS region eu-wset-1 that has AWS IoT Core; eu-west-1 was probably",
        ),
        ("abc123-ats.iot.us-east-9.amazonaws.com", "This version knows no AWS region us-east-9"),
        ("abc123-ats.iot.mars-1.amazonaws.com", "This version knows no AWS region mars-1"),
        ("abc123-ats.iot.eu-wset-1.api.aws", "This version knows no AWS region eu-wset-1"),
        ("abc123.ats.iot.cn-north-1.amazonaws.com", "Endpoints in cn-north-1 end in amazonaws.com.cn."),
        ("abc123-ats.iot.cn-northwest-1.amazonaws.com", "Endpoints in cn-northwest-1 end in amazonaws.com.cn."),
        ("abc123-ats.iot.eu-west-1.amazonaws.com.cn", "Endpoints in eu-west-1 end in amazonaws.com."),
        ("abc123-ats.iot.eu-west-1.amazonaws.co", NO_FORM),
        ("abc123-ats.iot.eu-west-1.amazonaws", NO_FORM),
        ("abc123-ats.iot.eu-west-1.amazonws.com", NO_FORM),
        ("abc123-ats.iot.eu-west-1.aws.com", NO_FORM),
        ("abc123.iot.eu-west-1.amzonaws.com", NO_FORM),
        ("abc123-ats.eu-west-1.amazonaws.com", NO_FORM),
        ("abc123.iot-ats.eu-west-1.amazonaws.com", NO_FORM),
        ("iot.eu-west-1.amazonaws.com", NO_FORM),
        ("abc-123-ats.iot.eu-west-1.amazonaws.com", NO_FORM),
        ("abc123-ats.iot.amazonaws.com", NO_FORM),
        ("amazonaws.com", NO_FORM),
    ],
)
def test_a_misspelt_endpoint_is_seen_before_anything_is_connected(host: str, words: str) -> None:
    """What was probably meant is said where it can be told."""
    assert words in misspelling(host)


@pytest.mark.parametrize(
    "host",
    [
        "abc123-ats.iot.eu-west-1.amazonaws.com",
        "abc123-ats.iot.eu-west-1.amazonaws.com.",
        "abc123.iot.eu-west-1.amazonaws.com",
        "abc123.ats.iot.cn-north-1.amazonaws.com.cn",
        "data.iot-fips.us-gov-west-1.amazonaws.com",
        "data-ats.iot.eu-west-1.api.aws",
        "localhost",
        "192.0.2.7",
        "gateways.example",
        "iot.example.com",
        "mqtt.iot.example.com",
        "iot.aws.example.com",
        "broker.amazonas.example",
        "riot.example.com",
    ],
)
def test_a_sound_name_and_a_custom_domain_are_left_alone(host: str) -> None:
    """A company may well call its own domain iot or aws."""
    assert misspelling(host) == ""


def test_every_region_has_a_name_that_is_spelt_right() -> None:
    """The form that AWS gives out in each region passes, and is known for what it is."""
    for region in REGIONS:
        mark = ".ats" if region == "cn-north-1" else "-ats"
        host = f"abc123{mark}.iot.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"
        assert (misspelling(host), classify(host).kind) == ("", EndpointKind.ATS)
    assert len(set(REGIONS)) == len(REGIONS)


def test_what_a_legacy_name_is_replaced_by_is_spelt_right() -> None:
    """The remedy is no mistake itself."""
    for region in REGIONS:
        instead = classify(f"abc123.iot.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}").instead
        assert (misspelling(instead), classify(instead).kind) == ("", EndpointKind.ATS)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("abc123-ats.iot.eu-west-1.amazonaws.com", True),
        ("abc123.iot.eu-west-1.amazonaws.com", True),
        ("data-ats.iot.eu-west-1.api.aws", True),
        ("iot.example.com", False),
    ],
)
def test_only_a_custom_domain_may_chain_to_any_root(host: str, *, expected: bool) -> None:
    """A certificate by another authority before a name of AWS's is a proxy in between."""
    assert chains_to_amazon(host) is expected
