from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from support.aws.fleet_account import Operator


def test_only_what_no_gateway_seems_to_use_is_listed(operator: Operator) -> None:
    """With what may be done; nothing is changed."""
    made, orphan = operator.world.enrolled(), operator.world.issue()
    operator.world.owner.update_certificate(certificateId=orphan, newStatus="INACTIVE")
    operator.now = datetime.now(UTC) + timedelta(hours=3)
    code, said = operator.runs("orphans")
    assert code == 1
    assert orphan in said
    assert made not in said
    assert "2 certificates, 1 of them" in said
    rows = operator.rows("orphans", "--all")
    assert operator.pauses == [0.2] * 4, "gateways that rotate ask the same of AWS"
    assert {row["certificate"]: row["kind"] for row in rows} == {made: "in use", orphan: "inactive"}
    assert not {"DeleteCertificate", "UpdateCertificate"} & {
        action.partition(":")[2] for action in operator.strict.asked
    }


def test_an_account_without_orphans_is_done(operator: Operator) -> None:
    """Exit 0."""
    operator.world.enrolled()
    operator.now = datetime.now(UTC) + timedelta(hours=3)
    assert operator.runs("orphans")[0] == 0
    assert operator.rows("orphans") == [
        {"event": "nothing", "text": "1 certificate, none of them to be looked at.", "exit": 0}
    ]
