"""What the lines of an examination come to together: an exit code, and what the status knows of their subjects."""

from __future__ import annotations

import pytest

from agent.core.exit_codes import Exit
from agent.core.report import checks
from agent.core.report.checks import Line, Verdict, exit_of

# -- the exit code -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([], Exit.DONE),
        ([checks.ok("dns", "")], Exit.DONE),
        ([checks.ok("dns", ""), checks.warning("tls", "x", "")], Exit.DEGRADED),
        ([checks.failure("set", "x", "", "", Exit.CRITICAL)], Exit.CRITICAL),
        ([checks.failure("tcp", "x", "", "", Exit.UNAVAILABLE), checks.failure("daemon", "x", "", "")],
         Exit.UNAVAILABLE),
        ([checks.failure("files", "x", "", ""), checks.failure("tcp", "x", "", "", Exit.UNAVAILABLE)],
         Exit.DEGRADED),
        ([checks.warning("disk", "x", ""), checks.failure("endpoint", "x", "", "", Exit.USAGE)], Exit.USAGE),
    ],
)  # fmt: skip
def test_the_exit_code_is_that_of_the_cause(lines: list[Line], code: Exit) -> None:
    """The first failure decides, whatever comes after it; a warning alone is exit code 1."""
    assert exit_of(lines) is code


@pytest.mark.parametrize(
    ("exits", "expected"),
    [
        ([], Exit.DONE),
        ([Exit.DEGRADED, Exit.CRITICAL], Exit.CRITICAL),
        ([Exit.DEGRADED, Exit.UNAVAILABLE], Exit.DEGRADED),
        ([Exit.UNAVAILABLE, Exit.CRITICAL], Exit.UNAVAILABLE),
        ([Exit.USAGE, Exit.CRITICAL], Exit.USAGE),
    ],
)
def test_the_first_failure_decides_and_what_is_critical_over_what_is_degraded(
    exits: list[Exit], expected: Exit
) -> None:
    """The status is critical wherever that stands; a cause that has a code of its own is told all the same."""
    lines = [checks.failure("files", "mode", "x", "y", code) for code in exits]
    assert checks.exit_of(lines) is expected
    assert checks.exit_of([checks.warning("files", "mode", "x"), *lines]) is (expected or Exit.DEGRADED)


def test_a_gateway_that_only_has_to_enrol_is_told_what_keeps_it_from_that() -> None:
    """The first failure is the path's, and the set's line refers to it; a claim that is damaged comes first still."""
    ready = "This gateway has no certificate yet; the claim certificate is ready."
    plain = checks.failure("set", "not-enrolled", ready, "Run `iot-cert enroll`.", Exit.CRITICAL)
    damaged = checks.failure("set", "claim-unusable", "The claim is damaged.", "Replace it.", Exit.CRITICAL)
    path = [checks.failure(check, check, "x", "y", Exit.UNAVAILABLE) for check in ("endpoint", "tcp")]
    other = checks.failure("daemon", "no-daemon", "x", "y")
    behind = checks.after_the_path(plain, [plain, *path, other])
    assert (behind.verdict, behind.code) == (Verdict.WARNING, "not-enrolled")
    assert behind.text == "This gateway has no certificate yet, and cannot get one: see endpoint."
    assert checks.exit_of([behind, *path]) is Exit.UNAVAILABLE
    assert checks.after_the_path(plain, [plain, other]) is plain
    assert checks.after_the_path(damaged, [damaged, *path]) is damaged


# -- what the status says ----------------------------------------------------------------------------------------------


TROUBLED = checks.warning("set", "certificate-expiring", "It ends.", "Rotate.")


@pytest.mark.parametrize(
    ("line", "code", "severity", "expected"),
    [
        (checks.ok("set", "Fine."), "refused", Exit.CRITICAL, (Verdict.FAILURE, "refused", "Told.", Exit.CRITICAL)),
        (checks.ok("set", "Fine."), "damaged", Exit.DEGRADED, (Verdict.WARNING, "damaged", "Told.", Exit.DEGRADED)),
        (checks.ok("set", "Fine."), "lacking", Exit.DONE, (Verdict.OK, "ok", "Fine. Told.", Exit.DONE)),
        (checks.skipped("set", "no"), "damaged", Exit.DEGRADED, (Verdict.WARNING, "damaged", "Told.", Exit.DEGRADED)),
        (TROUBLED, "certificate-expiring", Exit.DEGRADED,
         (Verdict.WARNING, "certificate-expiring", "It ends.", Exit.DEGRADED)),
        (TROUBLED, "exposed", Exit.DEGRADED, (Verdict.WARNING, "certificate-expiring", "It ends.", Exit.DEGRADED)),
        (TROUBLED, "change-failed", Exit.DEGRADED,
         (Verdict.WARNING, "certificate-expiring", "It ends. Told.", Exit.DEGRADED)),
        (TROUBLED, "refused", Exit.CRITICAL,
         (Verdict.FAILURE, "certificate-expiring", "It ends. Told.", Exit.CRITICAL)),
        (TROUBLED, "anchor-expiring", Exit.CRITICAL,
         (Verdict.FAILURE, "certificate-expiring", "It ends.", Exit.CRITICAL)),
        (TROUBLED, "not-enrolled", Exit.CRITICAL,
         (Verdict.WARNING, "certificate-expiring", "It ends.", Exit.DEGRADED)),
    ],
)  # fmt: skip
def test_a_line_knows_what_the_status_says_of_its_subject(
    line: Line, code: str, severity: Exit, expected: tuple[Verdict, str, str, Exit]
) -> None:
    """It is told beside its own words, and once."""
    told = checks.with_finding(line, code, "Told.", severity)

    assert (told.verdict, told.code, told.text, told.exit) == expected
    assert told.check == "set"


@pytest.mark.parametrize(
    ("check", "code", "text", "remedy"),
    [
        ("configuration", "configuration-refused", "3: endpiont: no such key.", "sudo systemctl reload iot-cert-agent"),
        ("configuration", "configuration-refused", "It wants `sudo systemctl restart iot-cert-agent`.", ""),
        ("anchors", "change-failed", "It was given up.", "Install a bundle"),
        ("set", "change-failed", "It was given up.", "`iot-cert rotate` begins it at once"),
        ("clock", "clock-wrong", "It shows 1970.", "timedatectl set-ntp true"),
        ("set", "change-troubled", "It waits.", "`iot-cert explain` says what is done about it"),
        ("set", "damaged", "It is damaged: `iot-cert rotate` puts this right.", ""),
    ],
)
def test_a_finding_has_the_remedy_of_its_own_kind(check: str, code: str, text: str, remedy: str) -> None:
    """None that is about something else, and none where it says so itself."""
    told = checks.with_finding(checks.ok(check, "Fine."), code, text, Exit.DEGRADED)
    assert remedy in told.remedy
    assert bool(remedy) is bool(told.remedy)
