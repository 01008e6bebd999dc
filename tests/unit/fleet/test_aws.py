from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from botocore import exceptions

from agent.backend.errors import UnavailableError
from agent.backend.values import Device, DeviceState
from agent.fleet.aws import connect, telling
from agent.fleet.errors import AccountError, NotNowError
from support.aws.moto_account import REGION

if TYPE_CHECKING:
    from support.aws.fleet_account import Operator


def test_a_stack_that_is_not_there_is_named_with_what_to_do(operator: Operator) -> None:
    """The likely causes are another name and another region."""
    operator.refuses("DescribeStacks", "ValidationError", "Stack with id other does not exist", 400)
    code, said = operator.runs("devices", "--stack", "other")
    assert code == 2
    assert "no stack other in eu-west-1" in said
    assert "--region" in said


def test_another_stack_and_one_that_was_not_finished_are_told(operator: Operator) -> None:
    """Its outputs are missing."""
    stack = {
        "StackName": "x",
        "StackId": "arn:aws:cloudformation:eu-west-1:1:stack/x/1",
        "StackStatus": "ROLLBACK_COMPLETE",
    }
    operator.answers("DescribeStacks", {"Stacks": [stack]})
    code, said = operator.runs("devices")
    assert code == 2
    assert "ROLLBACK_COMPLETE" in said
    assert "DevicesTable" in said


def test_access_denied_names_the_action(operator: Operator) -> None:
    """As IAM spells it, where AWS says it; else the operation."""
    text = "User: arn:aws:iam::1:user/u is not authorized to perform: dynamodb:Scan on resource: x"
    operator.refuses("Scan", "AccessDeniedException", text, 400)
    code, said = operator.runs("devices")
    assert code == 4
    assert "does not allow these credentials dynamodb:Scan" in said
    operator.refuses("Scan", "AccessDeniedException", "", 400)
    assert "Scan" in operator.runs("devices")[1]


def test_throttled_and_ill_are_not_now(operator: Operator) -> None:
    """The same command goes on later."""
    for code, status in (("ThrottlingException", 400), ("InternalFailure", 500)):
        operator.refuses("Scan", code, "", status)
        found, said = operator.runs("devices")
        assert found == 5
        assert "Run the same command again" in said


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (exceptions.NoCredentialsError(), 2, "no AWS credentials"),
        (exceptions.NoRegionError(), 2, "No region"),
        (exceptions.ProfileNotFound(profile="x"), 2, "x"),
        (exceptions.EndpointConnectionError(endpoint_url="https://x"), 5, "does not answer"),
        (exceptions.ClientError({"Error": {"Code": "ExpiredToken"}}, "Scan"), 2, "ExpiredToken"),
        (exceptions.ClientError({"Error": {"Code": "Odd", "Message": "odd."}}, "Scan"), 1, "odd."),
        *(
            (exceptions.ClientError({"Error": {"Code": "LimitExceededException"}}, name), 1, f"{name}, since a quota")
            for name in ("AttachPolicy", "CreateJob")
        ),
        (UnavailableError("The function has failed."), 5, "The function has failed."),
    ],
)
def test_what_boto3_raises_is_a_sentence(error: Exception, code: int, told: str) -> None:
    """With the exit code of what the operator does about it."""
    with pytest.raises(AccountError, match=told) as caught, telling():
        raise error
    assert caught.value.exit == code


def test_a_row_that_was_written_meanwhile_is_not_now(operator: Operator) -> None:
    """By a function or another operator: the verbs that do not read it anew by themselves say so."""
    operator.refuses("PutItem", "ConditionalCheckFailedException", "The conditional request failed", 400)
    row = Device(serial="0042", thing="gw-0042", state=DeviceState.ARMED)
    with pytest.raises(NotNowError, match="A row was written meanwhile"), telling():
        connect("iot-cert", REGION, None).store.save_device(row)


def test_rows_that_are_no_device_are_not_listed(operator: Operator) -> None:
    """Budgets and leases are in the same table."""
    operator.world.enrolled()
    operator.world.store.lease("gw-0042", "x", operator.world.now, operator.world.now)
    assert [row["serial"] for row in operator.rows("devices")] == ["0042"]
