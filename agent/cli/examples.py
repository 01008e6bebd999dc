"""Command lines to begin with, for `--help` and the manual page. A test holds each to the parser."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[str, ...]] = {
    "": ("iot-cert status", "iot-cert check", "iot-cert rotate --reason 'ticket 17'"),
    "enroll": ("iot-cert enroll", "iot-cert enroll --wait 600"),
    "rotate": ("iot-cert rotate --dry-run", "iot-cert rotate --reason 'ticket 17'", "iot-cert rotate --no-wait"),
    "rollback": ("iot-cert rollback --reason 'ticket 18'", "iot-cert rollback --give-up"),
    "confirm": ("iot-cert confirm",),
    "import": (
        "iot-cert import --from /media/stick",
        "iot-cert import --from device.p12 --password-file password.txt --thing gw-0042",
    ),
    "pause": ("iot-cert pause 12h --reason 'visit on site'",),
    "resume": ("iot-cert resume",),
    "run": ("iot-cert --config /tmp/cloud/config.yaml run",),
    "retire": ("iot-cert retire", "iot-cert retire --drop c38402bf0cef"),
    "deploy": ("iot-cert deploy", "iot-cert deploy --afresh"),
    "status": ("iot-cert status", "iot-cert status --json"),
    "explain": ("iot-cert explain",),
    "history": ("iot-cert history", "iot-cert history --json"),
    "check": ("iot-cert check", "iot-cert check dns tls server"),
    "support-bundle": ("iot-cert support-bundle --output /tmp/gw-0042.tar",),
    "help": ("iot-cert help rotate", "iot-cert help trust install"),
    "config": ("iot-cert config check",),
    "config check": ("iot-cert --config new.yaml config check",),
    "trust": ("iot-cert trust list", "iot-cert trust install bundle.tar"),
    "trust list": ("iot-cert trust list",),
    "trust check": ("iot-cert trust check", "iot-cert trust check --any /etc/ssl/certs/ca-certificates.crt"),
    "trust install": (
        "iot-cert trust install bundle.tar",
        "iot-cert trust install https://bundles.example/roots-7.tar",
    ),
    "trust restore": ("iot-cert trust restore --reason 'ticket 19'",),
    "trust publish": (
        "iot-cert trust publish repository --anchors anchors.pem --key root,targets,snapshot,timestamp=file2:key.pem",
        "iot-cert trust publish repository --key timestamp=file2:key.pem",
    ),
    "sandbox": ("iot-cert sandbox --dir /tmp/cloud", "iot-cert sandbox --dir /tmp/cloud fault register never-active"),
}  # fmt: skip
