"""Both sides of the system: what is on the gateway, what is in the account, and what goes over the wire."""

from __future__ import annotations

from pictures.svg import Picture

GATEWAY, ACCOUNT = 40, 580  # where the two sides begin
WIDE = 340
TOP = 56


def draw() -> str:
    """Return the picture."""
    picture = Picture(
        960,
        "A gateway and the account",
        "On the gateway the agent keeps key, certificate and trust anchors as one generation, to which the link "
        "current points and which applications read. It talks with AWS IoT Core over MQTT and TLS; a certificate "
        "request goes up, never a key. In the account AWS IoT Core issues, and a stack of the operator's checks and "
        "retires. A technician uses iot-cert, an operator iot-cert cloud, an OTA pipeline signs bundles of anchors.",
    )
    _gateway(picture)
    _account(picture)
    _wire(picture)
    _people(picture)
    return picture.svg(508)


def _side(picture: Picture, x: float, head: str, height: float) -> None:
    picture.box(x, TOP, WIDE, height, "main")
    picture.text(x + WIDE / 2, TOP - 14, head, "head", "middle")


def _part(picture: Picture, at: tuple[float, float], head: str, *lines: str, kind: str = "") -> None:
    x, y = at
    picture.box(x + 20, y, WIDE - 40, 32 + 17 * len(lines), kind)
    picture.text(x + 34, y + 21, head, "bold")
    for number, line in enumerate(lines):
        picture.text(x + 34, y + 40 + 17 * number, line, "small quiet")


def _gateway(picture: Picture) -> None:
    _side(picture, GATEWAY, "the gateway", 330)
    _part(
        picture,
        (GATEWAY, 76),
        "iot-cert-agent",
        "one process, no root, no open port",
        "a short-lived worker for each step",
    )
    _part(
        picture,
        (GATEWAY, 186),
        "current \u2192 generation 7",
        "key.pem, made here; it never leaves",
        "certificate.pem, trust.pem: proven together",
        kind="good",
    )
    _part(
        picture,
        (GATEWAY, 296),
        "your application, nginx, mosquitto",
        "read what current points at,",
        "or get copies and a reload",
    )
    middle = GATEWAY + WIDE / 2
    picture.arrow((middle, 142), (middle, 186), kind="good")
    picture.text(middle + 10, 168, "proven, then renamed", "small")
    picture.arrow((middle, 296), (middle, 252))
    picture.text(middle + 10, 278, "connects with it", "small")


def _account(picture: Picture) -> None:
    _side(picture, ACCOUNT, "your AWS account", 330)
    _part(
        picture,
        (ACCOUNT, 76),
        "AWS IoT Core",
        "fleet provisioning: enrolment, rotation",
        "jobs, and the shadow of the certificate",
    )
    _part(
        picture,
        (ACCOUNT, 186),
        "a stack of yours",
        "a hook: who may have a certificate",
        "retirement: deactivates what was replaced",
    )
    _part(
        picture,
        (ACCOUNT, 296),
        "fleet indexing",
        "which gateway has which certificate,",
        "until when, and what holds it up",
    )
    middle = ACCOUNT + WIDE / 2
    picture.arrow((middle, 142), (middle, 186), both=True)
    picture.arrow((middle, 252), (middle, 296))


def _wire(picture: Picture) -> None:
    start, end = GATEWAY + WIDE, ACCOUNT
    middle = (start + end) / 2
    for y, words, kind, up in (
        (96, "a certificate request", "", True),
        (128, "a certificate", "good", False),
        (206, "\u201cretire the old one\u201d", "", True),
        (316, "state, once a minute", "", True),
        (348, "jobs, wishes", "", False),
    ):
        points = ((start + 4, y), (end - 4, y))
        picture.arrow(*(points if up else points[::-1]), kind=kind)
        picture.text(middle, y - 6, words, "small", "middle")
    picture.text(middle, 160, "MQTT, TLS 1.2 or newer", "small quiet", "middle")
    picture.text(middle, 250, "never a key", "bold", "middle")


def _people(picture: Picture) -> None:
    y = TOP + 330
    for x, who, how, to in (
        (GATEWAY + 60, "a technician", "iot-cert status, check, rotate", GATEWAY + WIDE / 2),
        (370, "your OTA pipeline", "signs bundles of trust anchors", 0),
        (ACCOUNT + 60, "the fleet\u2019s operator", "iot-cert cloud status, rotate", ACCOUNT + WIDE / 2),
    ):
        picture.box(x, y + 56, 220, 50)
        picture.text(x + 110, y + 77, who, "bold", "middle")
        picture.text(x + 110, y + 95, how, "small quiet", "middle")
        if to:
            picture.arrow((to, y + 56), (to, y))
    picture.arrow((480, y + 56), (480, y + 28), (GATEWAY + 310, y + 28), (GATEWAY + 310, y))
