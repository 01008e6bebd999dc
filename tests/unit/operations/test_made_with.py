"""What a set is made with, and what of that is configured otherwise by now."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.operations.made_with import differs, made_with
from support.unit.snapshot import ENROLMENT, config

if TYPE_CHECKING:
    from support.simulated.rig import Rig

RSA = f"{ENROLMENT}key: {{algorithm: rsa-2048}}\n"


def test_parameters_are_kept_as_a_digest_that_takes_the_key(rig: Rig) -> None:
    """They may be secrets; the same ones give another digest with another key, and no digest is one of others."""
    enrolment = ENROLMENT.replace("template: gateway", "template: gateway, parameters: {serial: s-1}")
    digests = {
        made_with(config(rig, text), key)["enrollment.parameters"]
        for text, key in ((ENROLMENT, b"a"), (enrolment, b"a"), (enrolment, b"b"))
    }
    assert len(digests) == 3
    assert made_with(config(rig), b"a") == made_with(config(rig), b"a")


def test_what_is_configured_otherwise_is_told_also_of_a_set_without_a_record(rig: Rig) -> None:
    """Of one without, its certificate tells the key's algorithm."""
    rig.enroll()
    found = rig.store.generation(1)
    key_pem = found.credential.key_pem
    kept = replace(found, manifest=replace(found.manifest, made_with=made_with(config(rig), key_pem)))
    for made in (kept, replace(found, manifest=replace(found.manifest, made_with={}))):
        assert differs(config(rig), made) == ()
        assert differs(config(rig, RSA), made) == (
            "`key.algorithm` is rsa-2048, and the set in use was made with ec-p256.",
        )
