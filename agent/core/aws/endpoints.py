"""Where to connect and through which proxy; what kind of endpoint a host name is, and what is wrong with it.

Source: "AWS IoT device data and service endpoints" and "Server authentication", developer guide. The legacy endpoint's
chain ends in a VeriSign root that root stores have dropped; only the ATS endpoint is supported.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING

from agent.core.frozen import frozen

if TYPE_CHECKING:
    from pathlib import Path


class EndpointKind(StrEnum):
    """The forms of an endpoint's name."""

    ATS = "ats"
    LEGACY = "legacy"
    FIPS = "fips"
    DUAL_STACK = "dual-stack"
    CUSTOM = "custom"


@frozen
class EndpointName:
    """What a name tells.

    Attributes:
        kind: Its form.
        instead: The ATS name to use instead of a legacy one, or empty.
    """

    kind: EndpointKind
    instead: str = ""


MQTT_PORT = 8883
ALPN_MQTT = "x-amzn-mqtt-ca"  # MQTT with a client certificate on port 443 ("Device communication protocols")


@frozen
class Proxy:
    """An HTTP proxy that is asked to CONNECT.

    Attributes:
        host: Its name or address.
        port: Its port.
        user: The name that it is given, or None.
        password_file: Whose first line is the password; None for an empty one.
    """

    host: str
    port: int
    user: str | None = None
    password_file: Path | None = None

    @property
    def address(self) -> str:
        """Host and port, as a URL has them."""
        return at(self.host, self.port)


def at(host: str, port: int) -> str:
    """Return host and port as a URL has them: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@frozen
class Endpoint:
    """Where to connect.

    Attributes:
        host: The endpoint's name, sent as SNI and checked against the server's certificate.
        port: 8883, or 443 with ALPN.
        alpn: Whether to negotiate ALPN, as AWS wants on 443.
        proxy: The way out, or None.
        timeout: Seconds for the TCP connection and the handshake, each.
        whole: Seconds for both.
    """

    host: str
    port: int = MQTT_PORT
    alpn: bool = False
    proxy: Proxy | None = None
    timeout: float = 10.0
    whole: float = 60.0


_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.IGNORECASE)
_LEGACY = re.compile(r"([a-z0-9]+)\.iot\.([a-z]{2}(?:-[a-z]+)+-\d)\.(amazonaws\.com(?:\.cn)?)")
_ATS = re.compile(r"[a-z0-9]+(?:-ats|\.ats)\.iot\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?")

MAX_HOST = 253
_NEVER = ".invalid"  # a name that is none, for ever (RFC 2606, section 2); the configuration comes with one


def is_host(name: str) -> bool:
    """Whether `name` is a host name or an IPv4 address and nothing more: no scheme, no port, no path."""
    return len(name) <= MAX_HOST and _HOST.fullmatch(name) is not None


def in_ascii(name: str) -> str:
    """Return a host name in letters beyond ASCII as DNS and certificates have it, or nothing where it is none.

    A letter of which two standards make two names (RFC 5891 and the one before it) gives none, and so does a dash or a
    blank of a text program's, which is a mistake and no letter.
    """
    if name.isascii() or not all(mark.isalnum() for mark in name if not mark.isascii()):
        return ""
    try:
        plain = name.lower().encode("idna").decode("ascii")
        return plain if is_host(plain) and plain.encode().decode("idna") == name.lower() else ""
    except UnicodeError:
        return ""


def placeholder(host: str) -> str:
    """Return that a name only holds the place of an endpoint's, as a sentence, or nothing."""
    name = host.lower().rstrip(".")
    if not name.endswith(_NEVER):
        return ""
    return f"`endpoint` is still the placeholder {host}; the account's own endpoint belongs there."


FIND_ENDPOINT = "Ask for it: `aws iot describe-endpoint --endpoint-type iot:Data-ATS`."


