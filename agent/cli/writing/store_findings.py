"""What is to be said about a store of trust anchors, on a screen or for a machine, and its exit code."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from itertools import groupby
from typing import TYPE_CHECKING

from agent.config.files import read_bounded
from agent.core.exit_codes import Exit
from agent.core.jsonio import to_plain
from agent.core.text import counted
from agent.core.text_files import pem_of
from agent.core.trust import anchor_lint
from agent.crypto import x509
from agent.crypto.root_lists import known
from agent.errors import ConfigError, MaterialError
from agent.system.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from agent.cli.writing.output import Output

SOON = timedelta(days=180)

_EXITS = {anchor_lint.Severity.ERROR: Exit.CRITICAL, anchor_lint.Severity.WARNING: Exit.DEGRADED}


def examined(path: Path, *, amazon: bool) -> tuple[tuple[anchor_lint.AnchorFinding, ...], int]:
    """Return what is to be said about a store, and how many certificates can be read in it.

    Raises:
        ConfigError: The file cannot be read.
    """
    data = pem_of(read_bounded(path, x509.MAX_STORE, "store"))  # as `trust.anchors` is read
    try:
        entries = x509.read_store(data)
    except MaterialError as error:
        raise ConfigError(f"{path}: {error}") from None
    findings = anchor_lint.lint(entries, known(), SystemClock().now(), soon=SOON, amazon=amazon)
    return findings, sum(entry.facts is not None for entry in entries)


def exit_of(findings: Iterable[anchor_lint.AnchorFinding]) -> Exit:
    """Return the exit code of the worst finding."""
    return _EXITS.get(anchor_lint.worst(findings) or anchor_lint.Severity.INFORMATION, Exit.DONE)


def show(output: Output, name: str, findings: tuple[anchor_lint.AnchorFinding, ...], usable: int) -> None:
    """Show what was found in a store."""
    if output.as_json:
        output.emit({"store": name, "usable": usable, "findings": to_plain(findings), "exit": exit_of(findings)})
        return
    output.line(f"{name}: {counted(usable, 'certificate')} can be used")
    for remedy, alike in groupby(_shortened(findings), key=lambda finding: finding.remedy):
        for finding in alike:
            output.line(f"{finding.severity:<12} {finding.code:<14} {finding.message}")
        if remedy:
            output.line(f"{'':<12} {'':<14} {remedy}")


def _shortened(findings: tuple[anchor_lint.AnchorFinding, ...]) -> Iterator[anchor_lint.AnchorFinding]:
    """Return findings for a screen: of what is mere information, one of a kind and how many more."""
    unshown = Counter(finding.code for finding in findings)
    for finding in findings:
        if finding.severity is not anchor_lint.Severity.INFORMATION:
            yield finding
        elif (more := unshown.pop(finding.code, 0) - 1) >= 0:
            rest = f" So {'does' if more == 1 else 'do'} {more} more." if more else ""
            yield replace(finding, message=f"{finding.message}{rest}")
