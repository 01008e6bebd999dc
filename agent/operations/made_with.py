"""What sets are made with: what the configuration says of key and registration, as a manifest keeps it."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING

from agent.core.change.made_with import ALGORITHM, SUBJECT, differences

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.config.values import Config, FileValue
    from agent.core.values import Generation


def made_with(config: Config, key_pem: bytes) -> dict[str, str]:
    """Return what a set with this key is made with by the configuration, see `agent.core.change.made_with`."""

    def digest(parameters: Mapping[str, str | FileValue]) -> str:
        plain = [[name, str(getattr(value, "path", "")), str(value)] for name, value in sorted(parameters.items())]
        return hmac.new(key_pem, json.dumps(plain).encode(), hashlib.sha256).hexdigest()

    found = {ALGORITHM: str(config.key_algorithm), SUBJECT: config.subject or ""}
    for name, section in (("enrollment", config.enrollment), ("rotation", config.rotation)):
        if section is not None:
            found |= {f"{name}.template": section.template, f"{name}.parameters": digest(section.parameters)}
    return {key: value for key, value in found.items() if value or key == SUBJECT}  # a vending machine has no template


def differs(config: Config, generation: Generation) -> tuple[str, ...]:
    """Return what is configured otherwise than it was for a set; of one without a record what its certificate says."""
    from agent.crypto import keys  # noqa: PLC0415 - see agent.operations.wiring

    credential, made = generation.credential, generation.manifest.made_with
    configured = made_with(config, credential.key_pem)
    if not made:
        made = {ALGORITHM: keys.algorithm_of(credential.key_pem)}
        if configured[SUBJECT]:
            configured[SUBJECT], made[SUBJECT] = keys.subject_text(configured[SUBJECT]), credential.leaf.subject
    return tuple(differences(made, configured))