def classify(host: str) -> EndpointName:
    """Tell the kind of endpoint from its name."""
    name = host.lower().rstrip(".")
    legacy = _LEGACY.fullmatch(name)
    if legacy:
        prefix, region, suffix = legacy.groups()
        # Beijing is the one region that separates with a dot.
        ats = f"{prefix}.ats" if region == "cn-north-1" else f"{prefix}-ats"
        suffix = "amazonaws.com.cn" if region.startswith("cn-") else suffix
        return EndpointName(kind=EndpointKind.LEGACY, instead=f"{ats}.iot.{region}.{suffix}")
    if ".iot-fips." in name:
        return EndpointName(kind=EndpointKind.FIPS)
    if name.endswith(".api.aws"):
        return EndpointName(kind=EndpointKind.DUAL_STACK)
    return EndpointName(kind=EndpointKind.ATS if _ATS.fullmatch(name) else EndpointKind.CUSTOM)


def chains_to_amazon(host: str) -> bool:
    """Whether an endpoint's chain may end in any of Amazon's roots: every one that AWS names does."""
    return classify(host).kind is not EndpointKind.CUSTOM


# Where AWS IoT Core's data endpoints are ("AWS IoT Core endpoints and quotas", AWS General Reference).
REGIONS = (
    "af-south-1", "ap-east-1", "ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1", "ap-south-2",
    "ap-southeast-1", "ap-southeast-2", "ap-southeast-3", "ap-southeast-4", "ap-southeast-5", "ca-central-1",
    "ca-west-1", "cn-north-1", "cn-northwest-1", "eu-central-1", "eu-central-2", "eu-north-1", "eu-south-1",
    "eu-south-2", "eu-west-1", "eu-west-2", "eu-west-3", "il-central-1", "me-central-1", "me-south-1", "sa-east-1",
    "us-east-1", "us-east-2", "us-gov-east-1", "us-gov-west-1", "us-west-1", "us-west-2",
)  # fmt: skip

# Custom domains such as iot.example.com and mqtt.aws.example.com are any account's right.
_LOOKS_LIKE_AWS = re.compile(r"amazonaws|\.api\.aws|[.-]ats\.iot\.|\.iot(?:-fips)?\.[a-z]{2}(?:-[a-z]+)+-?\d")
_SHAPE = re.compile(r"[a-z0-9]+(?:-ats|\.ats)?\.iot(?:-fips)?\.([a-z0-9-]+)\.(amazonaws\.com(?:\.cn)?|api\.aws)")
_AWS_FORM = "<prefix>-ats.iot.<region>.amazonaws.com"


# How AWS names regions: an area, maybe a partition, a direction, a number.
_REGION = re.compile(
    r"[a-z]{2}(?:-(?:gov|iso[a-z]?))?-(?:north|south|east|west|central|northeast|northwest|southeast|southwest)-\d"
)


def may_be_new(host: str) -> bool:
    """Whether a name has the form of AWS's, in a region that may have been opened after this version was made."""
    shape = _SHAPE.fullmatch(host.lower().rstrip("."))
    return shape is not None and shape[1] not in REGIONS and _REGION.fullmatch(shape[1]) is not None


def misspelling(host: str) -> str:
    """Return what is probably wrong with a name that looks like one of AWS's, as a sentence, or nothing.

    AWS may have regions and suffixes that this version does not know: what a connection proves is not wrong.
    """
    name = host.lower().rstrip(".")
    if _LOOKS_LIKE_AWS.search(name) is None:
        return ""
    shape = _SHAPE.fullmatch(name)
    if shape is None:
        return f"{host} looks like an endpoint of AWS and has not its form, {_AWS_FORM}."
    region, suffix = shape[1], shape[2]
    if region not in REGIONS:
        import difflib  # noqa: PLC0415 - needed for a mistake only

        near = difflib.get_close_matches(region, REGIONS, n=1)
        meant = f"; {near[0]} was probably meant" if near else ""
        return f"This version knows no AWS region {region} that has AWS IoT Core{meant}."
    if suffix != "api.aws" and region.startswith("cn-") != suffix.endswith(".cn"):
        wanted = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        return f"Endpoints in {region} end in {wanted}."
    return ""
