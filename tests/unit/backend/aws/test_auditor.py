"""moto has no audits: the answers are of the shapes of botocore's model, which each is held to before it is given."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from agent.backend.aws.auditor import AwsAuditor
from agent.backend.errors import MisconfiguredError, UnavailableError
from agent.backend.values import AuditFinding, Check
from support.aws.account import NOW, certificate_id
from support.aws.audits import Defender, found
from support.aws.moto_account import Refusal

if TYPE_CHECKING:
    from support.aws.moto_account import AwsWorld

TASK = "0123456789abcdef0123456789abcdef"
FIRST, CA = certificate_id("first"), "ca" * 32
ENDS = NOW + timedelta(days=20)


def test_findings_as_aws_has_them(world: AwsWorld) -> None:
    """By check, over pages; suppressed ones are marked, and what names no certificate is not there."""
    defender = Defender(world)
    defender.audits[TASK] = [
        found(TASK, Check.EXPIRING, FIRST, ends=ENDS),
        found(TASK, Check.EXPIRING, "0x" + "AB" * 31, isSuppressed=True),
        found(TASK, Check.AGE, FIRST),
        found(TASK, Check.CA_EXPIRING, CA, ends=ENDS),
        found(TASK, Check.AGE, ""),
        found(TASK, Check.AGE, CA),
    ]
    auditor = AwsAuditor(world.clients)
    assert list(auditor.findings(TASK, Check.EXPIRING)) == [
        AuditFinding(check=Check.EXPIRING, certificate_id=FIRST, ends=ENDS),
        AuditFinding(check=Check.EXPIRING, certificate_id="ab" * 31, suppressed=True),
    ]
    assert [item.certificate_id for item in auditor.findings(TASK, Check.AGE)] == [FIRST, CA]
    assert list(auditor.findings(TASK, Check.CA_EXPIRING)) == [
        AuditFinding(check=Check.CA_EXPIRING, certificate_id=CA, ends=ENDS)
    ]
    assert len([name for name in world.strict.asked if name == "iot:ListAuditFindings"]) > 3, "it has pages"


@pytest.mark.parametrize("text", ["", "soon", "9" * 30, "-1e3"])
def test_an_end_that_cannot_be_read_is_not_known(world: AwsWorld, text: str) -> None:
    """The finding stands."""
    defender = Defender(world)
    defender.audits[TASK] = [found(TASK, Check.EXPIRING, FIRST, additional={"EXPIRATION_TIME": text})]
    assert [item.ends for item in AwsAuditor(world.clients).findings(TASK, Check.EXPIRING)] == [None]


def test_an_end_is_in_milliseconds(world: AwsWorld) -> None:
    """As AWS gives it."""
    defender = Defender(world)
    defender.audits[TASK] = [found(TASK, Check.EXPIRING, FIRST, additional={"EXPIRATION_TIME": "1512345678901"})]
    (item,) = AwsAuditor(world.clients).findings(TASK, Check.EXPIRING)
    assert item.ends == datetime.fromtimestamp(1512345678, UTC)


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("InvalidRequestException", 400, None),
        ("ResourceNotFoundException", 404, None),
        ("ThrottlingException", 400, UnavailableError),
        ("InternalFailureException", 500, UnavailableError),
        ("AccessDeniedException", 403, MisconfiguredError),
    ],
)
def test_an_audit_that_is_not_known_has_found_nothing(
    world: AwsWorld, code: str, status: int, expected: type[Exception] | None
) -> None:
    """It is 90 days old, or was never there; anything else is no answer."""

    def refuse(**_: object) -> tuple[object, dict[str, Any]]:
        error = {"Code": code, "Message": "no"}
        return Refusal(status), {"Error": error, "ResponseMetadata": {"HTTPStatusCode": status}}

    world.clients.iot.meta.events.register_first("before-call.iot.*", refuse)
    auditor = AwsAuditor(world.clients)
    for ask in (lambda: list(auditor.findings(TASK, Check.AGE)), lambda: list(auditor.signed_by(CA))):
        if expected is None:
            assert ask() == []
        else:
            with pytest.raises(expected):
                ask()


def test_what_a_ca_has_signed_and_is_active(world: AwsWorld) -> None:
    """Over pages."""
    defender = Defender(world)
    names = [certificate_id(number) for number in range(5)]
    defender.signed[CA] = [(name, "INACTIVE" if number == 3 else "ACTIVE") for number, name in enumerate(names)]
    assert list(AwsAuditor(world.clients).signed_by(CA)) == [*names[:3], names[4]]
    assert list(AwsAuditor(world.clients).signed_by("cb" * 32)) == []
