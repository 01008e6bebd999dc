"""The verbs that work with a gateway's trust anchors: trust list, check, install, restore.

The command verifies and plans, since it may read files that the daemon may not; what follows is the daemon's where one
runs, else its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.changing import submit
from agent.cli.looking.status import look
from agent.cli.writing import store_findings
from agent.core.aws.endpoints import chains_to_amazon
from agent.core.exit_codes import Exit
from agent.core.jsonio import to_plain
from agent.core.trust import anchor_lint
from agent.core.values import Origin, TrustBundle
from agent.errors import BundleError, ConfigError, MaterialError, StoreError
from agent.operations.snapshot import take
from agent.operations.wiring import load_anchors
from agent.trust.install import Receipt, Receiver, files_at, remote_at

if TYPE_CHECKING:
    import argparse

    from agent.cli.writing.output import Output, Shown
    from agent.config.values import Config
    from agent.operations.execute import Operations
    from agent.operations.wiring import Parts
    from agent.trust.tuf_client import Source


def carry_out(config: Config, arguments: argparse.Namespace, output: Output) -> Exit:
    """Carry out one of the verbs.

    Raises:
        AgentError: It is refused, or could not be done.
    """
    match arguments.action:
        case "list":
            return show_list(config, output)
        case "check":
            return check(config, arguments, output)
        case "install":
            return install(config, arguments, output)
        case _:
            return restore(config, arguments, output)


# -- looking -------------------------------------------------------------------------------------------------------


def _in_use(config: Config) -> tuple[str, TrustBundle]:
    """Return the anchors in use and their name; before the first enrolment those are the baked ones."""
    current = take(config).current
    if current is not None:
        return f"generation {current.number}", current.trust
    return str(config.anchors), load_anchors(config)


def _findings(config: Config, trust: TrustBundle, *, amazon: bool) -> tuple[anchor_lint.AnchorFinding, ...]:
    from agent.crypto.root_lists import known  # noqa: PLC0415 - only here

    clock = take(config).clock
    now = clock.now if clock.believable else None
    return anchor_lint.lint(
        anchor_lint.entries_of(trust.anchors), known(), now, soon=config.trust.warn[0], amazon=amazon
    )


def show_list(config: Config, output: Output) -> Exit:
    """Show the anchors in use, where they came from, and what is to be said about them."""
    found = look(config)
    try:
        name, trust = _in_use(config)
    except StoreError:
        return _list_as_told(found, output)
    findings = _findings(config, trust, amazon=chains_to_amazon(config.endpoint))
    code = store_findings.exit_of(findings)
    if output.as_json:
        output.emit({"event": "trust", **found.trust, "findings": to_plain(findings), "exit": code})
        return code
    _show_screen(found, output)
    store_findings.show(output, name, findings, len(trust.anchors))
    return code


def _list_as_told(found: Shown, output: Output) -> Exit:
    """Show what the daemon tells a user who may not read the store; what is to be said about it takes the store."""
    if output.as_json:
        output.emit({"event": "trust", **found.trust, "exit": Exit.DONE})
        return Exit.DONE
    _show_screen(found, output)
    output.line("Run it with sudo to have the anchors checked, too.")
    return Exit.DONE


def _show_screen(found: Shown, output: Output) -> None:
    output.screen(item for item in found.screen if item[0] in {"generation", "anchors", "watched"})


def check(config: Config, arguments: argparse.Namespace, output: Output) -> Exit:
    """Check the anchors in use, as `trust check FILE` checks any store."""
    name, trust = _in_use(config)
    findings = _findings(config, trust, amazon=chains_to_amazon(config.endpoint) and not arguments.any)
    store_findings.show(output, name, findings, len(trust.anchors))
    return store_findings.exit_of(findings)


# -- changing ------------------------------------------------------------------------------------------------------


def install(config: Config, arguments: argparse.Namespace, output: Output) -> Exit:
    """Verify a signed bundle, prove its anchors, and put them in place."""
    where = str(arguments.source)
    remote = "://" in where
    # Read as the calling user, before anything is given up.
    local = None if remote else _local(Path(where), arguments.sha256)

    def begin(parts: Parts, operations: Operations) -> Receipt:
        current = parts.change.sets.usable()
        source = local or remote_at(where, config, current.trust if current else None, arguments.sha256)
        receiver = Receiver(config, parts)
        trust = receiver.read(source)
        if not operations.make_way(None, trust):
            return Receipt(change=parts.change.engine.change, told=receiver.differences(trust))
        return receiver.install(trust, Origin.TECHNICIAN, f"{arguments.reason}: {trust.provenance}")

    return submit.carry_out(config, arguments, output, begin)


def _local(path: Path, digest: str | None) -> Source:
    try:
        return files_at(path, digest)
    except BundleError as error:  # of a file that was named wrong, before anything was verified
        text = str(error)
        named = text if str(path) in text else f"{path}: {text[:1].lower()}{text[1:]}"
        raise ConfigError(named, hint=error.hint) from error


def restore(config: Config, arguments: argparse.Namespace, output: Output) -> Exit:
    """Put the baked copy back."""

    def begin(parts: Parts, operations: Operations) -> Receipt:
        try:
            baked = load_anchors(config)
        except MaterialError as error:
            raise ConfigError(f"What `trust.anchors` names cannot be used: {error}", hint=error.hint) from error
        if not operations.make_way(None, baked):
            return Receipt(change=parts.change.engine.change, told=Receiver(config, parts).differences(baked))
        reason = f"{arguments.reason}: {baked.provenance}"
        return Receiver(config, parts).install(baked, Origin.TECHNICIAN, reason)

    return submit.carry_out(config, arguments, output, begin)
