"""The verb `import`: a key and certificate, or anchors, that a person brings along on a stick.

On a gateway that has no set yet it is how a certificate that was there before becomes generation 1, without a new one
being asked for.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.cli.changing import submit
from agent.config.files import MAX_MATERIAL, read_bounded
from agent.core.text import common_name
from agent.core.text_files import EmptyError, NoTextError, password_of
from agent.core.trust import anchor_lint
from agent.core.trust.updates import BundleOutcome
from agent.core.values import BY_HAND, Origin, TrustBundle
from agent.crypto import import_files, root_lists, x509
from agent.errors import ConfigError, MaterialError, RefusedError
from agent.trust.install import Receipt, Receiver

if TYPE_CHECKING:
    import argparse
    from datetime import datetime
    from pathlib import Path

    from agent.cli.writing.output import Output
    from agent.config.values import Config
    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.exit_codes import Exit
    from agent.core.values import CertificateFacts, CredentialSet
    from agent.crypto.import_files import Brought
    from agent.operations.execute import Operations
    from agent.operations.wiring import Parts


MOST_NAMED = 5  # certificates, in one note


def carry_out(config: Config, arguments: argparse.Namespace, output: Output) -> Exit:
    """Carry out the verb.

    Raises:
        AgentError: What was brought cannot be used, or it is refused.
    """
    if arguments.unproven and os.geteuid() != 0:
        raise RefusedError("Only root may use a set before it is proven.", hint="Run the command with sudo.")
    brought = _bring(arguments)  # read as the calling user, before anything is given up
    if brought.issuer:
        output.note(
            f"{common_name(brought.issuer)} issued this certificate and is not taken for an anchor of servers. If the "
            "endpoint chains to it, import its certificate without a key beside it."
        )
    if brought.beside:
        subjects = ", ".join(brought.beside[:MOST_NAMED])
        output.note(f"Not taken, since the certificate does not chain to it: {subjects}.")

    def begin(parts: Parts, operations: Operations) -> Receipt:
        _note_anchors(config, brought, parts.clock.now(), output)
        trust = _trust(parts, brought, replaces=arguments.replace_anchors)
        if not operations.make_way(brought.credential, trust, arguments.thing):
            return Receipt(change=parts.change.engine.change)
        if brought.credential is not None:
            _note_key(brought.credential, output)
            _note_subject(parts, brought.credential, output)
            change = _bring_in(config, parts, brought.credential, trust, arguments)
            current = parts.change.sets.usable()
            if change is not None:
                return Receipt(change=change)
            if current is not None and current.trust.fingerprints == trust.fingerprints:
                told = BundleOutcome(outcome="unchanged", message="This certificate is in use already.")
                return Receipt(change=None, told=told)
        return Receiver(config, parts).install(trust, Origin.TECHNICIAN, str(arguments.reason))

    return submit.carry_out(config, arguments, output, begin, create=brought.credential is not None)


def _note_anchors(config: Config, brought: Brought, now: datetime, output: Output) -> None:
    """Say of anchors what `trust check` and, once they are in use, `check` say of them."""
    if not brought.anchors_pem:
        return
    entries, soon = x509.read_store(brought.anchors_pem), config.trust.warn[0]
    for finding in anchor_lint.lint(entries, root_lists.known(), now, soon=soon, amazon=False):
        if finding.severity is not anchor_lint.Severity.INFORMATION:
            output.note(f"{finding.message} {finding.remedy}")


def _note_key(credential: CredentialSet, output: Output) -> None:
    """Say of a short key that the cloud takes none such, whose own refusal does not name the reason."""
    if anchor_lint.is_weak(credential.leaf.key):
        output.note(f"The private key is {credential.leaf.key}, and AWS IoT Core takes RSA of 2048 bits and more.")


def _note_subject(parts: Parts, credential: CredentialSet, output: Output) -> None:
    """Say that another subject comes into use: what other programs or a policy tell this gateway by may change."""
    current = parts.change.sets.usable()
    if current is not None and current.credential.leaf.subject != credential.leaf.subject:
        output.note(
            f"The certificate's subject is {credential.leaf.subject}; that of the one in use is "
            f"{current.credential.leaf.subject}."
        )


def _bring(arguments: argparse.Namespace) -> Brought:
    password = None
    if arguments.password_file is not None:
        password = _password(arguments.password_file)
    try:
        return import_files.bring(arguments.source, password)
    except MaterialError as error:
        raise ConfigError(f"What was brought cannot be used: {error}.", hint=error.hint) from None


def _password(path: Path) -> bytes:
    try:
        return password_of(read_bounded(path, MAX_MATERIAL, "password file")).encode()
    except EmptyError:
        return b""  # which is a password of PKCS #12, too
    except NoTextError as error:
        raise ConfigError(f"{path}: the password file cannot be used: {error}") from None


def _trust(parts: Parts, brought: Brought, *, replaces: bool) -> TrustBundle:
    """Return the anchors in use, or without a set what else there is, the baked ones first, with those that were found.

    Raises:
        MaterialError: There are none.
    """
    found = replace(x509.read_bundle(brought.anchors_pem), provenance=BY_HAND) if brought.anchors_pem else None
    if replaces and found is not None:
        return found
    current = parts.change.sets.usable()
    try:
        known = current.trust if current else parts.change.sets.trusts()[0]
    except MaterialError:
        if found is None:
            raise
        return found
    if found is None:
        return known
    new = b"".join(
        x509.read_certificate(block)[1]
        for block in x509.split(found.pem)
        if x509.read_certificate(block)[0].sha256 not in known.fingerprints
    )
    return replace(x509.read_bundle(known.pem + new), provenance=BY_HAND) if new else known


def _by_default(leaf: CertificateFacts) -> bool:
    """Whether a certificate says that it is an authority's as all do that `openssl req -x509` makes, a device's too.

    AWS IoT Core takes them, registered without a CA; whether it takes this one its proof shows. The makers of real
    authorities say what their keys are for.
    """
    return leaf.subject == leaf.issuer and leaf.digital_signature is None


def _bring_in(
    config: Config, parts: Parts, credential: CredentialSet, trust: TrustBundle, arguments: argparse.Namespace
) -> ChangeRecord | None:
    current = parts.change.sets.usable()
    thing = arguments.thing or (current.manifest.thing_name if current else config.thing_name)
    if not thing:
        hint = "Name it with --thing, or as `thing_name` in the configuration."
        raise ConfigError("It is not known which thing this certificate is for.", hint=hint)
    if config.thing_name not in {None, thing}:
        hint = "Set `thing_name` first, or leave it out."
        raise ConfigError(f"`thing_name` is {config.thing_name}, so a set for {thing} is not taken.", hint=hint)
    leaf, now = credential.leaf, parts.clock.now()
    if leaf.is_ca and not _by_default(leaf):
        raise ConfigError(
            "The certificate is one of an authority, which no gateway connects with.",
            hint="Bring the gateway's own certificate, and the key that belongs to it.",
        )
    if leaf.not_after <= now and not arguments.unproven:
        raise RefusedError(f"The certificate expired on {leaf.not_after:%Y-%m-%d}.", hint="Check the clock, too.")
    reason = str(arguments.reason)
    return parts.change.planner.bring_in(credential, thing, trust, reason, unproven=arguments.unproven)
