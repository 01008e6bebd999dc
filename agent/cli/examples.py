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
    "status": ("iot-cert status", "iot-cert status --watch", "iot-cert status --json"),
    "explain": ("iot-cert explain",),
    "history": ("iot-cert history", "iot-cert history --json"),
    "check": ("iot-cert check", "iot-cert check dns tls server"),
    "support-bundle": ("iot-cert support-bundle --output /tmp/gw-0042.tar",),
    "report": ("iot-cert report --html", "iot-cert report --html /tmp/gw-0042.html"),
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
    "cloud": ("iot-cert cloud arm 0042", "iot-cert cloud status"),
    "cloud setup": ("iot-cert cloud setup", "iot-cert cloud setup --claim claim"),
    "cloud arm": (
        "iot-cert cloud arm 0042 --thing-prefix gw-",
        "iot-cert cloud arm --csv devices.csv --for 90d --json",
        "iot-cert cloud arm 0077 --thing gw-0042",
    ),
    "cloud devices": ("iot-cert cloud devices --state claimed", "iot-cert cloud devices --refused --for 24h"),
    "cloud block": ("iot-cert cloud block 0042", "iot-cert cloud block 0042 --cut-off"),
    "cloud readmit": ("iot-cert cloud readmit 0042 --for 24h", "iot-cert cloud readmit 0042 --same-token"),
    "cloud status": ("iot-cert cloud status", "iot-cert cloud status --query 'thingGroupNames:site-7'"),
    "cloud rotate": (
        "iot-cert cloud rotate gw-0042 --reason 'ticket 17'",
        "iot-cert cloud rotate --group site-7 --window 2026-12-01T01:00Z/2026-12-01T05:00Z",
        "iot-cert cloud rotate --query 'thingName:gw-00*' --by shadow",
    ),
    "cloud check": (
        "iot-cert cloud check",
        "iot-cert cloud check --region eu-west-1 --profile fleet",
        "iot-cert cloud check --lifetime 24h",
    ),
    "cloud adopt": (
        "iot-cert cloud adopt --query 'thingTypeName:gateway'",
        "iot-cert cloud adopt --query thingName:gw-0042 --apply",
        "iot-cert cloud adopt --undo --journal iot-cert-adopt.jsonl",
    ),
    "cloud orphans": ("iot-cert cloud orphans",),
    "sandbox": ("iot-cert sandbox --dir /tmp/cloud", "iot-cert sandbox --dir /tmp/cloud fault register never-active"),
}  # fmt: skip
