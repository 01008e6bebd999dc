"""Notices: what a command is told of that was told something before."""

from __future__ import annotations

from dataclasses import replace

from agent.core.exit_codes import Exit
from agent.core.jsonio import TEXT
from agent.core.report import notices
from agent.core.report.findings import Finding
from agent.core.report.notices import News, Told


def finding(code: str, text: str = "It is so.", check: str = "set") -> Finding:
    """Return a finding."""
    return Finding(check=check, code=code, severity=Exit.DEGRADED, text=text)


def told(*findings: Finding) -> tuple[Told, ...]:
    """Return how they are told of."""
    return notices.of_findings(findings)


def test_what_has_come_and_what_has_gone_are_news() -> None:
    """What stays is none."""
    stays, goes, comes = finding("exposed"), finding("damaged"), finding("change-failed")
    assert notices.news(told(stays, goes), told(comes, stays)) == News(appeared=told(comes), gone=told(goes))
    assert notices.news(told(stays), told(stays)) == News()


def test_an_end_that_is_nearer_is_news_and_the_farther_one_has_not_gone() -> None:
    """A person who is told that "expires in less than 30 d" is over would lean back."""
    far, near = (finding("anchor-expiring", f"It expires in less than {days} d.") for days in (30, 7))
    assert notices.news(told(far), told(near)) == News(appeared=told(near))


def test_two_of_a_code_are_told_apart() -> None:
    """Such as two programs; one that is well again is told of."""
    one, other = finding("dependant", "a.service is failed."), finding("dependant", "b.service is failed.")
    assert notices.news(told(one), told(one, other)) == News(appeared=told(other))
    assert notices.news(told(one, other), told(other)) == News(gone=told(one))


def test_another_reason_of_the_last_attempt_is_no_news() -> None:
    """An outage may give another reason every few minutes, and another start after each short success."""
    first, later = (finding("no-connection", f"There has been no connection: {why}") for why in ("DNS", "refused"))
    assert notices.news(told(first), told(later)) == News()
    assert notices.news(told(first), ()) == News(gone=told(first))


def test_a_long_text_is_cut_to_what_is_read_again() -> None:
    """So that it is known again after a restart."""
    (found,) = told(finding("exposed", "x" * 5000))
    assert found.text == "x" * TEXT


def test_the_document_names_the_gateway_and_all_that_is_wrong() -> None:
    """A command that keeps no state of its own has everything in it."""
    here, gone = told(finding("exposed")), told(finding("damaged"))
    plain = {"check": "set", "code": "exposed", "severity": 1, "text": "It is so."}
    assert notices.document(News(appeared=here, gone=gone), here, {"host": "gw", "exit": 1}) == {
        "host": "gw", "exit": 1, "appeared": [plain], "gone": [{**plain, "code": "damaged"}], "findings": [plain],
    }  # fmt: skip


def test_severity_alone_is_no_other_finding() -> None:
    """It is told with the next wording, and stands in the list meanwhile."""
    (found,) = told(finding("exposed"))
    assert notices.news((found,), (replace(found, severity=3),)) == News()
