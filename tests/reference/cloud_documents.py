"""The JSON that the operator's verbs print, `iot-cert cloud ...`: a line for each thing that was looked at or done.

`support.aws.fleet_account` holds each line that a test has them print to these schemas, and lets no other key through.
"""

from __future__ import annotations

from datetime import datetime

from agent.backend.decide.deletion import CertificateKind
from agent.backend.values import DeviceState, Status
from agent.fleet.commands.devices import DeviceRow, RefusalRow
from agent.fleet.commands.own_ca import CaRow
from agent.fleet.decide.examination import Level
from agent.fleet.decide.overview import Overview
from agent.fleet.decide.trial import FactOutcome
from reference.shapes import Schema, an_object, described, many, of_row, of_type, or_null, said, words

TEXT, NUMBER, FLAG, AT = of_type(str), of_type(int), of_type(bool), of_type(datetime)
SERIAL, THING = said(TEXT, "The serial number."), said(TEXT, "The thing.")
CERTIFICATE = said(TEXT, "The certificate's id.")
DRY = said(FLAG, "Whether nothing was changed, and this is what would be.")
ORDERED = said(FLAG, "Whether it was ordered now; false with `--dry-run`, and of an order of before.")
STATE = said(words(DeviceState), "How far the serial number has come.")


def _counted(name: str) -> Schema:
    return said({"type": "object", "additionalProperties": NUMBER}, described(Overview)[name])


DEFS: dict[str, Schema] = {
    "cloud-setting": said(
        an_object(
            {
                "what": said(TEXT, "`fleet indexing` or `claim certificate`."),
                "made": said(FLAG, "Whether it was made now."),
                "text": said(TEXT, "A sentence about it."),
            }
        ),
        "What the account needs and no stack can make.",
    ),
    "cloud-armed": said(
        an_object(
            {
                "serial": SERIAL,
                "thing": THING,
                "armed": said(FLAG, "Whether it may enrol now."),
                "token": said(TEXT, "Its one-time token, which is told nowhere else."),
                "note": said(TEXT, "Why it got none, or what a person should know."),
            },
            needed=["serial", "thing", "armed"],
        ),
        "A serial number that was given a token, or was refused one.",
    ),
    "cloud-device": of_row(DeviceRow),
    "cloud-refusal": of_row(RefusalRow),
    "cloud-blocked": said(
        an_object(
            {
                "serial": SERIAL,
                "thing": THING,
                "state": STATE,
                "deactivated": said(many(TEXT), "The certificates that `--cut-off` made INACTIVE."),
            }
        ),
        "A serial number that can neither enrol nor rotate any more.",
    ),
    "cloud-fleet": said(
        an_object(
            {
                "gateways": said(NUMBER, described(Overview)["gateways"]),
                "things_without_agent": said(NUMBER, described(Overview)["others"]),
                **{name: _counted(name) for name in ("left", "health", "failures", "versions")},
                "examples": said(
                    {"type": "object", "additionalProperties": many(TEXT)}, described(Overview)["examples"]
                ),
            }
        ),
        "The fleet, counted.",
    ),
    "cloud-job": said(
        an_object(
            {
                "job": said(TEXT, "The job's id."),
                "things": said(many(TEXT), "The things that it names."),
                "group": or_null(said(TEXT, "The thing group, where it names that instead.")),
                "ordered": ORDERED,
                "dry_run": DRY,
            }
        ),
        "A job that orders rotations.",
    ),
    "cloud-wish": said(
        an_object(
            {
                "thing": THING,
                "renew": said(an_object({"opens_at": AT, "closes_at": AT}), "The window that its shadow wishes for."),
                "ordered": ORDERED,
                "dry_run": DRY,
            }
        ),
        "A shadow that wishes for a rotation.",
    ),
    "cloud-left-out": said(
        an_object(
            {"thing": THING, "ordered": said(FLAG, "False."), "why": said(TEXT, "Why nothing is ordered of it.")}
        ),
        "A thing that was named and is left out.",
    ),
    "cloud-look": said(
        an_object(
            {
                "what": said(TEXT, "What was looked at."),
                "level": said(words(Level), "How bad it is."),
                "text": said(TEXT, "What was found."),
                "remedy": or_null(said(TEXT, "What to do.")),
            }
        ),
        "One look at the account.",
    ),
    "cloud-adoption": said(
        an_object(
            {
                "thing": THING,
                "result": said(TEXT, "`adopted`, `ready` or `left`; `undone` of a certificate by `--undo`."),
                "why": or_null(said(TEXT, "Why it is left as it is.")),
                "steps": said(
                    many(
                        an_object(
                            {
                                "certificate": CERTIFICATE,
                                "policies": said(
                                    many(TEXT), "The policies that it lacked, or that were taken off again."
                                ),
                                "exclusive": said(FLAG, "Whether its attachment becomes exclusive."),
                            }
                        )
                    ),
                    "What each of its certificates is given, or had taken off again.",
                ),
                "dry_run": DRY,
            }
        ),
        "A gateway of before the stack.",
    ),
    "cloud-certificate": said(
        an_object(
            {
                "certificate": CERTIFICATE,
                "kind": said(words(CertificateKind), "What it is to this stack."),
                "status": said(words(Status), "Its state in AWS IoT Core."),
                "created": said({**TEXT, "examples": ["2026-11-29"]}, "The day on which it was made."),
                "why": said(TEXT, "Why it counts as that."),
            }
        ),
        "A certificate of the account that is to be looked at, or any with `--all`.",
    ),
    "cloud-ca": of_row(CaRow),
    "cloud-ca-order": said(
        an_object(
            {
                "what": said(TEXT, "`ca`."),
                "text": said(TEXT, "What was done, as a sentence."),
                "number": said(NUMBER, "The CA that was made or retired."),
                "certificate": said(TEXT, "Its id in AWS IoT."),
                "key": said(TEXT, "The id of its key in KMS."),
                "pem": said(TEXT, "Its certificate, in PEM."),
                "request": said(TEXT, "The request for its certificate, in PEM, of `--csr`."),
            },
            needed=["what", "text"],
        ),
        "What an order about the CAs has done.",
    ),
    "cloud-fact": said(
        an_object(
            {
                "fact": said(TEXT, "The key of what is assumed of AWS; `clean-up` of `--clean-up`."),
                "outcome": said(words(FactOutcome), "What became of it."),
                "saw": said(TEXT, "What AWS did."),
            }
        ),
        "What the first deployment has seen.",
    ),
}

VERBS: dict[str, tuple[str, ...]] = {
    "cloud setup": ("cloud-setting",),
    "cloud arm": ("cloud-armed",),
    "cloud devices": ("cloud-device", "cloud-refusal", "nothing"),
    "cloud block": ("cloud-blocked",),
    "cloud readmit": ("cloud-armed",),
    "cloud status": ("cloud-fleet",),
    "cloud rotate": ("cloud-job", "cloud-wish", "cloud-left-out", "nothing"),
    "cloud check": ("cloud-look",),
    "cloud adopt": ("cloud-adoption", "nothing"),
    "cloud orphans": ("cloud-certificate", "nothing"),
    "cloud ca": ("cloud-ca", "cloud-ca-order", "nothing"),
    "cloud first-deployment": ("cloud-fact", "nothing"),
}
