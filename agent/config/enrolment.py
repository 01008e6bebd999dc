"""The keys of `enrollment`, by a claim certificate or by a token over HTTPS: a part of the table of keys.

See `agent.config.schema` for how keys are written down.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from agent.config import kinds, values
from agent.config.kinds import Choice, Text
from agent.config.sections import Key, ParametersKind, Section

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PATH = kinds.AbsolutePath()
TEMPLATE_NAME = Text("a template name of at most 36 letters, digits, `_-`", re.compile(r"[0-9A-Za-z_-]{1,36}"))
PARAMETERS = ParametersKind(
    Text("text or {file: PATH}"),
    Section(values.FileValue, (Key("file", _PATH, "the file that holds the text", attribute="path", required=True),)),
)


def _check_enrollment(found: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    method = found.get("method", values.Method.FLEET_PROVISIONING)
    vends = method is values.Method.VENDING_MACHINE
    needed, foreign = (_FOR_VENDING, _FOR_A_CLAIM) if vends else (_FOR_A_CLAIM, _FOR_VENDING)
    yield from ((key, "") for key in needed[:2] if key not in found)
    yield from ((key, f"nothing, with `method: {method}`,") for key in foreign if key in found)
    if vends and found.get("parameters", {}).keys() != {"SerialNumber"}:
        yield "parameters", "SerialNumber, and nothing besides,"


_FOR_A_CLAIM, _FOR_VENDING = ("template", "claim", "client_id"), ("url", "token", "ca")  # the first two are needed

_TOKEN = Section(
    values.FileValue,
    (
        Key(
            "file",
            _PATH,
            "the file that holds it, readable for the owner of `state_dir` alone, in a directory that this owner may "
            "write to: it is removed once the certificate that it bought is final",
            attribute="path",
            required=True,
        ),
    ),
)

_CLAIM = Section(
    values.ClaimConfig,
    (
        Key("certificate", _PATH, "the claim certificate", required=True),
        Key("key", _PATH, "its key, readable for the owner of `state_dir` alone", required=True),
    ),
)

ENROLLMENT = Section(
    values.EnrollmentConfig,
    (
        Key("method", Choice(values.Method), "by a claim certificate, or by a token over HTTPS"),
        Key(
            "template",
            TEMPLATE_NAME,
            "the provisioning template of the first certificate",
            otherwise="required for fleet-provisioning",
        ),
        Key("claim", _CLAIM, "for fleet-provisioning, which requires it", otherwise="required for fleet-provisioning"),
        Key(
            "url",
            kinds.Url(),
            "where the vending machine is asked: `VendingUrl` of the stack",
            otherwise="required for vending-machine",
        ),
        Key(
            "token",
            _TOKEN,
            "what `iot-cert cloud arm` or `readmit` gave out for this gateway",
            otherwise="required for vending-machine",
        ),
        Key("ca", _PATH, "the authorities that alone verify the vending machine", otherwise="the trust anchors"),
        Key(
            "parameters",
            PARAMETERS,
            "of the template: text in quotes, or {file: PATH}; for a vending machine SerialNumber alone",
        ),
        Key(
            "client_id",
            Text("an MQTT client id of at most 128 characters", re.compile(r"[^\x00-\x1f\x7f]{1,128}")),
            "the client id of enrolment",
            otherwise="from `thing_name`, else from the machine's id",
        ),
    ),
    check=_check_enrollment,
)
