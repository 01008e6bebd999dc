from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.aws.fleet_account import Operator


def test_a_job_with_its_pace_is_ordered_once(operator: Operator) -> None:
    """A thing that is not there is left out, and a repeated command orders nothing more."""
    operator.world.enrolled()
    rows = operator.rows("rotate", "gw-0042", "gw-none", "--reason", "ticket 17", "--per-minute", "7")
    assert [row["ordered"] for row in rows] == [False, True]
    job = operator.world.owner.describe_job(jobId=rows[1]["job"])["job"]
    assert job["jobExecutionsRolloutConfig"] == {"maximumPerMinute": 7}
    document = json.loads(operator.world.owner.get_job_document(jobId=rows[1]["job"])["document"])
    assert document["operation"] == "rotate-certificate"
    code, said = operator.runs("rotate", "gw-0042", "--reason", "ticket 17")
    assert code == 1
    assert "orders it to rotate already" in said


def test_a_dry_run_orders_nothing(operator: Operator) -> None:
    """And says what it would."""
    operator.world.enrolled()
    code, said = operator.runs("rotate", "gw-0042", "--dry-run")
    assert code == 0
    assert "Would be ordered, 1 gateway:" in said
    assert operator.world.owner.list_jobs()["jobs"] == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "one of the three"),
        (["gw-1", "--query", "*"], "one of the three"),
        (["gw-1", "--per-minute", "0"], "--per-minute"),
        (["gw-1", "--abort-percent", "101"], "--abort-percent"),
        (["gw-1", "--window", "tomorrow"], "A window is two times"),
        (["gw-1", "--window", "2026-11-28T12:10Z/2026-11-28T14:00Z"], "30 minutes from now"),
        (["gw-1", "--window", "2026-12-02T00:00Z/2026-12-01T00:00Z"], "end after it begins"),
        (["--group", "g", "--by", "shadow"], "A shadow is a thing's"),
        (["--group", "none", "--yes"], "no thing group"),
    ],
)
def test_what_aws_would_not_take_is_said_before_anything_is_ordered(
    operator: Operator, words: list[str], told: str
) -> None:
    """With exit 2."""
    code, said = operator.runs("rotate", *words)
    assert code == 2
    assert told in said


def test_a_group_is_asked_for_by_its_name(operator: Operator) -> None:
    """It may hold the whole fleet. A window is the job's schedule."""
    operator.world.owner.create_thing_group(thingGroupName="site-7")
    assert operator.runs("rotate", "--group", "site-7")[0] == 4
    assert operator.world.owner.list_jobs()["jobs"] == []
    operator.typed = "site-7"
    code, said = operator.runs("rotate", "--group", "site-7", "--window", "2026-12-01T01:00Z/2026-12-01T05:00Z")
    assert code == 0, said
    (job,) = operator.world.owner.list_jobs()["jobs"]
    assert operator.world.owner.describe_job(jobId=job["jobId"])["job"]["targets"][0].endswith("thinggroup/site-7")


def test_a_query_of_too_many_names_the_way_that_takes_them(operator: Operator) -> None:
    """Looking at each would take hours."""
    operator.answers("SearchIndex", {"things": [{"thingName": f"gw-{n}"} for n in range(501)]})
    code, said = operator.runs("rotate", "--query", "*")
    assert code == 2
    assert "create-dynamic-thing-group" in said


def test_by_shadow_for_gateways_whose_jobs_another_program_takes(operator: Operator) -> None:
    """The wish is the one that the agent reads."""
    operator.world.enrolled()
    operator.answers("SearchIndex", {"things": [{"thingName": "gw-0042"}]})
    code, said = operator.runs("rotate", "--query", "thingName:gw*", "--by", "shadow")
    assert code == 0
    assert "1 shadow wishes" in said
    answer = operator.world.clients.data.get_thing_shadow(thingName="gw-0042", shadowName="certificate")
    assert json.loads(answer["payload"].read())["state"]["desired"] == {
        "renew": {"opens_at": "2026-11-28T12:00:00Z", "closes_at": "2026-11-28T13:00:00Z"}
    }
