"""The verbs that an OTA pipeline uses on a machine that is no gateway: `trust check FILE` and `trust publish`."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from agent.cli.writing import output_file, store_findings
from agent.config.files import MAX_MATERIAL, read_bounded
from agent.config.schema import PRODUCT, TARGET
from agent.core.exit_codes import Exit
from agent.core.text import seconds_of
from agent.core.trust import anchor_lint
from agent.crypto import x509
from agent.errors import ConfigError, MaterialError, RefusedError
from agent.store.files import durable
from agent.system.clock import SystemClock

if TYPE_CHECKING:
    import argparse
    import re
    from collections.abc import Iterable
    from pathlib import Path

    from securesystemslib.signer import Signer

    from agent.cli.writing.output import Output
    from agent.trust.tuf_publisher import Publication

LONGEST = timedelta(days=36_500)  # that a signature may last


def carry_out(arguments: argparse.Namespace, output: Output) -> Exit:
    """Carry out one of the two.

    Raises:
        AgentError: A file or a key cannot be used, or nothing was published.
    """
    return check(arguments, output) if arguments.action == "check" else publish(arguments, output)


# -- check ---------------------------------------------------------------------------------------------------------


def check(arguments: argparse.Namespace, output: Output) -> Exit:
    """Say what is wrong with stores; the exit code is that of the worst finding."""
    codes = []
    for path in arguments.files:
        findings, usable = store_findings.examined(path, amazon=not arguments.any)
        store_findings.show(output, str(path), findings, usable)
        codes.append(store_findings.exit_of(findings))
    return max(codes)


# -- publish -------------------------------------------------------------------------------------------------------


def publish(arguments: argparse.Namespace, output: Output) -> Exit:
    """Make a repository, or sign it again, once the bundle has been checked."""
    from agent.trust import archives, tuf_publisher  # noqa: PLC0415 - they bring python-tuf along

    archive: Path | None = arguments.archive
    if archive is not None:
        output_file.require_usable(archive)
    published = tuf_publisher.publish(arguments.repository, _publication(arguments, output))
    if archive is not None:
        packed = archives.pack(published.files)
        output = output.beside_a_result(output_file.write(archive, packed, durable.Modes(public_mode=0o644)))
    if output.as_json:
        output.emit({"event": "published", "versions": dict(published.versions), "exit": Exit.DONE})
    else:
        versions = ", ".join(f"{role} {version}" for role, version in published.versions.items())
        output.line(f"Published in {arguments.repository}: {versions}.")
        if published.versions["timestamp"] == 1:
            root = arguments.repository / "metadata" / "1.root.json"
            output.line(f"Gateways trust it once {root} lies on them and `trust.root` names it.")
    return Exit.DONE


def _publication(arguments: argparse.Namespace, output: Output) -> Publication:
    from agent.trust.tuf_publisher import EXPIRES, ROLES, Publication  # noqa: PLC0415

    publics = {uri: read_bounded(_path(file), MAX_MATERIAL, "public key") for uri, file in arguments.public_key}
    return Publication(
        anchors=None if arguments.anchors is None else _linted(arguments, output),
        target=_named(arguments.target, TARGET, "a target's name, without a leading slash or dots,"),
        now=_published_at(arguments),
        signers=_signers(arguments.key, publics),
        old_root_signers=[signer for uri in arguments.old_root_key for signer in _one(uri, publics)],
        thresholds={_role(role, ROLES): _count(number) for role, number in arguments.threshold},
        expires=EXPIRES | {_role(role, ROLES): _lasting(text) for role, text in arguments.expires},
        compatible=tuple(
            _named(name, PRODUCT, "a product's name of letters, digits and `._-`") for name in arguments.compatible
        ),
        renew=frozenset(_role(role, ROLES) for role in arguments.renew),
        replace_keys=arguments.replace_keys,
        notes={"withoutAmazon": arguments.without_amazon} if arguments.without_amazon else {},
    )


def _linted(arguments: argparse.Namespace, output: Output) -> bytes:
    """Return the bundle, once nothing is found that would make it useless or cut gateways off."""
    findings, usable = store_findings.examined(arguments.anchors, amazon=arguments.without_amazon is None)
    if not usable:
        text = f"The bundle is not published: there is no certificate in {arguments.anchors} that can be used."
        raise ConfigError(text, hint="Name a file with the roots, as PEM or DER.")
    if findings and not output.as_json:
        store_findings.show(output, str(arguments.anchors), findings, usable)
    errors = [finding for finding in findings if finding.severity is anchor_lint.Severity.ERROR]
    if errors:
        raise RefusedError(f"The bundle is not published: {errors[0].message}", hint=errors[0].remedy)
    missing = [finding.message for finding in findings if finding.code == "missing"]
    if missing:
        raise RefusedError(
            f"The bundle is not published: {missing[0]}",
            hint='Add the roots, or say why they are not needed with --without-amazon "...".',
        )
    data = read_bounded(arguments.anchors, MAX_MATERIAL, "bundle")
    try:
        return x509.read_anchors(data).pem  # one block after the other and nothing else, as gateways write it
    except MaterialError as error:
        raise RefusedError(f"The bundle is not published: {error}.") from None


def _published_at(arguments: argparse.Namespace) -> datetime:
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    given: datetime | None = arguments.time
    if given is None and epoch:
        if not epoch.isdecimal() or len(epoch) > 11:  # noqa: PLR2004 - some 3,000 years
            raise ConfigError(f"SOURCE_DATE_EPOCH is to be a number of seconds since 1970, not {epoch!r}.")
        given = datetime.fromtimestamp(int(epoch), UTC)
    return (given or SystemClock().now()).astimezone(UTC).replace(microsecond=0)


def _signers(keys: Iterable[tuple[str, str]], publics: dict[str, bytes]) -> dict[str, list[Signer]]:
    from agent.trust.tuf_publisher import ROLES  # noqa: PLC0415

    found: dict[str, list[Signer]] = {}
    for names, uri in keys:
        signers = _one(uri, publics)
        for name in names.split(","):
            found.setdefault(_role(name, ROLES), []).extend(signers)
    return found


def _one(uri: str, publics: dict[str, bytes]) -> list[Signer]:
    from agent.trust.signing_keys import signer_of  # noqa: PLC0415

    return [signer_of(uri, publics.get(uri))]


def _role(name: str, roles: tuple[str, ...]) -> str:
    if name not in roles:
        raise ConfigError(f"There is no role {name!r}; the roles are {', '.join(roles)}.")
    return name


def _lasting(text: str) -> timedelta:
    seconds = seconds_of(text)
    if not 0 < seconds <= LONGEST.total_seconds():
        raise ConfigError(f"A duration such as 90d is expected, at most {LONGEST.days}d, not {text!r}.")
    return timedelta(seconds=seconds)


def _named(text: str, pattern: re.Pattern[str], what: str) -> str:
    if not pattern.fullmatch(text):
        raise ConfigError(f"Expected {what} and not {text!r}.")
    return text


def _count(text: str) -> int:
    if not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= 50:  # noqa: PLR2004 - no publisher has more key holders
        raise ConfigError(f"A threshold is a number from 1 to 50, not {text!r}.")
    return int(text)


def _path(text: str) -> Path:
    from pathlib import Path  # noqa: PLC0415

    return Path(text)
