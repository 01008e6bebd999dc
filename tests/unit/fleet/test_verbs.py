"""The JSON of the operator's verbs: each document of the reference is printed, and held to it where it is printed."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from agent.cli.command_line.parser import parse
from agent.fleet.decide.trial import FACTS, FactOutcome, TrialSeen
from agent.fleet.trial.steps import STEPS
from reference import cloud_documents, documents
from support.documents.json_schema import fits

if TYPE_CHECKING:
    from pathlib import Path

    from support.aws.fleet_account import Operator


def documents_of(action: str, rows: list[dict[str, Any]]) -> set[str]:
    """Return which documents of a verb have been printed."""
    names = documents.EVERY[f"cloud {action}"]
    schemas = {name: documents.DEFS[name] for name in names}
    return {name for row in rows for name, schema in schemas.items() if fits(schema, row, whole=documents.whole())}


def test_each_document_is_printed(operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own verb, in one account."""
    owner = operator.world.owner
    operator.world.enrolled()
    owner.create_policy(policyName="iot-cert-claim", policyDocument="{}")
    entry = {"timestamp": 1764331200000, "message": '{"serial":"0042","reason":"Its token is spent"}'}
    operator.answers("FilterLogEvents", {"events": [entry], "ResponseMetadata": {"HTTPStatusCode": 200}})
    operator.answers("GetIndexingConfiguration", {"thingIndexingConfiguration": {"thingIndexingMode": "OFF"}})
    operator.answers("UpdateIndexingConfiguration", {})
    operator.answers("GetStatistics", {"statistics": {"count": 1}})
    operator.answers("SearchIndex", {"things": [{"thingName": "gw-0042"}]})
    operator.answers("DescribeEndpoint", {"endpointAddress": "a-ats.iot.eu-west-1.amazonaws.com"})
    operator.answers("DeleteFunctionConcurrency", {})
    for operation in ("DetectStackDrift", "DescribeProvisioningTemplate", "GetTopicRule", "ListMitigationActions"):
        operator.refuses(operation, "AccessDeniedException")
    operator.answers("DescribeAccountAuditConfiguration", {})
    operator.answers("ListCertificateProviders", {"certificateProviders": []})
    for fact in FACTS:
        if fact.tried:
            monkeypatch.setitem(STEPS, fact.key, lambda _: TrialSeen(outcome=FactOutcome.EXPECTED, text="Fine."))
    seen: set[str] = set()
    for line in (
        f"setup --yes --claim {tmp_path}/claim",
        "arm 0077",
        "devices",
        "devices --refused",
        "block 0077",
        "readmit 0077",
        "status",
        "rotate gw-0042 --by shadow",
        "rotate gw-0042 gw-none",
        "ca --new --yes",
        "ca",
        "check",
        f"adopt --query * --journal {tmp_path}/journal",
        "orphans --all",
        f"first-deployment --yes --directory {tmp_path}/trial",
        "block 0099",
    ):
        words = line.split()
        assert parse(["cloud", *words]).action == words[0]
        seen |= documents_of(words[0], operator.rows(*words))
        operator.now += timedelta(minutes=1)
    assert seen == {*cloud_documents.DEFS, "error"}


def test_a_key_that_the_reference_lacks_is_found(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """By any test that has a verb print it."""
    operator.world.enrolled()
    monkeypatch.setitem(documents.DEFS["cloud-device"]["properties"], "bought", {"type": "string"})
    with pytest.raises(AssertionError, match="bought"):
        operator.runs("devices", "--json")
