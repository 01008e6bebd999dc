"""Notices: of which findings an operator's command is told next, and in which words. It knows no clock and no command.

Rules:

* A finding is told of when it has appeared, and again when it is gone. Another wording, such as an end that is nearer,
  is a finding that has appeared; the old wording is not told of as gone.
* Where a text says what the last attempt failed with, another text is no news.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.frozen import frozen
from agent.core.jsonio import TEXT, to_plain
from agent.core.values import LongText  # noqa: TC001 - the decoder reads the types of `Told`

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from agent.core.report.findings import Finding

# Of each there is one at a time, and its text changes while it lasts.
_ONE = frozenset({"no-connection", "taken-over", "locked-out", "unusable", "change-troubled"})


@frozen
class Told:
    """A finding, as it is told of. Attributes as `agent.core.report.findings.Finding` has them."""

    check: str
    code: str
    severity: int
    text: LongText

    @property
    def identity(self) -> tuple[str, str]:
        """What tells it apart from other findings, in whatever words it is told."""
        return self.code, "" if self.code in _ONE else self.text


@frozen
class Noticed:
    """The findings that the command was told of and that it was not told of as gone."""

    format: int = 1
    findings: tuple[Told, ...] = ()


@frozen
class News:
    """What the command does not know yet."""

    appeared: tuple[Told, ...] = ()
    gone: tuple[Told, ...] = ()


def of_findings(findings: Iterable[Finding], longest: int = TEXT) -> tuple[Told, ...]:
    """Return findings as they are told of, their texts cut off after so many characters."""
    return tuple(
        Told(check=item.check, code=item.code, severity=int(item.severity), text=item.text[:longest])
        for item in findings
    )


def news(told: tuple[Told, ...], now: tuple[Told, ...]) -> News:
    """Return what to tell a command that was told this, and where the findings are these."""
    known, present = ({item.identity for item in each} for each in (told, now))
    appeared = tuple(item for item in now if item.identity not in known)
    reworded = {item.code for item in appeared}
    gone = tuple(item for item in told if item.identity not in present and item.code not in reworded)
    return News(appeared=appeared, gone=gone)


def document(what: News, now: tuple[Told, ...], gateway: Mapping[str, object]) -> dict[str, object]:
    """Return what the command reads.

    Args:
        what: What it is told.
        now: All findings.
        gateway: Which gateway it is, and how it stands.
    """
    return {
        **gateway,
        "appeared": to_plain(what.appeared),
        "gone": to_plain(what.gone),
        "findings": to_plain(now),
    }
