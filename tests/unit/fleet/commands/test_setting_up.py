from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.aws.moto_account import ARN

if TYPE_CHECKING:
    from pathlib import Path

    from support.aws.fleet_account import Operator

FINE = {
    "thingIndexingMode": "REGISTRY",
    "namedShadowIndexingMode": "ON",
    "filter": {"namedShadowNames": ["certificate"]},
}


@pytest.fixture(name="fresh")
def _fresh(operator: Operator) -> Operator:
    operator.world.owner.create_policy(policyName="iot-cert-claim", policyDocument="{}")
    operator.answers("GetIndexingConfiguration", {"thingIndexingConfiguration": FINE})
    return operator


def test_indexing_is_asked_for_and_what_is_set_is_shown(fresh: Operator) -> None:
    """Without the word nothing is changed."""
    fresh.answers("GetIndexingConfiguration", {"thingIndexingConfiguration": {"thingIndexingMode": "OFF"}})
    fresh.answers("UpdateIndexingConfiguration", {})
    assert fresh.runs("setup")[0] == 4
    assert "iot:UpdateIndexingConfiguration" not in fresh.strict.asked
    fresh.typed = "index"
    code, said = fresh.runs("setup")
    assert code == 0, said
    assert "namedShadowIndexingMode: ON" in said
    assert "iot:UpdateIndexingConfiguration" in fresh.strict.asked


def test_a_claim_is_written_for_its_owner_alone_and_shown_nowhere(fresh: Operator, tmp_path: Path) -> None:
    """It has the claim's policy and no other, and is attached to no thing."""
    folder = tmp_path / "claim"
    code, said = fresh.runs("setup", "--claim", str(folder), "--yes")
    assert code == 0, said
    key = folder / "key.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    assert "PRIVATE KEY" in key.read_text()
    assert key.read_text().splitlines()[1] not in said
    (made,) = fresh.world.owner.list_targets_for_policy(policyName="iot-cert-claim")["targets"]
    assert fresh.world.registry.things_of(made.removeprefix(ARN)) == ()
    assert "has the policy iot-cert-claim already" in fresh.runs("setup")[1]


def test_no_certificate_is_made_where_its_key_cannot_be_written(fresh: Operator, tmp_path: Path) -> None:
    """It would be one more to look after."""
    (tmp_path / "key.pem").write_text("another's")
    code, said = fresh.runs("setup", "--claim", str(tmp_path), "--yes")
    assert code == 2
    assert "is there already" in said
    assert (tmp_path / "key.pem").read_text() == "another's"
    assert not (tmp_path / "certificate.pem").exists()
    assert fresh.world.owner.list_certificates()["certificates"] == []


def test_what_aws_does_not_make_leaves_no_file(fresh: Operator, tmp_path: Path) -> None:
    """So the same command can be run again."""
    fresh.refuses("CreateKeysAndCertificate", "ThrottlingException", "x", 400)
    assert fresh.runs("setup", "--claim", str(tmp_path), "--yes")[0] == 5
    assert list(tmp_path.iterdir()) == []
